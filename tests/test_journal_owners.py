"""Owners of one journal: a stranger's edit is unknown, and each has limits of their own."""

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr
from tests.test_journal import PROBLEM, finished, new_task

from kontext_edit.budget import Allowance, Limit
from kontext_edit.errors import BudgetExceeded, NoSuchTask, TooManyEdits
from kontext_edit.journal.book import Journal
from kontext_edit.task import Status, Task

ANN, BEN = "token:ann", "oauth:https://id.example ben"
PRICE = Decimal("0.018")


@pytest.fixture
def journal(place: Path | SecretStr) -> Journal:
    return Journal(place)


def anns(number: int, **changes: object) -> Task:
    return new_task(number, owner=ANN, **changes)


def bens(number: int, **changes: object) -> Task:
    return new_task(number, owner=BEN, **changes)


async def words_about(journal: Journal, handle: str, owner: str) -> str:
    with pytest.raises(NoSuchTask) as one:
        await journal.get(handle, owner)
    with pytest.raises(NoSuchTask) as many:
        await journal.in_batch(handle, owner)
    assert one.value.problem == many.value.problem
    return f"{one.value.message} {one.value.hint}".replace(handle, "ID")


async def test_a_strangers_edit_and_batch_answer_exactly_like_unknown_ones(journal: Journal) -> None:
    task = await finished(journal, anns(1, batch="batch-1"), at=2000.0)
    unknown = await words_about(journal, "nope", BEN)
    for handle in (task.id, "up-edit-1", "batch-1"):
        assert await words_about(journal, handle, BEN) == unknown
    assert await journal.get("up-edit-1", ANN) == task
    assert await journal.in_batch("batch-1", ANN) == [task]
    assert (await journal.current([task]))[0] == task


@pytest.mark.parametrize(
    "handle", ["", "a\0b", "half a pair: \ud83d", "x" * 100_000, "'; DROP TABLE edits; --"]
)
async def test_any_text_can_be_asked_for(journal: Journal, handle: str) -> None:
    await journal.begin(anns(1))
    with pytest.raises(NoSuchTask):
        await journal.get(handle, ANN)
    with pytest.raises(NoSuchTask):
        await journal.in_batch(handle, ANN)
    assert await journal.last(handle.replace("\0", "").encode(errors="ignore").decode()) is None


async def test_lists_and_the_last_edit_are_the_owners_own(journal: Journal) -> None:
    mine = await finished(journal, anns(1), at=2000.0)
    await finished(journal, bens(2), at=3000.0)
    await journal.begin(anns(3))
    assert await journal.last(ANN) == mine
    assert [task.id for _, task in await journal.latest(ANN, limit=9)] == ["edit-3", "edit-1"]
    assert [task.id for _, task in await journal.latest(ANN, limit=1)] == ["edit-3"]
    (first, *_), (second, *_) = await journal.latest(ANN, limit=9)
    assert [task.id for _, task in await journal.latest(ANN, before=first, limit=9)] == ["edit-1"]
    assert await journal.latest(ANN, before=second, limit=9) == []
    some = [Status.SUCCEEDED, Status.FAILED]
    assert [task.id for _, task in await journal.latest(BEN, statuses=some, limit=9)] == ["edit-2"]
    assert await journal.last("token:nobody") is None
    assert await journal.latest("token:nobody", limit=9) == []


async def test_the_same_request_of_another_owner_is_another_edit(journal: Journal) -> None:
    mine = await journal.begin(anns(1))
    assert await journal.begin(anns(1, id="again")) == mine
    assert (await journal.begin(bens(1, id="theirs"))).id == "theirs"


async def test_an_owners_budget_counts_what_the_owner_spent_and_the_servers_what_all_did(
    journal: Journal,
) -> None:
    each, of_all = Limit("day", 2 * PRICE, each_owner=True), Limit("day", 3 * PRICE)
    for number in (1, 2):
        await journal.begin(anns(number), limits=[each, of_all])
    with pytest.raises(BudgetExceeded, match="Your day's budget"):
        await journal.begin(anns(3), limits=[each, of_all])
    await journal.begin(bens(4), limits=[each, of_all])
    with pytest.raises(BudgetExceeded, match="The day's budget"):
        await journal.begin(bens(5), limits=[each, of_all])
    own, all_of_it = await journal.spendings([each, of_all], BEN, 1010.0)
    assert (own.spent_usd, all_of_it.spent_usd) == (PRICE, 3 * PRICE)


async def test_more_edits_at_once_than_allowed_are_refused_and_none_is_written_down(journal: Journal) -> None:
    allowance = Allowance(edits_at_once=3, edits_per_minute=None)
    await journal.begin(anns(1, status=Status.WAITING), allowance=allowance)
    await journal.begin(anns(2), allowance=allowance)
    with pytest.raises(TooManyEdits, match="2 edits under way; with 2 more"):
        await journal.begin_all([anns(3), anns(4)], allowance=allowance)
    assert len(await journal.latest(ANN, limit=9)) == 2
    await journal.begin_all([bens(5), bens(6), bens(7)], allowance=allowance)
    await journal.begin_all([anns(2, id="again"), anns(3)], allowance=allowance)
    assert len(await journal.latest(ANN, limit=9)) == 3, "what was asked for before is no new one"
    assert await journal.begin(anns(1, id="again"), allowance=allowance) == anns(1, status=Status.WAITING)
    with pytest.raises(TooManyEdits):
        await journal.begin(anns(8), allowance=allowance)
    await journal.ended(anns(2), Status.FAILED, PROBLEM, 1010.0)
    assert (await journal.begin(anns(8), allowance=allowance)).id == "edit-8"


async def test_more_edits_in_a_minute_than_allowed_are_refused_until_the_minute_is_over(
    journal: Journal,
) -> None:
    allowance = Allowance(edits_at_once=None, edits_per_minute=2)
    for number in (1, 2):
        task = await journal.begin(anns(number, created_at=1000.0), allowance=allowance)
        await journal.ended(task, Status.FAILED, PROBLEM, 1001.0)
    with pytest.raises(TooManyEdits, match="in the last minute"):
        await journal.begin(anns(3, created_at=1059.0), allowance=allowance)
    await journal.begin(bens(4, created_at=1059.0), allowance=allowance)
    await journal.begin(anns(5, created_at=1060.0), allowance=allowance)


async def test_an_edit_waits_for_its_turn_and_reserves_its_price_meanwhile(journal: Journal) -> None:
    limits = [Limit("day", PRICE)]
    waiting = await journal.begin(anns(1, status=Status.WAITING), limits=limits)
    with pytest.raises(BudgetExceeded):
        await journal.begin(anns(2), limits=limits)
    sending = await journal.sending(waiting)
    assert sending.status is Status.SUBMITTING
    assert (await journal.current([waiting]))[0] == sending
    assert (await journal.accepted(sending, "up-1", 1003.0)).status is Status.QUEUED
    assert (await journal.sending(waiting)).status is Status.QUEUED, "it is sent once"


async def test_an_edit_that_somebody_else_took_over_while_it_waited_is_not_sent(
    journal: Journal, place: Path | SecretStr
) -> None:
    other = Journal(place)
    waiting = await journal.begin(anns(1, status=Status.WAITING, provider="sandbox"))
    assert await other.adopt("novita", 1002.0) == []
    (left,) = await other.adopt("novita", 1017.0)
    assert left == waiting
    assert (await journal.sending(waiting)).status is Status.WAITING
    ended = await other.ended(left, Status.FAILED, PROBLEM, 1018.0)
    assert await journal.sending(waiting) == ended


async def test_what_waits_is_given_back_at_once_when_its_process_ends(
    journal: Journal, place: Path | SecretStr
) -> None:
    waiting = await journal.begin(anns(1, status=Status.WAITING))
    await journal.let_go()
    assert await Journal(place).adopt("novita", 1002.0) == [waiting]


async def test_many_left_edits_are_shared_by_those_that_go_on(
    journal: Journal, place: Path | SecretStr
) -> None:
    await journal.begin_all([anns(number, created_at=1000.0) for number in range(300)])
    first, second = Journal(place), Journal(place)
    taken = [await first.adopt("novita", 1020.0), await second.adopt("novita", 1020.0)]
    assert sorted(task.id for some in taken for task in some) == sorted(f"edit-{n}" for n in range(300))
    assert all(taken)
    assert await first.adopt("novita", 1020.0) == []
    await first.renew([task.id for task in taken[0]], 1030.0)
    assert len(await second.adopt("novita", 1040.0)) == len(taken[1]), "what is renewed stays where it is"
