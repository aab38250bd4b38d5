"""Many edits at once, over several servers, and money for a few of them."""

import asyncio
import time
from collections import Counter
from collections.abc import Generator
from contextlib import AsyncExitStack
from pathlib import Path

import mcp_types as types
import pytest
from tests.billing import upstream
from tests.customers import PRICE, Household, answer, code, status

from kontext_edit.pricing import usd

SERVERS = 3
EDITS = 60
AFFORDABLE = 11
BUDGET = AFFORDABLE * PRICE + PRICE / 2


@pytest.fixture
def household(tmp_path: Path) -> Generator[Household]:
    """With a budget for some edits, on a day that does not end during the test."""
    noon = f"NOON{time.gmtime().tm_hour - 12:+d}"
    with upstream("0.2 seconds") as process:
        yield Household.furnished(tmp_path, process, KONTEXT_BUDGET_DAY_USD=str(BUDGET), TZ=noon)


async def test_of_sixty_edits_over_three_servers_exactly_those_are_bought_that_the_budget_pays_for(
    household: Household,
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(household.client()) for _ in range(SERVERS)]
        calls = (
            clients[number % SERVERS].call_tool("edit_image", household.edit(f"Brighter, number {number}"))
            for number in range(EDITS)
        )
        results = await asyncio.gather(*calls)
    assert Counter(status(result) or code(result) for result in results) == {
        "succeeded": AFFORDABLE,
        "budget_exceeded": EDITS - AFFORDABLE,
    }
    for result in results:
        if result.is_error:
            assert_tells_what_a_person_needs(result)
    assert len(household.upstream.billed()) == AFFORDABLE
    assert len(household.assert_only_whole_pictures()) == AFFORDABLE
    await household.books.assert_they_agree()


def assert_tells_what_a_person_needs(refusal: types.CallToolResult) -> None:
    error = answer(refusal)["error"]
    assert error["billed"] == "no"
    told = f"{error['message']} {error['hint']}"
    for words in (
        f"The day's budget is {usd(BUDGET)} USD",
        f"{usd(AFFORDABLE * PRICE)} USD is spent or reserved",
        f"this edit costs {usd(PRICE)} USD",
        "Nothing was sent.",
        "It starts anew at",
        "Only the person can raise it, with KONTEXT_BUDGET_DAY_USD",
    ):
        assert words in told
