"""Where callers wait for edits. Leaving changes nothing: an edit never belongs to who waits for it."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from kontext_edit.caller import Caller
from kontext_edit.caretaker import Caretaker
from kontext_edit.clock import Clock
from kontext_edit.errors import JournalUnavailable
from kontext_edit.journal.book import Journal
from kontext_edit.task import SANDBOX, Task
from kontext_edit.tiers import TIERS
from kontext_edit.watcher import Usual, progress_percent

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_USUAL_IN_THE_SANDBOX = (2.0, 2.2)
_PATROL_SECONDS = 10.0
"""How often an edit is read again, though the journal tells of every move: news can get lost on a wire."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller gets: how far an edit is, and what there is to say about this moment."""

    task: Task
    progress_percent: float
    notes: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class _Ear:
    """What one caller heard since they began to wait."""

    bell: asyncio.Event = field(default_factory=asyncio.Event)
    news: dict[str, Task] = field(default_factory=dict[str, Task])
    read_at: float = 0.0


class WaitingRoom:
    """Lets callers wait for edits, whoever looks after these.

    Args:
        journal: what happens to an edit stands there, also when another process does it.
        caretaker: this process's own jobs, whose end is noticed at once.
        provider: whose edits can be asked about from here.
        clock: the seam for time.
    """

    def __init__(self, journal: Journal, caretaker: Caretaker, provider: str, clock: Clock) -> None:
        self._journal = journal
        self._caretaker = caretaker
        self._provider = provider
        self._clock = clock
        self._ears: defaultdict[str, set[_Ear]] = defaultdict(set)
        self._closing = False
        journal.on_move.append(self._hear)

    def close(self) -> None:
        """Nobody waits any longer: all are told what is true now, and the edits go on elsewhere."""
        self._closing = True
        for ear in {ear for ears in self._ears.values() for ear in ears}:
            ear.bell.set()

    async def wait(self, tasks: list[Task], seconds: float, caller: Caller) -> list[Outcome]:
        """Until all are settled, or can get no further for now, or the time is up."""
        deadline = self._clock.monotonic() + seconds
        resting: set[str] = set()
        told = -1.0
        with self._listening(tasks) as ear:
            kinds = {(task.tier, task.provider): task for task in tasks if not task.settled}
            usual = {kind: await usual_seconds(self._journal, task) for kind, task in kinds.items()}
            await self._caretaker.take_up(
                [task for task in tasks if task.task_id and self._may_move_soon(task, resting)]
            )
            # What happened before anybody listened is read.
            tasks = await self._known(tasks, ear, ended={task.id for task in tasks}, in_work=set())
            while moving := [task for task in tasks if self._may_move_soon(task, resting)]:
                left = deadline - self._clock.monotonic()
                if left <= 0 or self._closing:
                    break
                done = [self._percent(task, usual) for task in tasks]
                if (percent := sum(done) / len(done)) > told:  # an edit that was just accepted looks younger
                    told = percent
                    await caller.progress(percent, self._sentence(moving, len(tasks)))
                jobs = {task.id: job for task in moving if (job := self._caretaker.job(task))}
                await self._pass_time(set(jobs.values()), ear.bell, min(left, _TICK_SECONDS))
                ended = {task_id for task_id, job in jobs.items() if job.done()}
                resting |= ended
                tasks = await self._known(tasks, ear, ended=ended, in_work={*jobs} - ended)
        return [Outcome(task, self._percent(task, usual), self._notes(task)) for task in tasks]

    @contextmanager
    def _listening(self, tasks: Sequence[Task]) -> Generator[_Ear]:
        """Hear of each move of these edits that this process makes or is told of."""
        ear = _Ear(read_at=self._clock.monotonic())
        for task in tasks:
            self._ears[task.id].add(ear)
        try:
            yield ear
        finally:
            for task in tasks:
                self._ears[task.id].discard(ear)
                if not self._ears[task.id]:
                    del self._ears[task.id]

    def _hear(self, task: Task) -> None:
        for ear in self._ears.get(task.id, ()):
            ear.news[task.id] = task
            ear.bell.set()

    async def _known(
        self, tasks: Sequence[Task], ear: _Ear, *, ended: set[str], in_work: set[str]
    ) -> list[Task]:
        """How far edits are by now; what nobody here would hear of is read."""
        ear.bell.clear()
        tasks = [ear.news.pop(task.id, task) for task in tasks]
        now, to_read = self._clock.monotonic(), ended
        if now - ear.read_at >= (_PATROL_SECONDS if self._journal.hears_others else _TICK_SECONDS):
            ear.read_at = now
            to_read = {task.id for task in tasks} - in_work
        asked = [task for task in tasks if not task.settled and task.id in to_read]
        read = {task.id: task for task in await self._read(asked)} if asked else {}
        return [read.get(task.id, task) for task in tasks]

    async def _read(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """How far edits are; as they were known before, while the journal cannot tell."""
        try:
            return await self._journal.current(tasks)
        except JournalUnavailable as error:
            logger.warning("task %s: %s", tasks[0].handle, error)
            return tasks

    def _may_move_soon(self, task: Task, resting: set[str]) -> bool:
        """Whether waiting makes sense: a fetch that failed, say, is tried again much later."""
        return not task.settled and task.id not in resting and self._can_ask_about(task)

    async def _pass_time(self, jobs: set[asyncio.Task[None]], bell: asyncio.Event, seconds: float) -> None:
        """Until one of the jobs is done or there is news, at most so long."""
        ends = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(bell.wait())]
        try:
            await asyncio.wait({*ends, *jobs}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def _percent(self, task: Task, usual: Mapping[tuple[str, str], Usual]) -> float:
        if task.settled:
            return 100.0
        return progress_percent(task.age(self._clock.now()), usual[task.tier, task.provider])

    def _sentence(self, moving: list[Task], of: int) -> str:
        """What a person reads while they wait."""
        first = moving[0]
        who = "The sandbox paints" if first.provider == SANDBOX else f"Kontext {first.tier.title()} edits"
        sentence = f"{who} for {first.age(self._clock.now()):.0f} s"
        return sentence if of == 1 else f"{sentence}, {of - len(moving)} of {of} done"

    def _notes(self, task: Task) -> tuple[str, ...]:
        notes = [self._journal.notice] if self._journal.notice else []
        if not task.settled and not self._can_ask_about(task):
            notes.append(f"This edit is with the provider {task.provider!r}; the server is set to another.")
        return tuple(notes)

    def _can_ask_about(self, task: Task) -> bool:
        return task.provider == self._provider


async def usual_seconds(journal: Journal, task: Task) -> Usual:
    """How long an edit like this tends to take: from experience, else the spec's first guess."""
    with suppress(JournalUnavailable):
        if usual := await journal.usual_seconds(task.tier, task.provider):
            return usual
    return _USUAL_IN_THE_SANDBOX if task.provider == SANDBOX else TIERS[task.tier].usual_seconds
