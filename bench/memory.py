"""How much memory an edit holds while upstream works on it: a thousand in one process against one.

    python bench/memory.py [--json]

Each edit has a photograph and a prompt of its own, is accepted, and is never done. What counts is
the resident memory of the process after the thousandth less that after the first, in a process of its own.
Upstream is a transport of this process, which keeps a few numbers of each.
"""

import asyncio
import gc
import json
import sys
import tempfile
from pathlib import Path

from kontext_edit.app import open_app
from kontext_edit.clock import SystemClock
from kontext_edit.settings import read_settings
from parts import Person, apart, environ, noisy, resident_bytes, wanted
from report import Row, Spread, alone
from upstream import Upstream

MAX_KB = 150.0
EDITS = 1000
BATCH = 50
ROUNDS = 1
FOR_EVER = 10_000.0


async def begin(folder: Path) -> list[int]:
    """Resident bytes with no edit, with one, and with all of them under way."""
    clock = SystemClock()
    upstream = Upstream(clock, lambda _: FOR_EVER, b"")
    settings = read_settings(environ(folder, NOVITA_API_KEY="sk_bench"))
    app = open_app(settings, working_dir=folder, clock=clock, transport=upstream.transport)
    app.editor.open()
    photo = folder / "in" / "photo.jpg"
    noisy((1152, 864)).save(photo, quality=90)

    async def edit(numbers: range) -> None:
        calls = [
            wanted(str(photo), prompt=f"Make the cup blue, take {number}", wait_seconds=1)
            for number in numbers
        ]
        await asyncio.gather(*(app.editor.edit(call, Person()) for call in calls))
        while len(upstream.renders) < numbers.stop:
            await clock.sleep(0.05)
        gc.collect()

    found = [resident_bytes()]
    await edit(range(1))
    found.append(resident_bytes())
    for start in range(1, EDITS, BATCH):
        await edit(range(start, min(EDITS, start + BATCH)))
    found.append(resident_bytes())
    await app.close()
    return found


def rows() -> list[Row]:
    """The answer."""
    found: list[list[int]] = [apart(__file__, "--measure") for _ in range(ROUNDS)]
    each = [(after - one) / (EDITS - 1) / 1000 for _, one, after in found]
    one, after = (Spread.of([run[index] / 1e6 for run in found]).told(0) for index in (1, 2))
    return [
        Row(
            f"{EDITS} edits in flight in one process: resident memory of each beyond the first",
            f"{after} MB",
            "one edit",
            f"{one} MB",
            Spread.of(each),
            MAX_KB,
            "KB",
        )
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(asyncio.run(begin(Path(scratch)))))
    else:
        alone(rows, __doc__ or "")
