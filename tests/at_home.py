"""A server with its resources and prompts, and a client of it, in this process."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import mcp_types as types
from mcp.client.client import Client
from mcp.client.session import MessageHandlerFnT
from mcp.server.lowlevel import Server
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.house import Api, photo

from kontext_edit.server import make_server

Era = Literal["legacy", "auto"]
ERAS: tuple[Era, ...] = ("legacy", "auto")


def server_at_home(environ: dict[str, str], api: Api, clock: FakeClock, **more: str) -> Server[None]:
    """A server with a key, whose upstream is `api`."""
    return make_server({"NOVITA_API_KEY": KEY} | environ | more, clock=clock, transport=api.transport)


@asynccontextmanager
async def at_home(
    environ: dict[str, str],
    api: Api,
    clock: FakeClock,
    era: Era,
    *,
    hears: MessageHandlerFnT | None = None,
    **more: str,
) -> AsyncGenerator[Client]:
    """A client of such a server; `hears` gets what it is told beside its answers."""
    server = server_at_home(environ, api, clock, **more)
    async with Client(server, mode=era, message_handler=hears) as client:
        yield client


async def edited(client: Client, environ: dict[str, str], **arguments: Any) -> dict[str, Any]:
    """A finished edit, as its result tells it."""
    result = await begun(client, environ, wait_seconds=40, **arguments)
    assert result["status"] == "succeeded", result
    return result


async def begun(client: Client, environ: dict[str, str], **arguments: Any) -> dict[str, Any]:
    """An edit as it is when the call returns."""
    call = {"prompt": "Make it blue", "images": [photo(environ)], **arguments}
    result = await client.call_tool("edit_image", call)
    assert result.structured_content is not None
    return result.structured_content


async def read_text(client: Client, uri: str) -> str:
    """What stands at an address, where it is text."""
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, types.TextResourceContents)
    assert contents.uri == uri
    return contents.text


async def until(true: Callable[[], Awaitable[bool] | bool]) -> None:
    """Let everything go on until something is so; bounded, and without a wait."""
    for _ in range(200):
        answer = true()
        if answer if isinstance(answer, bool) else await answer:
            return
        await steps(20)
    raise AssertionError("it never came to be so")


async def steps(count: int) -> None:
    """Let everything else go on for a while."""
    for _ in range(count):
        await asyncio.sleep(0)
