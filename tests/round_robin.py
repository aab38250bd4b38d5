"""A proxy in front of replicas, as simple load balancers are: each request goes to the next one.

A replica that takes no connection is passed over, since nothing was sent to it. Whatever breaks after that is
a 502, or a stream that ends in its middle: nobody can know here what came of the request. An answer of known
length is passed on when it is whole.
"""

import asyncio
import itertools
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_BYTES_AT_ONCE = 65_536
_STARTING_SECONDS = 20
_CONNECTION = re.compile(rb"\r\nconnection:[^\r\n]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 12\r\n\r\nBad Gateway\n"

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RoundRobin:
    """Where the proxy listens, and what it did. It runs in a thread of its own."""

    def __init__(self) -> None:
        self.url = ""
        self.bad_gateways = 0
        self._replicas: tuple[str, ...] = ()
        self._turns = itertools.count()
        self._under_way: set[asyncio.Task[None]] = set()

    def send_to(self, *replicas: str) -> None:
        """From now on these are all replicas, by their addresses; the next request goes to the first."""
        self._turns = itertools.count()
        self._replicas = replicas

    async def serve(self, over: asyncio.Event, listening: threading.Event) -> None:
        """Proxy until it is over."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        listening.set()
        await over.wait()
        server.close()
        for answer in self._under_way:
            answer.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = asyncio.current_task()
        assert answer is not None
        self._under_way.add(answer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._proxy(reader, writer)
        finally:
            self._under_way.discard(answer)
            writer.close()

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one request to a replica and its answer back, then close both lines."""
        head = await reader.readuntil(b"\r\n\r\n")
        line = await self._line()
        if line is None:
            self.bad_gateways += 1
            writer.write(_BAD_GATEWAY)
            return
        answers, requests = line
        requests.write(_CONNECTION.sub(b"", head).replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        asking = asyncio.create_task(_ask(reader, requests))
        try:
            await _carry_back(answers, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            if not reader.at_eof():  # else the client has left
                self.bad_gateways += 1
                writer.write(_BAD_GATEWAY)
        finally:
            asking.cancel()
            requests.close()

    async def _line(self) -> Line | None:
        """A connection to the next replica that takes one."""
        replicas = self._replicas
        first = next(self._turns)
        for turn in range(len(replicas)):
            address = urlsplit(replicas[(first + turn) % len(replicas)])
            with suppress(ConnectionError):
                return await asyncio.open_connection(address.hostname, address.port)
        return None


async def _ask(client: asyncio.StreamReader, replica: asyncio.StreamWriter) -> None:
    """Carry the rest of a request; a client that leaves takes its request with it."""
    await _pump(client, replica)
    replica.close()


async def _carry_back(replica: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    """Carry an answer to its client; raises where it broke before the client had a part of it."""
    head = await replica.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    client.write(head + (await replica.readexactly(int(length[1])) if length else b""))
    await _pump(replica, client)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry bytes until the source or the sink ends."""
    with suppress(ConnectionError):
        while content := await source.read(_BYTES_AT_ONCE):
            sink.write(content)
            await sink.drain()


@contextmanager
def round_robin() -> Generator[RoundRobin]:
    """A proxy until the block ends."""
    proxy, listening = RoundRobin(), threading.Event()
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=[proxy.serve(over, listening)], daemon=True
    )
    thread.start()
    assert listening.wait(_STARTING_SECONDS)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(_STARTING_SECONDS)
        loop.close()
