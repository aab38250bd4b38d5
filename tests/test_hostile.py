"""Whatever is sent to the public door: a clear refusal, no fault of ours, no token in any log or answer."""

import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clock import FakeClock
from tests.doors import HEADERS, HOST, MODERN, Door, modern, open_door

from kontext_edit.clock import SystemClock

ERAS: dict[str, dict[str, str]] = {"2025-11-25": {}, MODERN: {"mcp-protocol-version": MODERN}}
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'

MALFORMED = {
    "nothing": b"",
    "a NUL byte": b"\0",
    "a NUL byte inside": b'{"jsonrpc":"2.0","id":1,"method":"tools/\0"}',
    "deep arrays": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep parameters": b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"x":'
    + b"[" * 3000
    + b"]" * 3000
    + b"}}",
    "a huge number": b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"tools/list"}',
    "a batch": b"[" + CALL + b"]",
    "an empty batch": b"[]",
    "a string": b'"tools/list"',
    "null": b"null",
    "not UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"\xff"}',
    "half a pair": b'{"jsonrpc":"2.0","id":1,"method":"tools/\\ud800"}',
    "UTF-16": CALL.decode().encode("utf-16"),
    "cut": CALL[:-5],
    "more after it": CALL + b"}",
    "another version": b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}',
    "a method that is a number": b'{"jsonrpc":"2.0","id":1,"method":7}',
    "parameters in a list": b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[1]}',
}


@pytest.fixture
async def door() -> AsyncGenerator[Door]:
    async with open_door(SystemClock()) as opened:
        yield opened


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_json_rpc_is_a_bad_request(
    content: bytes, era: str, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await door.mcp(content, door.book.add("anna", "read"), **ERAS[era])
    assert answer.status_code == 400
    assert "error" in answer.json()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "multipart/form-data", "", "application/x-www-form-urlencoded", "application/jsonx"],
)
async def test_another_type_of_content_is_a_bad_request(kind: str, era: str, door: Door) -> None:
    headers = ERAS[era] | {"content-type": kind}
    answer = await door.mcp(CALL, door.book.add("anna", "read"), **headers)
    assert answer.status_code in (400, 415)


@pytest.mark.parametrize(
    "name", ["\ud800", "\0", "x" * 100_000, "../../etc/passwd"], ids=["half a pair", "NUL", "long", "path"]
)
async def test_odd_texts_in_a_well_formed_call_are_no_fault_of_ours(name: str, door: Door) -> None:
    body, headers = modern("tools/call", name=name, arguments={name: [name] * 3})
    answer = await door.mcp(
        json.dumps(body).encode(), door.book.add("anna", "read"), **headers | {"mcp-name": "x"}
    )
    assert answer.status_code in (200, 400)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.integers() | JSON,
        "method": st.sampled_from(["initialize", "tools/list", "tools/call", "notifications/x"]) | JSON,
        "params": JSON,
        "result": JSON,
    },
)


@given(body=CALLS | JSON, era=st.sampled_from(list(ERAS)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
async def test_no_json_at_all_makes_a_fault_of_ours(body: Any, era: str) -> None:
    async with open_door(SystemClock()) as door:
        content = json.dumps(body).encode()
        answer = await door.mcp(content, door.book.add("anna", "read"), **ERAS[era])
    assert answer.status_code in (200, 202, 400, 404)


# Secrets.


PATHS = st.sampled_from(
    ["/mcp", "/uploads", "/uploads/{}", "/metrics", "/pictures/{}", "/{}", "/health", "/"]
)
KINDS = st.sampled_from(
    ["static", "unknown static", "removed", "jwt", "stranger's jwt", "expired jwt", "cut jwt"]
)
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "DELETE", "OPTIONS", "PUT"]),
        "path": PATHS,
        "token": KINDS,
        "scheme": st.sampled_from(
            ["Bearer {}", "bearer {}", "Bearer  {} ", "Basic {}", "{}", "Bearer {}, Bearer {}"]
        ),
        "query": st.sampled_from(["", "?access_token={}", "?break=1&x={}"]),
        "host": st.sampled_from([HOST, HOST, HOST, "evil.example", "{}.example"]),
        "origin": st.sampled_from([None, "https://evil.example", "https://{}"]),
        "body": st.sampled_from([b"", CALL, b"[", b"x" * 20_000]),
        "era": st.sampled_from(list(ERAS)),
        "down": st.booleans(),
    }
)


async def a_token(door: Door, kind: str) -> str:
    now = SystemClock().now()
    match kind:
        case "static":
            return door.book.add("anna", "edit", "metrics")
        case "unknown static" | "removed":
            token = door.book.add("gone", "edit")
            if kind == "removed":
                await door.mcp(b"{}", token)
            door.book.kept.clear()
            return token
        case "jwt":
            return door.issuer.token()
        case "expired jwt":
            return door.issuer.token(exp=now - 600)
        case "cut jwt":
            return door.issuer.token()[:-5]
        case _:
            return door.issuer.token(headers={"kid": "unheard of"})


@given(request=REQUESTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
async def test_no_token_stands_in_any_log_or_answer(
    request: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("kontext_edit").setLevel(logging.DEBUG)
    caplog.clear()
    async with open_door(SystemClock()) as door:
        token = await a_token(door, request["token"])
        door.issuer.down = request["down"]
        headers = HEADERS | ERAS[request["era"]]
        if request["method"] == "GET":
            headers["accept"] = "application/json"  # whoever accepts a stream is given one, for ever
        headers |= {
            "authorization": request["scheme"].format(token, token),
            "host": request["host"].format(token),
        }
        if request["origin"]:
            headers["origin"] = request["origin"].format(token)
        url = request["path"].format(token) + request["query"].format(token)
        # The address is sent past the client's own log, which is not the server's.
        logging.getLogger("httpx").disabled = True
        answer = await door.client.request(request["method"], url, headers=headers, content=request["body"])
        logging.getLogger("httpx").disabled = False
        told = [answer.text, str(answer.headers)]
    formatter = logging.Formatter("%(name)s %(message)s")
    told += [formatter.format(record) for record in caplog.records]
    secrets = [token, token.removeprefix("kxt_"), *(part for part in token.split(".") if len(part) > 30)]
    for secret in secrets:
        assert not [line for line in told if secret in line]


async def test_no_token_stands_in_what_is_known_of_a_bearer(clock: FakeClock) -> None:
    async with open_door(clock) as door:
        for token in (door.book.add("anna", "edit"), door.issuer.token()):
            access = await door.verifier.verify_token(token)
            assert access is not None
            assert token not in repr(access) + access.model_dump_json()
