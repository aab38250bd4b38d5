"""The MCP door for callers elsewhere: who they are is known, and any replica answers any request.

Both eras of the protocol are served at one address, without sessions: what a request needs to know stands in
the journal, in the store, or in the request itself.
"""

import hmac
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateSecurity
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from kontext_edit.app import App, open_for_many
from kontext_edit.clock import Clock, SystemClock
from kontext_edit.server import LARGEST_CALL_BYTES, server_of
from kontext_edit.settings import Settings
from kontext_edit.team.admission import admission, metadata_routes
from kontext_edit.team.guard import Guard
from kontext_edit.team.identity import Jwts, StaticTokens, Verifier
from kontext_edit.team.keys import IssuerKeys
from kontext_edit.team.metrics import CountedCalls, Metrics
from kontext_edit.team.routes import MCP, PLACES, Readiness, Routes
from kontext_edit.workshop import OpenWorkshop

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Door:
    """What listens, and what has to be told when it closes."""

    asgi: ASGIApp
    app: App
    readiness: Readiness
    server: Server[None]
    """What answers MCP."""
    routes: tuple[Route, ...]
    """Everything that is answered over HTTP, MCP included."""

    def begin_to_close(self) -> None:
        """Send nobody here any more, and let nobody wait; edits under way go on at other replicas."""
        self.readiness.closing = True
        self.app.editor.end_waiting()


async def open_door(
    settings: Settings,
    *,
    address: str,
    clock: Clock | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Door:
    """Open the parts and build the application around them; its lifespan closes them.

    Args:
        settings: the operator's.
        address: where this process listens, without a path.
        clock: the seam for time.
        transport: the seam for HTTP to upstream and to the OAuth issuer.
    """
    clock, metrics, readiness = clock or SystemClock(), Metrics(), Readiness()
    app = await open_for_many(settings, address=address, clock=clock, transport=transport, measures=metrics)
    serving = settings.serving
    server = server_of(OpenWorkshop(app, clock), RequestStateSecurity(keys=[_key(app.secret)]))
    server.middleware.insert(0, CountedCalls(server, metrics))
    hosts = _names(serving.allowed_hosts, address, serving.public_url)
    mcp = server.streamable_http_app(
        streamable_http_path=MCP,
        stateless_http=True,
        max_request_body_size=LARGEST_CALL_BYTES,
        # The guard has looked at names and websites already, as it does for every other address.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    # Without sessions a GET would be a stream that never says anything and never ends.
    endpoint = next(route.endpoint for route in mcp.routes if isinstance(route, Route) and route.path == MCP)
    oauth = serving.oauth
    resource = f"{serving.public_url or address}{MCP}"
    keys = IssuerKeys(oauth.issuer, oauth.jwks_url, clock, transport) if oauth else None
    verifier = Verifier(
        StaticTokens(app.journal, clock) if "tokens" in serving.auth else None,
        Jwts(oauth.issuer, oauth.audience, keys, clock) if oauth and keys else None,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with mcp.router.lifespan_context(mcp):
            yield
        if keys is not None:
            await keys.close()

    routes = (
        *Routes(app, metrics, readiness).all(),
        *(metadata_routes(resource, oauth.issuer) if oauth else ()),
        Route(MCP, endpoint, methods=["POST"]),
    )
    outer = Starlette(
        routes=routes,
        middleware=admission(
            verifier,
            PLACES,
            calls_at_once=serving.calls_at_once,
            metadata_of=resource if oauth else None,
        ),
        lifespan=lifespan,
    )
    # The way to an address with a slash too many would be told as http:// behind a proxy with TLS.
    outer.router.redirect_slashes = False
    return Door(Guard(outer, PLACES, hosts, clock), app, readiness, server, routes)


def _key(secret: bytes) -> bytes:
    """What seals the questions that clients bring back: the deployment's secret, for this one use."""
    return hmac.digest(secret, b"kontext-edit request state 1", "sha256")


def _names(allowed: tuple[str, ...], address: str, public_url: str | None) -> TransportSecuritySettings:
    """The names under which the server is called, and the websites whose pages may call it: its own."""
    own = address.partition("://")[2]
    hosts = [*allowed, own, *(f"{name}:*" for name in _LOCAL_NAMES)]
    origins = [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
    return TransportSecuritySettings(
        allowed_hosts=hosts, allowed_origins=[*origins, *([public_url] if public_url else [])]
    )
