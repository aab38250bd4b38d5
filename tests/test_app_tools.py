"""What a host learns of the page, and the tools that only the page calls, in both eras of the protocol."""

import base64
import io
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.extension import advertise
from mcp.shared.exceptions import MCPError
from PIL import Image
from tests.at_home import ERAS, Era, begun, edited
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.house import Api, painted, photo

from kontext_edit.images.decode import opened
from kontext_edit.images.prepare import prepare
from kontext_edit.images.sources import Found
from kontext_edit.server import make_server
from kontext_edit.ui import page
from kontext_edit.ui.pictures import small_enough

APPS = advertise(page.EXTENSION, {"mimeTypes": [page.MIME]})
MOST_BYTES = 150_000
APP_TOOLS = {"begin_edit", "upload_picture", "edit_details", "running_edits"}

both_eras = pytest.mark.parametrize("era", ERAS)


@asynccontextmanager
async def app_host(
    environ: dict[str, str], api: Api, clock: FakeClock, era: Era, *, apps: bool = True
) -> AsyncGenerator[Client]:
    """A client that shows pages, or one that does not."""
    server = make_server({"NOVITA_API_KEY": KEY} | environ, clock=clock, transport=api.transport)
    async with Client(server, mode=era, extensions=[APPS] if apps else None) as client:
        yield client


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert result.structured_content is not None
    return result.structured_content


async def picture_before(client: Client, task_id: str) -> types.ImageContent | None:
    result = await client.call_tool("edit_details", {"task_id": task_id})
    assert not result.is_error, result
    return next((block for block in result.content if isinstance(block, types.ImageContent)), None)


def remove(path: str) -> None:
    Path(path).unlink()


def size_of(data: bytes) -> tuple[int, int]:
    with opened(data) as picture:
        return picture.size


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


# The page


def test_the_page_is_one_small_file_that_asks_for_nothing_from_elsewhere() -> None:
    html = page.html()
    assert len(html.encode()) < MOST_BYTES
    assert not re.search(r"""https?:|\bsrc\s*=|\bhref\s*=|\burl\(|\bfetch\(|XMLHttp|@import|\beval\(""", html)


def test_the_page_puts_nothing_into_the_models_context() -> None:
    for method in ("ui/message", "ui/update-model-context", "sampling/"):
        assert method not in page.html()


@both_eras
async def test_a_host_that_shows_pages_finds_the_page_and_its_tools(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with app_host(environ, Api(clock), clock, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        rows = [row for row in (await client.list_resources()).resources if row.uri == page.URI]
        (contents,) = (await client.read_resource(page.URI)).contents
        announced = client.server_capabilities.extensions
    assert era == "legacy" or page.EXTENSION in (announced or {})  # a handshake has no place for it
    bound = {name for name, tool in tools.items() if (tool.meta or {}).get("ui", {}).get("resourceUri")}
    hidden = {name for name, tool in tools.items() if (tool.meta or {}).get("ui", {}).get("visibility")}
    assert bound == {"edit_image", "get_task"}
    assert hidden == APP_TOOLS
    assert all(tools[name].meta == {"ui": {"visibility": ["app"]}} for name in hidden)
    (row,) = rows
    assert row.mime_type == page.MIME
    assert isinstance(contents, types.TextResourceContents)
    assert (contents.mime_type, contents.text) == (page.MIME, page.html())
    assert contents.meta == row.meta
    assert contents.meta is not None
    assert contents.meta["ui"]["csp"] == {"connectDomains": [], "resourceDomains": []}


@both_eras
async def test_a_client_without_pages_never_hears_of_them(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with app_host(environ, Api(clock), clock, era, apps=False) as client:
        tools = (await client.list_tools()).tools
        rows = (await client.list_resources()).resources
        with pytest.raises(MCPError, match="no tool 'running_edits'"):
            await client.call_tool("running_edits", {})
    assert not APP_TOOLS & {tool.name for tool in tools}
    assert all(tool.meta is None for tool in tools)
    assert all(row.uri != page.URI for row in rows)


def test_the_page_and_its_tools_bring_no_codecs_at_the_start() -> None:
    names = "import sys, kontext_edit.ui.app_tools; print(*sys.modules)"
    run = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", names], capture_output=True, encoding="utf-8", check=True
    )
    assert not {"PIL", "httpx", "kontext_edit.images", "kontext_edit.journal"} & set(run.stdout.split())


# Giving a picture


@both_eras
async def test_a_picture_from_the_page_is_kept_and_named_by_its_content(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    data = painted("green")
    async with app_host(environ, Api(clock), clock, era) as client:
        kept = await called(client, "upload_picture", name="my garden.png", data=base64_of(data))
        again = await called(client, "upload_picture", name="other.png", data=base64_of(data))
        result = await begun(client, environ, images=[kept["source"]])
        shown = await picture_before(client, result["task_id"])
    assert again["source"] == kept["source"]
    uploads = Path(environ["KONTEXT_HOME"]) / "uploads"
    (file,) = uploads.iterdir()
    assert kept["source"] == f"upload:{file.name}"
    assert re.fullmatch(r"[0-9a-f]{32}", file.name)
    assert file.read_bytes() == data
    assert uploads.stat().st_mode & 0o077 == 0 or os.name == "nt"
    assert result["status"] == "succeeded"
    assert shown is not None


@both_eras
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "note.txt", "data": base64_of(b"hello")}, "no picture inside: it is a text"),
        ({"name": "cut.png", "data": base64_of(painted("red")[:60])}, "damaged or truncated"),
        ({"name": "x", "data": "?"}, "not valid base64"),
        ({"name": "x"}, "`data` must be a picture file as base64"),
        ({"data": "", "more": 1}, "`data` must be a picture file as base64"),
    ],
)
async def test_what_is_no_picture_is_refused_like_any_source_and_not_kept(
    environ: dict[str, str], clock: FakeClock, era: Era, arguments: dict[str, Any], words: str
) -> None:
    async with app_host(environ, Api(clock), clock, era) as client:
        result = await client.call_tool("upload_picture", arguments)
    assert result.is_error
    assert words in result.structured_content["error"]["message"]
    assert not (Path(environ["KONTEXT_HOME"]) / "uploads").exists()


# What an edit was made from


@both_eras
async def test_the_picture_before_is_shown_and_how_to_ask_for_the_edit_again(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    source = photo(environ)
    original = size_of(painted("red"))
    async with app_host(environ, Api(clock), clock, era) as client:
        edit = await edited(client, environ, tier="dev", num_images=2, seed=5)
        details = await called(client, "edit_details", task_id=edit["task_id"])
        shown = await picture_before(client, edit["task_id"])
    assert shown is not None
    assert shown.mime_type == "image/jpeg"
    assert size_of(base64.b64decode(shown.data)) == original
    assert (details["prompt"], details["tier"]) == ("Make it blue", "dev")
    assert details["images"] == [source]
    assert details["another_take"] == {"tier": "dev", "num_images": 2}
    assert details["on_max"] == {"tier": "max", "seed": 5}


@both_eras
async def test_the_picture_before_a_refinement_is_the_one_that_was_refined(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with app_host(environ, Api(clock), clock, era) as client:
        first = await edited(client, environ, tier="dev", num_images=2)
        second = await edited(client, environ, images=[f"task:{first['task_id']}#2"], prompt="Make it dusk")
        shown = await picture_before(client, second["task_id"])
        remove(first["images"][1]["path"])
        gone = await picture_before(client, second["task_id"])
    assert shown is not None
    assert gone is None


@both_eras
async def test_a_source_that_changed_on_the_disk_is_not_passed_off_as_the_one_that_was_edited(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with app_host(environ, Api(clock), clock, era) as client:
        edit = await edited(client, environ)
        photo(environ, colour="yellow")
        assert await picture_before(client, edit["task_id"]) is None


@both_eras
@pytest.mark.parametrize(
    ("source", "again"),
    [
        ("https://pictures.example/a.png", ["https://pictures.example/a.png"]),
        ("https://pictures.example/a.png?key=secret", None),
        (base64_of(painted("red")), None),
    ],
)
async def test_a_source_that_was_not_written_down_whole_cannot_be_asked_for_again(
    environ: dict[str, str], clock: FakeClock, era: Era, source: str, again: list[str] | None
) -> None:
    async with app_host(environ, Api(clock), clock, era) as client:
        edit = await edited(client, environ, images=[source])
        details = await called(client, "edit_details", task_id=edit["task_id"])
        assert details["images"] == again
        assert await picture_before(client, edit["task_id"]) is None


@both_eras
async def test_an_edit_that_nobody_knows_is_an_error_that_says_so(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with app_host(environ, Api(clock), clock, era) as client:
        result = await client.call_tool("edit_details", {"task_id": "nobody"})
    assert result.is_error
    assert result.structured_content["error"]["code"] == "no_such_task"


def test_a_large_picture_before_is_made_small_enough_for_hosts_that_limit_results() -> None:
    file = io.BytesIO()
    Image.merge("RGB", [Image.effect_noise((1500, 1500), 90) for _ in range(3)]).save(file, "PNG")
    shown = small_enough(prepare(Found("noise.png", file.getvalue(), None)))
    assert shown is not None
    assert len(base64_of(shown[0])) < 1_000_000


# Going on


@both_eras
async def test_the_page_begins_an_edit_without_waiting_and_is_told_what_was_wrong(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    api = Api(clock, seconds=1000)
    async with app_host(environ, api, clock, era) as client:
        began = clock.now()
        told = await called(client, "begin_edit", prompt="Make it blue", images=[photo(environ)])
        assert clock.now() == began
        refused = await client.call_tool("begin_edit", {"prompt": "Make it blue", "images": ["gone.png"]})
    assert told["status"] in ("queued", "processing")
    assert refused.is_error
    assert "there is no such file" in refused.structured_content["error"]["message"]


@both_eras
async def test_edits_under_way_are_told_with_how_far_they_are(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    api = Api(clock, seconds=1000)
    async with app_host(environ, api, clock, era) as client:
        assert await called(client, "running_edits") == {"edits": []}
        edit = await begun(client, environ, wait_seconds=5)
        (running,) = (await called(client, "running_edits"))["edits"]
    assert running["task_id"] == edit["task_id"]
    assert (running["prompt"], running["tier"]) == ("Make it blue", "pro")
    assert running["status"] in ("queued", "processing")
    assert 0 < running["progress_percent"] < 100
