"""What it costs to verify a result, to say how much of it changed, and to show it small, against decoding it.

    python bench/result.py [--json]

In turns in one process, in CPU time. Two megapixels, in each of the formats that upstream delivers.
"""

import io
import time
from collections.abc import Callable

from PIL import Image

from kontext_edit.images.preview import Look, inspect
from parts import noisy
from report import Row, alone, ratios, told

MAX_RATIO = 1.5
ROUNDS = 15
SIZE = (1632, 1224)
FORMATS: dict[str, dict[str, int]] = {"PNG": {}, "WEBP": {"quality": 90}, "JPEG": {"quality": 92}}


def decode(data: bytes) -> None:
    """The baseline."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU milliseconds."""
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def rows() -> list[Row]:
    """The answers."""
    photo = noisy(SIZE)
    before = Look.of(photo)
    found: list[Row] = []
    for name, options in FORMATS.items():
        out = io.BytesIO()
        photo.save(out, name, **options)
        data = out.getvalue()
        pairs = [
            (cpu_ms(lambda data=data: inspect(data, before)), cpu_ms(lambda data=data: decode(data)))
            for _ in range(1 + ROUNDS)
        ][1:]
        ours, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        question = f"`changed_percent` and preview of a 2 MP result, {name}"
        found.append(
            Row(
                question,
                told(ours, 0, "ms"),
                "one decode",
                told(theirs, 0, "ms"),
                ratios(ours, theirs),
                MAX_RATIO,
            )
        )
    return found


if __name__ == "__main__":
    alone(rows, __doc__ or "")
