"""A finished edit's picture that cannot be fetched: told, tried again, had later, or said to be lost."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.clock import FakeClock
from tests.house import Api, Person, Scripted, client, file_of, opened, painted, photo, settled, text, wanted
from tests.test_gallery import Endless
from tests.upstreams import error

from kontext_edit.errors import Billed
from kontext_edit.task import LOCAL, Status

ATTEMPTS = 4
"""Fetches in a row before the edit is left alone for a while."""


class Stalling(httpx.AsyncByteStream):
    """The first half of a picture, and then nothing more."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield painted("blue")[:60]
        raise httpx.ReadTimeout("stalled")


async def stalling(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=Stalling())


async def gigabytes(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, stream=Endless())


FAULTS: list[tuple[Scripted, str]] = [
    (httpx.Response(403), "no longer served (403)"),
    (httpx.Response(404), "no longer served (404)"),
    (httpx.Response(500), "answers 500"),
    (httpx.ReadTimeout("hangs"), "ReadTimeout"),
    (httpx.ConnectError("gone"), "ConnectError"),
    (stalling, "ReadTimeout"),
    (httpx.Response(200, content=b"<html>Sign in</html>"), "not a whole picture"),
    (httpx.Response(200, content=painted("blue", "gif")), "not a whole picture"),
    (httpx.Response(200, content=painted("blue")[:-40]), "not a whole picture"),
    (gigabytes, "more than 50 MB"),
]
each_fault = pytest.mark.parametrize(("fault", "says"), FAULTS, ids=[says for _, says in FAULTS])


@each_fault
async def test_one_fault_of_a_link_costs_a_moment(
    fault: Scripted, says: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_fetch=[fault])
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
    assert says
    assert outcome.task.status is Status.SUCCEEDED
    assert outcome.task.error is None
    assert len(api.fetches) == 2
    assert len(api.polls) == 2, "each time a link fails, a new one is asked for"


@each_fault
async def test_a_lasting_fault_is_told_and_get_task_fetches_sooner(
    fault: Scripted, says: str, environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_fetch=[fault] * ATTEMPTS)
    async with client(environ, api, clock) as assistant:
        waiting = await assistant.call_tool("edit_image", {"prompt": "Blue", "images": [photo(environ)]})
        began = clock.now()
        done = await assistant.call_tool("get_task", {"task_id": "t-1"})
    assert not waiting.is_error
    told = waiting.structured_content
    assert told["status"] == "processing"
    assert says in told["error"]["message"]
    assert (told["error"]["retryable"], told["error"]["billed"]) == (True, "yes")
    assert "get_task" in told["error"]["hint"]
    assert "Call get_task with task_id t-1" in told["next_step"]
    assert told["cost_usd"] == "0.036"
    assert says in text(waiting)
    assert done.structured_content["status"] == "succeeded"
    assert "error" not in done.structured_content
    assert clock.now() - began < 5
    assert len(api.bodies) == 1


async def test_a_picture_that_could_not_be_fetched_is_fetched_later_though_nobody_asks(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_fetch=[httpx.Response(500)] * (2 * ATTEMPTS))
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
        assert outcome.task.status is Status.PROCESSING
        rested = clock.now()
        await settled(app, "t-1", clock)
        task = await app.journal.get("t-1", LOCAL)
    assert task.status is Status.SUCCEEDED
    assert len(api.fetches) == 2 * ATTEMPTS + 1
    assert 60 <= clock.now() - rested <= 120


async def test_another_kind_of_picture_than_asked_for_is_kept_for_what_it_is(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_fetch=[httpx.Response(200, content=painted("blue", "webp"))])
    call = wanted(photo(environ), tier="dev", output_format="png")
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(call, Person())
    (picture,) = outcome.task.pictures
    assert (picture.format, file_of(picture).suffix) == ("webp", ".webp")
    assert file_of(picture).read_bytes() == painted("blue", "webp")


async def test_a_link_that_hangs_for_ever_is_given_up_and_asked_for_again(
    environ: dict[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hanging(_request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    monkeypatch.setattr("kontext_edit.gallery._FETCH_SECONDS", 0)
    api = Api(clock, on_fetch=[hanging] * ATTEMPTS)
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
        assert outcome.task.error is not None
        assert "TimeoutError" in outcome.task.error.message
        done = await app.editor.follow("t-1", 40, Person())
    assert done.task.status is Status.SUCCEEDED


async def test_an_edit_that_is_done_and_names_no_picture_is_asked_for_again(
    environ: dict[str, str], clock: FakeClock
) -> None:
    empty = httpx.Response(
        200, json={"task": {"task_id": "t-1", "status": "TASK_STATUS_SUCCEED"}, "images": None}
    )
    api = Api(clock, on_poll=[empty] * ATTEMPTS)
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
        assert outcome.task.error is not None
        assert "names no picture" in outcome.task.error.message
        done = await app.editor.follow("t-1", 40, Person())
    assert done.task.status is Status.SUCCEEDED


async def test_fewer_pictures_than_asked_for_are_kept_and_told(
    environ: dict[str, str], clock: FakeClock
) -> None:
    one = {"image_url": "https://cdn.example/t-1/1.png"}
    some = httpx.Response(
        200, json={"task": {"task_id": "t-1", "status": "TASK_STATUS_SUCCEED"}, "images": [one]}
    )
    api = Api(clock, on_poll=[some])
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ), tier="dev", num_images=3), Person())
    assert outcome.task.status is Status.SUCCEEDED
    assert len(outcome.task.pictures) == 1
    assert "3 pictures were asked for and 1 came." in outcome.task.warnings


async def test_one_bad_link_among_several_holds_the_edit_back_until_all_are_there(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_fetch=[httpx.Response(500)])
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ), tier="dev", num_images=3), Person())
        folder = app.settings.output_dir
    assert len(outcome.task.pictures) == 3
    assert {path.name for path in folder.iterdir()} == {file_of(each).name for each in outcome.task.pictures}


async def test_expired_links_mean_a_lost_picture_which_is_said_with_upstreams_id(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_fetch=[httpx.Response(403)] * 1000)
    async with client(environ, api, clock) as assistant:
        await assistant.call_tool("edit_image", {"prompt": "Blue", "images": [photo(environ)]})
        await clock.sleep(2 * 3600)
        lost = await assistant.call_tool("get_task", {"task_id": "t-1"})
        assert lost.is_error
        told = lost.structured_content
        assert told["status"] == "failed"
        assert told["cost_usd"] == "0.036"
        assert (told["error"]["code"], told["error"]["billed"]) == ("picture_lost", "yes")
        assert "cannot be had any more" in told["error"]["message"]
        assert "support may help with the task id t-1" in told["error"]["hint"]
        api.on_fetch.clear()
        anew = await assistant.call_tool("edit_image", {"prompt": "Blue", "images": [photo(environ)]})
    assert anew.structured_content["task_id"] == "t-2"
    assert len(api.bodies) == 2


async def test_a_result_that_upstream_has_forgotten_is_lost_too(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_fetch=[httpx.Response(500)] * 1000)
    async with opened(environ, api, clock) as app:
        await app.editor.edit(wanted(photo(environ)), Person())
        api.taken.clear()
        task = await settled(app, "t-1", clock)
    assert task.status is Status.FAILED
    assert task.error is not None
    assert (task.error.code, task.billed) == ("picture_lost", Billed.YES)
    assert "no longer has its picture" in task.error.message


async def test_a_task_that_upstream_does_not_know_before_it_was_done_is_unknown(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_poll=[error(404, "TASK_NOT_FOUND")] * 1000)
    async with opened(environ, api, clock) as app:
        await app.editor.edit(wanted(photo(environ)), Person())
        task = await settled(app, "t-1", clock)
    assert task.status is Status.UNKNOWN
    assert task.error is not None
    assert (task.error.code, task.error.billed) == ("submission_unclear", Billed.MAYBE)
    assert "t-1" in task.error.message


async def test_a_task_that_is_not_there_at_once_is_waited_for(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_poll=[error(404, "TASK_NOT_FOUND")] * 3)
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
    assert outcome.task.status is Status.SUCCEEDED


async def test_a_link_refused_while_it_should_live_is_no_loss(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_fetch=[httpx.Response(403)] * (3 * ATTEMPTS))
    async with opened(environ, api, clock) as app:
        await app.editor.edit(wanted(photo(environ)), Person())
        task = await settled(app, "t-1", clock)
    assert task.status is Status.SUCCEEDED
