"""Several edits of the same pictures in one call: one quote, one consent, one waiting, told one by one."""

import base64
import io
from typing import Any

import httpx
import mcp_types as types
import pytest
from mcp.client.context import ClientRequestContext
from PIL import Image
from tests.clock import FakeClock
from tests.house import SAME_EDIT, Api, client, photo, text
from tests.upstreams import error

ERAS = ("legacy", "auto")
TWENTY = [f"The same cat in frame {number}" for number in range(1, 21)]


def batch(environ: dict[str, str], prompts: Any, **more: Any) -> dict[str, Any]:
    return {"prompts": prompts, "images": [photo(environ)], **more}


@pytest.mark.parametrize("era", ERAS)
async def test_twenty_prompts_take_one_consent_and_hardly_longer_than_the_slowest(
    era: str, environ: dict[str, str], clock: FakeClock
) -> None:
    asked: list[str] = []

    async def agree(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        del context
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={})

    api = Api(clock, seconds=10)
    above = {"KONTEXT_CONFIRM_ABOVE_USD": "0.10"}
    async with client(environ, api, clock, era=era, elicitation=agree, **above) as assistant:
        began = clock.now()
        result = await assistant.call_tool("edit_image", batch(environ, TWENTY))
        took = clock.now() - began
    told = result.structured_content
    assert asked == ["Buy these 20 edits for 0.72 USD? Kontext pro: The same cat in frame 1"]
    assert took <= 10 * 1.2
    assert [body["prompt"] for body in api.bodies] == TWENTY
    assert len({body["images"][0] for body in api.bodies}) == 1
    assert (told["status"], told["cost_usd"]) == ("succeeded", "0.72")
    assert [edit["prompt"] for edit in told["edits"]] == TWENTY
    assert all(len(edit["paths"]) == 1 for edit in told["edits"])
    assert "20 of 20 edits are done" in text(result)
    kinds = [block.type for block in result.content]
    assert kinds == ["text", "image", *["resource_link"] * 20]


async def test_the_contact_sheet_shows_all_and_stays_small(environ: dict[str, str], clock: FakeClock) -> None:
    async with client(environ, Api(clock), clock) as assistant:
        result = await assistant.call_tool("edit_image", batch(environ, TWENTY))
    (sheet,) = [block for block in result.content if isinstance(block, types.ImageContent)]
    content = base64.b64decode(sheet.data)
    assert len(content) <= 64 * 1024
    with Image.open(io.BytesIO(content)) as image:
        assert max(image.size) <= 512
        assert min(image.size) >= 256
    assert len(result.model_dump_json(by_alias=True)) <= 100_000


async def test_what_failed_is_told_beside_what_came(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    api.on_submit = [api.accept, error(400, "ILLEGAL_PROMPT"), httpx.ReadTimeout("slow")]
    async with client(environ, api, clock) as assistant:
        result = await assistant.call_tool("edit_image", batch(environ, ["one", "two", "three"]))
    told = result.structured_content
    assert not result.is_error
    assert told["status"] == "succeeded"
    assert sorted(edit["status"] for edit in told["edits"]) == ["failed", "succeeded", "unknown"]
    errors = {edit["status"]: edit["error"] for edit in told["edits"] if "error" in edit}
    assert (errors["failed"]["code"], errors["failed"]["billed"]) == ("content_rejected", "no")
    assert errors["unknown"]["billed"] == "maybe"
    assert told["cost_usd"] == "0.072"


async def test_a_batch_of_which_nothing_came_is_an_error(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock, on_submit=[error(400, "ILLEGAL_PROMPT"), error(400, "ILLEGAL_PROMPT")])
    async with client(environ, api, clock) as assistant:
        result = await assistant.call_tool("edit_image", batch(environ, ["one", "two"]))
    assert result.is_error
    assert result.structured_content["status"] == "failed"


@pytest.mark.parametrize("era", ERAS)
async def test_a_batch_is_waited_for_with_get_task_also_after_a_restart(
    era: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=60)
    async with client(environ, api, clock, era=era) as assistant:
        begun = await assistant.call_tool("edit_image", batch(environ, ["one", "two"], wait_seconds=5))
    handle = begun.structured_content["task_id"]
    assert handle.startswith("batch-")
    assert begun.structured_content["status"] == "processing"
    assert f"get_task with task_id {handle}" in text(begun)
    async with client(environ, api, clock, era=era) as assistant:
        await assistant.call_tool("get_task", {"task_id": handle})
        done = await assistant.call_tool("get_task", {"task_id": handle})
    assert done.structured_content["status"] == "succeeded"
    assert len(api.bodies) == 2


async def test_a_batch_asked_for_again_while_it_runs_buys_nothing(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=30)
    async with client(environ, api, clock) as assistant:
        await assistant.call_tool("edit_image", batch(environ, ["one", "two"], wait_seconds=1))
        again = await assistant.call_tool("edit_image", batch(environ, ["two", "three", "one"]))
        later = await assistant.call_tool("get_task", {"task_id": again.structured_content["task_id"]})
    assert [body["prompt"] for body in api.bodies] == ["one", "two", "three"]
    assert SAME_EDIT in text(again)
    assert [edit["prompt"] for edit in again.structured_content["edits"]] == ["two", "three", "one"]
    assert {edit["prompt"] for edit in later.structured_content["edits"]} == {"one", "two", "three"}


async def test_the_same_prompt_twice_is_one_edit(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    async with client(environ, api, clock) as assistant:
        result = await assistant.call_tool("edit_image", batch(environ, ["one", "one"]))
    assert len(api.bodies) == 1
    assert result.structured_content["cost_usd"] == "0.036"


async def test_a_batch_beyond_the_budget_is_refused_whole(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    async with client(environ, api, clock, KONTEXT_BUDGET_DAY_USD="0.10") as assistant:
        result = await assistant.call_tool("edit_image", batch(environ, ["one", "two", "three"]))
        listed = await assistant.call_tool("list_tasks", {})
    assert result.structured_content["error"]["code"] == "budget_exceeded"
    assert "0.108" in text(result)
    assert (api.bodies, listed.structured_content["tasks"]) == ([], [])


async def test_a_client_that_cannot_ask_is_told_what_the_batch_costs(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ, api, clock, KONTEXT_CONFIRM_ABOVE_USD="0.5") as assistant:
        result = await assistant.call_tool("edit_image", batch(environ, TWENTY))
    assert result.structured_content["error"]["code"] == "consent_missing"
    assert "These 20 edits cost 0.72 USD" in text(result)
    assert api.bodies == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prompts": ["a"], "prompt": "b"}, "Give `prompt` or `prompts`, not both."),
        ({"prompts": []}, "`prompts` must be a list of 1 to 20"),
        ({"prompts": ["x"] * 21}, "`prompts` must be a list of 1 to 20"),
        ({"prompts": ["a", " "]}, "`prompts`"),
        ({"prompts": ["a", 5]}, "`prompts`"),
        ({"prompts": "a"}, "`prompts` must be a list of 1 to 20"),
        ({"prompts": ["a"], "size": "1*1"}, "`size` is a parameter of dev"),
        ({"prompts": ["a"], "images": None}, "`images` is missing"),
    ],
)
async def test_a_bad_batch_is_refused_with_every_problem(
    arguments: dict[str, Any], says: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ, api, clock) as assistant:
        result = await assistant.call_tool("edit_image", {"images": [photo(environ)], **arguments})
    assert result.is_error
    assert says in text(result)
    assert api.bodies == []


async def test_lists_sent_as_strings_of_json_are_taken_for_lists(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ, api, clock) as assistant:
        arguments = {"prompts": '["one", "two"]', "images": f'["{photo(environ)}"]'}
        result = await assistant.call_tool("edit_image", arguments)
    assert not result.is_error, text(result)
    assert [body["prompt"] for body in api.bodies] == ["one", "two"]


async def test_an_unknown_batch_is_an_error(environ: dict[str, str], clock: FakeClock) -> None:
    async with client(environ, Api(clock), clock) as assistant:
        result = await assistant.call_tool("get_task", {"task_id": "batch-nope"})
    assert result.structured_content["error"]["code"] == "no_such_task"


async def test_a_result_knows_what_it_was_made_from_and_how_to_undo_it(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with client(environ, Api(clock), clock) as assistant:
        first = await assistant.call_tool("edit_image", {"prompt": "one", "images": [photo(environ)]})
        one = f"task:{first.structured_content['task_id']}#1"
        second = await assistant.call_tool("edit_image", {"prompt": "two", "images": ["last"]})
        two = f"task:{second.structured_content['task_id']}#1"
        third = await assistant.call_tool("edit_image", {"prompt": "three", "images": [two]})
        again = await assistant.call_tool("get_task", {"task_id": third.structured_content["task_id"]})
    assert "lineage" not in first.structured_content
    assert second.structured_content["lineage"] == [one]
    assert again.structured_content["lineage"] == [two, one]
    assert f"To undo, edit {two} instead." in again.structured_content["next_step"]
