"""When upstream is asked, and that nothing it answers in between ends the wait."""

import asyncio
import logging
from collections.abc import Awaitable
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.clock import FakeClock
from tests.upstreams import Answer, Upstream, error, task_answer

from kontext_edit.errors import TaskGone
from kontext_edit.novita import Novita, RemoteStatus, Result
from kontext_edit.polling import Usual
from kontext_edit.watcher import Watcher, progress_percent

usual_times = st.tuples(st.floats(0, 60), st.floats(0, 120)).map(lambda pair: (pair[0], pair[0] + pair[1]))


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


# The bell


class Edit:
    """An edit that is done after so many seconds, and the moments at which it is asked about."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self.clock, self.seconds, self.since = clock, seconds, clock.now()
        self.asked: list[float] = []
        self.watcher = Watcher(
            Novita("https://api.example", SecretStr("k"), clock, httpx.MockTransport(self.answer)), clock
        )

    def answer(self, _: httpx.Request) -> httpx.Response:
        self.asked.append(self.clock.now() - self.since)
        return task_answer("SUCCEED" if self.asked[-1] >= self.seconds else "PROCESSING")

    async def seen(
        self, *, bell: str | None = "edit-1", at_once: bool = False, usual: Usual = (5, 14)
    ) -> tuple[float, Result]:
        """When its end is seen, and how."""

        async def on_processing() -> None:
            pass

        result = await self.watcher.until_done(
            "t-1", since=self.since, usual=usual, at_once=at_once, bell=bell, on_processing=on_processing
        )
        return self.clock.now() - self.since, result

    async def rings(self, *moments: float) -> None:
        for moment in moments:
            await self.clock.sleep(self.since + moment - self.clock.now())
            self.watcher.ring("edit-1")


async def together(*work: Awaitable[object]) -> None:
    await asyncio.gather(*work)


async def test_a_ring_is_answered_by_a_question_at_once(clock: FakeClock) -> None:
    edit = Edit(clock, 7)
    (when, _), _ = await asyncio.gather(edit.seen(), edit.rings(7.01))
    assert when == pytest.approx(7.01)
    assert len(edit.asked) == 1


async def test_a_ring_before_anybody_watches_is_not_lost(clock: FakeClock) -> None:
    edit = Edit(clock, 0)
    edit.watcher.ring("edit-1")
    when, _ = await edit.seen()
    assert when == 0
    edit.asked.clear()
    await edit.seen()
    assert edit.asked[0] > 5, "it is heard once"


async def test_rings_that_nobody_waits_for_do_not_heap_up(clock: FakeClock) -> None:
    edit = Edit(clock, 0)
    edit.watcher.ring("edit-1")
    for number in range(5_000):
        edit.watcher.ring(f"other-{number}")
    when, _ = await edit.seen()
    assert when > 5


async def test_a_storm_of_untrue_rings_is_one_question_a_second(clock: FakeClock) -> None:
    edit = Edit(clock, 12)
    await together(edit.seen(), edit.rings(*(number / 50 for number in range(600))))
    assert all(later - earlier >= 0.99 for earlier, later in pairwise(edit.asked))
    assert len(edit.asked) <= 14


async def test_an_edit_that_rings_before_its_result_can_be_had_is_asked_again_soon(clock: FakeClock) -> None:
    edit = Edit(clock, 5)
    (when, _), _ = await asyncio.gather(edit.seen(), edit.rings(4.9))
    assert when <= 6
    assert len(edit.asked) == 2


async def test_a_ring_of_another_edit_is_none(clock: FakeClock) -> None:
    edit = Edit(clock, 5)
    edit.watcher.ring("edit-2")
    when, _ = await edit.seen()
    assert when == pytest.approx(14)


async def test_without_a_ring_the_end_is_seen_later_with_few_questions(clock: FakeClock) -> None:
    edit = Edit(clock, 100)
    when, _ = await edit.seen()
    assert when <= 160
    assert len(edit.asked) <= 8


async def test_a_bell_that_never_rings_is_not_relied_on_until_it_rings_again(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    edit = Edit(clock, 5)
    late = [(await _again(edit)) for _ in range(4)]
    assert late[:3] == [pytest.approx(14)] * 3
    assert late[3] < 7
    assert caplog.text.count("public URL") == 1
    edit.watcher.ring("edit-of-another-process")
    assert await _again(edit) == pytest.approx(14)


async def _again(edit: Edit) -> float:
    edit.since = edit.clock.now()
    when, _ = await edit.seen()
    return when


# What is learnt


async def test_upstreams_own_clock_tells_how_long_it_worked(clock: FakeClock) -> None:
    times = {"submit_time_ms": "1000", "complete_time_ms": "6200"}
    answers = [task_answer("PROCESSING"), task_answer("SUCCEED", extra={"debug_info": times})]
    result, _ = await watch(Upstream(*answers), clock)
    assert result.render_seconds == 5.2


@pytest.mark.parametrize("complete", ["1000", "2", "900000", "-1000000"])
async def test_a_time_that_contradicts_what_was_seen_is_not_believed(complete: str, clock: FakeClock) -> None:
    times = {"submit_time_ms": "1000", "complete_time_ms": complete}
    answers = [task_answer("PROCESSING"), task_answer("SUCCEED", extra={"debug_info": times})]
    began = clock.now()
    result, _ = await watch(Upstream(*answers), clock)
    first, last = clock.slept
    assert result.render_seconds == pytest.approx(first + last / 2)
    assert clock.now() - began == pytest.approx(first + last)


async def test_an_end_that_the_first_question_sees_was_at_a_time_before_it(clock: FakeClock) -> None:
    when, result = await Edit(clock, 0).seen(bell=None)
    assert result.render_seconds == pytest.approx(0.75 * when)


async def test_an_end_that_rang_was_when_it_rang(clock: FakeClock) -> None:
    edit = Edit(clock, 7)
    (_, result), _ = await asyncio.gather(edit.seen(), edit.rings(7.01))
    assert result.render_seconds == pytest.approx(7.01)


async def test_nothing_is_learnt_from_an_end_that_nobody_watched(clock: FakeClock) -> None:
    edit = Edit(clock, 7)
    await clock.sleep(3600)
    _, result = await edit.seen(bell=None, at_once=True)
    assert result.render_seconds is None


async def test_one_refused_question_slows_down_those_about_all_edits(clock: FakeClock) -> None:
    asked: list[float] = []

    def answer(_: httpx.Request) -> httpx.Response:
        asked.append(clock.now())
        return error(429, **{"Retry-After": "30"}) if len(asked) == 1 else task_answer("SUCCEED")

    novita = Novita("https://api.example", SecretStr("k"), clock, httpx.MockTransport(answer))
    watcher = Watcher(novita, clock)

    async def on_processing() -> None:
        pass

    await asyncio.gather(
        *(
            watcher.until_done(
                f"t-{number}", since=clock.now() - number / 10, usual=(5, 14), on_processing=on_processing
            )
            for number in range(20)
        )
    )
    first, *others = asked
    assert len(others) == 20
    assert min(others) >= first + 30
    assert all(later - earlier >= 0.04 for earlier, later in pairwise(others))
