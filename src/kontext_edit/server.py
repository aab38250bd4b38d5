"""The MCP door: lists the tools, carries calls in and results out, and turns our errors into results."""

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from kontext_edit import completions, prompts, resources, task_extension
from kontext_edit.caller import Visitor
from kontext_edit.clock import Clock
from kontext_edit.era_probe import probes_answered
from kontext_edit.errors import InternalError, InvalidSettings, KontextError, ScopeMissing
from kontext_edit.logs import formatter
from kontext_edit.mcp_caller import InputRequired, McpCaller, visitor_of
from kontext_edit.results import error_result
from kontext_edit.tiers import DEFAULT_TIER
from kontext_edit.tokens import EDIT
from kontext_edit.tools import Tool, Workshop, make_tools
from kontext_edit.ui import page
from kontext_edit.ui.app_tools import APP_TOOLS
from kontext_edit.workshop import LazyWorkshop, OpenWorkshop

if TYPE_CHECKING:
    import httpx


logger = logging.getLogger(__name__)

NAME = "kontext-edit"
LARGEST_CALL_BYTES = 72 * 1024 * 1024
"""Over HTTP: room for the largest picture that is read (50 MB) as base64, and the call around it."""

INSTRUCTIONS = """\
Edits existing pictures in plain language (FLUX.1 Kontext). Every edit_image call may cost money: ask \
estimate_cost when the person cares, and never repeat a call because it seemed slow: get_task with its \
task_id waits for the same edit. Results are files on the person's machine: tell them the path. A picture \
pasted into the chat cannot be seen here: ask for its path, to copy it (source: clipboard), or to take a \
screenshot of it (source: latest:screenshot).
"""
REMOTE_INSTRUCTIONS = """\
Edits existing pictures in plain language (FLUX.1 Kontext). Every edit_image call may cost money: ask \
estimate_cost when the person cares, and never repeat a call because it seemed slow: get_task with its \
task_id waits for the same edit. Results are links that work for a while: give them to the person; \
get_task brings a fresh one. This server sees no files of the person's machine: give a URL, a data: URL, \
or upload:<id> of a picture that was sent to POST /uploads.
"""


class _Server(Server[None]):
    """Says to handshake clients, at every door, that its list of resources changes."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """The SDK's options, with the flags of what `resources` tells."""
        return super().create_initialization_options(
            notification_options or NotificationOptions(resources_changed=True),
            experimental_capabilities,
            extensions,
        )


def make_server(
    environ: Mapping[str, str],
    *,
    allow: Sequence[str] = (),
    clock: Clock | None = None,
    transport: "httpx.AsyncBaseTransport | None" = None,
) -> Server[None]:
    """An MCP server.

    Args:
        environ: the environment to read the settings from.
        allow: folders named on the command line.
        clock: the seam for time.
        transport: the seam for HTTP.
    """
    workshop = LazyWorkshop(environ, allow, clock, transport)
    return server_of(workshop, RequestStateSecurity.ephemeral())


def server_of(workshop: LazyWorkshop | OpenWorkshop, security: RequestStateSecurity) -> Server[None]:
    """An MCP server over a workshop, which it opens with the first need and closes with its own end.

    Args:
        workshop: the parts.
        security: what seals the questions that 2026-07-28 clients bring back; replicas share its keys.
    """
    tools = make_tools(_default_tier(workshop), remote=workshop.remote)

    async def list_tools(
        ctx: ServerRequestContext[None, Any], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        offered = page.tools_for(ctx.session.client_capabilities, tools, APP_TOOLS)
        return types.ListToolsResult(tools=[tool.definition for tool in offered.values()])

    async def call_tool(
        ctx: ServerRequestContext[None, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        offered = page.tools_for(ctx.session.client_capabilities, tools, APP_TOOLS)
        tool = offered.get(params.name)
        if tool is None:
            known = ", ".join(tools)
            raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name!r}; there are {known}.")
        try:
            _demand_right(tool, visitor_of(ctx))
            return await tool.handler(workshop, params.arguments or {}, McpCaller(ctx, params, workshop))
        except InputRequired as asked:
            return asked.result
        except KontextError as error:
            return error_result(error)
        except Exception:
            logger.exception("%s failed unexpectedly", params.name)
            return error_result(InternalError())

    @asynccontextmanager
    async def lifespan(_server: Server[None]) -> AsyncGenerator[None]:
        resuming = asyncio.create_task(workshop.resume())
        try:
            yield None
        finally:
            resuming.cancel()
            await asyncio.gather(resuming, return_exceptions=True)
            await workshop.close()

    server = _Server(
        NAME,
        version=version(NAME),
        title="Kontext Edit",
        description="Edits pictures in plain language with FLUX.1 Kontext.",
        instructions=REMOTE_INSTRUCTIONS if workshop.remote else INSTRUCTIONS,
        lifespan=lifespan,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware.append(RequestStateBoundary(security, default_audience=NAME))
    for feature in (resources, prompts, completions, task_extension, page):
        feature.add_to(server, workshop)
    return server


async def serve_stdio(environ: Mapping[str, str], allow: Sequence[str]) -> None:
    """Serve one client on stdin and stdout until it closes them."""
    _log_to_stderr(environ)
    if sys.stdin.isatty():
        sys.stderr.write(
            "This is an MCP server: it speaks JSON on stdin and stdout, and an assistant starts it.\n"
            "To try it by hand: kontext-edit --help. To leave: Ctrl-D.\n"
        )
    server = make_server(environ, allow=allow)
    async with stdio_server() as (read, write), probes_answered(server, read, write) as rest:
        await server.run(rest, write, server.create_initialization_options())


def _demand_right(tool: Tool, visitor: Visitor) -> None:
    if tool.begins_edits and not visitor.may_edit:
        raise ScopeMissing(EDIT)


def _default_tier(workshop: Workshop) -> str:
    """The person's default tier; with unusable settings every call says so, and the list is still there."""
    try:
        return workshop.settings().default_tier
    except InvalidSettings as error:
        logger.warning("%s", error)
        return DEFAULT_TIER


def _log_to_stderr(environ: Mapping[str, str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(environ))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
