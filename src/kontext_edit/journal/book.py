"""The journal as the program works with it.

One row for each edit, in SQLite's WAL mode, so that several processes can share the file. Calls run in a
thread, one at a time; every move is on the disk before its call returns.
"""

import asyncio
import logging
import sqlite3
import statistics
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from kontext_edit.budget import Limit, Spending
from kontext_edit.errors import JournalUnavailable, NoSuchTask, Problem
from kontext_edit.journal import statements
from kontext_edit.journal.file import identity, is_damage, is_damaged, open_file, set_aside
from kontext_edit.journal.statements import LedgerRow
from kontext_edit.task import Picture, Status, Task

logger = logging.getLogger(__name__)

Args = ParamSpec("Args")
Answer = TypeVar("Answer")

_ENOUGH_EDITS = 5


class Journal:
    """The book of all edits on this machine, as one process writes in it.

    Every call raises JournalUnavailable while the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notice: str | None = None
        """What the person has to know about the file."""
        self.on_move: list[Callable[[Task], None]] = []
        """Told of each edit that was begun or moved: by this process, or by another once it is read here."""
        self._seen: dict[str, Status] = {}
        self._holder = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    async def begin(self, task: Task, *, limits: Sequence[Limit] = (), force_new: bool = False) -> Task:
        """The same as `begin_all` for one edit."""
        (begun,) = await self.begin_all([task], limits=limits, force_new=force_new)
        return begun

    async def begin_all(
        self, tasks: Sequence[Task], *, limits: Sequence[Limit] = (), force_new: bool = False
    ) -> list[Task]:
        """Write edits down and reserve their price, before they are submitted.

        Returns:
            For each the task itself, or an earlier one for the same request: under way, never delivered, or
            of unknown fate.

        Raises:
            BudgetExceeded: together they do not fit into a limit; none is written down.
        """
        begun = await self._run(
            statements.begin, tasks, limits=limits, force_new=force_new, holder=self._holder
        )
        return self._noticed(*begun)

    async def earlier(self, task: Task) -> Task | None:
        """The same request from before, as `begin` would tell it."""
        return await self._run(statements.earlier, task)

    async def accepted(self, task: Task, task_id: str, at: float) -> Task:
        """Upstream took the edit."""
        changes = {"task_id": task_id, "accepted_at": at, "error": None, "finished_at": None}
        return await self._move(task, Status.QUEUED, changes)

    async def processing(self, task: Task, obstacle: Problem | None = None) -> Task:
        """Upstream works on it; `obstacle` is what keeps a finished edit's pictures from being saved."""
        return await self._move(task, Status.PROCESSING, {"error": obstacle})

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
        return await self._move(task, Status.SUCCEEDED, changes)

    async def ended(self, task: Task, status: Status, problem: Problem, at: float) -> Task:
        """It failed, or nobody can tell what became of it."""
        return await self._move(task, status, {"error": problem, "finished_at": at})

    async def delivered(self, task: Task, at: float) -> None:
        """Its result went out: asking for the same from now on is a new take."""
        await self._run(statements.deliver, task, at)

    async def end_wait(self, task: Task, at: float | None) -> None:
        """The client ended its waiting for an edit under way; None where one waits for it again."""
        await self._run(statements.end_wait, task, at)

    async def renew(self, ids: Sequence[str], now: float) -> None:
        """Say again that this process looks after these edits."""
        await self._run(statements.renew, ids, self._holder, now)

    async def adopt(self, provider: str, now: float) -> list[Task]:
        """Take over the edits under way that nobody looks after: this provider's, and the half-submitted."""
        return self._noticed(*await self._run(statements.adopt, provider, self._holder, now))

    async def claim(self, task: Task, now: float) -> bool:
        """Take over this edit; False where another process looks after it."""
        return await self._run(statements.claim, task, self._holder, now)

    async def let_go(self) -> None:
        """This process looks after nothing any more; what it submits just now nobody else can know."""
        await self._run(statements.let_go, self._holder)

    async def rest(self, task: Task, until: float) -> None:
        """Leave this edit alone for a while."""
        await self._run(statements.rest, task, until)

    async def get(self, handle: str) -> Task:
        """The edit with this id, upstream's or ours.

        Raises:
            NoSuchTask: nobody here knows it.
        """
        task = await self._run(statements.by_handle, handle)
        if task is None:
            raise _no_such_task(handle)
        return self._noticed(task)[0]

    async def in_batch(self, batch: str) -> list[Task]:
        """The edits that were asked for together.

        Raises:
            NoSuchTask: nobody here knows the name.
        """
        tasks = await self._run(statements.in_batch, batch)
        if not tasks:
            raise _no_such_task(batch)
        return self._noticed(*tasks)

    async def last(self) -> Task | None:
        """The edit that finished last with a picture."""
        return await self._run(statements.last_success)

    async def latest(
        self, *, statuses: Sequence[Status] = (), before: int | None = None, limit: int
    ) -> list[tuple[int, Task]]:
        """Edits with their numbers, latest first, from below the number `before`."""
        rows = await self._run(statements.latest, statuses, before, limit)
        self._noticed(*(task for _, task in rows))
        return rows

    async def spendings(self, limits: Sequence[Limit], now: float) -> list[Spending]:
        """What has gone of each limit."""
        return await self._run(statements.spendings, limits, now)

    async def ledger(self) -> list[LedgerRow]:
        """What was spent, by day, tier and provider."""
        return await self._run(statements.ledger)

    async def usual_seconds(self, tier: str, provider: str) -> tuple[float, float] | None:
        """How long recent edits took to their picture, quick and slow; None while too few are known."""
        seconds = await self._run(statements.durations, tier, provider)
        if len(seconds) < _ENOUGH_EDITS:
            return None
        deciles = statistics.quantiles(seconds, n=10, method="inclusive")
        return deciles[0], deciles[-1]

    async def close(self) -> None:
        """Let go of the file."""
        await asyncio.to_thread(self._close)

    async def _move(self, task: Task, to: Status, changes: dict[str, Any]) -> Task:
        moved = await self._run(statements.move, task, to, changes)
        return self._noticed(moved)[0]

    def _noticed(self, *tasks: Task) -> list[Task]:
        """Tell of each edit that is further than it was seen here before.

        What was over when it was first seen is no news, nor is a reading that a move has overtaken.
        """
        for task in tasks:
            before = self._seen.get(task.id)
            if not task.settled if before is None else _is_further(task.status, before):
                self._seen[task.id] = task.status
                for tell in self.on_move:
                    tell(task)
        return list(tasks)

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
                try:
                    return work(self._opened(), *args, **kwargs)
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    self._close_unlocked()
                    if is_damaged(self.path):
                        self._set_aside()
                    return work(self._opened(), *args, **kwargs)
            except (sqlite3.Error, OSError) as error:
                raise JournalUnavailable(
                    f"The journal {self.path} cannot be used: {error}.",
                    "Nothing is sent while an edit cannot be written down. Ask the person to look at the "
                    "folder (space, rights, another program), or to set KONTEXT_HOME to another one.",
                ) from error

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and identity(self.path) != self._identity:
            self._close_unlocked()  # somebody took the file away: what is written there now, nobody would see
        if self._connection is None:
            self._connection = open_file(self.path)
            self._identity = identity(self.path)
        return self._connection

    def _set_aside(self) -> None:
        """Go on with a new file where the old one is damaged, and say so."""
        aside = set_aside(self.path)
        self.notice = (
            f"The journal was damaged and is kept as {aside}. Edits and spending from before are not known "
            "here any more: repeating one of them may buy it again."
        )
        logger.error("%s", self.notice)

    def _close(self) -> None:
        with self._lock:
            self._close_unlocked()

    def _close_unlocked(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_further(status: Status, before: Status) -> bool:
    """Whether an edit went on, as the statuses stand in order; an unknown one can still turn up."""
    order = list(Status)
    return order.index(status) > order.index(before) or (before is Status.UNKNOWN and status is not before)


def _no_such_task(handle: str) -> NoSuchTask:
    return NoSuchTask(
        f"No edit with the id {handle[:80]!r} was made from this machine.",
        "Use the task_id of a result of edit_image as it stands there; list_tasks shows them all.",
    )
