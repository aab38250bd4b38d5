"""What an answer of the API says about money, and what becomes of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import pairwise

import httpx
import pytest
from pydantic import SecretStr
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.upstreams import ACCEPTED, Answer, Upstream, error, task_answer

from kontext_edit.errors import (
    BalanceTooLow,
    Billed,
    ContentRejected,
    KeyRejected,
    KontextError,
    ParameterRefused,
    RateLimited,
    SubmissionUnclear,
    TaskGone,
    Unavailable,
    UpstreamError,
)
from kontext_edit.novita import Novita, RemoteStatus
from kontext_edit.pace import OwnNoticeboard, Pace, Pacemaker


def client(upstream: Upstream, clock: FakeClock) -> Novita:
    return Novita("https://api.example", SecretStr(KEY), clock, upstream.transport)


BODY = {"prompt": "Make it red", "images": ["data:image/png;base64,AA=="]}


async def submit(upstream: Upstream, clock: FakeClock) -> str:
    return await client(upstream, clock).submit("/v3/async/flux-1-kontext-pro", BODY)


async def test_a_submission_is_one_post_with_the_key_in_its_header_and_the_body_as_given(
    clock: FakeClock,
) -> None:
    upstream = Upstream(ACCEPTED)
    assert await submit(upstream, clock) == "t-1"
    (request,) = upstream.requests
    assert request.method == "POST"
    assert str(request.url) == "https://api.example/v3/async/flux-1-kontext-pro"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(request.content) == BODY


@pytest.mark.parametrize(
    "refusal",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("no route"),
        httpx.PoolTimeout("busy"),
        error(429, "RATE_LIMIT_EXCEEDED"),
        error(503),
        error(500, "CREATE_TASK_FAILED"),
        error(500, "BILLING_FAILED"),
    ],
    ids=str,
)
async def test_what_was_certainly_not_accepted_is_sent_again(refusal: Answer, clock: FakeClock) -> None:
    upstream = Upstream(refusal, refusal, ACCEPTED)
    assert await submit(upstream, clock) == "t-1"
    assert len(upstream.requests) == 3
    first, second = clock.slept
    assert 1.0 <= first <= 1.25
    assert 2.0 <= second <= 2.5


@pytest.mark.parametrize(
    "unclear",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.ReadError("cut"),
        httpx.WriteError("cut"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        error(500),
        error(500, "SOMETHING_NEW"),
        error(502),
        error(504, "CREATE_TASK_FAILED_NOT_QUITE"),
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, json={"task_id": ""}),
        httpx.Response(200, json={"task_id": 7}),
        httpx.Response(200, json=[]),
    ],
    ids=str,
)
async def test_a_submission_whose_fate_is_unclear_is_never_repeated(
    unclear: Answer, clock: FakeClock
) -> None:
    upstream = Upstream(unclear)
    with pytest.raises(SubmissionUnclear) as caught:
        await submit(upstream, clock)
    assert len(upstream.requests) == 1
    assert caught.value.billed is Billed.MAYBE
    assert not caught.value.retryable
    assert "not sent again" in caught.value.hint


async def test_a_cut_after_a_refusal_ends_the_attempts(clock: FakeClock) -> None:
    upstream = Upstream(error(429), httpx.ReadError("cut"), ACCEPTED)
    with pytest.raises(SubmissionUnclear):
        await submit(upstream, clock)
    assert len(upstream.requests) == 2


async def test_retry_after_is_honoured_and_its_other_form_is_not_read(clock: FakeClock) -> None:
    upstream = Upstream(
        error(429, **{"Retry-After": "7"}),
        error(503, **{"Retry-After": "50"}),
        error(429, **{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        ACCEPTED,
    )
    await submit(upstream, clock)
    asked, long, doubled = clock.slept
    assert 7 <= asked <= 8.75
    assert 50 <= long <= 62.5
    assert 4 <= doubled <= 5


async def test_upstream_that_asks_for_more_patience_than_there_is_ends_the_attempts(clock: FakeClock) -> None:
    upstream = Upstream(error(429, "RATE_LIMIT_EXCEEDED", **{"Retry-After": "9999"}), ACCEPTED)
    with pytest.raises(RateLimited) as caught:
        await submit(upstream, clock)
    assert clock.slept == []
    assert caught.value.billed is Billed.NO
    assert "429" in caught.value.message


async def test_attempts_end_and_say_that_nothing_was_billed(clock: FakeClock) -> None:
    upstream = Upstream(error(429, "RATE_LIMIT_EXCEEDED"))
    with pytest.raises(RateLimited) as caught:
        await submit(upstream, clock)
    assert len(upstream.requests) == 5
    assert caught.value.retryable
    assert caught.value.billed is Billed.NO


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (error(401), KeyRejected, "NOVITA_API_KEY"),
        (error(403, "INVALID_API_KEY"), KeyRejected, "https://novita.ai/settings/key-management"),
        (error(403, "NEED_REAL_NAME_VERIFY"), KeyRejected, "NEED_REAL_NAME_VERIFY"),
        (error(400, "MISSING_API_KEY"), KeyRejected, "MISSING_API_KEY"),
        (error(400, "BILLING_BALANCE_NOT_ENOUGH"), BalanceTooLow, "top up"),
        (error(402), BalanceTooLow, "top up"),
        (error(400, "ILLEGAL_PROMPT"), ContentRejected, "Word the instruction differently"),
        (error(400, "ILLEGAL_IMAGE_CONTENT"), ContentRejected, "another picture"),
        (error(400, "INVALID_REQUEST_BODY", "size: too big"), ParameterRefused, "size: too big"),
        (error(400, "IMAGE_EXCEEDS_MAX_RESOLUTION"), ParameterRefused, "IMAGE_EXCEEDS_MAX_RESOLUTION"),
        (error(413), ParameterRefused, "413"),
        (error(404, "API_NOT_FOUND"), UpstreamError, "API_NOT_FOUND"),
        (httpx.Response(302, headers={"location": "https://elsewhere.example"}), UpstreamError, "302"),
        (httpx.Response(418, content=b"\xff\x00 not json"), UpstreamError, "418"),
        (httpx.Response(400, json=["odd"]), ParameterRefused, "400"),
        (httpx.Response(400, json={"reason": 5, "message": None}), ParameterRefused, "400"),
    ],
)
async def test_a_refusal_becomes_one_of_our_errors_with_a_hint(
    answer: httpx.Response, kind: type[KontextError], says: str, clock: FakeClock
) -> None:
    upstream = Upstream(answer)
    with pytest.raises(kind) as caught:
        await submit(upstream, clock)
    assert len(upstream.requests) == 1
    assert caught.value.billed is Billed.NO
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint


async def poll(upstream: Upstream, clock: FakeClock) -> object:
    return await client(upstream, clock).result("t-1")


@pytest.mark.parametrize("call", [submit, poll])
async def test_the_key_is_not_in_an_error_even_where_upstream_quotes_it(
    call: Callable[..., Awaitable[object]], clock: FakeClock
) -> None:
    upstream = Upstream(error(401, "INVALID_API_KEY", f"the key {KEY} is wrong"))
    with pytest.raises(KeyRejected) as caught:
        await call(upstream, clock)
    assert KEY not in f"{caught.value!r} {caught.value.message} {caught.value.hint}"
    assert "[key]" in caught.value.message


async def test_a_result_is_read_with_numbers_as_strings_or_numbers(clock: FakeClock) -> None:
    for seed in ("123", 123, 123.0):
        result = await client(
            Upstream(task_answer("SUCCEED", "https://cdn.example/1.png", extra={"seed": seed})), clock
        ).result("t-1")
        assert result.status is RemoteStatus.SUCCEED
        assert result.image_urls == ("https://cdn.example/1.png",)
        assert result.seed == 123


async def test_every_field_but_id_and_status_may_be_missing_or_null(clock: FakeClock) -> None:
    bare = {"task_id": "t-1", "status": "TASK_STATUS_QUEUED"}
    answers: tuple[dict[str, object], ...] = (
        {},
        {"images": None, "extra": None},
        {"images": [], "extra": {}},
        {"images": [{"image_url": None}], "extra": {"seed": "odd"}, "more": 1},
    )
    for rest in answers:
        result = await client(
            Upstream(httpx.Response(200, json={"task": {**bare, "reason": None}, **rest})), clock
        ).result("t-1")
        assert result.status is RemoteStatus.QUEUED
        assert result.image_urls == ()
        assert result.seed is None
        assert result.reason == ""


async def test_an_unheard_of_status_word_is_kept_for_the_log(clock: FakeClock) -> None:
    result = await client(Upstream(task_answer("DREAMING")), clock).result("t-1")
    assert result.status is None
    assert result.status_word == "TASK_STATUS_DREAMING"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(200, content=b"<html>busy</html>"), Unavailable),
        (httpx.Response(200, json={"task": {}}), Unavailable),
        (error(500, "GET_RESULT_FAILED"), Unavailable),
        (error(504), Unavailable),
        (error(429), RateLimited),
        (httpx.ReadTimeout("slow"), Unavailable),
        (error(404, "TASK_NOT_FOUND"), TaskGone),
        (error(401), KeyRejected),
    ],
    ids=str,
)
async def test_a_useless_answer_about_a_task_is_an_error_of_its_kind(
    answer: Answer, kind: type[UpstreamError], clock: FakeClock
) -> None:
    with pytest.raises(kind):
        await poll(Upstream(answer), clock)


async def test_a_webhook_is_named_only_where_one_is_wanted(clock: FakeClock) -> None:
    upstream = Upstream(ACCEPTED)
    novita = client(upstream, clock)
    await novita.submit("/v3/async/flux-1-kontext-pro", BODY, webhook="https://edits.example/webhooks/e/m")
    await novita.submit("/v3/async/flux-1-kontext-pro", BODY)
    with_one, without = (json.loads(request.content) for request in upstream.requests)
    assert with_one == {**BODY, "extra": {"webhook": {"url": "https://edits.example/webhooks/e/m"}}}
    assert without == BODY


async def test_a_429_makes_the_next_submissions_leave_one_after_the_other(clock: FakeClock) -> None:
    left_at: list[float] = []

    def noted(_: httpx.Request) -> httpx.Response:
        left_at.append(clock.now())
        return httpx.Response(200, json={"task_id": "t-1"})

    upstream = Upstream(error(429, **{"Retry-After": "10"}), noted)
    novita = client(upstream, clock)
    began = clock.now()
    await asyncio.gather(*(novita.submit("/x", BODY) for _ in range(4)))
    assert len(left_at) == 4
    left_at.clear()
    await asyncio.gather(*(novita.submit("/x", BODY) for _ in range(4)))
    assert clock.now() - began >= 10
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(left_at))


async def test_a_submission_that_finds_no_slot_for_long_fails_unsent_and_unbilled(clock: FakeClock) -> None:
    board = OwnNoticeboard()
    full = Pace(slot_at=clock.now() + 400, interval=2.0, slowed_at=clock.now()).written()
    await board.shared("pace", lambda _: full)
    upstream = Upstream(ACCEPTED)
    novita = Novita(
        "https://api.example", SecretStr(KEY), clock, upstream.transport, pace=Pacemaker(clock, board)
    )
    with pytest.raises(RateLimited, match="was not sent") as caught:
        await novita.submit("/x", BODY)
    assert upstream.requests == []
    assert (caught.value.billed, caught.value.retryable) == (Billed.NO, True)
    assert await board.shared("pace", lambda fact: fact or "") == full


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ({"submit_time_ms": "1750000000000", "complete_time_ms": 1750000007250}, 7.25),
        ({"submit_time_ms": None, "complete_time_ms": 1750000007250}, None),
        ({}, None),
        (["odd"], None),
        (None, None),
    ],
)
async def test_how_long_upstream_worked_is_told_by_its_own_clock(
    times: object, seconds: float | None, clock: FakeClock
) -> None:
    answer = task_answer("SUCCEED", "https://cdn.example/1.png", extra={"debug_info": times})
    assert (await client(Upstream(answer), clock).result("t-1")).render_seconds == seconds


async def test_the_balance_comes_in_ten_thousandths_of_a_dollar(clock: FakeClock) -> None:
    upstream = Upstream(httpx.Response(200, json={"availableBalance": "123456", "cashBalance": "0"}))
    assert await client(upstream, clock).balance_usd() == Decimal("12.3456")


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, json={}), httpx.Response(200, content=b"?"), error(503)]
)
async def test_an_unreadable_balance_is_said_to_be_unavailable(
    answer: httpx.Response, clock: FakeClock
) -> None:
    with pytest.raises(Unavailable):
        await client(Upstream(answer), clock).balance_usd()


async def test_closing_closes_the_connections(clock: FakeClock) -> None:
    novita = client(Upstream(ACCEPTED), clock)
    await novita.close()
    with pytest.raises(RuntimeError):
        await novita.submit("/x", {})
