"""A client that gives up and asks again, in whichever way, gets the one edit that it bought."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from pathlib import Path

import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from tests.billing import Upstream, upstream
from tests.customers import ERAS, Era, Household, answer, status
from tests.killable import WAITING

Behaviour = Callable[[Household, str, Era], Awaitable[None]]

REPEATS = 10
FOR_EVER = 3_000
PATIENCE_SECONDS = 1.0
MOMENTS = [moment / 1_000 for moment in range(0, 120, 3)]
"""Seconds after which a call is given up: around the moments at which an edit is written down and sent."""


@pytest.fixture
def slow() -> Generator[Upstream]:
    """An upstream whose edits are under way until a test lets time pass."""
    with upstream(f"{FOR_EVER} seconds") as process:
        yield process


@pytest.fixture(scope="module")
def quick() -> Generator[Upstream]:
    with upstream("0.4 seconds") as process:
        yield process


async def given_up(client: Client, household: Household, prompt: str, patience: float) -> None:
    """Ask for the edit, and cancel the call before it is answered."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            result = await client.call_tool("edit_image", household.edit(prompt, wait_seconds=50))
            pytest.fail(f"nobody was to wait for {result}")


async def assert_bought_once(household: Household, prompt: str, result: types.CallToolResult) -> None:
    assert status(result) == "succeeded", answer(result)
    assert any("nothing new was billed" in warning for warning in answer(result)["warnings"])
    assert len(household.upstream.billed_for(prompt)) == 1
    assert [str(path) for path in household.assert_only_whole_pictures()] == [
        image["path"] for image in answer(result)["images"]
    ]
    await household.books.assert_they_agree()


async def cancelling(household: Household, prompt: str, era: Era) -> None:
    """Cancels a call and asks again over the same connection."""
    async with household.client(era=era, module="kontext_edit") as client:
        for _ in range(REPEATS):
            await given_up(client, household, prompt, PATIENCE_SECONDS)


async def disconnecting(household: Household, prompt: str, era: Era) -> None:
    """Closes its connection with the call, and connects anew."""
    for _ in range(REPEATS):
        async with household.client(era=era, module="kontext_edit") as client:
            await client.call_tool("list_tasks", {})  # the second is not to go by in loading the program
            asking = asyncio.create_task(
                client.call_tool("edit_image", household.edit(prompt, wait_seconds=50))
            )
            await asyncio.wait({asking}, timeout=PATIENCE_SECONDS)
            assert not asking.done(), asking.result()
        with pytest.raises(MCPError, match="Connection closed"):
            await asking


async def restarting(household: Household, prompt: str, era: Era) -> None:
    """Loses its server after a second of waiting, and starts another."""
    for _ in range(REPEATS):
        async with household.client(WAITING, "5", era=era) as client:
            with pytest.raises(MCPError, match="Connection closed"):
                await client.call_tool("edit_image", household.edit(prompt, wait_seconds=50))


@pytest.mark.parametrize("behaviour", [cancelling, disconnecting, restarting])
async def test_ten_times_given_up_and_asked_again_is_one_submission_and_one_picture(
    behaviour: Behaviour, slow: Upstream, tmp_path: Path
) -> None:
    households = {era: Household.furnished(tmp_path / era, slow) for era in ERAS}
    prompts = {era: f"Softer shadows, {era}" for era in ERAS}
    await asyncio.gather(*(behaviour(households[era], prompts[era], era) for era in ERAS))
    slow.let_pass(FOR_EVER)
    for era in ERAS:
        household = households[era]
        async with household.client(era=era) as client:
            result = await client.call_tool("edit_image", household.edit(prompts[era], wait_seconds=50))
        await assert_bought_once(household, prompts[era], result)


@pytest.mark.parametrize("era", ERAS)
async def test_whatever_the_moment_of_giving_up_an_edit_is_bought_once_and_never_left_unclear(
    era: Era, quick: Upstream, tmp_path: Path
) -> None:
    household = Household.furnished(tmp_path, quick)
    prompts = [f"Harder shadows, {era} {moment:.3f}" for moment in MOMENTS]
    async with household.client(era=era) as client:
        await client.call_tool("list_tasks", {})
        for prompt, moment in zip(prompts, MOMENTS, strict=True):
            await given_up(client, household, prompt, moment)
        results = await asyncio.gather(
            *(client.call_tool("edit_image", household.edit(prompt)) for prompt in prompts)
        )
    for result in results:
        assert status(result) == "succeeded", answer(result)
    bought = [row.prompt for row in quick.billed() if row.prompt in prompts]
    assert sorted(bought) == sorted(prompts)
    assert len(household.assert_only_whole_pictures()) == len(prompts)
    await household.books.assert_they_agree()
