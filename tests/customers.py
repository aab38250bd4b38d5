"""Clients of servers that spend (play) money: what they ask, and what must be true of their books."""

import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from pydantic import SecretStr
from tests.billing import ROOT, Upstream
from tests.pictures import photograph

from kontext_edit.images.preview import inspect
from kontext_edit.journal.book import Journal
from kontext_edit.task import LOCAL, Status, Task
from kontext_edit.tiers import Dev

Era = Literal["legacy", "auto"]
ERAS: tuple[Era, ...] = ("legacy", "auto")

PRICE = Dev.price_usd
_MOST_EDITS = 1_000


@dataclass(frozen=True, slots=True)
class Books:
    """An owner's edits in a journal, and what upstream billed for them."""

    journal: Path | SecretStr
    upstream: Upstream
    owner: str = LOCAL

    async def edits(self) -> list[Task]:
        """All of them, oldest first."""
        journal = Journal(self.journal)
        rows = await journal.latest(self.owner, limit=_MOST_EDITS)
        await journal.close()
        return [task for _, task in reversed(rows)]

    async def spent_usd(self) -> Decimal:
        """What the journal's ledger says, for all owners."""
        journal = Journal(self.journal)
        spent = sum((row.spent_usd for row in await journal.ledger()), Decimal(0))
        await journal.close()
        return spent

    async def assert_they_agree(self) -> None:
        """The journal's ledger is what upstream billed; what nobody can know counts as billed."""
        spent, tasks = await self.spent_usd(), await self.edits()
        unclear = [task for task in tasks if task.status is Status.UNKNOWN]
        prompts = {task.prompt for task in tasks}
        billed = [row for row in self.upstream.billed() if row.prompt in prompts]
        asked = sum((row.price_usd for row in billed), Decimal(0))
        assert asked <= spent <= asked + len(unclear) * PRICE
        known = {task.task_id for task in tasks if task.task_id}
        assert known <= {row.task_id for row in billed}
        assert {row.prompt for row in billed if row.task_id not in known} <= {task.prompt for task in unclear}

    async def assert_nothing_lost_and_nothing_doubled(
        self, prompts: Sequence[str], told: Sequence[str], pictures: AbstractSet[str]
    ) -> None:
        """Each edit was bought once, and has its pictures, or nobody can know.

        Args:
            prompts: of the edits that were asked for, all different.
            told: what whoever asked for it heard in the end.
            pictures: all that there are, by their paths or by their keys on a store.
        """
        billed = [row.prompt for row in self.upstream.billed()]
        edits = await self.edits()
        twice = {prompt for prompt, times in Counter(billed).items() if times > 1}
        assert not twice, [task for task in edits if task.prompt in twice]
        last = {task.prompt: task for task in edits}
        assert set(last) == set(prompts)
        for prompt, heard in zip(prompts, told, strict=True):
            task = last[prompt]
            assert task.status in (Status.SUCCEEDED, Status.UNKNOWN), task
            assert heard != "succeeded" or task.status is Status.SUCCEEDED
            if task.status is Status.SUCCEEDED:
                assert prompt in billed
        owned = {picture.key or str(picture.path) for task in last.values() for picture in task.pictures}
        assert owned == pictures, "a picture nobody has, or one nobody owns"
        await self.assert_they_agree()


@dataclass(frozen=True, slots=True)
class Household:
    """A person's folders: one journal, one folder of results, a picture to edit."""

    folder: Path
    upstream: Upstream
    more: tuple[tuple[str, str], ...] = ()
    """Further settings."""

    @classmethod
    def furnished(cls, folder: Path, upstream: Upstream, **more: str) -> "Household":
        """With a small picture to edit."""
        (folder / "in").mkdir(parents=True)
        photograph((300, 280)).save(folder / "in" / "photo.png")
        return cls(folder, upstream, tuple(more.items()))

    @property
    def results(self) -> Path:
        return self.folder / "out"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "KONTEXT_HOME": str(self.folder / "home"),
            "KONTEXT_OUTPUT_DIR": str(self.results),
            "KONTEXT_ALLOWED_DIRS": str(self.folder / "in"),
            "KONTEXT_PROVIDER": "novita",
            "NOVITA_API_KEY": "sk_play_money",
            "NOVITA_BASE_URL": self.upstream.url,
            **dict(self.more),
        }

    @asynccontextmanager
    async def client(
        self, *arguments: str, era: Era = "auto", module: str = "tests.killable"
    ) -> AsyncGenerator[Client]:
        """A client of a server process of its own, which is killed at the point that is named, if any."""
        process = StdioServerParameters(
            command=sys.executable, args=["-m", module, *arguments], env=self.environ, cwd=ROOT
        )
        with (self.folder / "stderr.txt").open("a") as errlog:
            async with Client(stdio_client(process, errlog), mode=era) as client:
                yield client

    def edit(self, prompt: str, wait_seconds: int = 20) -> dict[str, Any]:
        """The arguments of an edit that is small and quick."""
        photo = str(self.folder / "in" / "photo.png")
        return {
            "prompt": prompt,
            "images": [photo],
            "tier": "dev",
            "size": "256*256",
            "wait_seconds": wait_seconds,
        }

    @property
    def books(self) -> Books:
        """Everything that was bought."""
        return Books(self.folder / "home" / "journal.sqlite3", self.upstream)

    def assert_only_whole_pictures(self) -> list[Path]:
        """The folder of results holds whole pictures and nothing else; returns them."""
        return whole_pictures(self.results)


def whole_pictures(folder: Path) -> list[Path]:
    """Everything in a folder and below it, which is whole pictures."""
    files = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    for file in files:
        assert inspect(file.read_bytes()).format == file.suffix[1:].replace("jpg", "jpeg"), file
    return files


def answer(result: types.CallToolResult) -> dict[str, Any]:
    """What a tool told."""
    return result.structured_content


def code(result: types.CallToolResult) -> str | None:
    """The error's code, where there is one."""
    return answer(result).get("error", {}).get("code")


def status(result: types.CallToolResult) -> str | None:
    """The edit's status, where the answer tells of an edit."""
    return answer(result).get("status")
