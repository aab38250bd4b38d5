"""The MCP door: lists the tools, carries calls in and results out, and turns our errors into results."""

import asyncio
import logging
import secrets
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kontext_edit.caller import Consent
from kontext_edit.clock import Clock, SystemClock
from kontext_edit.errors import InternalError, InvalidSettings, KontextError
from kontext_edit.logs import Keyless
from kontext_edit.results import error_result
from kontext_edit.settings import Settings, given, read_settings
from kontext_edit.tiers import DEFAULT_TIER
from kontext_edit.tools import make_tools

if TYPE_CHECKING:
    import httpx

    from kontext_edit.app import App
    from kontext_edit.editor import Editor
    from kontext_edit.journal.book import Journal

logger = logging.getLogger(__name__)

NAME = "kontext-edit"

_RESUME_AFTER_SECONDS = 1.0
"""After the first exchange with the client, which nothing should slow down."""
_CONSENT = "consent"
_NO_FIELDS: types.ElicitRequestedSchema = {"type": "object", "properties": {}}
_CONSENTS = {"accept": Consent.GIVEN, "decline": Consent.DECLINED, "cancel": Consent.DISMISSED}

INSTRUCTIONS = """\
Edits existing pictures in plain language (FLUX.1 Kontext). Every edit_image call may cost money: ask \
estimate_cost when the person cares, and never repeat a call because it seemed slow: get_task with its \
task_id waits for the same edit. Results are files on the person's machine: tell them the path. A picture \
pasted into the chat cannot be seen here: ask for its path, or to copy it (source: clipboard).
"""


class LazyWorkshop:
    """What the tools work with: the settings at once, the parts when the first call needs them."""

    def __init__(
        self,
        environ: Mapping[str, str],
        allow: Sequence[str],
        clock: Clock | None,
        transport: "httpx.AsyncBaseTransport | None",
    ) -> None:
        self._environ = environ
        self._allow = allow
        self._clock = clock or SystemClock()
        self._transport = transport
        self._opening = asyncio.Lock()
        self._settings: Settings | None = None
        self._app: App | None = None

    def settings(self) -> Settings:
        """The person's settings; raises InvalidSettings."""
        if self._settings is None:
            self._settings = read_settings(self._environ, self._allow)
        return self._settings

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    async def journal(self) -> "Journal":
        """The journal."""
        return (await self._opened()).journal

    async def editor(self) -> "Editor":
        """The editor."""
        return (await self._opened()).editor

    async def resume(self) -> None:
        """Soon after the start: look after what an earlier process left under way."""
        await self._clock.sleep(_RESUME_AFTER_SECONDS)
        try:
            if self.settings().journal_path.exists():
                await self._opened()
        except KontextError as error:
            logger.warning("%s", error)

    async def close(self) -> None:
        """Close the parts, where they were opened."""
        if self._app is not None:
            await self._app.close()
            self._app = None

    async def _opened(self) -> "App":
        """The parts. They are imported beside the event loop, which goes on serving."""
        async with self._opening:
            if self._app is None:
                self._app = await self._open()
                self._app.editor.open()
            return self._app

    async def _open(self) -> "App":
        settings = self.settings()
        module = await asyncio.to_thread(import_module, "kontext_edit.app")
        return module.open_app(settings, working_dir=Path.cwd(), clock=self._clock, transport=self._transport)


class McpCaller:
    """The client of one request, told and asked in the way of its era of the protocol."""

    def __init__(
        self,
        ctx: ServerRequestContext[None, Any],
        params: types.CallToolRequestParams,
        used: set[str],
    ) -> None:
        self._ctx = ctx
        self._params = params
        self._used = used

    async def progress(self, percent: float, sentence: str) -> None:
        """Report progress, where the client asked for it."""
        await self._ctx.session.report_progress(percent, 100, sentence)

    async def consent(self, question: str, subject: str) -> Consent:
        """Ask the person by elicitation.

        Raises:
            InputRequired: the question goes out as the result, and the answer comes with the next try.
        """
        session = self._ctx.session
        capabilities = session.client_capabilities
        if capabilities is None or capabilities.elicitation is None:
            return Consent.IMPOSSIBLE
        if session.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return self._answer_of_this_try(question, subject)
        asked = await session.elicit_form(question, _NO_FIELDS, related_request_id=self._ctx.request_id)
        return _CONSENTS[asked.action]

    def _answer_of_this_try(self, question: str, subject: str) -> Consent:
        """2026-07-28 asks by a result; the sealed state ties the answer to what was asked, for one use."""
        state = self._params.request_state
        answer = (self._params.input_responses or {}).get(_CONSENT)
        if state and isinstance(answer, types.ElicitResult) and state not in self._used:
            self._used.add(state)
            if state.partition(" ")[2] == subject:
                return _CONSENTS[answer.action]
        request = types.ElicitRequest(
            params=types.ElicitRequestFormParams(message=question, requested_schema=_NO_FIELDS)
        )
        raise InputRequired(
            types.InputRequiredResult(
                input_requests={_CONSENT: request}, request_state=f"{secrets.token_hex(8)} {subject}"
            )
        )


class InputRequired(Exception):
    """The client has to answer something before the call can go on."""

    def __init__(self, result: types.InputRequiredResult) -> None:
        super().__init__()
        self.result = result


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
    tools = make_tools(_default_tier(workshop))
    used_consents: set[str] = set()

    async def list_tools(
        _ctx: ServerRequestContext[None, Any], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.definition for tool in tools.values()])

    async def call_tool(
        ctx: ServerRequestContext[None, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        tool = tools.get(params.name)
        if tool is None:
            known = ", ".join(tools)
            raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name!r}; there are {known}.")
        try:
            return await tool.handler(workshop, params.arguments or {}, McpCaller(ctx, params, used_consents))
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

    server = Server[None](
        NAME,
        version=version(NAME),
        title="Kontext Edit",
        description="Edits pictures in plain language with FLUX.1 Kontext.",
        instructions=INSTRUCTIONS,
        lifespan=lifespan,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    security = RequestStateSecurity.ephemeral()
    server.middleware.append(RequestStateBoundary(security, default_audience=NAME))
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
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _default_tier(workshop: LazyWorkshop) -> str:
    """The person's default tier; with unusable settings every call says so, and the list is still there."""
    try:
        return workshop.settings().default_tier
    except InvalidSettings as error:
        logger.warning("%s", error)
        return DEFAULT_TIER


def _log_to_stderr(environ: Mapping[str, str]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Keyless(given(environ.get("NOVITA_API_KEY"))))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
