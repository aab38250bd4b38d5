"""Links, commands and files by which a client is told of the server: what they say, and that it is used."""

import base64
import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from scripts import install
from tests.bundle import project

from kontext_edit.reader import given

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
INPUT = re.compile(r"\$\{input:([\w-]+)\}")


def query(link: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(link).query, strict_parsing=True).items()}


def server_of(file: str, top: str) -> dict[str, Any]:
    return json.loads(file)[top]["kontext-edit"]


@pytest.mark.parametrize("command", [install.PUBLISHED, install.CLONE])
def test_every_client_is_told_the_same_command(command: tuple[str, ...]) -> None:
    code = shlex.split(install.claude_code(command).replace("\\\n", ""))
    assert tuple(code[code.index("--") + 1 :]) == command
    desktop = server_of(install.desktop_file(command), "mcpServers")
    assert (Path(desktop["command"]).name, *desktop["args"]) == command
    vscode = server_of(install.vscode_file(command), "servers")
    assert (vscode["command"], *vscode["args"]) == command


def test_the_command_is_the_one_that_the_package_installs() -> None:
    assert install.NAME in project()["scripts"]
    assert install.PUBLISHED[-1] == install.CLONE[-1] == install.NAME == project()["name"]


def test_the_link_for_vs_code_holds_the_server_and_asks_for_the_key() -> None:
    link = query(install.vscode_link())
    server, inputs = json.loads(link["config"]), json.loads(link["inputs"])
    assert link["name"] == "kontext-edit"
    assert (server["command"], *server["args"]) == install.PUBLISHED
    (asked,) = INPUT.findall(server["env"]["NOVITA_API_KEY"])
    assert [(each["id"], each["password"]) for each in inputs] == [(asked, True)]


def test_the_file_for_vs_code_asks_for_the_input_that_it_uses() -> None:
    file = json.loads(install.vscode_file(install.CLONE))
    used = INPUT.findall(json.dumps(file["servers"]))
    assert used == [each["id"] for each in file["inputs"]]


def test_the_link_for_cursor_holds_the_server_and_without_a_key_it_means_the_sandbox() -> None:
    link = query(install.cursor_link())
    server = json.loads(base64.b64decode(link["config"], validate=True))
    assert link["name"] == "kontext-edit"
    assert (server["command"], *server["args"]) == install.PUBLISHED
    assert given(server["env"]["NOVITA_API_KEY"]) is None


@pytest.mark.parametrize("link", [install.vscode_link(), install.cursor_link()])
def test_a_link_works_in_markdown_and_is_not_too_long(link: str) -> None:
    assert re.fullmatch(r"https://[!-~]+", link)
    assert not set("()<>[]") & set(link)
    assert len(link) < 2000


def test_the_readme_shows_all_of_them() -> None:
    shown = [
        install.vscode_link(),
        install.cursor_link(),
        install.claude_code(install.CLONE),
        install.desktop_file(install.CLONE),
        install.vscode_file(install.CLONE),
    ]
    assert all(each in README for each in shown)
