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
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx

from kontext_edit import caretaker, editor, gallery, novita, waiting, watcher, workshop
from kontext_edit.gallery import Gallery
from kontext_edit.journal import statements
from kontext_edit.journal.book import Journal
from kontext_edit.mcp_caller import McpCaller
from kontext_edit.novita import Novita, RemoteStatus
from kontext_edit.server import serve_stdio
from kontext_edit.task import Status
from kontext_edit.tiers import Dev

_QUICK: tuple[tuple[Any, str, Any], ...] = (
    (statements, "LEASE_SECONDS", 1.0),
    (caretaker, "_ROUND_SECONDS", 0.3),
    (workshop, "_RESUME_AFTER_SECONDS", 0.05),
    (waiting, "_TICK_SECONDS", 0.2),
    (editor, "_PAUSES_BETWEEN_FETCHES", (0.1, 0.3, 0.6, 1.0)),
    (editor, "_ARRIVAL_SECONDS", 1.0),
    (novita, "_FIRST_PAUSE_SECONDS", 0.1),
    (watcher, "_SHORTEST_PAUSE", 0.1),
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


def _wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
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

        _wrap(owner, name, wrapper)

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

        _wrap(owner, name, wrapper)

    return arm


def before_commit(name: str, status: Status | None = None) -> Arm:
    """When a transaction of the journal has done everything but its COMMIT."""

    def arm(trap: Trap) -> None:
        running: list[bool] = []

        def marked(original: Callable[..., Any]) -> Callable[..., Any]:
            def work(*args: Any, **kwargs: Any) -> Any:
                running.append(status is None or status in args)
                try:
                    return original(*args, **kwargs)
                finally:
                    running.pop()

            return work

        def trapped(original: Callable[..., Any]) -> Callable[..., Any]:
            @contextmanager
            def transaction(*args: Any, **kwargs: Any) -> Generator[None]:
                with original(*args, **kwargs):
                    yield
                    if any(running):
                        trap()

            return transaction

        _wrap(statements, name, marked)
        _wrap(statements, "transaction", trapped)

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

        _wrap(httpx.AsyncHTTPTransport, "handle_async_request", wrapper)

    return arm


def _mid_download(trap: Trap) -> None:
    """When the first bytes of a picture have come."""

    def wrapper(original: Callable[..., AsyncIterator[bytes]]) -> Callable[..., AsyncIterator[bytes]]:
        async def chunks(response: httpx.Response, *args: Any) -> AsyncIterator[bytes]:
            async for chunk in original(response, *args):
                yield chunk
                if response.url.path.startswith("/results/"):
                    trap()

        return chunks

    _wrap(httpx.Response, "aiter_bytes", wrapper)


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

    _wrap(Path, "open", wrapper)


def _named(trap: Trap) -> None:
    """When a picture has its name, and the name that it was written under too."""

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        def link(*args: Any) -> None:
            original(*args)
            trap()

        return link

    _wrap(gallery.os, "link", wrapper)


def _reserved(trap: Trap) -> None:
    """When a picture's name is reserved on a file system without hard links, and not filled yet."""

    def no_links(_original: Callable[..., Any]) -> Callable[..., Any]:
        def link(*_args: Any) -> None:
            raise OSError(errno.EPERM, "no hard links here")

        return link

    _wrap(gallery.os, "link", no_links)
    before(Path, "replace")(trap)


def _is_result(text: Any) -> bool:
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
            if not _is_result(text):
                return await original(file, text)
            said = int(len(text) * share)
            await original(file, text[:said])
            await file.flush()
            trap()
            return await original(file, text[said:])

        return write

    _wrap(anyio.AsyncFile, "write", wrapper)


def _done(answer: Any) -> bool:
    return answer.status is RemoteStatus.SUCCEED


_ONE, _NONE, _PERHAPS = frozenset({1}), frozenset({0}), frozenset({0, 1})
_RESULTS = "/results/"


def _bought(arm: Arm) -> Point:
    return Point(arm, "picture", _ONE)


POINTS: dict[str, Point] = {
    "before the journal's first word": _bought(before(Journal, "begin_all")),
    "begun, not committed": _bought(before_commit("begin")),
    "begun": Point(after(Journal, "begin_all"), "unclear", _NONE),
    "before the submission": Point(before(Novita, "submit"), "unclear", _NONE),
    "request half sent": Point(on_the_wire("send_request_body.started", "POST"), "unclear", _NONE),
    "request sent": Point(on_the_wire("send_request_body.complete", "POST"), "unclear", _PERHAPS),
    "answer begun": Point(on_the_wire("receive_response_headers.complete", "POST"), "unclear", _ONE),
    "answered": Point(after(Novita, "submit"), "unclear", _ONE),
    "accepted, not committed": Point(before_commit("move", Status.QUEUED), "unclear", _ONE),
    "accepted": _bought(after(Journal, "accepted")),
    "before a poll": _bought(before(Novita, "result")),
    "polled": _bought(after(Novita, "result")),
    "processing, not committed": _bought(before_commit("move", Status.PROCESSING)),
    "processing": _bought(after(Journal, "processing")),
    "done upstream": _bought(after(Novita, "result", _done)),
    "link answered": _bought(on_the_wire("receive_response_headers.complete", "GET", _RESULTS)),
    "mid-download": _bought(_mid_download),
    "downloaded": _bought(before(Gallery, "_keep")),
    "file half written": _bought(_half_written),
    "file written, not synced": _bought(before(gallery.os, "fsync")),
    "before the name": _bought(before(gallery.os, "link")),
    "named": _bought(_named),
    "name reserved, not filled": _bought(_reserved),
    "saved": _bought(after(Gallery, "save")),
    "success, not committed": _bought(before_commit("move", Status.SUCCEEDED)),
    "succeeded": _bought(after(Journal, "succeeded")),
    "before the result is said": _bought(_before_saying),
    "result half said": _bought(_half_said),
    "result said": _bought(_said),
    "before delivery is noted": _bought(before(Journal, "delivered")),
    "delivered": _bought(after(Journal, "delivered")),
}
"""The steps of an edit in their order, from before the journal's first word to after its last."""

WAITING = "the caller waits"
"""Passed about five times a second while a call waits for its edit, wherever that is."""

_ARMS = {name: point.arm for name, point in POINTS.items()} | {WAITING: before(McpCaller, "progress")}


def trap_after(passes: int) -> Trap:
    """Kills this process when it is passed for so many times."""
    left = iter(range(passes - 1, -1, -1))

    def trap() -> None:
        if next(left, None) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return trap


def main(point: str = "", passes: str = "1") -> None:
    """Serve on standard input and output."""
    for owner, name, value in _QUICK:
        assert hasattr(owner, name), name
        setattr(owner, name, value)
    if point:
        _ARMS[point](trap_after(int(passes)))
    asyncio.run(serve_stdio(os.environ, []))


if __name__ == "__main__":
    main(*sys.argv[1:])
