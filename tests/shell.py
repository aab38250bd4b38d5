"""A person's shell for tests: commands in this process, or in one of their own."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import LoopbackSandbox

from kontext_edit.cli import run
from kontext_edit.journal.book import Journal
from kontext_edit.task import SANDBOX, Picture, Source, Task

COFFEE = Path(__file__).parents[1] / "examples" / "coffee.png"


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def paths(self) -> list[Path]:
        return [Path(line) for line in self.out.splitlines()]


Typed = Callable[..., Ended]


@pytest.fixture
def typed(
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    loopback: LoopbackSandbox,
) -> Typed:
    """A person's shell, whose edits go to the sandbox on this machine. Returns what a command does."""
    for name in [name for name in os.environ if name.startswith(("NOVITA_", "KONTEXT_"))]:
        monkeypatch.delenv(name)
    for name, value in (environ | loopback.environ | {"COLUMNS": "200", "TERM": "xterm"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    quick = quick_edits(tmp_path)
    asyncio.run(written(tmp_path / "home", *quick))

    def type_in(*words: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            run(words)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ended(int(ended.value.code or 0), out, err)

    return type_in


def quick_edits(folder: Path) -> list[Task]:
    """Enough quick edits for a journal that expects the next one to be quick too."""
    return [
        an_edit(f"edit-{tier}-{number}", task_id=f"{tier}-{number}", tier=tier, folder=folder)
        for tier in ("dev", "pro", "max")
        for number in range(5)
    ]


def an_edit(
    name: str,
    *,
    tier: str = "pro",
    task_id: str | None = None,
    provider: str = SANDBOX,
    folder: Path | None = None,
) -> Task:
    """An edit as it stands in a journal; done, where there is a folder with its picture."""
    pictures = () if folder is None else (Picture(folder / "gone.png", 1, 1, "png", 1, "", None),)
    return Task(
        id=name,
        provider=provider,
        tier=tier,
        prompt=f"Edit {name}",
        parameters={},
        sources=(Source("data:", ""),),
        list_price_usd=Decimal("0.036"),
        created_at=1_790_000_000,
        task_id=task_id,
        pictures=pictures,
    )


async def written(home: Path, *tasks: Task) -> None:
    """Write edits down, each as far as its fields say."""
    journal = Journal(home / "journal.sqlite3")
    for task in tasks:
        begun = await journal.begin(replace(task, task_id=None, pictures=()))
        if task.task_id:
            begun = await journal.accepted(begun, task.task_id, task.created_at)
        if task.pictures:
            await journal.succeeded(begun, task.pictures, seed=7, warnings=(), at=task.created_at + 0.1)
    await journal.close()


def plain(text: str) -> str:
    """What a terminal shows, without colours and frames, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[│╭╮╰╯─]", " ", text))


@contextmanager
def started(*words: str, **environ: str) -> Generator[subprocess.Popen[str]]:
    """`python -m kontext_edit` as a process of its own, which does not outlive the test."""
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "kontext_edit", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUTF8": "1"} | environ,
    )
    killer = threading.Timer(60, process.kill)
    killer.start()
    with process:
        yield process
        process.kill()
    killer.cancel()
