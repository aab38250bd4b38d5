"""How clients are told of the server: links for one click, commands, and what to write into their files.

The README's blocks are made from here by `make docs`, so that a command or a name stands in one place.
"""

import base64
import json
import shlex
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import quote, urlencode

NAME = "kontext-edit"
PUBLISHED = ("uvx", NAME)
"""How the released package is run."""
CLONE = ("uv", "run", "--project", f"/path/to/{NAME}", "--no-dev", NAME)
"""How a clone is run."""

_KEY = "NOVITA_API_KEY"
_YOUR_KEY = "your-key"
_INPUT = "novita-key"
_INPUTS = [
    {"type": "promptString", "id": _INPUT, "description": "Novita API key (or none)", "password": True}
]


def vscode_link() -> str:
    """A link that makes VS Code ask for the key and install the server.

    Pages that allow no `vscode:` links need the redirection of vscode.dev.
    """
    query = {"name": NAME, "config": _compact(_vscode_server(PUBLISHED)), "inputs": _compact(_INPUTS)}
    return f"https://vscode.dev/redirect/mcp/install?{urlencode(query, quote_via=quote)}"


def cursor_link() -> str:
    """A link that makes Cursor install the server; the key is read from the person's environment."""
    config = base64.b64encode(_compact(_server(PUBLISHED, f"${{env:{_KEY}}}")).encode()).decode()
    return f"https://cursor.com/en/install-mcp?{urlencode({'name': NAME, 'config': config})}"


def links() -> str:
    """The one-click links as a list in Markdown."""
    return (
        f"- [Install in VS Code]({vscode_link()}), which asks for the key\n"
        f"- [Install in Cursor]({cursor_link()}), with `NOVITA_API_KEY` from your environment"
    )


def claude_code(command: Sequence[str]) -> str:
    """What a person types to give Claude Code the server."""
    return f"claude mcp add {NAME} --env {_KEY}={_YOUR_KEY} -- \\\n    {shlex.join(command)}"


def desktop_file(command: Sequence[str]) -> str:
    """The file of Claude Desktop and of Cursor. Desktop applications look for programs in few places only."""
    program, *arguments = command
    server = _server((f"/full/path/to/{program}", *arguments), _YOUR_KEY)
    return _readable({"mcpServers": {NAME: server}})


def vscode_file(command: Sequence[str]) -> str:
    """The file of VS Code, which asks for the key and keeps it."""
    return _readable({"inputs": _INPUTS, "servers": {NAME: _vscode_server(command)}})


def _server(command: Sequence[str], key: str) -> dict[str, Any]:
    program, *arguments = command
    return {"command": program, "args": list(arguments), "env": {_KEY: key}}


def _vscode_server(command: Sequence[str]) -> dict[str, Any]:
    return {"type": "stdio", **_server(command, f"${{input:{_INPUT}}}")}


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _readable(value: object, indent: str = "") -> str:
    """JSON as a person writes it: what holds no further list or object stands on one line."""
    inner = indent + "  "
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        items = [f"{json.dumps(name)}: {_readable(each, inner)}" for name, each in members.items()]
        opening, closing, nested = "{", "}", any(map(_is_container, members.values()))
    elif isinstance(value, list):
        elements = cast("list[object]", value)
        items = [_readable(each, inner) for each in elements]
        opening, closing, nested = "[", "]", any(map(_is_container, elements))
    else:
        return json.dumps(value)
    if nested:
        return f"{opening}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{closing}"
    space = " " if closing == "}" else ""
    return f"{opening}{space}{', '.join(items)}{space}{closing}"


def _is_container(value: object) -> bool:
    return isinstance(value, (dict, list))
