"""Who is let in at the public door, for what, and how many requests at once; what the others are told."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from tests.clock import FakeClock
from tests.doors import HEADERS, Door, bearer, listening, modern, open_door
from tests.issuer import AUDIENCE, ISSUER

from kontext_edit.clock import SystemClock

METADATA = "/.well-known/oauth-protected-resource/mcp"


@pytest.fixture
async def door() -> AsyncGenerator[Door]:
    # The SDK asks the machine's clock whether a token has expired.
    async with open_door(SystemClock()) as opened:
        yield opened


async def called(door: Door, token: str) -> dict[str, Any]:
    """Who the server takes the bearer for."""
    body, headers = modern("tools/call", name="who", arguments={})
    answer = await door.mcp(json.dumps(body).encode(), token, **headers)
    assert answer.status_code == 200
    return json.loads(answer.json()["result"]["content"][0]["text"])


async def test_a_bearer_is_who_its_token_says(door: Door) -> None:
    assert await called(door, door.book.add("anna", "edit")) == {"owner": "token:anna", "may_edit": True}
    assert await called(door, door.book.add("bob", "read")) == {"owner": "token:bob", "may_edit": False}
    owner = f"oauth:{ISSUER} anna"
    assert await called(door, door.issuer.token()) == {"owner": owner, "may_edit": True}
    assert await called(door, door.issuer.token(scope="read")) == {"owner": owner, "may_edit": False}


async def test_handshake_clients_are_known_too(door: Door) -> None:
    call: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "who", "arguments": {}},
    }
    answer = await door.mcp(json.dumps(call).encode(), door.book.add("anna", "edit"))
    assert '\\"owner\\": \\"token:anna\\"' in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic YW5uYTphbm5h"},
        {"authorization": "Bearer kxt_"},
        {"authorization": "Bearer a.b.c"},
        {"authorization": "Bearer \xff\xfe"},
    ],
    ids=str,
)
async def test_nobody_gets_in_without_a_good_token(headers: dict[str, str], door: Door) -> None:
    encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    for method, path in (("POST", "/mcp"), ("GET", "/mcp"), ("POST", "/uploads"), ("GET", "/metrics")):
        answer = await door.client.request(method, path, headers=encoded)
        assert answer.status_code == 401
        assert f'resource_metadata="https://edits.example{METADATA}"' in answer.headers["www-authenticate"]
    assert door.uploaded == []


async def test_a_token_in_the_address_does_not_count(door: Door) -> None:
    answer = await door.client.get("/metrics", params={"access_token": door.book.add("scraper", "metrics")})
    assert answer.status_code == 401


async def test_an_expired_token_of_the_issuer_is_refused(door: Door) -> None:
    now = SystemClock().now()
    for claims in ({"exp": now - 60}, {"nbf": now + 60}, {"aud": "https://other.example"}, {"sub": None}):
        said: dict[str, Any] = claims
        assert (await door.mcp(b"{}", door.issuer.token(**said))).status_code == 401


@pytest.mark.parametrize(
    ("scope", "open_to"),
    [("read", {"/mcp"}), ("edit", {"/mcp", "/uploads"}), ("metrics", {"/metrics"}), ("openid", set[str]())],
)
async def test_a_scope_opens_its_places_and_no_others(scope: str, open_to: set[str], door: Door) -> None:
    for token in (door.book.add("anna", scope), door.issuer.token(scope=scope)):
        found: set[str] = set()
        for method, path in (("POST", "/mcp"), ("POST", "/uploads"), ("GET", "/metrics")):
            answer = await door.client.request(method, path, headers=bearer(token) | HEADERS)
            assert (answer.status_code == 403) is (path not in open_to)
            if answer.status_code == 403:
                assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
            else:
                found.add(path)
        assert found == open_to


# What can be read about the door.


async def test_clients_read_which_issuer_to_go_to(door: Door) -> None:
    answer = await door.client.get(METADATA, headers={"origin": "https://inspector.example"})
    assert answer.json() == {
        "resource": AUDIENCE,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["read", "edit"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Kontext Edit",
    }
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_with_static_tokens_alone_no_issuer_is_announced() -> None:
    async with open_door(SystemClock(), oauth=False) as door:
        assert (await door.client.get(METADATA)).status_code == 404
        refused = await door.client.post("/mcp")
        assert refused.status_code == 401
        assert "resource_metadata" not in refused.headers["www-authenticate"]
        assert (await called(door, door.book.add("anna", "read")))["owner"] == "token:anna"
        assert (await door.mcp(b"{}", door.issuer.token())).status_code == 401


# While nobody can tell, and when there are too many.


async def test_a_token_that_nobody_can_judge_now_is_not_called_wrong(door: Door) -> None:
    door.issuer.down = True
    answer = await door.mcp(b"{}", door.issuer.token())
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "30"
    assert answer.json()["error"]["data"]["retryable"]
    door.book.broken = True
    assert (await door.mcp(b"{}", door.book.add("anna", "read"))).status_code == 503


async def test_probes_answer_while_the_issuer_is_out_of_reach(door: Door) -> None:
    door.issuer.down = True
    assert (await door.client.get("/health")).status_code == 200


async def test_one_owner_may_have_so_many_requests_open_and_others_are_not_touched(
    clock: FakeClock,
) -> None:
    async with open_door(clock, calls_at_once=3) as door:
        anna, bob = (bearer(door.book.add(name, "edit")) for name in ("anna", "bob"))
        held = [
            asyncio.create_task(door.client.post("/uploads?wait=1", headers=anna, content=b"x"))
            for _ in range(3)
        ]
        while len(door.uploaded) < len(held):
            await clock.sleep(0.01)
        refused = await door.client.post("/uploads", headers=anna, content=b"x")
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "5"
        assert refused.json()["error"]["data"]["code"] == "too_many_calls"
        assert "Wait until some of them have ended" in refused.json()["error"]["message"]
        assert (await door.client.post("/uploads", headers=bob, content=b"x")).status_code == 200
        door.go_on.set()
        assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}
        assert (await door.client.post("/uploads", headers=anna, content=b"x")).status_code == 200


async def test_requests_that_fail_or_go_away_are_not_counted_on(clock: FakeClock) -> None:
    async with open_door(clock, calls_at_once=1) as door:
        scraper = bearer(door.book.add("scraper", "metrics"))
        for _ in range(3):
            assert (await door.client.get("/metrics?break=1", headers=scraper)).status_code == 500
        assert (await door.client.get("/metrics", headers=scraper)).status_code == 200


async def test_a_refusal_reaches_the_assistant_through_a_client_of_mcp() -> None:
    async with open_door(SystemClock(), calls_at_once=0) as door:
        with listening(door) as port:
            token = door.book.add("anna", "read")
            http = httpx2.AsyncClient(headers=bearer(token), trust_env=False)
            way = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
            with pytest.raises(ExceptionGroup) as caught:
                async with Client(way, mode="legacy"):
                    pass
            await http.aclose()
    assert caught.group_contains(MCPError, match="Wait until some of them have ended")
