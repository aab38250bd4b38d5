"""The server as a client meets it, in both eras of the protocol."""

import json
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import httpx
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from PIL import Image
from tests import snapshot
from tests.clock import FakeClock

from kontext_edit.sandbox.api import Sandbox
from kontext_edit.sandbox.tasks import AfterSeconds, Immediate
from kontext_edit.server import make_server

Era = Literal["legacy", "auto"]
ERAS: tuple[Era, ...] = ("legacy", "auto")
COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"

pytestmark = pytest.mark.parametrize("era", ERAS)


@asynccontextmanager
async def connected(
    environ: dict[str, str], clock: FakeClock, era: Era, *, seconds: float = 0
) -> AsyncGenerator[Client]:
    """A client of a server in this process, whose sandbox takes so long for an edit."""
    progression = AfterSeconds(seconds) if seconds else Immediate()
    sandbox = Sandbox(clock=clock, progression=progression, base_url="http://localhost")
    server = make_server(
        environ,
        allow=[str(COFFEE.parent)],
        clock=clock,
        transport=httpx.ASGITransport(app=sandbox.app),
    )
    async with Client(server, mode=era) as client:
        yield client


def text(result: types.CallToolResult) -> str:
    first = result.content[0]
    assert isinstance(first, types.TextContent)
    return first.text


EDIT: dict[str, Any] = {"prompt": "Make it black and white", "images": [str(COFFEE)]}


async def test_an_edit_brings_a_sentence_a_preview_a_link_and_the_numbers(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era) as client:
        result = await client.call_tool("edit_image", EDIT)
    assert not result.is_error
    sentence, preview, link = result.content
    told = result.structured_content
    (picture,) = told["images"]
    path = Path(picture["path"])
    assert isinstance(sentence, types.TextContent)
    assert sentence.text.startswith("SANDBOX: no model ran, nothing was billed.")
    assert str(path) in sentence.text
    assert isinstance(preview, types.ImageContent)
    assert preview.mime_type == "image/webp"
    assert isinstance(link, types.ResourceLink)
    assert link.uri == path.as_uri()
    assert path.parent == Path(environ["KONTEXT_OUTPUT_DIR"])
    assert told["status"] == "succeeded"
    assert told["tier"] == "pro"
    assert (told["cost_usd"], told["list_price_usd"]) == ("0", "0.036")
    assert told["provider"] == "sandbox"
    assert told["progress_percent"] == 100
    assert picture["changed_percent"] > 0
    assert f"task:{told['task_id']}" in told["next_step"]
    with Image.open(path) as image:
        assert image.size == (picture["width"], picture["height"])


async def test_progress_is_told_while_the_edit_runs_and_never_goes_back(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with connected(environ, clock, era, seconds=6) as client:
        await client.call_tool("edit_image", EDIT, progress_callback=on_progress)
    percents = [progress for progress, _, _ in told]
    assert len(percents) >= 5
    assert percents == sorted(percents)
    assert all(total == 100 for _, total, _ in told)
    assert told[-1][2] is not None
    assert "The sandbox paints" in told[-1][2]


async def test_a_wait_ends_in_time_with_the_truth_and_get_task_brings_the_picture(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era, seconds=30) as client:
        began = clock.now()
        waiting = await client.call_tool("edit_image", {**EDIT, "wait_seconds": 5})
        assert clock.now() - began <= 6
        assert not waiting.is_error
        assert waiting.structured_content["status"] in ("queued", "processing")
        assert 0 < waiting.structured_content["progress_percent"] < 100
        task_id = waiting.structured_content["task_id"]
        assert f"get_task with task_id {task_id}" in text(waiting)
        done = await client.call_tool("get_task", {"task_id": task_id})
    assert done.structured_content["status"] == "succeeded"
    assert done.structured_content["task_id"] == task_id


async def test_a_finished_edit_is_still_there_after_a_restart(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era) as client:
        first = await client.call_tool("edit_image", EDIT)
    async with connected(environ, clock, era) as client:
        again = await client.call_tool("get_task", {"task_id": first.structured_content["task_id"]})
        follow_up = await client.call_tool("edit_image", {"prompt": "Mirror it", "images": ["last"]})
    assert again.structured_content == first.structured_content
    assert again.content == first.content
    assert follow_up.structured_content["status"] == "succeeded"


async def test_several_pictures_come_as_one_preview_and_a_link_each(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    arguments = {**EDIT, "tier": "dev", "num_images": 4, "size": "512*384", "output_format": "webp"}
    async with connected(environ, clock, era) as client:
        result = await client.call_tool("edit_image", arguments)
        source = f"task:{result.structured_content['task_id']}#3"
        third = await client.call_tool("edit_image", {**EDIT, "images": [source]})
    assert [block.type for block in result.content] == ["text", "image", *["resource_link"] * 4]
    assert len({picture["sha256"] for picture in result.structured_content["images"]}) == 4
    assert result.structured_content["list_price_usd"] == "0.09"
    assert {picture["format"] for picture in result.structured_content["images"]} == {"webp"}
    assert third.structured_content["status"] == "succeeded"


async def test_the_models_context_is_not_flooded(
    environ: dict[str, str], clock: FakeClock, era: Era, short_folder: str
) -> None:
    async with connected({**environ, "KONTEXT_OUTPUT_DIR": short_folder}, clock, era) as client:
        listed = await client.list_tools()
        results = [
            await client.call_tool("edit_image", EDIT),
            await client.call_tool("edit_image", {**EDIT, "tier": "dev", "num_images": 4}),
        ]
    tools = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in listed.tools]
    read = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in tools]
    assert compact({"tools": tools}) <= 8_000
    assert compact(read) <= 4_000
    for result in results:
        assert len(result.model_dump_json(by_alias=True)) <= 100_000
        told = json.dumps(result.structured_content, separators=(",", ":"), ensure_ascii=False)
        assert len(text(result)) + len(told) <= 1_500


@pytest.fixture
def short_folder() -> Iterator[str]:
    """About as long as the path of a person's pictures folder."""
    with TemporaryDirectory(prefix="Pictures-") as folder:
        yield folder


def compact(value: object) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


async def test_the_tools_are_listed_as_the_snapshots_say(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era) as client:
        listed = await client.list_tools()
    kept = {path.stem: json.loads(path.read_text("utf-8")) for path in snapshot.FOLDER.glob("*.json")}
    told = {
        tool.name: tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in listed.tools
    }
    assert told == kept, "a tool's contract changed: look at it, then run `python -m tests.snapshot`"


async def test_a_tool_that_spends_money_does_not_claim_to_be_read_only(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    claims = {name: tool.annotations.read_only_hint for name, tool in tools.items() if tool.annotations}
    assert claims == {"edit_image": False, "get_task": False, "list_tasks": True, "estimate_cost": True}
    assert all(tool.title and tool.output_schema for tool in tools.values())


async def test_the_default_tier_is_the_persons(environ: dict[str, str], clock: FakeClock, era: Era) -> None:
    async with connected({**environ, "KONTEXT_DEFAULT_TIER": "dev"}, clock, era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        result = await client.call_tool("edit_image", EDIT)
    assert tools["edit_image"].input_schema["properties"]["tier"]["default"] == "dev"
    assert result.structured_content["tier"] == "dev"


async def test_prices_are_told_for_one_tier_or_side_by_side(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era) as client:
        all_tiers = await client.call_tool("estimate_cost", {})
        pro = await client.call_tool("estimate_cost", {"tier": "pro", "edits": 10_000})
        dev = await client.call_tool("estimate_cost", {"tier": "dev", "num_images": 4, "edits": 10})
        fast = await client.call_tool(
            "estimate_cost", {"tier": "dev", "num_images": 4, "edits": 10, "fast_mode": True}
        )
    images = {(row["tier"], row["fast_mode"]): row["image_usd"] for row in estimates(all_tiers)}
    assert images == {
        ("dev", True): "0.018",
        ("dev", False): "0.0225",
        ("pro", False): "0.036",
        ("max", False): "0.072",
    }
    assert (estimates(pro)[0]["total_usd"], estimates(pro)[0]["bfl_direct_usd"]) == ("360.00", "400.00")
    assert estimates(dev)[0]["total_usd"] == "0.90"
    assert estimates(fast)[0]["total_usd"] == "0.72"
    assert all_tiers.structured_content["prices_as_of"] == "2026-06-26"
    assert "360.00" in text(pro)


def estimates(result: types.CallToolResult) -> list[dict[str, Any]]:
    return result.structured_content["estimates"]


async def test_a_bad_call_is_an_error_result_with_every_problem(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era) as client:
        result = await client.call_tool("edit_image", {"prompt": " ", "size": "1*1", "sead": 1})
    assert result.is_error
    error = result.structured_content["error"]
    assert error["code"] == "invalid_arguments"
    assert error["billed"] == "no"
    for told in ("`prompt` is empty", "`images` is missing", "`size` is a parameter of dev", "`seed`"):
        assert told in text(result)
    assert "text-to-image" in error["hint"]


async def test_a_private_key_named_photo_png_never_leaves_the_machine(
    environ: dict[str, str], clock: FakeClock, era: Era, tmp_path: Path
) -> None:
    secret = tmp_path / "in" / "photo.png"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n")
    asked: list[httpx.Request] = []

    def upstream(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(500)

    server = make_server(environ, clock=clock, transport=httpx.MockTransport(upstream))
    async with Client(server, mode=era) as client:
        result = await client.call_tool("edit_image", {**EDIT, "images": [str(secret)]})
    assert result.is_error
    assert result.structured_content["error"]["code"] == "picture_refused"
    assert asked == []


async def test_an_unknown_tool_is_a_protocol_error(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era) as client:
        with pytest.raises(MCPError, match="There is no tool 'paint'"):
            await client.call_tool("paint", {})


async def test_an_unknown_task_is_an_error_result(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with connected(environ, clock, era) as client:
        result = await client.call_tool("get_task", {"task_id": "never-heard-of"})
    assert result.is_error
    assert result.structured_content["error"]["code"] == "no_such_task"


async def test_unusable_settings_are_told_by_every_call_and_the_tools_are_still_listed(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    broken = {**environ, "KONTEXT_PROVIDER": "dall-e", "KONTEXT_DEFAULT_TIER": "ultra"}
    async with connected(broken, clock, era) as client:
        assert len((await client.list_tools()).tools) == len(snapshot.definitions())
        result = await client.call_tool("edit_image", EDIT)
    assert result.is_error
    assert "KONTEXT_PROVIDER" in text(result)
    assert "KONTEXT_DEFAULT_TIER" in text(result)


class BrokenClock(FakeClock):
    def monotonic(self) -> float:
        raise RuntimeError("a bug with secrets in it")


async def test_a_fault_of_the_server_is_told_without_its_innards(
    environ: dict[str, str], era: Era, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(environ, BrokenClock(), era) as client:
        result = await client.call_tool("edit_image", EDIT)
    assert result.is_error
    assert result.structured_content["error"]["code"] == "internal_error"
    assert "secrets" not in text(result)
    assert "failed unexpectedly" in caplog.text


async def test_a_real_process_serves_a_real_client_over_stdio(environ: dict[str, str], era: Era) -> None:
    photo = Path(environ["KONTEXT_ALLOWED_DIRS"]) / "photo.jpg"
    Image.new("RGB", (300, 200), "teal").save(photo)
    process = StdioServerParameters(command=sys.executable, args=["-m", "kontext_edit"], env=environ)
    async with Client(stdio_client(process), mode=era) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == list(snapshot.definitions())
        result = await client.call_tool("edit_image", {"prompt": "Blur it", "images": ["photo.jpg"]})
    assert not result.is_error, text(result)
    assert [block.type for block in result.content] == ["text", "image", "resource_link"]
