"""How much a model reads: the tools, one edit's result, a session of twenty edits.

    python bench/reading.py [--json]

Counted is compact JSON as it goes over the wire in characters, as the server in this process gives it to a
client of the SDK, on a clock that costs no time. A preview is left out of what a model reads: it is told as
a picture and not as characters.
"""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.client.client import Client

from kontext_edit.clock import Clock
from kontext_edit.server import make_server
from parts import environ, fake_clock, noisy
from report import Row, Spread, alone

MAX_LISTED = 8_000
MAX_TOOLS_READ = 5_000
MAX_RESULT = 1_500
MAX_WHOLE_RESULT = 100_000
EDITS = 20


async def session(folder: Path, clock: Clock) -> tuple[list[types.Tool], list[types.CallToolResult]]:
    """The tools, and the results of the edits."""
    settings = environ(folder)
    photo = folder / "in" / "portrait.jpg"
    noisy((800, 600)).save(photo, quality=85)
    edit = {"images": [str(photo)], "tier": "pro", "wait_seconds": 50}
    async with Client(make_server(settings, clock=clock)) as client:
        tools = (await client.list_tools()).tools
        results: list[types.CallToolResult] = []
        for number in range(EDITS):
            prompt = f"Change the jacket to red leather, keep the face, take {number}"
            result = await client.call_tool("edit_image", edit | {"prompt": prompt})
            if result.is_error:
                raise RuntimeError(f"an edit failed: {result}")
            results.append(result)
        return tools, results


def compact(value: Any) -> int:  # noqa: ANN401 - JSON
    """Characters of JSON without spaces."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def read(result: types.CallToolResult) -> int:
    """What a model reads of a result."""
    texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
    return len("".join(texts)) + compact(result.structured_content)


def row(question: str, found: int, limit: int) -> Row:
    """One count against its limit."""
    figure = Spread(found, found, found)
    return Row(question, f"{found:,}", "the limit", f"{limit:,}", figure, limit, "characters")


async def measure() -> list[Row]:
    """The answers."""
    with tempfile.TemporaryDirectory() as folder:
        async with fake_clock() as clock:
            tools, results = await session(Path(folder), clock)
    listed = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in tools]
    model = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in listed]
    each = [read(result) for result in results]
    whole = [len(result.model_dump_json(by_alias=True)) for result in results]
    return [
        row("`tools/list`, all of it", compact({"tools": listed}), MAX_LISTED),
        row("`tools/list`, what a model reads", compact(model), MAX_TOOLS_READ),
        row("one edit's result, what a model reads", max(each), MAX_RESULT),
        row("one edit's result, all of it with the preview", max(whole), MAX_WHOLE_RESULT),
        row(
            f"a session of {EDITS} edits, what a model reads",
            compact(model) + sum(each),
            MAX_TOOLS_READ + EDITS * MAX_RESULT,
        ),
    ]


def rows() -> list[Row]:
    """The answers."""
    return asyncio.run(measure())


if __name__ == "__main__":
    alone(rows, __doc__ or "")
