"""The tools' definitions as files: `python -m tests.snapshot` writes them anew, a diff shows what changed."""

import json
from pathlib import Path

from kontext_edit.tiers import DEFAULT_TIER
from kontext_edit.tools import make_tools

FOLDER = Path(__file__).parent / "snapshots"


def definitions() -> dict[str, str]:
    """Each tool's definition as it goes over the wire, readable."""
    return {
        name: json.dumps(
            tool.definition.model_dump(by_alias=True, exclude_none=True, mode="json"),
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
        for name, tool in make_tools(DEFAULT_TIER).items()
    }


if __name__ == "__main__":
    for stale in FOLDER.glob("*.json"):
        stale.unlink()
    for name, definition in definitions().items():
        (FOLDER / f"{name}.json").write_text(definition, encoding="utf-8")
