"""The bundle's manifest: `python -m tests.bundle` writes the tools into it anew."""

import json
from pathlib import Path
from typing import Any

from kontext_edit.tiers import DEFAULT_TIER
from kontext_edit.tools import make_tools

FILE = Path(__file__).parent.parent / "manifest.json"


def manifest() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def tools() -> list[dict[str, str | None]]:
    definitions = [tool.definition for tool in make_tools(DEFAULT_TIER).values()]
    return [{"name": each.name, "description": each.description} for each in definitions]


if __name__ == "__main__":
    fresh = manifest() | {"tools": tools()}
    FILE.write_text(json.dumps(fresh, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
