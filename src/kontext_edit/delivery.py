"""When a result counts as delivered, so that asking for the same again is a deliberate new take."""

import asyncio
from contextlib import suppress

from kontext_edit.clock import Clock
from kontext_edit.errors import JournalUnavailable
from kontext_edit.journal.book import Journal
from kontext_edit.task import Status, Task

_ARRIVAL_SECONDS = 3.0
"""An assistant that wants a new take thinks for longer; a client that just gave up asks again sooner."""


class Deliveries:
    """The results that go out."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._going_out: dict[asyncio.Task[None], Task] = {}

    def hand_over(self, task: Task) -> None:
        """Its result goes out now, and counts as delivered a moment later.

        The moment is for a caller that gave up just then and asks again.
        """
        if task.status is Status.SUCCEEDED and task.delivered_at is None:
            delivery = asyncio.create_task(self._deliver_in_a_moment(task))
            self._going_out[delivery] = task
            delivery.add_done_callback(lambda done: self._going_out.pop(done, None))

    async def delivered(self, task: Task) -> None:
        """The caller has the result."""
        with suppress(JournalUnavailable):  # then asking again brings it once more, which costs nothing
            await self._journal.delivered(task, self._clock.now())

    async def close(self) -> None:
        """What went out counts as delivered."""
        going_out = dict(self._going_out)
        for delivery in going_out:
            delivery.cancel()
        for task in going_out.values():
            await self.delivered(task)

    async def _deliver_in_a_moment(self, task: Task) -> None:
        await self._clock.sleep(_ARRIVAL_SECONDS)
        await self.delivered(task)
