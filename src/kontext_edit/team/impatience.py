"""HTTP/1.1 as uvicorn speaks it, for clients that it waits for only so long.

Uvicorn waits for ever for the end of a request's headers, and until then nothing else of this program knows
of the connection; what comes after them is the guard's to time.
"""

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class ImpatientProtocol(H11Protocol):
    """Closes a connection whose headers do not arrive; for `uvicorn.Config(http=…)`."""

    header_seconds: ClassVar[float] = 20
    """From the connection, or a request's first byte, to the end of its headers."""

    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client is there, and has said nothing yet."""
        super().connection_made(transport)
        self._set_alarm()

    def data_received(self, data: bytes) -> None:
        """It said something."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._silence_alarm()
        elif self._alarm is None:
            self._set_alarm()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._silence_alarm()
        super().connection_lost(exc)

    def _set_alarm(self) -> None:
        self._alarm = self.loop.call_later(self.header_seconds, self.transport.close)

    def _silence_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
