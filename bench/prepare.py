"""How fast and how small pictures are prepared, against Pillow's plain full decode, resize and encode.

    python bench/prepare.py [--json]

Every measurement runs in a process of its own, ours and Pillow's in turn, so that peaks of memory are
separate and a busy machine slows both alike. The peak is what preparing adds to a process that has imported
everything and read the file.
"""

import base64
import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pillow_heif
from PIL import Image, ImageDraw

from kontext_edit.images.prepare import prepare
from kontext_edit.images.sources import Found
from parts import apart, noisy, resident_bytes
from report import Row, Spread, alone, ratios, told

JPEG, HEIC, PNG = "24.jpg", "12.heic", "alpha.png"
SOURCES = {JPEG: ("24 MP JPEG", 0.5), HEIC: ("12 MP HEIC", 1.0), PNG: ("4000² PNG with alpha", 0.8)}
"""What is measured, and the target of its time."""

ROUNDS = 3
REPEATS = 2
"""Preparations in one process; the fastest counts, since the first also loads the codecs."""
SIDE = 1568
MAX_MEMORY_RATIO = 0.5
MAX_UPLOAD_RATIO = 0.25
UNIT = 1 if sys.platform == "darwin" else 1024
"""Of the peak that the system tells, in bytes."""


def cut_out(side: int) -> Image.Image:
    """The example photograph in a circle on a transparent ground."""
    picture = noisy((side, side))
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, side, side), fill=255)
    picture.putalpha(mask)
    return picture


def make(folder: Path) -> None:
    """Write the pictures that are measured; the HEIC in tiles, as phones do."""
    pillow_heif.register_heif_opener()  # pyright: ignore[reportUnknownMemberType]  # its options are untyped
    noisy((6000, 4000)).save(folder / JPEG, quality=88)
    noisy((4032, 3024)).save(folder / HEIC, quality=50, tile_size=512)
    cut_out(4000).save(folder / PNG, compress_level=1)


def with_us(data: bytes) -> int:
    """Prepare as the program does; returns the characters that would be sent."""
    return len(prepare(Found("bench", data, None)).wire("data-url"))


def with_pillow(data: bytes) -> int:
    """Decode in full, resize, encode; returns the characters."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        scale = SIDE / max(picture.size)
        size = round(picture.width * scale), round(picture.height * scale)
        small = picture.resize(size, Image.Resampling.LANCZOS)  # pyright: ignore[reportUnknownMemberType]  # numpy
        if small.mode == "RGBA":
            small.save(out, "PNG")
        else:
            small.save(out, "JPEG", quality=92)
    return len(base64.b64encode(out.getvalue()))


def decoded(data: bytes) -> int:
    """What Pillow's codec for HEIC needs before anything else can begin."""
    file = pillow_heif.open_heif(io.BytesIO(data))  # pyright: ignore[reportUnknownMemberType]  # untyped
    return len(cast("bytes", file[0].data))


WAYS: dict[str, Callable[[bytes], int]] = {"us": with_us, "pillow": with_pillow, "codec": decoded}


def measure(how: str, path: Path) -> dict[str, float]:
    """One measurement, in this process."""
    data = path.read_bytes()
    before = resident_bytes()
    times: list[float] = []
    characters = 0
    memory = 0.0
    for _ in range(REPEATS):
        started = time.perf_counter()
        characters = WAYS[how](data)
        times.append(time.perf_counter() - started)
        memory = memory or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT - before
    return {"ms": 1000 * min(times), "mb": memory / 1e6, "characters": characters}


def compare(path: Path, *hows: str) -> dict[str, dict[str, list[float]]]:
    """The measurements of each way, round by round."""
    runs: dict[str, list[dict[str, Any]]] = {how: [] for how in hows}
    for _ in range(ROUNDS):
        for how in hows:
            runs[how].append(apart(__file__, "--measure", how, str(path)))
    return {how: {key: [run[key] for run in found] for key in found[0]} for how, found in runs.items()}


def rows_of(path: Path) -> list[Row]:
    """Time and memory of one source; the upload of the photograph that has a target for it."""
    name, most = SOURCES[path.name]
    found = compare(path, "us", "pillow", *(["codec"] if path.name == HEIC else []))
    us, pillow = found["us"], found["pillow"]
    full, peak = "Pillow in full", f"preparing a {name}: peak memory"
    memory = told(us["mb"], 0, "MB")
    rows = [
        Row(
            f"preparing a {name}: time",
            told(us["ms"], 0, "ms"),
            full,
            told(pillow["ms"], 0, "ms"),
            ratios(us["ms"], pillow["ms"]),
            most,
        ),
        Row(
            peak, memory, full, told(pillow["mb"], 0, "MB"), ratios(us["mb"], pillow["mb"]), MAX_MEMORY_RATIO
        ),
    ]
    if codec := found.get("codec"):
        alone_mb = told(codec["mb"], 0, "MB")
        rows.append(Row(peak, memory, "the codec alone", alone_mb, ratios(us["mb"], codec["mb"]), None))
    if path.name == JPEG:
        whole = -(-path.stat().st_size // 3) * 4
        sent = us["characters"][0]
        share = sent / whole
        rows.append(
            Row(
                "bytes uploaded for it",
                f"{sent / 1e6:.2f} MB",
                "the file as base64",
                f"{whole / 1e6:.2f} MB",
                Spread(share, share, share),
                MAX_UPLOAD_RATIO,
            )
        )
    return rows


def rows() -> list[Row]:
    """The answers."""
    with tempfile.TemporaryDirectory() as folder:
        apart(__file__, "--make", folder)
        return [row for name in SOURCES for row in rows_of(Path(folder, name))]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        make(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], Path(sys.argv[3]))))
    else:
        alone(rows, __doc__ or "")
