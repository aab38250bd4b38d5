"""The sandbox's tasks: how they progress, and how many of them it remembers."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from kontext_edit.errors import InvalidArguments


class Phase(StrEnum):
    """A task's status, in the words of the wire [docs]."""

    QUEUED = "TASK_STATUS_QUEUED"
    PROCESSING = "TASK_STATUS_PROCESSING"
    SUCCEED = "TASK_STATUS_SUCCEED"
    FAILED = "TASK_STATUS_FAILED"


FAIL_WORD = "sandbox:fail"
"""In a prompt: the task is accepted and then fails."""
REJECT_WORD = "sandbox:reject"
"""In a prompt: the submission is refused, as by moderation."""

_QUEUED_SHARE = 0.15
"""The part of a timed task that it spends in the queue."""


@dataclass(frozen=True, slots=True)
class Immediate:
    """Done as soon as it is accepted."""

    def phase(self, polls: int, elapsed: float) -> Phase:  # noqa: ARG002 - every progression is asked alike
        """The status after `polls` earlier polls and `elapsed` seconds."""
        return Phase.SUCCEED

    def took(self, elapsed: float) -> float:  # noqa: ARG002 - likewise
        """Seconds from submission to the finish, for a task that was found done after `elapsed`."""
        return 0.0

    def left(self, elapsed: float) -> float | None:  # noqa: ARG002 - likewise
        """Seconds until it is done by itself; None where only polls bring it on."""
        return 0.0


@dataclass(frozen=True, slots=True)
class AfterPolls:
    """Not done for the first `polls` polls, done from the next one on."""

    polls: int

    def phase(self, polls: int, elapsed: float) -> Phase:  # noqa: ARG002 - likewise
        """The status after `polls` earlier polls and `elapsed` seconds."""
        if polls >= self.polls:
            return Phase.SUCCEED
        return Phase.PROCESSING if polls else Phase.QUEUED

    def took(self, elapsed: float) -> float:
        """Seconds from submission to the finish, for a task that was found done after `elapsed`."""
        return elapsed

    def left(self, elapsed: float) -> float | None:  # noqa: ARG002 - likewise
        """Seconds until it is done by itself; None where only polls bring it on."""
        return None


@dataclass(frozen=True, slots=True)
class AfterSeconds:
    """Done when so many seconds have passed on the clock."""

    seconds: float

    def phase(self, polls: int, elapsed: float) -> Phase:  # noqa: ARG002 - likewise
        """The status after `polls` earlier polls and `elapsed` seconds."""
        if elapsed >= self.seconds:
            return Phase.SUCCEED
        return Phase.QUEUED if elapsed < self.seconds * _QUEUED_SHARE else Phase.PROCESSING

    def took(self, elapsed: float) -> float:  # noqa: ARG002 - likewise
        """Seconds from submission to the finish, for a task that was found done after `elapsed`."""
        return self.seconds

    def left(self, elapsed: float) -> float | None:
        """Seconds until it is done by itself; None where only polls bring it on."""
        return max(0.0, self.seconds - elapsed)


Progression = Immediate | AfterPolls | AfterSeconds
"""How a task comes to its end: QUEUED first, then PROCESSING, then done."""

_POLLS = re.compile(r"(\d{1,6}) polls?")
_SECONDS = re.compile(r"(\d{1,6}(?:\.\d+)?) seconds?")


def parse_progression(text: str) -> Progression:
    """Read `immediate`, `3 polls` or `2 seconds`.

    Raises:
        InvalidArguments: for anything else.
    """
    words = " ".join(text.lower().split())
    if words == "immediate":
        return Immediate()
    if polls := _POLLS.fullmatch(words):
        return AfterPolls(int(polls[1]))
    if seconds := _SECONDS.fullmatch(words):
        return AfterSeconds(float(seconds[1]))
    raise InvalidArguments(
        [f'"{text}" is no progression.'],
        'Write "immediate", a number of polls such as "3 polls", or a time such as "2 seconds".',
    )


@dataclass(frozen=True, slots=True)
class Submission:
    """An edit that the sandbox accepted, and what it was asked to bill for it."""

    task_id: str
    tier: str
    body: dict[str, Any]
    """The request's JSON, as it came over the wire."""
    price_usd: Decimal
    """All images of the edit by list price."""


@dataclass(slots=True)
class Task:
    """A submission on its way."""

    submission: Submission
    seed: int
    submitted_at: float
    """Seconds since the epoch."""
    started: float
    """The same moment on the monotonic clock."""
    weight: int
    """Bytes of the request."""
    polls: int = 0
    completed_at: float | None = None
    """Seconds since the epoch."""

    def advance(self, progression: Progression, monotonic: float) -> Phase:
        """Count a poll and tell the status that it sees; the end, once seen, stays."""
        if self.completed_at is None:
            elapsed = monotonic - self.started
            phase = progression.phase(self.polls, elapsed)
            self.polls += 1
            if phase is not Phase.SUCCEED:
                return phase
            self.completed_at = self.submitted_at + progression.took(elapsed)
        return Phase.FAILED if self.fails else Phase.SUCCEED

    @property
    def webhook(self) -> str | None:
        """Where its end is to be told [docs]."""
        return self.submission.body.get("extra", {}).get("webhook", {}).get("url")

    @property
    def fails(self) -> bool:
        """Whether the prompt asks for a task that fails."""
        return FAIL_WORD in self.submission.body["prompt"].lower()


class Ledger:
    """The latest tasks, oldest first: at most `tasks` of them and `weight` bytes, and always the newest."""

    def __init__(self, tasks: int = 1_000, weight: int = 256 << 20) -> None:
        self._most_tasks = tasks
        self._most_weight = weight
        self._weight = 0
        self._tasks: OrderedDict[str, Task] = OrderedDict()

    def add(self, task: Task) -> None:
        """Remember `task`, and forget the oldest ones that there is no room for."""
        self._tasks[task.submission.task_id] = task
        self._weight += task.weight
        while len(self._tasks) > 1 and self._is_too_full:
            self._weight -= self._tasks.popitem(last=False)[1].weight

    def find(self, task_id: str) -> Task | None:
        """The task with this id, unless it is unknown or forgotten."""
        return self._tasks.get(task_id)

    @property
    def submissions(self) -> list[Submission]:
        """What was accepted, in order."""
        return [task.submission for task in self._tasks.values()]

    @property
    def _is_too_full(self) -> bool:
        return len(self._tasks) > self._most_tasks or self._weight > self._most_weight
