"""The registry's entry: as the registry demands it, and as the package and its settings are."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from scripts.install import NAME, PUBLISHED
from tests.bundle import project
from tests.surroundings import settings_of_operators, settings_read

from kontext_edit.settings import read_settings

PROJECT = Path(__file__).parent.parent
ENTRY: dict[str, Any] = json.loads((PROJECT / "server.json").read_text(encoding="utf-8"))
(PACKAGE,) = ENTRY["packages"]
VARIABLES: dict[str, dict[str, Any]] = {each["name"]: each for each in PACKAGE["environmentVariables"]}
RULES = json.loads((PROJECT / "tests" / "upstream" / "registry.schema.json").read_text(encoding="utf-8"))


def problems(entry: dict[str, Any]) -> list[str]:
    found = Draft202012Validator(RULES).iter_errors(entry)  # pyright: ignore[reportUnknownMemberType]  # a stub
    return [error.message for error in found]


def test_the_entry_is_valid() -> None:
    Draft202012Validator.check_schema(RULES)
    assert not problems(ENTRY)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "kontext-edit"},
        {"description": "x" * 101},
        {"version": "latest"},
        {"version": ">=0.1"},
        {"packages": []},
        {"packages": [PACKAGE | {"registry_type": "pypi"}]},
        {"packages": [PACKAGE | {"environmentVariables": [{"name": "A", "secret": True}]}]},
    ],
)
def test_an_entry_that_the_registry_would_refuse_is_found(changed: dict[str, Any]) -> None:
    assert problems(ENTRY | changed)


def test_versions_name_and_description_are_the_packages() -> None:
    own = project()
    assert ENTRY["version"] == PACKAGE["version"] == own["version"]
    assert PACKAGE["identifier"] == own["name"] == NAME
    assert own["urls"]["Changelog"].startswith(f"{ENTRY['repository']['url']}/")
    assert (PACKAGE["runtimeHint"], PACKAGE["identifier"]) == PUBLISHED


def test_the_readme_proves_to_the_registry_whose_package_it_is() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- mcp-name: {ENTRY['name']} -->" in readme


def test_every_setting_of_a_person_is_listed_and_no_other() -> None:
    """An operator's settings belong to a server that no registry's client starts."""
    assert set(VARIABLES) == settings_read() - settings_of_operators()


def test_nothing_is_required_and_the_key_alone_is_a_secret() -> None:
    assert not any(variable.get("isRequired") for variable in VARIABLES.values())
    assert [name for name, variable in VARIABLES.items() if variable.get("isSecret")] == ["NOVITA_API_KEY"]


def test_the_defaults_are_the_programs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    defaults = {name: each["default"] for name, each in VARIABLES.items() if "default" in each}
    assert defaults
    assert read_settings(defaults) == read_settings({})


@pytest.mark.parametrize(
    ("name", "choice"),
    [(name, choice) for name, each in VARIABLES.items() for choice in each.get("choices", [])],
)
def test_every_choice_is_one_that_the_program_takes(name: str, choice: str) -> None:
    assert read_settings({"NOVITA_API_KEY": "sk_1", name: choice})


@pytest.mark.parametrize("icon", ENTRY["icons"], ids=lambda icon: icon["mimeType"])
def test_every_icon_is_in_the_project(icon: dict[str, str]) -> None:
    assert (PROJECT / "docs" / icon["src"].rpartition("/docs/")[2]).is_file()
