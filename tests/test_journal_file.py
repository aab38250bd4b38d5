"""The journal's file: old ones are kept and brought up to date, and only a damaged one is set aside."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path

import pytest
from tests.test_faults import kept_aside
from tests.test_journal import PICTURE, PROBLEM, new_task

from kontext_edit.budget import Limit
from kontext_edit.errors import Billed, JournalUnavailable
from kontext_edit.journal import statements
from kontext_edit.journal.book import Journal
from kontext_edit.journal.file import open_file, transaction
from kontext_edit.journal.session import Session
from kontext_edit.task import LOCAL, SANDBOX, Status, Task

VERSION_1 = """
CREATE TABLE edits (
    id             TEXT PRIMARY KEY,
    task_id        TEXT UNIQUE,
    provider       TEXT NOT NULL,
    tier           TEXT NOT NULL,
    prompt         TEXT NOT NULL,
    parameters     TEXT NOT NULL,
    sources        TEXT NOT NULL,
    list_price_usd TEXT NOT NULL,
    status         TEXT NOT NULL,
    seed           INTEGER,
    pictures       TEXT NOT NULL DEFAULT '[]',
    warnings       TEXT NOT NULL DEFAULT '[]',
    error          TEXT,
    created_at     REAL NOT NULL,
    accepted_at    REAL,
    finished_at    REAL
) STRICT;
CREATE INDEX edits_by_age ON edits (created_at);
CREATE INDEX edits_by_tier ON edits (tier, status, finished_at);
PRAGMA user_version = 1;
"""
"""The first schema, as it was: journals of that time are still on people's disks."""

UNCLEAR = replace(PROBLEM, billed=Billed.MAYBE)
STATES: dict[str, dict[str, object]] = {
    "submitting": {"status": "submitting"},
    "queued": {"status": "queued", "task_id": "up-2", "accepted_at": 1002.0},
    "succeeded": {"status": "succeeded", "task_id": "up-3", "accepted_at": 1003.0, "finished_at": 1009.0},
    "failed": {"status": "failed", "error": json.dumps(asdict(PROBLEM))},
    "perhaps billed": {"status": "failed", "error": json.dumps(asdict(UNCLEAR))},
    "unknown": {"status": "unknown", "error": json.dumps(asdict(UNCLEAR))},
    "sandbox": {"status": "succeeded", "task_id": "up-7", "provider": SANDBOX, "finished_at": 1010.0},
}


def written_by_the_first_version(path: Path) -> None:
    """A journal with an edit in each state, as the first version of the program wrote it."""
    with closing(sqlite3.connect(path)) as file:
        file.executescript(VERSION_1)
        for number, changes in enumerate(STATES.values(), 1):
            task = new_task(number)
            pictures = [asdict(PICTURE) | {"path": str(PICTURE.path)}]
            row: dict[str, object] = {
                "id": task.id,
                "provider": task.provider,
                "tier": task.tier,
                "prompt": task.prompt,
                "parameters": json.dumps(task.parameters),
                "sources": json.dumps([asdict(source) for source in task.sources]),
                "list_price_usd": str(task.list_price_usd),
                "created_at": task.created_at,
                "pictures": json.dumps(pictures if changes["status"] == "succeeded" else []),
                "warnings": json.dumps(task.warnings),
            }
            row |= changes
            names = ", ".join(row)
            places = ", ".join(f":{name}" for name in row)
            file.execute(f"INSERT INTO edits ({names}) VALUES ({places})", row)  # noqa: S608 - our own names
        file.commit()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "home" / "journal.sqlite3")


@pytest.fixture
def old(tmp_path: Path) -> Journal:
    path = tmp_path / "journal.sqlite3"
    written_by_the_first_version(path)
    return Journal(path)


async def test_a_journal_of_the_first_version_is_kept_with_every_edit(old: Journal) -> None:
    kept = [task for _, task in reversed(await old.latest(LOCAL, limit=50))]
    assert [task.status for task in kept] == [changes["status"] for changes in STATES.values()]
    assert [task.prompt for task in kept] == [new_task(number).prompt for number in range(1, 8)]
    assert {task.owner for task in kept} == {LOCAL}
    assert kept[2].pictures == (PICTURE,)
    assert kept[3].error == PROBLEM
    assert kept[1].sources == new_task(2).sources
    assert kept_aside(old.path) == []


async def test_what_it_says_of_money_is_counted_from_then_on(old: Journal) -> None:
    (spending,) = await old.spendings([Limit("day", Decimal(5))], LOCAL, 1000.0)
    assert spending.spent_usd == 5 * Decimal("0.018"), "all but the refused one and the sandbox's"


async def test_an_edit_from_before_is_recognised_when_it_is_asked_for_again(old: Journal) -> None:
    for number, known in ((2, True), (3, False)):
        asked = new_task(number, id="edit-new")
        assert (await old.earlier(asked) is not None) is known, "what is done counts as delivered"


async def test_how_long_edits_from_before_took_is_known_as_well_as_it_can_be(old: Journal) -> None:
    assert (await old.get("up-3", LOCAL)).render_seconds == 1009 - 1003
    assert (await old.get("up-2", LOCAL)).render_seconds is None


async def test_an_edit_from_before_can_go_on(old: Journal) -> None:
    (taken, *_) = [task for task in await old.adopt("novita", 5000.0) if task.status is Status.QUEUED]
    done = await old.succeeded(taken, (PICTURE,), seed=1, warnings=(), at=5001.0)
    assert done.status is Status.SUCCEEDED
    assert (await old.begin(new_task(99))).id == "edit-99"


async def test_an_old_journal_that_two_processes_open_at_once_is_brought_up_to_date_once(
    old: Journal,
) -> None:
    other = Journal(old.path)
    assert len(await old.latest(LOCAL, limit=50)) == len(await other.latest(LOCAL, limit=50)) == len(STATES)


async def test_a_journal_of_a_newer_version_is_not_touched(old: Journal) -> None:
    await old.last(LOCAL)
    await old.close()
    with closing(sqlite3.connect(old.path)) as file:
        file.execute("PRAGMA user_version = 99")
    assert len(await old.latest(LOCAL, limit=50)) == len(STATES)
    with closing(sqlite3.connect(old.path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (99,)


def looking_damaged_once(patch: pytest.MonkeyPatch) -> None:
    """The next question finds what it reads damaged; the file is sound."""
    answer = statements.last_success
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    errors = [error]

    def damaged(session: Session, owner: str) -> Task | None:
        if errors:
            raise errors.pop()
        return answer(session, owner)

    patch.setattr(statements, "last_success", damaged)


async def test_a_sound_file_is_not_set_aside_for_what_was_read_before_it_took_that_place(
    old: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have set the damaged one aside a moment ago."""
    await old.last(LOCAL)
    looking_damaged_once(monkeypatch)
    assert await old.last(LOCAL) is not None
    assert old.notice is None
    assert kept_aside(old.path) == []


async def test_what_cannot_be_looked_at_is_not_set_aside(
    old: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking_damaged_once(monkeypatch)
    damaged, elsewhere = statements.last_success, old.path.with_name("elsewhere")

    def gone(session: Session, owner: str) -> Task | None:
        old.path.rename(elsewhere)
        old.path.mkdir()
        return damaged(session, owner)

    monkeypatch.setattr(statements, "last_success", gone)
    with pytest.raises(JournalUnavailable):
        await old.last(LOCAL)
    monkeypatch.undo()
    assert kept_aside(old.path) == []
    old.path.rmdir()
    elsewhere.rename(old.path)
    assert await old.last(LOCAL) is not None


@pytest.mark.parametrize(("synced", "level"), [(True, 2), (False, 1)])
def test_where_money_moves_a_write_is_on_the_disk(*, synced: bool, level: int, tmp_path: Path) -> None:
    with closing(open_file(tmp_path / "journal.sqlite3")) as connection:
        with transaction(connection, synced=synced):
            assert connection.execute("PRAGMA synchronous").fetchone()[0] == level
        with transaction(connection):
            assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


async def test_processes_that_make_the_file_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / str(number) / "journal.sqlite3"
        journals = [Journal(path) for _ in range(4)]
        await asyncio.gather(*(journal.last(LOCAL) for journal in journals))


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
    assert (await journal.get("edit-1", LOCAL)).status is Status.SUBMITTING
    (aside,) = journal.path.parent.glob("journal.sqlite3.damaged-*")
    assert aside.read_bytes() == diary
    assert journal.notice is not None
    assert str(aside) in journal.notice


async def test_closing_an_unopened_journal_is_fine(journal: Journal) -> None:
    await journal.close()
    assert not journal.path.exists()


async def test_callers_elsewhere_are_told_that_the_journal_is_unusable_and_not_where_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal.sqlite3").mkdir()
    journal = Journal(tmp_path / "journal.sqlite3", private=True)
    with pytest.raises(JournalUnavailable) as refused:
        await journal.last(LOCAL)
    assert str(tmp_path) not in f"{refused.value.message} {refused.value.hint}"
    assert str(tmp_path) in caplog.text


async def test_callers_elsewhere_are_told_that_a_journal_was_damaged_and_not_where_it_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"no database at all, but long enough to be taken for a page of one" * 100)
    journal = Journal(path, private=True)
    assert await journal.last(LOCAL) is None
    assert "was damaged and is kept aside" in (journal.notice or "")
    assert str(tmp_path) not in (journal.notice or "")
