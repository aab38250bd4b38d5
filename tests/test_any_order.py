"""Whatever happens in whatever order: legal moves only, no cent without a state, nothing bought twice."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from contextvars import Context, ContextVar, copy_context
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import WeakSet

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.house import Api, Person, Scripted, everything, photo, wanted
from tests.upstreams import error, task_answer

from kontext_edit.app import App, open_app
from kontext_edit.budget import Limit
from kontext_edit.errors import Billed, BudgetExceeded, FateUnknown
from kontext_edit.request import EditCall
from kontext_edit.settings import read_settings
from kontext_edit.task import LEGAL_MOVES, LOCAL, SETTLED, Status, Task

PRICE = Decimal("0.036")
BUDGET = 6 * PRICE
AN_HOUR = 3600.0

WATCHED = """
CREATE TABLE moves (id TEXT, went_from TEXT, went_to TEXT);
CREATE TRIGGER watch AFTER UPDATE OF status ON edits WHEN OLD.status <> NEW.status
BEGIN INSERT INTO moves VALUES (NEW.id, OLD.status, NEW.status); END;
"""
"""The file itself keeps every move, whoever makes it."""


whose: ContextVar[object] = ContextVar("whose", default=None)
"""Which process a task of the event loop belongs to; a task inherits it from the one that made it."""


class Process:
    """One process of the program, which can be killed between two of its steps."""

    def __init__(self, environ: dict[str, str], api: Api, clock: FakeClock) -> None:
        self.context = copy_context()
        self.context.run(whose.set, self)
        self.tasks: WeakSet[asyncio.Task[object]] = WeakSet()
        self.app = open_app(
            read_settings(environ),
            working_dir=Path(environ["KONTEXT_ALLOWED_DIRS"]),
            clock=clock,
            transport=api.transport,
        )
        self.context.run(self.app.editor.open)

    def asked(self, call: EditCall) -> asyncio.Task[None]:
        """A caller in this process, who gets what is asked for."""
        return asyncio.create_task(self._edit(call), context=self.context.copy())

    async def _edit(self, call: EditCall) -> None:
        outcome = await self.app.editor.edit(call, Person())
        self.app.editor.hand_over(outcome.task)

    async def killed(self) -> None:
        """Gone, without writing anything on its way out."""

        async def dead(*_args: object, **_kwargs: object) -> None:
            await asyncio.Event().wait()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.app.journal, "_run", dead)
            for task in list(self.tasks):
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.app.novita.close()
        await self.app.gallery.close()
        await self.app.journal.close()


def counted(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
    """Makes the tasks of the event loop, and counts each to its process."""
    context: Context = more.pop("context", None) or copy_context()
    task = asyncio.Task(work, loop=loop, context=context, **more)
    if isinstance(process := context.get(whose), Process):
        process.tasks.add(task)
    return task


class World:
    """One journal, one upstream, and two processes that may be killed and started again."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        (folder / "in").mkdir()
        self.clock = clock
        self.api = Api(clock)
        self.environ = {
            "NOVITA_API_KEY": KEY,
            "KONTEXT_HOME": str(folder / "home"),
            "KONTEXT_OUTPUT_DIR": str(folder / "out"),
            "KONTEXT_ALLOWED_DIRS": str(folder / "in"),
            "KONTEXT_BUDGET_DAY_USD": "none",
            "KONTEXT_BUDGET_MONTH_USD": str(BUDGET),
        }
        self.source = photo(self.environ)
        self.processes = [Process(self.environ, self.api, clock) for _ in range(2)]

    @property
    def app(self) -> App:
        return self.processes[0].app

    async def watch(self) -> None:
        await self.app.journal.last(LOCAL)
        with closing(sqlite3.connect(self.app.journal.path)) as file:
            file.executescript(WATCHED)

    async def restarted(self, process: int) -> None:
        await self.processes[process].killed()
        self.processes[process] = Process(self.environ, self.api, self.clock)

    async def asked(
        self, process: int, prompt: str, wait_seconds: int, *, force_new: bool, gives_up: bool
    ) -> None:
        call = wanted(self.source, prompt=prompt, wait_seconds=wait_seconds, force_new=force_new)
        asking = self.processes[process].asked(call)
        if gives_up:
            await self.clock.sleep(0.2)
            asking.cancel()
        with suppress(BudgetExceeded, FateUnknown, asyncio.CancelledError):
            await asking

    async def check(self) -> None:
        tasks = await everything(self.app)
        (spending,) = await self.app.journal.spendings([Limit("month", BUDGET)], LOCAL, self.clock.now())
        assert spending.spent_usd == sum(map(owed, tasks), Decimal(0))
        assert spending.spent_usd <= BUDGET
        assert spending.spent_usd >= PRICE * len(self.api.taken), "upstream bills no more than is counted"
        ids = [task.task_id for task in tasks if task.task_id]
        assert len(ids) == len(set(ids))
        assert set(ids) <= set(self.api.taken)
        assert len(self.api.taken) <= len(tasks), "nothing is sent that is not written down"
        assert all(task.pictures for task in tasks if task.status is Status.SUCCEEDED)
        with closing(sqlite3.connect(self.app.journal.path)) as file:
            for went_from, went_to in file.execute("SELECT went_from, went_to FROM moves"):
                assert Status(went_to) in LEGAL_MOVES[Status(went_from)]


def owed(task: Task) -> Decimal:
    """What a state says of money, told a second time."""
    if task.status is Status.FAILED:
        assert task.error is not None
        return Decimal(0) if task.error.billed is Billed.NO else PRICE
    return PRICE


Event = Callable[[World], Awaitable[None]]


def asking(  # noqa: PLR0913 - each is something that hypothesis varies
    process: int, prompt: str, wait_seconds: int, *, force_new: bool, gives_up: bool, answer: str
) -> Event:
    async def work(world: World) -> None:
        answers: dict[str, list[Scripted]] = {
            "accepted": [],
            "refused": [error(400, "ILLEGAL_PROMPT")],
            "busy": [error(503), error(429)],
            "cut": [world.api.accept_and_cut],
            "timed out": [httpx.ReadTimeout("no answer")],
        }
        world.api.on_submit = answers[answer]
        await world.asked(process, prompt, wait_seconds, force_new=force_new, gives_up=gives_up)

    return work


def passing(seconds: float) -> Event:
    return lambda world: world.clock.sleep(seconds)


def jumping(seconds: float) -> Event:
    async def work(world: World) -> None:
        world.clock.jump(seconds)

    return work


def fetching_in_vain(times: int) -> Event:
    async def work(world: World) -> None:
        world.api.on_fetch += [httpx.Response(500), httpx.Response(403)] * times

    return work


def polling(answer: str) -> Event:
    async def work(world: World) -> None:
        answers = {"FAILED": task_answer("FAILED"), "404": error(404, "TASK_NOT_FOUND"), "500": error(500)}
        world.api.on_poll.append(answers[answer])

    return work


def slow(seconds: float) -> Event:
    async def work(world: World) -> None:
        world.api.seconds = seconds

    return work


def killing(process: int) -> Event:
    return lambda world: world.restarted(process)


events = st.one_of(
    st.builds(
        asking,
        st.sampled_from([0, 1]),
        st.sampled_from(["Make it blue", "Make it teal"]),
        st.sampled_from([0, 5, 40]),
        force_new=st.booleans(),
        gives_up=st.booleans(),
        answer=st.sampled_from(["accepted", "accepted", "refused", "busy", "cut", "timed out"]),
    ),
    st.builds(passing, st.sampled_from([0.5, 3.0, 20.0, 100.0])),
    st.builds(jumping, st.sampled_from([-AN_HOUR, -20.0, 20.0, AN_HOUR])),
    st.builds(fetching_in_vain, st.integers(1, 5)),
    st.builds(polling, st.sampled_from(["FAILED", "404", "500"])),
    st.builds(slow, st.sampled_from([0.0, 8.0, 60.0])),
    st.builds(killing, st.sampled_from([0, 1])),
)


async def history(folder: Path, happening: list[Event]) -> None:
    asyncio.get_running_loop().set_task_factory(counted)
    clock = FakeClock()
    driver = asyncio.ensure_future(clock.drive())
    world = World(folder, clock)
    try:
        await world.watch()
        for event in happening:
            await event(world)
            await world.check()
        world.api.on_poll.clear()
        world.api.on_fetch.clear()
        await clock.sleep(1500)
        await world.check()
        assert all(task.status in SETTLED for task in await everything(world.app))
    finally:
        for process in world.processes:
            await process.killed()
        driver.cancel()


@given(happening=st.lists(events, max_size=14))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_order_of_events_loses_track_of_an_edit_or_a_cent(happening: list[Event]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(history(Path(folder), happening))
