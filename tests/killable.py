"""A server that is killed at a named point: `python -m tests.killable [POINT] [PASSES]`.

It is the real server on standard input and output; the points are put around its parts from outside. The
process gets SIGKILL when it passes the point, or passes it for so many times. Leases and pauses are shorter
than a person's server has them, so that a test need not wait.
"""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx

from kontext_edit import caretaker, delivery, editor, novita, polling, waiting, workshop
from kontext_edit.gallery import Gallery
from kontext_edit.journal import rows, statements
from kontext_edit.journal.book import Journal
from kontext_edit.journal.embedded import FileSession
from kontext_edit.journal.postgres import PostgresSession
from kontext_edit.novita import Novita, RemoteStatus
from kontext_edit.server import serve_stdio
from kontext_edit.store import disk
from kontext_edit.task import Status
from kontext_edit.tiers import Dev
from kontext_edit.waiting import WaitingRoom

Paces = tuple[tuple[Any, str, Any], ...]
"""What has which value, by the name of its module or class."""

QUICK: Paces = (
    (rows, "LEASE_SECONDS", 1.0),
    (statements, "LEASE_SECONDS", 1.0),
    (caretaker, "_ROUND_SECONDS", 0.3),
    (workshop, "_RESUME_AFTER_SECONDS", 0.05),
    (waiting, "_TICK_SECONDS", 0.2),
    (editor, "_PAUSES_BETWEEN_FETCHES", (0.1, 0.3, 0.6, 1.0)),
    (delivery, "_ARRIVAL_SECONDS", 1.0),
    (novita, "_FIRST_PAUSE_SECONDS", 0.1),
    (polling, "SHORTEST_PAUSE", 0.1),
    (polling, "_SECONDS_A_QUESTION", 0.2),
    (Dev, "usual_seconds", (0.3, 1.0)),
)

Trap = Callable[[], None]
Arm = Callable[[Trap], None]
Answer = Literal["picture", "unclear"]


@dataclass(frozen=True, slots=True)
class Point:
    """A step of an edit, and what is to come of an edit whose server dies there."""

    arm: Arm
    answer: Answer
    """What asking again brings: the picture, or the truth that nobody knows whether it was bought."""
    submissions: frozenset[int]
    """How many submissions upstream may have seen in the end."""


def wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(wrapper(original)))


def before(owner: Any, name: str) -> Arm:
    """When a function is called; an async one when it is awaited, which is the same here."""

    def arm(trap: Trap) -> None:
        def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
            def trapped(*args: Any, **kwargs: Any) -> Any:
                trap()
                return original(*args, **kwargs)

            return trapped

        wrap(owner, name, wrapper)

    return arm


def after(owner: Any, name: str, when: Callable[[Any], bool] = lambda _: True) -> Arm:
    """When an async function has brought its answer."""

    def arm(trap: Trap) -> None:
        def wrapper(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def trapped(*args: Any, **kwargs: Any) -> Any:
                answer = await original(*args, **kwargs)
                if when(answer):
                    trap()
                return answer

            return trapped

        wrap(owner, name, wrapper)

    return arm


def before_commit(name: str, status: Status | None = None) -> Arm:
    """When a transaction of the journal has done everything but its COMMIT.

    What is a single statement for PostgreSQL commits by itself: there it is the moment before that.
    """

    def arm(trap: Trap) -> None:
        running: ContextVar[bool] = ContextVar(name, default=False)

        def marked(original: Callable[..., Any]) -> Callable[..., Any]:
            def work(*args: Any, **kwargs: Any) -> Any:
                before = running.set(status is None or status in args)
                try:
                    return original(*args, **kwargs)
                finally:
                    running.reset(before)

            return work

        def trapped(original: Callable[..., Any]) -> Callable[..., Any]:
            @contextmanager
            def transaction(*args: Any, **kwargs: Any) -> Generator[None]:
                with original(*args, **kwargs):
                    yield
                    if running.get():
                        trap()

            return transaction

        def kept_from(original: Callable[..., Any]) -> Callable[..., Any]:
            def change(*args: Any, **kwargs: Any) -> Any:
                if running.get():
                    trap()
                return original(*args, **kwargs)

            return change

        wrap(statements, name, marked)
        wrap(FileSession, "transaction", trapped)
        wrap(PostgresSession, "transaction", trapped)
        wrap(PostgresSession, "change", kept_from)

    return arm


def on_the_wire(event: str, method: str, path: str = "/") -> Arm:
    """When a request has come as far as an event of the HTTP connection."""

    def arm(trap: Trap) -> None:
        def wrapper(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def handle(transport: Any, request: httpx.Request) -> Any:
                async def trace(name: str, _info: Any) -> None:
                    if name == f"http11.{event}":
                        trap()

                if request.method == method and request.url.path.startswith(path):
                    request.extensions["trace"] = trace
                return await original(transport, request)

            return handle

        wrap(httpx.AsyncHTTPTransport, "handle_async_request", wrapper)

    return arm


def mid_download(trap: Trap) -> None:
    """When the first bytes of a picture have come."""

    def wrapper(original: Callable[..., AsyncIterator[bytes]]) -> Callable[..., AsyncIterator[bytes]]:
        async def chunks(response: httpx.Response, *args: Any) -> AsyncIterator[bytes]:
            async for chunk in original(response, *args):
                yield chunk
                if response.url.path.startswith("/results/"):
                    trap()

        return chunks

    wrap(httpx.Response, "aiter_bytes", wrapper)


def _half_written(trap: Trap) -> None:
    """When half of a picture's bytes are in a file."""

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Path, *args: Any, **kwargs: Any) -> Any:
            file = original(path, *args, **kwargs)
            if path.suffix == ".part":
                write = file.raw.write

                def half(content: bytes) -> int:
                    write(content[: len(content) // 2])
                    trap()
                    return len(content[: len(content) // 2]) + write(content[len(content) // 2 :])

                file.write = half
            return file

        return opened

    wrap(Path, "open", wrapper)


def _named(trap: Trap) -> None:
    """When a picture has its name, and the name that it was written under too."""

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        def link(*args: Any) -> None:
            original(*args)
            trap()

        return link

    wrap(disk.os, "link", wrapper)


def _reserved(trap: Trap) -> None:
    """When a picture's name is reserved on a file system without hard links, and not filled yet."""

    def no_links(_original: Callable[..., Any]) -> Callable[..., Any]:
        def link(*_args: Any) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        return link

    wrap(disk.os, "link", no_links)
    before(Path, "replace")(trap)


def is_result(text: Any) -> bool:
    return isinstance(text, str) and '"status":"succeeded"' in text


def _before_saying(trap: Trap) -> None:
    """When the result is about to be written to the client."""
    _around_saying(trap, 0)


def _half_said(trap: Trap) -> None:
    """When half of the result is on its way to the client."""
    _around_saying(trap, 0.5)


def _said(trap: Trap) -> None:
    """When the whole result is on its way to the client."""
    _around_saying(trap, 1)


def _around_saying(trap: Trap, share: float) -> None:
    def wrapper(original: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
        async def write(file: anyio.AsyncFile[str], text: str) -> int:
            if not is_result(text):
                return await original(file, text)
            said = int(len(text) * share)
            await original(file, text[:said])
            await file.flush()
            trap()
            return await original(file, text[said:])

        return write

    wrap(anyio.AsyncFile, "write", wrapper)


def is_done(answer: Any) -> bool:
    return answer.status is RemoteStatus.SUCCEED


ONE, NONE, PERHAPS = frozenset({1}), frozenset({0}), frozenset({0, 1})
RESULTS = "/results/"


def bought(arm: Arm) -> Point:
    """A step after which the edit is brought home, or bought for the first time."""
    return Point(arm, "picture", ONE)


def unclear(arm: Arm, submissions: frozenset[int]) -> Point:
    """A step after which nobody can know whether the edit was bought."""
    return Point(arm, "unclear", submissions)


POINTS: dict[str, Point] = {
    "before the journal's first word": bought(before(Journal, "begin_all")),
    "begun, not committed": bought(before_commit("begin")),
    "begun": unclear(after(Journal, "begin_all"), NONE),
    "before the submission": unclear(before(Novita, "submit"), NONE),
    "request half sent": unclear(on_the_wire("send_request_body.started", "POST"), NONE),
    "request sent": unclear(on_the_wire("send_request_body.complete", "POST"), PERHAPS),
    "answer begun": unclear(on_the_wire("receive_response_headers.complete", "POST"), ONE),
    "answered": unclear(after(Novita, "submit"), ONE),
    "accepted, not committed": unclear(before_commit("move", Status.QUEUED), ONE),
    "accepted": bought(after(Journal, "accepted")),
    "before a poll": bought(before(Novita, "result")),
    "polled": bought(after(Novita, "result")),
    "processing, not committed": bought(before_commit("move", Status.PROCESSING)),
    "processing": bought(after(Journal, "processing")),
    "done upstream": bought(after(Novita, "result", is_done)),
    "link answered": bought(on_the_wire("receive_response_headers.complete", "GET", RESULTS)),
    "mid-download": bought(mid_download),
    "downloaded": bought(before(Gallery, "_keep")),
    "file half written": bought(_half_written),
    "file written, not synced": bought(before(disk.os, "fsync")),
    "before the name": bought(before(disk.os, "link")),
    "named": bought(_named),
    "name reserved, not filled": bought(_reserved),
    "saved": bought(after(Gallery, "save")),
    "success, not committed": bought(before_commit("move", Status.SUCCEEDED)),
    "succeeded": bought(after(Journal, "succeeded")),
    "before the result is said": bought(_before_saying),
    "result half said": bought(_half_said),
    "result said": bought(_said),
    "before delivery is noted": bought(before(Journal, "delivered")),
    "delivered": bought(after(Journal, "delivered")),
}
"""The steps of an edit in their order, from before the journal's first word to after its last."""

WAITING = "the caller waits"
"""Passed about five times a second while a call waits for its edit, wherever that is."""

_ARMS = {name: point.arm for name, point in POINTS.items()} | {WAITING: before(WaitingRoom, "_pass_time")}


def trap_after(passes: int) -> Trap:
    """Kills this process when it is passed for so many times."""
    left = iter(range(passes - 1, -1, -1))

    def trap() -> None:
        if next(left, None) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return trap


def hurry(paces: Paces) -> None:
    """Let leases and pauses be as short as a test needs them."""
    for owner, name, value in paces:
        assert hasattr(owner, name), name
        setattr(owner, name, value)


def main(point: str = "", passes: str = "1") -> None:
    """Serve on standard input and output."""
    hurry(QUICK)
    if point:
        _ARMS[point](trap_after(int(passes)))
    asyncio.run(serve_stdio(os.environ, []))


if __name__ == "__main__":
    main(*sys.argv[1:])
