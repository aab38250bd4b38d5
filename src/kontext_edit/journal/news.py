"""How far each edit was seen by this process, and who is told when it is further."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from kontext_edit.errors import JournalUnavailable
from kontext_edit.task import SETTLED, Status, Task

logger = logging.getLogger(__name__)

_MOST_SEEN = 10_000
"""Of so many edits it is remembered how far they were seen: those that were heard of last."""
_AGAIN_SECONDS = 1.0
_PLACES = {status: place for place, status in enumerate(Status)}


class News:
    """What is told of edits, on the event loop's thread.

    Args:
        read: brings edits from the journal, by our ids.
    """

    def __init__(self, read: Callable[[Sequence[str]], Awaitable[Sequence[Task]]]) -> None:
        self.on_move: list[Callable[[Task], None]] = []
        self.on_ring: list[Callable[[str], None]] = []
        self._read = read
        self._seen: OrderedDict[str, Status] = OrderedDict()
        self._heard: dict[str, None] = {}
        self._reading: asyncio.Task[None] | None = None

    def noticed(self, tasks: Iterable[Task], *, moved: bool = False) -> None:
        """Tell of each edit that is further than it was seen here before.

        What was over when it was first seen is no news, unless it just `moved`; nor is a reading that a move
        has overtaken.
        """
        for task in tasks:
            before = self._seen.get(task.id)
            if moved or not task.settled if before is None else _is_further(task.status, before):
                self._seen[task.id] = task.status
                self._seen.move_to_end(task.id)
                for tell in self.on_move:
                    tell(task)
        while len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)

    def moved(self, statuses: Mapping[str, str]) -> None:
        """Processes moved edits: what is not known of them here is read and told."""
        seen = self._seen
        self._look_up(
            task_id
            for task_id, status in statuses.items()
            if task_id not in seen or _is_further(Status(status), seen[task_id])
        )

    def rung(self, name: str) -> None:
        """A process said a word."""
        for tell in self.on_ring:
            tell(name)

    def caught_up(self) -> None:
        """What is under way, as far as it was seen here, may have moved on unheard."""
        self._look_up(task_id for task_id, status in self._seen.items() if status not in SETTLED)

    async def close(self) -> None:
        """Read nothing any more."""
        self._heard.clear()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look_up(self, ids: Iterable[str]) -> None:
        self._heard |= dict.fromkeys(ids)
        if self._heard and (self._reading is None or self._reading.done()):
            self._reading = asyncio.get_running_loop().create_task(self._read_heard(), name="journal's news")

    async def _read_heard(self) -> None:
        while ids := list(self._heard):
            self._heard.clear()
            try:
                self.noticed(await self._read(ids), moved=True)
            except JournalUnavailable as error:
                logger.warning("%s", error)
                self._heard |= dict.fromkeys(ids)
                await asyncio.sleep(_AGAIN_SECONDS)


class Ears:
    """Carries what a thread of the engine's hears to the news, on an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, news: News) -> None:
        self._loop = loop
        self._news = news

    def moved(self, statuses: Mapping[str, str]) -> None:
        """Edits, by our ids, are somewhere else."""
        self._soon(self._news.moved, statuses)

    def rung(self, name: str) -> None:
        """A process said a word."""
        self._soon(self._news.rung, name)

    def caught_up(self) -> None:
        """Hearing begins, perhaps again."""
        self._soon(self._news.caught_up)

    def _soon(self, work: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is told any more
            self._loop.call_soon_threadsafe(work, *args)


def _is_further(status: Status, before: Status) -> bool:
    """Whether an edit went on, as the statuses stand in order; an unknown one can still turn up."""
    return _PLACES[status] > _PLACES[before] or (before is Status.UNKNOWN and status is not before)
