"""A task: one edit, what it was asked to do, how far it is, and what it cost."""

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from kontext_edit.errors import Billed, Problem

SANDBOX = "sandbox"
NOVITA = "novita"

BATCH = "batch-"
"""What the name of a batch begins with, so that it is told from an edit's id."""

LOCAL = "local"
"""The owner of every edit on one person's machine."""


class Status(StrEnum):
    """How far a task is."""

    WAITING = "waiting"
    """Written down; it waits for its turn, and nothing was sent. Only a server for many has turns."""
    SUBMITTING = "submitting"
    """Written down; the request may or may not have left."""
    QUEUED = "queued"
    """Upstream took it and gave it an id."""
    PROCESSING = "processing"
    """Upstream works on it, or it is done there and its pictures are being fetched."""
    SUCCEEDED = "succeeded"
    """Its pictures are on this machine's disk."""
    FAILED = "failed"
    """It will not bring a picture."""
    UNKNOWN = "unknown"
    """It may have been billed, and nobody here can tell."""


LEGAL_MOVES: dict[Status, frozenset[Status]] = {
    Status.WAITING: frozenset({Status.SUBMITTING, Status.FAILED}),
    Status.SUBMITTING: frozenset({Status.QUEUED, Status.FAILED, Status.UNKNOWN}),
    Status.QUEUED: frozenset({Status.PROCESSING, Status.SUCCEEDED, Status.FAILED, Status.UNKNOWN}),
    Status.PROCESSING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.UNKNOWN}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    # A process that slept through its lease can still learn that upstream did take the edit.
    Status.UNKNOWN: frozenset({Status.QUEUED}),
}
"""Where a task may go from each status."""

HERE = frozenset({Status.WAITING, Status.SUBMITTING})
"""Where upstream has given no id yet."""

SETTLED = frozenset({Status.SUCCEEDED, Status.FAILED, Status.UNKNOWN})
"""Where nothing more is waited for."""


def may_move(origin: Status, to: Status) -> bool:
    """Whether a task may go from `origin` to `to`, or stay there with something new to tell."""
    return to in LEGAL_MOVES[origin] or (to is origin and to not in SETTLED)


@dataclass(frozen=True, slots=True)
class Source:
    """What was edited: a name that is safe to write down, and the SHA-256 of its content."""

    origin: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A picture of an earlier task that was a task's first source."""

    task_id: str
    number: int

    @property
    def source(self) -> str:
        """The same as a source string: editing it again undoes what came after."""
        return f"task:{self.task_id}#{self.number}"


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture, in a folder or on an object store."""

    path: Path | None
    """The file, where it is one of the machine that fetched it."""
    width: int
    height: int
    format: str
    bytes: int
    sha256: str
    changed_percent: float | None
    """How much of it differs from the first source, 0 to 100; None where that could not be seen."""
    key: str | None = None
    """Where it is on the object store, if it is there."""


@dataclass(frozen=True, slots=True)
class Task:
    """One edit. Times are seconds since the epoch."""

    id: str
    """Ours, given before anything is sent."""
    provider: str
    tier: str
    prompt: str
    parameters: dict[str, Any]
    sources: tuple[Source, ...]
    list_price_usd: Decimal
    created_at: float
    owner: str = LOCAL
    """Whose edit it is; on one person's machine there is one owner."""
    status: Status = Status.SUBMITTING
    task_id: str | None = None
    """Upstream's, once it took the edit."""
    seed: int | None = None
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()
    error: Problem | None = None
    """Why it failed; on a task under way, what keeps its pictures from being saved."""
    accepted_at: float | None = None
    finished_at: float | None = None
    render_seconds: float | None = None
    """How long upstream worked on it; None where nobody can tell."""
    batch: str | None = None
    """What was asked for in one call together has one name."""
    delivered_at: float | None = None
    """When its result first went out to whoever asked."""
    wait_ended_at: float | None = None
    """When the client that had it as a task of the protocol cancelled that; the edit itself went on."""

    @property
    def handle(self) -> str:
        """The id that callers use: upstream's, or ours while there is none."""
        return self.task_id or self.id

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in SETTLED

    def age(self, now: float) -> float:
        """Seconds since upstream took it, or since it was asked for; never negative."""
        return max(0.0, now - (self.accepted_at or self.created_at))

    @property
    def fingerprint(self) -> str:
        """What makes two requests the same: owner, provider, tier, prompt, parameters, sources by content."""
        wanted = [self.owner, self.provider, self.tier, self.prompt, self.parameters]
        contents = [source.sha256 for source in self.sources]
        return hashlib.sha256(json.dumps([*wanted, contents], sort_keys=True).encode()).hexdigest()

    @property
    def billed(self) -> Billed:
        """Whether money moved: the sandbox never bills, an accepted edit is billed."""
        if self.provider == SANDBOX:
            return Billed.NO
        if self.status is Status.FAILED:
            return self.error.billed if self.error else Billed.NO
        if self.status in HERE or self.status is Status.UNKNOWN:
            return Billed.MAYBE
        return Billed.YES

    @property
    def cost_usd(self) -> Decimal:
        """What the edit cost; where it may have been billed, it counts as billed."""
        return Decimal(0) if self.billed is Billed.NO else self.list_price_usd


def parent_of(task: Task) -> Ancestor | None:
    """The earlier picture that a task was made from; None where it came from elsewhere."""
    kind, _, name = task.sources[0].origin.partition(":")
    task_id, _, number = name.rpartition("#")
    return Ancestor(task_id, int(number)) if kind == "task" and number.isdecimal() else None
