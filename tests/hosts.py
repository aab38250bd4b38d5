"""Hosts on this machine that answer as a test wants, and a fetcher that may reach them."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from kontext_edit.errors import PictureRefused
from kontext_edit.fetcher import Address, Fetcher

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"


@dataclass
class Host:
    """A host on this machine that answers with the same bytes, whatever it is asked."""

    answer: Callable[[bytes], bytes]
    port: int = 0
    heads: list[bytes] = field(default_factory=list[bytes])
    after: asyncio.Event | None = None
    """It keeps the line open until this is set, once it has answered."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            writer.write(self.answer(head.split(b" ")[1]))
            await writer.drain()
            if self.after:
                await self.after.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def host(
    answer: bytes | Callable[[bytes], bytes] = ANSWER, *, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Host]:
    served = Host(answer if callable(answer) else lambda _: answer)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=tls)
    served.port = server.sockets[0].getsockname()[1]
    async with server:
        yield served


def is_ours(address: Address) -> bool:
    return str(address) in {"127.0.0.1", "::1"}


@asynccontextmanager
async def fetching(
    *hosts: Host, may_reach: Callable[[Address], bool] = is_ours, **more: Any
) -> AsyncGenerator[Fetcher]:
    """A fetcher that may reach these hosts of this machine."""
    more.setdefault("ports", {host.port for host in hosts})
    fetcher = Fetcher(may_reach=may_reach, **more)
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(PictureRefused) as caught:
        await fetcher.picture(url)
    assert caught.value.hint
    return caught.value.message
