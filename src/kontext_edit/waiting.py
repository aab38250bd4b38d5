"""Where callers wait for edits. Leaving changes nothing: an edit never belongs to who waits for it."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from kontext_edit.caller import Caller
from kontext_edit.caretaker import Caretaker
from kontext_edit.clock import Clock
from kontext_edit.errors import JournalUnavailable, NoSuchTask
from kontext_edit.journal.book import Journal
from kontext_edit.task import SANDBOX, Task
from kontext_edit.tiers import TIERS
from kontext_edit.watcher import Usual, progress_percent

logger = logging.getLogger(__name__)

_TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller gets: how far an edit is, and what there is to say about this moment."""

    task: Task
    progress_percent: float
    notes: tuple[str, ...] = ()


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

    async def wait(self, tasks: list[Task], seconds: float, caller: Caller) -> list[Outcome]:
        """Until all are settled, or can get no further for now, or the time is up."""
        usual = {task.id: await usual_seconds(self._journal, task) for task in tasks}
        deadline = self._clock.monotonic() + seconds
        resting: set[str] = set()
        for task in tasks:
            if task.task_id and not task.settled and self._can_ask_about(task):
                await self._caretaker.take_up(task)
        while moving := [task for task in tasks if self._may_move_soon(task, resting)]:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            done = [100.0 if task.settled else self._percent(task, usual) for task in tasks]
            await caller.progress(sum(done) / len(done), self._sentence(moving, len(tasks)))
            jobs = {task.id: job for task in moving if (job := self._caretaker.job(task))}
            await self._pass_time(set(jobs.values()), min(left, _TICK_SECONDS))
            resting |= {task_id for task_id, job in jobs.items() if job.done()}
            tasks = [task if task.settled else await self._latest(task) for task in tasks]
        return [Outcome(task, self._percent(task, usual), self._notes(task)) for task in tasks]

    async def _latest(self, task: Task) -> Task:
        """How far an edit is; as it was known before, while the journal cannot tell."""
        try:
            return await self._journal.get(task.id)
        except (JournalUnavailable, NoSuchTask) as error:
            logger.warning("task %s: %s", task.handle, error)
            return task

    def _may_move_soon(self, task: Task, resting: set[str]) -> bool:
        """Whether waiting makes sense: a fetch that failed, say, is tried again much later."""
        return not task.settled and task.id not in resting and self._can_ask_about(task)

    async def _pass_time(self, jobs: set[asyncio.Task[None]], seconds: float) -> None:
        """Until one of the jobs is done, at most so long."""
        tick = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({tick, *jobs}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tick.cancel()

    def _percent(self, task: Task, usual: Mapping[str, Usual]) -> float:
        return progress_percent(task.age(self._clock.now()), usual[task.id])

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
    return TIERS[task.tier].usual_seconds
