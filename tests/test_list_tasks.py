"""The list: an assistant that lost an id finds its picture, in small rows and page by page."""

from typing import Any

import pytest
from mcp.client.client import Client
from tests.clock import FakeClock
from tests.house import Api, Scripted, client, photo, text
from tests.upstreams import error


async def page(assistant: Client, **arguments: Any) -> dict[str, Any]:
    result = await assistant.call_tool("list_tasks", arguments)
    assert not result.is_error, text(result)
    return result.structured_content


def prompts(listed: dict[str, Any]) -> list[str]:
    return [row["prompt"] for row in listed["tasks"]]


async def edited(assistant: Client, environ: dict[str, str], *prompts: str, wait_seconds: int = 40) -> None:
    for prompt in prompts:
        arguments = {"prompt": prompt, "images": [photo(environ)], "wait_seconds": wait_seconds}
        await assistant.call_tool("edit_image", {**arguments, "force_new": True})


async def test_the_latest_edit_stands_first_in_a_row_with_what_finds_it(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ, api, clock) as assistant:
        await edited(assistant, environ, "Make it blue", "Make it teal")
        listed = await page(assistant)
        told = await assistant.call_tool("list_tasks", {})
        picture = (await assistant.call_tool("get_task", {"task_id": "t-2"})).structured_content["images"][0]
    assert prompts(listed) == ["Make it teal", "Make it blue"]
    row = listed["tasks"][0]
    assert {name: row[name] for name in ("task_id", "status", "tier", "cost_usd", "path")} == {
        "task_id": "t-2",
        "status": "succeeded",
        "tier": "pro",
        "cost_usd": "0.036",
        "path": picture["path"],
    }
    assert row["created"].startswith("2026-09-21 ")
    assert listed["next_cursor"] is None
    assert text(told).splitlines()[0] == "t-2 succeeded pro: Make it teal"


async def test_an_empty_list_says_so(environ: dict[str, str], clock: FakeClock) -> None:
    async with client(environ, Api(clock), clock) as assistant:
        result = await assistant.call_tool("list_tasks", {})
    assert text(result) == "No edits."
    assert result.structured_content == {"tasks": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("succeeded", ["three", "one"]),
        ("failed", ["two"]),
        ("unknown", ["four"]),
        ("processing", []),
        ("queued", ["five"]),
    ],
)
async def test_a_status_picks_its_edits(
    status: str, found: list[str], environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    answers: dict[int, list[Scripted]] = {1: [error(400)], 3: [api.accept_and_cut]}
    async with client(environ, api, clock) as assistant:
        for number, prompt in enumerate(["one", "two", "three", "four", "five"]):
            api.on_submit += answers.get(number, [])
            await edited(assistant, environ, prompt, wait_seconds=0 if prompt == "five" else 40)
        assert prompts(await page(assistant, status=status)) == found


async def test_an_edit_that_is_being_submitted_is_queued_for_whoever_asks(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_submit=[error(429)] * 4)
    async with client(environ, api, clock) as assistant:
        await edited(assistant, environ, "Make it blue", wait_seconds=1)
        (row,) = (await page(assistant, status="queued"))["tasks"]
    assert row["status"] == "queued"
    assert row["task_id"].startswith("edit-")
    assert row["path"] is None


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7, 50])
async def test_the_cursor_leads_over_all_pages_and_ends(
    limit: int, environ: dict[str, str], clock: FakeClock
) -> None:
    names = [f"take {number}" for number in range(6)]
    async with client(environ, Api(clock, seconds=1000), clock) as assistant:
        await edited(assistant, environ, *names, wait_seconds=0)
        seen: list[str] = []
        pages, cursor = 0, None
        while pages == 0 or cursor is not None:
            listed = await page(assistant, limit=limit, cursor=cursor)
            assert 0 < len(listed["tasks"]) <= limit
            seen += prompts(listed)
            pages, cursor = pages + 1, listed["next_cursor"]
    assert seen == names[::-1]
    assert pages == -(-6 // limit)


async def test_an_edit_made_between_two_pages_shifts_nothing(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with client(environ, Api(clock, seconds=1000), clock) as assistant:
        await edited(assistant, environ, "one", "two", "three", wait_seconds=0)
        first = await page(assistant, limit=2)
        await edited(assistant, environ, "four", wait_seconds=0)
        second = await page(assistant, limit=2, cursor=first["next_cursor"])
    assert prompts(first) + prompts(second) == ["three", "two", "one"]


@pytest.mark.parametrize("cursor", ["next", "-1", "1.5", "1e3", "²", "9" * 30, "1; DROP TABLE edits"])
async def test_a_cursor_that_no_list_gave_is_refused(
    cursor: str, environ: dict[str, str], clock: FakeClock
) -> None:
    async with client(environ, Api(clock), clock) as assistant:
        result = await assistant.call_tool("list_tasks", {"cursor": cursor})
    assert result.structured_content["error"]["code"] == "invalid_arguments"
    assert "next_cursor of an earlier list_tasks" in text(result)


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 51}, {"limit": "5"}, {"status": "done"}, {"cursor": " "}, {"page": 2}]
)
async def test_bad_arguments_are_told(
    wrong: dict[str, Any], environ: dict[str, str], clock: FakeClock
) -> None:
    async with client(environ, Api(clock), clock) as assistant:
        result = await assistant.call_tool("list_tasks", wrong)
    assert result.structured_content["error"]["code"] == "invalid_arguments"
    assert next(iter(wrong)) in text(result)


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("Make it\nblue,\n\n and   keep the face", "Make it blue, and keep the face"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("把天空变成粉红色" * 10, ("把天空变成粉红色" * 10)[:59] + "…"),
        ("word " * 40, "word word word word word word word word word word word word…"),
    ],
)
async def test_a_row_shows_a_prompt_in_sixty_characters(
    prompt: str, shown: str, environ: dict[str, str], clock: FakeClock
) -> None:
    async with client(environ, Api(clock, seconds=1000), clock) as assistant:
        await edited(assistant, environ, prompt, wait_seconds=0)
        assert prompts(await page(assistant)) == [shown]
    assert len(shown) <= 60


async def test_fifty_rows_stay_small(environ: dict[str, str], clock: FakeClock) -> None:
    async with client(environ, Api(clock, seconds=1000), clock) as assistant:
        await edited(assistant, environ, *["Change the jacket to red leather " * 5] * 50, wait_seconds=0)
        result = await assistant.call_tool("list_tasks", {"limit": 50})
    assert len(result.structured_content["tasks"]) == 50
    assert len(result.model_dump_json()) < 25_000
