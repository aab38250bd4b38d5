"""The journal on PostgreSQL: several servers at once, a database that goes away, a password nobody reads."""

import asyncio
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import psycopg
import pytest
from pydantic import SecretStr
from tests.postgres import PASSWORD, Cluster, cluster
from tests.test_journal import PICTURE, finished, new_task

from kontext_edit.budget import Limit
from kontext_edit.errors import InvalidSettings, JournalUnavailable
from kontext_edit.journal.book import Journal
from kontext_edit.journal.database import Database
from kontext_edit.journal.postgres import PostgresSession
from kontext_edit.journal.rows import to_row
from kontext_edit.journal.tables import MIGRATIONS
from kontext_edit.task import LOCAL, Status, Task

AFFORDABLE = 11
PRICE = Decimal("0.018")

BUYER = """
import asyncio, sys
from decimal import Decimal
from pydantic import SecretStr
from tests.test_journal import new_task
from kontext_edit.budget import Limit
from kontext_edit.errors import BudgetExceeded
from kontext_edit.journal.book import Journal

async def main(url, first):
    journal = Journal(SecretStr(url))
    limits = [Limit("day", Decimal(sys.argv[3]))]
    async def begun(number):
        task = new_task(number, owner=f"token:{number % 5}", created_at=1000.0)
        try:
            await journal.begin(task, limits=limits)
        except BudgetExceeded:
            return "refused"
        return "begun"
    print(*await asyncio.gather(*(begun(number) for number in range(first, first + 20))))
    await journal.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture
def journal(database: SecretStr) -> Journal:
    return Journal(database)


@pytest.fixture
async def other(database: SecretStr) -> AsyncGenerator[Journal]:
    other = Journal(database)
    yield other
    await other.close()


@pytest.fixture
def own_server(postgres: Cluster) -> Generator[Cluster]:
    """A server that can be stopped without harm to other tests."""
    del postgres  # where none can be started, this one cannot either
    with cluster() as server:
        yield server


async def test_of_sixty_edits_begun_by_three_processes_exactly_those_begin_that_the_budget_pays_for(
    journal: Journal, database: SecretStr
) -> None:
    budget = AFFORDABLE * PRICE + PRICE / 2
    buyers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", BUYER, database.get_secret_value(), str(first), str(budget)),
            stdout=subprocess.PIPE,
        )
        for first in (100, 200, 300)
    ]
    said = [(await buyer.communicate())[0].decode().split() for buyer in buyers]
    assert Counter(word for words in said for word in words) == {"begun": AFFORDABLE, "refused": 49}
    (spending,) = await journal.spendings([Limit("day", budget)], LOCAL, 1000.0)
    assert spending.spent_usd == AFFORDABLE * PRICE


async def test_the_same_request_to_two_servers_at_once_is_bought_once(
    journal: Journal, other: Journal
) -> None:
    asked = [new_task(1, id=f"asked-{number}") for number in range(40)]
    begun = await asyncio.gather(
        *((journal, other)[number % 2].begin(task) for number, task in enumerate(asked))
    )
    assert len({task.id for task in begun}) == 1
    assert len(await journal.latest(LOCAL, limit=50)) == 1


async def test_two_servers_that_adopt_at_once_never_take_the_same_edit(
    journal: Journal, other: Journal
) -> None:
    await journal.begin_all([new_task(number, created_at=1000.0) for number in range(150)])
    rounds = await asyncio.gather(*(each.adopt("novita", 1020.0) for each in [journal, other] * 4))
    taken = Counter(task.id for tasks in rounds for task in tasks)
    assert set(taken.values()) == {1}
    assert len(taken) + len(await journal.adopt("novita", 1020.0)) == 150


async def test_servers_that_start_at_once_on_an_empty_database_all_work(database: SecretStr) -> None:
    journals = [Journal(database) for _ in range(6)]
    assert await asyncio.gather(*(journal.last(LOCAL) for journal in journals)) == [None] * 6
    with psycopg.connect(database.get_secret_value()) as connection:
        versions = connection.execute("SELECT version FROM journal_versions").fetchall()
    assert versions == [(number,) for number in range(1, len(MIGRATIONS) + 1)]


async def test_tables_of_the_first_version_are_kept_with_every_edit(
    journal: Journal, database: SecretStr
) -> None:
    row = to_row(new_task(task_id="up-1", status=Status.SUCCEEDED, accepted_at=1003.0, finished_at=1009.0))
    del row["render_seconds"]
    names, places = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    with psycopg.connect(database.get_secret_value()) as connection:
        connection.execute(MIGRATIONS[0].encode())
        connection.execute("CREATE TABLE journal_versions (version INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO journal_versions VALUES (1)")
        connection.execute(f"INSERT INTO edits ({names}) VALUES ({places})".encode(), row)  # noqa: S608 - our own names
    assert (await journal.get("up-1", LOCAL)).render_seconds == 1009 - 1003
    assert (await finished(journal, new_task(2), at=2000.0, seconds=7.0)).render_seconds == 7.0


async def test_tables_of_a_newer_version_are_not_touched(
    journal: Journal, other: Journal, database: SecretStr
) -> None:
    await journal.begin(new_task())
    with psycopg.connect(database.get_secret_value()) as connection:
        connection.execute("INSERT INTO journal_versions (version) VALUES (99)")
        connection.execute("ALTER TABLE edits ADD COLUMN newer TEXT")
    assert [task for _, task in await other.latest(LOCAL, limit=9)] == [new_task()]
    assert (await other.begin(new_task(2))).id == "edit-2"


async def test_what_another_server_does_is_told_here_as_it_happens(journal: Journal, other: Journal) -> None:
    assert not journal.hears_others
    heard: asyncio.Queue[Task] = asyncio.Queue()
    journal.on_move.append(heard.put_nowait)
    await journal.open()
    assert journal.hears_others
    task = await other.begin(new_task())
    assert await heard.get() == task
    accepted = await other.accepted(task, "up-1", 1002.0)
    assert await heard.get() == accepted
    done = await other.succeeded(accepted, (PICTURE,), seed=9, warnings=(), at=1009.0)
    assert await heard.get() == done
    await journal.close()
    assert not journal.hears_others


async def test_whoever_wants_to_be_told_is_without_asking_for_it(journal: Journal, other: Journal) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    journal.on_ring.append(heard.put_nowait)
    await journal.last(LOCAL)
    await journal.open()
    await other.ring("edit-1")
    assert await heard.get() == "edit-1"


async def test_a_move_that_is_rolled_back_is_told_to_nobody(journal: Journal, other: Journal) -> None:
    heard: asyncio.Queue[Task] = asyncio.Queue()
    journal.on_move.append(heard.put_nowait)
    await journal.open()
    await finished(other, new_task(1), at=1009.0)
    second = await other.begin(new_task(2))
    with pytest.raises(JournalUnavailable, match="duplicate key"):
        await other.accepted(second, "up-edit-1", 1010.0)
    accepted = await other.accepted(second, "up-edit-2", 1011.0)
    while (task := await heard.get()) != accepted:
        assert (task.id, task.status) != (second.id, Status.QUEUED)


async def test_a_database_that_was_away_is_used_again_and_what_was_missed_is_told(
    own_server: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    with own_server.database() as url:
        journal, other = Journal(url), Journal(url)
        heard: asyncio.Queue[Task] = asyncio.Queue()
        journal.on_move.append(heard.put_nowait)
        await journal.open()
        task = await journal.begin(new_task())
        assert await heard.get() == task
        await asyncio.to_thread(own_server.stop)
        with pytest.raises(JournalUnavailable, match="cannot be") as caught:
            (await journal.current([task]))[0]
        await asyncio.to_thread(own_server.start)
        with caplog.at_level(logging.WARNING):
            accepted = await other.accepted(task, "up-1", 1002.0)
            assert await heard.get() == accepted
        assert (await journal.current([task]))[0] == accepted
        await journal.close()
        await other.close()
    assert "operator" in caught.value.hint
    assert PASSWORD not in caught.value.message + caplog.text


async def test_connections_that_the_server_ended_are_replaced_unnoticed(
    journal: Journal, database: SecretStr
) -> None:
    await asyncio.gather(*(journal.begin(new_task(number)) for number in range(8)))
    with psycopg.connect(database.get_secret_value(), autocommit=True) as connection:
        ended = connection.execute(
            """
            SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'kontext-edit'
            """
        ).fetchone()
    assert ended is not None
    assert ended[0] > 0
    assert len(await journal.latest(LOCAL, limit=50)) == 8


async def test_where_no_database_answers_it_is_said_without_the_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = Journal(SecretStr(f"postgresql://kontext:{PASSWORD}@127.0.0.1:1/kontext"))
    with pytest.raises(JournalUnavailable, match="cannot be reached") as caught:
        await journal.begin(new_task())
    with pytest.raises(JournalUnavailable):
        await journal.open()
    assert "127.0.0.1:1/kontext" in caplog.text
    assert PASSWORD not in caplog.text + repr(caught.value) + journal.place
    await journal.close()


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://kontext:{PASSWORD}@db/kontext",
        f"postgresql://kontext:{PASSWORD}/2@db/kontext",
        f"postgresql://kontext:{PASSWORD}@more@db/kontext",
        f"postgresql://kontext:{PASSWORD}#@db/kontext",
        f"postgresql://kontext:{PASSWORD}%zz@db/kontext",
        f"postgresql://kontext@db:{PASSWORD}/kontext",
        f"postgresql://kontext@db/kontext?pass={PASSWORD}",
        PASSWORD,
    ],
)
def test_what_is_no_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(InvalidSettings, match="percent-encoded") as caught:
        Journal(SecretStr(url))
    assert PASSWORD not in str(caught.value)
    assert caught.value.__context__ is None


def test_several_hosts_can_be_named() -> None:
    database = Database(SecretStr(f"postgresql://kontext:{PASSWORD}@one:5432,two:5433/kontext"))
    assert database.place == "postgresql://one,two:5432,5433/kontext"


async def test_a_password_in_the_urls_query_is_not_told_either(caplog: pytest.LogCaptureFixture) -> None:
    database = Database(SecretStr(f"postgresql:///kontext?host=/nowhere&user=x&password={PASSWORD}"))
    assert PASSWORD not in database.place
    assert PASSWORD not in database.words(psycopg.OperationalError(f"who sent {PASSWORD}?"))
    assert PASSWORD not in caplog.text


def test_without_the_driver_the_error_says_what_to_install() -> None:
    hidden = """
import sys
sys.modules["psycopg"] = None
from pathlib import Path
from pydantic import SecretStr
from kontext_edit.journal.book import Journal
Journal(Path("journal.sqlite3"))
try:
    Journal(SecretStr("postgresql://db/kontext"))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=True)  # noqa: S603 - this Python
    assert done.stdout.startswith("InvalidSettings")
    assert "pip install 'kontext-edit[postgres]'" in done.stdout


def test_the_driver_is_imported_only_for_a_url() -> None:
    used = """
import sys
from pathlib import Path
from kontext_edit.journal.book import Journal
Journal(Path("journal.sqlite3"))
print([name for name in sys.modules if name.startswith("psycopg")])
"""
    done = subprocess.run([sys.executable, "-c", used], capture_output=True, text=True, check=True)  # noqa: S603 - this Python
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("synced", "level"), [(True, "on"), (False, "off")])
def test_where_money_moves_a_write_is_on_the_disk(*, synced: bool, level: str, database: SecretStr) -> None:
    with Database(database).connect() as connection:
        session = PostgresSession(connection)
        with session.transaction(synced=synced):
            row = session.row("SHOW synchronous_commit")
    assert row == {"synchronous_commit": level}


@pytest.mark.parametrize(
    ("synced", "found"), [(True, {"id": 1}), (False, {"id": 1, "synchronous_commit": "off"})]
)
def test_so_is_a_write_that_is_a_transaction_by_itself(
    *, synced: bool, found: dict[str, object], database: SecretStr
) -> None:
    with Database(database).connect() as connection:
        session = PostgresSession(connection)
        session.write("CREATE TEMPORARY TABLE things (id INTEGER)")
        assert session.change("INSERT INTO things VALUES (1) RETURNING id", synced=synced) == found
        assert session.row("SHOW synchronous_commit") == {"synchronous_commit": "on"}


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "America/New_York", "Asia/Kathmandu"])
async def test_the_ledgers_days_are_those_of_this_process(
    zone: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over both changes of the clocks, at every hour."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        start = datetime(2026, 2, 20, tzinfo=ZoneInfo("UTC")).timestamp()
        times = [start + 3600 * hour for hour in range(0, 24 * 300, 7)]
        await journal.begin_all(
            [new_task(number, created_at=at) for number, at in enumerate(times)], force_new=True
        )
        days = Counter(datetime.fromtimestamp(at, ZoneInfo(zone)).date().isoformat() for at in times)
        rows = await journal.ledger()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert {row.day: row.edits for row in rows} == days
    assert [row.day for row in rows] == sorted(days, reverse=True)
    assert sum(row.spent_usd for row in rows) == len(times) * PRICE


async def test_money_is_exact(journal: Journal) -> None:
    prices = [Decimal("0.1"), Decimal("0.2"), Decimal("0.000001"), Decimal("12345.678901")]
    for number, price in enumerate(prices):
        await journal.begin(new_task(number, list_price_usd=price))
        assert (await journal.get(f"edit-{number}", LOCAL)).list_price_usd == price
    (spending,) = await journal.spendings([Limit("day", Decimal(1))], LOCAL, 1000.0)
    assert spending.spent_usd == sum(prices)


async def test_moves_of_many_edits_at_once_over_two_servers_all_arrive(
    journal: Journal, other: Journal
) -> None:
    """Leases renewed, batches put together and edits moved at the same time wait for nobody in a circle."""
    tasks = [new_task(number) for number in range(30)]
    await journal.begin_all(tasks)
    ids = [task.id for task in tasks]
    again = [new_task(number, id=f"again-{number}", batch="batch-1") for number in reversed(range(30))]
    moves = [
        (journal, other)[number % 2].accepted(task, f"up-{number}", 1002.0)
        for number, task in enumerate(tasks)
    ]
    await asyncio.gather(
        *moves,
        *(journal.renew(ids[::step], 1003.0) for step in (1, -1) * 5),
        *(other.begin_all(again) for _ in range(5)),
        *(other.adopt("novita", 1003.0) for _ in range(5)),
    )
    assert {task.status for task in await other.in_batch("batch-1", LOCAL)} == {Status.QUEUED}
