"""Asking for the same edit again gets the one that was bought, until it was delivered."""

import asyncio
import base64
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.clock import FakeClock
from tests.house import (
    SAME_EDIT,
    Api,
    Person,
    client,
    everything,
    file_of,
    opened,
    painted,
    photo,
    settled,
    text,
    wanted,
)
from tests.test_journal import new_task
from tests.upstreams import error

from kontext_edit.errors import Billed, FateUnknown
from kontext_edit.journal.book import Journal
from kontext_edit.task import Status


def arguments(environ: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"prompt": "Make it blue", "images": [photo(environ)], **more}


async def test_an_edit_that_still_runs_is_waited_for_and_not_bought_again(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=60)
    async with client(environ, api, clock) as assistant:
        first = await assistant.call_tool("edit_image", arguments(environ, wait_seconds=2))
        again = await assistant.call_tool("edit_image", arguments(environ, wait_seconds=50))
        done = await assistant.call_tool("edit_image", arguments(environ, wait_seconds=50))
    assert len(api.bodies) == 1
    assert (first.structured_content["status"], again.structured_content["status"]) == (
        "queued",
        "processing",
    )
    assert done.structured_content["status"] == "succeeded"
    assert {result.structured_content["task_id"] for result in (first, again, done)} == {"t-1"}
    assert SAME_EDIT not in text(first)
    for result in (again, done):
        assert SAME_EDIT in text(result)
        assert any(SAME_EDIT in warning for warning in result.structured_content["warnings"])


async def test_a_finished_edit_that_nobody_got_yet_is_handed_over(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=5)
    async with opened(environ, api, clock) as app:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
        assert not begun.task.settled
        await settled(app, begun.task.id, clock)
    async with client(environ, api, clock) as assistant:
        result = await assistant.call_tool("edit_image", arguments(environ))
    assert result.structured_content["status"] == "succeeded"
    assert result.structured_content["task_id"] == "t-1"
    assert SAME_EDIT in text(result)
    assert len(api.bodies) == 1


async def test_after_delivery_the_same_request_is_a_new_take(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ, api, clock) as assistant:
        first = await assistant.call_tool("edit_image", arguments(environ))
        await clock.sleep(4)
        second = await assistant.call_tool("edit_image", arguments(environ))
    assert (first.structured_content["task_id"], second.structured_content["task_id"]) == ("t-1", "t-2")
    assert SAME_EDIT not in text(second)
    assert len(api.bodies) == 2


async def test_a_caller_that_gave_up_while_its_result_went_out_gets_it_again(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with opened(environ, api, clock) as app:
        first = await app.editor.edit(wanted(photo(environ)), Person())
        app.editor.hand_over(first.task)
        again = await app.editor.edit(wanted(photo(environ)), Person())
    assert again.task.id == first.task.id
    assert len(api.bodies) == 1


async def test_get_task_delivers_too(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock, seconds=20)
    async with client(environ, api, clock) as assistant:
        await assistant.call_tool("edit_image", arguments(environ, wait_seconds=0))
        await assistant.call_tool("get_task", {"task_id": "t-1"})
        await clock.sleep(4)
        await assistant.call_tool("edit_image", arguments(environ, wait_seconds=0))
    assert len(api.bodies) == 2


async def test_force_new_buys_anew_while_the_first_still_runs(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=30)
    async with opened(environ, api, clock) as app:
        first = await app.editor.edit(wanted(photo(environ), wait_seconds=1), Person())
        second = await app.editor.edit(wanted(photo(environ), wait_seconds=1, force_new=True), Person())
    assert first.task.id != second.task.id
    assert second.notes == ()
    assert len(api.bodies) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Make it green"},
        {"prompt": "Make it blue "},
        {"tier": "max"},
        {"seed": 1},
        {"guidance_scale": 3.5},
        {"images": ["other.png"]},
        {"images": ["photo.png", "other.png"]},
        {"images": ["photo.png", "photo.png"]},
    ],
    ids=str,
)
async def test_another_request_is_another_edit(
    other: dict[str, Any], environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=30)
    photo(environ, "other.png", "green")
    async with opened(environ, api, clock) as app:
        first = await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
        second = await app.editor.edit(wanted("photo.png", **{"wait_seconds": 0, **other}), Person())
    assert first.task.id != second.task.id
    assert len(api.bodies) == 2


async def test_the_same_content_under_any_name_is_the_same_request(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=30)
    inline = "data:image/png;base64," + base64.b64encode(painted("red")).decode()
    photo(environ, "copy.png")
    async with opened(environ, api, clock) as app:
        for source in (photo(environ), "photo.png", "copy.png", inline):
            await app.editor.edit(wanted(source, wait_seconds=0), Person())
    assert len(api.bodies) == 1


async def test_the_same_path_with_another_picture_is_another_request(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=30)
    async with opened(environ, api, clock) as app:
        for colour in ("red", "green"):
            await app.editor.edit(wanted(photo(environ, colour=colour), wait_seconds=0), Person())
    assert len(api.bodies) == 2


async def test_the_order_of_the_sources_matters(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock, seconds=30)
    sources = [photo(environ), photo(environ, "other.png", "green")]
    async with opened(environ, api, clock) as app:
        for images in (sources, sources[::-1]):
            await app.editor.edit(wanted("", images=images, wait_seconds=0), Person())
    assert len(api.bodies) == 2


async def test_an_edit_of_the_sandbox_is_not_taken_for_a_real_one(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=30)
    async with opened(environ, api, clock, KONTEXT_PROVIDER="sandbox") as app:
        painted_here = await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
    async with opened(environ, api, clock) as app:
        real = await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
    assert (painted_here.task.provider, real.task.provider) == ("sandbox", "novita")
    assert painted_here.task.id != real.task.id


async def test_what_another_owner_asked_for_is_not_handed_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    mine = new_task(1)
    await journal.begin(mine)
    theirs = replace(mine, id="edit-2", owner="somebody else")
    mine_again = replace(mine, id="edit-3")
    assert await journal.begin(theirs) is theirs
    assert (await journal.begin(mine_again)).id == mine.id


async def test_after_an_unclear_submission_the_same_is_refused_with_the_choice(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    api.on_submit = [api.accept_and_cut]
    async with client(environ, api, clock) as assistant:
        unclear = await assistant.call_tool("edit_image", arguments(environ))
        refused = await assistant.call_tool("edit_image", arguments(environ))
        anew = await assistant.call_tool("edit_image", arguments(environ, force_new=True))
    assert unclear.structured_content["status"] == "unknown"
    assert unclear.structured_content["error"]["billed"] == "maybe"
    assert unclear.structured_content["cost_usd"] == "0.036"
    assert refused.is_error
    told = refused.structured_content["error"]
    assert (told["code"], told["billed"], told["retryable"]) == ("fate_unknown", "no", False)
    for part in (unclear.structured_content["task_id"], "0.036 USD", "may have been", "Nothing was sent now"):
        assert part in told["message"]
    assert "force_new: true" in told["hint"]
    assert anew.structured_content["status"] == "succeeded"
    assert len(api.bodies) == 2


async def test_after_an_edit_that_was_refused_the_same_may_be_tried_again(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_submit=[error(400, "ILLEGAL_PROMPT")])
    async with opened(environ, api, clock) as app:
        first = await app.editor.edit(wanted(photo(environ)), Person())
        second = await app.editor.edit(wanted(photo(environ)), Person())
    assert (first.task.status, first.task.billed) == (Status.FAILED, Billed.NO)
    assert second.task.status is Status.SUCCEEDED
    assert len(api.bodies) == 2


async def test_two_identical_calls_at_once_are_one_edit(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock, seconds=5)
    source = photo(environ)
    async with opened(environ, api, clock) as app, opened(environ, api, clock) as other_process:
        outcomes = await asyncio.gather(
            *(each.editor.edit(wanted(source), Person()) for each in (app, app, other_process, other_process))
        )
    assert {outcome.task.task_id for outcome in outcomes} == {"t-1"}
    assert {outcome.task.status for outcome in outcomes} == {Status.SUCCEEDED}
    assert [len(outcome.notes) for outcome in outcomes].count(1) == 3
    assert len(api.bodies) == 1


@pytest.mark.parametrize("moment", range(1, 25))
async def test_a_call_cancelled_at_any_moment_changes_nothing(
    moment: int, environ: dict[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it is cut off, the edit was either not begun or is carried through.

    It is cut off while a thread works for it: that is where what was begun goes on unseen.
    """
    api = Api(clock, seconds=3)
    moments = itertools.count(1)
    to_thread = asyncio.to_thread

    async def cut_off_meanwhile(work: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        if next(moments) == moment:
            call.cancel()
        return await to_thread(work, *args, **kwargs)

    async with opened(environ, api, clock) as app:
        call = asyncio.create_task(app.editor.edit(wanted(photo(environ)), Person()))
        monkeypatch.setattr(asyncio, "to_thread", cut_off_meanwhile)
        await asyncio.gather(call, return_exceptions=True)
        await clock.sleep(60)
        begun = await everything(app)
        assert len(begun) == len(api.taken) <= 1
        assert all(task.status is Status.SUCCEEDED for task in begun)
        again = await app.editor.edit(wanted(photo(environ)), Person())
    assert again.task.status is Status.SUCCEEDED
    assert len(api.bodies) == 1


async def test_asking_for_an_edit_whose_fate_is_unknown_asks_nobody_for_money(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_submit=[httpx.ReadTimeout("no answer")])
    person = Person()
    async with opened(environ, api, clock, KONTEXT_CONFIRM_ABOVE_USD="0.01") as app:
        await app.editor.edit(wanted(photo(environ)), person)
        with pytest.raises(FateUnknown):
            await app.editor.edit(wanted(photo(environ)), person)
    assert len(person.asked) == 1


async def test_an_edit_that_runs_already_needs_no_second_consent(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=30)
    person = Person()
    async with opened(environ, api, clock, KONTEXT_CONFIRM_ABOVE_USD="0.01") as app:
        for _ in range(3):
            await app.editor.edit(wanted(photo(environ), wait_seconds=1), person)
        await app.editor.edit(wanted(photo(environ), wait_seconds=1, force_new=True), person)
    assert len(person.asked) == 2


async def test_a_picture_that_the_person_moved_away_is_told_when_it_is_handed_over(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
    (picture,) = outcome.task.pictures
    file_of(picture).unlink()
    async with client(environ, api, clock) as assistant:
        result = await assistant.call_tool("edit_image", arguments(environ))
    assert f"{picture.path} is no longer there." in result.structured_content["warnings"]
    assert [block.type for block in result.content] == ["text"]
    assert len(api.bodies) == 1
