"""The journal keeps every edit, moves it only where it may go, and says when it cannot be used."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontext_edit.errors import Billed, JournalUnavailable, NoSuchTask, Problem
from kontext_edit.journal.book import Journal
from kontext_edit.task import LEGAL_MOVES, SETTLED, Picture, Source, Status, Task

PROBLEM = Problem("edit_failed", "It did not work — 写真", "Try again.", True, Billed.NO)  # noqa: FBT003 - data


def new_task(number: int = 1, **changes: object) -> Task:
    task = Task(
        id=f"edit-{number}",
        provider="novita",
        tier="dev",
        prompt=f"Make the sky 青い, take {number}",
        parameters={"seed": 7, "guidance_scale": 2.5, "fast_mode": True},
        sources=(Source("/pictures/a.jpg", "ab" * 32),),
        list_price_usd=Decimal("0.018"),
        created_at=1000.0 + number,
        warnings=("A warning.",),
    )
    return replace(task, **changes)  # pyright: ignore[reportArgumentType] - any field


PICTURE = Picture(Path("/out/a b.png"), 10, 20, "png", 123, "cd" * 32, 43.2)


async def finished(journal: Journal, task: Task, at: float) -> Task:
    await journal.begin(task)
    accepted = await journal.accepted(task, f"up-{task.id}", at - 5)
    return await journal.succeeded(accepted, (PICTURE,), seed=9, warnings=task.warnings, at=at)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "home" / "journal.sqlite3")


async def test_what_is_written_is_read_back_whole_by_another_process(journal: Journal) -> None:
    task = await finished(journal, new_task(), at=2000.0)
    await journal.close()
    again = await Journal(journal.path).get("up-edit-1")
    assert again == task
    assert again.pictures == (PICTURE,)
    assert again.list_price_usd == Decimal("0.018")


async def test_an_edit_is_found_by_upstreams_id_and_by_ours(journal: Journal) -> None:
    task = new_task()
    await journal.begin(task)
    assert await journal.get("edit-1") == task
    accepted = await journal.accepted(task, "up-1", 1001.0)
    assert await journal.get("up-1") == await journal.get("edit-1") == accepted


async def test_an_unknown_id_is_said_to_be_unknown(journal: Journal) -> None:
    with pytest.raises(NoSuchTask, match="'nope'"):
        await journal.get("nope")


async def test_last_is_the_edit_that_finished_last_with_a_picture(journal: Journal) -> None:
    assert await journal.last() is None
    await finished(journal, new_task(1), at=3000.0)
    await finished(journal, new_task(2), at=2000.0)
    late = new_task(3)
    await journal.begin(late)
    await journal.ended(late, Status.FAILED, PROBLEM, 9000.0)
    last = await journal.last()
    assert last is not None
    assert last.id == "edit-1"


async def test_a_settled_edit_stays_as_it_is(journal: Journal) -> None:
    done = await finished(journal, new_task(), at=2000.0)
    assert await journal.ended(done, Status.FAILED, PROBLEM, 2001.0) == done
    assert await journal.processing(done) == done
    assert await journal.succeeded(done, (), seed=1, warnings=(), at=3000.0) == done


async def test_a_move_builds_on_what_another_process_wrote(journal: Journal) -> None:
    stale = new_task()
    await journal.begin(stale)
    await journal.accepted(stale, "up-1", 1001.0)
    moved = await Journal(journal.path).processing(stale, PROBLEM)
    assert moved.task_id == "up-1"
    assert moved.error == PROBLEM


async def test_an_edit_whose_row_is_gone_is_written_down_anew(journal: Journal) -> None:
    await journal.begin(new_task(1))
    accepted = await journal.accepted(new_task(2), "up-2", 1.0)
    assert await journal.get("up-2") == accepted


@given(path=st.lists(st.sampled_from([s for s in Status if s is not Status.SUBMITTING]), max_size=6))
async def test_no_sequence_of_events_leaves_the_legal_moves(
    path: list[Status], tmp_path_factory: pytest.TempPathFactory
) -> None:
    journal = Journal(tmp_path_factory.mktemp("legal") / "journal.sqlite3")
    task = new_task()
    await journal.begin(task)
    steps = {
        Status.QUEUED: lambda: journal.accepted(task, "up-1", 1.0),
        Status.PROCESSING: lambda: journal.processing(task),
        Status.SUCCEEDED: lambda: journal.succeeded(task, (), seed=None, warnings=(), at=2.0),
        Status.FAILED: lambda: journal.ended(task, Status.FAILED, PROBLEM, 2.0),
        Status.UNKNOWN: lambda: journal.ended(task, Status.UNKNOWN, PROBLEM, 2.0),
    }
    status = Status.SUBMITTING
    for target in path:
        moved = await steps[target]()
        legal = target in LEGAL_MOVES[status] or (target is status and status not in SETTLED)
        assert moved.status is (target if legal else status)
        status = moved.status
    assert (await journal.get(task.id)).status is status
    await journal.close()


async def test_the_usual_time_is_learnt_once_there_are_enough_edits(journal: Journal) -> None:
    for number in range(1, 5):
        await finished(journal, new_task(number), at=2000.0 + number)
    assert await journal.usual_seconds("dev", "novita") is None
    await finished(journal, new_task(5), at=2005.0)
    assert await journal.usual_seconds("dev", "novita") == (5.0, 5.0)
    assert await journal.usual_seconds("dev", "sandbox") is None
    assert await journal.usual_seconds("pro", "novita") is None


async def test_two_processes_share_the_file(journal: Journal) -> None:
    other = Journal(journal.path)
    for number in range(1, 6):
        await (journal if number % 2 else other).begin(new_task(number))
    for number in range(1, 6):
        assert (await other.get(f"edit-{number}")).status is Status.SUBMITTING


async def test_the_file_syncs_what_it_commits(journal: Journal) -> None:
    await journal.begin(new_task())
    with closing(sqlite3.connect(journal.path)) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        (version,) = file.execute("PRAGMA user_version").fetchone()
        assert version >= 1


async def test_a_folder_that_cannot_be_made_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnavailable) as caught:
        await Journal(tmp_path / "file" / "journal.sqlite3").begin(new_task())
    assert "KONTEXT_HOME" in caught.value.hint
    assert caught.value.billed is Billed.NO


async def test_a_damaged_journal_is_set_aside_whole_and_the_person_is_told(journal: Journal) -> None:
    journal.path.parent.mkdir()
    diary = b"my diary, not a database, and long enough to be read" * 40
    journal.path.write_bytes(diary)
    await journal.begin(new_task())
    assert (await journal.get("edit-1")).status is Status.SUBMITTING
    (aside,) = journal.path.parent.glob("journal.sqlite3.damaged-*")
    assert aside.read_bytes() == diary
    assert journal.notice is not None
    assert str(aside) in journal.notice


async def test_a_failed_write_rolls_back_and_the_journal_works_on(journal: Journal) -> None:
    first, second = new_task(1), new_task(2)
    await journal.begin(first)
    await journal.begin(second)
    await journal.accepted(first, "up-1", 1.0)
    with pytest.raises(JournalUnavailable):
        await journal.accepted(second, "up-1", 1.0)
    assert (await journal.get("edit-2")).status is Status.SUBMITTING


async def test_closing_an_unopened_journal_is_fine(journal: Journal) -> None:
    await journal.close()
    assert not journal.path.exists()


async def test_what_a_process_lets_go_another_takes_over_at_once_but_not_a_submission_on_its_way(
    journal: Journal,
) -> None:
    await journal.begin(new_task(1))
    accepted = await journal.accepted(await journal.begin(new_task(2)), "up-2", 1003.0)
    other = Journal(journal.path)
    assert await other.adopt("novita", 1004.0) == []
    await journal.let_go()
    assert await other.adopt("novita", 1004.0) == [accepted]
    await other.close()
