"""The files that installers read: `python -m tests.bundle` writes tools and versions into them anew."""

import json
import tomllib
from pathlib import Path
from typing import Any

from kontext_edit.tiers import DEFAULT_TIER
from kontext_edit.tools import make_tools

PROJECT = Path(__file__).parent.parent
FILE = PROJECT / "manifest.json"
ENTRY = PROJECT / "server.json"


def manifest() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def project() -> dict[str, Any]:
    """What the package says of itself."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def tools() -> list[dict[str, str | None]]:
    definitions = [tool.definition for tool in make_tools(DEFAULT_TIER).values()]
    return [{"name": each.name, "description": each.description} for each in definitions]


def write() -> None:
    version = project()["version"]
    fresh = manifest() | {"version": version, "tools": tools()}
    FILE.write_text(_text(fresh), encoding="utf-8")
    entry = json.loads(ENTRY.read_text(encoding="utf-8"))
    entry["version"] = version
    for package in entry["packages"]:
        package["version"] = version
    ENTRY.write_text(_text(entry), encoding="utf-8")


def _text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write()
