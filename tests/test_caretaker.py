"""Every edit has one watcher at a time, and is looked after though its process is gone and nobody asks."""

import asyncio
from pathlib import Path

import httpx
import pytest
from tests.clock import FakeClock
from tests.house import Api, Person, client, everything, file_of, opened, photo, settled, wanted
from tests.test_journal import new_task
from tests.upstreams import error

from kontext_edit.errors import Billed, JournalUnavailable
from kontext_edit.journal.book import Journal
from kontext_edit.journal.statements import LEASE_SECONDS
from kontext_edit.task import LOCAL, SANDBOX, Status, Task

ROUND = LEASE_SECONDS / 3


def journal_of(environ: dict[str, str]) -> Journal:
    return Journal(Path(environ["KONTEXT_HOME"]) / "journal.sqlite3")


async def left_behind(
    environ: dict[str, str], clock: FakeClock, task_id: str | None, number: int = 1, **more: object
) -> Task:
    """An edit of a process that died: it holds the lease, and will never renew it."""
    journal = journal_of(environ)
    task = new_task(number, created_at=clock.now(), **more)
    await journal.begin(task)
    if task_id:
        task = await journal.accepted(task, task_id, clock.now())
    await journal.close()
    return task


async def accepted_by(api: Api) -> str:
    """Upstream has an edit; returns its id."""
    request = httpx.Request("POST", "https://api.example", json={"prompt": "Make it blue"})
    return str((await api.accept(request)).json()["task_id"])


async def test_an_edit_is_taken_over_when_its_lease_ends_and_not_before(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    task = await left_behind(environ, clock, await accepted_by(api))
    async with opened(environ, api, clock) as app:
        await clock.sleep(LEASE_SECONDS - 1)
        assert api.polls == []
        assert (await app.editor.follow(task.id, 0, Person())).task.status is Status.QUEUED
        assert api.polls == []
        await clock.sleep(ROUND + 1)
        done = await app.journal.get(task.id, LOCAL)
    assert done.status is Status.SUCCEEDED
    assert file_of(done.pictures[0]).exists()
    assert api.bodies == []


async def test_whoever_asks_for_an_edit_of_a_dead_process_gets_it_once_the_lease_is_over(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    task_id = await accepted_by(api)
    await left_behind(environ, clock, task_id)
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.follow(task_id, 40, Person())
    assert outcome.task.status is Status.SUCCEEDED


async def test_an_edit_whose_turn_never_came_is_told_to_have_cost_nothing(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    task = await left_behind(environ, clock, None, status=Status.WAITING)
    async with opened(environ, api, clock) as app:
        ended = await settled(app, task.id, clock)
    assert ended.status is Status.FAILED
    assert ended.error is not None
    assert "was not sent" in ended.error.message
    assert (ended.billed, api.bodies) == (Billed.NO, [])


async def test_an_edit_left_while_submitting_becomes_unknown_and_is_never_sent(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    task = await left_behind(environ, clock, None)
    async with opened(environ, api, clock) as app:
        await clock.sleep(LEASE_SECONDS - 1)
        assert (await app.journal.get(task.id, LOCAL)).status is Status.SUBMITTING
        ended = await settled(app, task.id, clock)
    assert ended.status is Status.UNKNOWN
    assert (ended.billed, ended.cost_usd) == (Billed.MAYBE, task.list_price_usd)
    assert ended.error is not None
    assert "stopped while it submitted" in ended.error.message
    assert api.bodies == api.polls == []


async def test_an_edit_of_the_sandbox_that_ended_with_its_process_is_told_as_free(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    submitting = await left_behind(environ, clock, None, provider=SANDBOX)
    queued = await left_behind(environ, clock, "s-1", number=2, provider=SANDBOX)
    async with opened(environ, api, clock, KONTEXT_PROVIDER="sandbox") as app:
        for task in (submitting, queued):
            ended = await settled(app, task.id, clock)
            assert (ended.status, ended.billed) == (Status.FAILED, Billed.NO)
            assert ended.error is not None
            assert "free of charge" in ended.error.hint


async def test_a_live_process_keeps_its_edit_however_long_it_takes(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=300)
    async with opened(environ, api, clock) as app, opened(environ, api, clock) as other:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
        await settled(other, begun.task.id, clock)
        alone = len(api.polls)
    async with opened(environ, api, clock) as app:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=0, seed=1), Person())
        await settled(app, begun.task.id, clock)
    assert alone == len(api.polls) - alone, "with two processes upstream was asked as often as with one"


async def test_another_process_waits_for_the_edit_without_asking_upstream_itself(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=12)
    async with opened(environ, api, clock) as app, opened(environ, api, clock) as other:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
        outcomes = await asyncio.gather(
            other.editor.follow(begun.task.id, 40, Person()), app.editor.follow(begun.task.id, 40, Person())
        )
    assert {outcome.task.status for outcome in outcomes} == {Status.SUCCEEDED}
    assert len(api.fetches) == 1


async def test_a_process_that_closes_leaves_its_edits_to_the_next(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=40)
    async with opened(environ, api, clock) as app:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=5), Person())
        assert not begun.task.settled
    async with opened(environ, api, clock) as app:
        done = await settled(app, begun.task.id, clock)
    assert done.status is Status.SUCCEEDED
    assert done.pictures[0].changed_percent == 100, "the source is looked at again"
    assert len(api.bodies) == 1


async def test_a_process_that_closes_while_it_submits_learns_the_id_first(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    arrived = asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        arrived.set()
        for _ in range(50):
            await asyncio.sleep(0)
        return await api.accept(request)

    api.on_submit = [slow]
    async with opened(environ, api, clock) as app:
        call = asyncio.create_task(app.editor.edit(wanted(photo(environ)), Person()))
        await arrived.wait()
        call.cancel()
    async with opened(environ, api, clock) as app:
        (task,) = await everything(app)
        assert task.task_id == "t-1"
        assert (await settled(app, "t-1", clock)).status is Status.SUCCEEDED
    assert len(api.bodies) == 1


async def test_the_source_that_changed_meanwhile_is_not_compared_with(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=40)
    async with opened(environ, api, clock) as app:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=5), Person())
    photo(environ, colour="green")
    async with opened(environ, api, clock) as app:
        done = await settled(app, begun.task.id, clock)
    assert done.pictures[0].changed_percent is None


async def test_a_process_that_slept_through_its_lease_can_still_tell_the_id(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """Another process called the edit unknown; the sleeper then learns that upstream took it."""
    api = Api(clock)
    sleeper = journal_of(environ)
    task = new_task(created_at=clock.now())
    await sleeper.begin(task)
    async with opened(environ, api, clock) as app:
        assert (await settled(app, task.id, clock)).status is Status.UNKNOWN
        learnt = await sleeper.accepted(task, await accepted_by(api), clock.now())
        assert (learnt.status, learnt.error) == (Status.QUEUED, None)
        await clock.sleep(LEASE_SECONDS + ROUND)
        assert (await app.journal.get(task.id, LOCAL)).status is Status.SUCCEEDED


async def test_an_edit_of_another_provider_is_left_alone_and_told_as_such(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    task = await left_behind(environ, clock, await accepted_by(api))
    async with opened(environ, api, clock, KONTEXT_PROVIDER="sandbox") as app:
        await clock.sleep(3 * LEASE_SECONDS)
        began = clock.now()
        outcome = await app.editor.follow(task.id, 40, Person())
        assert clock.now() - began < 2
    assert outcome.task.status is Status.QUEUED
    assert outcome.notes == ("This edit is with the provider 'novita'; the server is set to another.",)
    assert api.polls == []


async def test_a_round_that_fails_is_followed_by_the_next(
    environ: dict[str, str],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api(clock)
    task = await left_behind(environ, clock, await accepted_by(api))
    async with opened(environ, api, clock) as app:
        renew = app.journal.renew
        faults = [JournalUnavailable("It is held."), RuntimeError("a bug")]

        async def failing(*args: object) -> None:
            if faults:
                raise faults.pop(0)
            await renew(*args)  # pyright: ignore[reportArgumentType] - passed on

        monkeypatch.setattr(app.journal, "renew", failing)
        assert (await settled(app, task.id, clock)).status is Status.SUCCEEDED
    assert "It is held." in caplog.text
    assert "a round failed; the next one comes" in caplog.text


async def test_a_job_that_stops_by_a_bug_is_told_in_the_log_and_begun_again(
    environ: dict[str, str],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api(clock)
    async with opened(environ, api, clock) as app:
        save = app.gallery.save
        bugs = [RuntimeError("a bug")]

        async def failing(*args: object) -> object:
            if bugs:
                raise bugs.pop()
            return await save(*args)  # pyright: ignore[reportArgumentType] - passed on

        monkeypatch.setattr(app.gallery, "save", failing)
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
        assert not outcome.task.settled
        assert (await settled(app, "t-1", clock)).status is Status.SUCCEEDED
    assert "stopped: a bug" in caplog.text
    assert len(api.bodies) == 1


async def test_a_submission_that_stops_by_a_bug_ends_as_unknown(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_submit=[RuntimeError("a bug in the transport")])
    async with opened(environ, api, clock) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
        assert (await settled(app, outcome.task.id, clock)).status is Status.UNKNOWN
    assert len(api.bodies) == 1


async def test_an_edit_is_taken_up_by_a_server_that_nobody_calls(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    task = await left_behind(environ, clock, await accepted_by(api))
    async with client(environ, api, clock):
        await clock.sleep(2 * LEASE_SECONDS)
    assert (await journal_of(environ).get(task.id, LOCAL)).status is Status.SUCCEEDED


async def test_a_server_whose_settings_cannot_be_used_stays_up_when_it_would_look_after_edits(
    environ: dict[str, str], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(environ | {"KONTEXT_DEFAULT_TIER": "ultra"}, Api(clock), clock) as assistant:
        await clock.sleep(5)
        assert (await assistant.call_tool("list_tasks", {})).is_error
    assert caplog.text.count("KONTEXT_DEFAULT_TIER") >= 2


async def test_a_day_without_an_end_is_enough(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock, seconds=1e9)
    async with opened(environ, api, clock) as app:
        await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
        clock.jump(25 * 3600)
        task = await settled(app, "t-1", clock)
    assert task.status is Status.UNKNOWN
    assert task.error is not None
    assert "within a day" in task.error.message


async def test_a_key_that_is_refused_while_waiting_only_delays(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """The person may put it right meanwhile; the edit is bought already."""
    api = Api(clock, on_poll=[error(401), error(429), httpx.ReadError("cut")])
    async with opened(environ, api, clock) as app:
        await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
        assert (await settled(app, "t-1", clock)).status is Status.SUCCEEDED
