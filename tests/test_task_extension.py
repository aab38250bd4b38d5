"""Edits as the protocol's own tasks, for the clients that declare the extension, and for no others."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.context import ClientRequestContext
from mcp.client.session import ElicitationFnT
from mcp.shared.exceptions import MCPError
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.house import Api, photo, text
from tests.task_client import Patient, Raw, Task, begin, look, send
from tests.upstreams import error

from kontext_edit.server import make_server
from kontext_edit.task_protocol import EXTENSION

METHODS = ("tasks/get", "tasks/update", "tasks/cancel")


@asynccontextmanager
async def connected(  # noqa: PLR0913 - each may be another one
    environ: dict[str, str],
    api: Api,
    clock: FakeClock,
    *,
    declared: bool = True,
    era: str = "auto",
    elicitation: ElicitationFnT | None = None,
) -> AsyncGenerator[Client]:
    """A client of a server in this process, which ends with the block."""
    environ = {"NOVITA_API_KEY": KEY, **environ}
    server = make_server(environ, clock=clock, transport=api.transport)
    extensions = [Patient(clock)] if declared else []
    async with Client(server, mode=era, extensions=extensions, elicitation_callback=elicitation) as client:
        yield client


def edit(environ: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"prompt": "Make it blue", "images": [photo(environ)], **more}


async def begun(client: Client, arguments: dict[str, Any]) -> Task:
    task = await begin(client, arguments)
    assert isinstance(task, Task)
    return task


async def ended(client: Client, clock: FakeClock, task_id: str) -> Task:
    while (task := await look(client, task_id)).status == "working":
        await clock.sleep(task.poll_interval_ms / 1000)
    return task


async def test_a_client_that_declares_tasks_gets_a_handle_at_once_and_the_same_result_at_the_end(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with connected(environ, Api(clock, seconds=20), clock) as client:
        start = clock.now()
        task = await begun(client, edit(environ, wait_seconds=50))
        assert clock.now() - start < 2
        assert (task.status, task.ttl_ms, task.result) == ("working", None, None)
        assert task.poll_interval_ms >= 1000
        assert task.created_at.endswith("Z")
        assert "about" in task.status_message
        done = await ended(client, clock, task.task_id)
        same = await client.call_tool("get_task", {"task_id": task.task_id})
    assert (done.task_id, done.status, done.created_at) == (task.task_id, "completed", task.created_at)
    assert done.last_updated_at > task.last_updated_at
    assert done.result is not None
    assert done.result.structured_content == same.structured_content
    assert done.result.content == same.content
    assert done.status_message == text(same)
    assert same.structured_content["images"][0]["sha256"]


async def test_a_client_with_the_sdks_seam_for_tasks_sees_nothing_but_the_result(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with connected(environ, Api(clock, seconds=20), clock) as client:
        result = await client.call_tool("edit_image", edit(environ))
    assert result.structured_content["status"] == "succeeded"
    assert [block.type for block in result.content] == ["text", "image", "resource_link"]


async def test_a_handle_is_good_as_soon_as_it_is_there_and_outlives_the_server(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=20)
    async with connected(environ, api, clock) as client:
        task = await begun(client, edit(environ))
    async with connected(environ, api, clock) as client:
        assert (await look(client, task.task_id)).status in ("working", "completed")
        done = await ended(client, clock, task.task_id)
    assert done.result is not None
    assert done.result.structured_content["status"] == "succeeded"
    assert len(api.bodies) == 1


async def test_who_does_not_declare_tasks_never_sees_them(environ: dict[str, str], clock: FakeClock) -> None:
    async with connected(environ, Api(clock, seconds=5), clock, declared=False) as client:
        result = await client.call_tool("edit_image", edit(environ))
        assert result.structured_content["status"] == "succeeded"
        for method in METHODS:
            with pytest.raises(MCPError) as caught:
                await send(client.session, method, "x", **_answers(method))
            assert caught.value.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
            assert caught.value.data == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
        with pytest.raises(MCPError) as caught:
            await client.session.send_request(_listen_for_tasks(), Raw)
        assert caught.value.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY


async def test_for_a_handshake_client_there_are_no_tasks_even_if_it_declares_them(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with connected(environ, Api(clock, seconds=5), clock, era="legacy") as client:
        assert EXTENSION not in (client.server_capabilities.extensions or {})
        result = await client.call_tool("edit_image", edit(environ))
        assert result.structured_content["status"] == "succeeded"
        for method in METHODS:
            with pytest.raises(MCPError) as caught:
                await send(client.session, method, "x", **_answers(method))
            assert caught.value.code == types.METHOD_NOT_FOUND


async def test_the_server_says_that_it_has_tasks(environ: dict[str, str], clock: FakeClock) -> None:
    async with connected(environ, Api(clock), clock) as client:
        assert (client.server_capabilities.extensions or {})[EXTENSION] == {}


async def test_an_edit_that_fails_is_a_completed_task_whose_result_is_an_error(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async def refuse_later(_request: httpx.Request) -> httpx.Response:
        await clock.sleep(3)
        return error(400, "INVALID_REQUEST_BODY", message="no")

    async with connected(environ, Api(clock, on_submit=[refuse_later]), clock) as client:
        task = await begun(client, edit(environ))
        done = await ended(client, clock, task.task_id)
    assert done.status == "completed"
    assert done.error is None
    assert done.result is not None
    assert done.result.is_error
    assert done.result.structured_content["error"]["billed"] == "no"


async def test_a_call_that_cannot_become_an_edit_is_answered_at_once(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with connected(environ, Api(clock), clock) as client:
        refused = await begin(client, edit(environ, sead=1))
        price = await client.call_tool("estimate_cost", {"tier": "pro"})
    assert isinstance(refused, types.CallToolResult)
    assert refused.is_error
    assert "`seed`" in text(refused)
    assert price.structured_content["estimates"]


async def test_an_id_that_nobody_knows_is_a_wrong_parameter(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with connected(environ, Api(clock), clock) as client:
        for method in METHODS:
            for task_id in ("never-heard-of", "batch-never-heard-of"):
                with pytest.raises(MCPError, match="There is no task") as caught:
                    await send(client.session, method, task_id, **_answers(method))
                assert caught.value.code == types.INVALID_PARAMS


async def test_cancelling_ends_the_waiting_and_says_that_the_edit_goes_on(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=20)
    async with connected(environ, api, clock) as client:
        task = await begun(client, edit(environ))
        assert _plain(await send(client.session, "tasks/cancel", task.task_id)) == {"resultType": "complete"}
        cancelled = await look(client, task.task_id)
    assert cancelled.status == "cancelled"
    assert cancelled.result is None
    assert "The API cannot cancel an edit" in cancelled.status_message
    assert "0.036 USD" in cancelled.status_message
    async with connected(environ, api, clock) as client:
        result = await client.call_tool("get_task", {"task_id": task.task_id})
        assert (await look(client, task.task_id)).status == "cancelled"
    assert task.task_id in cancelled.status_message
    assert result.structured_content["status"] == "succeeded"


async def test_asking_again_for_what_was_cancelled_waits_for_the_same_edit(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=20)
    async with connected(environ, api, clock) as client:
        task = await begun(client, edit(environ))
        await send(client.session, "tasks/cancel", task.task_id)
        again = await begun(client, edit(environ))
        assert again.status == "working"
        done = await ended(client, clock, again.task_id)
    assert done.status == "completed"
    assert len(api.bodies) == 1


async def test_what_is_done_cannot_be_cancelled_any_more(environ: dict[str, str], clock: FakeClock) -> None:
    async with connected(environ, Api(clock), clock) as client:
        task = await begun(client, edit(environ))
        await ended(client, clock, task.task_id)
        await send(client.session, "tasks/cancel", task.task_id)
        assert (await look(client, task.task_id)).status == "completed"


async def test_a_response_to_nothing_is_acknowledged_and_changes_nothing(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with connected(environ, Api(clock, seconds=20), clock) as client:
        task = await begun(client, edit(environ))
        answer = await send(client.session, "tasks/update", task.task_id, input_responses={"x": {}})
        assert _plain(answer) == {"resultType": "complete"}
        assert (await look(client, task.task_id)).status == "working"


@pytest.mark.parametrize("action", ["accept", "decline"])
async def test_the_person_is_asked_before_there_is_a_task(
    action: str, environ: dict[str, str], clock: FakeClock
) -> None:
    asked: list[types.ElicitRequestParams] = []

    async def person(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert context
        asked.append(params)
        return types.ElicitResult.model_validate({"action": action})

    api = Api(clock, seconds=20)
    environ = {**environ, "KONTEXT_CONFIRM_ABOVE_USD": "0.03"}
    async with connected(environ, api, clock, elicitation=person) as client:
        result = await client.call_tool("edit_image", edit(environ))
    assert len(asked) == 1
    assert result.is_error == (action == "decline")
    assert len(api.bodies) == (0 if action == "decline" else 1)


async def test_several_edits_of_one_call_are_one_task(environ: dict[str, str], clock: FakeClock) -> None:
    prompts = ["Make it blue", "Make it red"]
    async with connected(environ, Api(clock, seconds=20), clock) as client:
        task = await begun(client, {"prompts": prompts, "images": [photo(environ)]})
        done = await ended(client, clock, task.task_id)
    assert task.task_id.startswith("batch-")
    assert done.result is not None
    assert [row["status"] for row in done.result.structured_content["edits"]] == ["succeeded"] * 2


async def test_a_journal_that_cannot_be_read_is_no_answer_about_the_task(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with connected({**environ, "KONTEXT_HOME": __file__}, Api(clock), clock) as client:
        with pytest.raises(MCPError, match="The journal") as caught:
            await look(client, "x")
    assert caught.value.code == types.INTERNAL_ERROR


def _answers(method: str) -> dict[str, Any]:
    return {"input_responses": {}} if method == "tasks/update" else {}


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "_meta"}


def _listen_for_tasks() -> types.Request[Any, Any]:
    return types.Request[Any, str](
        method="subscriptions/listen", params={"notifications": {"taskIds": ["x"]}}
    )
