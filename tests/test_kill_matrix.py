"""The server is killed at every step of an edit: nothing is bought twice, and nothing bought is lost."""

from collections.abc import Generator
from pathlib import Path

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError
from tests.billing import Upstream, upstream
from tests.customers import ERAS, Era, Household, answer, code, status
from tests.killable import POINTS

_STEPS_UNTIL_DEAD = 2_000

CELLS = [(point, ERAS[number % 2]) for number, point in enumerate(POINTS)]


@pytest.fixture(scope="module")
def until_done() -> Generator[Upstream]:
    """An upstream whose edits are queued, then under way, then done, however fast this machine is."""
    with upstream("2 polls") as process:
        yield process


async def until_killed(
    household: Household, prompt: str, point: str, era: Era = "auto"
) -> types.CallToolResult | None:
    """Ask for an edit of a server that dies on the way; returns its result, if it came before."""
    result = None
    async with household.client(point, era=era) as client:
        with pytest.raises(MCPError, match="Connection closed"):  # noqa: PT012 - during the edit, or after
            result = await client.call_tool("edit_image", household.edit(prompt))
            for _ in range(_STEPS_UNTIL_DEAD):
                await client.call_tool("list_tasks", {})
    return result


@pytest.mark.parametrize(("point", "era"), CELLS)
async def test_killed_and_asked_again_it_is_bought_once_and_the_picture_or_the_truth_is_told(
    point: str, era: Era, until_done: Upstream, tmp_path: Path
) -> None:
    household = Household.furnished(tmp_path, until_done)
    prompt = f"Warmer light, {point}"
    before = await until_killed(household, prompt, point, era)
    async with household.client(era=era) as client:
        if point == "delivered":  # the same request would now be a deliberate new take
            assert before is not None
            again = await client.call_tool("get_task", {"task_id": answer(before)["task_id"]})
        else:
            again = await client.call_tool("edit_image", household.edit(prompt))
        refusal = await client.call_tool("edit_image", household.edit(prompt)) if again.is_error else None
    pictures = household.assert_only_whole_pictures()
    if POINTS[point].answer == "picture":
        assert status(again) == "succeeded", answer(again)
        assert [str(path) for path in pictures] == [image["path"] for image in answer(again)["images"]]
        assert before is None or answer(before)["images"] == answer(again)["images"]
    else:
        found = status(again), answer(again)["error"]["billed"]
        assert found == ("unknown", "maybe") or code(again) == "fate_unknown", answer(again)
        assert refusal is not None
        assert code(refusal) == "fate_unknown"
        assert pictures == []
    assert len(until_done.billed_for(prompt)) in POINTS[point].submissions
    await household.books.assert_they_agree()


async def test_a_picture_that_has_its_name_stays_whole_when_the_next_server_dies_too(
    until_done: Upstream, tmp_path: Path
) -> None:
    household = Household.furnished(tmp_path, until_done)
    await until_killed(household, "Colder light", "named")
    (named,) = [path for path in household.results.iterdir() if path.suffix != ".part"]
    whole = named.read_bytes()
    await until_killed(household, "Colder light", "file half written")
    assert named.read_bytes() == whole
    async with household.client() as client:
        again = await client.call_tool("edit_image", household.edit("Colder light"))
    assert [image["path"] for image in answer(again)["images"]] == [str(named)]
    assert household.assert_only_whole_pictures() == [named]
    assert len(until_done.billed_for("Colder light")) == 1
