"""What several benchmarks need: the tests' own parts, pictures, a process of one's own, and memory."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from kontext_edit.images.scale import resized

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # where the tests are, some of whose parts are used here too

from tests.clock import FakeClock  # noqa: E402 - found by the path
from tests.house import Person, wanted  # noqa: E402 - likewise
from tests.startup import HANDSHAKE, HELLO, LAST  # noqa: E402 - likewise

__all__ = ["HANDSHAKE", "HELLO", "LAST", "Person", "wanted"]

PHOTOGRAPH = ROOT / "examples" / "coffee.png"


def noisy(size: tuple[int, int]) -> Image.Image:
    """The example photograph at another size, with the fine grain that a sensor adds."""
    with Image.open(PHOTOGRAPH) as picture:
        large = resized(picture.convert("RGB"), size)
    grain = Image.effect_noise(size, 10)
    return Image.merge("RGB", [ImageChops.add(band, grain, 1, -128) for band in large.split()])


def environ(folder: Path, **settings: str) -> dict[str, str]:
    """An environment whose folders are below `folder`, with no key and no settings but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KONTEXT_", "NOVITA_"))}
    (folder / "in").mkdir(exist_ok=True)
    return {
        **kept,
        "KONTEXT_HOME": str(folder / "home"),
        "KONTEXT_OUTPUT_DIR": str(folder / "out"),
        "KONTEXT_ALLOWED_DIRS": str(folder / "in"),
        "KONTEXT_BUDGET_DAY_USD": "none",
        "KONTEXT_BUDGET_MONTH_USD": "none",
        **settings,
    }


def apart(script: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """What a benchmark prints when it is run in a process of its own, as JSON.

    So that peaks of memory are separate: on Linux a child's begins at its parent's.
    """
    command = [sys.executable, script, *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - ourselves
    return json.loads(output or "null")


def resident_bytes() -> int:
    """This process's resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def fake_clock() -> AsyncGenerator[FakeClock]:
    """A clock whose time costs none."""
    clock = FakeClock()
    driver = asyncio.ensure_future(clock.drive())
    try:
        yield clock
    finally:
        driver.cancel()
        with suppress(asyncio.CancelledError):
            await driver
