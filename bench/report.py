"""What every benchmark tells: the machine, the versions, medians with their ranges, a Markdown table."""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kontext_edit.schema import markdown_table

DISTRIBUTIONS = ("mcp", "pydantic", "httpx", "pillow", "pillow-heif")


@dataclass(frozen=True, slots=True)
class Spread:
    """What several measurements come to."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of `values`, of which there is at least one."""
        return cls(statistics.median(values), min(values), max(values))

    def told(self, digits: int) -> str:
        """`512 (498-551)`, or `512` where they do not differ."""
        median, least, most = (f"{value:.{digits}f}" for value in (self.median, self.least, self.most))
        return median if least == most else f"{median} ({least}-{most})"

    def json(self) -> dict[str, float]:
        """The same for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Row:
    """One answer.

    Attributes:
        question: What was asked.
        ours: What was measured of this program, with its unit.
        baseline: What it is held against.
        theirs: What was measured of that in the same run, with its unit.
        figure: What has a target: mostly ours by theirs.
        target: The most that the figure's median may be; None where the row only explains another.
        unit: The figure's, where it is no ratio.
    """

    question: str
    ours: str
    baseline: str
    theirs: str
    figure: Spread
    target: float | None
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.target is None else self.figure.median <= self.target

    def cells(self) -> tuple[str, ...]:
        """The row for people."""
        digits = 2 if self.figure.median < _LARGE else 0
        unit = f" {self.unit}" if self.unit else ""
        target = "" if self.target is None else f"≤ {self.target:g}{unit}"
        verdict = {True: "met", False: "**not met**", None: ""}[self.met]
        told = self.figure.told(digits) + unit
        return self.question, self.ours, f"{self.baseline}: {self.theirs}", told, target, verdict


_LARGE = 20
_MADE = frozenset({"figure", "met"})
HEADER = ("question", "ours", "baseline in the same run", "figure, median (range)", "target", "")

Rows = Callable[[], list[Row]]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours by theirs, round by round: what slows a whole round does not count."""
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def told(values: Sequence[float], digits: int, unit: str) -> str:
    """A median with its range and unit."""
    return f"{Spread.of(values).told(digits)} {unit}"


def machine() -> str:
    """Processor, cores and system."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.machine()])[0]}, {os.cpu_count()} cores, {platform.system()}"


def versions(*distributions: str) -> str:
    """Python's version and those of `distributions`."""
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in distributions)]
    )


def table(title: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A line that says what was measured where, and a table below it."""
    return f"{title}\n\n{markdown_table(header, rows)}"


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for JSON."""
    return [asdict(row) | {"met": row.met} for row in rows]


def from_json(found: Iterable[dict[str, Any]]) -> list[Row]:
    """The rows that `as_json` made JSON of."""
    return [
        Row(figure=Spread(**row["figure"]), **{name: row[name] for name in row if name not in _MADE})
        for row in found
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The rows for people, with the machine and the versions."""
    return table(f"{machine()}, {versions(*DISTRIBUTIONS)}.", HEADER, [row.cells() for row in rows])


def alone(measured: Rows, description: str) -> None:
    """Run one benchmark by itself: print its rows; exits with 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = measured()
    print(json.dumps(as_json(rows)) if options.json else markdown(rows))
    sys.exit(any(row.met is False for row in rows))
