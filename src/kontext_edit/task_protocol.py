"""The protocol's own tasks: the extension `io.modelcontextprotocol/tasks` (SEP-2663, 2026-07-28).

A client that declares the extension with its request may get a handle in place of a tool's result, asks for
its state with `tasks/get`, and finds the result in there at the end. For every other client nothing of it
exists. What becomes a task, and where it is kept, is handed in as `Tasks`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, Protocol

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.jsonrpc import HEADER_MISMATCH, MISSING_REQUIRED_CLIENT_CAPABILITY
from mcp_types.methods import serialize_server_result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kontext_edit.mcp_caller import owner_of

EXTENSION = "io.modelcontextprotocol/tasks"

_REQUIRED: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}

Call = Callable[[types.CallToolRequestParams], Awaitable[HandlerResult]]
"""A tool's call as it would be without tasks, for the request that is being answered."""
Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class TaskState:
    """How far a task is. Times are seconds since the epoch."""

    task_id: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    created_at: float
    updated_at: float
    message: str
    poll_seconds: float
    """How long a client should wait until it asks again."""
    result: types.CallToolResult | None = None
    """Of a completed one: what the call without tasks would have answered, also where that is an error."""
    error: types.ErrorData | None = None
    """Of a failed one, which the protocol has for its own errors alone."""
    input_requests: types.InputRequests | None = None
    """Of one that waits for input: all that is still open."""


class Tasks(Protocol):
    """Where tasks come from and where they are kept. A task of another owner is one that nobody knows."""

    async def begin(
        self, call: Call, params: types.CallToolRequestParams, owner: str
    ) -> TaskState | HandlerResult:
        """Begin a call as a task, which `look` finds from now on; or answer it at once."""
        ...

    async def look(self, call: Call, task_id: str, owner: str) -> TaskState | None:
        """How far it is; None where nobody here knows it."""
        ...

    async def answer(self, task_id: str, responses: Mapping[str, Any], owner: str) -> bool:
        """Take what the client was asked for; False where nobody here knows the task."""
        ...

    async def cancel(self, task_id: str, owner: str) -> bool:
        """The client wants no more of it; False where nobody here knows the task."""
        ...


class _TaskParams(types.RequestParams):
    task_id: str


class _AnswerParams(_TaskParams):
    input_responses: dict[str, Any]


def offer(server: Server[Any], tasks: Tasks) -> None:
    """Let a server that has tools answer with tasks, where a client can take them."""
    entry = server.get_request_handler("tools/call")
    if entry is None:
        raise TypeError("a server without tools has nothing to begin as a task")
    carry_out = entry.handler

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> HandlerResult:
        call = partial(carry_out, ctx)
        if not _declared(ctx):
            return await call(params)
        answer = await tasks.begin(call, params, owner_of(ctx))
        return _on_the_wire(answer, ctx) | {"resultType": "task"} if isinstance(answer, TaskState) else answer

    async def get(ctx: Context, params: _TaskParams) -> HandlerResult:
        _require(ctx, params)
        state = await tasks.look(partial(carry_out, ctx), params.task_id, owner_of(ctx))
        if state is None:
            raise _unknown(params.task_id)
        return _on_the_wire(state, ctx)

    async def update(ctx: Context, params: _AnswerParams) -> HandlerResult:
        _require(ctx, params)
        if not await tasks.answer(params.task_id, params.input_responses, owner_of(ctx)):
            raise _unknown(params.task_id)
        return {}

    async def cancel(ctx: Context, params: _TaskParams) -> HandlerResult:
        _require(ctx, params)
        if not await tasks.cancel(params.task_id, owner_of(ctx)):
            raise _unknown(params.task_id)
        return {}

    server.extensions[EXTENSION] = {}
    server.middleware.append(_keep_from_others)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    server.add_request_handler("tasks/get", _TaskParams, get)
    server.add_request_handler("tasks/update", _AnswerParams, update)
    server.add_request_handler("tasks/cancel", _TaskParams, cancel)


def missing_capability() -> MCPError:
    """The error for a client that asks for what only tasks can bring, and does not declare them."""
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY, f"This needs the client's capability {EXTENSION}.", _REQUIRED
    )


def _declared(ctx: Context) -> bool:
    """Whether the client declares the extension with this request, in a version that has it."""
    capabilities = ctx.session.client_capabilities
    extensions = (capabilities and capabilities.extensions) or {}
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and EXTENSION in extensions


def _require(ctx: Context, params: _TaskParams) -> None:
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", ctx.method)
    if not _declared(ctx):
        raise missing_capability()
    named = ctx.request.headers.get(MCP_NAME_HEADER) if ctx.request is not None else None
    if named is not None and decode_header_value(named) != params.task_id:
        raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} header does not match the request's taskId")


def _unknown(task_id: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS, f"There is no task {task_id[:80]!r}.")


async def _keep_from_others(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Handshake clients are not told of the extension, and only who declares it may listen for tasks."""
    if ctx.method == "subscriptions/listen" and not _declared(ctx):
        wanted = (ctx.params or {}).get("notifications")
        if isinstance(wanted, Mapping) and "taskIds" in wanted:
            raise missing_capability()
    result = await call_next(ctx)
    if ctx.method == "initialize" and isinstance(result, dict):
        result.get("capabilities", {}).get("extensions", {}).pop(EXTENSION, None)
    return result


def _on_the_wire(state: TaskState, ctx: Context) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "taskId": state.task_id,
        "status": state.status,
        "statusMessage": state.message,
        "createdAt": _iso(state.created_at),
        "lastUpdatedAt": _iso(state.updated_at),
        "ttlMs": None,
        "pollIntervalMs": round(state.poll_seconds * 1000),
    }
    if state.result is not None:
        plain = _dump(state.result)
        wire["result"] = serialize_server_result("tools/call", ctx.protocol_version, plain)
    if state.error is not None:
        wire["error"] = _dump(state.error)
    if state.input_requests is not None:
        wire["inputRequests"] = {key: _dump(asked) for key, asked in state.input_requests.items()}
    return wire


def _dump(model: types.CallToolResult | types.ErrorData | types.InputRequest) -> dict[str, Any]:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
