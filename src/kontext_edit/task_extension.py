"""Edits as the protocol's own tasks, for clients that have the extension `io.modelcontextprotocol/tasks`.

An edit is in the journal before its handle goes out, so any process with the same journal can tell of it.
Cancelling ends the client's waiting and nothing else: the API cannot cancel an edit.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import mcp_types as types
from mcp.server.context import HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from kontext_edit.errors import KontextError, NoSuchTask
from kontext_edit.pricing import usd
from kontext_edit.task import BATCH, Task
from kontext_edit.task_protocol import Call, TaskState, offer
from kontext_edit.tools import Workshop

_POLL_SECONDS = 2.0


def add_to(server: Server[None], workshop: Workshop) -> None:
    """Offer edits as tasks to the clients that can take them."""
    offer(server, EditTasks(workshop))


class EditTasks:
    """The journal's edits as tasks of the protocol; the id of one is the `task_id` of its result."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    async def begin(
        self, call: Call, params: types.CallToolRequestParams, owner: str
    ) -> TaskState | HandlerResult:
        """Begin `edit_image` without waiting; a question to the person, or an error, is the answer itself."""
        if params.name != "edit_image":
            return await call(params)
        arguments = {**(params.arguments or {}), "wait_seconds": 0}
        answer = await call(params.model_copy(update={"arguments": arguments}))
        told = _structured(answer)
        if "task_id" not in told or not _under_way(told):
            return answer
        task_id = str(told["task_id"])
        edits = await self._edits(task_id, owner)
        if not edits:
            return answer
        for edit in edits:
            if edit.wait_ended_at is not None:
                await (await self._workshop.journal()).end_wait(edit, None)
        return _working(task_id, edits, told)

    async def look(self, call: Call, task_id: str, owner: str) -> TaskState | None:
        """How far an edit is; where its process is gone, this one looks after it from now on."""
        edits = await self._edits(task_id, owner)
        if not edits:
            return None
        if any(edit.wait_ended_at is not None for edit in edits):
            return _state(task_id, edits, "cancelled", _farewell(task_id, edits))
        arguments = {"task_id": task_id, "wait_seconds": 0}
        answer = await call(types.CallToolRequestParams(name="get_task", arguments=arguments))
        if not isinstance(answer, types.CallToolResult):
            raise MCPError(types.INTERNAL_ERROR, "get_task did not answer with a tool's result.")
        told = _structured(answer)
        if "task_id" not in told:
            raise MCPError(types.INTERNAL_ERROR, _text(answer))
        if _under_way(told):
            return _working(task_id, edits, told)
        edits = await self._edits(task_id, owner) or edits
        return _state(task_id, edits, "completed", _text(answer), answer)

    async def answer(
        self,
        task_id: str,
        responses: Mapping[str, Any],  # noqa: ARG002 - see below
        owner: str,
    ) -> bool:
        """An edit under way asks for nothing, so there is nothing that a response could belong to."""
        return bool(await self._edits(task_id, owner))

    async def cancel(self, task_id: str, owner: str) -> bool:
        """End the client's waiting; the edit itself goes on."""
        edits = await self._edits(task_id, owner)
        if not all(edit.settled for edit in edits):
            journal = await self._workshop.journal()
            for edit in edits:
                await journal.end_wait(edit, self._workshop.now())
        return bool(edits)

    async def _edits(self, task_id: str, owner: str) -> list[Task]:
        """The edits that a handle stands for; none where nobody here knows it."""
        try:
            journal = await self._workshop.journal()
            if task_id.startswith(BATCH):
                return await journal.in_batch(task_id, owner)
            return [await journal.get(task_id, owner)]
        except NoSuchTask:
            return []
        except KontextError as error:
            raise MCPError(types.INTERNAL_ERROR, f"{error.message} {error.hint}".strip()) from error


def _structured(answer: HandlerResult) -> Mapping[str, Any]:
    return (isinstance(answer, types.CallToolResult) and answer.structured_content) or {}


def _under_way(told: Mapping[str, Any]) -> bool:
    return told["status"] in ("queued", "processing")


def _working(task_id: str, edits: list[Task], told: Mapping[str, Any]) -> TaskState:
    message = f"The edit is {told['status']}, about {told['progress_percent']} % done."
    return _state(task_id, edits, "working", message)


def _farewell(task_id: str, edits: list[Task]) -> str:
    price = usd(sum((edit.cost_usd for edit in edits), Decimal(0)))
    return (
        "Nobody waits for it here any more. The API cannot cancel an edit: it goes on to its picture, for "
        f"{price} USD. get_task with task_id {task_id} brings it."
    )


def _state(
    task_id: str,
    edits: list[Task],
    status: Literal["working", "completed", "cancelled"],
    message: str,
    result: types.CallToolResult | None = None,
) -> TaskState:
    moments = [edit.created_at for edit in edits]
    later = [at for edit in edits for at in (edit.accepted_at, edit.finished_at, edit.wait_ended_at) if at]
    return TaskState(
        task_id=task_id,
        status=status,
        created_at=min(moments),
        updated_at=max(moments + later),
        message=message,
        poll_seconds=_POLL_SECONDS,
        result=result,
    )


def _text(result: types.CallToolResult) -> str:
    """What a result says in words."""
    return next((block.text for block in result.content if isinstance(block, types.TextContent)), "")
