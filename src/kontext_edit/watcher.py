"""Waits for tasks. When to ask upstream is a pure function of time; the clock is handed in."""

import logging
import math
from collections.abc import Awaitable, Callable

from kontext_edit.clock import Clock
from kontext_edit.errors import KeyRejected, TaskGone, UpstreamError
from kontext_edit.novita import Novita, RemoteStatus, Result

logger = logging.getLogger(__name__)

Usual = tuple[float, float]
"""How long an edit of a tier tends to take, in seconds: quick and slow."""

_SHORTEST_PAUSE = 0.3
_LONGEST_PAUSE = 15.0
_POLLS_IN_THE_USUAL_TIME = 12
_PATIENCE_WITH_A_MISSING_TASK = 60.0
"""Seconds for which a task that upstream does not know may merely not be there yet."""
_PATIENCE = 24 * 3600.0
"""Seconds after which upstream, whose links live for an hour, will not bring the picture any more."""


def pause_before_poll(elapsed: float, usual: Usual) -> float:
    """Seconds from now until upstream is asked next, `elapsed` seconds after it took the edit.

    Nothing is asked before half the quick time has gone by. Around the usual time questions come densely
    (the pause grows with the time waited, so that the finish is seen within a few per cent of it), and
    later ever more rarely.
    """
    quick, slow = usual
    first = quick / 2
    if elapsed < first:
        return max(_SHORTEST_PAUSE, first - elapsed)
    if elapsed <= slow:
        return max(_SHORTEST_PAUSE, (slow - first) / _POLLS_IN_THE_USUAL_TIME)
    return min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, elapsed / 10))


def progress_percent(elapsed: float, usual: Usual) -> float:
    """How far an edit may be: it nears 99 with every second and never says done.

    The API fills no progress for these models [docs], so it is told from the time gone by: about 80 when
    the slow end of the usual time is reached.
    """
    _, slow = usual
    return 99 * (1 - math.exp(-1.6 * max(0.0, elapsed) / slow))


class Watcher:
    """Asks upstream about a task until it is done."""

    def __init__(self, novita: Novita, clock: Clock) -> None:
        self._novita = novita
        self._clock = clock

    async def until_done(
        self,
        task_id: str,
        *,
        since: float,
        usual: Usual,
        at_once: bool = False,
        on_processing: Callable[[], Awaitable[None]],
    ) -> Result:
        """Ask until upstream says succeeded or failed; cuts, 5xx, 429 and unreadable answers only delay it.

        Args:
            task_id: upstream's id.
            since: when upstream took the edit, in seconds since the epoch.
            usual: how long such an edit tends to take.
            at_once: ask without a pause first, since it may be done already.
            on_processing: called once, when upstream works on it.

        Raises:
            TaskGone: upstream does not know the task, also a minute later, or never ends it.
        """
        told = False
        while True:
            elapsed = max(0.0, self._clock.now() - since)
            if not at_once:
                await self._clock.sleep(pause_before_poll(elapsed, usual))
            at_once = False
            result = await self._ask(task_id, elapsed)
            if result and result.status in (RemoteStatus.SUCCEED, RemoteStatus.FAILED):
                return result
            if elapsed > _PATIENCE:
                raise TaskGone(f"The API did not end the task {task_id} within a day.")
            if result and result.status is not RemoteStatus.QUEUED and not told:
                told = True
                await on_processing()

    async def _ask(self, task_id: str, elapsed: float) -> Result | None:
        """One question; None where no usable answer came, which is waited out."""
        try:
            result = await self._novita.result(task_id)
        except TaskGone:
            if elapsed > _PATIENCE_WITH_A_MISSING_TASK:
                raise
            return None
        except KeyRejected as error:
            logger.warning("task %s: %s", task_id, error)
            await self._clock.sleep(_LONGEST_PAUSE)
            return None
        except UpstreamError as error:
            logger.info("task %s: asked in vain: %s", task_id, error)
            await self._clock.sleep(error.retry_after or 0)
            return None
        if result.status is None:
            logger.warning(
                "task %s: unheard-of status %r, taken as still running", task_id, result.status_word
            )
        return result
