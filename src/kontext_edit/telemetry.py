"""What an operator sees of edits: a span for each stage, measures, and one line of the log at the end.

Spans go to whatever collects OpenTelemetry's; without a collector they cost microseconds. Nothing here has a
prompt in it, and a stage that failed tells the kind of its error and not the text, which may quote a link.
"""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, StatusCode

from kontext_edit.clock import Clock
from kontext_edit.logs import FIELDS
from kontext_edit.task import Status, Task

logger = logging.getLogger("kontext_edit.edits")

_tracer = trace.get_tracer("kontext-edit")


class Stage(StrEnum):
    """What an edit goes through, in this order."""

    PREPARE = "prepare"
    SUBMIT = "submit"
    WAIT = "wait"
    FETCH = "fetch"


class Measures:
    """Hears what could be counted, and counts nothing: one person's server; `team.metrics` counts.

    It is never told whose or which edit it was: those are without number.
    """

    def ended(self, tier: str, status: Status, cost_usd: float) -> None:
        """An edit ended; its cost is the list price where it was or may have been billed, else 0."""

    def under_way(self, change: int) -> None:
        """This process looks after so many more edits."""

    def took(self, stage: Stage, seconds: float) -> None:
        """A stage of an edit is over."""

    def polled(self) -> None:
        """Upstream was asked how far an edit is."""

    def rate_limited(self) -> None:
        """Upstream answered 429."""

    def database_failed(self) -> None:
        """The journal could not be read or written."""

    def called(self, method: str, result: str) -> None:
        """A client's request was answered: `ok`, `tool_error`, `cancelled`, `error`, or an error's code."""


NO_MEASURES = Measures()


@contextmanager
def span(name: str, *, apart: bool = False, attributes: Mapping[str, str] | None = None) -> Generator[Span]:
    """A span around a block, below the one that is open here.

    Args:
        name: what is done.
        apart: begin a trace of its own, linked to the open span: it happens here, and not for its sake.
        attributes: no prompts, no names of people, no links.
    """
    here = trace.get_current_span().get_span_context()
    with _tracer.start_as_current_span(
        name,
        context=Context() if apart else None,
        links=[Link(here)] if apart and here.is_valid else None,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            opened.set_attribute("error.type", type(error).__qualname__)
            if isinstance(error, Exception):
                opened.set_status(StatusCode.ERROR)
            raise


def trace_ids() -> dict[str, object]:
    """The ids of the open span, for lines of the log; nothing where none is collected."""
    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(here.trace_id), "span_id": trace.format_span_id(here.span_id)}


@dataclass(slots=True)
class _Course:
    """What was seen of one edit by this process."""

    span: Span = INVALID_SPAN
    seconds: dict[Stage, float] = field(default_factory=dict[Stage, float])
    bytes_in: int | None = None
    since: dict[Stage, float] = field(default_factory=dict[Stage, float])
    """When the stages began that are not over."""

    def took(self, stage: Stage, now: float) -> float:
        """Seconds of a stage so far."""
        return self.seconds.get(stage, 0.0) + now - self.since.get(stage, now)


_course: ContextVar[_Course | None] = ContextVar("course", default=None)
"""A job inherits the course of the call that began it, and with it the time that its pictures took."""


class Observer:
    """Sees edits go by.

    Args:
        clock: the seam for time.
        measures: what counts.
        replica: this process's name in the log.
        log_prompts: whether the log has what was asked for.
    """

    def __init__(
        self,
        clock: Clock,
        measures: Measures = NO_MEASURES,
        *,
        replica: str | None = None,
        log_prompts: bool = False,
    ) -> None:
        self.measures = measures
        self._clock = clock
        self._replica = replica
        self._log_prompts = log_prompts

    @contextmanager
    def stage(self, stage: Stage) -> Generator[None]:
        """Around a stage; outside of `edit` it counts for the edits that are begun here next."""
        course = _course.get()
        if course is None or stage is Stage.PREPARE:
            course = _Course()
            _course.set(course)
        began = course.since[stage] = self._clock.monotonic()
        try:
            with span(stage):
                yield
        finally:
            now = self._clock.monotonic()
            course.seconds[stage] = course.took(stage, now)
            del course.since[stage]
            self.measures.took(stage, now - began)

    @contextmanager
    def edit(self, task: Task, *, bytes_in: int | None = None, taken_up: bool = False) -> Generator[None]:
        """Around everything that this process does for an edit once it is written down.

        Its span hangs below the call that began it, and goes on after that call has answered.

        Args:
            task: the edit.
            bytes_in: how much is sent to upstream.
            taken_up: another process began it, so that whatever is open here is not what it came from.
        """
        begun_here = None if taken_up else _course.get()
        attributes = {
            "kontext.edit.id": task.id,
            "kontext.edit.tier": task.tier,
            "kontext.edit.provider": task.provider,
        }
        self.measures.under_way(1)
        try:
            with span("edit", apart=taken_up, attributes=attributes) as opened:
                seconds = dict(begun_here.seconds) if begun_here else {}
                outer = _course.set(_Course(opened, seconds, bytes_in))
                try:
                    yield
                finally:
                    _course.reset(outer)
        finally:
            self.measures.under_way(-1)

    def ended(self, task: Task) -> None:
        """An edit has ended, so far as anybody can tell; to be told once, within `edit`."""
        if not task.settled:
            return
        course = _course.get() or _Course()
        code = task.error.code if task.error else None
        self.measures.ended(task.tier, task.status, float(task.cost_usd))
        course.span.set_attribute("kontext.edit.status", task.status)
        if task.task_id:
            course.span.set_attribute("kontext.edit.upstream_id", task.task_id)
        if code:
            course.span.set_attribute("error.type", code)
            course.span.set_status(StatusCode.ERROR)
        logger.info("edit %s", task.status, extra={FIELDS: self._told(task, course, code)})

    def _told(self, task: Task, course: _Course, code: str | None) -> dict[str, Any]:
        """What the log has of an edit."""
        now = self._clock.monotonic()
        told: dict[str, Any] = {
            "edit": task.id,
            "upstream": task.task_id,
            "owner": task.owner,
            "provider": task.provider,
            "tier": task.tier,
            "status": task.status,
            "error": code,
            "list_price_usd": task.list_price_usd,
            "billed": task.billed,
            "seconds": round((task.finished_at or self._clock.now()) - task.created_at, 3),
            **{f"{stage}_seconds": round(course.took(stage, now), 3) for stage in Stage},
            "bytes_in": course.bytes_in,
            "bytes_out": sum(picture.bytes for picture in task.pictures),
            "replica": self._replica,
        }
        return told | ({"prompt": task.prompt} if self._log_prompts else {})
