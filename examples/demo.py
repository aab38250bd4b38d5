"""Edits a photograph on the sandbox, as an assistant would: through the real server, over stdio.

    make demo

No key is needed, and where one is set it is not used: no model runs and nothing is billed. The result goes to
KONTEXT_OUTPUT_DIR, or into `out/` in this project.
"""

import asyncio
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult

PROJECT = Path(__file__).resolve().parent.parent
PHOTOGRAPH = PROJECT / "examples" / "coffee.png"
INSTRUCTION = "Turn the photograph into a pencil drawing, keep the cup and the spoon where they are"
SERVER = (sys.executable, "-m", "kontext_edit")
"""How anybody starts the server: this Python has it installed."""

BAR_WIDTH = 24


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the server gets to know: the sandbox, and where results and the journal go."""
    out = PROJECT / "out"
    return {
        "KONTEXT_PROVIDER": "sandbox",
        "KONTEXT_OUTPUT_DIR": environ.get("KONTEXT_OUTPUT_DIR") or str(out),
        "KONTEXT_HOME": environ.get("KONTEXT_HOME") or str(out / ".journal"),
        "KONTEXT_ALLOWED_DIRS": str(PHOTOGRAPH.parent),
    }


class ProgressLine:
    """Progress on one line that is written over in a terminal, or on a line each elsewhere."""

    def __init__(self) -> None:
        self._in_place = sys.stdout.isatty()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Show a progress notification of the server."""
        self.show(progress / (total or 100), message or "")

    def show(self, share: float, message: str) -> None:
        """Show the bar, `share` of it filled."""
        filled = round(share * BAR_WIDTH)
        line = f"  [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {share:4.0%}  {message}"
        print(f"\r{line:<78}" if self._in_place else line, end="" if self._in_place else "\n", flush=True)

    def end(self, message: str) -> None:
        """Fill the bar and leave the line."""
        self.show(1, message)
        if self._in_place:
            print()


async def edit_a_photograph() -> dict[str, Any]:
    """Ask the server what an edit costs, make one, and return its result."""
    server = StdioServerParameters(
        command=SERVER[0], args=list(SERVER[1:]), env=server_environment(os.environ), cwd=PROJECT
    )
    async with Client(server) as client:
        listed = await client.list_tools()
        print(f"Connected; the tools are {', '.join(tool.name for tool in listed.tools)}.\n")
        price = await client.call_tool("estimate_cost", {"tier": "pro"})
        print(f"  picture      {PHOTOGRAPH}")
        print(f"  instruction  {INSTRUCTION}")
        print(f"  list price   {structured(price)['estimates'][0]['total_usd']} USD (tier pro)\n")
        line = ProgressLine()
        started = time.monotonic()
        result = await client.call_tool(
            "edit_image",
            {"prompt": INSTRUCTION, "images": [str(PHOTOGRAPH)], "tier": "pro"},
            progress_callback=line,
        )
        edit = structured(result)
        line.end(f"{edit['status']} after {time.monotonic() - started:.1f} s")
        return edit


def structured(result: CallToolResult) -> dict[str, Any]:
    """The structured content of a tool's result; ends the demonstration where the tool reports an error."""
    content: dict[str, Any] = result.structured_content or {}
    if result.is_error:
        sys.exit(f"\nThe server answered with an error: {json.dumps(content.get('error'), indent=2)}")
    return content


def how_to_connect() -> str:
    """What a person types to give their assistant these tools."""
    command, *arguments = SERVER
    desktop = {"mcpServers": {"kontext-edit": {"command": command, "args": arguments}}}
    return "\n".join(
        [
            "Connect an assistant, which then edits on the sandbox too:",
            "",
            "  Claude Code, in a terminal:",
            f"    claude mcp add kontext-edit -- {shlex.join(SERVER)}",
            "",
            "  Claude Desktop, in claude_desktop_config.json (Settings, Developer, Edit Config):",
            *(f"    {line}" for line in json.dumps(desktop, indent=2).splitlines()),
            "",
            "For real edits add your key: --env NOVITA_API_KEY=… before the --, or beside the command",
            '  "env": {"NOVITA_API_KEY": "…"}',
            "A key is made at https://novita.ai/settings/key-management; README.md has the rest.",
        ]
    )


def main() -> None:
    """Edit, tell the result, tell how to go on."""
    print("Kontext Edit on its sandbox: no model runs, and nothing is billed.")
    if os.environ.get("NOVITA_API_KEY"):
        print("NOVITA_API_KEY is set; this demonstration leaves it alone.")
    edit = asyncio.run(edit_a_photograph())
    picture = edit["images"][0]
    print(f"\n  result       {picture['path']}")
    print(f"               {picture['width']}x{picture['height']} {picture['format']}, ", end="")
    print(f"{picture['changed_percent']:.0f} % of the picture changed")
    print(f"  cost         {edit['cost_usd']} USD (with a key: {edit['list_price_usd']} USD)\n")
    print(how_to_connect())


if __name__ == "__main__":
    main()
