"""The guard of the public door: what is malformed, too large, too slow or from a foreign website stays out.

It stands before everything else and knows every place by name: what is not in its list does not exist, so
that a new route is closed until somebody says how it is guarded.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kontext_edit.clock import Clock
from kontext_edit.mcp_caller import VISITOR
from kontext_edit.team import refusals
from kontext_edit.team.refusals import Refusal

if TYPE_CHECKING:
    from kontext_edit.caller import Visitor

logger = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ONLY_ONCE = ("authorization", "content-length", "content-type", "host", "origin", "mcp-session-id")
_SAID_OF_EVERY_ANSWER = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
"""Where an answer does not say otherwise itself."""


@dataclass(frozen=True, slots=True)
class Place:
    """How requests whose path begins with a certain name are guarded."""

    scope: str | None
    """What a bearer must be allowed; None is open to everybody."""
    body_bytes: int = 0
    """The largest body that is read."""
    anywhere: bool = False
    """Whether it answers under any host name and to any website: probes and public facts."""


Places = Mapping[str, Place]
"""By the first part of the path, without slashes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may take of this server's patience."""

    body_seconds: float = 300
    """Waiting for the whole of a body."""
    silent_seconds: float = 20
    """Waiting for the next part of it."""
    headers: int = 100
    header_bytes: int = 32 * 1024
    target_bytes: int = 8 * 1024
    """Path and query."""


PATIENCE = Limits()


def place_name(scope: Scope) -> str:
    """The first part of a request's path, by which its place is known."""
    parts = cast("str", scope["path"]).split("/", 2)
    return parts[1] if len(parts) > 1 and not parts[0] else ""


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: what is guarded.
        places: every place there is.
        hosts: the names of this server, and the websites whose pages may talk to it.
        clock: for slow requests, and how long an answer took.
        limits: of a request.
    """

    def __init__(
        self,
        app: ASGIApp,
        places: Places,
        hosts: TransportSecuritySettings,
        clock: Clock,
        limits: Limits = PATIENCE,
    ) -> None:
        self._app = app
        self._places = places
        self._hosts = hosts
        self._clock = clock
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] == "http":
            await self._guarded(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = self._clock.monotonic()
        place = self._places.get(place_name(scope))
        body = _Body(scope, receive, place.body_bytes if place else 0, self._limits, self._clock)
        exchange = _Exchange(scope, body, send)
        try:
            if refusal := self._refused(scope, place):
                await exchange.refuse(refusal)
            else:
                await exchange.answered_by(self._app)
        finally:
            self._log(scope, exchange.status, self._clock.monotonic() - began)

    def _refused(self, scope: Scope, place: Place | None) -> Refusal | None:
        """What is wrong with a request before its body is read."""
        headers, limits = Headers(scope=scope), self._limits
        sizes = [len(name) + len(value) for name, value in headers.raw]
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > limits.target_bytes:
            return refusals.TARGET_TOO_LONG
        if len(sizes) > limits.headers or sum(sizes) > limits.header_bytes:
            return refusals.HEADERS_TOO_LARGE
        if ambiguity := _ambiguity(headers):
            return ambiguity
        if place is None:
            return refusals.NOTHING_HERE
        if not place.anywhere and (refusal := self._from_elsewhere(headers)):
            return refusal
        declared = headers.get("content-length", "0")
        return refusals.TOO_LARGE if _is_above(declared, place.body_bytes) else None

    def _from_elsewhere(self, headers: Headers) -> Refusal | None:
        """Whether a website talks to this server: by its own name that it led here, or from its pages."""
        if not _is_among(headers.get("host", ""), self._hosts.allowed_hosts):
            return refusals.WRONG_HOST
        origin = headers.get("origin")
        if origin is not None and not _is_among(origin, self._hosts.allowed_origins):
            return refusals.WRONG_ORIGIN
        return None

    def _log(self, scope: Scope, status: int | None, seconds: float) -> None:
        """One line: no query, and of the path only the place, since the rest can be a secret."""
        method, name = scope["method"], place_name(scope)
        visitor = cast("Visitor | None", scope.get(VISITOR))
        logger.info(
            "%s /%s %s in %.0f ms for %s",
            method if method in _METHODS else "?",
            name if name in self._places else "?",
            status or "without an answer",
            seconds * 1000,
            visitor.owner if visitor else "nobody known",
        )


class BodyStopped(Exception):
    """Ends the work on a request whose body is not read any further."""


class _Body:
    """The body of a request, as far as it keeps to the limits."""

    def __init__(self, scope: Scope, receive: Receive, largest: int, limits: Limits, clock: Clock) -> None:
        self._receive = receive
        self._largest = largest
        self._limits = limits
        self._clock = clock
        self._over = False
        self._bytes = 0
        self._waited = 0.0
        self.unread = _has_body(Headers(scope=scope))
        """Whether there is more of it to come."""
        self.refusal: Refusal | None = None
        """Why it is not read any further."""

    async def receive(self) -> Message:
        """The next part of the request."""
        if self._over:
            return await self._receive()
        message = await self._in_time()
        if message is None:
            raise self._stopped(refusals.TOO_SLOW)
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._largest:
            raise self._stopped(refusals.TOO_LARGE)
        if not message.get("more_body", False):
            self._over, self.unread = True, False
        return message

    async def _in_time(self) -> Message | None:
        """The next message, or None where it does not come in time."""
        patience = min(self._limits.silent_seconds, self._limits.body_seconds - self._waited)
        began = self._clock.monotonic()
        message = asyncio.ensure_future(self._receive())
        alarm = asyncio.ensure_future(self._clock.sleep(max(0.0, patience)))
        try:
            await asyncio.wait((message, alarm), return_when=asyncio.FIRST_COMPLETED)
            self._waited += self._clock.monotonic() - began
            return message.result() if message.done() else None
        finally:
            message.cancel()
            alarm.cancel()

    def _stopped(self, refusal: Refusal) -> BodyStopped:
        self.refusal = refusal
        return BodyStopped()


class _Exchange:
    """One request and its answer, as they pass the guard."""

    def __init__(self, scope: Scope, body: _Body, send: Send) -> None:
        self._scope = scope
        self._body = body
        self._send = send
        self.status: int | None = None
        """Of the answer, once it began."""

    async def answered_by(self, app: ASGIApp) -> None:
        """Let `app` answer, and answer in its place where the body was stopped."""
        try:
            await app(self._scope, self._body.receive, self._say)
        except Exception:
            if self._body.refusal is None or self.status is not None:
                raise
        if self._body.refusal and self.status is None:
            await self.refuse(self._body.refusal)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal."""
        await refusal.response()(self._scope, self._body.receive, self._pass_on)

    async def _say(self, message: Message) -> None:
        """A part of the application's answer; what it says of a request that was stopped is not passed on."""
        if self._body.refusal is None:
            await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            for name, value in _SAID_OF_EVERY_ANSWER.items():
                headers.setdefault(name, value)
            if self._body.unread:
                headers["connection"] = "close"  # the rest of the body would come without any limit
            message = {**message, "headers": headers.raw}
        await self._send(message)


def _ambiguity(headers: Headers) -> Refusal | None:
    """What may be read in two ways: here in one, by a proxy in front in the other."""
    if any(len(headers.getlist(name)) > 1 for name in _ONLY_ONCE):
        return refusals.HEADER_TWICE
    two_lengths = "content-length" in headers and "transfer-encoding" in headers
    return refusals.TWO_LENGTHS if two_lengths else None


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _is_above(declared: str, largest: int) -> bool:
    """Whether a declared length is too large; what is no length at all is the HTTP server's to refuse."""
    return declared.isdecimal() and (len(declared) > len(str(largest)) + 20 or int(declared) > largest)


def _is_among(name: str, allowed: Sequence[str]) -> bool:
    """Whether a host or an origin is allowed; `:*` at the end of an entry stands for any port."""
    name = name.lower()
    return any(
        name == entry
        or (entry.endswith(":*") and name.startswith(entry[:-1]) and name[len(entry) - 1 :].isdecimal())
        for entry in map(str.lower, allowed)
    )
