"""A task: where it may go, whether it was billed, and what it cost."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from kontext_edit.errors import Billed, EditFailed, KontextError, PictureLost, SubmissionUnclear, Unavailable
from kontext_edit.task import LEGAL_MOVES, NOVITA, SANDBOX, Source, Status, Task, may_move

BEGUN = Task(
    id="ours-1",
    provider=NOVITA,
    tier="pro",
    prompt="Make the cup blue",
    parameters={},
    sources=(),
    list_price_usd=Decimal("0.036"),
    created_at=1_790_000_000.0,
)

LEGAL = {
    ("waiting", "submitting"),
    ("waiting", "failed"),
    ("submitting", "queued"),
    ("submitting", "failed"),
    ("submitting", "unknown"),
    ("queued", "processing"),
    ("queued", "succeeded"),
    ("queued", "failed"),
    ("queued", "unknown"),
    ("processing", "succeeded"),
    ("processing", "failed"),
    ("processing", "unknown"),
    ("unknown", "queued"),  # upstream did take it, as is heard late
}
SETTLED = {"succeeded", "failed", "unknown"}


@pytest.mark.parametrize("origin", Status)
@pytest.mark.parametrize("to", Status)
def test_a_task_goes_only_where_it_may(origin: Status, to: Status) -> None:
    """It may stay where it is with something new to tell, until nothing more can happen to it."""
    stays = origin is to and origin not in SETTLED
    assert may_move(origin, to) is (stays or (origin, to) in LEGAL)


@pytest.mark.parametrize("status", Status)
def test_every_status_has_its_moves_written_down_and_the_settled_are_not_waited_for(status: Status) -> None:
    assert status in LEGAL_MOVES
    assert replace(BEGUN, status=status).settled is (status in SETTLED)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_what_has_succeeded_or_failed_stays_so(status: Status) -> None:
    assert not LEGAL_MOVES[status]


def test_no_way_leads_back() -> None:
    """A task that was submitted is never submitted again."""
    assert [origin for origin, moves in LEGAL_MOVES.items() if Status.SUBMITTING in moves] == [Status.WAITING]
    assert not any(Status.WAITING in moves for moves in LEGAL_MOVES.values())


def test_a_task_begins_before_anything_is_sent() -> None:
    assert BEGUN.status is Status.SUBMITTING
    assert BEGUN.task_id is None
    assert not BEGUN.settled


def test_callers_use_upstreams_id_and_ours_while_there_is_none() -> None:
    assert BEGUN.handle == "ours-1"
    assert replace(BEGUN, task_id="theirs-1").handle == "theirs-1"


@pytest.mark.parametrize(
    ("status", "billed", "cost"),
    [
        (Status.SUBMITTING, Billed.MAYBE, "0.036"),
        (Status.QUEUED, Billed.YES, "0.036"),
        (Status.PROCESSING, Billed.YES, "0.036"),
        (Status.SUCCEEDED, Billed.YES, "0.036"),
        (Status.FAILED, Billed.NO, "0"),
        (Status.UNKNOWN, Billed.MAYBE, "0.036"),
    ],
)
def test_what_may_have_been_billed_counts_as_billed(status: Status, billed: Billed, cost: str) -> None:
    task = replace(BEGUN, status=status)
    assert task.billed is billed
    assert task.cost_usd == Decimal(cost)


@pytest.mark.parametrize(
    ("error", "cost"),
    [
        (Unavailable("no"), "0"),
        (EditFailed("no"), "0.036"),
        (SubmissionUnclear("no"), "0.036"),
        (PictureLost("no"), "0.036"),
    ],
)
def test_a_failure_costs_what_its_error_says(error: KontextError, cost: str) -> None:
    task = replace(BEGUN, status=Status.FAILED, error=error.problem)
    assert task.billed is error.billed
    assert task.cost_usd == Decimal(cost)


@pytest.mark.parametrize("status", Status)
def test_the_sandbox_never_bills(status: Status) -> None:
    task = replace(BEGUN, provider=SANDBOX, status=status, error=EditFailed("no").problem)
    assert task.billed is Billed.NO
    assert task.cost_usd == 0
    assert task.list_price_usd == Decimal("0.036")


WANTED = replace(
    BEGUN,
    parameters={"seed": 7, "guidance_scale": 3.5},
    sources=(Source("cup.png", "aa"), Source("b.png", "bb")),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "ours-2"},
        {"created_at": 0.0},
        {"task_id": "theirs-1", "status": Status.QUEUED},
        {"list_price_usd": Decimal(1)},
        {"parameters": {"guidance_scale": 3.5, "seed": 7}},
        {"sources": (Source("copy of cup.png", "aa"), Source("https://example.com/b.png", "bb"))},
    ],
)
def test_requests_for_the_same_are_the_same_whenever_and_by_whatever_name(changes: dict[str, Any]) -> None:
    assert replace(WANTED, **changes).fingerprint == WANTED.fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "somebody"},
        {"provider": SANDBOX},
        {"tier": "max"},
        {"prompt": "Make the cup red"},
        {"parameters": {"seed": 8, "guidance_scale": 3.5}},
        {"parameters": {"seed": 7}},
        {"sources": (Source("cup.png", "cc"), Source("b.png", "bb"))},
        {"sources": (Source("b.png", "bb"), Source("cup.png", "aa"))},
        {"sources": (Source("cup.png", "aa"),)},
    ],
)
def test_requests_that_differ_in_anything_that_counts_are_not_the_same(changes: dict[str, Any]) -> None:
    assert replace(WANTED, **changes).fingerprint != WANTED.fingerprint
