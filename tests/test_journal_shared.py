"""What processes share beside edits: facts, tokens, words; and how each hears of the others' moves."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.clock import FakeClock
from tests.test_journal import PROBLEM, new_task

from kontext_edit.app import open_for_many
from kontext_edit.errors import InvalidArguments, JournalUnavailable
from kontext_edit.journal.book import Journal
from kontext_edit.journal.facts import Token
from kontext_edit.journal.news import News
from kontext_edit.settings import read_settings
from kontext_edit.task import LOCAL, Status, Task
from kontext_edit.telemetry import Measures


@pytest.fixture
def journal(place: Path | SecretStr) -> Journal:
    return Journal(place)


@pytest.fixture
def other(place: Path | SecretStr) -> Journal:
    return Journal(place)


def one_more(before: str | None) -> str:
    return str(int(before or 0) + 1)


async def test_a_shared_fact_that_many_change_at_once_misses_no_change(
    journal: Journal, other: Journal
) -> None:
    counted = await asyncio.gather(*(each.shared("pace", one_more) for each in [journal, other] * 20))
    assert sorted(map(int, counted)) == list(range(1, 41))
    assert await other.shared("pace", lambda before: before or "") == "40"
    assert await other.shared("secret", lambda before: before or "new") == "new"


async def test_a_change_that_fails_leaves_the_fact_as_it_was(journal: Journal) -> None:
    await journal.shared("pace", one_more)
    with pytest.raises(ZeroDivisionError):
        await journal.shared("pace", lambda before: str(1 // (int(before or 0) - 1)))
    assert await journal.shared("pace", lambda before: before or "gone") == "1"


async def test_tokens_are_known_by_their_digests_until_they_are_removed(
    journal: Journal, other: Journal
) -> None:
    await journal.add_token("ben", "d1", ["read"], 1000.0)
    await journal.add_token("Ann", "d2", ["edit", "read"], 1001.0)
    ann = Token("Ann", "d2", ("edit", "read"), 1001.0)
    assert await other.token("d2") == ann
    assert await other.token("d3") is None
    assert [token.name for token in await other.tokens()] == ["Ann", "ben"]
    with pytest.raises(InvalidArguments, match="'ben' already"):
        await other.add_token("ben", "d3", ["edit"], 1002.0)
    assert await other.remove_token("ben")
    assert not await other.remove_token("ben")
    assert await journal.tokens() == [ann]


async def test_a_server_for_many_counts_how_often_its_journal_failed(
    environ: dict[str, str], clock: FakeClock
) -> None:
    failures: list[None] = []

    class Counting(Measures):
        def database_failed(self) -> None:
            failures.append(None)

    settings = read_settings(environ | {"KONTEXT_AUTH": "tokens", "NOVITA_API_KEY": "key"})
    app = await open_for_many(settings, address="http://localhost", clock=clock, measures=Counting())
    await app.journal.close()
    app.journal.path.unlink()
    app.journal.path.mkdir()
    for number in (1, 2):
        with pytest.raises(JournalUnavailable):
            await app.journal.last(LOCAL)
        assert len(failures) == number
    await app.close()


async def test_a_word_is_heard_by_the_process_that_says_it(journal: Journal) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    journal.on_ring.append(heard.put_nowait)
    await journal.open()
    await journal.ring("edit-1 has its picture — 写真")
    assert await heard.get() == "edit-1 has its picture — 写真"


async def test_each_move_is_told_once_and_in_order_though_it_is_heard_of_twice(journal: Journal) -> None:
    told: list[Status] = []
    journal.on_move.append(lambda task: told.append(task.status))
    await journal.open()
    task = await journal.begin(new_task())
    task = await journal.accepted(task, "up-1", 1002.0)
    task = await journal.processing(task)
    await journal.ended(task, Status.FAILED, PROBLEM, 1003.0)
    done = asyncio.Event()
    journal.on_ring.append(lambda _: done.set())
    await journal.ring("that was all")
    await done.wait()
    assert told == [Status.SUBMITTING, Status.QUEUED, Status.PROCESSING, Status.FAILED]


async def nothing(_: object) -> list[Task]:
    return []


async def test_the_memory_of_what_was_seen_is_bounded() -> None:
    news, told = News(nothing), list[str]()
    news.on_move.append(lambda task: told.append(task.id))
    first = new_task(0)
    news.noticed([first])
    news.noticed([first])
    assert told == ["edit-0"]
    news.noticed(replace(first, id=f"edit-{number}") for number in range(1, 10_001))
    told.clear()
    news.noticed([replace(first, id="edit-10000"), first])
    assert told == ["edit-0"], "only what nobody heard of for so long is news again"


async def test_an_unclear_edit_that_turns_up_is_news(journal: Journal) -> None:
    told: list[Status] = []
    journal.on_move.append(lambda task: told.append(task.status))
    task = await journal.begin(new_task())
    await journal.ended(task, Status.UNKNOWN, PROBLEM, 1002.0)
    await journal.accepted(task, "up-1", 1003.0)
    assert told == [Status.SUBMITTING, Status.UNKNOWN, Status.QUEUED]
