"""The client of Novita's HTTP API: submit an edit, ask for its result, ask for the balance.

What matters is what an answer says about money. A request that was certainly not accepted (no connection,
429, 503, a 500 that says so) is sent again after a while; a submission whose fate is unclear is never
repeated. Facts of the API: [guide], and the error reasons and result fields of [docs].
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, cast

import httpx
from pydantic import BaseModel, BeforeValidator, SecretStr, ValidationError

from kontext_edit.clock import Clock
from kontext_edit.errors import (
    BalanceTooLow,
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
from kontext_edit.pace import Pacemaker
from kontext_edit.telemetry import NO_MEASURES, Measures

KEY_PAGE = "https://novita.ai/settings/key-management"

_TIMEOUT = httpx.Timeout(connect=10, write=60, read=60, pool=30)
_RESULT_TIMEOUT = httpx.Timeout(connect=10, write=10, read=20, pool=30)
_LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=15)

_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 300.0
"""For so long a submission waits for its slot at most, or because upstream asks it to."""

_NO_TASK_WAS_MADE = frozenset({"CREATE_TASK_FAILED", "BILLING_FAILED"})
"""Reasons of a 500 that rule out an accepted edit [docs]."""

_REFUSED_BEFORE_WORK = 503
"""An overload told before any work began [docs]; a 504 may come after."""

_ERROR_BY_REASON: Mapping[str, type[UpstreamError]] = {
    "BILLING_BALANCE_NOT_ENOUGH": BalanceTooLow,
    "BILLING_AUTH_FAILED": KeyRejected,
    "MISSING_API_KEY": KeyRejected,
    "INVALID_API_KEY": KeyRejected,
    "API_NOT_ALLOWED": KeyRejected,
    "FEATURE_NOT_ALLOWED": KeyRejected,
    "NEED_REAL_NAME_VERIFY": KeyRejected,
    "ILLEGAL_PROMPT": ContentRejected,
    "ILLEGAL_IMAGE_CONTENT": ContentRejected,
    "RATE_LIMIT_EXCEEDED": RateLimited,
    "TASK_NOT_FOUND": TaskGone,
}
_ERROR_BY_STATUS: Mapping[int, type[UpstreamError]] = {
    400: ParameterRefused,
    401: KeyRejected,
    402: BalanceTooLow,
    403: KeyRejected,
    413: ParameterRefused,
    422: ParameterRefused,
    429: RateLimited,
}
_HINTS: Mapping[type[UpstreamError], str] = {
    KeyRejected: f"Ask the person to check NOVITA_API_KEY; keys are made at {KEY_PAGE}.",
    BalanceTooLow: "Ask the person to top up at https://novita.ai/billing, or take a cheaper tier.",
    ContentRejected: "Word the instruction differently or use another picture; repeating it will not help.",
    ParameterRefused: "Change or leave out the value that is named; other values may pass.",
    RateLimited: "Wait a minute, then call again; nothing was billed.",
    Unavailable: "Call again in a while; nothing was billed.",
    TaskGone: "The API keeps results for a limited time only.",
    UpstreamError: "Nothing was billed. If it stays so, `kontext-edit doctor` shows what works.",
}


class RemoteStatus(StrEnum):
    """The API's words for how far a task is [docs]."""

    QUEUED = "TASK_STATUS_QUEUED"
    PROCESSING = "TASK_STATUS_PROCESSING"
    SUCCEED = "TASK_STATUS_SUCCEED"
    FAILED = "TASK_STATUS_FAILED"


def _number_or_none(value: object) -> object:
    """Numbers come as numbers or as strings; what is neither counts as missing [docs]."""
    try:
        return int(Decimal(str(value)))
    except (InvalidOperation, ValueError, OverflowError):
        return None


def _object_or_empty(value: object) -> object:
    """What only helps must not spoil the answer that it stands in."""
    return cast("object", value) if isinstance(value, dict) else {}


_Number = Annotated[int | None, BeforeValidator(_number_or_none)]
_Text = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else "")]


class _RemoteTask(BaseModel):
    task_id: str
    status: str
    reason: _Text = ""


class _RemoteImage(BaseModel):
    image_url: _Text = ""


class _RemoteTimes(BaseModel):
    submit_time_ms: _Number = None
    complete_time_ms: _Number = None


class _RemoteExtra(BaseModel):
    seed: _Number = None
    debug_info: Annotated[_RemoteTimes, BeforeValidator(_object_or_empty)] = _RemoteTimes()


class _RemoteAnswer(BaseModel):
    task: _RemoteTask
    images: list[_RemoteImage] | None = None
    extra: _RemoteExtra | None = None


class _ErrorBody(BaseModel):
    """The documented body of an error; empty where an answer is anything else [docs]."""

    reason: _Text = ""
    message: _Text = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One answer about a task. `status` is None for an unheard-of word: take it as still running."""

    status: RemoteStatus | None
    status_word: str
    reason: str
    image_urls: tuple[str, ...]
    seed: int | None
    render_seconds: float | None = None
    """How long upstream worked on it, from taking it to its end."""


class Novita:
    """One account's view of the API.

    Args:
        base_url: `https://api.novita.ai`, or a sandbox.
        key: the bearer token; appears nowhere but in the request's header.
        clock: for the pauses between attempts.
        transport: the seam for tests and for the embedded sandbox; None is the network.
        pace: how fast submissions may leave; None is a pace of this client's own.
        measures: counts questions and refusals.
    """

    def __init__(  # noqa: PLR0913 - what a server for many adds is named
        self,
        base_url: str,
        key: SecretStr,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None,
        *,
        pace: Pacemaker | None = None,
        measures: Measures = NO_MEASURES,
    ) -> None:
        self._clock = clock
        self._measures = measures
        self._pace = pace or Pacemaker(clock)
        self._key = key
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key.get_secret_value()}"},
            timeout=_TIMEOUT,
            limits=_LIMITS,
            transport=transport,
            verify=system_certificates(),
        )

    async def submit(
        self, endpoint: str, body: Mapping[str, Any], *, webhook: str | None = None, owner: str = ""
    ) -> str:
        """Submit an edit; returns upstream's task id.

        Args:
            endpoint: path of the tier.
            body: the edit.
            webhook: where upstream shall tell of its end; None asks for nothing of the kind.
            owner: whose edit it is: where upstream takes few, owners take turns.

        Raises:
            UpstreamError: it was certainly not accepted; nothing was billed.
            SubmissionUnclear: it may have been accepted, and must not be repeated.
        """
        if webhook is not None:
            body = {**body, "extra": {"webhook": {"url": webhook}}}
        latest = self._clock.monotonic() + _PATIENCE_SECONDS
        failure: UpstreamError | None = None
        for attempt in range(_ATTEMPTS):
            if failure is not None:
                await self._clock.sleep(self._pause(attempt, failure))
            sent_at = await self._pace.slot(latest - self._clock.monotonic(), owner=owner)
            try:
                task_id = await self._post(endpoint, body)
            except RateLimited as error:
                await self._pace.refused(error.retry_after, sent_at=sent_at)
                if (error.retry_after or 0) > latest - self._clock.monotonic():
                    raise
                failure = error
            except Unavailable as error:
                failure = error
            else:
                self._pace.went_well()
                return task_id
        raise failure or Unavailable("The API cannot be reached.", _HINTS[Unavailable])

    async def result(self, task_id: str) -> Result:
        """Ask once how far a task is.

        Raises:
            UpstreamError: no usable answer; `retryable` says whether asking again makes sense.
        """
        self._measures.polled()
        response = await self._get("/v3/async/task-result", {"task_id": task_id})
        try:
            answer = _RemoteAnswer.model_validate_json(response.content)
        except ValidationError:
            raise Unavailable("The API's answer about the task could not be read.") from None
        known = {status.value for status in RemoteStatus}
        word = answer.task.status
        return Result(
            status=RemoteStatus(word) if word in known else None,
            status_word=self._scrub(word)[:80],
            reason=self._scrub(answer.task.reason)[:500],
            image_urls=tuple(image.image_url for image in answer.images or () if image.image_url),
            seed=answer.extra.seed if answer.extra else None,
            render_seconds=_render_seconds(answer.extra),
        )

    async def balance_usd(self) -> Decimal:
        """What is left on the account, in US dollars; free to ask [docs].

        Raises:
            UpstreamError: no usable answer.
        """
        response = await self._get("/openapi/v1/billing/balance/detail", {})
        try:
            return Decimal(str(response.json()["availableBalance"])) / 10_000
        except (ValueError, KeyError, TypeError, InvalidOperation):
            raise Unavailable("The API's answer about the balance could not be read.") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _post(self, endpoint: str, body: Mapping[str, Any]) -> str:
        """Submit once."""
        try:
            response = await self._http.post(endpoint, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(
                f"The API cannot be reached: {self._safe(error)}.", _HINTS[Unavailable]
            ) from None
        except httpx.HTTPError as error:
            raise _unclear(f"the connection broke ({type(error).__name__})") from None
        if refusal := self._submission_error(response):
            raise refusal
        return _accepted_id(response)

    async def _get(self, path: str, query: dict[str, str]) -> httpx.Response:
        try:
            response = await self._http.get(path, params=query, timeout=_RESULT_TIMEOUT)
        except httpx.HTTPError as error:
            raise Unavailable(f"The API cannot be reached: {self._safe(error)}.") from None
        if response.is_success:
            return response
        raise self._refusal(response)

    def _submission_error(self, response: httpx.Response) -> KontextError | None:
        """What an answer to a submission means, or None where it was accepted."""
        if response.is_success:
            return None
        ambiguous = response.is_server_error and response.status_code != _REFUSED_BEFORE_WORK
        if ambiguous and _told(response).reason not in _NO_TASK_WAS_MADE:
            return _unclear(f"the API answered {response.status_code}")
        return self._refusal(response)

    def _refusal(self, response: httpx.Response) -> UpstreamError:
        """An answer that is not a success, as one of our errors."""
        body = _told(response)
        fallback = Unavailable if response.is_server_error else UpstreamError
        kind = _ERROR_BY_REASON.get(body.reason) or _ERROR_BY_STATUS.get(response.status_code, fallback)
        told = self._scrub(": ".join(filter(None, [body.reason, body.message])))[:300]
        if kind is RateLimited:
            self._measures.rate_limited()
        error = kind(f"The API refused with {response.status_code} {told}".rstrip(), _HINTS[kind])
        if "retry-after" in response.headers:
            error.retry_after = _seconds(response.headers["retry-after"])
        return error

    def _pause(self, attempt: int, failure: UpstreamError) -> float:
        """Seconds before the next attempt: what upstream asked for, else doubling, with jitter."""
        doubling = _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
        return (failure.retry_after or doubling) * self._jitter.uniform(1.0, 1.25)

    def _safe(self, error: httpx.HTTPError) -> str:
        return self._scrub(str(error) or type(error).__name__)

    def _scrub(self, text: str) -> str:
        """Upstream's words without the key, should it quote it."""
        return text.replace(self._key.get_secret_value(), "[key]")


def system_certificates() -> Any:  # noqa: ANN401 - an SSLContext, whose module is imported only here
    """The system's own certificates, also a company proxy's."""
    import ssl  # noqa: PLC0415 - as above

    import truststore  # noqa: PLC0415 - as above

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _unclear(what: str) -> SubmissionUnclear:
    return SubmissionUnclear(
        f"The edit was sent and {what}: it may have been accepted and billed, and it has no id to ask for.",
        "It is not sent again by itself. Tell the person; they can look at the usage on "
        "https://novita.ai/billing, and then decide whether to ask for the edit anew.",
    )


def _accepted_id(response: httpx.Response) -> str:
    try:
        task_id = response.json()["task_id"]
    except (ValueError, KeyError, TypeError):
        task_id = None
    if not isinstance(task_id, str) or not task_id:
        raise _unclear("the answer named no task id")
    return task_id


def _render_seconds(extra: _RemoteExtra | None) -> float | None:
    """From the times by upstream's own clock, where both are told [guide]."""
    times = extra.debug_info if extra else _RemoteTimes()
    if times.submit_time_ms is None or times.complete_time_ms is None:
        return None
    return (times.complete_time_ms - times.submit_time_ms) / 1000


def _told(response: httpx.Response) -> _ErrorBody:
    try:
        return _ErrorBody.model_validate_json(response.content)
    except ValidationError:
        return _ErrorBody()


def _seconds(retry_after: str) -> float | None:
    """A Retry-After header in seconds; its other form, a date, is not used by this API."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return None
