"""A client may ask what the server can do before it chooses the era of the protocol, on one connection."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.message import SessionMessage
from PIL import Image
from tests.surroundings import machine_environ

from kontext_edit.era_probe import probes_answered
from kontext_edit.server import make_server

PROTOCOL = "io.modelcontextprotocol"
INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "a client that probes", "version": "1"},
}


def modern(version: str = "2026-07-28", **params: Any) -> dict[str, Any]:
    """The parameters of a request of the newer era."""
    about: dict[str, Any] = {f"{PROTOCOL}/protocolVersion": version, f"{PROTOCOL}/clientCapabilities": {}}
    return {**params, "_meta": about}


class Wire:
    """One connection to a server in a process of its own, line by line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._sent = 0

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self._sent += 1
        self.say({"id": self._sent, "method": method, "params": params or {}})
        assert self._process.stdout is not None
        while "id" not in (answer := json.loads(self._process.stdout.readline())):
            pass
        assert answer["id"] == self._sent
        return answer

    def say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()


@pytest.fixture
def wire(environ: dict[str, str]) -> Iterator[Wire]:
    Image.new("RGB", (300, 200), "teal").save(Path(environ["KONTEXT_ALLOWED_DIRS"]) / "photo.jpg")
    with subprocess.Popen(
        [sys.executable, "-m", "kontext_edit"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=machine_environ() | environ,
        text=True,
    ) as process:
        killer = threading.Timer(60, process.kill)
        killer.start()
        yield Wire(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
        killer.cancel()


PROBES: dict[str, dict[str, Any]] = {
    "of the newer era": modern(),
    "of an era to come": modern("2027-01-01"),
    "without saying which": {},
}


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_a_client_that_probes_and_then_initializes_works(wire: Wire, probe: dict[str, Any]) -> None:
    answer = wire.ask("server/discover", probe)
    if probe == modern():
        assert answer["result"]["supportedVersions"] == ["2026-07-28"]
        assert answer["result"]["capabilities"]["tools"] is not None
    else:
        assert answer["error"]["code"] in (types.UNSUPPORTED_PROTOCOL_VERSION, types.METHOD_NOT_FOUND)
    assert wire.ask("initialize", INITIALIZE)["result"]["protocolVersion"] == "2025-06-18"
    wire.say({"method": "notifications/initialized"})
    assert {tool["name"] for tool in wire.ask("tools/list")["result"]["tools"]} >= {"edit_image", "get_task"}
    arguments = {"prompt": "Blur it", "images": ["photo.jpg"]}
    result = wire.ask("tools/call", {"name": "edit_image", "arguments": arguments})["result"]
    assert result["structuredContent"]["status"] == "succeeded"


def test_a_client_may_probe_more_than_once_and_go_on_in_the_newer_era(wire: Wire) -> None:
    assert wire.ask("server/discover", modern()) | {"id": 2} == wire.ask("server/discover", modern())
    assert wire.ask("tools/list", modern())["result"]["tools"]
    assert wire.ask("server/discover", modern())["result"]["supportedVersions"] == ["2026-07-28"]


def test_a_connection_stays_in_the_era_that_it_began_with(wire: Wire) -> None:
    wire.ask("tools/list", modern())
    assert wire.ask("initialize", INITIALIZE)["error"]["code"] == types.UNSUPPORTED_PROTOCOL_VERSION


async def test_the_sdks_client_works_in_both_eras(environ: dict[str, str]) -> None:
    process = StdioServerParameters(command=sys.executable, args=["-m", "kontext_edit"], env=environ)
    for mode, version in (("auto", "2026-07-28"), ("legacy", "2025-11-25")):
        async with Client(stdio_client(process), mode=mode) as client:
            assert client.protocol_version == version
            assert (await client.list_tools()).tools


@pytest.mark.parametrize("gone", ["the client's words", "the client's ear", "the server"])
async def test_a_side_that_goes_away_ends_the_other_without_an_error(
    gone: str, environ: dict[str, str]
) -> None:
    say, read = anyio.create_memory_object_stream[SessionMessage | Exception]()
    write, heard = anyio.create_memory_object_stream[SessionMessage](1)
    probe = SessionMessage(
        types.JSONRPCRequest(jsonrpc="2.0", id=1, method="server/discover", params=modern())
    )
    listing = SessionMessage(types.JSONRPCRequest(jsonrpc="2.0", id=2, method="tools/list", params=modern()))
    with anyio.fail_after(20):
        async with say, heard, write, probes_answered(make_server(environ), read, write) as rest:
            await say.send(probe)
            assert isinstance((await heard.receive()).message, types.JSONRPCResponse)
            if gone == "the client's words":
                await say.aclose()
                assert [item async for item in rest] == []
            elif gone == "the client's ear":
                await heard.aclose()
                await say.send(probe)
                assert [item async for item in rest] == []
            else:
                await rest.aclose()
                await say.send(listing)
                with pytest.raises(anyio.BrokenResourceError):
                    await say.send(listing)
