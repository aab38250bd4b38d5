"""A clock for tests: its time jumps to the next sleeper whenever the program has nothing left to do."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Answer = TypeVar("Answer")

_ROUNDS_UNTIL_QUIET = 100


class CountingExecutor(ThreadPoolExecutor):
    """Threads whose work is counted until the event loop has been told of its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(max_workers=4)
        self._loop = loop
        self._busy = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def submit(self, fn: Callable[..., Answer], /, *args: Any, **kwargs: Any) -> Future[Answer]:
        self._busy += 1
        self.idle.clear()
        told: Future[Answer] = Future()
        told.set_running_or_notify_cancel()

        def tell(done: Future[Answer]) -> None:
            # The loop hears of the answer first, and then that the work is over.
            if error := done.exception():
                told.set_exception(error)
            else:
                told.set_result(done.result())
            self._loop.call_soon_threadsafe(self._one_less)

        super().submit(fn, *args, **kwargs).add_done_callback(tell)
        return told

    def _one_less(self) -> None:
        self._busy -= 1
        if not self._busy:
            self.idle.set()


class FakeClock:
    """Time that costs none. Its `drive` must run beside the test (see the fixture `clock`)."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self._now = start
        self._ahead = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.slept: list[float] = []

    def now(self) -> float:
        return self._now + self._ahead

    def jump(self, seconds: float) -> None:
        """Put the calendar's time forward or back; how long things take is not touched by it."""
        self._ahead += seconds

    def pass_by(self, seconds: float) -> None:
        """Let time go by that nobody sleeps through."""
        self._now += seconds

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        waker = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), waker))
        await waker

    async def drive(self) -> None:
        """Wake the next sleeper whenever nothing else can happen."""
        loop = asyncio.get_running_loop()
        executor = CountingExecutor(loop)
        loop.set_default_executor(executor)
        while True:
            await self._quiet(executor)
            while self._sleepers and self._sleepers[0][2].done():
                heapq.heappop(self._sleepers)
            if self._sleepers:
                due, _, waker = heapq.heappop(self._sleepers)
                self._now = max(self._now, due)
                waker.set_result(None)

    async def _quiet(self, executor: CountingExecutor) -> None:
        rounds = 0
        while rounds < _ROUNDS_UNTIL_QUIET:
            if not executor.idle.is_set():
                await executor.idle.wait()
                rounds = 0
            await asyncio.sleep(0)
            rounds += 1
