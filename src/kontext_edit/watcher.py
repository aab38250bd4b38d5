"""Waits for tasks. When to ask upstream is a pure function of time; the clock is handed in."""

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from kontext_edit.clock import Clock
from kontext_edit.errors import KeyRejected, RateLimited, TaskGone, UpstreamError
from kontext_edit.novita import Novita, RemoteStatus, Result
from kontext_edit.pace import Pacemaker
from kontext_edit.polling import LONGEST_PAUSE, Usual, pause_before_poll, pause_beside_bell

logger = logging.getLogger(__name__)

_PATIENCE_WITH_A_MISSING_TASK = 60.0
"""Seconds for which a task that upstream does not know may merely not be there yet."""
_PATIENCE = 24 * 3600.0
"""Seconds after which upstream, whose links live for an hour, will not bring the picture any more."""
_PATIENCE_AFTER_A_JUMP = 60.0
"""So long an edit is watched at least, since a clock that was set makes it look old."""

_FIRST_INTERVAL = 0.05
"""Seconds between questions after the first refusal of one."""
_BETWEEN_RINGS = 1.0
"""However often an edit rings, upstream is asked about it once in so many seconds."""
_UNHEARD_RINGS = 1_000
_ENDS_WITHOUT_A_RING = 3
"""After so many in a row the bell is taken for broken, until it rings again."""
_CLOCKS_DIFFER = 1.0
_SHORTEST_USUAL = 0.1


def progress_percent(elapsed: float, usual: Usual) -> float:
    """How far an edit may be: it nears 99 with every second and never says done.

    The API fills no progress for these models [docs], so it is told from the time gone by: about 80 when
    the slow end of the usual time is reached.
    """
    return 99 * (1 - math.exp(-1.6 * max(0.0, elapsed) / max(_SHORTEST_USUAL, usual[-1])))


@dataclass(slots=True)
class _Watch:
    """What is known of one task while it is watched. Times are seconds since upstream took it."""

    task_id: str
    since: float
    usual: Usual
    bell: asyncio.Event | None
    begun_at: float
    """On the monotonic clock."""
    running_at: float | None = None
    """When it was last seen not to be done."""
    asked_at: float = -math.inf
    """On the monotonic clock."""
    rang_at: float | None = None
    rang: bool = False
    """Whether the question that is asked now follows a ring."""


class Watcher:
    """Asks upstream about a task until it is done.

    Args:
        novita: the client.
        clock: the seam for time.
    """

    def __init__(self, novita: Novita, clock: Clock) -> None:
        self._novita = novita
        self._clock = clock
        self._pace = Pacemaker(clock, name="polls", first=_FIRST_INTERVAL)
        self._bells: dict[str, asyncio.Event] = {}
        self._unheard: OrderedDict[str, None] = OrderedDict()
        self._silent_ends = 0

    def ring(self, edit_id: str) -> None:
        """Somebody says that there is news of this edit, by our own id: ask upstream soon.

        It need not be true. Who watches an edit a moment later hears it too.
        """
        self._silent_ends = 0
        if bell := self._bells.get(edit_id):
            bell.set()
            return
        self._unheard[edit_id] = None
        if len(self._unheard) > _UNHEARD_RINGS:
            self._unheard.popitem(last=False)

    async def until_done(  # noqa: PLR0913 - each by name
        self,
        task_id: str,
        *,
        since: float,
        usual: Usual,
        at_once: bool = False,
        bell: str | None = None,
        on_processing: Callable[[], Awaitable[None]],
    ) -> Result:
        """Ask until upstream says succeeded or failed; cuts, 5xx, 429 and unreadable answers only delay it.

        Args:
            task_id: upstream's id.
            since: when upstream took the edit, in seconds since the epoch.
            usual: how long such an edit tends to take.
            at_once: ask without a pause first, since it may be done already.
            bell: the name under which `ring` tells of the end, where upstream was asked to; None where it
                was not. With a bell, questions are only for what got lost.
            on_processing: called once, when upstream works on it.

        Returns:
            The last answer, with `render_seconds` as well as they can be known.

        Raises:
            TaskGone: upstream does not know the task, also a minute later, or never ends it.
        """
        watch = _Watch(task_id, since, usual, self._hung_up(bell), self._clock.monotonic())
        try:
            return await self._ask_until_done(watch, on_processing, at_once=at_once)
        finally:
            if bell is not None:
                self._bells.pop(bell, None)

    async def _ask_until_done(
        self, watch: _Watch, on_processing: Callable[[], Awaitable[None]], *, at_once: bool
    ) -> Result:
        told = False
        while True:
            if not at_once:
                await self._rest(watch)
            at_once = False
            result = await self._ask(watch)
            elapsed = self._elapsed(watch)
            if result and result.status in (RemoteStatus.SUCCEED, RemoteStatus.FAILED):
                self._note_end(watch)
                return replace(result, render_seconds=_render_seconds(result, watch, elapsed))
            if elapsed > _PATIENCE and self._watched(watch) > _PATIENCE_AFTER_A_JUMP:
                raise TaskGone(f"The API did not end the task {watch.task_id} within a day.")
            if result:
                watch.running_at = elapsed
            if result and result.status is not RemoteStatus.QUEUED and not told:
                told = True
                await on_processing()

    def _elapsed(self, watch: _Watch) -> float:
        return max(0.0, self._clock.now() - watch.since)

    def _watched(self, watch: _Watch) -> float:
        return self._clock.monotonic() - watch.begun_at

    def _hung_up(self, name: str | None) -> asyncio.Event | None:
        """The bell of an edit, rung already where it rang before anybody watched."""
        if name is None:
            return None
        bell = self._bells[name] = asyncio.Event()
        if name in self._unheard:
            del self._unheard[name]
            bell.set()
        return bell

    async def _rest(self, watch: _Watch) -> None:
        """Until the next question is due: by time, or because the edit rings."""
        elapsed = self._elapsed(watch)
        watch.rang = False
        if watch.bell is None:
            await self._clock.sleep(pause_before_poll(elapsed, watch.usual))
            return
        await self._hear(watch.bell, self._pause_with_bell(watch, elapsed))
        if watch.bell.is_set():
            watch.rang = True
            too_soon = watch.asked_at + _BETWEEN_RINGS - self._clock.monotonic()
            if too_soon > 0:
                await self._clock.sleep(too_soon)
            watch.rang_at = self._elapsed(watch)
            watch.bell.clear()

    def _pause_with_bell(self, watch: _Watch, elapsed: float) -> float:
        """Rarely; soon again after a ring that was not true yet, and as ever where the bell is broken."""
        if self._silent_ends >= _ENDS_WITHOUT_A_RING:
            return pause_before_poll(elapsed, watch.usual)
        pause = pause_beside_bell(elapsed, watch.usual)
        if watch.rang_at is None:
            return pause
        return min(pause, max(_BETWEEN_RINGS, elapsed - watch.rang_at))

    async def _hear(self, bell: asyncio.Event, seconds: float) -> None:
        """Until the bell rings, at most so long."""
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(bell.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _note_end(self, watch: _Watch) -> None:
        """Count the ends of which no ring told."""
        if watch.bell is None or watch.rang_at is not None:
            return
        self._silent_ends += 1
        if self._silent_ends == _ENDS_WITHOUT_A_RING:
            logger.warning(
                "the last %d edits ended without a call of the API's webhook, so it is asked as often as "
                "without one; is this server's public URL reachable?",
                _ENDS_WITHOUT_A_RING,
            )

    async def _ask(self, watch: _Watch) -> Result | None:
        """One question; None where no usable answer came, which is waited out."""
        asked_at = await self._pace.slot()
        watch.asked_at = self._clock.monotonic()
        try:
            result = await self._novita.result(watch.task_id)
        except TaskGone:
            if self._elapsed(watch) > _PATIENCE_WITH_A_MISSING_TASK:
                raise
            return None
        except RateLimited as error:
            await self._pace.refused(error.retry_after, sent_at=asked_at)
            return None
        except KeyRejected as error:
            logger.warning("task %s: %s", watch.task_id, error)
            await self._clock.sleep(LONGEST_PAUSE)
            return None
        except UpstreamError as error:
            logger.info("task %s: asked in vain: %s", watch.task_id, error)
            await self._clock.sleep(error.retry_after or 0)
            return None
        self._pace.went_well()
        if result.status is None:
            logger.warning(
                "task %s: unheard-of status %r, taken as still running", watch.task_id, result.status_word
            )
        return result


def _render_seconds(result: Result, watch: _Watch, elapsed: float) -> float | None:
    """How long upstream worked on a task that was just seen to be done.

    Its own clock tells, where that agrees with what was seen from here. Else it is taken for half-way
    between the last two questions: never the moment at which it was seen, since the next questions follow
    from what is learnt here, and would come later and later. None where nobody was watching.
    """
    running_at = watch.running_at or 0.0
    told = result.render_seconds
    if told is not None and max(0.0, running_at - _CLOCKS_DIFFER) <= told <= elapsed + _CLOCKS_DIFFER:
        return told
    if watch.rang:
        return elapsed
    if watch.running_at is None and elapsed > 2 * watch.usual[-1]:
        return None
    return (max(running_at, elapsed / 2) + elapsed) / 2
