"""A client that has the protocol's tasks: its requests, and the seam of the SDK's client for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mcp_types as types
from mcp.client.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.session import ClientSession
from pydantic import ConfigDict

from kontext_edit.clock import Clock
from kontext_edit.task_protocol import EXTENSION

END = ("completed", "failed", "cancelled")


class Task(types.Result):
    """A task as it comes over the wire."""

    task_id: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    status_message: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int
    result: types.CallToolResult | None = None
    error: dict[str, Any] | None = None


class Begun(Task):
    """The answer to a call that became a task."""

    result_type: Literal["task"] = "task"


class TaskId(types.RequestParams):
    task_id: str


class Answers(TaskId):
    input_responses: dict[str, Any]


class Request(types.Request[Any, str]):
    name_param = "taskId"


async def send(session: ClientSession, method: str, task_id: str, **more: Any) -> dict[str, Any]:
    """One of the `tasks/…` methods, and what it answers."""
    params = Answers(task_id=task_id, **more) if more else TaskId(task_id=task_id)
    raw = await session.send_request(Request(method=method, params=params), Raw)
    return raw.model_dump(by_alias=True)


class Raw(types.Result):
    """Any result, with all that is in it."""

    model_config = ConfigDict(extra="allow")


async def look(client: Client, task_id: str) -> Task:
    """How far a task is."""
    return Task.model_validate(await send(client.session, "tasks/get", task_id), by_name=False)


async def begin(client: Client, arguments: dict[str, Any]) -> Task | types.CallToolResult:
    """Call `edit_image`, and take what comes as it is."""
    answer = await client.session.call_tool("edit_image", arguments, allow_claimed=True)
    assert isinstance(answer, Task | types.CallToolResult)
    return answer


@dataclass
class Patient(ClientExtension):
    """Declares the extension, and asks for each task until it is at its end."""

    clock: Clock
    asked: int = 0

    identifier = EXTENSION

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return (ResultClaim(result_type="task", model=Begun, resolve=self._wait),)

    async def _wait(self, task: Task, context: ClaimContext) -> types.CallToolResult:
        while task.status not in END:
            await self.clock.sleep(task.poll_interval_ms / 1000)
            raw = await send(context.session, "tasks/get", task.task_id)
            task = Task.model_validate(raw, by_name=False)
            self.asked += 1
        assert task.result is not None, task.status_message
        return task.result
