"""The sandbox's tasks: progressions read from words, and the old ones forgotten."""

from decimal import Decimal

import pytest

from kontext_edit.errors import InvalidArguments
from kontext_edit.sandbox.tasks import (
    AfterPolls,
    AfterSeconds,
    Immediate,
    Ledger,
    Progression,
    Submission,
    Task,
    parse_progression,
)


@pytest.mark.parametrize(
    ("text", "progression"),
    [
        ("immediate", Immediate()),
        ("3 polls", AfterPolls(3)),
        ("1 poll", AfterPolls(1)),
        (" 2  Seconds", AfterSeconds(2)),
        ("0.5 seconds", AfterSeconds(0.5)),
        ("1 second", AfterSeconds(1)),
    ],
)
def test_a_progression_is_read_from_words(text: str, progression: Progression) -> None:
    assert parse_progression(text) == progression


@pytest.mark.parametrize("text", ["", "soon", "3", "-1 polls", "1.5 polls", "1e3 seconds", "9999999 polls"])
def test_any_other_words_are_refused_and_the_right_ones_named(text: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        parse_progression(text)
    assert f'"{text}"' in caught.value.message
    assert '"3 polls"' in caught.value.hint


def task(number: int, weight: int = 1) -> Task:
    submission = Submission(str(number), "pro", {"prompt": "x"}, Decimal(0))
    return Task(submission, seed=0, submitted_at=0, started=0, weight=weight)


def test_the_oldest_tasks_are_forgotten_by_number() -> None:
    ledger = Ledger(tasks=3)
    for number in range(5):
        ledger.add(task(number))
    assert [each.task_id for each in ledger.submissions] == ["2", "3", "4"]
    assert ledger.find("1") is None


def test_the_oldest_tasks_are_forgotten_by_weight_but_never_the_newest() -> None:
    ledger = Ledger(weight=10)
    for number, weight in enumerate([4, 4, 4, 40]):
        ledger.add(task(number, weight))
    assert [each.task_id for each in ledger.submissions] == ["3"]
    ledger.add(task(4, 10))
    assert [each.task_id for each in ledger.submissions] == ["4"]
