"""What the journal has to tell: prices against the budget, earlier edits, and the ledger."""

import csv
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from kontext_edit.app import open_journal
from kontext_edit.budget import Spending
from kontext_edit.clock import SystemClock
from kontext_edit.journal.book import Journal
from kontext_edit.journal.statements import LedgerRow
from kontext_edit.pricing import usd
from kontext_edit.request import parse_estimate, parse_list
from kontext_edit.results import Structured
from kontext_edit.settings import Settings
from kontext_edit.task import LOCAL
from kontext_edit.tools import estimated, listed

LEDGER_COLUMNS = ("day", "tier", "provider", "edits", "unclear", "spent_usd")


async def prices(arguments: dict[str, Any], settings: Settings) -> Structured:
    """The structured content of `estimate_cost`.

    Raises:
        KontextError: no price can be told.
    """
    call = parse_estimate(arguments)
    async with _journal(settings) as journal:
        spendings = await journal.spendings(settings.limits, LOCAL, SystemClock().now())
    return estimated(call, settings.provider, spendings).structured_content or {}


async def tasks(arguments: dict[str, Any], settings: Settings) -> Structured:
    """The structured content of `list_tasks`.

    Raises:
        KontextError: the edits cannot be told.
    """
    call = parse_list(arguments)
    async with _journal(settings) as journal:
        return (await listed(call, journal, LOCAL)).structured_content or {}


async def spent(settings: Settings) -> tuple[list[LedgerRow], list[Spending]]:
    """The ledger, and what is left of each budget.

    Raises:
        JournalUnavailable: the journal cannot be read.
    """
    async with _journal(settings) as journal:
        return await journal.ledger(), await journal.spendings(settings.limits, LOCAL, SystemClock().now())


def cells(row: LedgerRow) -> tuple[str, ...]:
    """A row of the ledger as texts, in the order of LEDGER_COLUMNS."""
    return row.day, row.tier, row.provider, str(row.edits), str(row.unclear), usd(row.spent_usd)


def put_csv(rows: list[LedgerRow]) -> None:
    """The ledger for a spreadsheet, on stdout."""
    writer = csv.writer(sys.stdout)
    writer.writerow(LEDGER_COLUMNS)
    writer.writerows(map(cells, rows))


async def with_journal(settings: Settings, work: Callable[[Journal], Awaitable[None]]) -> None:
    """Do something with the journal.

    Raises:
        KontextError: what `work` raises, or that the journal cannot be used.
    """
    async with _journal(settings) as journal:
        await work(journal)


@asynccontextmanager
async def _journal(settings: Settings) -> AsyncGenerator[Journal]:
    journal = open_journal(settings)
    try:
        yield journal
    finally:
        await journal.close()
