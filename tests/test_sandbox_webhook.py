"""The sandbox tells of a task's end where an edit asked for it: on this machine, beside its other work."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.clock import FakeClock
from tests.sandbox_bench import DEV, MAX, PRO, RESULT, Bench, plain

from kontext_edit.sandbox.api import Sandbox
from kontext_edit.sandbox.courier import Courier
from kontext_edit.sandbox.tasks import AfterPolls, AfterSeconds, Immediate


@dataclass
class Receiver:
    """What listens at a webhook's address: a real socket, and answers as it is told to."""

    url: str = ""
    statuses: list[int] = field(default_factory=list[int])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        async with self.heard:
            self.events.append(json.loads(body))
            self.headers.append(headers | {"": head[0]})
            self.heard.notify_all()

    async def hears(self, number: int) -> None:
        async with asyncio.timeout(20), self.heard:
            await self.heard.wait_for(lambda: len(self.events) >= number)


@asynccontextmanager
async def listening(*statuses: int) -> AsyncGenerator[Receiver]:
    receiver = Receiver(statuses=list(statuses))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhooks/edit-1/mark"
    async with server:
        yield receiver


def named(url: str) -> dict[str, Any]:
    return {"extra": {"webhook": {"url": url}}}


@pytest.mark.parametrize("path", [DEV, PRO, MAX])
async def test_the_end_is_posted_with_the_same_result_that_asking_brings(path: str) -> None:
    bench = Bench()
    async with listening() as receiver:
        task_id = await bench.submit(path, images=[plain()], **named(receiver.url))
        await receiver.hears(1)
    (event,) = receiver.events
    assert event == {"event_type": "ASYNC_TASK_RESULT", "payload": await bench.poll(task_id)}
    (headers,) = receiver.headers
    assert headers[""] == "POST /webhooks/edit-1/mark HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers
    assert not [name for name in headers if "signature" in name]
    await bench.sandbox.close()


async def test_a_task_that_takes_a_time_is_told_of_when_it_is_over_though_nobody_asks() -> None:
    bench = Bench(AfterSeconds(7))
    async with listening() as receiver:
        await bench.submit(**named(receiver.url))
        await receiver.hears(1)
    assert receiver.events[0]["payload"]["task"]["status"] == "TASK_STATUS_SUCCEED"
    assert receiver.events[0]["payload"]["extra"]["debug_info"]["execute_time_ms"] == 7000
    await bench.sandbox.close()


async def test_a_task_that_polls_bring_on_is_told_of_at_the_poll_that_ends_it_and_once() -> None:
    bench = Bench(AfterPolls(2))
    async with listening() as receiver:
        task_id = await bench.submit(prompt="sandbox:fail", **named(receiver.url))
        for _ in range(2):
            await bench.poll(task_id)
        assert receiver.events == []
        for _ in range(3):
            await bench.poll(task_id)
        await receiver.hears(1)
        other = await bench.submit(**named(receiver.url))
        for _ in range(3):
            await bench.poll(other)
        await receiver.hears(2)
    told = [event["payload"]["task"] for event in receiver.events]
    assert [(task["task_id"], task["status"]) for task in told] == [
        (task_id, "TASK_STATUS_FAILED"),
        (other, "TASK_STATUS_SUCCEED"),
    ]
    await bench.sandbox.close()


async def test_it_is_repeated_until_it_is_taken() -> None:
    bench = Bench()
    async with listening(500, 302, 404) as receiver:
        await bench.submit(**named(receiver.url))
        await receiver.hears(4)
    assert receiver.events[0] == receiver.events[3]
    assert bench.clock.seconds == 1 + 2 + 4
    await bench.sandbox.close()


async def test_after_five_repeats_in_vain_it_is_given_up(clock: FakeClock) -> None:
    called: list[httpx.Request] = []

    def dead(request: httpx.Request) -> httpx.Response:
        called.append(request)
        raise httpx.ConnectError("refused")

    courier = Courier(clock, httpx.MockTransport(dead))
    courier.deliver("http://127.0.0.1:9/hook", {"task": {}})
    await clock.sleep(1_000)
    assert len(called) == 6
    assert {timeout for request in called for timeout in request.extensions["timeout"].values()} == {5.0}
    await courier.close()


@pytest.mark.parametrize(
    "url",
    [
        "https://edits.example/hook",
        "http://192.0.2.7/hook",
        "http://127.0.0.1@edits.example/hook",
        "http://localhost.edits.example/hook",
        "http://0.0.0.0/hook",
        "http://[",
    ],
)
async def test_an_address_beyond_this_machine_is_taken_and_never_called(
    url: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        called.append(request)
        return httpx.Response(200)

    courier = Courier(clock, httpx.MockTransport(answer))
    with caplog.at_level(logging.INFO):
        courier.deliver(url, {})
    await clock.sleep(100)
    assert called == []
    assert "beyond this machine" in caplog.text
    assert await Bench().submit(**named(url))


async def test_a_sandbox_that_shuts_down_leaves_nothing_running(clock: FakeClock) -> None:
    sandbox = Sandbox(clock=clock, progression=AfterSeconds(1_000_000))
    before = asyncio.all_tasks()
    async with sandbox.app.router.lifespan_context(sandbox.app):
        transport = httpx.ASGITransport(app=sandbox.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"Authorization": "Bearer k"}
            body = {"prompt": "x", **named("http://127.0.0.1:9/hook")}
            answer = await client.post(PRO, json=body, headers=headers)
            assert (await client.get(RESULT, params=answer.json(), headers=headers)).is_success
        assert asyncio.all_tasks() - before
    assert not asyncio.all_tasks() - before


async def test_without_a_webhook_nothing_goes_on_beside_the_requests() -> None:
    bench = Bench(Immediate())
    before = asyncio.all_tasks()
    await bench.poll(await bench.submit())
    assert asyncio.all_tasks() == before
