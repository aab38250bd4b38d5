"""Faults of this machine (disk, journal, clock): each has an outcome, and the edit can be had after it."""

import asyncio
import resource
import shutil
import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from tests.clock import FakeClock
from tests.house import Api, Person, client, everything, file_of, opened, photo, settled, text, wanted

from kontext_edit.errors import Billed, BudgetExceeded, JournalUnavailable, NoSuchTask
from kontext_edit.task import LOCAL, Status

EDIT = {"prompt": "Make it blue", "images": ["photo.png"]}


@contextmanager
def full_disk() -> Generator[None]:
    """No file may grow beyond a few bytes: a write fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def another_program(journal: Path) -> Generator[None]:
    """Somebody else holds the journal."""
    with closing(sqlite3.connect(journal, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a journal that is held."""
    monkeypatch.setattr("kontext_edit.journal.file._BUSY_SECONDS", 0)


def damage(journal: Path, words: bytes = b"no journal any more ") -> bytes:
    """Overwrite a journal; returns what the file holds then."""
    with closing(sqlite3.connect(journal)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that all of it is read from this file
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.write((words * size)[:size])
    return journal.read_bytes()


@contextmanager
def blocked(folder: Path) -> Generator[None]:
    """A file stands where the folder should be: nothing can be written there, whoever one is."""
    folder.write_text("a file where the folder should be")
    yield
    folder.unlink()


def kept_aside(journal: Path) -> list[Path]:
    files = journal.parent.glob(f"{journal.name}.damaged-*")
    return sorted(file for file in files if not file.name.endswith(("-wal", "-shm")))


async def test_a_full_disk_under_the_journal_sends_nothing(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    source = photo(environ)
    async with opened(environ, api, clock) as app:
        await app.journal.last(LOCAL)
        with full_disk(), pytest.raises(JournalUnavailable) as caught:
            await app.editor.edit(wanted(source), Person())
        assert api.bodies == []
        assert "space" in caught.value.hint
        assert (caught.value.billed, caught.value.retryable) == (Billed.NO, True)
        outcome = await app.editor.edit(wanted(source), Person())
    assert outcome.task.status is Status.SUCCEEDED
    assert len(api.bodies) == 1


async def test_a_disk_that_fills_up_after_the_submission_keeps_the_edit_until_there_is_room(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with opened(environ, api, clock) as app:
        with ExitStack() as filling:

            async def full_from_now_on(request: httpx.Request) -> httpx.Response:
                filling.enter_context(full_disk())
                return await api.accept(request)

            api.on_submit = [full_from_now_on]
            outcome = await app.editor.edit(wanted(photo(environ)), Person())
        assert not outcome.task.settled
        done = await settled(app, outcome.task.id, clock)
    assert (done.status, done.task_id) == (Status.SUCCEEDED, "t-1")
    assert len(api.bodies) == 1


async def test_a_disk_too_full_for_the_picture_is_told_and_the_picture_is_fetched_later(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with client(environ, api, clock) as assistant:
        with blocked(Path(environ["KONTEXT_OUTPUT_DIR"])):
            held = await assistant.call_tool("edit_image", {**EDIT, "images": [photo(environ)]})
        done = await assistant.call_tool("get_task", {"task_id": "t-1"})
    error = held.structured_content["error"]
    assert (error["code"], error["billed"], error["retryable"]) == ("picture_not_saved", "yes", True)
    assert "KONTEXT_OUTPUT_DIR" in error["hint"]
    assert held.structured_content["status"] == "processing"
    assert done.structured_content["status"] == "succeeded"
    assert len(api.bodies) == 1


async def test_a_results_folder_removed_while_running_is_made_again(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with opened(environ, api, clock) as app:
        first = await app.editor.edit(wanted(photo(environ)), Person())
        shutil.rmtree(app.settings.output_dir)
        second = await app.editor.edit(wanted(photo(environ), force_new=True), Person())
        assert await app.editor.preview(first.task) is None
        assert await app.editor.preview(second.task)
    assert file_of(second.task.pictures[0]).exists()


async def test_a_home_that_cannot_be_written_sends_nothing_and_names_the_setting(
    environ: dict[str, str], clock: FakeClock, tmp_path: Path
) -> None:
    api = Api(clock)
    (tmp_path / "file").write_text("")
    async with client(environ, api, clock, KONTEXT_HOME=str(tmp_path / "file" / "home")) as assistant:
        result = await assistant.call_tool("edit_image", {**EDIT, "images": [photo(environ)]})
    assert result.structured_content["error"]["code"] == "journal_unavailable"
    assert "KONTEXT_HOME" in text(result)
    assert api.bodies == []


@pytest.mark.usefixtures("impatient")
async def test_a_journal_that_another_program_holds_sends_nothing_until_it_is_free(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    source = photo(environ)
    async with opened(environ, api, clock) as app:
        await app.journal.last(LOCAL)
        with another_program(app.journal.path):
            with pytest.raises(JournalUnavailable, match="locked"):
                await app.editor.edit(wanted(source), Person())
            await clock.sleep(30)
        assert api.bodies == []
        outcome = await app.editor.edit(wanted(source), Person())
    assert outcome.task.status is Status.SUCCEEDED


@pytest.mark.usefixtures("impatient")
async def test_a_journal_held_while_upstream_answers_loses_nothing(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """The id is written down as soon as the journal is free, and the edit is never sent again."""
    api = Api(clock)
    async with opened(environ, api, clock) as app:
        await app.journal.last(LOCAL)
        with closing(sqlite3.connect(app.journal.path, isolation_level=None)) as other:

            async def held(request: httpx.Request) -> httpx.Response:
                other.execute("BEGIN IMMEDIATE")
                return await api.accept(request)

            api.on_submit = [held]
            outcome = await app.editor.edit(wanted(photo(environ), wait_seconds=10), Person())
            assert outcome.task.status is Status.SUBMITTING
        done = await settled(app, outcome.task.id, clock)
    assert (done.status, done.task_id) == (Status.SUCCEEDED, "t-1")
    assert len(api.bodies) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_caller_is_told_the_truth_while_the_journal_cannot_be_read(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """The edit is sent by then: an error that says that nothing was sent would be a lie."""
    api = Api(clock, seconds=20)
    async with opened(environ, api, clock) as app:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
        waiting = asyncio.create_task(app.editor.edit(wanted(photo(environ), wait_seconds=5), Person()))
        await clock.sleep(2)
        home = app.journal.path.parent
        home.rename(home.with_name("elsewhere"))
        home.write_text("not a folder any more")
        outcome = await waiting
        assert not outcome.task.settled
        home.unlink()
        home.with_name("elsewhere").rename(home)
        done = await app.editor.follow(begun.task.id, 40, Person())
    assert done.task.status is Status.SUCCEEDED


async def test_a_journal_that_was_taken_away_is_not_written_to_any_more(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """What is written into a file without a name, no other process sees, and after the end nobody."""
    api = Api(clock, seconds=20)
    async with opened(environ, api, clock) as app:
        await app.editor.edit(wanted(photo(environ), wait_seconds=1), Person())
        app.journal.path.rename(app.journal.path.with_name("taken"))
        await clock.sleep(60)
        assert app.journal.path.exists()
    async with opened(environ, api, clock) as app:
        assert (await app.journal.get("t-1", LOCAL)).status is Status.SUCCEEDED
    assert len(api.bodies) == 1


async def test_of_two_processes_one_sets_a_damaged_journal_aside(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with opened(environ, api, clock) as app, opened(environ, api, clock) as other:
        await asyncio.gather(everything(app), everything(other))
        damage(app.journal.path)
        first = await app.editor.edit(wanted(photo(environ)), Person())
        assert (await other.editor.follow("t-1", 1, Person())).task == first.task
    assert len(kept_aside(app.journal.path)) == 1


async def test_a_journal_damaged_while_running_is_set_aside_and_the_edit_still_ends(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=20)
    async with client(environ, api, clock) as assistant:
        arguments = {**EDIT, "images": [photo(environ)]}
        waiting = await assistant.call_tool("edit_image", {**arguments, "wait_seconds": 1})
        journal = Path(environ["KONTEXT_HOME"]) / "journal.sqlite3"
        damaged = damage(journal)
        done = await assistant.call_tool("edit_image", {**arguments, "wait_seconds": 50, "seed": 1})
        assert done.structured_content["status"] == "succeeded"
        first = await assistant.call_tool("get_task", {"task_id": "t-1"})
    assert waiting.structured_content["status"] == "queued"
    (aside, *_) = kept_aside(journal)
    assert aside.read_bytes() == damaged
    for result in (done, first):
        (notice,) = [each for each in result.structured_content["warnings"] if "damaged" in each]
        assert str(aside) in notice
        assert notice in text(result)
    assert first.structured_content["status"] == "succeeded"
    assert len(api.bodies) == 2


async def test_a_journal_damaged_before_the_start_is_set_aside_and_told(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    async with opened(environ, api, clock) as app:
        before = await app.editor.edit(wanted(photo(environ)), Person())
        journal = app.journal.path
    damage(journal)
    async with opened(environ, api, clock) as app:
        with pytest.raises(NoSuchTask):
            await app.editor.follow("t-1", 1, Person())
        assert app.journal.notice is not None
        assert "may buy it again" in app.journal.notice
        anew = await app.editor.edit(wanted(photo(environ)), Person())
        assert app.journal.notice in anew.notes
    assert len(kept_aside(journal)) == 1
    assert file_of(before.task.pictures[0]).exists()


async def test_two_damaged_journals_in_a_row_are_both_kept(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    async with opened(environ, api, clock) as app:
        await everything(app)
        journal = app.journal.path
    kept = [damage(journal)]
    async with opened(environ, api, clock) as app:
        await everything(app)
    kept.append(damage(journal, b"nor is this "))
    async with opened(environ, api, clock) as app:
        await everything(app)
    assert sorted(path.read_bytes() for path in kept_aside(journal)) == sorted(kept)


@pytest.mark.parametrize("jump", [-86_400.0, -3600.0, 7200.0, 86_400.0])
async def test_a_clock_that_jumps_while_an_edit_runs_changes_nothing_for_it(
    jump: float, environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=20)
    async with opened(environ, api, clock) as app:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=5), Person())
        clock.jump(jump)
        began = clock.monotonic()
        done = await app.editor.follow(begun.task.handle, 50, Person())
        assert clock.monotonic() - began < 51
        assert done.task.status is Status.SUCCEEDED
    assert len(api.bodies) == 1


async def test_an_edit_left_behind_is_taken_up_though_the_clock_went_back(
    environ: dict[str, str], clock: FakeClock
) -> None:
    """A lease that ends in a far future was written by a clock that was wrong: it is over."""
    api = Api(clock, seconds=30)
    async with opened(environ, api, clock) as app:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=5), Person())
    clock.jump(-86_400)
    async with opened(environ, api, clock) as app:
        done = await settled(app, begun.task.id, clock)
    assert done.status is Status.SUCCEEDED


async def test_progress_does_not_go_below_nothing_when_the_clock_goes_back(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=20)
    person = Person()
    async with opened(environ, api, clock) as app:
        begun = await app.editor.edit(wanted(photo(environ), wait_seconds=0), Person())
        clock.jump(-500)
        await app.editor.follow(begun.task.id, 40, person)
    assert all(0 <= percent <= 99 for percent, _ in person.told)
    assert all(" -" not in sentence for _, sentence in person.told)


async def test_the_budget_holds_over_a_clock_that_jumps_back_within_the_day(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    clock.jump(3600)
    async with opened(environ, api, clock, KONTEXT_BUDGET_DAY_USD="0.04") as app:
        await app.editor.edit(wanted(photo(environ)), Person())
        clock.jump(-3600)
        with pytest.raises(BudgetExceeded):
            await app.editor.edit(wanted(photo(environ), force_new=True), Person())
