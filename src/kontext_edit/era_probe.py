"""Answers `server/discover` on a stream before the client has chosen its era of the protocol.

The protocol library takes the first request for the choice. Some clients only ask what there is and then
begin with the handshake of the older era, on the same connection: the library refuses that, and the
connection is dead. So the question is answered beside the connection, and the next request is its first.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

Incoming = SessionMessage | Exception


@asynccontextmanager
async def probes_answered(
    server: Server[None], read: "ReadStream[Incoming]", write: "WriteStream[SessionMessage]"
) -> AsyncGenerator[MemoryObjectReceiveStream[Incoming]]:
    """What a client sends without the questions that come before its choice; those are answered here."""
    send, rest = anyio.create_memory_object_stream[Incoming]()

    async with anyio.create_task_group() as group:
        group.start_soon(_relay, server, read, write, send)
        async with rest:
            yield rest
        group.cancel_scope.cancel()


async def _relay(
    server: Server[None],
    read: "ReadStream[Incoming]",
    write: "WriteStream[SessionMessage]",
    send: MemoryObjectSendStream[Incoming],
) -> None:
    chosen = False
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the other side is gone
        async with send, read:
            async for item in read:
                request = item.message if isinstance(item, SessionMessage) else None
                if isinstance(request, JSONRPCRequest) and not chosen:
                    if request.method == "server/discover":
                        await _answer(server, item, write)
                        continue
                    chosen = True
                await send.send(item)


async def _answer(server: Server[None], probe: Incoming, write: "WriteStream[SessionMessage]") -> None:
    """Let a loop of its own answer one request, as it would answer it on a connection."""
    ask, asked = anyio.create_memory_object_stream[Incoming](1)
    answer, answered = anyio.create_memory_object_stream[SessionMessage](1)
    async with ask, answered:
        loop = asyncio.create_task(serve_dual_era_loop(server, asked, answer, lifespan_state=None))
        try:
            await ask.send(probe)
            response = await answered.receive()
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)
    await write.send(response)
