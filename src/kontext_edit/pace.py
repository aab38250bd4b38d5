"""How fast requests may leave: one pace for all processes that share a journal, learnt from refusals.

Upstream does not tell its limit. As long as it refuses nothing, nothing waits. Its first 429 makes requests
leave one after the other, and each further one makes them leave more slowly, down to a bound; each success
lets them leave a little faster, until the limit is forgotten.
"""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from kontext_edit.clock import Clock
from kontext_edit.errors import JournalUnavailable, RateLimited
from kontext_edit.turnstile import Turnstile

logger = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 60.0
"""Longer than this nobody waits on one word of upstream's; it is asked again instead."""

_LONGEST_INTERVAL = 15.0
_SLOWER = 1.5
_FASTER = 0.99
_NEGLIGIBLE_INTERVAL = 0.02
_FORGOTTEN_AFTER_SECONDS = 900.0
"""A refusal that is older says nothing about now."""
_ABSURD_SECONDS = 900.0
"""A slot further away was given by a clock that went wrong."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What all processes know of upstream's limit. Times are seconds since the epoch."""

    interval: float = 0.0
    """Seconds from one request to the next; 0 while no limit is known."""
    slot_at: float = 0.0
    """When the latest request leaves that has a slot."""
    paused_until: float = 0.0
    slowed_at: float = 0.0

    def taken(self, now: float) -> tuple["Pace", float]:
        """One more request: the pace after it, and when it may leave."""
        interval = 0.0 if abs(now - self.slowed_at) > _FORGOTTEN_AFTER_SECONDS else self.interval
        earliest = max(self.slot_at + interval, self.paused_until)
        if earliest - now > _ABSURD_SECONDS:
            return replace(self, interval=interval, slot_at=now, paused_until=now), now
        start = max(now, earliest)
        return replace(self, interval=interval, slot_at=start), start

    def refused(self, now: float, retry_after: float | None, *, sent_at: float, first: float) -> "Pace":
        """After a 429: a pause for all, and longer intervals.

        Several requests that left before the latest slowing down are one refusal, however many they are.

        Args:
            now: when the answer came.
            retry_after: seconds that upstream asked to wait.
            sent_at: when the request left.
            first: the interval to begin with, in seconds.
        """
        news = sent_at > self.slowed_at or self.slowed_at > now
        interval = min(_LONGEST_INTERVAL, max(first, self.interval * _SLOWER)) if news else self.interval
        pause = min(LONGEST_PAUSE_SECONDS, interval if retry_after is None else retry_after)
        until = max(now + pause, min(self.paused_until, now + LONGEST_PAUSE_SECONDS))
        return replace(self, interval=interval, paused_until=until, slowed_at=now if news else self.slowed_at)

    def went_well(self, times: int = 1) -> "Pace":
        """After so many requests that were not refused: a little faster."""
        interval = self.interval * _FASTER**times
        return replace(self, interval=interval if interval >= _NEGLIGIBLE_INTERVAL else 0.0)

    @classmethod
    def read(cls, written: str | None) -> "Pace":
        """What was written down; nothing is known where that is missing or unreadable."""
        try:
            values = json.loads(written or "{}")
            return cls(**{name: float(value) for name, value in values.items()})
        except (ValueError, TypeError, AttributeError):
            return cls()

    def written(self) -> str:
        """The same as JSON."""
        return json.dumps(asdict(self))


class Noticeboard(Protocol):
    """Where facts stand that processes share; the journal is one."""

    async def shared(self, name: str, change: Callable[[str | None], str]) -> str:
        """Read a fact, change it and write it back, as one step; returns what it is then."""
        ...


class OwnNoticeboard:
    """For a process that shares with nobody."""

    def __init__(self) -> None:
        self._facts: dict[str, str] = {}

    async def shared(self, name: str, change: Callable[[str | None], str]) -> str:
        """Read a fact, change it and remember it."""
        self._facts[name] = change(self._facts.get(name))
        return self._facts[name]


class Pacemaker:
    """Lets one process's requests leave at the pace of all.

    Args:
        clock: the seam for time.
        board: what is shared with other processes; None shares with nobody, and writes nothing.
        name: of the fact on the board.
        first: the interval to begin with when a limit is first heard of, in seconds.
    """

    def __init__(
        self, clock: Clock, board: Noticeboard | None = None, *, name: str = "pace", first: float = 0.25
    ) -> None:
        self._clock = clock
        self._board = board or OwnNoticeboard()
        self._name = name
        self._first = first
        self._known = Pace()
        self._well = 0
        self._one_slot_ahead = Turnstile(places=1, places_each=1)

    async def slot(self, give_up_after: float = math.inf, *, owner: str = "") -> float:
        """Wait until the next request may leave; returns when that is.

        A process holds one slot ahead at most, whatever waits in it, so that a request of another process
        is behind one of ours and not behind all; and owners take slots in turn.

        Args:
            give_up_after: seconds.
            owner: whose request it is.

        Raises:
            RateLimited: it would have to wait for longer than `give_up_after` seconds; no slot was taken.
        """
        latest = self._clock.monotonic() + give_up_after
        async with self._one_slot_ahead.turn(owner):
            while True:
                start = await self._take(latest)
                if (wait := start - self._clock.now()) > 0:
                    await self._clock.sleep(wait)
                if self._known.paused_until <= max(start, self._clock.now()):
                    return start  # else a refusal was heard meanwhile

    async def refused(self, retry_after: float | None, *, sent_at: float) -> None:
        """Upstream said 429 to the request that left at `sent_at`."""
        now = self._clock.now()
        pace = await self._change(
            lambda pace: pace.refused(now, retry_after, sent_at=sent_at, first=self._first)
        )
        logger.info(
            "%s: refused as too fast; a pause of %.1f s, then one each %.2f s",
            self._name,
            pace.paused_until - now,
            pace.interval,
        )

    def went_well(self) -> None:
        """Upstream did not refuse a request; written down with the next slot."""
        self._well += 1

    async def _take(self, latest: float) -> float:
        well, self._well = self._well, 0
        now = start = self._clock.now()
        left = max(0.0, latest - self._clock.monotonic())

        def take(pace: Pace) -> Pace:
            nonlocal start
            eased = pace.went_well(well)
            after, start = eased.taken(now)
            return after if start - now <= left else eased

        await self._change(take)
        if start - now > left:
            raise RateLimited(
                f"The API takes fewer edits than are waiting, and has a place in {start - now:.0f} s at the "
                "soonest; this one was not sent.",
                "Call again in a minute or two; nothing was billed.",
            )
        return start

    async def _change(self, change: Callable[[Pace], Pace]) -> Pace:
        """Change what all know; where that cannot be done now, what this process knows."""
        try:
            written = await self._board.shared(self._name, lambda fact: change(Pace.read(fact)).written())
            self._known = Pace.read(written)
        except JournalUnavailable as error:
            logger.warning("%s: not shared for now: %s", self._name, error)
            self._known = change(self._known)
        return self._known
