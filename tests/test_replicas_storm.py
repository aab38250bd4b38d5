"""Everything at once, over three replicas: they die, clients give up, upstream fails, links break.

KONTEXT_STORM_SEED=… repeats a storm as far as it can be repeated: see `tests.test_storm`.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import mcp_types as types
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from tests.billing import SHARES, upstream
from tests.customers import ERAS, answer, code, status
from tests.killable import WAITING
from tests.killable_replica import ADOPTED, POINTS
from tests.postgres import Cluster
from tests.replicas import Deployment, Replica, deployed, edit, killable

SEED = os.environ.get("KONTEXT_STORM_SEED") or secrets.token_hex(4)

EDITS = 240
AT_ONCE = 24
REPLICAS = 3
LIVES = 3
"""How often each replica is started until it may live; it dies before that."""
PASSES = (2, 20)
"""A replica dies when it passes its point for so many times, from and to."""
RARE = {"processing, not committed", "before delivery is noted", ADOPTED}
"""Points that few edits pass here: the first one is deadly."""
OF_EACH_ERA = 3
"""So many sessions, which all edits share."""
IMPATIENT = 0.25
"""So large a share of the questions is given up, within so many seconds."""
PATIENCE_SECONDS = (0.0, 0.4)
MOST_QUESTIONS = 100
"""How often one edit is asked for at most."""
MOST_SECONDS = 240
"""A storm lasts half a minute."""

FINAL = {"succeeded", "fate_unknown"}
SPEED = "in a storm"


@dataclass
class Seats:
    """Places where one replica is at a time; the proxy knows those that live."""

    deployment: Deployment
    somebody_lives: asyncio.Event = field(default_factory=asyncio.Event)
    living: list[Replica] = field(default_factory=list[Replica])
    deaths: int = 0

    @asynccontextmanager
    async def taken(self, lives: Sequence[Sequence[tuple[str, str]]]) -> AsyncGenerator[None]:
        """With replicas, at each seat one after the other, until the block ends."""
        serving = [asyncio.create_task(self._serve(deaths)) for deaths in lives]
        try:
            yield
        finally:
            for seat in serving:
                seat.cancel()
            ended = await asyncio.gather(*serving, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}, ended

    async def _serve(self, deaths: Sequence[tuple[str, str]]) -> None:
        for death in deaths:
            replica = await self._started(killable(SPEED, *death))
            await replica.died()
            self.deaths += 1
            self.living.remove(replica)
            self._tell_the_proxy()
        await self._started(killable(SPEED))

    async def _started(self, command: tuple[str, ...]) -> Replica:
        (replica,) = await asyncio.to_thread(self.deployment.start, command)
        self.living.append(replica)
        self._tell_the_proxy()
        return replica

    def _tell_the_proxy(self) -> None:
        self.deployment.proxy.send_to(*(replica.url for replica in self.living))
        if self.living:
            self.somebody_lives.set()
        else:
            self.somebody_lives.clear()


@dataclass
class Crowd:
    """Clients of both eras, each with a session that moves between replicas."""

    clients: list[Client]
    seats: Seats
    source: str
    dice: Random
    given_up: int = 0
    broken: int = 0

    async def insist(self, prompt: str) -> str:
        """Ask for an edit, here and there, until it is there or nobody can know."""
        result = None
        for _ in range(MOST_QUESTIONS):
            result = await self._ask(self.dice.choice(self.clients), prompt)
            told = result and (code(result) or status(result))
            if told in FINAL:
                return told
        raise AssertionError(f"{prompt} was never answered: {result and answer(result)}")

    async def bring_home(self, deployment: Deployment) -> None:
        """Ask for what is still under way."""
        for task in await deployment.books().edits():
            for _ in range(MOST_QUESTIONS):
                with suppress(MCPError):
                    question = {"task_id": task.handle, "wait_seconds": 5}
                    result = await self.clients[0].call_tool("get_task", question)
                    if status(result) not in ("queued", "processing"):
                        break

    async def _ask(self, client: Client, prompt: str) -> types.CallToolResult | None:
        """Ask once; None where the answer did not come, or was not waited for."""
        await self.seats.somebody_lives.wait()
        patience = self.dice.uniform(*PATIENCE_SECONDS) if self.dice.random() < IMPATIENT else None
        try:
            async with asyncio.timeout(patience):
                return await client.call_tool("edit_image", edit(prompt, self.source, wait_seconds=5))
        except TimeoutError:
            self.given_up += 1
        except MCPError:
            self.broken += 1
        return None


async def test_in_a_storm_over_three_replicas_nothing_is_lost_nothing_is_doubled_and_the_books_agree(
    tmp_path: Path, postgres: Cluster
) -> None:
    print(f"KONTEXT_STORM_SEED={SEED}")  # noqa: T201 - shown where the test fails
    dice = Random(SEED)  # noqa: S311 - no secret
    prompts = [f"A storm over the sea, number {number}" for number in range(EDITS)]
    lives = [[a_death(dice) for _ in range(LIVES)] for _ in range(REPLICAS)]
    turn = asyncio.Semaphore(AT_ONCE)
    with (
        upstream("0.2 seconds", SEED) as process,
        deployed(tmp_path, postgres, process, KONTEXT_WEBHOOK="on") as deployment,
    ):
        seats = Seats(deployment)
        async with asyncio.timeout(MOST_SECONDS), seats.taken(lives), AsyncExitStack() as stack:
            await seats.somebody_lives.wait()
            source = deployment.uploaded()  # without an edit no replica dies
            clients = [
                await stack.enter_async_context(deployment.client(era=era)) for era in ERAS * OF_EACH_ERA
            ]
            crowd = Crowd(clients, seats, source, dice)

            async def insist(prompt: str) -> str:
                async with turn:
                    return await crowd.insist(prompt)

            told = await asyncio.gather(*map(insist, prompts))
            await crowd.bring_home(deployment)
        faults = process.faults()
        print(  # noqa: T201 - likewise
            f"replicas died {seats.deaths} times; {deployment.proxy.bad_gateways} bad gateways, "
            f"{crowd.broken} calls broke, {crowd.given_up} were given up; faults: {faults}"
        )
        assert seats.deaths >= REPLICAS, "too calm to tell anything"
        assert {fault.partition(":")[0] for fault in faults} == set(SHARES), "likewise"
        books = deployment.books()
        await books.assert_nothing_lost_and_nothing_doubled(prompts, told, deployment.pictures())


def a_death(dice: Random) -> tuple[str, str]:
    """Where the next replica dies."""
    point = dice.choice([*POINTS, WAITING, ADOPTED])
    return point, "1" if point in RARE else str(dice.randint(*PASSES))
