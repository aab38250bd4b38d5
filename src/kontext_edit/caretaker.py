"""Looks after the edits under way: this process's own, and those whose process is gone.

Each edit has one watcher at a time over all processes that share the journal. A watcher holds a lease and
renews it; when its process dies the lease runs out, and the next process takes the edit over, whether or
not any client asks.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context

from kontext_edit.clock import Clock
from kontext_edit.errors import JournalUnavailable
from kontext_edit.journal.book import Journal
from kontext_edit.journal.statements import LEASE_SECONDS
from kontext_edit.task import Task

logger = logging.getLogger(__name__)

Work = Coroutine[object, object, None]

_ROUND_SECONDS = LEASE_SECONDS / 3


class Caretaker:
    """The jobs of this process, one for each edit that it looks after.

    Args:
        journal: holds the leases.
        provider: whose edits can be asked about from here.
        clock: the seam for time.
        resume: what takes an edit up where another process left it.
    """

    def __init__(self, journal: Journal, provider: str, clock: Clock, resume: Callable[[Task], Work]) -> None:
        self._journal = journal
        self._provider = provider
        self._clock = clock
        self._resume = resume
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._rounds: asyncio.Task[None] | None = None

    def start(self, task: Task, work: Work) -> None:
        """Carry out `work` for an edit that this process holds."""
        job = asyncio.create_task(work, name=task.id)
        self._jobs[task.id] = job
        job.add_done_callback(lambda done: self._finished(task, done))

    def job(self, task: Task) -> asyncio.Task[None] | None:
        """What this process does for the edit, while it does."""
        return self._jobs.get(task.id)

    async def take_up(self, tasks: Sequence[Task]) -> None:
        """Look after edits that somebody asks for, unless another process does."""
        foreign = [task for task in tasks if task.id not in self._jobs]
        if not foreign:
            return
        for task in await self._journal.unheld(foreign, self._clock.now()):
            if task.id not in self._jobs and await self._journal.claim(task, self._clock.now()):
                self.start(task, self._resume(task))

    def begin_rounds(self) -> None:
        """From now on renew the leases and take over what was left behind."""
        if self._rounds is None:
            # In a context of its own: what it takes up did not come from the call that opened the parts.
            self._rounds = asyncio.create_task(self._go_round(), name="caretaker", context=Context())

    async def close(self) -> None:
        """Stop looking after anything, and give the leases back, so that another process may go on."""
        running = [*self._jobs.values(), *([self._rounds] if self._rounds else [])]
        for work in running:
            work.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if running:
            with suppress(JournalUnavailable):  # then the leases run out
                await self._journal.let_go()

    async def _go_round(self) -> None:
        while True:
            try:
                await self._look_after_all()
            except JournalUnavailable as error:
                logger.warning("%s", error)
            except Exception:
                logger.exception("a round failed; the next one comes")
            await self._clock.sleep(_ROUND_SECONDS)

    async def _look_after_all(self) -> None:
        now = self._clock.now()
        await self._journal.renew(list(self._jobs), now)
        for task in await self._journal.adopt(self._provider, now):
            if task.id not in self._jobs:
                logger.info("edit %s is taken up from a process that is gone", task.handle)
                self.start(task, self._resume(task))

    def _finished(self, task: Task, job: asyncio.Task[None]) -> None:
        del self._jobs[task.id]
        if not job.cancelled() and (error := job.exception()):
            logger.error("edit %s stopped: %s", task.handle, error, exc_info=error)
