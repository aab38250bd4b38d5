"""Tells of finished tasks at the addresses that were named for it, as the API's webhook does [docs].

Addresses of this very machine alone: a sandbox calls nobody else. Others are taken, since the API takes them,
and never called.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import httpx

from kontext_edit.clock import Clock
from kontext_edit.reader import is_loopback

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 5.0
_REPEATS = 5
_FIRST_PAUSE_SECONDS = 1.0

Work = Coroutine[object, object, None]


class Courier:
    """Works beside the requests that are answered.

    Args:
        clock: for the pauses between attempts.
        transport: the seam for tests; None is the network.
    """

    def __init__(self, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._clock = clock
        self._transport = transport
        self._jobs: set[asyncio.Task[None]] = set()

    def start(self, work: Work) -> None:
        """Carry `work` out beside everything else, until its end or the sandbox's."""
        job = asyncio.create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def deliver(self, url: str, result: dict[str, Any]) -> None:
        """Post a task result to this address; nobody waits for it."""
        if is_loopback(url):
            self.start(self._deliver(url, {"event_type": "ASYNC_TASK_RESULT", "payload": result}))
        else:
            logger.info("a sandbox calls no webhook beyond this machine")

    async def close(self) -> None:
        """Leave undone what is not done."""
        jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _deliver(self, url: str, event: dict[str, Any]) -> None:
        """Once, and up to five times more while nobody takes it."""
        async with httpx.AsyncClient(
            transport=self._transport,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
            verify=False,  # noqa: S501 - this machine
        ) as client:
            for attempt in range(1 + _REPEATS):
                if attempt:
                    await self._clock.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
                if await _taken(client, url, event):
                    return
        logger.info("a webhook was called %d times in vain", 1 + _REPEATS)


async def _taken(client: httpx.AsyncClient, url: str, event: dict[str, Any]) -> bool:
    try:
        return (await client.post(url, json=event)).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
