"""When upstream is asked: few questions, where they find most."""

import random
import statistics
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontext_edit.polling import LONGEST_PAUSE, SHORTEST_PAUSE, Usual, pause_before_poll, pause_beside_bell
from kontext_edit.tiers import TIERS

usual_times = st.lists(st.floats(0, 120), min_size=2, max_size=11).map(lambda times: tuple(sorted(times)))

Renders = Callable[[random.Random], float]

RENDERS: dict[str, Renders] = {
    "any length from 2 to 15 s": lambda dice: dice.uniform(2, 15),
    "5 to 8 s": lambda dice: dice.uniform(5, 8),
    "about 8 s, some much longer": lambda dice: dice.lognormvariate(2.08, 0.25),
    "short ones and long ones": lambda dice: dice.gauss(*dice.choice(((4.0, 0.4), (12.0, 0.8)))),
}


def drawn(renders: Renders, number: int = 3_000) -> list[float]:
    dice = random.Random(1)  # noqa: S311 - the same renders in every run
    return [max(0.1, renders(dice)) for _ in range(number)]


def questions(
    render: float, usual: Usual, pause: Callable[[float, Usual], float] = pause_before_poll
) -> list[float]:
    """When an edit of that length is asked about; the last question sees its end."""
    asked = [pause(0, usual)]
    while asked[-1] < render:
        asked.append(asked[-1] + pause(asked[-1], usual))
    return asked


def deciles(seconds: list[float]) -> Usual:
    return tuple(statistics.quantiles(seconds, n=10, method="inclusive"))


@given(elapsed=st.floats(0, 100_000), usual=usual_times)
def test_a_pause_is_never_too_short_for_upstream_nor_too_long_for_a_person(
    elapsed: float, usual: Usual
) -> None:
    assert SHORTEST_PAUSE <= pause_before_poll(elapsed, usual) <= max(LONGEST_PAUSE, 2 * usual[-1] + 1)


@pytest.mark.parametrize("tier", TIERS)
def test_an_edit_of_usual_length_is_seen_soon_for_no_more_questions_than_a_plain_loop_asks(tier: str) -> None:
    quick, slow = TIERS[tier].usual_seconds
    for step in range(21):
        render = quick + (slow - quick) * step / 20
        asked = questions(render, (quick, slow))
        assert len(asked) <= 12
        assert asked[-1] - render <= 2


def whole(learnt: Usual) -> Usual:
    return learnt


def both_ends(learnt: Usual) -> Usual:
    return learnt[0], learnt[-1]


@pytest.mark.parametrize("name", RENDERS)
@pytest.mark.parametrize("known", [both_ends, whole])
def test_the_end_is_seen_sooner_than_by_a_plain_loop_for_as_many_questions(
    name: str, known: Callable[[Usual], Usual]
) -> None:
    renders = drawn(RENDERS[name])
    usual = known(deciles(renders))
    asked = [questions(render, usual) for render in renders]
    loop = [questions(render, usual, lambda _elapsed, _usual: 2.0) for render in renders]
    assert statistics.mean(map(len, asked)) <= statistics.mean(map(len, loop))
    lag, loops_lag = (
        statistics.median(times[-1] - render for times, render in zip(all_times, renders, strict=True))
        for all_times in (asked, loop)
    )
    assert lag <= 0.68 * loops_lag


def test_what_was_learnt_in_detail_pays_where_edits_are_short_or_long_and_nothing_between() -> None:
    renders = drawn(RENDERS["short ones and long ones"])
    learnt = deciles(renders)
    rough, fine = (
        statistics.mean(questions(render, usual)[-1] - render for render in renders)
        for usual in (both_ends(learnt), learnt)
    )
    assert fine < 0.9 * rough


def test_questions_come_more_densely_the_longer_an_edit_takes_within_the_usual_time() -> None:
    asked = questions(14.9, deciles(drawn(RENDERS["any length from 2 to 15 s"])))
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps == sorted(gaps, reverse=True)
    assert asked[0] > 2


def test_a_slow_edit_is_asked_about_ever_more_rarely() -> None:
    asked = questions(600, (5, 14))
    assert len(asked) < 80
    assert asked[-1] - 600 <= 15


@pytest.mark.parametrize("seconds", [0.0, 0.4, 2.0, 6.0, 30.0])
def test_edits_that_always_take_the_same_time_are_seen_with_few_questions(seconds: float) -> None:
    for usual in ((seconds,) * 2, (seconds,) * 9):
        asked = questions(seconds, usual)
        assert len(asked) <= 2 + seconds / 2
        assert asked[-1] - seconds <= max(0.5, seconds / 10)


def test_a_usual_time_that_is_guessed_too_long_still_finds_quick_edits() -> None:
    """What is learnt from what is seen must be able to become shorter."""
    for usual in ((5.0, 14.0), (8.0, 8.0)):
        assert questions(0.1, usual)[0] <= 1.05 * usual[0]


@given(usual=usual_times, render=st.floats(0, 3_000))
def test_beside_a_bell_questions_come_after_the_usual_time_and_ever_more_rarely(
    usual: Usual, render: float
) -> None:
    asked = questions(render, usual, pause_beside_bell)
    assert asked[0] >= usual[-1] - 1e-6
    assert all(later - earlier <= 60 + 1e-6 for earlier, later in pairwise(asked))
    assert len(asked) <= 12 + render / 50
