"""The pace towards upstream: free until a 429 is heard, then near upstream's limit, over all processes."""

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.clock import FakeClock
from tests.upstreams import error

from kontext_edit.errors import JournalUnavailable, RateLimited
from kontext_edit.journal.book import Journal
from kontext_edit.novita import Novita
from kontext_edit.pace import LONGEST_PAUSE_SECONDS, OwnNoticeboard, Pace, Pacemaker

NOW = 1_790_000_000.0
FIRST = 0.25

times = st.floats(0, 4e9)
paces = st.builds(Pace, st.floats(0, 10), times, times, times)


def slow(interval: float = 2.0, slot_at: float = NOW) -> Pace:
    return Pace(interval=interval, slot_at=slot_at, slowed_at=NOW)


def test_while_nothing_was_refused_nothing_waits() -> None:
    pace = Pace()
    for second in range(100):
        pace, start = pace.taken(NOW + second / 10)
        assert start == NOW + second / 10


def test_after_a_refusal_slots_are_an_interval_apart() -> None:
    pace, starts = slow(), list[float]()
    for _ in range(5):
        pace, start = pace.taken(NOW)
        starts.append(start - NOW)
    assert starts == [2, 4, 6, 8, 10]


def test_a_first_refusal_begins_with_an_interval_and_further_ones_make_it_longer() -> None:
    once = Pace().refused(NOW, None, sent_at=NOW - 1, first=FIRST)
    twice = once.refused(NOW + 5, None, sent_at=NOW + 4, first=FIRST)
    assert once.interval == FIRST
    assert twice.interval > once.interval


def test_refusals_of_what_left_before_the_slowing_down_are_one() -> None:
    pace = Pace()
    for _ in range(8):
        pace = pace.refused(NOW, 3, sent_at=NOW - 1, first=FIRST)
    assert pace.interval == FIRST
    assert pace.paused_until == NOW + 3


def test_retry_after_is_a_pause_for_all_that_no_later_answer_shortens() -> None:
    pace = Pace().refused(NOW, 30, sent_at=NOW - 1, first=FIRST)
    pace = pace.refused(NOW + 1, None, sent_at=NOW - 0.5, first=FIRST)
    assert pace.taken(NOW + 1)[1] == NOW + 30


def test_no_word_of_upstream_stops_everything_for_longer_than_a_minute() -> None:
    pace = Pace().refused(NOW, 86_400, sent_at=NOW - 1, first=FIRST)
    assert pace.taken(NOW)[1] == NOW + LONGEST_PAUSE_SECONDS


def test_successes_make_it_faster_until_the_limit_is_forgotten() -> None:
    pace, intervals = slow(interval=1.0), list[float]()
    for _ in range(600):
        pace = pace.went_well()
        intervals.append(pace.interval)
    assert intervals == sorted(intervals, reverse=True)
    assert 0.5 < intervals[50] < 1
    assert intervals[-1] == 0
    assert slow(interval=1.0).went_well(600).interval == 0


def test_a_quarter_of_an_hour_without_a_refusal_the_limit_is_forgotten() -> None:
    _, start = slow(interval=9, slot_at=NOW + 1000).taken(NOW + 1000)
    assert start == NOW + 1000


def test_a_slot_that_a_wrong_clock_gave_is_not_waited_for() -> None:
    in_a_year = NOW + 365 * 86_400
    for pace in (slow(slot_at=in_a_year), Pace(paused_until=in_a_year), Pace(slowed_at=in_a_year)):
        after, start = pace.taken(NOW)
        assert start == NOW
        assert after.taken(NOW)[1] <= NOW + 15


@given(pace=paces, now=times)
def test_a_slot_is_never_in_the_past_and_never_absurdly_far(pace: Pace, now: float) -> None:
    after, start = pace.taken(now)
    assert now <= start <= now + 900
    assert after.slot_at == start


@given(
    pace=paces,
    now=times,
    sent=times,
    retry_after=st.one_of(st.none(), st.floats(0, 1e6)),
    first=st.floats(0.01, 1),
)
def test_a_refusal_never_makes_it_faster_and_its_pause_is_bounded(
    pace: Pace, now: float, sent: float, retry_after: float | None, first: float
) -> None:
    after = pace.refused(now, retry_after, sent_at=sent, first=first)
    assert pace.interval <= after.interval <= 15
    assert now <= after.paused_until <= now + LONGEST_PAUSE_SECONDS


@given(pace=paces)
def test_it_comes_back_from_the_journal_as_it_was(pace: Pace) -> None:
    assert Pace.read(pace.written()) == pace


@pytest.mark.parametrize(
    "written", [None, "", "{}", "[]", "nonsense", '{"more": 1}', '{"interval": null}', "7"]
)
def test_what_is_missing_or_unreadable_is_a_free_pace(written: str | None) -> None:
    assert Pace.read(written) == Pace()


class CountingBoard(OwnNoticeboard):
    """A board that counts its transactions, and may be out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions = 0
        self.broken = False

    async def shared(self, name: str, change: Callable[[str | None], str]) -> str:
        if self.broken:
            raise JournalUnavailable("locked")
        self.transactions += 1
        await asyncio.sleep(0)
        return await super().shared(name, change)


async def test_without_a_refusal_a_slot_is_one_transaction_and_no_waiting(clock: FakeClock) -> None:
    board = CountingBoard()
    pacemaker = Pacemaker(clock, board)
    for _ in range(20):
        await pacemaker.slot()
        pacemaker.went_well()
    assert board.transactions == 20
    assert clock.slept == []


async def test_a_process_that_shares_with_nobody_waits_only_after_a_refusal(clock: FakeClock) -> None:
    pacemaker = Pacemaker(clock)
    await asyncio.gather(*(pacemaker.slot() for _ in range(50)))
    assert clock.slept == []
    await pacemaker.refused(None, sent_at=clock.now())
    starts = await asyncio.gather(*(pacemaker.slot() for _ in range(5)))
    assert all(later - earlier == pytest.approx(FIRST, abs=1e-6) for earlier, later in pairwise(starts))


async def test_what_one_process_hears_slows_the_other(clock: FakeClock) -> None:
    board = OwnNoticeboard()
    one, other = Pacemaker(clock, board), Pacemaker(clock, board)
    await one.refused(12, sent_at=clock.now())
    began = clock.now()
    await other.slot()
    assert clock.now() - began == pytest.approx(12)


async def test_processes_share_their_pace_through_the_journal(tmp_path: Path, clock: FakeClock) -> None:
    journals = [Journal(tmp_path / "journal.sqlite3") for _ in range(2)]
    one, other = (Pacemaker(clock, journal) for journal in journals)
    await one.refused(2, sent_at=clock.now())
    began = clock.now()
    slots = await asyncio.gather(*(pacemaker.slot() for pacemaker in (one, other) for _ in range(10)))
    starts = sorted(slots)
    assert starts[0] == began + 2
    assert all(later - earlier >= FIRST - 1e-6 for earlier, later in pairwise(starts))
    assert len(set(starts)) == 20
    for journal in journals:
        await journal.close()


async def test_a_refusal_while_a_slot_is_waited_for_is_heeded(clock: FakeClock) -> None:
    pacemaker = Pacemaker(clock)
    await pacemaker.refused(2, sent_at=clock.now())
    began = clock.now()
    waiting = asyncio.create_task(pacemaker.slot())
    await clock.sleep(1)
    await pacemaker.refused(20, sent_at=clock.now())
    await waiting
    assert clock.now() - began >= 21


async def test_a_lone_request_is_behind_one_of_another_process_and_not_behind_all(clock: FakeClock) -> None:
    board = OwnNoticeboard()
    await board.shared(
        "pace", lambda _: Pace(interval=1, slot_at=clock.now(), slowed_at=clock.now()).written()
    )
    flooding, lone = Pacemaker(clock, board), Pacemaker(clock, board)
    flood = [asyncio.create_task(flooding.slot()) for _ in range(500)]
    await clock.sleep(3.5)
    began = clock.now()
    await lone.slot()
    assert clock.now() - began <= 2
    for waiting in flood:
        waiting.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_a_clock_that_is_put_back_holds_nothing_up(clock: FakeClock) -> None:
    pacemaker = Pacemaker(clock)
    await pacemaker.refused(60, sent_at=clock.now())
    clock.jump(-86_400)
    began = clock.monotonic()
    for _ in range(3):
        await pacemaker.slot()
    assert clock.monotonic() - began <= 1


async def test_whoever_goes_away_does_not_hold_up_the_others(clock: FakeClock) -> None:
    pacemaker = Pacemaker(clock)
    await pacemaker.refused(5, sent_at=clock.now())
    first, second = (asyncio.create_task(pacemaker.slot()) for _ in range(2))
    await clock.sleep(1)
    first.cancel()
    assert await second


async def test_a_slot_too_far_away_is_refused_and_not_taken(clock: FakeClock) -> None:
    board = OwnNoticeboard()
    pacemaker = Pacemaker(clock, board)
    await pacemaker.refused(50, sent_at=clock.now())
    before = await board.shared("pace", lambda fact: fact or "")
    with pytest.raises(RateLimited, match="in 50 s"):
        await pacemaker.slot(give_up_after=20)
    assert clock.slept == []
    assert await board.shared("pace", lambda fact: fact or "") == before


async def test_while_the_journal_cannot_be_used_each_process_goes_on_by_what_it_knows(
    clock: FakeClock,
) -> None:
    board = CountingBoard()
    pacemaker = Pacemaker(clock, board)
    await pacemaker.refused(None, sent_at=clock.now())
    board.broken = True
    starts = [await pacemaker.slot() for _ in range(4)]
    assert all(later - earlier >= FIRST - 1e-6 for earlier, later in pairwise(starts))


class Bucket:
    """An upstream that takes `rate` edits a second, `burst` at once, and refuses what is more."""

    def __init__(self, clock: FakeClock, rate: float, burst: int, retry_after: str | None) -> None:
        self.clock, self.rate, self.burst = clock, rate, float(burst)
        self.tokens, self.at = self.burst, clock.now()
        self.headers = {"Retry-After": retry_after} if retry_after else {}
        self.taken = self.refused = 0

    async def __call__(self, _: httpx.Request) -> httpx.Response:
        await self.clock.sleep(0.4)
        now = self.clock.now()
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            self.refused += 1
            return error(429, "RATE_LIMIT_EXCEEDED", **self.headers)
        self.tokens -= 1
        self.taken += 1
        return httpx.Response(200, json={"task_id": f"t-{self.taken}"})


@pytest.mark.parametrize(
    ("rate", "burst", "retry_after"), [(2.0, 4, None), (5.0, 10, "1"), (0.5, 30, None), (1.0, 60, "20")]
)
async def test_hundreds_of_edits_over_two_processes_pass_a_limit_that_nobody_told(
    rate: float, burst: int, retry_after: str | None, clock: FakeClock
) -> None:
    """None fails, few are refused, and upstream is used well."""
    edits, dice = 240, random.Random(1)  # noqa: S311 - the same turns in every run
    bucket, board = Bucket(clock, rate, burst, retry_after), OwnNoticeboard()
    clients = [
        Novita(
            "https://api.example",
            SecretStr("k"),
            clock,
            httpx.MockTransport(bucket),
            pace=Pacemaker(clock, board),
        )
        for _ in range(2)
    ]
    places = [asyncio.Semaphore(8) for _ in clients]

    async def submit() -> None:
        which = dice.randrange(2)
        async with places[which]:
            await clients[which].submit("/x", {})

    began = clock.now()
    await asyncio.gather(*(submit() for _ in range(edits)))
    took = clock.now() - began
    assert bucket.taken == edits
    assert bucket.refused <= edits * 0.2
    assert took <= 2 * (edits - burst) / rate + 30
