"""What an operator sees of edits: spans below their call, measures, one line of the log; and no prompt."""

import asyncio
import json
import logging
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from tests.clock import FakeClock
from tests.house import Api, client, photo
from tests.upstreams import error

from kontext_edit.errors import Billed, KontextError, Problem
from kontext_edit.logs import JsonLines
from kontext_edit.task import Picture, Source, Status, Task
from kontext_edit.team.metrics import CONTENT_TYPE, CountedCalls, Metrics
from kontext_edit.telemetry import NO_MEASURES, Measures, Observer, Stage, span, trace_ids

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

PROMPT = "Make the sky green"
BEGUN = Task(
    id="edit-1",
    provider="novita",
    tier="pro",
    prompt=PROMPT,
    parameters={},
    sources=(Source("data:", "ab"),),
    list_price_usd=Decimal("0.036"),
    created_at=1_790_000_000.0,
    owner="token:anna",
)
DONE = replace(
    BEGUN,
    status=Status.SUCCEEDED,
    task_id="t-1",
    finished_at=1_790_000_009.5,
    pictures=(Picture(Path("/out/a.png"), 64, 48, "png", 123, "cd", 43.2),),
)
FAILED = replace(
    BEGUN, status=Status.FAILED, error=Problem("rate_limited", "no", "", retryable=True, billed=Billed.NO)
)


@pytest.fixture(scope="module")
def exporter() -> Iterator[InMemorySpanExporter]:
    """A process has one provider, so all tests here share it."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    yield kept
    provider.shutdown()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def parents(spans: InMemorySpanExporter) -> dict[str, str | None]:
    """The name of each span's parent."""
    finished = spans.get_finished_spans()
    names = {span.context.span_id: span.name for span in finished if span.context}
    return {span.name: names.get(span.parent.span_id) if span.parent else None for span in finished}


@pytest.fixture
def edits(caplog: pytest.LogCaptureFixture) -> Generator[list[dict[str, Any]]]:
    """The lines about edits, as machines read them."""
    told: list[dict[str, Any]] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(json.loads(JsonLines(around=trace_ids).format(record)))

    log, reader = logging.getLogger("kontext_edit.edits"), Reader()
    caplog.set_level(logging.INFO, log.name)
    log.addHandler(reader)
    yield told
    log.removeHandler(reader)


async def job(observer: Observer, clock: FakeClock, ended: Task = DONE, *, taken_up: bool = False) -> None:
    """What an editor does for an edit after it was written down."""
    with observer.edit(BEGUN, bytes_in=None if taken_up else 5000, taken_up=taken_up):
        if not taken_up:
            with observer.stage(Stage.SUBMIT):
                await clock.sleep(1)
        for seconds in (6, 1):
            with observer.stage(Stage.WAIT):
                await clock.sleep(seconds)
        with observer.stage(Stage.FETCH):
            await clock.sleep(0.5)
        await asyncio.create_task(end(observer, ended))


async def end(observer: Observer, task: Task) -> None:
    observer.ended(task)


async def call(observer: Observer, clock: FakeClock) -> asyncio.Task[None]:
    """A call that begins an edit and does not wait for its end."""
    with span("tools/call edit_image"):
        with observer.stage(Stage.PREPARE):
            await clock.sleep(2)
        return asyncio.create_task(job(observer, clock))


async def test_the_stages_of_an_edit_hang_below_their_call_though_it_ended_long_before(
    clock: FakeClock, spans: InMemorySpanExporter
) -> None:
    await (await call(Observer(clock), clock))
    assert parents(spans) == {
        "tools/call edit_image": None,
        "prepare": "tools/call edit_image",
        "edit": "tools/call edit_image",
        "submit": "edit",
        "wait": "edit",
        "fetch": "edit",
    }
    found = by_name(spans)
    assert len({span.context.trace_id for span in found.values() if span.context}) == 1
    assert found["edit"].attributes == {
        "kontext.edit.id": "edit-1",
        "kontext.edit.tier": "pro",
        "kontext.edit.provider": "novita",
        "kontext.edit.status": "succeeded",
        "kontext.edit.upstream_id": "t-1",
    }
    assert (found["tools/call edit_image"].end_time or 0) < (found["submit"].end_time or 0)


async def test_an_edit_that_is_taken_up_is_a_trace_of_its_own_with_a_link(
    clock: FakeClock, spans: InMemorySpanExporter
) -> None:
    with span("tools/call get_task") as asking:
        work = asyncio.create_task(job(Observer(clock), clock, taken_up=True))
    await work
    edit = by_name(spans)["edit"]
    assert edit.parent is None
    assert [link.context for link in edit.links] == [asking.get_span_context()]
    assert parents(spans)["wait"] == "edit"


async def test_an_edit_that_failed_is_an_error_with_its_code(
    clock: FakeClock, spans: InMemorySpanExporter
) -> None:
    await job(Observer(clock), clock, FAILED)
    edit = by_name(spans)["edit"]
    assert not edit.status.is_ok
    assert (edit.attributes or {})["error.type"] == "rate_limited"


async def test_a_stage_that_breaks_tells_the_kind_of_its_error_and_not_the_text(
    clock: FakeClock, spans: InMemorySpanExporter
) -> None:
    with pytest.raises(KontextError), Observer(clock).stage(Stage.FETCH):
        raise KontextError("https://store.example/a.png?signature=5ec7e7")
    fetch = by_name(spans)["fetch"]
    assert fetch.attributes == {"error.type": "KontextError"}
    assert "5ec7e7" not in fetch.to_json()


async def test_a_process_that_lets_an_edit_go_ends_its_span_without_an_error(
    clock: FakeClock, spans: InMemorySpanExporter
) -> None:
    observer = Observer(clock, metrics := Metrics())
    work = asyncio.create_task(job(observer, clock))
    await clock.sleep(1.5)
    assert measured(metrics)["kontext_edits_under_way"] == 1
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    edit = by_name(spans)["edit"]
    assert edit.attributes is not None
    assert edit.attributes["error.type"] == "CancelledError"
    assert edit.status.is_unset
    assert measured(metrics)["kontext_edits_under_way"] == 0


async def test_without_a_span_the_log_has_no_ids(spans: InMemorySpanExporter) -> None:
    assert trace_ids() == {}
    with span("x") as opened:
        assert trace_ids()["trace_id"] == f"{opened.get_span_context().trace_id:032x}"
    assert len(by_name(spans)) == 1


async def test_an_edit_is_one_line_of_the_log_without_its_prompt(
    clock: FakeClock, spans: InMemorySpanExporter, edits: list[dict[str, Any]]
) -> None:
    await (await call(Observer(clock, replica="a-1"), clock))
    (line,) = edits
    edit = by_name(spans)["edit"].context
    assert edit is not None
    assert {name: line[name] for name in line if name != "time"} == {
        "level": "info",
        "logger": "kontext_edit.edits",
        "message": "edit succeeded",
        "trace_id": f"{edit.trace_id:032x}",
        "span_id": f"{edit.span_id:016x}",
        "edit": "edit-1",
        "upstream": "t-1",
        "owner": "token:anna",
        "provider": "novita",
        "tier": "pro",
        "status": "succeeded",
        "error": None,
        "list_price_usd": "0.036",
        "billed": "yes",
        "seconds": 9.5,
        "prepare_seconds": 2.0,
        "submit_seconds": 1.0,
        "wait_seconds": 7.0,
        "fetch_seconds": 0.5,
        "bytes_in": 5000,
        "bytes_out": 123,
        "replica": "a-1",
    }


async def test_a_stage_in_which_an_edit_ends_is_counted_up_to_then(
    clock: FakeClock, edits: list[dict[str, Any]]
) -> None:
    observer = Observer(clock)
    with observer.edit(BEGUN), observer.stage(Stage.FETCH):
        await clock.sleep(3)
        observer.ended(DONE)
    assert edits[0]["fetch_seconds"] == 3


async def test_a_whole_edit_is_one_trace_and_one_line_without_its_prompt(
    clock: FakeClock,
    environ: dict[str, str],
    spans: InMemorySpanExporter,
    edits: list[dict[str, Any]],
) -> None:
    async with client(environ, Api(clock, seconds=5), clock) as assistant:
        await assistant.call_tool("edit_image", {"prompt": PROMPT, "images": [photo(environ)]})
    tree = parents(spans)
    assert tree["prepare"] == tree["edit"] == "tools/call edit_image"
    assert tree["submit"] == tree["wait"] == tree["fetch"] == "edit"
    assert PROMPT not in "".join(span.to_json() for span in spans.get_finished_spans())
    (line,) = edits
    assert (line["status"], line["upstream"], line["owner"]) == ("succeeded", "t-1", "local")
    assert line["bytes_in"] > 0
    assert line["bytes_out"] > 0
    assert 5 <= line["wait_seconds"] <= line["seconds"]
    assert PROMPT not in str(line)


async def test_an_edit_that_upstream_refuses_is_told_with_the_code_of_its_error(
    clock: FakeClock, environ: dict[str, str], spans: InMemorySpanExporter, edits: list[dict[str, Any]]
) -> None:
    api = Api(clock, on_submit=[error(400, "ILLEGAL_PROMPT", PROMPT)])
    async with client(environ, api, clock) as assistant:
        await assistant.call_tool("edit_image", {"prompt": PROMPT, "images": [photo(environ)]})
    (line,) = edits
    assert (line["status"], line["error"], line["billed"]) == ("failed", "content_rejected", "no")
    assert (by_name(spans)["submit"].attributes or {})["error.type"] == "ContentRejected"
    assert PROMPT not in str(line) + "".join(span.to_json() for span in spans.get_finished_spans())


async def test_the_edits_of_a_batch_have_the_preparation_in_common_and_nothing_else(
    clock: FakeClock, edits: list[dict[str, Any]]
) -> None:
    observer = Observer(clock)
    for _ in range(2):  # the second call of one and the same task begins anew
        with observer.stage(Stage.PREPARE):
            await clock.sleep(2)
        await asyncio.gather(*(asyncio.create_task(job(observer, clock)) for _ in range(3)))
    assert [(line["prepare_seconds"], line["wait_seconds"]) for line in edits] == [(2, 7)] * 6


async def test_the_prompt_is_logged_where_the_operator_wants_it(
    clock: FakeClock, edits: list[dict[str, Any]]
) -> None:
    Observer(clock, log_prompts=True).ended(FAILED)
    assert (edits[0]["prompt"], edits[0]["error"]) == (PROMPT, "rate_limited")


async def test_an_edit_that_goes_on_elsewhere_is_not_told_as_ended(
    clock: FakeClock, edits: list[dict[str, Any]]
) -> None:
    Observer(clock, metrics := Metrics()).ended(replace(BEGUN, status=Status.PROCESSING))
    assert edits == []
    assert not any(name.startswith("kontext_edits_total") for name in measured(metrics))


def measured(metrics: Metrics) -> dict[str, float]:
    """The values that Prometheus would read, by name and labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


async def test_prometheus_reads_what_happened_and_not_to_whom(clock: FakeClock) -> None:
    metrics = Metrics()
    await (await call(Observer(clock, metrics), clock))
    Observer(clock, metrics).ended(FAILED)
    for count in (metrics.polled, metrics.rate_limited, metrics.database_failed):
        count()
    found = measured(metrics)
    assert found["kontext_edits_total succeeded pro"] == 1
    assert found["kontext_edits_total failed pro"] == 1
    assert found["kontext_list_price_usd_total pro"] == pytest.approx(0.036)
    assert found["kontext_stage_seconds_sum wait"] == 7
    assert found["kontext_stage_seconds_count wait"] == 2
    assert found["kontext_stage_seconds_bucket 2.5 prepare"] == 1
    assert found["kontext_edits_under_way"] == 0
    assert found["kontext_polls_total"] == 1
    assert found["kontext_rate_limited_total"] == 1
    assert found["kontext_database_errors_total"] == 1
    assert found["process_resident_memory_bytes"] > 0
    assert CONTENT_TYPE.startswith("text/plain")
    told = metrics.render().decode()
    assert not any(secret in told for secret in ("anna", "edit-1", "t-1", PROMPT))


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.polled()
    assert (measured(one)["kontext_polls_total"], measured(other)["kontext_polls_total"]) == (1, 0)


def test_a_personal_server_counts_nothing_and_has_the_same_seam() -> None:
    seams: list[Measures] = [NO_MEASURES, Metrics()]
    for measures in seams:
        measures.ended("pro", Status.FAILED, 0.0)
        measures.under_way(1)
        measures.took(Stage.WAIT, 1.0)
        measures.polled()
        measures.rate_limited()
        measures.database_failed()
        measures.called("ping", "ok")


async def test_calls_are_counted_by_method_and_result_and_invented_names_as_one() -> None:
    async def call_tool(ctx: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        del ctx
        if params.name == "gone":
            raise MCPError(-32002, "gone")
        if params.name == "broken":
            raise RuntimeError
        return types.CallToolResult(content=[], is_error=params.name == "bad")

    async def list_tools(ctx: object, params: object) -> types.ListToolsResult:
        del ctx, params
        names = ("good", "bad", "gone", "broken")
        return types.ListToolsResult(
            tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in names]
        )

    server = Server[Any]("counted", on_call_tool=call_tool, on_list_tools=list_tools)
    server.middleware.append(CountedCalls(server, metrics := Metrics()))
    async with Client(server) as client:
        for name in ("good", "bad", "gone", "broken", "good"):
            with suppress(MCPError):
                await client.call_tool(name, {})
        with pytest.raises(MCPError):
            await client.read_resource("file:///x")
    found = {name: value for name, value in measured(metrics).items() if "calls_total tools/call" in name}
    assert found == {
        "kontext_calls_total tools/call ok": 2,
        "kontext_calls_total tools/call tool_error": 1,
        "kontext_calls_total tools/call -32002": 1,
        "kontext_calls_total tools/call error": 1,
    }
    assert measured(metrics)["kontext_calls_total other -32601"] == 1


async def test_requests_that_are_given_up_or_malformed_are_counted_and_notifications_are_not() -> None:
    counted = CountedCalls(Server[Any]("counted"), metrics := Metrics())

    async def ask(request_id: int | None, error: BaseException | None = None) -> None:
        async def answer(_: object) -> dict[str, Any]:
            if error:
                raise error
            return {}

        context = SimpleNamespace(request_id=request_id, method="ping")
        await counted(cast("ServerRequestContext[Any, Any]", context), answer)

    await ask(None)
    with pytest.raises(asyncio.CancelledError):
        await ask(1, asyncio.CancelledError())
    with pytest.raises(ValidationError):
        await ask(2, ValidationError.from_exception_data("a call", []))
    found = {name: value for name, value in measured(metrics).items() if "calls_total" in name}
    assert found == {"kontext_calls_total ping cancelled": 1, "kontext_calls_total ping -32602": 1}
