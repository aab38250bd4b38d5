"""The guard of the public door: foreign, oversized and slow requests are refused, each in its way."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.clock import FakeClock
from tests.doors import HEADERS, HOST, PLACES, Door, bearer, dripping, listening, open_door

from kontext_edit.clock import SystemClock
from kontext_edit.team.guard import PATIENCE, BodyStopped, Guard, Limits


@pytest.fixture
async def door(clock: FakeClock) -> AsyncGenerator[Door]:
    async with open_door(clock) as opened:
        yield opened


def said(response: Any) -> dict[str, Any]:
    """The error that is told to the assistant."""
    body = response.json()
    assert (body["jsonrpc"], body["id"]) == ("2.0", None)
    assert body["error"]["data"]["hint"] in body["error"]["message"]
    return body["error"]["data"]


# Where requests come from.


@pytest.mark.parametrize("path", ["/mcp", "/uploads", "/metrics", "/pictures/1.png"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": f"{HOST}.evil.example"}, 421),
        ({"host": f"{HOST}:443"}, 421),
        ({"host": "localhost:80.evil.example"}, 421),
        ({"host": "localhost:"}, 421),
        ({"host": ""}, 421),
        ({"host": "203.0.113.7"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": f"http://{HOST}"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": f"https://{HOST}.evil.example"}, 403),
        ({"origin": "http://localhost:1@evil.example"}, 403),
    ],
    ids=str,
)
async def test_a_foreign_name_or_website_is_refused_at_every_place(
    path: str, headers: dict[str, str], status: int, door: Door
) -> None:
    token = bearer(door.book.add("anna", "edit", "metrics"))
    answer = await door.client.get(path, headers=token | headers)
    assert answer.status_code == status
    assert not said(answer)["retryable"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": HOST.upper()},
        {"origin": f"https://{HOST}"},
        {"host": "localhost:8765"},
        {"origin": "http://localhost:6274"},
    ],
    ids=str,
)
async def test_its_own_names_and_pages_are_let_in(headers: dict[str, str], door: Door) -> None:
    assert (await door.client.get("/pictures/1.png", headers=headers)).status_code == 200


async def test_probes_and_public_facts_answer_under_any_name(door: Door) -> None:
    for path in ("/health", "/.well-known/oauth-protected-resource/mcp"):
        answer = await door.client.get(
            path, headers={"host": "10.0.0.7:8765", "origin": "https://any.example"}
        )
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/admin",
        "/.env",
        "//mcp",
        "/mcp%2f..%2fmetrics/x",
        "/pictures/../metrics",
        "/%2e%2e/mcp",
        "/MCP",
        "/%00",
    ],
)
async def test_what_is_in_no_list_does_not_exist(path: str, door: Door) -> None:
    token = door.book.add("anna", "read")
    assert (await door.client.get(path, headers=bearer(token))).status_code in (403, 404)


# How large a request may be.


async def test_a_declared_body_above_the_limit_is_not_read(door: Door) -> None:
    async def never() -> AsyncIterator[bytes]:
        pytest.fail("it was read")
        yield b""

    for length in ("10001", "9" * 5000):
        headers = bearer(door.book.add("anna", "edit")) | {"content-length": length}
        answer = await door.client.post("/uploads", headers=headers, content=never())
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"
        assert said(answer)["code"] == "request_too_large"


@pytest.mark.parametrize(("parts", "status"), [(10, 200), (11, 413), (500, 413)])
async def test_a_streamed_body_is_read_up_to_the_limit(
    parts: int, status: int, door: Door, clock: FakeClock
) -> None:
    headers = bearer(door.book.add("anna", "edit"))
    answer = await door.client.post("/uploads", headers=headers, content=dripping(clock, parts, 0, size=1000))
    assert answer.status_code == status
    assert door.uploaded == ([10_000] if status == 200 else [])


async def test_mcp_reads_no_more_than_its_limit_either(door: Door, clock: FakeClock) -> None:
    headers = HEADERS | bearer(door.book.add("anna", "read"))
    body = dripping(clock, 11, 0, size=100_000)
    answer = await door.client.post("/mcp", headers=headers, content=body)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("x-large", "x" * 40_000)], 431),
        ([(f"x-{number}", "x") for number in range(101)], 431),
        ([("authorization", "Bearer a"), ("authorization", "Bearer b")], 400),
        ([("host", HOST), ("host", "evil.example")], 400),
        ([("content-length", "1"), ("content-length", "2")], 400),
    ],
    ids=["large", "many", "two tokens", "two hosts", "two lengths"],
)
async def test_headers_that_are_too_much_or_ambiguous_are_refused(
    headers: list[tuple[str, str]], status: int, door: Door
) -> None:
    assert (await door.client.get("/mcp", headers=headers)).status_code == status


async def test_an_address_that_is_too_long_is_refused(door: Door) -> None:
    assert (await door.client.get(f"/pictures/{'x' * 9000}")).status_code == 414
    assert (await door.client.get(f"/pictures/x?{'x' * 9000}")).status_code == 414


# How slow a request may be.


async def test_a_body_that_falls_silent_is_given_up(door: Door, clock: FakeClock) -> None:
    headers = bearer(door.book.add("anna", "edit"))
    answer = await door.client.post("/uploads", headers=headers, content=dripping(clock, 3, 21))
    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"
    assert said(answer)["retryable"]
    assert door.uploaded == []


async def test_a_body_that_drips_for_ever_is_given_up(clock: FakeClock) -> None:
    async with open_door(clock, limits=Limits(body_seconds=60, silent_seconds=20)) as door:
        headers = bearer(door.book.add("anna", "edit"))
        began = clock.monotonic()
        answer = await door.client.post("/uploads", headers=headers, content=dripping(clock, 100, 19))
    assert answer.status_code == 408
    assert clock.monotonic() - began == pytest.approx(60)


async def test_a_slow_body_within_the_limits_is_read(door: Door, clock: FakeClock) -> None:
    headers = bearer(door.book.add("anna", "edit"))
    answer = await door.client.post("/uploads", headers=headers, content=dripping(clock, 10, 19))
    assert answer.text == "100"


# What else can happen between the guard and the application.


async def answered(
    app: ASGIApp,
    clock: FakeClock,
    *parts: bytes,
    limits: Limits = PATIENCE,
    ends: bool = True,
    **changes: Any,
) -> list[Message]:
    """What an upload is answered by an application of the test; it ends after its last part, or is cut."""
    sent: list[Message] = []
    coming: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    coming.append({"type": "http.request" if ends else "http.disconnect"})

    async def receive() -> Message:
        return coming.pop(0) if coming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/uploads",
        "query_string": b"",
        "headers": [(b"host", HOST.encode()), (b"transfer-encoding", b"chunked")],
    }
    hosts = TransportSecuritySettings(allowed_hosts=[HOST])
    await Guard(app, PLACES, hosts, clock, limits)(scope | changes, receive, send)
    return sent


async def test_time_that_this_server_takes_itself_does_not_count(clock: FakeClock) -> None:
    async def lingering(scope: Scope, receive: Receive, send: Send) -> None:
        async for _ in Request(scope, receive).stream():
            await clock.sleep(100)
        await PlainTextResponse("read")(scope, receive, send)

    limits = Limits(body_seconds=60, silent_seconds=20)
    assert (await answered(lingering, clock, b"a", b"b", b"c", limits=limits))[0]["status"] == 200


async def test_an_application_that_swallows_the_end_of_a_body_does_not_answer_for_it(
    clock: FakeClock,
) -> None:
    async def forgiving(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(Exception):
            await Request(scope, receive).body()
        await PlainTextResponse("fine")(scope, receive, send)

    sent = await answered(forgiving, clock, b"x" * 10_001)
    assert [message.get("status") for message in sent] == [413, None]


async def test_an_answer_that_had_begun_is_cut_and_not_ended(clock: FakeClock) -> None:
    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await Request(scope, receive).body()

    with pytest.raises(BodyStopped):
        await answered(hasty, clock, b"x" * 10_001)


async def test_a_fault_of_the_application_is_not_hidden(clock: FakeClock) -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await answered(broken, clock, b"x")


async def test_a_client_that_goes_away_in_the_middle_is_told_to_the_application(clock: FakeClock) -> None:
    async def reading(scope: Scope, receive: Receive, _send: Send) -> None:
        with pytest.raises(ClientDisconnect):
            await Request(scope, receive).body()

    assert await answered(reading, clock, b"x", ends=False) == []


async def test_what_is_neither_a_request_nor_the_start_is_closed(clock: FakeClock) -> None:
    async def never(scope: Scope, _receive: Receive, _send: Send) -> None:
        assert scope["type"] == "lifespan"

    assert await answered(never, clock, type="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert await answered(never, clock, type="lifespan") == []


# What is said, and what is written down.


async def test_every_answer_forbids_guessing_keeping_and_running_it(door: Door) -> None:
    for path in ("/health", "/pictures/1.png", "/mcp", "/nowhere"):
        headers = (await door.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("private" if path == "/pictures/1.png" else "no-store")


async def test_the_log_has_one_line_for_each_request_without_path_or_query(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kontext_edit.team.guard")
    token = door.book.add("anna", "edit")
    await door.client.post("/uploads/secret?signature=secret", headers=bearer(token), content=b"secret")
    await door.client.get("/secret", headers={"host": "secret"})
    await door.client.request("SECRET", "/mcp")
    assert [
        record.getMessage().replace(" in 0 ms", "")
        for record in caplog.records
        if "ms" in record.getMessage()
    ] == [
        "POST /uploads 200 for token:anna",
        "GET /? 404 for nobody known",
        "? /mcp 401 for nobody known",
    ]


# On a real socket.


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [("/uploads", True, b"408"), ("/uploads", False, b"401"), ("/nowhere", True, b"404")],
)
async def test_the_connection_of_an_unfinished_body_is_closed(
    path: str, *, token: bool, status: bytes
) -> None:
    async with open_door(SystemClock(), limits=Limits(silent_seconds=0.05)) as door:
        good = door.book.add("anna", "edit")
        with listening(door) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 100\r\n"
            head += f"Authorization: Bearer {good if token else 'x'}\r\n\r\n"
            writer.write(head.encode() + b"only this")
            answer = await asyncio.wait_for(reader.read(), 20)  # to the end of the connection
            writer.close()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in answer


REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("before", "said_first"), [(0, b""), (0, b"GET /hea"), (0, REQUEST[:-2]), (2, b"G"), (2, REQUEST[:-2])]
)
async def test_a_connection_whose_headers_do_not_arrive_is_closed(before: int, said_first: bytes) -> None:
    async with open_door(SystemClock()) as door:
        with listening(door) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(before):
                writer.write(REQUEST)
                await reader.readuntil(b"fine")
            writer.write(said_first)
            assert await asyncio.wait_for(reader.read(), 20) == b""  # to the end of the connection
            writer.close()


async def test_a_connection_that_is_used_again_stays_open() -> None:
    async with open_door(SystemClock()) as door:
        with listening(door) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                writer.write(REQUEST)
                assert (await reader.readuntil(b"fine")).startswith(b"HTTP/1.1 200")
            writer.close()


@pytest.mark.parametrize(
    "request_sent",
    [
        b"nonsense\r\n\r\n",
        REQUEST.replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n"),
        REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: -5\r\n\r\n"),
        REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        REQUEST.replace(b"localhost", b"local\0host"),
        REQUEST.replace(b"\r\n\r\n", b"\r\nX-Large: " + b"x" * 60_000 + b"\r\n\r\n"),
        REQUEST.replace(b"/health", b"http://evil.example/mcp"),
    ],
    ids=[
        "nonsense",
        "two hosts",
        "a negative length",
        "two lengths",
        "NUL",
        "large headers",
        "another's address",
    ],
)
async def test_what_is_no_http_of_ours_is_refused(request_sent: bytes) -> None:
    async with open_door(SystemClock()) as door:
        with listening(door) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_sent)
            answer = await asyncio.wait_for(reader.readline(), 20)
            writer.close()
    assert answer.startswith(b"HTTP/1.1 4")
