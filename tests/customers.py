"""Clients of servers that spend (play) money: what they ask, and what must be true of their books."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from tests.billing import ROOT, Upstream
from tests.pictures import photograph

from kontext_edit.images.preview import inspect
from kontext_edit.journal.book import Journal
from kontext_edit.task import Status, Task
from kontext_edit.tiers import Dev

Era = Literal["legacy", "auto"]
ERAS: tuple[Era, ...] = ("legacy", "auto")

PRICE = Dev.price_usd
_MOST_EDITS = 1_000


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

    async def edits(self) -> list[Task]:
        """Everything in the journal, oldest first."""
        journal = Journal(self.folder / "home" / "journal.sqlite3")
        rows = await journal.latest(limit=_MOST_EDITS)
        await journal.close()
        return [task for _, task in reversed(rows)]

    async def assert_books_agree(self) -> None:
        """The journal's ledger is what upstream billed; what nobody can know counts as billed."""
        journal = Journal(self.folder / "home" / "journal.sqlite3")
        spent = sum((row.spent_usd for row in await journal.ledger()), Decimal(0))
        await journal.close()
        tasks = await self.edits()
        unclear = [task for task in tasks if task.status is Status.UNKNOWN]
        prompts = {task.prompt for task in tasks}
        billed = [row for row in self.upstream.billed() if row.prompt in prompts]
        asked = sum((row.price_usd for row in billed), Decimal(0))
        assert asked <= spent <= asked + len(unclear) * PRICE
        known = {task.task_id for task in tasks if task.task_id}
        assert known <= {row.task_id for row in billed}
        assert {row.prompt for row in billed if row.task_id not in known} <= {task.prompt for task in unclear}

    def assert_only_whole_pictures(self) -> list[Path]:
        """The folder of results holds whole pictures and nothing else; returns them."""
        files = [Path(root, name) for root, _, names in os.walk(self.results) for name in names]
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
