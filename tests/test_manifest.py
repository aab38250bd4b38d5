"""The bundle for desktop applications says what the server is, and starts it with whatever a person set."""

import json
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from scripts.bundle import Chosen, filled
from tests.bundle import manifest
from tests.surroundings import machine_environ

from kontext_edit.server import NAME, make_server

PROJECT = Path(__file__).parent.parent
MANIFEST = manifest()
CONFIG: dict[str, Any] = MANIFEST["server"]["mcp_config"]
SETTING = re.compile(r"\$\{user_config\.(\w+)\}")


async def refusal_of_a_stranger(chosen: Chosen, tmp_path: Path) -> str:
    """What the started server says of a picture that lies nowhere near: it names the allowed folders."""
    arguments, environ = filled(CONFIG, PROJECT, chosen)
    arguments = arguments[arguments.index(NAME) + 1 :]
    # Only what the host passes decides, and the machine's own folders stay out of it.
    environ = machine_environ() | environ | {"KONTEXT_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "kontext_edit", *arguments], env=environ, cwd=tmp_path
    )
    async with Client(server) as client:
        edit = {"prompt": "Make it warmer", "images": [str(tmp_path.parent / "stranger.png")]}
        result = await client.call_tool("edit_image", edit)
    assert result.is_error
    return str(result.structured_content["error"]["message"])


async def test_the_tools_are_those_that_the_server_lists(environ: dict[str, str]) -> None:
    async with Client(make_server(environ)) as client:
        listed = (await client.list_tools()).tools
    assert MANIFEST["tools"] == [{"name": tool.name, "description": tool.description} for tool in listed]


def test_name_version_and_entry_point_are_the_packages() -> None:
    assert MANIFEST["name"] == NAME
    assert MANIFEST["version"] == version(NAME)
    assert (PROJECT / MANIFEST["server"]["entry_point"]).is_file()
    assert (MANIFEST["manifest_version"], MANIFEST["server"]["type"]) == ("0.4", "uv")


def test_the_icon_is_there() -> None:
    assert (PROJECT / MANIFEST["icon"]).is_file()


def test_every_setting_is_used_and_every_used_setting_is_asked_for() -> None:
    used = set(SETTING.findall(json.dumps(CONFIG)))
    assert used == set(MANIFEST["user_config"])


def test_no_setting_is_required_and_the_key_is_kept_secret() -> None:
    settings = MANIFEST["user_config"]
    assert not any(setting["required"] for setting in settings.values())
    assert settings["api_key"]["sensitive"]


@pytest.mark.parametrize("folders", [["one"], ["one", "two", "three"]])
async def test_the_chosen_folders_and_the_results_are_what_may_be_read(
    folders: list[str], tmp_path: Path
) -> None:
    allowed = [str(tmp_path / folder) for folder in folders]
    chosen: Chosen = {
        "allowed_folders": allowed,
        "output_folder": str(tmp_path / "results"),
    }
    message = await refusal_of_a_stranger(chosen, tmp_path)
    assert message.endswith(f"allowed: {', '.join([*allowed, str(tmp_path / 'results')])}")


@pytest.mark.parametrize("none", [{}, {"allowed_folders": []}], ids=["unset", "empty"])
async def test_without_chosen_folders_the_usual_ones_may_be_read(none: Chosen, tmp_path: Path) -> None:
    message = await refusal_of_a_stranger(none, tmp_path)
    assert str(tmp_path / "Downloads") in message
    assert "user_config" not in message
