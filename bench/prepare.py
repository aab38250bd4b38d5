"""How fast and how small pictures are prepared, against Pillow's plain full decode, resize and encode.

    python bench/prepare.py [--rounds 5] [--json]

Every measurement runs in a process of its own, ours and Pillow's in turn, so that peaks of memory are
separate and a busy machine slows both alike. The target is for the 24-megapixel JPEG: at most half of
Pillow's time, at most 1 MB, under 250 MB of memory.
"""

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import PIL
import pillow_heif
from PIL import Image, ImageChops, ImageDraw

from kontext_edit.images.prepare import prepare
from kontext_edit.images.sources import Found

PHOTOGRAPH = Path(__file__).parent.parent / "examples" / "coffee.png"
SOURCES = {"24 MP JPEG": "24.jpg", "12 MP HEIC": "12.heic", "4000x4000 PNG with alpha": "alpha.png"}
"""What is measured, as the table calls it, and its file."""

REPEATS = 3
"""Preparations in one process; the fastest counts, since the first also loads the codecs."""

MAX_RATIO, MAX_BYTES, MAX_MEMORY = 0.5, 1_000_000, 250_000_000


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at another size, with Pillow's best filter and no shortcut."""
    return picture.resize(  # pyright: ignore[reportUnknownMemberType]  # numpy is optional
        size, Image.Resampling.LANCZOS
    )


def noisy(size: tuple[int, int]) -> Image.Image:
    """The example photograph at another size, with the fine grain that a sensor adds."""
    with Image.open(PHOTOGRAPH) as picture:
        large = resized(picture.convert("RGB"), size)
    grain = Image.effect_noise(size, 10)
    return Image.merge("RGB", [ImageChops.add(band, grain, 1, -128) for band in large.split()])


def cut_out(side: int) -> Image.Image:
    """The example photograph in a circle on a transparent ground."""
    picture = noisy((side, side))
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, side, side), fill=255)
    picture.putalpha(mask)
    return picture


def make(folder: Path) -> None:
    """Write the pictures that are measured."""
    pillow_heif.register_heif_opener()  # pyright: ignore[reportUnknownMemberType]  # its options are untyped
    noisy((6000, 4000)).save(folder / SOURCES["24 MP JPEG"], quality=88)
    noisy((4032, 3024)).save(folder / SOURCES["12 MP HEIC"], quality=50)
    cut_out(4000).save(folder / SOURCES["4000x4000 PNG with alpha"], compress_level=1)


def with_us(data: bytes) -> int:
    """Prepare as the program does; returns the bytes that would be sent."""
    return len(prepare(Found("bench", data, None)).data or b"")


def with_pillow(data: bytes) -> int:
    """Decode in full, resize, encode; returns the bytes."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        scale = 1568 / max(picture.size)
        size = round(picture.width * scale), round(picture.height * scale)
        small = resized(picture, size)
        if small.mode == "RGBA":
            small.save(out, "PNG")
        else:
            small.save(out, "JPEG", quality=92)
    return len(out.getvalue())


def measure(how: str, path: Path) -> dict[str, float]:
    """One measurement, in this process."""
    work = with_us if how == "us" else with_pillow
    times: list[float] = []
    sent = 0
    for _ in range(REPEATS):
        started = time.perf_counter()
        sent = work(path.read_bytes())
        times.append(time.perf_counter() - started)
    unit = 1 if sys.platform == "darwin" else 1024
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"seconds": min(times), "bytes": sent, "memory": memory}


def apart(*arguments: str) -> Any:  # noqa: ANN401 - JSON
    """What this script prints when it is run in a process of its own.

    Making the pictures happens there too: on Linux a child's peak memory starts at its parent's.
    """
    command = [sys.executable, __file__, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - ourselves
    return json.loads(output or "null")


def compare(path: Path, rounds: int) -> dict[str, Any]:
    """Medians and ranges of both ways, and their ratio round by round."""
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    for _ in range(rounds):
        ours.append(apart("--measure", "us", str(path)))
        theirs.append(apart("--measure", "pillow", str(path)))
    ratios = [mine["seconds"] / other["seconds"] for mine, other in zip(ours, theirs, strict=True)]
    return {
        "source_bytes": path.stat().st_size,
        "ratio": spread(ratios),
        "us": summary(ours),
        "pillow": summary(theirs),
    }


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """What several measurements of one way come to."""
    return {
        "milliseconds": spread([1000 * run["seconds"] for run in runs]),
        "bytes": int(runs[0]["bytes"]),
        "memory": int(max(run["memory"] for run in runs)),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def met(row: dict[str, Any]) -> bool:
    """Whether a row is within the target."""
    us = row["us"]
    return row["ratio"]["median"] <= MAX_RATIO and us["bytes"] <= MAX_BYTES and us["memory"] < MAX_MEMORY


def table(rows: dict[str, dict[str, Any]], rounds: int) -> str:
    """The measurements as Markdown."""
    versions = f"Python {platform.python_version()}, Pillow {PIL.__version__}"
    lines = [
        f"{machine()}, {versions}; medians (ranges) of {rounds} rounds.",
        "",
        "| source | ours | Pillow in full | ratio | sent | our peak memory | target |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        us, pillow = row["us"], row["pillow"]
        target = "not set"
        if name == "24 MP JPEG":
            target = f"≤ {MAX_RATIO}, ≤ 1 MB, < 250 MB: {'met' if met(row) else 'NOT MET'}"
        lines.append(
            f"| {name}, {row['source_bytes'] / 1e6:.1f} MB | {told(us['milliseconds'], 0)} ms "
            f"| {told(pillow['milliseconds'], 0)} ms | {told(row['ratio'], 2)} "
            f"| {us['bytes'] / 1e6:.2f} MB | {us['memory'] / 1e6:.0f} MB | {target} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores and system."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def told(values: dict[str, float], digits: int) -> str:
    """A median with its range."""
    return f"{values['median']:.{digits}f} ({values['least']:.{digits}f}-{values['most']:.{digits}f})"


def main() -> int:
    """Measure and print; 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--measure", nargs=2, metavar=("HOW", "FILE"), help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make)
        return 0
    if options.measure:
        how, name = options.measure
        print(json.dumps(measure(how, Path(name))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        apart("--make", folder)
        rows = {name: compare(Path(folder, file), options.rounds) for name, file in SOURCES.items()}
    print(json.dumps(rows) if options.json else table(rows, options.rounds))
    return 0 if met(rows["24 MP JPEG"]) else 1


if __name__ == "__main__":
    sys.exit(main())
