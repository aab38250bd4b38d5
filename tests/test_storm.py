"""Everything at once: many edits, servers that die, an upstream that fails, links that break.

KONTEXT_STORM_SEED=… repeats a storm: the same faults in the same order, and servers that die at the same
steps. Which edit meets which of them is up to the scheduler.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import mcp_types as types
from mcp.shared.exceptions import MCPError
from tests.billing import SHARES, upstream
from tests.customers import Household, answer, code, status
from tests.killable import POINTS, WAITING

if TYPE_CHECKING:
    from mcp.client.client import Client

SEED = os.environ.get("KONTEXT_STORM_SEED") or secrets.token_hex(4)

EDITS = 300
AT_ONCE = 20
SERVERS = 2
LIVES = 7
"""How often each server is started until it may live; it dies before that."""
PASSES = (2, 25)
"""A server dies when it passes its point for so many times, from and to."""
MOST_QUESTIONS = 60
"""How often one edit is asked for at most."""
MOST_SECONDS = 240
"""A storm lasts half a minute."""

FINAL = {"succeeded", "fate_unknown"}


class Seat:
    """A place where one server is at a time; whoever asks while there is none waits for the next."""

    def __init__(self, household: Household, lives: Sequence[tuple[str, ...]]) -> None:
        self._household = household
        self._lives = lives
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._died = asyncio.Event()
        self._over = asyncio.Event()
        self.deaths = 0

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[None]:
        """With servers, one after the other, until the block ends."""
        serving = asyncio.create_task(self._serve())
        try:
            yield
        finally:
            self._over.set()
            self._died.set()
            await serving

    async def ask(self, prompt: str) -> types.CallToolResult | None:
        """Ask for an edit; None where the server died meanwhile."""
        here = self._client
        client = await asyncio.shield(here)
        try:
            return await client.call_tool("edit_image", self._household.edit(prompt, wait_seconds=5))
        except MCPError:
            self._leave(here)
            return None

    def _leave(self, here: "asyncio.Future[Client]") -> None:
        """The first who finds the server dead makes everybody wait for the next."""
        if here is self._client:
            self._client = asyncio.get_running_loop().create_future()
            self._died.set()

    async def _serve(self) -> None:
        for life in (*self._lives, ()):
            if self._over.is_set():
                break
            try:
                async with self._household.client(*life) as client:
                    self._client.set_result(client)
                    await self._died.wait()
                    self._died.clear()
            except* MCPError:  # it died before it was there: of what it took up from the one before
                pass
            self.deaths += not self._over.is_set()


async def test_in_a_storm_nothing_is_lost_nothing_is_doubled_and_the_books_agree(tmp_path: Path) -> None:
    print(f"KONTEXT_STORM_SEED={SEED}")  # noqa: T201 - shown where the test fails
    dice = Random(SEED)  # noqa: S311 - no secret
    with upstream("0.2 seconds", SEED) as process:
        household = Household.furnished(tmp_path, process, KONTEXT_BUDGET_DAY_USD="none")
        seats = [Seat(household, [a_death(dice) for _ in range(LIVES)]) for _ in range(SERVERS)]
        prompts = [f"A storm over the sea, number {number}" for number in range(EDITS)]
        turn = asyncio.Semaphore(AT_ONCE)

        async def insist(number: int) -> str:
            async with turn:
                result = None
                for question in range(MOST_QUESTIONS):
                    result = await seats[(number + question) % SERVERS].ask(prompts[number])
                    told = result and (code(result) or status(result))
                    if told in FINAL:
                        return told
                raise AssertionError(f"{prompts[number]} was never answered: {result and answer(result)}")

        async with asyncio.timeout(MOST_SECONDS), seats[0].taken(), seats[1].taken():
            told = await asyncio.gather(*map(insist, range(EDITS)))
        await settled(household)
        faults = process.faults()
        deaths = [seat.deaths for seat in seats]
        print(f"servers died {deaths} times; faults: {faults}")  # noqa: T201 - likewise
        assert sum(deaths) >= SERVERS, "too calm to tell anything"
        assert {fault.partition(":")[0] for fault in faults} == set(SHARES), "likewise"
        pictures = {str(path) for path in household.assert_only_whole_pictures()}
        await household.books.assert_nothing_lost_and_nothing_doubled(prompts, told, pictures)


def a_death(dice: Random) -> tuple[str, str]:
    """Where the next server dies."""
    return dice.choice([*POINTS, WAITING]), str(dice.randint(*PASSES))


async def settled(household: Household) -> None:
    """A last server brings home what is still under way."""
    async with household.client() as client:
        for task in await household.books.edits():
            for _ in range(MOST_QUESTIONS):
                result = await client.call_tool("get_task", {"task_id": task.handle, "wait_seconds": 5})
                if status(result) not in ("queued", "processing"):
                    break
