"""All questions in one run: a Markdown table, and JSON in out/bench.json.

    python bench [--only NAME …] [--write-docs]

Each file answers its own question and can be run by itself. Every figure is held against a baseline that was
measured in the same run, in turns with it, so that a slow or busy machine changes both. `--write-docs` puts
the last run's table into docs/performance.md, and measures nothing.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from report import DISTRIBUTIONS, HEADER, Row, from_json, machine, table, versions

HERE = Path(__file__).parent
RESULTS = HERE.parent / "out" / "bench.json"
DOCUMENT = HERE.parent / "docs" / "performance.md"
QUESTIONS = (
    "start",
    "first_call",
    "finish",
    "overhead",
    "memory",
    "prepare",
    "reading",
    "result",
)
"""The files, in the order of the table."""

MEASURED = re.compile(r"(?<=<!-- measured -->\n).*(?=<!-- /measured -->)", re.DOTALL)
"""The part of the document that a run writes; all the rest is written by hand."""


def answered(name: str) -> list[dict[str, Any]] | None:
    """What one file measures, in a process of its own; None where it could not."""
    began = time.monotonic()
    print(f"{name} …", end=" ", file=sys.stderr, flush=True)
    command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own
    if not done.stdout:
        print(f"failed with {done.returncode}", file=sys.stderr)
        return None
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return json.loads(done.stdout)


def run(names: list[str]) -> dict[str, Any]:
    """Ask everything."""
    found = {name: answered(name) for name in names}
    return {
        "failed": [name for name, rows in found.items() if rows is None],
        "machine": machine(),
        "versions": versions(*DISTRIBUTIONS),
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rows": [row for rows in found.values() for row in rows or ()],
    }


def markdown(found: dict[str, Any], rows: list[Row]) -> str:
    """The run for people."""
    judged = [row.met for row in rows if row.met is not None]
    title = (
        f"{found['machine']}; {found['versions']}; {found['at']}. "
        f"{sum(judged)} of {len(judged)} targets are met."
    )
    return table(title, HEADER, [row.cells() for row in rows])


def write_document(text: str) -> None:
    """Put a run into the document."""
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(MEASURED.sub(lambda _: f"\n{text}\n\n", document), encoding="utf-8")


def main() -> int:
    """Measure, print and keep; 1 where something could not be measured. A missed target is an answer too."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=QUESTIONS, metavar="NAME", help=f"of {', '.join(QUESTIONS)}"
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="write the last run into docs/performance.md"
    )
    options = parser.parse_args()
    if options.write_docs:
        found = json.loads(RESULTS.read_text(encoding="utf-8"))
        write_document(markdown(found, from_json(found["rows"])))
        return 0
    found = run(options.only or list(QUESTIONS))
    rows = from_json(found["rows"])
    print(markdown(found, rows))
    if options.only is None:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
