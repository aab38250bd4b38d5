"""A small public door for tests: guard, admission, MCP of both eras, and a few routes behind them."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import mcp_types as types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.bearers import Book
from tests.clock import FakeClock
from tests.issuer import AUDIENCE, ISSUER, Issuer

from kontext_edit.clock import Clock
from kontext_edit.mcp_caller import visitor_of
from kontext_edit.team.admission import admission, metadata_routes
from kontext_edit.team.guard import PATIENCE, Guard, Limits, Place
from kontext_edit.team.identity import Jwts, StaticTokens, Verifier
from kontext_edit.team.impatience import ImpatientProtocol
from kontext_edit.team.keys import IssuerKeys

HOST = "edits.example"
PLACES = {
    "mcp": Place("read", body_bytes=1_000_000),
    "uploads": Place("edit", body_bytes=10_000),
    "metrics": Place("metrics"),
    "pictures": Place(None),
    "health": Place(None, anywhere=True),
    ".well-known": Place(None, anywhere=True),
}
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
MODERN = "2026-07-28"


@dataclass
class Door:
    """A door that is open, and who has the keys to it."""

    app: Guard
    issuer: Issuer
    book: Book
    verifier: Verifier
    client: httpx.AsyncClient
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Lets uploads that were read end, where they wait for it."""
    uploaded: list[int] = field(default_factory=list[int])

    async def mcp(self, content: bytes, token: str, **headers: str) -> httpx.Response:
        """A POST to MCP."""
        return await self.client.post("/mcp", content=content, headers=HEADERS | bearer(token) | headers)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def modern(method: str, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """A request of 2026-07-28: its body, and the headers that it needs."""
    prefix = "io.modelcontextprotocol"
    meta: dict[str, Any] = {f"{prefix}/protocolVersion": MODERN, f"{prefix}/clientCapabilities": {}}
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params | {"_meta": meta}}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
    return body, headers | ({"mcp-name": str(params["name"])} if "name" in params else {})


@asynccontextmanager
async def open_door(
    clock: Clock,
    *,
    limits: Limits = PATIENCE,
    calls_at_once: int | None = None,
    oauth: bool = True,
) -> AsyncGenerator[Door]:
    """Open a door until the block ends."""
    issuer, book = Issuer(now=clock.now()), Book()
    keys = IssuerKeys(ISSUER, None, clock, issuer.transport)
    verifier = Verifier(StaticTokens(book, clock), Jwts(ISSUER, AUDIENCE, keys, clock) if oauth else None)
    manager = StreamableHTTPSessionManager(_server(), stateless=True)

    async def upload(request: Request) -> Response:
        size = 0
        async for part in request.stream():
            size += len(part)
        door.uploaded.append(size)
        if request.query_params.get("wait"):
            await door.go_on.wait()
        return PlainTextResponse(str(size))

    async def public(request: Request) -> Response:
        if request.query_params.get("break"):
            raise ZeroDivisionError
        return PlainTextResponse("fine")

    async def kept(_request: Request) -> Response:
        return PlainTextResponse("fine", headers={"cache-control": "private"})

    app = Starlette(
        routes=[
            Route("/mcp", StreamableHTTPASGIApp(manager)),
            Route("/uploads", upload, methods=["POST"]),
            Route("/uploads/{name}", upload, methods=["POST"]),
            Route("/metrics", public),
            Route("/pictures/{name}", kept),
            Route("/health", public),
            *(metadata_routes(AUDIENCE, ISSUER) if oauth else ()),
        ],
        middleware=admission(
            verifier, PLACES, calls_at_once=calls_at_once, metadata_of=AUDIENCE if oauth else None
        ),
    )
    hosts = TransportSecuritySettings(
        allowed_hosts=[HOST, "localhost:*", "127.0.0.1:*"],
        allowed_origins=[f"https://{HOST}", "http://localhost:*"],
    )
    guard = Guard(app, PLACES, hosts, clock, limits)
    way = httpx.ASGITransport(guard, raise_app_exceptions=False)
    async with _running(manager), httpx.AsyncClient(transport=way, base_url=f"https://{HOST}") as client:
        door = Door(guard, issuer, book, verifier, client)
        yield door
    await keys.close()


@asynccontextmanager
async def _running(manager: StreamableHTTPSessionManager) -> AsyncGenerator[None]:
    """Run it in a task of its own: its scopes must end in the task that began them, and fixtures do not."""
    began, over = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with manager.run():
            began.set()
            await over.wait()

    running = asyncio.create_task(run())
    await began.wait()
    yield
    over.set()
    await running


def _server() -> Server[Any]:
    async def list_tools(
        _ctx: ServerRequestContext[Any, Any], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[])

    async def call_tool(
        ctx: ServerRequestContext[Any, Any], _params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        visitor = visitor_of(ctx)
        told = json.dumps({"owner": visitor.owner, "may_edit": visitor.may_edit})
        return types.CallToolResult(content=[types.TextContent(type="text", text=told)])

    return Server("door", on_list_tools=list_tools, on_call_tool=call_tool)


async def dripping(clock: FakeClock, parts: int, seconds: float, *, size: int = 10) -> AsyncIterator[bytes]:
    """A body that comes in small parts, each after a while."""
    for _ in range(parts):
        await clock.sleep(seconds)
        yield b"x" * size


class Hasty(ImpatientProtocol):
    """Waits for headers no longer than a test does."""

    header_seconds = 0.2


@contextmanager
def listening(door: Door) -> Generator[int]:
    """Serve a door in a thread on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            door.app, http=Hasty, lifespan="off", ws="none", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
