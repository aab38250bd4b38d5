"""An upstream in a process of its own, which counts what it is asked to bill and fails by a schedule.

    python -m tests.billing "3 seconds" [SEED] [MOST]

It is the sandbox behind a layer of faults, which a seed decides; without a seed there are none. If it takes
only so many submissions a second, it answers the others 429. It writes its address on standard output and
serves until its standard input ends. `GET /ledger` tells every edit that it accepted, every submission that
it was asked for, and the faults that it made; `GET /pass/60` lets a minute pass for its edits.
"""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Literal

import httpx
import uvicorn
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kontext_edit.clock import SystemClock
from kontext_edit.sandbox.api import Sandbox
from kontext_edit.sandbox.tasks import parse_progression

ROOT = Path(__file__).parents[1]

Kind = Literal["submission", "poll", "picture"]

SHARES: dict[Kind, dict[str, float]] = {
    "submission": {
        "429": 0.05,
        "503": 0.03,
        "500 that says no task was made": 0.03,
        "500 after accepting": 0.02,
        "500 without accepting": 0.02,
        "cut before accepting": 0.02,
        "cut after accepting": 0.02,
        "cut in the answer": 0.02,
        "slow": 0.08,
    },
    "poll": {"429": 0.04, "500": 0.03, "nonsense": 0.02, "cut before": 0.03, "slow": 0.04},
    "picture": {"403": 0.03, "404": 0.02, "500": 0.03, "nonsense": 0.02, "cut in the answer": 0.05},
}
"""How often each fault happens to each kind of request."""

_SLOW_SECONDS = 0.4
_FIRST_WORDS_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Billed:
    """An edit that upstream accepted."""

    task_id: str
    prompt: str
    price_usd: Decimal


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upstream process, as a test sees it."""

    url: str

    def billed(self) -> list[Billed]:
        """Every edit that it accepted, in order."""
        return [
            Billed(row["task_id"], row["prompt"], Decimal(row["price_usd"])) for row in self._told()["billed"]
        ]

    def billed_for(self, prompt: str) -> list[Billed]:
        """The edits with this prompt."""
        return [row for row in self.billed() if row.prompt == prompt]

    def asked(self) -> list[str]:
        """The prompts of all submissions that arrived, in order, also of those that were refused."""
        return self._told()["asked"]

    def faults(self) -> dict[str, int]:
        """How often each fault happened."""
        return self._told()["faults"]

    def let_pass(self, seconds: int) -> None:
        """Let time pass for its edits."""
        httpx.get(f"{self.url}/pass/{seconds}", trust_env=False).raise_for_status()

    def _told(self) -> dict[str, Any]:
        return httpx.get(f"{self.url}/ledger", trust_env=False).json()


@contextmanager
def upstream(progression: str, seed: str = "", *, most_a_second: float | None = None) -> Generator[Upstream]:
    """An upstream process that lasts as long as the block."""
    most = [str(most_a_second)] if most_a_second else []
    command = [sys.executable, "-m", "tests.billing", progression, seed, *most]
    with subprocess.Popen(  # noqa: S603 - ourselves
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        too_late = threading.Timer(_FIRST_WORDS_SECONDS, process.kill)
        too_late.start()
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        too_late.cancel()
        assert url, "the upstream did not start"
        try:
            yield Upstream(url)
        finally:
            process.kill()


@dataclass(slots=True)
class Kept:
    """An answer that is held back, to be given later, in part or never."""

    messages: list[Message] = field(default_factory=list[Message])

    async def keep(self, message: Message) -> None:
        self.messages.append(message)

    async def give(self, send: Send) -> None:
        for message in self.messages:
            await send(message)

    async def give_half(self, send: Send) -> None:
        """The head, and the first half of the body."""
        body = b"".join(message.get("body", b"") for message in self.messages)
        await send(self.messages[0])
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


class HurriedClock(SystemClock):
    """The machine's time, and what was let pass beside it."""

    def __init__(self) -> None:
        self.ahead = 0

    def now(self) -> float:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class RateLimit:
    """So many submissions a second, 1 or more; as many at once after a second of rest."""

    def __init__(self, most_a_second: float) -> None:
        self._most = self._left = most_a_second
        self._at = time.monotonic()

    def takes(self) -> bool:
        """Whether there is room for one more."""
        now, before = time.monotonic(), self._at
        self._at = now
        self._left = min(self._most, self._left + (now - before) * self._most)
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Faulty:
    """The sandbox's app behind faults."""

    def __init__(
        self, app: ASGIApp, seed: str, limit: RateLimit, connections: MutableMapping[int, asyncio.Transport]
    ) -> None:
        self.made: Counter[str] = Counter()
        self.asked: list[str] = []
        self._app = app
        self._seed = seed
        self._limit = limit
        self._connections = connections
        self._asked: Counter[Kind] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind, sent = _kind(scope), await _whole(receive)
        if sent is None:
            return
        body, fault = _again(sent, receive), self._draw(kind)
        if kind == "submission":
            self.asked.append(json.loads(sent)["prompt"])
            fault = fault if self._limit.takes() else "429"
        if fault is None:
            await self._app(scope, body, send)
            return
        self.made[f"{kind}: {fault}"] += 1
        if fault == "slow":
            await asyncio.sleep(_SLOW_SECONDS)
            await self._app(scope, body, send)
        elif fault in ("cut before", "cut before accepting"):
            self._cut(scope)
        elif fault in ("cut after accepting", "500 after accepting", "cut in the answer"):
            await self._accept_and_fail(fault, scope, body, send)
        else:
            await _refusal(fault)(scope, body, send)

    async def _accept_and_fail(self, fault: str, scope: Scope, body: Receive, send: Send) -> None:
        kept = Kept()
        await self._app(scope, body, kept.keep)
        if fault == "500 after accepting":
            await _refusal("500")(scope, body, send)
            return
        if fault == "cut in the answer":
            await kept.give_half(send)
        self._cut(scope)

    def _draw(self, kind: Kind) -> str | None:
        """The fault of the next request of a kind: the same for the same seed and place in the order."""
        self._asked[kind] += 1
        if not self._seed:
            return None
        drawn = Random(f"{self._seed} {kind} {self._asked[kind]}").random()  # noqa: S311 - no secret
        for fault, share in SHARES[kind].items():
            drawn -= share
            if drawn < 0:
                return fault
        return None

    def _cut(self, scope: Scope) -> None:
        """End the connection without a further word."""
        _, port = scope["client"]
        self._connections[port].abort()


def _kind(scope: Scope) -> Kind:
    if scope["method"] == "POST":
        return "submission"
    return "picture" if scope["path"].startswith("/results/") else "poll"


async def _whole(receive: Receive) -> bytes | None:
    """A request's body, read to its end; None where its client has gone before that."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, for whoever asks for it later."""
    waiting: list[Message] = [{"type": "http.request", "body": body}]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def _refusal(fault: str) -> Response:
    """The answer of a fault that does not get through to the sandbox."""
    if fault == "nonsense":
        return PlainTextResponse("<html>Please stand by</html>", media_type="text/html")
    reason = {"429": "RATE_LIMIT_EXCEEDED", "500 that says no task was made": "CREATE_TASK_FAILED"}
    body: dict[str, Any] = {
        "code": 0,
        "reason": reason.get(fault, "OUT_OF_ORDER"),
        "message": fault,
        "metadata": {},
    }
    headers = {"retry-after": "0.1"} if fault in ("429", "503") else None
    return JSONResponse(body, int(fault[:3]), headers)


def main(progression: str, seed: str = "", most_a_second: str = "1e9") -> None:
    """Serve until standard input ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    clock = HurriedClock()
    sandbox = Sandbox(
        clock=clock,
        progression=parse_progression(progression),
        base_url=url,
        balance_usd=Decimal(10_000),
    )
    connections: dict[int, asyncio.Transport] = {}
    faulty = Faulty(sandbox.app, seed, RateLimit(float(most_a_second)), connections)

    class Connection(H11Protocol):
        """A connection that can be found by its client's port."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as its parent has it
            super().connection_made(transport)
            connections[transport.get_extra_info("peername")[1]] = transport

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/pass/"):
            clock.ahead += int(scope["path"].removeprefix("/pass/"))
        if scope["path"] == "/ledger" or scope["path"].startswith("/pass/"):
            told = {"billed": list(_rows(sandbox)), "asked": faulty.asked, "faults": dict(faulty.made)}
            await JSONResponse(told)(scope, receive, send)
        else:
            await faulty(scope, receive, send)

    config = uvicorn.Config(app, http=Connection, lifespan="off", ws="none", log_level="critical")
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_stdin, args=[server], daemon=True).start()
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])


def _rows(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    for submission in sandbox.submissions:
        yield {
            "task_id": submission.task_id,
            "prompt": submission.body["prompt"],
            "price_usd": str(submission.price_usd),
        }


def _end_with_stdin(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


if __name__ == "__main__":
    main(*sys.argv[1:])
