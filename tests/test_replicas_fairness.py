"""One owner's five hundred edits do not keep another's single one waiting, on whichever replica it comes."""

import asyncio
from pathlib import Path

import pytest
from tests.billing import upstream
from tests.clock import FakeClock
from tests.customers import answer
from tests.postgres import Cluster
from tests.replicas import REAL, Deployment, Replica, deployed, edit, until

from kontext_edit.pace import OwnNoticeboard, Pace, Pacemaker

MANY = 500
IN_ONE_CALL = 20
MOST_A_SECOND = 2.0
"""Upstream takes so few that 500 edits are minutes of work."""
FEW = 5
"""A single edit is to wait no longer than behind so many."""
ON_ITS_WAY = 1
"""So many more may leave while the call about it is on its way to its replica."""


async def test_a_single_edit_waits_no_longer_behind_500_of_another_owner_than_behind_5(
    tmp_path: Path, postgres: Cluster
) -> None:
    with (
        upstream("0.2 seconds", most_a_second=MOST_A_SECOND) as process,
        deployed(tmp_path, postgres, process, "anna", "bert", "carl") as deployment,
    ):
        *crowded, idle = deployment.start(REAL, REAL, REAL)
        deployment.proxy.send_to(*(replica.url for replica in crowded))
        await queue_many(deployment)
        await until(lambda: process.faults().get("submission: 429", 0) > 0)
        for name, replica in (("bert", crowded[0]), ("carl", idle)):
            ahead = await ahead_of_a_single_edit(deployment, name, replica)
            assert ahead <= FEW + ON_ITS_WAY, name
        assert len(process.billed()) < MANY / 2, "there was nothing to wait behind"


async def queue_many(deployment: Deployment) -> None:
    """Ask for many edits, at one replica after the other."""
    call = edit("", deployment.uploaded(), wait_seconds=0)
    del call["prompt"]
    async with deployment.client() as client:
        for first in range(0, MANY, IN_ONE_CALL):
            some = {"prompts": [f"One of many, number {first + number}" for number in range(IN_ONE_CALL)]}
            result = await client.call_tool("edit_image", call | some)
            assert not result.is_error, answer(result)


async def ahead_of_a_single_edit(deployment: Deployment, name: str, replica: Replica) -> int:
    """How many edits of others reach upstream from when somebody asks for one until theirs does."""
    prompt = f"A single edit for {name}"
    source = deployment.uploaded(name)
    async with deployment.client(name, at=replica.url) as client:
        await client.list_tools()
        before = len(deployment.upstream.asked())
        result = await client.call_tool("edit_image", edit(prompt, source, wait_seconds=0))
        assert not result.is_error, answer(result)
        await until(lambda: prompt in deployment.upstream.asked())
    return deployment.upstream.asked()[before:].index(prompt)


@pytest.mark.parametrize("waiting", [5, 500])
async def test_at_the_pace_of_all_owners_take_slots_in_turn(waiting: int, clock: FakeClock) -> None:
    board = OwnNoticeboard()
    learnt = Pace(interval=1.0, slot_at=clock.now(), slowed_at=clock.now()).written()
    await board.shared("pace", lambda _: learnt)
    pacemaker = Pacemaker(clock, board)
    crowd = [asyncio.create_task(pacemaker.slot(owner="anna")) for _ in range(waiting)]
    await clock.sleep(0.5)
    came = clock.now()
    assert await pacemaker.slot(owner="bert") - came <= 2.5  # behind the one that goes out, and one more
    for slot in crowd:
        slot.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
