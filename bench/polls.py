"""How soon the end of an edit is seen, and with how many questions to upstream.

    python bench/polls.py [--edits 4000] [--json]

A simulation without waiting: renders are drawn by a seed, and each way of asking is held against them. The
baseline is a loop that sleeps 2 s between questions. The least there can be is searched over all schedules
that ask an edit no more questions on average than that loop, once for the mean of the lag and once for its
median; both know the renders' distribution exactly and nothing of a single render, as upstream tells no
progress. The target is a quarter of the loop's median lag, for no more questions.
"""

import argparse
import bisect
import json
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kontext_edit.polling import Usual, pause_before_poll, pause_beside_bell
from kontext_edit.tiers import TIERS
from report import table, versions

MAX_RATIO = 0.25
LOOP_SECONDS = 2.0
ENOUGH, RECENT = 5, 50
"""After how many edits something is learnt, and from how many at most."""
STEP = 0.05
"""Of the search for the least, in seconds."""
HALVINGS = 14

RENDERS: dict[str, Callable[[random.Random], float]] = {
    "2-15 s, evenly": lambda dice: dice.uniform(2, 15),
    "5-8 s, evenly": lambda dice: dice.uniform(5, 8),
    "about 8 s, log-normal": lambda dice: dice.lognormvariate(math.log(8), 0.25),
    "4 s or 12 s": lambda dice: dice.gauss(*dice.choice(((4.0, 0.4), (12.0, 0.8)))),
}

Schedule = Sequence[float]
Price = Callable[[int, int], float]


@dataclass(frozen=True, slots=True)
class Seen:
    """How a way of asking does."""

    questions: float
    """An edit, on average."""
    median_lag: float
    mean_lag: float


def judged(pairs: Sequence[tuple[int, float]]) -> Seen:
    """From questions and lag of each edit."""
    lags = [lag for _, lag in pairs]
    return Seen(statistics.mean(asked for asked, _ in pairs), statistics.median(lags), statistics.mean(lags))


def asked(render: float, pause: Callable[[float], float]) -> tuple[int, list[float]]:
    """How often an edit is asked about, and when."""
    moments = [pause(0.0)]
    while moments[-1] < render:
        moments.append(moments[-1] + pause(moments[-1]))
    return len(moments), moments


def with_pauses(renders: Sequence[float], pause: Callable[[float], float]) -> Seen:
    """A way of asking that does not learn."""
    found = [(render, *asked(render, pause)) for render in renders]
    return judged([(questions, moments[-1] - render) for render, questions, moments in found])


def learning(renders: Sequence[float], estimate: Callable[[list[float]], float]) -> Seen:
    """Ours from the first edit on, which learns from what it saw; the first edits count too."""
    known: deque[float] = deque(maxlen=RECENT)
    usual: Usual = TIERS["pro"].usual_seconds
    pairs: list[tuple[int, float]] = []
    for render in renders:
        if len(known) >= ENOUGH:
            usual = deciles(known)
        questions, moments = asked(render, lambda elapsed, usual=usual: pause_before_poll(elapsed, usual))
        known.append(estimate([*moments[-1:], render, *moments[-2:-1]]))
        pairs.append((questions, moments[-1] - render))
    return judged(pairs)


def upstreams_clock(sighting: list[float]) -> float:
    """The render itself."""
    return sighting[1]


def between_questions(sighting: list[float]) -> float:
    """Half-way between the last two questions, where upstream's clock is not told."""
    seen, before = sighting[0], sighting[2] if len(sighting) > 2 else 0.0  # noqa: PLR2004 - see above
    return (max(before, seen / 2) + seen) / 2


def deciles(seconds: Sequence[float]) -> Usual:
    """As the journal tells them."""
    return tuple(statistics.quantiles(seconds, n=10, method="inclusive"))


def least(renders: Sequence[float], questions: float, good_lag: float | None) -> Seen:
    """The best schedule with so many questions: for the mean of the lag, or for lags of at most so much.

    It is a mixture of the two best ones that ask just too little and just too much.
    """
    cheap, dear = 1e-4, 100.0
    for _ in range(HALVINGS):
        price = math.sqrt(cheap * dear)
        if judged(on_schedule(renders, _best(renders, price, good_lag))).questions > questions:
            cheap = price
        else:
            dear = price
    few, many = (on_schedule(renders, _best(renders, price, good_lag)) for price in (dear, cheap))
    asked_few, asked_many = judged(few).questions, judged(many).questions
    share = (questions - asked_few) / (asked_many - asked_few) if asked_many > asked_few else 0.0
    dice = random.Random(2)  # noqa: S311 - the same mixture in every run
    return judged([other if dice.random() < share else one for one, other in zip(few, many, strict=True)])


def least_median(renders: Sequence[float], questions: float) -> Seen:
    """The least median of the lag with so many questions: half of the edits may wait as long as they like."""
    tried = (least(renders, questions, steps * STEP) for steps in range(1, 60))
    return next(found for steps, found in enumerate(tried, 1) if found.median_lag <= steps * STEP)


def on_schedule(renders: Sequence[float], schedule: Schedule) -> list[tuple[int, float]]:
    """Questions and lag of each edit, by fixed moments that are the same for all."""
    places = [min(bisect.bisect_left(schedule, render - 1e-9), len(schedule) - 1) for render in renders]
    return [(place + 1, schedule[place] - render) for place, render in zip(places, renders, strict=True)]


def _best(renders: Sequence[float], price: float, good_lag: float | None) -> Schedule:
    """The moments that make `lag + price * questions` least, by going backwards from the longest render."""
    ends = math.ceil(max(renders) / STEP)
    ending = [0] * (ends + 2)
    for render in renders:
        ending[max(1, math.ceil(render / STEP - 1e-9))] += 1
    left = [0] * (ends + 3)
    for moment in range(ends, -1, -1):
        left[moment] = left[moment + 1] + ending[moment]
    costs, following = [0.0] * (ends + 1), [ends] * (ends + 1)
    for moment in range(ends - 1, -1, -1):
        best, lag, passed = math.inf, 0.0, 0
        for later in range(moment + 1, ends + 1):
            if good_lag is None:
                lag += passed * STEP
                passed += ending[later]
            else:
                lag = float(left[moment + 1] - left[max(moment + 1, later - round(good_lag / STEP) + 1)])
            cost = lag + price * left[moment + 1] + costs[later]
            if cost < best:
                best, following[moment] = cost, later
        costs[moment] = best
    schedule, moment = list[float](), 0
    while moment < ends:
        moment = following[moment]
        schedule.append(moment * STEP)
    return schedule


def measure(draw: Callable[[random.Random], float], edits: int) -> dict[str, Seen]:
    """Every way of asking, on the same renders."""
    dice = random.Random(1)  # noqa: S311 - the same renders in every run
    renders = [max(0.1, draw(dice)) for _ in range(edits)]
    usual = deciles(renders)
    loop = with_pauses(renders, lambda _: LOOP_SECONDS)
    few = renders[: min(edits, 2_000)]
    return {
        "a loop of 2 s": loop,
        "ours, the distribution known": with_pauses(
            renders, lambda elapsed: pause_before_poll(elapsed, usual)
        ),
        "ours, learning by upstream's clock": learning(renders, upstreams_clock),
        "ours, learning without it": learning(renders, between_questions),
        "least for the mean": least(few, loop.questions, None),
        "least for the median": least_median(few, loop.questions),
        "ours, the webhook lost": with_pauses(renders, lambda elapsed: pause_beside_bell(elapsed, usual)),
    }


def markdown(told: dict[str, Any]) -> str:
    """The measurements for people."""
    rows: list[tuple[str, ...]] = []
    for renders, ways in told["renders"].items():
        baseline = next(iter(ways.values()))["median_lag"]
        for way, seen in ways.items():
            rows.append(
                (
                    renders,
                    way,
                    f"{seen['questions']:.2f}",
                    f"{seen['median_lag']:.2f} s",
                    f"{seen['mean_lag']:.2f} s",
                    f"{seen['median_lag'] / baseline:.2f}",
                )
            )
    title = (
        f"{told['versions']}; {told['edits']:,} edits of each kind, simulated; target at most {MAX_RATIO}."
    )
    return table(
        title, ("renders", "asked", "questions", "median lag", "mean lag", "of the loop's median"), rows
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--edits", type=int, default=4_000, help="edits of each kind (default 4000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    told = {
        "versions": versions(),
        "edits": options.edits,
        "target": MAX_RATIO,
        "renders": {
            name: {way: asdict(seen) for way, seen in measure(draw, options.edits).items()}
            for name, draw in RENDERS.items()
        },
    }
    print(json.dumps(told) if options.json else markdown(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
