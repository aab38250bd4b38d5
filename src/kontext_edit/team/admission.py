"""Who is let in at the public door: bearers of a good token, for what it allows, and not too many at once.

Built of the SDK's own parts, so that sessions and request states are bound to their bearer in its way.
"""

from collections import Counter
from typing import TYPE_CHECKING, cast

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import (
    BearerAuthBackend,
    RequireAuthMiddleware,
)
from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kontext_edit.caller import Visitor
from kontext_edit.mcp_caller import VISITOR
from kontext_edit.team import refusals
from kontext_edit.team.guard import Places, place_name
from kontext_edit.team.identity import owner_of
from kontext_edit.tokens import EDIT, READ, SCOPES, may

if TYPE_CHECKING:
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser


def admission(
    verifier: TokenVerifier,
    places: Places,
    *,
    calls_at_once: int | None,
    metadata_of: str | None = None,
) -> list[Middleware]:
    """The middleware, outermost first, that lets bearers in and leaves the Visitor in the request's scope.

    Args:
        verifier: of bearer tokens.
        places: what each place asks for.
        calls_at_once: how many requests one owner may have open in this process.
        metadata_of: the resource whose OAuth metadata a refused client is pointed to; None without OAuth.
    """
    return [
        Middleware(AuthenticationMiddleware, backend=BearerAuthBackend(verifier), on_error=_cannot_verify),
        Middleware(AuthContextMiddleware),
        Middleware(Admission, places=places, calls_at_once=calls_at_once, metadata_of=metadata_of),
    ]


def metadata_routes(resource: str, issuer: str) -> list[Route]:
    """Where clients read which OAuth server issues tokens for this one [RFC 9728].

    Args:
        resource: the address of MCP here, like https://edits.example/mcp.
        issuer: the identifier of the OAuth server, which is told letter by letter.
    """
    settings = AuthSettings.model_validate(
        {"issuer_url": issuer, "resource_server_url": resource, "validate_token_resource": False}
    )
    return create_protected_resource_routes(
        resource_url=settings.resource_server_url or AnyHttpUrl(resource),
        authorization_servers=[settings.issuer_url],
        scopes_supported=[READ, EDIT],
        resource_name="Kontext Edit",
    )


class Admission:
    """ASGI middleware behind the authentication: asks for a place's scope, and counts open requests."""

    def __init__(
        self, app: ASGIApp, places: Places, calls_at_once: int | None, metadata_of: str | None
    ) -> None:
        self._app = app
        self._places = places
        self._calls_at_once = calls_at_once
        self._calls = Counter[str]()
        metadata_url = build_resource_metadata_url(AnyHttpUrl(metadata_of)) if metadata_of else None
        self._asking_for = {
            scope: RequireAuthMiddleware(self._admit, [scope], metadata_url) for scope in SCOPES
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, where it may."""
        place = self._places.get(place_name(scope)) if scope["type"] == "http" else None
        app = self._asking_for[place.scope] if place and place.scope else self._app
        await app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = cast("AuthenticatedUser", scope["user"])
        visitor = Visitor(owner_of(user.access_token), may_edit=may(user.scopes, EDIT))
        if self._calls_at_once is not None and self._calls[visitor.owner] >= self._calls_at_once:
            await refusals.TOO_MANY_CALLS.response()(scope, receive, send)
            return
        scope[VISITOR] = visitor
        self._calls[visitor.owner] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._calls[visitor.owner] -= 1
            if not self._calls[visitor.owner]:
                del self._calls[visitor.owner]


def _cannot_verify(_connection: HTTPConnection, _error: Exception) -> Response:
    return refusals.CANNOT_VERIFY.response()
