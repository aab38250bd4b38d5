"""How soon the finish of an edit is seen, for how many questions; and whether 500 edits slow the program.

    python bench/finish.py [--json]

The whole program on a clock whose time costs none: what is measured is its schedule, exactly. Renders take
2 to 15 s, drawn by a seed. Upstream tells no progress, so that a finish can only be guessed; `bench/polls.py`
searches for the least lag that any schedule can have. Only the event loop's delay is measured on the real
clock, against 500 bare loops that ask over the same kind of client.
"""

import asyncio
import io
import random
import tempfile
import time
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from statistics import mean, median

import httpx

import polls
from kontext_edit.app import App, open_app
from kontext_edit.clock import Clock, SystemClock
from kontext_edit.settings import read_settings
from parts import Person, environ, fake_clock, noisy, wanted
from report import Row, Spread, alone
from upstream import Render, Upstream

MAX_RATIO = 0.25
MAX_DELAY_MS = 50.0
LOOP_SECONDS = 2.0
ONE_BY_ONE = 150
AT_ONCE = 500
SECONDS_MEASURED = 12.0
TICK = 0.005
SIMULATED = 1_000


def evenly(dice: random.Random) -> float:
    """A render."""
    return dice.uniform(2, 15)


def opened(folder: Path, clock: Clock, upstream: Upstream) -> App:
    """The program with a key and without budgets, on this upstream."""
    settings = read_settings(environ(folder, NOVITA_API_KEY="sk_bench"))
    return open_app(settings, working_dir=folder, clock=clock, transport=upstream.transport)


def a_source(folder: Path) -> str:
    """A small photograph where sources may be read."""
    path = folder / "in" / "source.jpg"
    path.parent.mkdir(exist_ok=True)
    noisy((512, 384)).save(path, quality=90)
    return str(path)


def a_result() -> bytes:
    """A small picture, as upstream delivers it."""
    out = io.BytesIO()
    noisy((256, 192)).save(out, "PNG")
    return out.getvalue()


async def edits(folder: Path, *, count: int, at_once: int) -> list[Render]:
    """That many edits, so many at a time, on a clock that costs no time."""
    async with fake_clock() as clock:
        upstream = Upstream(clock, evenly, a_result())
        app, source = opened(folder, clock, upstream), a_source(folder)
        app.editor.open()
        turn = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with turn:
                call = wanted(source, prompt=f"Make it blue, {number}", wait_seconds=50)
                outcome = await app.editor.edit(call, Person())
                if not outcome.task.settled:
                    raise RuntimeError(f"an edit did not end: {outcome.task}")

        await asyncio.gather(*map(one, range(count)))
        await app.close()
        return upstream.renders


def of_a_loop(render: Render) -> tuple[float, int]:
    """The lag and the questions of a loop that sleeps 2 s between questions."""
    seconds = render.done - render.begun
    polls = int(-(-seconds // LOOP_SECONDS))
    return polls * LOOP_SECONDS - seconds, polls


def rows_of(what: str, renders: list[Render]) -> list[Row]:
    """Lag and questions of these edits."""
    lags, polls = [render.lag for render in renders], [render.polls for render in renders]
    loop_lags, loop_polls = zip(*map(of_a_loop, renders), strict=True)
    baseline = "a loop with a pause of 2 s" if len(renders) == ONE_BY_ONE else "such a loop for each"
    ratio, more = median(lags) / median(loop_lags), mean(polls) / mean(loop_polls)
    return [
        Row(
            f"finish seen, {what}: median lag",
            f"{median(lags):.2f} s (mean {mean(lags):.2f})",
            baseline,
            f"{median(loop_lags):.2f} s (mean {mean(loop_lags):.2f})",
            Spread(ratio, ratio, ratio),
            MAX_RATIO,
        ),
        Row(
            f"finish seen, {what}: questions an edit",
            f"{mean(polls):.2f}",
            baseline,
            f"{mean(loop_polls):.2f}",
            Spread(more, more, more),
            1.0,
        ),
    ]


async def delays(during: Awaitable[object]) -> list[float]:
    """By how many milliseconds the event loop was late, tick by tick, while `during` ran."""
    late: list[float] = []
    work = asyncio.ensure_future(during)
    while not work.done():
        began = time.perf_counter()
        await asyncio.sleep(TICK)
        late.append(1000 * (time.perf_counter() - began - TICK))
    await work
    return late


async def our_delays(folder: Path) -> list[float]:
    """With 500 edits under way, from the moment at which the last was begun."""
    upstream = Upstream(SystemClock(), evenly, a_result())
    app, source = opened(folder, SystemClock(), upstream), a_source(folder)
    app.editor.open()
    calls = [wanted(source, prompt=f"Make it red, {number}", wait_seconds=0) for number in range(AT_ONCE)]
    await asyncio.gather(*(app.editor.edit(call, Person()) for call in calls))
    waiting = [wanted(source, prompt=call.edit.prompt, wait_seconds=SECONDS_MEASURED) for call in calls]
    found = await delays(asyncio.gather(*(app.editor.edit(call, Person()) for call in waiting)))
    await app.close()
    return found


async def bare_delays() -> list[float]:
    """With 500 bare loops under way."""
    upstream = Upstream(SystemClock(), evenly, a_result())
    client = httpx.AsyncClient(base_url="https://api.example", transport=upstream.transport)

    async def one() -> None:
        task = (await client.post("/edit", json={"prompt": "Make it red"})).json()["task_id"]
        while True:
            await asyncio.sleep(LOOP_SECONDS)
            answer = (await client.get("/result", params={"task_id": task})).json()
            if answer["images"]:
                await client.get(answer["images"][0]["image_url"])
                return

    async def all_of_them() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS_MEASURED):
                await asyncio.gather(*(one() for _ in range(AT_ONCE)))

    found = await delays(all_of_them())
    await client.aclose()
    return found


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the others does not exceed."""
    return sorted(values)[int(share * (len(values) - 1))]


def delay_row(folder: Path) -> Row:
    """How late the event loop is with 500 edits under way."""
    ours, bare = asyncio.run(our_delays(folder)), asyncio.run(bare_delays())
    p99, bare_p99 = percentile(ours, 0.99), percentile(bare, 0.99)
    return Row(
        f"event loop with {AT_ONCE} edits under way and {AT_ONCE} callers waiting: delay p99",
        f"{p99:.1f} ms (p50 {percentile(ours, 0.5):.1f}, most {max(ours):.0f})",
        f"{AT_ONCE} bare loops",
        f"{bare_p99:.1f} ms (most {max(bare):.0f})",
        Spread(p99, p99, p99),
        MAX_DELAY_MS,
        "ms",
    )


def least_row() -> Row:
    """The floor: what a perfect schedule could do that asks no more, and knows how renders are spread."""
    ways = polls.measure(polls.RENDERS["2-15 s, evenly"], SIMULATED)
    loop, least = ways["a loop of 2 s"].median_lag, ways["least for the median"].median_lag
    ratio = least / loop
    return Row(
        "finish seen: the least median lag that any schedule has with as many questions",
        f"{least:.2f} s",
        "a loop with a pause of 2 s",
        f"{loop:.2f} s",
        Spread(ratio, ratio, ratio),
        None,
    )


def rows() -> list[Row]:
    """The answers."""
    found: list[Row] = []
    runs: tuple[tuple[str, int, int], ...] = (
        ("one edit at a time", ONE_BY_ONE, 1),
        (f"{AT_ONCE} under way", AT_ONCE, AT_ONCE),
    )
    for what, count, at_once in runs:
        with tempfile.TemporaryDirectory() as folder:
            found += rows_of(what, asyncio.run(edits(Path(folder), count=count, at_once=at_once)))
    found.append(least_row())
    with tempfile.TemporaryDirectory() as folder:
        found.append(delay_row(Path(folder)))
    return found


if __name__ == "__main__":
    alone(rows, __doc__ or "")
