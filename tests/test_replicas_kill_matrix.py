"""One of three replicas is killed at a step of an edit; its client asks again, and another one answers."""

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from tests.billing import upstream
from tests.customers import ERAS, Era, answer, code, status
from tests.killable_replica import POINTS
from tests.postgres import Cluster
from tests.replicas import Deployment, Replica, deployed, edit, killable

from kontext_edit.task import Status

_MOST_QUESTIONS = 5

CHOSEN = (
    "begun, not committed",
    "begun",
    "its turn",
    "request sent",
    "accepted, not committed",
    "accepted",
    "done upstream",
    "mid-download",
    "put",
    "success, not committed",
    "succeeded",
    "before it is answered",
    "answered",
    "before delivery is noted",
)
"""Each needs a process of its own; the storm takes its deaths from all points."""

CELLS = [(point, ERAS[number % 2]) for number, point in enumerate(CHOSEN)]


@dataclass
class Team:
    """A deployment with two replicas that stay, and a picture to edit."""

    deployment: Deployment
    steady: list[Replica]
    source: str

    async def ask(self, client: Client, prompt: str) -> types.CallToolResult:
        return await client.call_tool("edit_image", edit(prompt, self.source))

    async def insist(self, client: Client, prompt: str) -> types.CallToolResult:
        """Ask until the picture is there, or nobody can know; what was never sent may be asked for again."""
        told: list[str | None] = []
        for _ in range(_MOST_QUESTIONS):
            result = await self.ask(client, prompt)
            told.append(status(result) or code(result))
            if told[-1] in ("succeeded", "unknown", "fate_unknown"):
                return result
            assert answer(result)["error"]["retryable"], answer(result)
        raise AssertionError(told)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, postgres: Cluster) -> Generator[Team]:
    folder = tmp_path_factory.mktemp("team")
    with upstream("2 polls") as process, deployed(folder, postgres, process) as deployment:
        steady = deployment.start(killable("quick"), killable("quick"))
        deployment.proxy.send_to(*(replica.url for replica in steady))
        yield Team(deployment, steady, deployment.uploaded())


def shown(result: types.CallToolResult) -> bytes:
    """The picture behind a result's link, through the proxy."""
    (image,) = answer(result)["images"]
    return httpx.get(image["url"], trust_env=False).raise_for_status().content


@pytest.mark.parametrize(("point", "era"), CELLS)
async def test_killed_and_asked_again_it_is_bought_once_and_the_picture_or_the_truth_is_told(
    point: str, era: Era, team: Team
) -> None:
    deployment, prompt = team.deployment, f"Warmer light, {point}"
    (doomed,) = deployment.start(killable("quick", point))
    steady = [replica.url for replica in team.steady]
    deployment.proxy.send_to(*steady)
    before = None
    async with deployment.client(era=era) as client:  # its session begins at the others
        deployment.proxy.send_to(doomed.url)
        with suppress(MCPError):
            before = await team.ask(client, prompt)
        await doomed.died()
        deployment.proxy.send_to(*steady)
        again = await team.insist(client, prompt)
        refusal = await team.ask(client, prompt) if again.is_error else None
    edits = [task for task in await deployment.books().edits() if task.prompt == prompt]
    assert {task.status for task in edits[:-1]} <= {Status.FAILED}
    assert {task.cost_usd for task in edits[:-1]} <= {0}
    if POINTS[point].answer == "picture":
        assert status(again) == "succeeded", answer(again)
        (picture,) = edits[-1].pictures
        for result in filter(None, (before, again)):
            assert shown(result) == deployment.content(picture)
    else:
        found = status(again), answer(again)["error"]["billed"]
        assert found == ("unknown", "maybe") or code(again) == "fate_unknown", answer(again)
        assert refusal is not None
        assert code(refusal) == "fate_unknown"
        assert edits[-1].pictures == ()
    assert len(deployment.upstream.billed_for(prompt)) in POINTS[point].submissions
    every_edit = await deployment.books().edits()
    assert deployment.pictures() == {picture.key for task in every_edit for picture in task.pictures}
    await deployment.books().assert_they_agree()
