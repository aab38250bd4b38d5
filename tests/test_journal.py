"""The journal keeps every edit, moves it only where it may go, and says when it cannot be used."""

import itertools
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from kontext_edit.errors import Billed, JournalUnavailable, NoSuchTask, Problem
from kontext_edit.journal.book import Journal
from kontext_edit.task import LEGAL_MOVES, LOCAL, SETTLED, Picture, Source, Status, Task

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


NUMBERS = itertools.count(1)
PICTURE = Picture(Path("/out/a b.png"), 10, 20, "png", 123, "cd" * 32, 43.2)


async def finished(journal: Journal, task: Task, at: float, seconds: float | None = None) -> Task:
    await journal.begin(task)
    accepted = await journal.accepted(task, f"up-{task.id}", at - 5)
    return await journal.succeeded(
        accepted, (PICTURE,), seed=9, warnings=task.warnings, at=at, render_seconds=seconds
    )


@pytest.fixture
def journal(place: Path | SecretStr) -> Journal:
    return Journal(place)


@pytest.fixture
def other(place: Path | SecretStr) -> Journal:
    """The same journal, as another process has it."""
    return Journal(place)


async def test_what_is_written_is_read_back_whole_by_another_process(
    journal: Journal, other: Journal
) -> None:
    task = await finished(journal, new_task(), at=2000.0)
    await journal.close()
    again = await other.get("up-edit-1", LOCAL)
    assert again == task
    assert again.pictures == (PICTURE,)
    assert again.list_price_usd == Decimal("0.018")


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30
)  # each edit is a new one
@given(prompt=st.text(st.characters(codec="utf-8", exclude_characters="\0")), any_text=st.text())
@example(prompt="'; DROP TABLE edits; -- %s %(id)s :id {told}", any_text="\0 and half a pair: \ud83d")
async def test_any_words_are_kept_as_they_are(prompt: str, any_text: str, journal: Journal) -> None:
    """A prompt that no database can hold was refused before; what stands in JSON can be any text."""
    task = new_task(
        next(NUMBERS),
        prompt=prompt,
        sources=(Source(any_text, "ab" * 32),),
        parameters={"words": [any_text, None]},
        warnings=(any_text,),
    )
    await journal.begin(task)
    problem = replace(PROBLEM, message=any_text)
    failed = await journal.ended(task, Status.FAILED, problem, 2.0)
    assert (
        (await journal.current([task]))[0]
        == failed
        == replace(task, status=Status.FAILED, error=problem, finished_at=2.0)
    )


async def test_an_edit_is_found_by_upstreams_id_and_by_ours(journal: Journal) -> None:
    task = new_task()
    await journal.begin(task)
    assert await journal.get("edit-1", LOCAL) == task
    accepted = await journal.accepted(task, "up-1", 1001.0)
    assert await journal.get("up-1", LOCAL) == await journal.get("edit-1", LOCAL) == accepted


async def test_an_unknown_id_is_said_to_be_unknown(journal: Journal) -> None:
    with pytest.raises(NoSuchTask, match="'nope'"):
        await journal.get("nope", LOCAL)


async def test_last_is_the_edit_that_finished_last_with_a_picture(journal: Journal) -> None:
    assert await journal.last(LOCAL) is None
    await finished(journal, new_task(1), at=3000.0)
    await finished(journal, new_task(2), at=2000.0)
    late = new_task(3)
    await journal.begin(late)
    await journal.ended(late, Status.FAILED, PROBLEM, 9000.0)
    last = await journal.last(LOCAL)
    assert last is not None
    assert last.id == "edit-1"


async def test_a_settled_edit_stays_as_it_is(journal: Journal) -> None:
    done = await finished(journal, new_task(), at=2000.0)
    assert await journal.ended(done, Status.FAILED, PROBLEM, 2001.0) == done
    assert await journal.processing(done) == done
    assert await journal.succeeded(done, (), seed=1, warnings=(), at=3000.0) == done


async def test_a_move_builds_on_what_another_process_wrote(journal: Journal, other: Journal) -> None:
    stale = new_task()
    await journal.begin(stale)
    await journal.accepted(stale, "up-1", 1001.0)
    moved = await other.processing(stale, PROBLEM)
    assert moved.task_id == "up-1"
    assert moved.error == PROBLEM


async def test_an_edit_whose_row_is_gone_is_written_down_anew(journal: Journal) -> None:
    await journal.begin(new_task(1))
    accepted = await journal.accepted(new_task(2), "up-2", 1.0)
    assert await journal.get("up-2", LOCAL) == accepted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each edit is a new one
@given(path=st.lists(st.sampled_from([s for s in Status if s is not Status.WAITING]), max_size=6))
async def test_no_sequence_of_events_leaves_the_legal_moves(path: list[Status], journal: Journal) -> None:
    number = next(NUMBERS)
    task = new_task(number, status=Status.WAITING)
    await journal.begin(task)
    steps = {
        Status.SUBMITTING: lambda: journal.sending(task),
        Status.QUEUED: lambda: journal.accepted(task, f"up-{number}", 1.0),
        Status.PROCESSING: lambda: journal.processing(task),
        Status.SUCCEEDED: lambda: journal.succeeded(task, (), seed=None, warnings=(), at=2.0),
        Status.FAILED: lambda: journal.ended(task, Status.FAILED, PROBLEM, 2.0),
        Status.UNKNOWN: lambda: journal.ended(task, Status.UNKNOWN, PROBLEM, 2.0),
    }
    status = Status.WAITING
    for target in path:
        moved = await steps[target]()
        legal = target in LEGAL_MOVES[status] or (target is status and status not in SETTLED)
        assert moved.status is (target if legal else status)
        status = moved.status
    assert (await journal.current([task]))[0].status is status


async def test_the_usual_time_is_learnt_roughly_from_few_edits_and_in_deciles_from_more(
    journal: Journal,
) -> None:
    for number in range(1, 10):
        known = await journal.usual_seconds("dev", "novita")
        assert (known and len(known)) == (None if number <= 5 else 2)
        await finished(journal, new_task(number), at=2000.0 + number, seconds=float(number))
    assert await journal.usual_seconds("dev", "novita") == pytest.approx(
        (1.8, 2.6, 3.4, 4.2, 5.0, 5.8, 6.6, 7.4, 8.2)
    )
    assert await journal.usual_seconds("dev", "sandbox") is None
    assert await journal.usual_seconds("pro", "novita") is None


async def test_what_is_learnt_are_upstreams_own_times_and_not_when_they_were_noticed(
    journal: Journal,
) -> None:
    """Else the next questions would come later, and what is learnt from them too, and so on."""
    for number in range(1, 21):
        await finished(journal, new_task(number), at=2000.0 + 60 * number, seconds=7.0)
    for number in range(21, 61):
        await finished(journal, new_task(number), at=9000.0 + 60 * number)
    assert await journal.usual_seconds("dev", "novita") == (7.0,) * 9, "of the last nobody knows how long"
    last = await journal.last(LOCAL)
    assert last is not None
    assert last.render_seconds is None


async def test_each_failure_is_told_on_the_event_loops_thread(journal: Journal) -> None:
    threads: list[threading.Thread] = []
    journal.on_failure.append(lambda: threads.append(threading.current_thread()))
    await journal.begin(new_task(1))
    await journal.begin(new_task(2))
    await journal.accepted(new_task(1), "up-1", 1.0)
    assert not threads
    with pytest.raises(JournalUnavailable):
        await journal.accepted(new_task(2), "up-1", 1.0)
    assert threads == [threading.current_thread()]


async def test_two_processes_share_it(journal: Journal, other: Journal) -> None:
    for number in range(1, 6):
        await (journal if number % 2 else other).begin(new_task(number))
    for number in range(1, 6):
        assert (await other.get(f"edit-{number}", LOCAL)).status is Status.SUBMITTING


async def test_a_failed_write_rolls_back_and_the_journal_works_on(journal: Journal) -> None:
    first, second = new_task(1), new_task(2)
    await journal.begin(first)
    await journal.begin(second)
    await journal.accepted(first, "up-1", 1.0)
    with pytest.raises(JournalUnavailable):
        await journal.accepted(second, "up-1", 1.0)
    assert (await journal.get("edit-2", LOCAL)).status is Status.SUBMITTING


async def test_what_a_process_lets_go_another_takes_over_at_once_but_not_a_submission_on_its_way(
    journal: Journal, other: Journal
) -> None:
    await journal.begin(new_task(1))
    accepted = await journal.accepted(await journal.begin(new_task(2)), "up-2", 1003.0)
    assert await other.adopt("novita", 1004.0) == []
    await journal.let_go()
    assert await other.adopt("novita", 1004.0) == [accepted]
