"""Two owners: neither spends, attaches to or consents to what is the other's, and readers only read."""

import base64
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests import tried
from tests.clock import FakeClock
from tests.house import painted
from tests.team_house import (
    ERAS,
    EVERYTHING,
    LEGACY,
    MODERN,
    SOURCE,
    Team,
    answered,
    bearer,
    open_team,
    until,
)
from tests.tried import (
    BEGINNING,
    PROMPT,
    House,
    listed,
)

house = tried.house


# Money.


async def test_what_an_owner_may_spend_says_nothing_of_what_others_spent(house: House) -> None:
    for who in ("bob", "carol"):
        told = await house.team.tool(who, "estimate_cost", {})
        assert told["budget_left_usd"] == {"day": "7.00"}
    assert await house.team.tool("anna", "estimate_cost", {}) != told


async def test_the_same_request_of_another_is_an_edit_of_its_own(house: House) -> None:
    house.team.api.seconds = 0
    before = len(house.team.api.bodies)
    edit = await house.team.edit("bob", PROMPT)
    assert len(house.team.api.bodies) == before + 1
    assert edit["task_id"] != house.hers.done
    assert "asked for before" not in json.dumps(edit)
    (row,) = (await house.team.tool("bob", "list_tasks", {}))["tasks"]
    assert row["task_id"] == edit["task_id"]


async def test_the_same_request_of_another_is_not_attached_to_one_under_way(house: House) -> None:
    edit = await house.team.edit("bob", f"{PROMPT} again", images=[data_of("plum")], wait_seconds=5)
    assert edit["task_id"] not in asdict(house.hers).values()


async def test_a_list_does_not_count_the_edits_of_others(house: House) -> None:
    """A cursor made of a number would: the numbers of edits are the server's."""
    house.team.api.seconds = 0
    await house.team.edit("bob", "One")
    await house.team.edit("bob", "Two")
    first = await house.team.tool("bob", "list_tasks", {"limit": 1})
    assert re.fullmatch("edit-[0-9a-f]{16}", first["next_cursor"])
    second = await house.team.tool("bob", "list_tasks", {"limit": 1, "cursor": first["next_cursor"]})
    assert [row["prompt"] for row in first["tasks"] + second["tasks"]] == ["Two", "One"]


async def test_the_same_picture_is_everybodys_own_upload(house: House) -> None:
    """Its id is made of its content, and says nothing of who has it."""
    team, source = house.team, f"upload:{house.hers.upload}"
    arguments = {"prompt": "On", "images": [source], "wait_seconds": 0}
    call = {"name": "edit_image", "arguments": arguments}
    refused = answered(await team.ask("bob", "tools/call", call))["result"]
    assert refused["isError"]
    kept = await team.http.post("/uploads", content=painted("plum"), headers=bearer(team.tokens["bob"]))
    assert kept.json()["source"] == source
    assert (await team.tool("bob", "edit_image", arguments))["status"] in ("queued", "processing")


# The scope `read`.


def data_of(colour: str) -> str:
    return f"data:image/png;base64,{base64.b64encode(painted(colour)).decode()}"


BEGUN: dict[str, dict[str, Any]] = {
    "edit_image": {"prompt": "On", "images": [SOURCE], "wait_seconds": 0},
    "begin_edit": {"prompt": "On", "images": [SOURCE]},
    "upload_picture": {"data": base64.b64encode(painted("red")).decode()},
}
LOOKED: dict[str, dict[str, Any]] = {"get_task": {"task_id": "t-1"}, "edit_details": {"task_id": "t-1"}}


@pytest.mark.parametrize("capabilities", [{}, {"extensions": EVERYTHING["extensions"]}], ids=["plain", "all"])
@pytest.mark.parametrize("era", ERAS)
async def test_who_may_only_read_begins_nothing(era: str, capabilities: dict[str, Any], house: House) -> None:
    before, sent = house.book(), len(house.team.api.bodies)
    offered = await listed(house.team, "tools/list", "tools", capabilities=capabilities)
    for name in (each["name"] for each in offered):
        call = {"name": name, "arguments": BEGUN.get(name) or LOOKED.get(name, {})}
        answer = answered(await house.team.ask("carol", "tools/call", call, era, capabilities))
        if era == LEGACY and name not in ("edit_image", "get_task", "list_tasks", "estimate_cost"):
            assert "error" in answer  # without sessions a handshake client cannot say that it has the page
            continue
        code = answer["result"].get("structuredContent", {}).get("error", {}).get("code")
        assert (code == "scope_missing") is (name in BEGINNING), name
    assert house.book() == before
    assert len(house.team.api.bodies) == sent


async def test_who_may_only_read_gives_no_pictures(house: House) -> None:
    answer = await house.team.http.post(
        "/uploads", content=painted("red"), headers=bearer(house.team.tokens["carol"])
    )
    assert answer.status_code == 403
    assert "insufficient_scope" in answer.headers["www-authenticate"]


# A person's word.


async def asked_for_consent(team: Team, who: str, prompt: str) -> tuple[dict[str, Any], str]:
    arguments = {"prompt": prompt, "images": [SOURCE], "tier": "max", "force_new": True, "wait_seconds": 0}
    call: dict[str, Any] = {"name": "edit_image", "arguments": arguments}
    result = answered(await team.ask(who, "tools/call", call, MODERN, EVERYTHING))["result"]
    assert result["resultType"] == "input_required", result
    return call, result["requestState"]


async def consented(team: Team, who: str, call: dict[str, Any], state: str) -> dict[str, Any]:
    responses: dict[str, Any] = {"consent": {"action": "accept", "content": {}}}
    params: dict[str, Any] = call | {"requestState": state, "inputResponses": responses}
    return answered(await team.ask(who, "tools/call", params, MODERN, EVERYTHING))


async def test_a_persons_word_is_for_their_own_bearer(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_team(tmp_path, clock, monkeypatch, KONTEXT_CONFIRM_ABOVE_USD="0.03") as team:
        await team.token("anna")
        await team.token("bob")
        call, state = await asked_for_consent(team, "anna", PROMPT)
        refused = await consented(team, "bob", call, state)
        assert refused["error"]["message"] == "Invalid or expired requestState"
        assert refused["error"] == (await consented(team, "bob", call, "v1.never"))["error"]
        assert team.api.bodies == []
        assert "error" not in await consented(team, "anna", call, state)


async def test_a_persons_word_buys_once_over_all_replicas(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        open_team(tmp_path, clock, monkeypatch, KONTEXT_CONFIRM_ABOVE_USD="0.03") as first,
        open_team(tmp_path, clock, monkeypatch, first.api, KONTEXT_CONFIRM_ABOVE_USD="0.03") as second,
    ):
        second.tokens["anna"] = await first.token("anna")
        call, state = await asked_for_consent(first, "anna", PROMPT)
        bought = await consented(second, "anna", call, state)
        assert bought["result"]["resultType"] == "task"
        for replica in (first, second):
            again = await consented(replica, "anna", call, state)
            assert again["result"]["resultType"] == "input_required"
            assert again["result"]["requestState"] != state
        await until(lambda: bool(first.api.bodies))
    assert len(first.api.bodies) == 1
