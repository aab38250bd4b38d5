"""Novita's FLUX.1 Kontext API as an ASGI app: submit, task result, balance, and the result links.

It answers in the API's own shapes and with its documented errors, bills a balance of play money by list
price, and fetches nothing. Two words in a prompt let a caller try errors without a key:

    sandbox:fail      the task is accepted, and ends in TASK_STATUS_FAILED with a reason
    sandbox:reject    the submission is refused with 400 ILLEGAL_PROMPT

Result links are signed, and valid for `link_seconds` from the moment at which the result was asked for;
asking again brings new ones. Where an edit names a webhook on this machine, its result is posted there.
"""

import asyncio
import contextlib
import hmac
import secrets
import sys
import uuid
from collections.abc import AsyncGenerator
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kontext_edit.clock import Clock, SystemClock
from kontext_edit.loopback import address, listen
from kontext_edit.pricing import quote
from kontext_edit.sandbox.courier import Courier
from kontext_edit.sandbox.painter import Format, PaintJob, paint
from kontext_edit.sandbox.refusals import RefusedError
from kontext_edit.sandbox.tasks import FAIL_WORD, Ledger, Phase, Progression, Submission, Task
from kontext_edit.sandbox.uploads import MAX_BODY_BYTES, open_source, read_edit
from kontext_edit.tiers import TIERS

_SEEDS = 2**31
_BALANCE_UNITS = 10_000
"""The balance is told in units of 0.0001 USD [docs]."""
_KEPT_PAINTINGS = 16


class Sandbox:
    """One instance of the API, with tasks, a balance and a signing secret of its own.

    `keys` are the bearer tokens that it admits; None admits any that is not empty. `base_url` is where the
    app is reached, for the result links.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of the API that a caller may set, by name
        self,
        *,
        clock: Clock,
        progression: Progression,
        keys: frozenset[str] | None = None,
        base_url: str = "http://localhost",
        link_seconds: int = 3600,
        balance_usd: Decimal = Decimal(100),
    ) -> None:
        self.balance_usd = balance_usd
        self._clock = clock
        self._progression = progression
        self._keys = keys
        self._base_url = base_url.rstrip("/")
        self._link_seconds = link_seconds
        self._ledger = Ledger()
        self._courier = Courier(clock)
        self._secret = secrets.token_bytes(32)
        self._painted = lru_cache(maxsize=_KEPT_PAINTINGS)(self._paint)
        self.app = Starlette(
            routes=[
                *(
                    Route(model.endpoint, partial(self._submit, tier), methods=["POST"])
                    for tier, model in TIERS.items()
                ),
                Route("/v3/async/task-result", self._task_result),
                Route("/openapi/v1/billing/balance/detail", self._balance),
                Route("/results/{task_id}/{name}", self._result_file),
            ],
            exception_handlers={
                RefusedError: _refusal,
                HTTPException: _no_such_api,
                ClientDisconnect: _nobody_listens,
            },
            lifespan=self._lifespan,
        )
        self.app.router.redirect_slashes = False

    @property
    def submissions(self) -> list[Submission]:
        """Every accepted edit in order, as far back as the sandbox remembers (the latest 1,000 or so)."""
        return self._ledger.submissions

    async def close(self) -> None:
        """End what goes on beside the requests; a server does so when it shuts down."""
        await self._courier.close()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        yield
        await self.close()

    async def _submit(self, tier: str, request: Request) -> Response:
        self._admit(request)
        raw = await _whole_body(request)
        body = await asyncio.to_thread(read_edit, tier, raw)
        images = int(body.get("num_images", 1))
        price = quote(tier, fast_mode=body.get("fast_mode", False), images=images).total_usd
        if price > self.balance_usd:
            raise RefusedError(
                400,
                "BILLING_BALANCE_NOT_ENOUGH",
                f"The edit costs {price} USD, the balance is {self.balance_usd} USD.",
            )
        self.balance_usd -= price
        task_id = str(uuid.uuid4())
        task = Task(
            submission=Submission(task_id, tier, body, price),
            seed=_seed(body),
            submitted_at=self._clock.now(),
            started=self._clock.monotonic(),
            weight=len(raw),
        )
        self._ledger.add(task)
        if task.webhook:
            self._courier.start(self._bring_to_its_end(task))
        return JSONResponse({"task_id": task_id})

    async def _task_result(self, request: Request) -> Response:
        self._admit(request)
        task_id = request.query_params.get("task_id")
        if not task_id:
            raise RefusedError(400, "INVALID_REQUEST_BODY", "The query needs a task_id.")
        task = self._find(task_id)
        return JSONResponse(self._result(task, self._advance(task)))

    def _advance(self, task: Task) -> Phase:
        """Look how far a task is; its end is told where it was asked for, once."""
        was_under_way = task.completed_at is None
        phase = task.advance(self._progression, self._clock.monotonic())
        if task.webhook and was_under_way and task.completed_at is not None:
            self._courier.deliver(task.webhook, self._result(task, phase))
        return phase

    async def _bring_to_its_end(self, task: Task) -> None:
        """See the end of a task that takes a time, also when nobody asks."""
        while task.completed_at is None:
            left = self._progression.left(self._clock.monotonic() - task.started)
            if left is None:
                return
            await self._clock.sleep(left)
            self._advance(task)

    async def _balance(self, request: Request) -> Response:
        self._admit(request)
        units = str(int(self.balance_usd * _BALANCE_UNITS))
        return JSONResponse(
            {"availableBalance": units, "cashBalance": units, "creditLimit": "0", "outstandingInvoices": "0"}
        )

    async def _result_file(self, request: Request) -> Response:
        task_id: str = request.path_params["task_id"]
        name: str = request.path_params["name"]
        expires = request.query_params.get("expires", "")
        signature = request.query_params.get("signature", "")
        if not hmac.compare_digest(signature.encode(), self._signature(task_id, name, expires).encode()):
            raise RefusedError(403, "LINK_NOT_SIGNED", "The signature of this link does not fit.")
        if self._clock.now() >= int(expires):
            raise RefusedError(403, "LINK_EXPIRED", "This link was valid for a while only, and has expired.")
        number, _, extension = name.partition(".")
        picture = await asyncio.to_thread(self._painted, task_id, int(number))
        return Response(picture, media_type=f"image/{extension}")

    def _admit(self, request: Request) -> None:
        """Let a request with a good bearer token pass."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise RefusedError(401, "MISSING_API_KEY", "Send your key as Authorization: Bearer KEY.")
        if self._keys is not None and token not in self._keys:
            raise RefusedError(403, "INVALID_API_KEY", "This key is not known here.")

    def _find(self, task_id: str) -> Task:
        task = self._ledger.find(task_id)
        if task is None:
            raise RefusedError(404, "TASK_NOT_FOUND", "No task has this id.")
        return task

    def _result(self, task: Task, phase: Phase) -> dict[str, Any]:
        """The answer of the task result endpoint [guide]."""
        submission = task.submission
        submitted = round(task.submitted_at * 1000)
        completed = round((task.completed_at or 0) * 1000)
        failed = phase is Phase.FAILED
        return {
            "task": {
                "task_id": submission.task_id,
                "task_type": f"FLUX_1_KONTEXT_{submission.tier.upper()}",
                "status": phase,
                "reason": f"The prompt asked for it with {FAIL_WORD}." if failed else "",
                "eta": 0,
                "progress_percent": 100 if phase is Phase.SUCCEED else 0,
            },
            "images": self._images(task) if phase is Phase.SUCCEED else [],
            "extra": {
                "seed": task.seed,
                "enable_nsfw_detection": False,
                "debug_info": {
                    "submit_time_ms": submitted,
                    "execute_time_ms": max(0, completed - submitted),
                    "complete_time_ms": completed,
                },
            },
        }

    def _images(self, task: Task) -> list[dict[str, Any]]:
        body = task.submission.body
        kind = _output_format(task.submission)
        expires = int(self._clock.now() + self._link_seconds)
        return [
            {
                "image_url": self._link(task.submission.task_id, f"{number}.{kind}", str(expires)),
                "image_url_ttl": self._link_seconds,
                "image_type": kind,
                "nsfw_detection_result": {"valid": True, "confidence": 0.1},
            }
            for number in range(1, int(body.get("num_images", 1)) + 1)
        ]

    def _link(self, task_id: str, name: str, expires: str) -> str:
        signature = self._signature(task_id, name, expires)
        return f"{self._base_url}/results/{task_id}/{name}?expires={expires}&signature={signature}"

    def _signature(self, task_id: str, name: str, expires: str) -> str:
        return hmac.digest(self._secret, f"{task_id}/{name}/{expires}".encode(), "sha256").hex()

    def _paint(self, task_id: str, number: int) -> bytes:
        """Picture `number` of a task, from 1; takes a while and belongs in a thread."""
        task = self._find(task_id)
        body = task.submission.body
        return paint(
            PaintJob(
                prompt=body["prompt"],
                sources=[open_source(source) for source in body.get("images", [])],
                size=_pair(body.get("size"), "*"),
                ratio=_pair(body.get("aspect_ratio"), ":"),
                output_format=_output_format(task.submission),
                seed=task.seed,
                variant=number - 1,
            )
        )


def serve(*, host: str = "127.0.0.1", port: int, progression: Progression) -> None:
    """Serve a sandbox alone on a loopback address until Ctrl-C; port 0 picks a free one.

    Raises:
        InvalidArguments: if the address is not a loopback one, or cannot be listened on.
    """
    listener = listen(host, port, who="The sandbox")
    url = address(host, listener)
    sandbox = Sandbox(clock=SystemClock(), progression=progression, base_url=url)
    sys.stderr.write(
        f"A sandbox of the editing API listens on {url}: no model runs, nothing is billed.\n"
        f"Point a client at it with any key:\n"
        f"  NOVITA_BASE_URL={url} NOVITA_API_KEY=sandbox kontext-edit …\n"
        f"Ctrl-C ends it.\n"
    )
    sys.stderr.flush()
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(sandbox.app, log_level="warning")).run(sockets=[listener])


async def _whole_body(request: Request) -> bytes:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise RefusedError(
                400, "IMAGE_FILE_EXCEEDS_MAX_SIZE", f"The request has more than {MAX_BODY_BYTES} bytes."
            )
    return bytes(raw)


def _seed(body: dict[str, Any]) -> int:
    """The seed of an edit: the one asked for, or a random one."""
    asked = int(body.get("seed", -1))
    return asked if asked >= 0 else secrets.randbelow(_SEEDS)


def _output_format(submission: Submission) -> Format:
    """The tier's choice of file format; the tiers without a choice answer in PNG [guide]."""
    chosen = TIERS[submission.tier].model_fields.get("output_format")
    return submission.body.get("output_format", chosen.default if chosen else "png")


def _pair(text: str | None, between: str) -> tuple[int, int] | None:
    """`1024*768` or `16:9` as two numbers."""
    if text is None:
        return None
    first, second = text.split(between)
    return int(first), int(second)


async def _refusal(_: Request, error: Exception) -> Response:
    return cast("RefusedError", error).response


async def _no_such_api(request: Request, _: Exception) -> Response:
    what = f"{request.method} {request.url.path}"
    return RefusedError(404, "API_NOT_FOUND", f"There is no {what} here.").response


async def _nobody_listens(_: Request, __: Exception) -> Response:
    """For a client that hung up in the middle of its request."""
    return Response(status_code=400)
