"""A replica that goes, with or without a warning, leaves its edits to the others."""

import asyncio
import time
from pathlib import Path

import httpx
from tests.billing import upstream
from tests.customers import answer, status
from tests.postgres import Cluster
from tests.replicas import REAL, Deployment, Replica, deployed, edit, killable

from kontext_edit.journal.statements import LEASE_SECONDS
from kontext_edit.task import Status, Task

FOR_EVER = 3_000
"""Seconds that upstream takes for an edit, until the test lets them pass."""
IN_FLIGHT = 300
IN_ONE_CALL = 20
WAITING_CALLS = 6
PROBES = 10


async def test_a_replica_killed_with_300_edits_in_flight_leaves_none_undone_after_two_leases(
    tmp_path: Path, postgres: Cluster
) -> None:
    prompts = [f"A calmer sea, number {number}" for number in range(IN_FLIGHT)]
    with upstream(f"{FOR_EVER} seconds") as process, deployed(tmp_path, postgres, process) as deployment:
        doomed, *others = deployment.start(REAL, REAL, REAL)
        deployment.proxy.send_to(*(replica.url for replica in others))
        await in_flight(deployment, doomed, prompts)
        killed_at = time.time()
        doomed.kill()
        process.let_pass(FOR_EVER)
        edits = await deployment.edits_when(are_settled)
        took = max(task.finished_at or 0 for task in edits) - killed_at
        print(f"{len(edits)} edits were finished {took:.1f} s after the kill")  # noqa: T201 - shown if it fails
        assert took < 2 * LEASE_SECONDS
        told = ["succeeded"] * IN_FLIGHT
        books = deployment.books()
        await books.assert_nothing_lost_and_nothing_doubled(prompts, told, deployment.pictures())


async def test_a_replica_that_is_asked_to_end_tells_who_waits_and_hands_its_edits_over_at_once(
    tmp_path: Path, postgres: Cluster
) -> None:
    prompts = [f"A deeper blue, number {number}" for number in range(WAITING_CALLS)]
    speed = killable("with endless leases")
    with upstream(f"{FOR_EVER} seconds") as process, deployed(tmp_path, postgres, process) as deployment:
        going, *others = deployment.start(speed, speed, speed)
        deployment.proxy.send_to(going.url)
        source = deployment.uploaded()
        async with deployment.client() as client:
            calls = [
                asyncio.create_task(client.call_tool("edit_image", edit(prompt, source, wait_seconds=50)))
                for prompt in prompts
            ]
            await deployment.edits_when(lambda edits: are_accepted(edits) and len(edits) == WAITING_CALLS)
            assert readiness(going) == 200
            going.ask_to_end()
            deployment.proxy.send_to(*(replica.url for replica in others))
            assert {readiness(going) for _ in range(PROBES)} <= {503, None}
            results = await asyncio.gather(*calls)
            for result in results:
                assert status(result) in ("queued", "processing"), answer(result)
                assert "get_task" in answer(result)["next_step"]
            await going.died()
            process.let_pass(FOR_EVER)
            for result in results:
                question = {"task_id": answer(result)["task_id"], "wait_seconds": 50}
                assert status(await client.call_tool("get_task", question)) == "succeeded"
        told = ["succeeded"] * WAITING_CALLS
        books = deployment.books()
        await books.assert_nothing_lost_and_nothing_doubled(prompts, told, deployment.pictures())


def readiness(replica: Replica) -> int | None:
    """What a load balancer hears; None where it finds nobody."""
    try:
        return httpx.get(f"{replica.url}/ready", trust_env=False).status_code
    except httpx.TransportError:
        return None


def are_accepted(edits: list[Task]) -> bool:
    return all(task.task_id for task in edits)


def are_settled(edits: list[Task]) -> bool:
    return all(task.settled for task in edits)


async def in_flight(deployment: Deployment, replica: Replica, prompts: list[str]) -> None:
    """Ask one replica for edits, and wait until upstream has taken them all."""
    call = edit("", deployment.uploaded(), wait_seconds=0)
    del call["prompt"]
    async with deployment.client(at=replica.url) as client:
        for first in range(0, len(prompts), IN_ONE_CALL):
            some = {"prompts": prompts[first : first + IN_ONE_CALL]}
            result = await client.call_tool("edit_image", call | some)
            assert not result.is_error, answer(result)
    edits = await deployment.edits_when(are_accepted)
    assert {task.status for task in edits} <= {Status.QUEUED, Status.PROCESSING}
    assert sorted(row.prompt for row in deployment.upstream.billed()) == sorted(prompts)
