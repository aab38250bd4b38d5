"""A server for a team for tests, opened in this process: its owners, and requests to it in both eras."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import uvicorn
from mcp.client.client import Client
from mcp.client.session import ElicitationFnT
from mcp.client.streamable_http import streamable_http_client
from starlette.types import ASGIApp, Message
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.house import Api, painted
from tests.issuer import ISSUER, Issuer
from tests.stores import in_threads

from kontext_edit.app import open_journal
from kontext_edit.clock import Clock, SystemClock
from kontext_edit.http_door import config_of
from kontext_edit.settings import Settings, read_settings
from kontext_edit.task_protocol import EXTENSION as TASKS
from kontext_edit.team.door import Door, open_door
from kontext_edit.team.impatience import ImpatientProtocol
from kontext_edit.tokens import digest, new_token
from kontext_edit.ui import page

HOST = "edits.example"
PUBLIC_URL = f"https://{HOST}"
LEGACY, MODERN = "2025-11-25", "2026-07-28"
ERAS = (LEGACY, MODERN)
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
SOURCE = f"data:image/png;base64,{base64.b64encode(painted('red')).decode()}"

APPS: dict[str, Any] = {page.EXTENSION: {"mimeTypes": [page.MIME]}}
EVERYTHING: dict[str, Any] = {"extensions": {TASKS: {}, **APPS}, "elicitation": {"form": {}}}
"""What a client may be able to do, as far as this server cares."""


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def rpc(
    method: str, params: Mapping[str, Any], era: str = MODERN, capabilities: Mapping[str, Any] | None = None
) -> tuple[bytes, dict[str, str]]:
    """A request of an era: its body and its headers."""
    told, headers = dict(params), HEADERS | {"mcp-protocol-version": era}
    if era == MODERN:
        prefix = "io.modelcontextprotocol"
        told["_meta"] = {f"{prefix}/protocolVersion": era, f"{prefix}/clientCapabilities": capabilities or {}}
        headers["mcp-method"] = method
        if name := params.get("name") or params.get("uri") or params.get("taskId"):
            headers["mcp-name"] = str(name)
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": told}
    if not method.startswith("notifications/"):
        body["id"] = 1
    return json.dumps(body).encode(), headers


def answered(response: httpx.Response) -> dict[str, Any]:
    """The JSON-RPC answer, which may come as the last event of a stream."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        events = [
            line[5:] for line in response.text.splitlines() if line.startswith("data:") and line[5:].strip()
        ]
        return json.loads(events[-1])
    return response.json()


@dataclass
class Heard:
    """What an open stream has told so far."""

    text: str = ""
    status: int | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages in it."""
        return [
            json.loads(line[5:])
            for line in self.text.splitlines()
            if line.startswith("data:") and line[5:].strip()
        ]


@dataclass
class Team:
    """A server for a team, as everybody meets it who has a token or has none."""

    door: Door
    api: Api
    clock: Clock
    http: httpx.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict[str, str])

    async def token(self, name: str, *scopes: str) -> str:
        """A new static token; its owner is `token:<name>`."""
        text = self.tokens[name] = new_token()
        await self.door.app.journal.add_token(name, digest(text), scopes or ("edit",), self.clock.now())
        return text

    async def ask(
        self,
        who: str,
        method: str,
        params: Mapping[str, Any],
        era: str = MODERN,
        capabilities: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        """One request over MCP."""
        body, headers = rpc(method, params, era, capabilities)
        return await self.http.post("/mcp", content=body, headers=headers | bearer(self.tokens[who]))

    async def tool(
        self, who: str, name: str, arguments: Mapping[str, Any], era: str = MODERN, **capabilities: Any
    ) -> dict[str, Any]:
        """What a tool tells."""
        response = await self.ask(
            who, "tools/call", {"name": name, "arguments": arguments}, era, capabilities
        )
        assert response.status_code == 200, response.text
        result = answered(response)["result"]
        assert not result.get("isError"), result
        return result["structuredContent"]

    async def edit(self, who: str, prompt: str, *others: str, **more: Any) -> dict[str, Any]:
        """An edit of a small picture, or a batch of them."""
        wish: dict[str, Any] = {"prompts": [prompt, *others]} if others else {"prompt": prompt}
        return await self.tool(who, "edit_image", {**wish, "images": [SOURCE], "wait_seconds": 40, **more})

    @asynccontextmanager
    async def client(
        self,
        who: str,
        era: str = "auto",
        *,
        elicitation: ElicitationFnT | None = None,
        extensions: Any = None,
    ) -> AsyncGenerator[Client]:
        """A real client with a token."""
        way = httpx2.ASGITransport(self.door.asgi)
        headers = bearer(self.tokens[who])
        async with httpx2.AsyncClient(transport=way, base_url=PUBLIC_URL, headers=headers) as http:
            stream = streamable_http_client(f"{PUBLIC_URL}/mcp", http_client=http)
            async with Client(
                stream, mode=era, elicitation_callback=elicitation, extensions=extensions
            ) as client:
                yield client

    @asynccontextmanager
    async def listening(self, who: str, method: str, params: Mapping[str, Any]) -> AsyncGenerator[Heard]:
        """A request whose answer goes on until the client leaves."""
        body, headers = rpc(method, params, MODERN, EVERYTHING)
        heard, left = Heard(), asyncio.Event()
        coming: list[Message] = [{"type": "http.request", "body": body}]

        async def receive() -> Message:
            if coming:
                return coming.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            heard.status = message.get("status", heard.status)
            heard.text += message.get("body", b"").decode()

        scope = http_scope("/mcp", headers | bearer(self.tokens[who]))
        answering = asyncio.ensure_future(self.door.asgi(scope, receive, send))
        await until(lambda: bool(heard.messages) or answering.done())
        try:
            yield heard
        finally:
            left.set()
            await answering


def http_scope(path: str, headers: Mapping[str, str], method: str = "POST") -> dict[str, Any]:
    """A request as an ASGI server hands it on."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": (HOST, 443),
        "headers": [(b"host", HOST.encode()), *((k.encode(), v.encode()) for k, v in headers.items())],
    }


async def until(true: Callable[[], bool], rounds: int = 100_000) -> None:
    """Let everything else go on until something is true."""
    for _ in range(rounds):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not become true")


def team_environ(folder: Path, **more: str) -> dict[str, str]:
    """The settings of an operator."""
    return {
        "KONTEXT_HOME": str(folder / "home"),
        "KONTEXT_STORE_URL": (folder / "the store").as_uri(),
        "KONTEXT_AUTH": "tokens",
        "KONTEXT_PUBLIC_URL": PUBLIC_URL,
        "NOVITA_API_KEY": KEY,
        **more,
    }


@asynccontextmanager
async def open_team(
    folder: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, api: Api | None = None, **more: str
) -> AsyncGenerator[Team]:
    """A team's server in this process, until the block ends; anna and bob may edit there."""
    in_threads(monkeypatch)
    api = api or Api(clock)
    settings = read_settings(team_environ(folder, **more))
    door = await open_door(settings, address="http://127.0.0.1:8765", clock=clock, transport=api.transport)
    way = httpx.ASGITransport(door.asgi)
    async with living(door.asgi), httpx.AsyncClient(transport=way, base_url=PUBLIC_URL) as http:
        yield Team(door, api, clock, http)


@asynccontextmanager
async def living(app: ASGIApp) -> AsyncGenerator[None]:
    """Run an application's lifespan around the block, in a task of its own as a server does."""
    coming: asyncio.Queue[Message] = asyncio.Queue()
    said: asyncio.Queue[Message] = asyncio.Queue()
    running = asyncio.ensure_future(app({"type": "lifespan", "asgi": {}, "state": {}}, coming.get, said.put))
    await coming.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        await coming.put({"type": "lifespan.shutdown"})
        await said.get()
        await running


class Anywhere(httpx.AsyncBaseTransport):
    """The way to upstream and to the OAuth issuer."""

    def __init__(self, upstream: httpx.AsyncBaseTransport, issuer: Issuer) -> None:
        self._upstream = upstream
        self._issuer = issuer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        to_issuer = request.url.host == httpx.URL(self._issuer.url).host
        return await (self._issuer.transport if to_issuer else self._upstream).handle_async_request(request)

    async def aclose(self) -> None:
        await self._upstream.aclose()


class Hurried(SystemClock):
    """The machine's clock for those who wait only a twentieth as long."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)


class Hasty(ImpatientProtocol):
    """Waits for headers no longer than a test does."""

    header_seconds = 1.0


@dataclass
class Served:
    """A team's server behind a real socket of this machine."""

    port: int
    issuer: Issuer
    door: Door
    tokens: dict[str, str]

    def send(self, raw: bytes, *, seconds: float = 15) -> bytes:
        """What is answered to these very bytes, until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            with suppress(ConnectionError):  # it may have heard enough
                line.sendall(raw)
            heard = b""
            with suppress(ConnectionError):
                while part := line.recv(65536):
                    heard += part
            return heard


@contextmanager
def served_team(folder: Path, upstream: str | None = None, **more: str) -> Generator[Served]:
    """A team's server as `serve` configures it, in a thread of its own, until the block ends.

    With the address of an upstream it is a server on that, at its own pace; else in a hurry and on an API of
    the test.
    """
    issuer = Issuer(now=SystemClock().now())
    ready: Future[tuple[Door, uvicorn.Server]] = Future()

    async def serve(listener: socket.socket, place: str) -> None:
        clock = SystemClock() if upstream else Hurried()
        way = Anywhere(httpx.AsyncHTTPTransport() if upstream else Api(clock).transport, issuer)
        door = await open_door(settings, address=place, clock=clock, transport=way)
        server = uvicorn.Server(config_of(door.asgi, http=Hasty))
        ready.set_result((door, server))
        await server.serve(sockets=[listener])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        here = (
            {"KONTEXT_PUBLIC_URL": f"http://127.0.0.1:{port}", "NOVITA_BASE_URL": upstream}
            if upstream
            else {}
        )
        oauth = {"KONTEXT_AUTH": "tokens,oauth", "KONTEXT_OAUTH_ISSUER": ISSUER}
        settings = read_settings(team_environ(folder, **oauth, **here, **more))
        thread = threading.Thread(
            target=lambda: asyncio.run(serve(listener, f"http://127.0.0.1:{port}")), daemon=True
        )
        thread.start()
        door, server = ready.result(30)
        try:
            tokens = asyncio.run(
                _tokens(settings, anna="edit", bob="edit", carol="read", prometheus="metrics")
            )
            yield Served(port, issuer, door, tokens)
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive(), "the server did not end"


async def _tokens(settings: Settings, **scopes: str) -> dict[str, str]:
    journal = open_journal(settings)
    tokens = {name: new_token() for name in scopes}
    for name, text in tokens.items():
        await journal.add_token(name, digest(text), (scopes[name],), 0)
    await journal.close()
    return tokens
