"""Fixtures for all tests: a clock that costs no time, and an environment of the test's own."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.clock import FakeClock
from tests.postgres import database, place, postgres

from kontext_edit.journal.book import Journal

__all__ = ["KEY", "clock", "database", "environ", "no_journal_left_open", "place", "postgres"]

KEY = "sk_recognisable_0123456789"


@pytest.fixture
async def clock() -> AsyncGenerator[FakeClock]:
    fake = FakeClock()
    driver = asyncio.ensure_future(fake.drive())
    yield fake
    driver.cancel()
    with suppress(asyncio.CancelledError):
        await driver


@pytest.fixture(autouse=True)
def no_journal_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes the journals that a test opened: Python 3.13 warns of a connection that is merely forgotten."""
    opened: list[Journal] = []
    make = Journal.__init__

    def noted(journal: Journal, place: Path | SecretStr, *, private: bool = False) -> None:
        make(journal, place, private=private)
        opened.append(journal)

    monkeypatch.setattr(Journal, "__init__", noted)
    yield
    for journal in opened:
        asyncio.run(journal.close())


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A person without a key, whose folders are the test's."""
    (tmp_path / "in").mkdir()
    return {
        "KONTEXT_HOME": str(tmp_path / "home"),
        "KONTEXT_OUTPUT_DIR": str(tmp_path / "out"),
        "KONTEXT_ALLOWED_DIRS": str(tmp_path / "in"),
    }
