"""Time, handed in: with the HTTP transport the only seam that tests replace."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where the program gets its time from."""

    def now(self) -> float:
        """Seconds since the epoch, for what is written down."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for measuring how long something takes."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        ...


class SystemClock:
    """The machine's time."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        await asyncio.sleep(seconds)
