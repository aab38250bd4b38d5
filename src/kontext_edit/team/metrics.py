"""Measures for Prometheus. No label names an owner or an edit: those are without number."""

import asyncio
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import ValidationError

from kontext_edit.task import Status
from kontext_edit.telemetry import Measures, Stage

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of what `Metrics.render` returns."""

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 900)


class Metrics(Measures):
    """The measures of one server, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._ended = Counter(
            "kontext_edits", "Edits that ended here.", ["tier", "status"], registry=registry
        )
        self._cost = Counter(
            "kontext_list_price_usd",
            "US dollars at list price of edits that were or may have been billed.",
            ["tier"],
            registry=registry,
        )
        self._under_way = Gauge(
            "kontext_edits_under_way", "Edits that this process looks after.", registry=registry
        )
        self._stages = Histogram(
            "kontext_stage_seconds",
            "How long a stage of an edit took.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._polls = Counter("kontext_polls", "Questions to upstream about edits.", registry=registry)
        self._limited = Counter("kontext_rate_limited", "Answers 429 of upstream.", registry=registry)
        self._database = Counter(
            "kontext_database_errors", "Times that the journal was not available.", registry=registry
        )
        self._calls = Counter(
            "kontext_calls", "Answered requests of clients.", ["method", "result"], registry=registry
        )
        ProcessCollector(registry=registry)
        for stage in Stage:
            self._stages.labels(stage)

    def render(self) -> bytes:
        """Everything as Prometheus reads it; see CONTENT_TYPE."""
        return generate_latest(self._registry)

    def ended(self, tier: str, status: Status, cost_usd: float) -> None:
        """An edit ended."""
        self._ended.labels(tier, status).inc()
        self._cost.labels(tier).inc(cost_usd)

    def under_way(self, change: int) -> None:
        """This process looks after so many more edits."""
        self._under_way.inc(change)

    def took(self, stage: Stage, seconds: float) -> None:
        """A stage of an edit is over."""
        self._stages.labels(stage).observe(seconds)

    def polled(self) -> None:
        """Upstream was asked how far an edit is."""
        self._polls.inc()

    def rate_limited(self) -> None:
        """Upstream answered 429."""
        self._limited.inc()

    def database_failed(self) -> None:
        """The journal could not be read or written."""
        self._database.inc()

    def called(self, method: str, result: str) -> None:
        """A client's request was answered."""
        self._calls.labels(method, result).inc()


class CountedCalls(ServerMiddleware[Any]):
    """Counts the requests of clients by method and result.

    Args:
        server: what answers; a method that it does not know is `other`, since anybody can invent names.
        measures: where they are counted.
    """

    def __init__(self, server: Server[Any], measures: Measures) -> None:
        self._server = server
        self._measures = measures

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Answer the request and count it; a notification is not counted."""
        if ctx.request_id is None:
            return await call_next(ctx)
        result = "error"
        try:
            answer = await call_next(ctx)
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        except MCPError as error:
            result = str(error.error.code)
            raise
        except ValidationError:
            result = str(INVALID_PARAMS)
            raise
        else:
            result = "tool_error" if _is_tool_error(answer) else "ok"
            return answer
        finally:
            self._measures.called(self._known(ctx.method), result)

    def _known(self, method: str) -> str:
        known = method == "initialize" or self._server.get_request_handler(method) is not None
        return method if known else "other"


def _is_tool_error(answer: HandlerResult) -> bool:
    match answer:
        case CallToolResult(is_error=True) | {"isError": True}:
            return True
        case _:
            return False
