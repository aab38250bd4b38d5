"""What is served beside MCP: uploads, pictures, upstream's webhook, and what an operator looks at."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from kontext_edit.app import App
from kontext_edit.errors import JournalUnavailable, KontextError
from kontext_edit.mcp_caller import VISITOR
from kontext_edit.results import error_result
from kontext_edit.server import LARGEST_CALL_BYTES
from kontext_edit.team.guard import Place
from kontext_edit.team.metrics import CONTENT_TYPE, Metrics
from kontext_edit.tokens import EDIT, METRICS, READ
from kontext_edit.webhook import PATH

if TYPE_CHECKING:
    from kontext_edit.caller import Visitor

logger = logging.getLogger(__name__)

MCP = "/mcp"

_LARGEST_UPLOAD_BYTES = 50 * 1024 * 1024
_LARGEST_RING_BYTES = 1024 * 1024
"""What upstream posts is read to its end and not looked at."""
_NAME_CHARACTERS = 200
_READY_SECONDS = 5.0

PLACES = {
    "mcp": Place(READ, LARGEST_CALL_BYTES),
    "uploads": Place(EDIT, _LARGEST_UPLOAD_BYTES),
    "pictures": Place(None),
    "webhooks": Place(None, _LARGEST_RING_BYTES),
    "metrics": Place(METRICS, anywhere=True),
    "health": Place(None, anywhere=True),
    "ready": Place(None, anywhere=True),
    ".well-known": Place(None, anywhere=True),
}
"""How each address is guarded; one that is not here does not exist."""


class Readiness:
    """Whether this replica should be sent requests."""

    def __init__(self) -> None:
        self.closing = False


class Routes:
    """The routes of a server for many, beside MCP's own."""

    def __init__(self, app: App, metrics: Metrics, readiness: Readiness) -> None:
        self._app = app
        self._metrics = metrics
        self._readiness = readiness

    def all(self) -> list[Route]:
        """Each of them."""
        return [
            _route("/uploads", self.upload, "POST"),
            _route("/pictures/{token}", self.picture, "GET"),
            _route(PATH, self.webhook, "POST"),
            _route("/health", self.health, "GET"),
            _route("/ready", self.ready, "GET"),
            _route("/metrics", self.measures, "GET"),
        ]

    async def upload(self, request: Request) -> Response:
        """Take a picture in, which is the request's body; its name may stand in X-File-Name."""
        visitor = cast("Visitor", request.scope[VISITOR])
        name = unquote(request.headers.get("x-file-name", "picture"))[:_NAME_CHARACTERS]
        content = await request.body()
        try:
            kept = await self._app.inbox.keep(visitor.owner, name, content)
        except KontextError as error:
            return _told(error, 503 if error.retryable else 422)
        return JSONResponse(kept.told, 201)

    async def picture(self, request: Request) -> Response:
        """Bring the picture that a signed link stands for."""
        try:
            found = await self._app.store.answer(request.path_params["token"])
        except KontextError as error:
            return _told(error, 503)
        if found is None:
            return _nothing("This link does not work, or not any more. get_task gives a fresh one.")
        content, media_type = found
        return Response(content, media_type=media_type)

    async def webhook(self, request: Request) -> Response:
        """Somebody says that an edit is done: ask upstream whether that is so."""
        hook, parts = self._app.webhook, request.path_params
        edit = hook.edit_of(parts["edit_id"], parts["mark"]) if hook else None
        async for _ in request.stream():
            pass  # what it says is asked upstream, and not believed
        if edit is None:
            return _nothing("There is nothing here.")
        try:
            await self._app.journal.ring(edit)
        except JournalUnavailable:
            return JSONResponse({}, 503)  # upstream tries again [docs]
        return JSONResponse({})

    async def health(self, request: Request) -> Response:
        """Whether the process lives."""
        del request
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """Whether this replica should be sent requests."""
        del request
        if self._readiness.closing:
            return PlainTextResponse("closing\n", 503)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await self._app.journal.tokens()
        except (JournalUnavailable, TimeoutError) as error:
            logger.warning("not ready: %s", error)
            return PlainTextResponse("the journal cannot be reached\n", 503)
        return PlainTextResponse("ready\n")

    async def measures(self, request: Request) -> Response:
        """What Prometheus scrapes."""
        del request
        return Response(self._metrics.render(), headers={"content-type": CONTENT_TYPE})


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str) -> Route:
    return Route(path, endpoint, methods=[method])


def _told(error: KontextError, status: int) -> Response:
    return JSONResponse(error_result(error).structured_content, status)


def _nothing(sentence: str) -> Response:
    return JSONResponse({"error": {"code": "no_such_resource", "message": sentence}}, 404)
