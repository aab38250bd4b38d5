"""How long the server takes from its start to the list of its tools, against the least there can be.

    python bench/start.py [--rounds 15] [--json]

The least is a server with one tool on the same SDK, which does nothing. Both are started as new processes,
in turn, and asked over stdio, so that a busy machine slows both alike; the disk is warm. The target is the
ratio of the medians: at most 1.10.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import Spread, machine, table, versions

MAX_RATIO = 1.10
WARM_UP_ROUNDS = 2
"""Rounds before those that count: they write the bytecode and warm the disk."""

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
            "clientInfo": {"name": "bench", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
)
"""What a client says before it knows the tools, written at once: waiting in between would measure us."""


def seconds_to_tools(command: list[str], environ: dict[str, str]) -> float:
    """From starting a process to the last byte of its tools."""
    asked = "".join(json.dumps(message) + "\n" for message in HANDSHAKE)
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - the two servers of this file
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        text=True,
    ) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("a server without pipes")
        server.stdin.write(asked)
        server.stdin.flush()
        for line in server.stdout:
            answer = json.loads(line)
            if answer.get("id") == 2:  # noqa: PLR2004 - the last question's id
                seconds = time.perf_counter() - started
                break
        else:
            raise RuntimeError(f"{command} ended without naming its tools")
        server.stdin.close()
        server.wait(timeout=30)
    if not answer["result"]["tools"]:
        raise RuntimeError(f"{command} has no tools")
    return seconds


def measure(rounds: int, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of ours and of the least, round by round."""
    hello = folder / "hello.py"
    hello.write_text(HELLO)
    ours = [sys.executable, "-m", "kontext_edit"]
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("KONTEXT_", "NOVITA_"))
    }
    environ |= {"KONTEXT_HOME": str(folder / "home"), "KONTEXT_OUTPUT_DIR": str(folder / "out")}
    pairs: list[tuple[float, float]] = []
    for number in range(WARM_UP_ROUNDS + rounds):
        turn = [ours, [sys.executable, str(hello)]]
        if number % 2:
            turn.reverse()
        seconds = {command[-1]: seconds_to_tools(command, environ) for command in turn}
        pairs.append((seconds["kontext_edit"], seconds[str(hello)]))
    counted = pairs[WARM_UP_ROUNDS:]
    return [ours for ours, _ in counted], [least for _, least in counted]


def compared(ours: list[float], least: list[float]) -> dict[str, Any]:
    """The measurements, as `--json` prints them."""
    mine, other = (Spread.of([1000 * seconds for seconds in times]) for times in (ours, least))
    ratio = mine.median / other.median
    return {
        "machine": machine(),
        "versions": versions("mcp", "pydantic"),
        "rounds": len(ours),
        "milliseconds": {"kontext-edit": mine.json(), "hello": other.json()},
        "ratio": ratio,
        "target": MAX_RATIO,
        "met": ratio <= MAX_RATIO,
    }


def markdown(found: dict[str, Any]) -> str:
    """The measurements for people."""
    times = {name: Spread(**spread).told(0) for name, spread in found["milliseconds"].items()}
    verdict = "met" if found["met"] else "NOT MET"
    return table(
        f"{found['machine']}, {found['versions']}; medians (ranges) of {found['rounds']} starts of each.",
        ("from start to tools/list", "time"),
        [
            ("kontext-edit", f"{times['kontext-edit']} ms"),
            ("a hello-world server on the same SDK", f"{times['hello']} ms"),
            ("ratio", f"{found['ratio']:.3f}; target at most {found['target']:.2f}: {verdict}"),
        ],
    )


def main() -> int:
    """Measure and print; 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=15, help="starts of each server that count (default 15)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compared(*measure(options.rounds, Path(folder)))
    print(json.dumps(found) if options.json else markdown(found))
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
