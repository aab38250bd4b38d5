"""The page as a host learns of it: where it is, which tools it belongs to, what it may do.

The extension is `io.modelcontextprotocol/ui` (MCP Apps, 2026-01-26). A client that does not declare it
never hears of the page.
"""

from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from kontext_edit.tools import Tool, Workshop

if TYPE_CHECKING:
    from mcp.server.context import HandlerResult

EXTENSION = "io.modelcontextprotocol/ui"
URI = "ui://kontext-edit/edit.html"
MIME = "text/html;profile=mcp-app"

_SHOWING = ("edit_image", "get_task")
"""The tools whose results the page shows."""

_RIGHTS: dict[str, Any] = {
    "ui": {
        # Nothing from anywhere: neither connections nor files. The pictures come through the host.
        "csp": {"connectDomains": [], "resourceDomains": []},
        "permissions": {"clipboardWrite": {}},
        "prefersBorder": True,
    }
}


@cache
def html() -> str:
    """The page."""
    return files("kontext_edit.ui").joinpath("page.html").read_text(encoding="utf-8")


def tool_meta() -> dict[str, Any]:
    """What the definition of a tool says so that hosts show its results in the page."""
    return {"ui": {"resourceUri": URI}}


def app_only_meta() -> dict[str, Any]:
    """What the definition of a tool says so that the page may call it, and no model hears of it."""
    return {"ui": {"visibility": ["app"]}}


def shown_in_apps(capabilities: types.ClientCapabilities | None) -> bool:
    """Whether a client shows pages of this kind."""
    extensions = capabilities.extensions if capabilities else None
    wanted = (extensions or {}).get(EXTENSION)
    return wanted is not None and MIME in wanted.get("mimeTypes", ())


def tools_for(
    capabilities: types.ClientCapabilities | None, tools: dict[str, Tool], app_tools: dict[str, Tool]
) -> dict[str, Tool]:
    """The tools as a client is told of them: with the page and its tools where it shows pages."""
    if not shown_in_apps(capabilities):
        return tools
    bound = {
        name: replace(tool, definition=tool.definition.model_copy(update={"meta": tool_meta()}))
        if name in _SHOWING
        else tool
        for name, tool in tools.items()
    }
    return bound | app_tools


def entry() -> types.Resource:
    """The page's row in `resources/list`."""
    return types.Resource(
        uri=URI,
        name="edit.html",
        title="Kontext Edit",
        description="Before and after, variants, and a box to go on editing.",
        mime_type=MIME,
        _meta=_RIGHTS,
    )


def contents() -> types.ReadResourceResult:
    """The page as `resources/read` gives it."""
    page = types.TextResourceContents(uri=URI, mime_type=MIME, text=html(), _meta=_RIGHTS)
    return types.ReadResourceResult(contents=[page])


def add_to(server: Server[None], workshop: Workshop) -> None:
    """Announce the extension, and serve the page beside whatever resources the server has by now."""
    del workshop  # the page is the same for everybody
    server.extensions[EXTENSION] = {}
    listing = server.get_request_handler("resources/list")
    reading = server.get_request_handler("resources/read")

    async def list_resources(
        ctx: ServerRequestContext[None, Any], params: types.PaginatedRequestParams
    ) -> "HandlerResult":
        listed = await listing.handler(ctx, params) if listing else types.ListResourcesResult(resources=[])
        first_page = params.cursor is None
        if first_page and isinstance(listed, types.ListResourcesResult) and _is_shown(ctx):
            return listed.model_copy(update={"resources": [*listed.resources, entry()]})
        return listed

    async def read_resource(
        ctx: ServerRequestContext[None, Any], params: types.ReadResourceRequestParams
    ) -> "HandlerResult":
        if params.uri == URI:
            return contents()
        if reading is None:
            raise MCPError(types.INVALID_PARAMS, f"There is no resource {params.uri!r}.")
        return await reading.handler(ctx, params)

    server.add_request_handler("resources/list", types.PaginatedRequestParams, list_resources)
    server.add_request_handler("resources/read", types.ReadResourceRequestParams, read_resource)


def _is_shown(ctx: ServerRequestContext[None, Any]) -> bool:
    return shown_in_apps(ctx.session.client_capabilities)
