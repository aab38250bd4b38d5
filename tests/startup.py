"""What a stdio server has imported by the time it names its tools, told by a real process.

`python -m tests.startup` writes the lists in `tests/snapshots/` anew.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "snapshots"
OURS = FOLDER / "start-ours.txt"
"""Our own modules, all of them."""
BEYOND = FOLDER / "start-beyond-the-sdk.txt"
"""The third-party packages, and the parts of packages, that a server on the bare SDK does without."""

PACKAGE = "kontext_edit"

HELLO = """
import asyncio

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server


async def list_tools(_ctx, _params):
    tool = types.Tool(name="hello", description="Says hello.", input_schema={"type": "object"})
    return types.ListToolsResult(tools=[tool])


async def call_tool(_ctx, _params):
    return types.CallToolResult(content=[types.TextContent(text="Hello.")])


async def main():
    server = Server("hello", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


asyncio.run(main())
"""
"""The least that can be started: the SDK and one tool."""

HANDSHAKE: tuple[dict[str, Any], ...] = (
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "startup", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
)
"""What a client says before it knows the tools, written at once: waiting in between would measure us."""

LAST = 2
"""The id of its last question."""

OURS_SERVED = "from kontext_edit.__main__ import main; main()"

_WATCHED = """
import io, os, sys

class Wire(io.BufferedWriter):
    told = False

    def write(self, data):
        if not self.told and b'"id":2' in bytes(data):
            self.told = True
            with open(TOLD, "w") as file:
                file.write("\\n".join(sys.modules))
        return super().write(data)

sys.stdout = io.TextIOWrapper(Wire(io.FileIO(os.dup(1), "w")))
"""
"""Put before a server: writes the names of all modules to a file at the moment at which the tools go out."""


def modules(server: str, folder: Path) -> set[str]:
    """Names of all modules that a process has imported when its tools go out.

    Args:
        server: the program that serves, as Python source.
        folder: where the process may write.
    """
    told = folder / "modules.txt"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KONTEXT_", "NOVITA_"))}
    kept.pop("COVERAGE_PROCESS_CONFIG", None)  # a measured process imports more
    with subprocess.Popen(  # noqa: S603 - our own server
        [sys.executable, "-c", f"TOLD = {str(told)!r}{_WATCHED}{server}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=kept | {"KONTEXT_HOME": str(folder / "home"), "KONTEXT_OUTPUT_DIR": str(folder / "out")},
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("".join(json.dumps(message) + "\n" for message in HANDSHAKE))
        process.stdin.flush()
        answer = next(line for line in process.stdout if json.loads(line).get("id") == LAST)
        process.stdin.close()
    assert json.loads(answer)["result"]["tools"]
    return set(told.read_text().splitlines())


def lists(folder: Path) -> dict[Path, list[str]]:
    """What the snapshots hold: all of ours, and what is foreign and beyond the bare SDK."""
    loaded, least = modules(OURS_SERVED, folder), modules(HELLO, folder)
    ours = {name for name in loaded if _top(name) == PACKAGE}
    foreign = {name for name in loaded - least - ours if _top(name) not in sys.stdlib_module_names}
    known = {_top(name) for name in least}
    return {
        OURS: sorted(ours),
        BEYOND: sorted({name if _top(name) in known else _top(name) for name in foreign}),
    }


def _top(name: str) -> str:
    return name.partition(".")[0]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for path, names in lists(Path(scratch)).items():
            path.write_text("\n".join(names) + "\n", encoding="utf-8")
