"""Whose turn it is: few submissions at once, and owners served in turn.

A batch of five hundred edits of one owner does not keep another's single edit waiting: each owner has a queue
of their own, the queues are served one after the other, and no owner holds all places.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

_Waiter = asyncio.Future[None]


class Turnstile:
    """Lets a few in at once.

    Args:
        places: how many are inside at most.
        places_each: how many of them one owner holds at most. The rest is free for others at any time, so
            that whoever comes alone is behind that many of a batch and not behind the batch.
    """

    def __init__(self, places: int = 8, places_each: int = 5) -> None:
        self._free = places
        self._places_each = places_each
        self._inside: dict[str, int] = {}
        self._queues: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        """Of each owner who waits; whose turn is next stands first."""

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncGenerator[None]:
        """Wait for a turn of this owner, and hold the place until the block ends."""
        await self._enter(owner)
        try:
            yield
        finally:
            self._leave(owner)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(len(queue) for queue in self._queues.values())

    async def _enter(self, owner: str) -> None:
        """Wait for a place.

        Where one is free, everybody who waits holds their share already: so nobody is overtaken here.
        """
        if self._may_enter(owner):
            self._admit(owner)
            return
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._queues.setdefault(owner, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._forget(owner, waiter)
            else:
                self._leave(owner)  # the place was given in the same moment
            raise

    def _leave(self, owner: str) -> None:
        self._free += 1
        self._inside[owner] -= 1
        if not self._inside[owner]:
            del self._inside[owner]
        while (next_owner := self._next_owner()) is not None:
            self._call(next_owner)

    def _next_owner(self) -> str | None:
        """The first in the round of those who wait and may enter."""
        return next((owner for owner in self._queues if self._may_enter(owner)), None)

    def _may_enter(self, owner: str) -> bool:
        return self._free > 0 and self._inside.get(owner, 0) < self._places_each

    def _admit(self, owner: str) -> None:
        self._free -= 1
        self._inside[owner] = self._inside.get(owner, 0) + 1

    def _call(self, owner: str) -> None:
        """Call the first of this owner's queue in; the owner goes to the end of the round.

        Who stopped to wait in this very moment, and does not know it yet, is passed over.
        """
        waiter = self._queues[owner][0]
        self._forget(owner, waiter)
        if waiter.cancelled():
            return
        self._admit(owner)
        waiter.set_result(None)
        if owner in self._queues:
            self._queues.move_to_end(owner)

    def _forget(self, owner: str, waiter: _Waiter) -> None:
        """Take somebody out of a queue, unless they were called in vain."""
        queue = self._queues.get(owner, deque())
        if waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[owner]
