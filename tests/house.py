"""The whole program for tests, on an API that a test directs and that counts what it was asked to bill."""

import io
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import mcp_types as types
from mcp.client.client import Client
from mcp.client.session import ElicitationFnT
from PIL import Image
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.upstreams import error

from kontext_edit.app import App, open_app
from kontext_edit.caller import Consent
from kontext_edit.clock import Clock
from kontext_edit.request import EditCall, parse_edit
from kontext_edit.server import make_server
from kontext_edit.settings import read_settings
from kontext_edit.task import LOCAL, Picture, Task

Scripted = httpx.Response | Exception | Callable[[httpx.Request], Awaitable[httpx.Response]]

SAME_EDIT = "nothing new was billed"


@dataclass
class Api:
    """Takes every edit on as t-1, t-2, …, works on it for `seconds`, and serves its pictures for ever.

    What stands in `on_submit`, `on_poll` and `on_fetch` is answered first, one for each request.
    """

    clock: Clock
    seconds: float = 0.0
    on_submit: list[Scripted] = field(default_factory=list[Scripted])
    on_poll: list[Scripted] = field(default_factory=list[Scripted])
    on_fetch: list[Scripted] = field(default_factory=list[Scripted])
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Every submission that arrived, also those that were refused."""
    taken: dict[str, tuple[dict[str, Any], float]] = field(
        default_factory=dict[str, tuple[dict[str, Any], float]]
    )
    """The edits taken on, by their ids, and when."""
    polls: list[str] = field(default_factory=list[str])
    fetches: list[str] = field(default_factory=list[str])

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "cdn.example":
            self.fetches.append(str(request.url))
            return await _scripted(self.on_fetch, request, self._picture)
        if request.method == "POST":
            self.bodies.append(json.loads(request.content))
            return await _scripted(self.on_submit, request, self.accept)
        self.polls.append(request.url.params.get("task_id", ""))
        return await _scripted(self.on_poll, request, self._result)

    async def accept(self, request: httpx.Request) -> httpx.Response:
        task_id = f"t-{len(self.taken) + 1}"
        self.taken[task_id] = json.loads(request.content), self.clock.monotonic()
        return httpx.Response(200, json={"task_id": task_id})

    async def accept_and_cut(self, request: httpx.Request) -> httpx.Response:
        """Takes the edit on, and the connection breaks before the answer."""
        await self.accept(request)
        raise httpx.ReadError("cut")

    async def _result(self, request: httpx.Request) -> httpx.Response:
        task_id = request.url.params.get("task_id", "")
        if task_id not in self.taken:
            return error(404, "TASK_NOT_FOUND")
        body, since = self.taken[task_id]
        done = self.clock.monotonic() - since >= self.seconds
        numbers = range(1, body.get("num_images", 1) + 1) if done else ()
        links = [{"image_url": f"https://cdn.example/{task_id}/{number}.png"} for number in numbers]
        status = "TASK_STATUS_SUCCEED" if done else "TASK_STATUS_PROCESSING"
        return httpx.Response(
            200,
            json={"task": {"task_id": task_id, "status": status}, "images": links, "extra": {"seed": 7}},
        )

    async def _picture(self, request: httpx.Request) -> httpx.Response:
        colours = {"1.png": "blue", "2.png": "teal", "3.png": "navy", "4.png": "aqua"}
        return httpx.Response(200, content=painted(colours[request.url.path.rpartition("/")[2]]))


async def _scripted(
    script: list[Scripted],
    request: httpx.Request,
    usual: Callable[[httpx.Request], Awaitable[httpx.Response]],
) -> httpx.Response:
    answer = script.pop(0) if script else usual
    if isinstance(answer, Exception):
        raise answer
    if isinstance(answer, httpx.Response):
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
    return await answer(request)


@dataclass
class Person:
    """A caller that answers what it is asked, and keeps it."""

    answer: Consent = Consent.GIVEN
    owner: str = LOCAL
    asked: list[str] = field(default_factory=list[str])
    told: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    async def progress(self, percent: float, sentence: str) -> None:
        self.told.append((percent, sentence))

    async def consent(self, question: str, subject: str) -> Consent:
        assert subject
        self.asked.append(question)
        return self.answer


@asynccontextmanager
async def opened(environ: dict[str, str], api: Api, clock: FakeClock, **more: str) -> AsyncGenerator[App]:
    """The program as one process has it, with a key."""
    app = open_app(
        read_settings({"NOVITA_API_KEY": KEY} | environ | more),
        working_dir=Path(environ["KONTEXT_ALLOWED_DIRS"]),
        clock=clock,
        transport=api.transport,
    )
    app.editor.open()
    try:
        yield app
    finally:
        await app.close()


def client(
    environ: dict[str, str],
    api: Api,
    clock: FakeClock,
    *,
    era: str = "auto",
    elicitation: ElicitationFnT | None = None,
    **more: str,
) -> Client:
    """A client of a server in this process, with a key."""
    server = make_server({"NOVITA_API_KEY": KEY} | environ | more, clock=clock, transport=api.transport)
    return Client(server, mode=era, elicitation_callback=elicitation)


def painted(colour: str, form: str = "png") -> bytes:
    """A small picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(out, form)
    return out.getvalue()


def photo(environ: dict[str, str], name: str = "photo.png", colour: str = "red") -> str:
    """A picture where sources may be read; returns its path."""
    path = Path(environ["KONTEXT_ALLOWED_DIRS"]) / name
    path.write_bytes(painted(colour))
    return str(path)


def wanted(source: str, **arguments: object) -> EditCall:
    """A call of `edit_image` about this source."""
    return parse_edit({"prompt": "Make it blue", "images": [source], **arguments}, "pro")


async def settled(app: App, handle: str, clock: Clock) -> Task:
    """The edit, once nothing more happens to it; an hour is enough for every edit here."""
    for _ in range(3600):
        if (task := await app.journal.get(handle, LOCAL)).settled:
            return task
        await clock.sleep(1)
    raise AssertionError(f"{handle} is still under way: {await app.journal.get(handle, LOCAL)}")


async def everything(app: App) -> list[Task]:
    """Every edit in the journal, first to last."""
    return [task for _, task in reversed(await app.journal.latest(LOCAL, limit=1000))]


def file_of(picture: Picture) -> Path:
    """Where a picture lies on this machine."""
    assert picture.path is not None
    return picture.path


def text(result: types.CallToolResult) -> str:
    """What a result says."""
    first = result.content[0]
    assert isinstance(first, types.TextContent)
    return first.text
