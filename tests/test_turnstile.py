"""Whose turn it is: a batch of one owner does not starve another's single edit."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clock import FakeClock

from kontext_edit.pace import OwnNoticeboard, Pace, Pacemaker
from kontext_edit.turnstile import Turnstile

OWNERS = ("ann", "bob", "cid")


@dataclass
class Entry:
    """One who comes, waits, is inside, and goes."""

    owner: str
    job: asyncio.Task[None]
    go: asyncio.Event
    ahead: int
    """Of the same owner, waiting when it came."""
    alone: bool
    """Whether its owner had nobody inside or waiting when it came."""
    turns_before: Counter[str] = field(default_factory=Counter[str])
    """How many turns each other owner got while it waited."""
    inside: bool = False


class Hall:
    """A turnstile, and everybody who ever came to it."""

    def __init__(self, places: int, each: int) -> None:
        self.turnstile = Turnstile(places, each)
        self.places, self.each = places, each
        self.entries: list[Entry] = []

    def of(self, state: Callable[[Entry], bool], owner: str | None = None) -> list[Entry]:
        return [e for e in self.entries if not e.job.done() and state(e) and owner in (None, e.owner)]

    def waiting(self, owner: str | None = None) -> list[Entry]:
        return self.of(lambda entry: not entry.inside, owner)

    def inside(self, owner: str | None = None) -> list[Entry]:
        return self.of(lambda entry: entry.inside, owner)

    def arrive(self, owner: str) -> Entry:
        ahead = len(self.waiting(owner))
        alone = not ahead and not self.inside(owner)
        go = asyncio.Event()
        entry = Entry(owner, asyncio.create_task(self._visit(len(self.entries))), go, ahead, alone)
        self.entries.append(entry)
        return entry

    async def _visit(self, number: int) -> None:
        entry = self.entries[number]
        async with self.turnstile.turn(entry.owner):
            entry.inside = True
            for other in self.waiting():
                if other.owner != entry.owner:
                    other.turns_before[entry.owner] += 1
            await entry.go.wait()

    def check(self) -> None:
        held = Counter(entry.owner for entry in self.inside())
        assert held.total() <= self.places
        assert all(number <= self.each for number in held.values())
        if held.total() < self.places:
            assert all(held[entry.owner] == self.each for entry in self.waiting()), (
                "a free place, and one waits"
            )
        assert self.turnstile.waiting == len(self.waiting())


async def quiet() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


steps = st.lists(
    st.tuples(st.sampled_from(["arrive", "arrive", "finish", "give up"]), st.integers(0, 30)), max_size=60
)


async def play(hall: Hall, happenings: list[tuple[str, int]]) -> None:
    """Let things happen one after the other; then everybody who is inside goes, until nobody waits."""
    for what, number in happenings:
        if what == "arrive":
            hall.arrive(OWNERS[number % len(OWNERS)])
        elif what == "finish" and (inside := hall.inside()):
            inside[number % len(inside)].go.set()
        elif what == "give up" and (waiting := hall.waiting()):
            waiting[number % len(waiting)].job.cancel()
        await quiet()
        hall.check()
    while inside := hall.inside():
        inside[0].go.set()
        await quiet()
        hall.check()
    assert not hall.waiting()


@given(happenings=steps, places=st.integers(1, 4))
def test_between_an_arrival_and_its_turn_no_other_owner_gets_more_turns_than_one_for_each_of_ones_own(
    happenings: list[tuple[str, int]], places: int
) -> None:
    async def go() -> None:
        hall = Hall(places, places)
        await play(hall, happenings)
        for entry in hall.entries:
            assert all(turns <= entry.ahead + 1 for turns in entry.turns_before.values())

    asyncio.run(go())


@given(happenings=steps, places=st.integers(2, 5), each=st.integers(1, 4))
def test_whoever_comes_alone_is_behind_one_turn_of_each_other_owner_at_most(
    happenings: list[tuple[str, int]], places: int, each: int
) -> None:
    async def go() -> None:
        hall = Hall(places, min(each, places))
        await play(hall, happenings)
        for entry in hall.entries:
            assert not entry.alone or all(turns <= 1 for turns in entry.turns_before.values())

    asyncio.run(go())


async def test_one_owner_never_holds_all_places() -> None:
    hall = Hall(8, 5)
    for _ in range(500):
        hall.arrive("ann")
    await quiet()
    assert len(hall.inside()) == 5
    bob = hall.arrive("bob")
    await quiet()
    assert bob.inside
    for entry in hall.entries:
        entry.job.cancel()
    await asyncio.gather(*(entry.job for entry in hall.entries), return_exceptions=True)


async def test_an_error_inside_frees_the_place() -> None:
    turnstile = Turnstile(1, 1)
    with pytest.raises(ZeroDivisionError):
        async with turnstile.turn("ann"):
            raise ZeroDivisionError
    async with asyncio.timeout(5), turnstile.turn("bob"):
        pass


async def test_whoever_gives_up_in_the_moment_of_its_turn_hands_the_place_on() -> None:
    turnstile = Turnstile(1, 1)
    came: list[int] = []

    async def visit(number: int) -> None:
        async with turnstile.turn("ann"):
            came.append(number)

    async with turnstile.turn("ann"):
        second, third = (asyncio.create_task(visit(number)) for number in (2, 3))
        await quiet()
    second.cancel()  # the place is its own already, and it was not told yet
    await asyncio.gather(second, third, return_exceptions=True)
    assert second.cancelled()
    assert came == [3]


async def seconds_to_go_out(
    clock: FakeClock, ahead: int, interval: float, *, elsewhere: bool = False
) -> float:
    """How long a single edit waits that comes while so many of another owner are queued."""
    board = OwnNoticeboard()
    learnt = Pace(interval=interval, slot_at=clock.now(), slowed_at=clock.now()).written()
    await board.shared("pace", lambda _: learnt)
    replicas = [(Turnstile(), Pacemaker(clock, board)) for _ in range(2)]

    async def submit(replica: int, owner: str) -> float:
        turnstile, pacemaker = replicas[replica]
        async with turnstile.turn(owner):
            sent = await pacemaker.slot()
            await clock.sleep(0.5)
        return sent

    batch = [asyncio.create_task(submit(0, "ann")) for _ in range(ahead)]
    await clock.sleep(min(ahead, 5) * interval / 7)
    came = clock.now()
    sent = await submit(1 if elsewhere else 0, "bob")
    for job in batch:
        job.cancel()
    await asyncio.gather(*batch, return_exceptions=True)
    return sent - came


@pytest.mark.parametrize("interval", [0.0, 0.2, 1.0, 5.0])
async def test_a_single_edit_behind_five_hundred_waits_as_long_as_behind_five(
    interval: float, clock: FakeClock
) -> None:
    behind_five = await seconds_to_go_out(clock, 5, interval)
    behind_all = await seconds_to_go_out(clock, 500, interval)
    assert behind_all <= behind_five + 1e-6


@pytest.mark.parametrize("interval", [0.0, 0.2, 1.0, 5.0])
async def test_a_single_edit_on_another_replica_waits_for_two_slots_at_most(
    interval: float, clock: FakeClock
) -> None:
    assert await seconds_to_go_out(clock, 500, interval, elsewhere=True) <= 2 * interval + 1e-6
