"""The door over HTTP: a real server in a process of its own, for this machine alone."""

import asyncio
import base64
import json
import signal
from contextlib import suppress
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.client import Client
from PIL import Image
from tests.http_server import SERVE, http_server

from kontext_edit.errors import InvalidArguments
from kontext_edit.http_door import serve

MCP = "io.modelcontextprotocol"
ERAS = ("legacy", "auto")
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
def edit(environ: dict[str, str]) -> dict[str, Any]:
    Image.new("RGB", (300, 200), "teal").save(Path(environ["KONTEXT_ALLOWED_DIRS"]) / "photo.jpg")
    return {"prompt": "Blur it", "images": ["photo.jpg"]}


async def test_clients_of_both_eras_edit_at_one_address_and_share_the_journal(
    environ: dict[str, str], edit: dict[str, Any]
) -> None:
    with http_server(environ) as server:
        async with Client(server.url, mode="legacy") as older, Client(server.url, mode="auto") as newer:
            assert (older.protocol_version, newer.protocol_version) == ("2025-11-25", "2026-07-28")
            first, second = await asyncio.gather(
                older.call_tool("edit_image", edit),
                newer.call_tool("edit_image", edit | {"prompt": "Mirror it"}),
            )
        # The next client comes after the others are gone: the parts of the house are still open.
        async with Client(server.url) as later:
            tasks = (await later.call_tool("list_tasks", {})).structured_content["tasks"]
    assert {first.structured_content["status"], second.structured_content["status"]} == {"succeeded"}
    assert {row["task_id"] for row in tasks} == {
        first.structured_content["task_id"],
        second.structured_content["task_id"],
    }
    assert server.last_words == ""


@pytest.mark.parametrize("era", ERAS)
async def test_progress_is_told_while_an_edit_runs(
    era: str, environ: dict[str, str], edit: dict[str, Any]
) -> None:
    told: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert total == 100
        assert message
        told.append(progress)

    with http_server(environ) as server:
        async with Client(server.url, mode=era) as client:
            await client.call_tool("edit_image", edit, progress_callback=on_progress)
    assert told
    assert told == sorted(told)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_a_call_under_way_when_it_is_stopped_still_gets_its_answer(
    stop: signal.Signals, environ: dict[str, str], edit: dict[str, Any]
) -> None:
    about: dict[str, Any] = {
        f"{MCP}/protocolVersion": "2026-07-28",
        f"{MCP}/clientCapabilities": {},
        "progressToken": 1,
    }
    params = {"name": "edit_image", "arguments": edit, "_meta": about}
    call: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "edit_image"}
    with http_server(environ, stop=stop) as server:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=30) as client,
            client.stream("POST", server.url, headers=HEADERS | headers, json=call) as answer,
        ):
            said = answer.aiter_text()
            first = await anext(said)
            assert "progress" in first
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            rest = "".join([text async for text in said])
        await stopping
    assert '"status":"succeeded"' in rest
    assert server.last_words == ""


async def test_a_client_that_only_listens_does_not_keep_it_from_stopping(environ: dict[str, str]) -> None:
    with http_server(environ, stop=signal.SIGTERM) as server:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            opened = await client.post(server.url, headers=HEADERS, json=INITIALIZE)
            session = {"mcp-session-id": opened.headers["mcp-session-id"]}
            async with client.stream("GET", server.url, headers=HEADERS | session) as stream:
                assert stream.status_code == 200
                stopping = asyncio.create_task(asyncio.to_thread(server.stop))
                with suppress(httpx.RemoteProtocolError):
                    await stream.aread()
                await stopping
    assert "Traceback" not in server.last_words


async def test_a_picture_of_many_megabytes_may_come_inside_the_call(environ: dict[str, str]) -> None:
    file = BytesIO()
    Image.effect_noise((2400, 2400), 90).convert("RGB").save(file, "PNG")
    assert file.tell() > 6 * 1024 * 1024
    picture = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    with http_server(environ) as server:
        async with Client(server.url) as client:
            result = await client.call_tool("edit_image", {"prompt": "Blur it", "images": [picture]})
    assert result.structured_content["status"] == "succeeded"


def test_what_is_larger_than_any_call_is_not_read(environ: dict[str, str]) -> None:
    with http_server(environ) as server:
        where = httpx.URL(server.url)
        connection = HTTPConnection(where.host, where.port)
        connection.putrequest("POST", where.path)
        for name, value in {**HEADERS, "content-length": str(100 * 1024 * 1024)}.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "localhost.evil.example:80"},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "null"},
    ],
    ids=str,
)
async def test_a_page_of_a_website_cannot_talk_to_it(
    headers: dict[str, str], environ: dict[str, str]
) -> None:
    with http_server(environ) as server:
        async with httpx.AsyncClient(trust_env=False) as client:
            refused = await client.post(server.url, headers=HEADERS | headers, content=json.dumps(INITIALIZE))
            fine = await client.post(
                server.url,
                headers=HEADERS | {"origin": "http://localhost:6274"},
                content=json.dumps(INITIALIZE),
            )
    assert refused.status_code in (403, 421)
    assert "result" not in refused.text
    assert fine.status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])  # noqa: S104 - it is refused
def test_it_is_served_to_this_machine_alone(host: str) -> None:
    with pytest.raises(InvalidArguments, match=f"{host} is not a loopback address") as caught:
        serve(host=host, port=0)
    assert "127.0.0.1" in caught.value.hint


async def test_a_folder_named_on_the_command_line_may_be_read(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    photo = tmp_path / "elsewhere" / "photo.png"
    Image.new("RGB", (300, 200), "teal").save(photo)

    async def edited(*options: str) -> bool:
        command = (*SERVE, *options)
        with http_server(environ, command) as server:
            async with Client(server.url) as client:
                result = await client.call_tool("edit_image", {"prompt": "Blur it", "images": [str(photo)]})
        return not result.is_error

    assert not await edited()
    assert await edited("--allow", str(photo.parent))
