"""Every edit, written down before money can move. All SQL of the program stands here.

One row for each edit, in SQLite's WAL mode, so that several processes can share the file. Calls run in a
thread, one at a time. The moves around the submission are on the disk before the call returns.
"""

import asyncio
import json
import sqlite3
import statistics
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import TypeAdapter

from kontext_edit.errors import JournalUnavailable, NoSuchTask, Problem
from kontext_edit.task import Picture, Status, Task

Args = ParamSpec("Args")
Answer = TypeVar("Answer")

_MIGRATIONS = (
    """
    CREATE TABLE edits (
        id             TEXT PRIMARY KEY,
        task_id        TEXT UNIQUE,
        provider       TEXT NOT NULL,
        tier           TEXT NOT NULL,
        prompt         TEXT NOT NULL,
        parameters     TEXT NOT NULL,
        sources        TEXT NOT NULL,
        list_price_usd TEXT NOT NULL,
        status         TEXT NOT NULL,
        seed           INTEGER,
        pictures       TEXT NOT NULL DEFAULT '[]',
        warnings       TEXT NOT NULL DEFAULT '[]',
        error          TEXT,
        created_at     REAL NOT NULL,
        accepted_at    REAL,
        finished_at    REAL
    ) STRICT;
    CREATE INDEX edits_by_age ON edits (created_at);
    CREATE INDEX edits_by_tier ON edits (tier, status, finished_at);
    """,
)
"""What makes each version of the schema from the one before; `user_version` counts them."""

_BUSY_SECONDS = 10
_RECENT_EDITS = 40
_ENOUGH_EDITS = 5


class Journal:
    """The book of all edits on this machine.

    Raises:
        JournalUnavailable: from every call, while the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    async def begin(self, task: Task) -> None:
        """Write an edit down, on the disk, before it is submitted."""
        await self._run(_insert, task)

    async def accepted(self, task: Task, task_id: str, at: float) -> Task:
        """Upstream took the edit; on the disk when this returns."""
        return await self._run(_move, task, Status.QUEUED, {"task_id": task_id, "accepted_at": at})

    async def processing(self, task: Task, obstacle: Problem | None = None) -> Task:
        """Upstream works on it; `obstacle` is what keeps a finished edit's pictures from being saved."""
        return await self._run(_move, task, Status.PROCESSING, {"error": obstacle})

    async def succeeded(
        self,
        task: Task,
        pictures: tuple[Picture, ...],
        *,
        seed: int | None,
        warnings: tuple[str, ...],
        at: float,
    ) -> Task:
        """Its pictures are on the disk."""
        changes = {"pictures": pictures, "seed": seed, "warnings": warnings, "finished_at": at, "error": None}
        return await self._run(_move, task, Status.SUCCEEDED, changes)

    async def failed(self, task: Task, problem: Problem, at: float) -> Task:
        """It will not bring a picture."""
        return await self._run(_move, task, Status.FAILED, {"error": problem, "finished_at": at})

    async def unknown(self, task: Task, problem: Problem, at: float) -> Task:
        """It may have been billed, and nobody can tell."""
        return await self._run(_move, task, Status.UNKNOWN, {"error": problem, "finished_at": at})

    async def get(self, handle: str) -> Task:
        """The edit with this id, upstream's or ours.

        Raises:
            NoSuchTask: nobody here knows it.
        """
        task = await self._run(_by_handle, handle)
        if task is None:
            raise NoSuchTask(
                f"No edit with the id {handle[:80]!r} was made from this machine.",
                "Use the task_id from the result of edit_image as it stands there.",
            )
        return task

    async def last(self) -> Task | None:
        """The edit that finished last with a picture."""
        return await self._run(_last_success)

    async def usual_seconds(self, tier: str, provider: str) -> tuple[float, float] | None:
        """How long recent edits took to their picture, quick and slow; None while too few are known."""
        seconds = await self._run(_durations, tier, provider)
        if len(seconds) < _ENOUGH_EDITS:
            return None
        deciles = statistics.quantiles(seconds, n=10, method="inclusive")
        return deciles[0], deciles[-1]

    async def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            await asyncio.to_thread(self._connection.close)
            self._connection = None

    async def _run(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Args], Answer],
        *args: Args.args,
        **kwargs: Args.kwargs,
    ) -> Answer:
        return await asyncio.to_thread(self._locked, work, *args, **kwargs)

    def _locked(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Args], Answer],
        *args: Args.args,
        **kwargs: Args.kwargs,
    ) -> Answer:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _open(self.path)
                return work(self._connection, *args, **kwargs)
            except (sqlite3.Error, OSError) as error:
                raise JournalUnavailable(
                    f"The journal {self.path} cannot be used: {error}.",
                    "Nothing is sent while an edit cannot be written down. Ask the person to look at the "
                    "folder (space, rights), or to set KONTEXT_HOME to another one.",
                ) from error


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for migration in _MIGRATIONS[version:]:
            for statement in filter(str.strip, migration.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(version, len(_MIGRATIONS))}")


_ROW = TypeAdapter(Task)
_AS_JSON = ("parameters", "sources", "pictures", "warnings", "error")


def _to_row(task: Task) -> dict[str, Any]:
    """A task as SQLite takes it: plain values, and JSON for what has parts."""
    row = _ROW.dump_python(task, mode="json")
    return row | {column: json.dumps(row[column], ensure_ascii=False) for column in _AS_JSON}


def _from_row(row: sqlite3.Row) -> Task:
    values = dict(zip(row.keys(), row, strict=True))
    return _ROW.validate_python(values | {column: json.loads(values[column]) for column in _AS_JSON})


def _insert(connection: sqlite3.Connection, task: Task) -> None:
    connection.execute(
        """
        INSERT INTO edits (id, task_id, provider, tier, prompt, parameters, sources, list_price_usd, status,
                           seed, pictures, warnings, error, created_at, accepted_at, finished_at)
        VALUES (:id, :task_id, :provider, :tier, :prompt, :parameters, :sources, :list_price_usd, :status,
                :seed, :pictures, :warnings, :error, :created_at, :accepted_at, :finished_at)
        """,
        _to_row(task),
    )


def _move(connection: sqlite3.Connection, task: Task, to: Status, changes: dict[str, Any]) -> Task:
    """Move a task in one transaction; where it went somewhere else meanwhile, tell where it is."""
    with _transaction(connection):
        current = _by_handle(connection, task.id)
        if current is None:
            raise sqlite3.IntegrityError(f"the edit {task.id} is no longer in it")
        if not current.may_move(to):
            return current
        moved = replace(current, status=to, **changes)
        connection.execute(
            """
            UPDATE edits
            SET task_id = :task_id, status = :status, seed = :seed, pictures = :pictures, error = :error,
                warnings = :warnings, accepted_at = :accepted_at, finished_at = :finished_at
            WHERE id = :id
            """,
            _to_row(moved),
        )
        return moved


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    """All or nothing, and nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _by_handle(connection: sqlite3.Connection, handle: str) -> Task | None:
    row = connection.execute("SELECT * FROM edits WHERE task_id = ?1 OR id = ?1", (handle,)).fetchone()
    return _from_row(row) if row else None


def _last_success(connection: sqlite3.Connection) -> Task | None:
    row = connection.execute(
        "SELECT * FROM edits WHERE status = 'succeeded' ORDER BY finished_at DESC LIMIT 1"
    ).fetchone()
    return _from_row(row) if row else None


def _durations(connection: sqlite3.Connection, tier: str, provider: str) -> list[float]:
    rows = connection.execute(
        """
        SELECT finished_at - accepted_at FROM edits WHERE tier = ? AND provider = ? AND status = 'succeeded'
        ORDER BY finished_at DESC LIMIT ?
        """,
        (tier, provider, _RECENT_EDITS),
    )
    return [float(seconds) for (seconds,) in rows]
