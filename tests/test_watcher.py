"""When upstream is asked, and that nothing it answers in between ends the wait."""

import logging

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.clock import FakeClock
from tests.upstreams import Answer, Upstream, error, task_answer

from kontext_edit.errors import TaskGone
from kontext_edit.novita import Novita, RemoteStatus, Result
from kontext_edit.tiers import TIERS
from kontext_edit.watcher import Watcher, pause_before_poll, progress_percent

usual_times = st.tuples(st.floats(0.5, 60), st.floats(0, 120)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def polls_until_seen(render: float, usual: tuple[float, float]) -> tuple[int, float]:
    """How often upstream is asked about an edit of that length, and how late its end is seen."""
    elapsed, polls = 0.0, 0
    while True:
        elapsed += pause_before_poll(elapsed, usual)
        polls += 1
        if elapsed >= render:
            return polls, elapsed - render


@given(elapsed=st.floats(0, 100_000), usual=usual_times)
def test_a_pause_is_never_too_short_for_upstream_nor_too_long_for_a_person(
    elapsed: float, usual: tuple[float, float]
) -> None:
    assert 0.3 <= pause_before_poll(elapsed, usual) <= max(15.0, usual[0])


@pytest.mark.parametrize("tier", TIERS)
def test_an_edit_of_usual_length_is_seen_within_a_second_for_at_most_fifteen_polls(tier: str) -> None:
    quick, slow = TIERS[tier].usual_seconds
    for step in range(21):
        polls, late = polls_until_seen(quick + (slow - quick) * step / 20, (quick, slow))
        assert polls <= 15
        assert late <= 1.5


def test_a_slow_edit_is_asked_about_ever_more_rarely() -> None:
    polls, late = polls_until_seen(600, (5, 14))
    assert polls < 80
    assert late <= 15


@given(times=st.lists(st.floats(0, 10_000), min_size=2, max_size=2).map(sorted), usual=usual_times)
def test_progress_never_goes_back_and_never_says_done(times: list[float], usual: tuple[float, float]) -> None:
    before, after = (progress_percent(time, usual) for time in times)
    assert 0 <= before <= after <= 99


async def watch(upstream: Upstream, clock: FakeClock, *, at_once: bool = False) -> tuple[Result, int]:
    told: list[None] = []

    async def on_processing() -> None:
        told.append(None)

    novita = Novita("https://api.example", SecretStr("k"), clock, upstream.transport)
    result = await Watcher(novita, clock).until_done(
        "t-1", since=clock.now(), usual=(5, 14), at_once=at_once, on_processing=on_processing
    )
    return result, len(told)


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ReadError("cut"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        error(500),
        error(502),
        error(429, "RATE_LIMIT_EXCEEDED", **{"Retry-After": "3"}),
        httpx.Response(200, content=b"<html>not json</html>"),
        error(401, "INVALID_API_KEY"),
        error(404, "TASK_NOT_FOUND"),
    ],
    ids=str,
)
async def test_a_poll_survives_anything(trouble: Answer, clock: FakeClock) -> None:
    upstream = Upstream(trouble, trouble, task_answer("SUCCEED", "https://cdn.example/1.png"))
    result, _ = await watch(upstream, clock)
    assert result.status is RemoteStatus.SUCCEED
    assert len(upstream.requests) == 3


async def test_processing_is_told_once(clock: FakeClock) -> None:
    steps = ["QUEUED", "QUEUED", "PROCESSING", "PROCESSING", "SUCCEED"]
    _, told = await watch(Upstream(*map(task_answer, steps)), clock)
    assert told == 1


async def test_an_unheard_of_status_is_taken_as_running_and_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        result, told = await watch(Upstream(task_answer("DREAMING"), task_answer("FAILED")), clock)
    assert result.status is RemoteStatus.FAILED
    assert told == 1
    assert "TASK_STATUS_DREAMING" in caplog.text


async def test_a_task_that_upstream_does_not_know_for_a_minute_is_gone(clock: FakeClock) -> None:
    began = clock.now()
    with pytest.raises(TaskGone):
        await watch(Upstream(error(404, "TASK_NOT_FOUND")), clock)
    assert 60 <= clock.now() - began <= 90


async def test_a_task_that_never_ends_is_given_up_after_a_day(clock: FakeClock) -> None:
    began = clock.now()
    with pytest.raises(TaskGone, match="within a day"):
        await watch(Upstream(task_answer("PROCESSING")), clock)
    assert 86_400 <= clock.now() - began <= 87_000


async def test_a_resumed_watch_asks_at_once(clock: FakeClock) -> None:
    began = clock.now()
    await watch(Upstream(task_answer("SUCCEED")), clock, at_once=True)
    assert clock.now() == began
