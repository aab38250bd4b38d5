"""Budgets: reserved before anything is sent, given back where nothing was billed, told when reached."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.clock import FakeClock
from tests.house import Api, Person, client, everything, opened, photo, text, wanted
from tests.test_journal import PICTURE, PROBLEM, new_task
from tests.upstreams import error, task_answer

from kontext_edit.budget import Limit, Period, Spending, refuse_beyond, what_fits
from kontext_edit.errors import Billed, BudgetExceeded
from kontext_edit.journal.book import Journal
from kontext_edit.task import LOCAL, SANDBOX, Status, Task

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",  # the clocks are put forward at midnight: some days begin at one o'clock
    "America/Havana",  # put back at one o'clock to midnight: some days have two midnights
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Pacific/Apia",  # 30 December 2011 was left out
    "Pacific/Kiritimati",
    "Australia/Lord_Howe",
]
DAY = Limit("day", Decimal("5.00"))
MONTH = Limit("month", Decimal("50.00"))


@pytest.fixture
def zone() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    time.tzset()


def move_to(zone: str, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("TZ", zone)
    time.tzset()


def at(text: str) -> float:
    """Seconds since the epoch of a moment in universal time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


moments = st.floats(at("2007-01-01"), at("2037-01-01")) | st.integers(
    int(at("2007-01-01")) // 900, int(at("2037-01-01")) // 900
).map(lambda quarter: quarter * 900.0)


@given(zone_name=st.sampled_from(ZONES), now=moments, period=st.sampled_from(["day", "month"]))
@example("America/Santiago", at("2026-09-06T04:30:00"), "day")
@example("America/Santiago", at("2026-09-06T03:30:00"), "day")
@example("America/Havana", at("2026-11-01T04:30:00"), "day")
@example("America/Havana", at("2026-11-01T05:30:00"), "day")
@example("Pacific/Apia", at("2011-12-30T12:00:00"), "day")
@example("Africa/Cairo", at("2026-04-23T22:30:00"), "day")
def test_a_window_is_the_local_day_or_month_around_a_moment(
    zone_name: str, now: float, period: Period
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        move_to(zone_name, patch)
        start, end = Limit(period, Decimal(1)).window(now)
        parts = 3 if period == "day" else 2
        today = time.localtime(now)[:parts]
        assert start <= now < end
        assert time.localtime(start)[:parts] == time.localtime(end - 1)[:parts] == today
        assert time.localtime(start - 1)[:parts] < today < time.localtime(end)[:parts]
        assert Limit(period, Decimal(1)).window(start) == Limit(period, Decimal(1)).window(end - 1)
    time.tzset()


@pytest.mark.parametrize(
    ("zone_name", "now", "hours"),
    [
        ("UTC", "2026-07-01T12:00:00", 24),
        ("Europe/Berlin", "2026-03-29T12:00:00", 23),
        ("Europe/Berlin", "2026-10-25T12:00:00", 25),
        ("America/Santiago", "2026-09-06T12:00:00", 23),
        ("America/Havana", "2026-11-01T12:00:00", 25),
        ("Australia/Lord_Howe", "2026-10-04T00:00:00", 23.5),
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(
    zone_name: str, now: str, hours: float, zone: pytest.MonkeyPatch
) -> None:
    move_to(zone_name, zone)
    start, end = DAY.window(at(now))
    assert (end - start) / 3600 == hours


def test_what_is_left_is_never_negative() -> None:
    assert Spending(DAY, Decimal("5.01"), 0).left_usd == 0
    assert Spending(DAY, Decimal("4.99"), 0).left_usd == Decimal("0.01")


def test_an_edit_that_uses_up_the_budget_to_the_last_cent_is_let_through() -> None:
    refuse_beyond([Spending(DAY, Decimal("4.964"), 0)], Decimal("0.036"))
    with pytest.raises(BudgetExceeded):
        refuse_beyond([Spending(DAY, Decimal("4.965"), 0)], Decimal("0.036"))


def test_a_refusal_says_all_that_the_assistant_has_to_tell(zone: pytest.MonkeyPatch) -> None:
    move_to("Europe/Berlin", zone)
    _, ends = MONTH.window(at("2026-11-21T12:00:00"))
    with pytest.raises(BudgetExceeded) as caught:
        refuse_beyond(
            [Spending(DAY, Decimal(0), ends), Spending(MONTH, Decimal("49.97"), ends)], Decimal("0.036")
        )
    assert caught.value.message == (
        "The month's budget is 50.00 USD: 49.97 USD is spent or reserved, and this edit costs 0.036 USD. "
        "Nothing was sent."
    )
    assert caught.value.hint == (
        "It starts anew at 2026-12-01 00:00. Only the person can raise it, with KONTEXT_BUDGET_MONTH_USD "
        "in the server's settings. What fits: dev with fast_mode (0.018 USD), dev (0.0225 USD)."
    )
    assert caught.value.billed is Billed.NO
    assert not caught.value.retryable


def test_what_fits_may_be_nothing() -> None:
    assert what_fits(Decimal("0.017")) == "No edit fits into what is left."
    assert "max (0.072 USD)" in what_fits(Decimal("0.072"))


async def spent(journal: Journal, limit: Limit = DAY, now: float = 2000.0) -> Decimal:
    (spending,) = await journal.spendings([limit], LOCAL, now)
    return spending.spent_usd


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.sqlite3")


PRICE = Decimal("0.018")


async def test_the_price_is_reserved_from_the_first_word_to_the_end(journal: Journal) -> None:
    task = new_task()
    await journal.begin(task, limits=[DAY])
    assert await spent(journal) == PRICE
    accepted = await journal.accepted(task, "up-1", 1.0)
    assert await spent(journal) == PRICE
    await journal.processing(accepted)
    assert await spent(journal) == PRICE
    await journal.succeeded(accepted, (PICTURE,), seed=1, warnings=(), at=2.0)
    assert await spent(journal) == PRICE


@pytest.mark.parametrize(
    ("status", "billed", "counts"),
    [
        (Status.FAILED, Billed.NO, False),
        (Status.FAILED, Billed.MAYBE, True),
        (Status.FAILED, Billed.YES, True),
        (Status.UNKNOWN, Billed.MAYBE, True),
    ],
)
async def test_only_what_was_certainly_not_billed_is_given_back(
    status: Status, billed: Billed, *, counts: bool, journal: Journal
) -> None:
    task = new_task()
    await journal.begin(task, limits=[DAY])
    await journal.ended(task, status, replace(PROBLEM, billed=billed), 2.0)
    assert await spent(journal) == (PRICE if counts else 0)


async def test_the_sandbox_never_counts_and_is_never_refused(journal: Journal) -> None:
    nothing = Limit("day", Decimal(0))
    task = new_task(provider=SANDBOX)
    assert await journal.begin(task, limits=[nothing]) is task
    assert await spent(journal) == 0


async def test_a_refused_edit_leaves_no_trace(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded):
        await journal.begin(new_task(), limits=[Limit("day", Decimal("0.017"))])
    assert await journal.latest(LOCAL, limit=1) == []
    assert await spent(journal) == 0


async def test_each_window_counts_what_was_begun_in_it(journal: Journal, zone: pytest.MonkeyPatch) -> None:
    move_to("UTC", zone)
    for number, day in enumerate(["2026-10-31", "2026-11-01", "2026-11-20", "2026-11-21"]):
        await journal.begin(new_task(number, created_at=at(f"{day}T23:59:59")))
    assert await spent(journal, DAY, at("2026-11-21T10:00:00")) == PRICE
    assert await spent(journal, MONTH, at("2026-11-21T10:00:00")) == 3 * PRICE
    assert await spent(journal, DAY, at("2026-11-22T00:00:00")) == 0
    assert await spent(journal, MONTH, at("2026-12-01T00:00:00")) == 0


async def test_a_clock_that_jumps_back_hides_no_spending(journal: Journal) -> None:
    tomorrow = at("2026-11-22T10:00:00")
    await journal.begin(new_task(1, created_at=tomorrow))
    limits = [Limit("day", PRICE)]
    with pytest.raises(BudgetExceeded):
        await journal.begin(new_task(2, created_at=tomorrow - 86_400), limits=limits)


async def begun_by(journal: Journal, tasks: list[Task], limits: list[Limit]) -> int:
    """How many of these edits are let through, all asked for at once."""
    answers = await asyncio.gather(
        *(journal.begin(task, limits=limits) for task in tasks), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert all(isinstance(answer, BudgetExceeded) for answer in refused)
    return len(answers) - len(refused)


async def test_many_at_once_over_several_connections_never_overspend(journal: Journal) -> None:
    journals = [journal, Journal(journal.path), Journal(journal.path)]
    limits = [Limit("day", 11 * PRICE + Decimal("0.017"))]
    begun = await asyncio.gather(
        *(
            begun_by(each, [new_task(100 * number + edit) for edit in range(20)], limits)
            for number, each in enumerate(journals)
        )
    )
    assert sum(begun) == 11
    assert await spent(journal) == 11 * PRICE


async def test_a_reached_budget_sends_nothing_and_no_argument_raises_it(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    arguments = {"prompt": "Make it blue", "images": [photo(environ)]}
    async with client(environ, api, clock, KONTEXT_BUDGET_DAY_USD="0.10") as assistant:
        for _ in range(2):
            await assistant.call_tool("edit_image", {**arguments, "force_new": True})
        refused = await assistant.call_tool("edit_image", {**arguments, "force_new": True})
        cheaper = await assistant.call_tool("edit_image", {**arguments, "tier": "dev"})
    assert refused.is_error
    assert refused.structured_content["error"]["code"] == "budget_exceeded"
    for part in (
        "0.10 USD",
        "0.072 USD is spent",
        "costs 0.036 USD",
        "KONTEXT_BUDGET_DAY_USD",
        "dev (0.0225",
    ):
        assert part in text(refused)
    assert cheaper.structured_content["status"] == "succeeded"
    assert len(api.bodies) == 3


async def test_the_next_day_starts_anew(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    source = photo(environ)
    async with opened(environ, api, clock, KONTEXT_BUDGET_DAY_USD="0.04") as app:
        await app.editor.edit(wanted(source), Person())
        with pytest.raises(BudgetExceeded):
            await app.editor.edit(wanted(source, force_new=True), Person())
        (_, ends) = DAY.window(clock.now())
        clock.jump(ends - clock.now())
        await app.editor.edit(wanted(source, force_new=True), Person())
    assert len(api.bodies) == 2


async def test_what_upstream_refused_can_be_spent_again(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock, on_submit=[error(400, "INVALID_REQUEST_BODY")] * 3)
    async with opened(environ, api, clock, KONTEXT_BUDGET_DAY_USD="0.04") as app:
        outcomes = [await app.editor.edit(wanted(photo(environ)), Person()) for _ in range(4)]
    assert [outcome.task.status for outcome in outcomes] == [*[Status.FAILED] * 3, Status.SUCCEEDED]


async def test_an_edit_that_failed_upstream_counts_since_it_may_be_billed(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, on_poll=[task_answer("FAILED")])
    async with opened(environ, api, clock, KONTEXT_BUDGET_DAY_USD="0.04") as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
        with pytest.raises(BudgetExceeded):
            await app.editor.edit(wanted(photo(environ)), Person())
    assert (outcome.task.status, outcome.task.billed) == (Status.FAILED, Billed.MAYBE)


async def test_both_limits_hold_and_the_one_that_is_reached_is_named(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock)
    more = {"KONTEXT_BUDGET_DAY_USD": "none", "KONTEXT_BUDGET_MONTH_USD": "0.04"}
    async with opened(environ, api, clock, **more) as app:
        await app.editor.edit(wanted(photo(environ)), Person())
        with pytest.raises(BudgetExceeded, match="The month's budget") as caught:
            await app.editor.edit(wanted(photo(environ), force_new=True), Person())
    assert "KONTEXT_BUDGET_MONTH_USD" in caught.value.hint


async def test_a_person_is_not_asked_for_what_the_budget_refuses(
    environ: dict[str, str], clock: FakeClock
) -> None:
    person = Person()
    more = {"KONTEXT_BUDGET_DAY_USD": "0.01", "KONTEXT_CONFIRM_ABOVE_USD": "0"}
    async with opened(environ, Api(clock), clock, **more) as app:
        with pytest.raises(BudgetExceeded):
            await app.editor.edit(wanted(photo(environ)), person)
        assert await everything(app) == []
    assert person.asked == []


async def test_an_estimate_tells_what_is_left(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    more = {"KONTEXT_BUDGET_DAY_USD": "1", "KONTEXT_BUDGET_MONTH_USD": "2.5"}
    async with client(environ | more, api, clock) as assistant:
        before = await assistant.call_tool("estimate_cost", {})
        await assistant.call_tool("edit_image", {"prompt": "Make it blue", "images": [photo(environ)]})
        after = await assistant.call_tool("estimate_cost", {})
    assert before.structured_content["budget_left_usd"] == {"day": "1.00", "month": "2.50"}
    assert after.structured_content["budget_left_usd"] == {"day": "0.964", "month": "2.464"}
    assert "Left for the day: 0.964 USD. Left for the month: 2.464 USD." in text(after)
