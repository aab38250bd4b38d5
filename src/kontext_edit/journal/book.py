"""The journal as the program works with it.

One row for each edit, in a file of SQLite's or a database of PostgreSQL's, which several processes can share.
Calls run in a thread; every move is on the disk before its call returns.
"""

import asyncio
import statistics
import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import SecretStr

from kontext_edit.budget import Allowance, Limit, Spending
from kontext_edit.errors import InvalidArguments, JournalUnavailable, NoSuchTask, Problem
from kontext_edit.journal import facts, statements, sums
from kontext_edit.journal.engines import engine_at
from kontext_edit.journal.news import Ears, News
from kontext_edit.journal.session import Session
from kontext_edit.journal.statements import LedgerRow, Terms
from kontext_edit.task import Picture, Status, Task
from kontext_edit.tokens import Token

Args = ParamSpec("Args")
Answer = TypeVar("Answer")

_ENOUGH_EDITS = 5
_ENOUGH_FOR_DECILES = 9


class Journal:
    """The book of all edits, as one process writes in it.

    Every call raises JournalUnavailable while the file or database cannot be opened, read or written.

    Args:
        place: the file, or the URL of a PostgreSQL database.
        private: whether callers are elsewhere, and are not told where a file is.

    Raises:
        InvalidSettings: the URL is none, or the driver for it is not installed.
    """

    def __init__(self, place: Path | SecretStr, *, private: bool = False) -> None:
        self._engine = engine_at(place, private=private)
        self._news = News(self._read)
        self._hears = False
        self.on_move = self._news.on_move
        """Told of each edit that was begun or moved: by this process, or by another once it is known here."""
        self.on_ring = self._news.on_ring
        """Told of each `ring`, of this process or another."""
        self.on_failure: list[Callable[[], None]] = []
        """Told each time that the journal could not be used, on the event loop's thread."""
        self._holder = uuid.uuid4().hex

    @property
    def place(self) -> str:
        """Where it is, for people; no password."""
        return self._engine.place

    @property
    def path(self) -> Path:
        """The file, where it is one."""
        return Path(self._engine.place)

    @property
    def notice(self) -> str | None:
        """What the person has to know about the file."""
        return self._engine.notice

    @property
    def hears_others(self) -> bool:
        """Whether `on_move` and `on_ring` are told of other processes as it happens, at this moment."""
        return self._engine.hears_others

    async def begin(
        self,
        task: Task,
        *,
        limits: Sequence[Limit] = (),
        allowance: Allowance | None = None,
        force_new: bool = False,
    ) -> Task:
        """The same as `begin_all` for one edit."""
        (begun,) = await self.begin_all([task], limits=limits, allowance=allowance, force_new=force_new)
        return begun

    async def begin_all(
        self,
        tasks: Sequence[Task],
        *,
        limits: Sequence[Limit] = (),
        allowance: Allowance | None = None,
        force_new: bool = False,
    ) -> list[Task]:
        """Write one owner's edits down and reserve their price, before they are submitted.

        Returns:
            For each the task itself, or an earlier one for the same request: under way, never delivered, or
            of unknown fate.

        Raises:
            TooManyEdits: the new ones are more than their owner is allowed; none is written down.
            BudgetExceeded: together they do not fit into a limit; none is written down.
        """
        terms = Terms(limits, allowance, force_new)
        begun = await self._run(statements.begin, tasks, terms, self._holder)
        return self._noticed(*begun)

    async def earlier(self, task: Task) -> Task | None:
        """The same request from before, as `begin` would tell it."""
        return await self._run(statements.earlier, task)

    async def sending(self, task: Task) -> Task:
        """Its turn has come: it is about to be submitted.

        Returns:
            The edit, SUBMITTING; with any other status it must not be sent, because somebody else has taken
            it over or ended it.
        """
        sending = await self._run(statements.send, task, self._holder)
        return self._noticed(sending)[0]

    async def accepted(self, task: Task, task_id: str, at: float) -> Task:
        """Upstream took the edit."""
        changes = {"task_id": task_id, "accepted_at": at, "error": None, "finished_at": None}
        return await self._move(task, Status.QUEUED, changes)

    async def processing(self, task: Task, obstacle: Problem | None = None) -> Task:
        """Upstream works on it; `obstacle` is what keeps a finished edit's pictures from being saved."""
        return await self._move(task, Status.PROCESSING, {"error": obstacle})

    async def succeeded(  # noqa: PLR0913 - what is known of an edit at its end
        self,
        task: Task,
        pictures: tuple[Picture, ...],
        *,
        seed: int | None,
        warnings: tuple[str, ...],
        at: float,
        render_seconds: float | None = None,
    ) -> Task:
        """Its pictures are on the disk; upstream worked on it for `render_seconds`, where that is known."""
        changes = {
            "pictures": pictures,
            "seed": seed,
            "warnings": warnings,
            "error": None,
            "finished_at": at,
            "render_seconds": render_seconds,
        }
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
        """Take over edits under way that nobody looks after, and not more than some hundreds.

        They are this provider's, and those of any provider that upstream has given no id.
        """
        return self._noticed(*await self._run(statements.adopt, provider, self._holder, now))

    async def claim(self, task: Task, now: float) -> bool:
        """Take over this edit; False where another process looks after it."""
        return await self._run(statements.claim, task, self._holder, now)

    async def unheld(self, tasks: Sequence[Task], now: float) -> list[Task]:
        """Those of these edits that no process looks after now."""
        free = await self._run(statements.unheld, [task.id for task in tasks], now)
        return [task for task in tasks if task.id in free]

    async def let_go(self) -> None:
        """This process looks after nothing any more; what it submits just now nobody else can know."""
        await self._run(statements.let_go, self._holder)

    async def rest(self, task: Task, until: float) -> None:
        """Leave this edit alone for a while."""
        await self._run(statements.rest, task, until)

    async def current(self, tasks: Sequence[Task]) -> list[Task]:
        """How far edits are, for who has them already; one that is gone is told as it was."""
        found = {task.id: task for task in await self._run(statements.by_ids, [task.id for task in tasks])}
        return self._noticed(*(found.get(task.id, task) for task in tasks))

    async def get(self, handle: str, owner: str) -> Task:
        """The owner's edit with this id, upstream's or ours.

        Raises:
            NoSuchTask: nobody here knows it, or it is somebody else's.
        """
        task = await self._run(statements.by_handle, handle) if _storable(handle) else None
        if task is None or task.owner != owner:
            raise _no_such_task(handle)
        return self._noticed(task)[0]

    async def number_of(self, edit_id: str, owner: str) -> int:
        """The number of the owner's edit with this id of ours, by which `latest` goes on.

        Raises:
            NoSuchTask: nobody here knows it, or it is somebody else's.
        """
        number = await self._run(statements.number_of, edit_id, owner) if _storable(edit_id) else None
        if number is None:
            raise _no_such_task(edit_id)
        return number

    async def in_batch(self, batch: str, owner: str) -> list[Task]:
        """The owner's edits that were asked for together.

        Raises:
            NoSuchTask: nobody here knows the name, or it is somebody else's.
        """
        found = await self._run(statements.in_batch, batch) if _storable(batch) else []
        tasks = [task for task in found if task.owner == owner]
        if not tasks:
            raise _no_such_task(batch)
        return self._noticed(*tasks)

    async def last(self, owner: str) -> Task | None:
        """The owner's edit that finished last with a picture."""
        return await self._run(statements.last_success, owner)

    async def latest(
        self, owner: str, *, statuses: Sequence[Status] = (), before: int | None = None, limit: int
    ) -> list[tuple[int, Task]]:
        """The owner's edits with their numbers, latest first, from below the number `before`."""
        rows = await self._run(statements.latest, owner, statuses, before, limit)
        self._noticed(*(task for _, task in rows))
        return rows

    async def spendings(self, limits: Sequence[Limit], owner: str, now: float) -> list[Spending]:
        """What has gone of each limit: of an owner's, what the owner spent; of the others, what all did."""
        return await self._run(sums.spendings, limits, owner, now)

    async def ledger(self) -> list[LedgerRow]:
        """What was spent, by day, tier and provider."""
        return await self._run(statements.ledger)

    async def usual_seconds(self, tier: str, provider: str) -> tuple[float, ...] | None:
        """How long upstream worked on recent edits: the nine deciles.

        While few edits are known, only the first decile and the last; None while hardly any are.
        """
        seconds = await self._run(sums.durations, tier, provider)
        if len(seconds) < _ENOUGH_EDITS:
            return None
        deciles = statistics.quantiles(seconds, n=10, method="inclusive")
        return tuple(deciles) if len(seconds) >= _ENOUGH_FOR_DECILES else (deciles[0], deciles[-1])

    async def shared(self, name: str, change: Callable[[str | None], str]) -> str:
        """Read and change what all processes know under a name, while no other process can.

        Args:
            name: of the fact.
            change: makes the new value of the one before, None where there is none; called in a thread.
        """
        return await self._run(facts.share, name, change)

    async def add_token(self, name: str, digest: str, scopes: Sequence[str], at: float) -> None:
        """Know a caller by a token, of which only the digest is kept.

        Raises:
            InvalidArguments: the name is taken.
        """
        if not await self._run(facts.add_token, Token(name, digest, tuple(scopes), at)):
            raise InvalidArguments([f"There is a token with the name {name!r} already."], "Take another.")

    async def token(self, digest: str) -> Token | None:
        """The token with this digest."""
        return await self._run(facts.token, digest)

    async def tokens(self) -> list[Token]:
        """All tokens, by name."""
        return await self._run(facts.tokens)

    async def remove_token(self, name: str) -> bool:
        """Forget a token; False where there is none of this name."""
        return await self._run(facts.remove_token, name)

    async def ring(self, name: str) -> None:
        """Say a word to all processes that share the journal, this one included."""
        with self._failure_told():
            carried = await asyncio.to_thread(self._engine.ring, name)
        if not carried:
            self._news.rung(name)

    async def open(self) -> None:
        """Hear from now on what other processes do, where the journal can tell.

        Without it that begins with the first call after somebody wants to be told.
        """
        if not self.hears_others:
            with self._failure_told():
                await asyncio.wrap_future(self._hear())

    async def close(self) -> None:
        """Let go of the file or database."""
        self._hears = False
        await self._news.close()
        await asyncio.to_thread(self._engine.close)

    async def _move(self, task: Task, to: Status, changes: dict[str, Any]) -> Task:
        moved = await self._run(statements.move, task, to, changes)
        return self._noticed(moved)[0]

    def _noticed(self, *tasks: Task) -> list[Task]:
        self._news.noticed(tasks)
        return list(tasks)

    async def _read(self, ids: Sequence[str]) -> list[Task]:
        return await self._run(statements.by_ids, ids)

    async def _run(
        self, work: Callable[Concatenate[Session, Args], Answer], *args: Args.args, **kwargs: Args.kwargs
    ) -> Answer:
        if not self._hears and (self.on_move or self.on_ring):
            self._hear()
        with self._failure_told():
            return await asyncio.to_thread(self._engine.run, lambda session: work(session, *args, **kwargs))

    @contextmanager
    def _failure_told(self) -> Generator[None]:
        try:
            yield
        except JournalUnavailable:
            for tell in self.on_failure:
                tell()
            raise

    def _hear(self) -> Future[None]:
        self._hears = True
        return self._engine.hear(Ears(asyncio.get_running_loop(), self._news))


def _storable(name: str) -> bool:
    """Whether a database can hold it at all: a caller may send any text."""
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)


def _no_such_task(handle: str) -> NoSuchTask:
    return NoSuchTask(
        f"No edit with the id {handle[:80]!r} is known here.",
        "Use the task_id of a result of edit_image as it stands there; list_tasks shows them all.",
    )
