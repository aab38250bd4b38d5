"""The tools that the conformance suite's tasks scenarios ask for, behind our side of the extension.

`python -m tests.conformance.tasks_server` serves them over HTTP.
"""

# ruff: noqa: ARG002 - `Tasks` hands over more than one client's jobs need

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from kontext_edit.http_door import run
from kontext_edit.task_protocol import Call, TaskState, missing_capability, offer

TOOLS = (
    "greet",
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
)
ONLY_AS_TASKS = ("failing_job", "confirm_delete", "multi_input", "test_tool_with_task")


@dataclass
class Job:
    """A call that goes on by itself, and what it asks the client for."""

    work: asyncio.Task[types.CallToolResult] = field(init=False)
    asked: dict[str, asyncio.Future[Any]] = field(default_factory=dict[str, asyncio.Future[Any]])
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created_at: float = field(default_factory=time.time)

    async def ask(self, key: str) -> dict[str, Any]:
        """What the client answers to a question."""
        self.asked[key] = asyncio.get_running_loop().create_future()
        return await self.asked[key]

    def state(self) -> TaskState:
        """How far it is."""
        told = partial(
            TaskState, self.id, created_at=self.created_at, updated_at=time.time(), poll_seconds=0.1
        )
        if not self.work.done():
            waiting: types.InputRequests = {
                key: question(key) for key, answer in self.asked.items() if not answer.done()
            }
            if waiting:
                return told("input_required", message="Somebody is asked.", input_requests=waiting)
            return told("working", message="It is worked on.")
        if self.work.cancelled():
            return told("cancelled", message="It was cancelled.")
        failed = self.work.exception()
        if isinstance(failed, MCPError):
            return told("failed", message=str(failed), error=failed.error)
        return told("completed", message="It is done.", result=self.work.result())


class Jobs:
    """The jobs of this process by their ids."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    async def begin(
        self, call: Call, params: types.CallToolRequestParams, owner: str
    ) -> TaskState | HandlerResult:
        """Begin what takes its time; ask for a name first where one is needed."""
        if params.name == "greet":
            return await call(params)
        if params.name == "test_tool_with_task" and not params.input_responses:
            return types.InputRequiredResult(input_requests={"user_name": question("user_name")})
        job = Job()
        job.work = asyncio.create_task(WORK[params.name](job, params))
        self._jobs[job.id] = job
        return job.state()

    async def look(self, call: Call, task_id: str, owner: str) -> TaskState | None:
        """How far a job is."""
        return self._jobs[task_id].state() if task_id in self._jobs else None

    async def answer(self, task_id: str, responses: Mapping[str, Any], owner: str) -> bool:
        """Hand the answers to whoever waits for them."""
        if task_id in self._jobs:
            asked = self._jobs[task_id].asked
            for key in asked.keys() & responses.keys():
                if not asked[key].done():
                    asked[key].set_result(responses[key])
            await asyncio.sleep(0)
        return task_id in self._jobs

    async def cancel(self, task_id: str, owner: str) -> bool:
        """Stop a job."""
        if task_id in self._jobs:
            self._jobs[task_id].work.cancel()
            await asyncio.wait([self._jobs[task_id].work])
        return task_id in self._jobs


def question(key: str) -> types.ElicitRequest:
    """A question for the person at the client."""
    schema: types.ElicitRequestedSchema = {"type": "object", "properties": {"name": {"type": "string"}}}
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=f"What about {key}?", requested_schema=schema)
    )


def said(text: str, *, is_error: bool = False) -> types.CallToolResult:
    """A result of some words."""
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=is_error)


async def slow_compute(_: Job | None, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Takes as long as it is told to."""
    seconds = float((params.arguments or {}).get("seconds", 0))
    await asyncio.sleep(seconds)
    return said(f"Computed for {seconds:g} s.")


async def failing_job(_: Job, __: types.CallToolRequestParams) -> types.CallToolResult:
    """Ends with a tool's error."""
    await asyncio.sleep(0.5)
    return said("It did not work.", is_error=True)


async def protocol_error_job(_: Job | None, __: types.CallToolRequestParams) -> types.CallToolResult:
    """Ends with an error of the protocol."""
    await asyncio.sleep(0.1)
    raise MCPError(types.INTERNAL_ERROR, "It broke.")


async def confirm_delete(job: Job, _: types.CallToolRequestParams) -> types.CallToolResult:
    """Asks one question."""
    return said(f"Answered: {await job.ask('confirm')}")


async def multi_input(job: Job, _: types.CallToolRequestParams) -> types.CallToolResult:
    """Asks two questions at once."""
    return said(f"Answered: {await asyncio.gather(job.ask('first'), job.ask('second'))}")


async def with_name(_: Job, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Greets whom the person named before there was a task."""
    answer = (params.input_responses or {})["user_name"]
    return said(f"Hello, {answer.content if isinstance(answer, types.ElicitResult) else answer}!")


WORK: dict[str, Callable[[Any, types.CallToolRequestParams], Coroutine[Any, Any, types.CallToolResult]]] = {
    "slow_compute": slow_compute,
    "failing_job": failing_job,
    "protocol_error_job": protocol_error_job,
    "confirm_delete": confirm_delete,
    "multi_input": multi_input,
    "test_tool_with_task": with_name,
}


async def list_tools(
    _: ServerRequestContext[Any, Any], __: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    """All of them; none says what it takes."""
    return types.ListToolsResult(
        tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in TOOLS]
    )


async def call_tool(
    _: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
) -> types.CallToolResult:
    """A call as it is without tasks."""
    if params.name == "greet":
        return said(f"Hello, {(params.arguments or {}).get('name')}!")
    if params.name in ONLY_AS_TASKS:
        raise missing_capability()
    return await WORK[params.name](None, params)


def main() -> None:
    """Serve until Ctrl-C."""
    server = Server[Any]("tasks", on_list_tools=list_tools, on_call_tool=call_tool)
    offer(server, Jobs())
    run(server, host="127.0.0.1", port=0)


if __name__ == "__main__":
    main()
