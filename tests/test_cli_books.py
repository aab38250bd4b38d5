"""The commands that read in the journal: earlier edits, and the ledger."""

import asyncio
import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from tests import loopback as loopbacks
from tests import shell
from tests.shell import Typed, an_edit, plain, written

from kontext_edit.task import NOVITA

loopback, typed = loopbacks.loopback, shell.typed

FIFTEEN_QUICK_EDITS = 15


async def three_edits(folder: Path) -> None:
    """Beside the quick ones on the sandbox: two that cost, and one that nobody knows about."""
    await written(
        folder / "home",
        an_edit("edit-a", task_id="up-a", provider=NOVITA, folder=folder),
        an_edit("edit-b", task_id="up-b", provider=NOVITA, tier="max"),
        an_edit("edit-c", provider=NOVITA),
    )


@pytest.fixture
def booked(typed: Typed, tmp_path: Path) -> Typed:

    asyncio.run(three_edits(tmp_path))
    return typed


def test_earlier_edits_are_listed_latest_first_with_their_ids(booked: Typed) -> None:
    ended = booked("tasks", "--limit", "3")
    assert ended.code == 0
    shown = plain(ended.out)
    assert shown.index("edit-c") < shown.index("up-b") < shown.index("up-a")
    assert "Edit edit-b" in shown
    assert "There are more: kontext-edit tasks --cursor" in ended.err


def test_a_cursor_goes_on_where_the_list_ended(booked: Typed) -> None:
    first = booked("tasks", "--limit", "2", "--json").answer
    second = booked("tasks", "--limit", "2", "--json", "--cursor", first["next_cursor"]).answer
    assert [row["task_id"] for row in first["tasks"]] == ["edit-c", "up-b"]
    assert second["tasks"][0]["task_id"] == "up-a"


def test_a_status_filters_the_list(booked: Typed) -> None:
    rows = booked("tasks", "--status", "queued", "--json").answer["tasks"]
    assert [row["task_id"] for row in rows] == ["edit-c", "up-b"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--status", "lost"), "`status` must be one of"),
        (("--limit", "51"), "`limit` must be a whole number from 1 to 50; got 51."),
        (("--cursor", "here"), "`cursor` must be the next_cursor"),
    ],
)
def test_a_bad_filter_is_told(booked: Typed, words: tuple[str, ...], says: str) -> None:
    ended = booked("tasks", *words)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err


def test_the_ledger_adds_up_by_day_and_tier(booked: Typed) -> None:
    ended = booked("spend")
    assert ended.code == 0
    shown = plain(ended.out).replace("┃", " ")
    assert "novita" in shown
    assert "sandbox" in shown
    assert "Left for the day: 5.00 of 5.00 USD." in ended.err


def test_the_ledger_exports_for_a_spreadsheet(booked: Typed) -> None:
    rows = list(csv.DictReader(io.StringIO(booked("spend", "--csv").out)))
    by_tier = {(row["tier"], row["provider"]): row for row in rows}
    paid = by_tier["pro", "novita"]
    assert (paid["edits"], paid["unclear"], paid["spent_usd"]) == ("2", "1", "0.072")
    assert by_tier["max", "novita"]["spent_usd"] == "0.036"
    assert by_tier["pro", "sandbox"]["spent_usd"] == "0"
    assert sum(Decimal(row["edits"]) for row in rows) == FIFTEEN_QUICK_EDITS + 3


def test_what_is_left_of_the_budget_is_told_with_the_prices_and_by_the_doctor(
    booked: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KONTEXT_BUDGET_MONTH_USD", "12")
    answer = booked("estimate", "--json").answer
    assert answer["budget_left_usd"] == {"day": "5.00", "month": "12.00"}
    checks = json.loads(booked("doctor", "--json").out)["checks"]
    assert [check["found"] for check in checks if check["name"] == "budget"] == [
        "5.00 of 5.00 USD left for the day",
        "12.00 of 12.00 USD left for the month",
    ]
    monkeypatch.setenv("KONTEXT_BUDGET_MONTH_USD", "0.01")
    assert "KONTEXT_BUDGET_MONTH_USD raises it" in booked("doctor").out


def test_the_doctor_names_a_journal_that_was_set_aside(booked: Typed, tmp_path: Path) -> None:
    (tmp_path / "home" / "journal.sqlite3.damaged-20260101-000000").write_text("")
    ended = booked("doctor")
    assert ended.code == 0
    assert "damaged-20260101-000000" in ended.out
