"""What every benchmark tells: the machine, the versions, medians with their ranges, a Markdown table."""

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from kontext_edit.schema import markdown_table


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
        """`512 (498-551)`."""
        return f"{self.median:.{digits}f} ({self.least:.{digits}f}-{self.most:.{digits}f})"

    def json(self) -> dict[str, float]:
        """The same for JSON."""
        return asdict(self)


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
