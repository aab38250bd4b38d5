"""What a person does with an assistant, from the first price to the last picture, at each door and era."""

import base64
import io
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from PIL import Image
from tests import loopback as loopbacks
from tests.house import text
from tests.loopback import LoopbackSandbox

from kontext_edit.server import make_server

loopback = loopbacks.loopback

Door = Literal["stdio", "in-process"]
Era = Literal["legacy", "auto"]


@asynccontextmanager
async def connected(door: Door, era: Era, environ: dict[str, str]) -> AsyncGenerator[Client]:
    if door == "stdio":
        process = StdioServerParameters(command=sys.executable, args=["-m", "kontext_edit"], env=environ)
        server: Any = stdio_client(process)
    else:
        server = make_server(environ)
    async with Client(server, mode=era) as client:
        yield client


async def told(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text(result)
    return result.structured_content


@pytest.mark.parametrize("era", ["legacy", "auto"])
@pytest.mark.parametrize("door", ["stdio", "in-process"])
async def test_from_a_price_to_drafts_to_a_final_picture_and_back(
    door: Door, era: Era, environ: dict[str, str], loopback: LoopbackSandbox
) -> None:
    environ |= loopback.environ
    photo = Path(environ["KONTEXT_ALLOWED_DIRS"]) / "photo.jpg"
    Image.linear_gradient("L").convert("RGB").save(photo)
    async with connected(door, era, environ) as client:
        price = await told(client, "estimate_cost", tier="dev", fast_mode=True, edits=3)
        prompt = await client.get_prompt("restyle", {"picture": "photo.jpg", "style": "watercolour"})
        drafts = await told(
            client,
            "edit_image",
            prompts=["Make it warmer", "Make it sepia", "Make it brighter"],
            images=["photo.jpg"],
            tier="dev",
            fast_mode=True,
        )
        chosen = f"task:{drafts['edits'][1]['task_id']}#1"
        final = await told(client, "edit_image", prompt="Mirror it", images=[chosen], tier="max")
        listed = await told(client, "list_tasks", status="succeeded")
        uri = f"kontext://pictures/{final['task_id']}/1"
        (content,) = (await client.read_resource(uri)).contents
        undone = await told(client, "edit_image", prompt="Flip it", images=[final["lineage"][0]])
    async with connected(door, era, environ) as client:
        again = await told(client, "get_task", task_id=final["task_id"])
    assert price["estimates"][0]["total_usd"] == drafts["list_price_usd"] == "0.054"
    assert "watercolour" in prompt.messages[0].model_dump_json()
    assert [edit["status"] for edit in drafts["edits"]] == ["succeeded"] * 3
    assert final["lineage"] == [chosen]
    assert undone["lineage"] == [chosen]
    assert listed["tasks"][0]["task_id"] == final["task_id"]
    assert isinstance(content, types.BlobResourceContents)
    with Image.open(io.BytesIO(base64.b64decode(content.blob))) as picture:
        assert picture.size == (final["images"][0]["width"], final["images"][0]["height"])
    assert again == final
