"""All SQL of the program. Each function is one question or one transaction over an open journal."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from kontext_edit.budget import Limit, Spending, refuse_beyond
from kontext_edit.errors import Billed
from kontext_edit.journal.file import transaction
from kontext_edit.task import Status, Task

LEASE_SECONDS = 15.0
"""For so long a process looks after an edit without saying so again."""

_MICRO = Decimal(1_000_000)
_ABSURD_SECONDS = 3600.0
"""A lease that runs longer than this was written before the clock jumped back: it is over."""
_RECENT_EDITS = 40
_PAGE_OF_A_STATUS = (
    "SELECT * FROM (SELECT * FROM edits WHERE status = ? AND number < ? ORDER BY number DESC LIMIT ?)"
)

_ROW = TypeAdapter(Task)
_COLUMNS = tuple(Task.__dataclass_fields__)
_AS_JSON = ("parameters", "sources", "pictures", "warnings", "error")


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What one tier cost on one day."""

    day: str
    tier: str
    provider: str
    edits: int
    unclear: int
    """How many of them may have been billed, and nobody can tell."""
    spent_usd: Decimal


def begin(
    connection: sqlite3.Connection,
    tasks: Sequence[Task],
    *,
    limits: Sequence[Limit],
    force_new: bool,
    holder: str,
) -> list[Task]:
    """Write edits down and reserve their price together; where one was asked for before, tell that one.

    Raises:
        BudgetExceeded: the new ones together do not fit into a limit; none is written down.
    """
    with transaction(connection):
        new: dict[str, Task] = {}
        begun: list[Task] = []
        for task in tasks:
            found = None if force_new else new.get(task.fingerprint) or earlier(connection, task)
            begun.append(found or new.setdefault(task.id if force_new else task.fingerprint, task))
        price = sum((task.cost_usd for task in new.values()), Decimal(0))
        if price:
            refuse_beyond(spendings(connection, limits, tasks[0].created_at), price)
        for task in new.values():
            _insert(connection, task, holder)
        _put_together(connection, begun, tasks[0].batch)
    return begun


def earlier(connection: sqlite3.Connection, task: Task) -> Task | None:
    """The same request from before: under way, done and never delivered, or of unknown fate."""
    row = connection.execute(
        "SELECT * FROM edits WHERE fingerprint = ? ORDER BY number DESC LIMIT 1", (task.fingerprint,)
    ).fetchone()
    if row is None:
        return None
    found = from_row(row)
    unclear = found.status is Status.UNKNOWN and found.billed is not Billed.NO
    undelivered = found.status is Status.SUCCEEDED and found.delivered_at is None
    return found if unclear or undelivered or not found.settled else None


def in_batch(connection: sqlite3.Connection, batch: str) -> list[Task]:
    """The edits that were asked for together, in the order of writing."""
    rows = connection.execute("SELECT * FROM edits WHERE batch = ? ORDER BY number", (batch,))
    return [from_row(row) for row in rows]


def move(connection: sqlite3.Connection, task: Task, to: Status, changes: dict[str, Any]) -> Task:
    """Move a task in one transaction; where it went somewhere else meanwhile, tell where it is.

    A task whose row is gone, with a damaged journal that was set aside, is written down anew.
    """
    with transaction(connection, synced=to is not Status.PROCESSING):
        current = by_handle(connection, task.id)
        if current is None:
            moved = replace(task, status=to, **changes)
            _insert(connection, moved, holder="")
            return moved
        if not current.may_move(to):
            return current
        moved = replace(current, status=to, **changes)
        connection.execute(
            """
            UPDATE edits
            SET task_id = :task_id, status = :status, billed = :billed, seed = :seed, pictures = :pictures,
                error = :error, warnings = :warnings, accepted_at = :accepted_at, finished_at = :finished_at
            WHERE id = :id
            """,
            _to_row(moved),
        )
        return moved


def deliver(connection: sqlite3.Connection, task: Task, at: float) -> None:
    """Note that a finished edit's result went out."""
    with transaction(connection, synced=False):
        connection.execute(
            """
            UPDATE edits SET delivered_at = ?
            WHERE id = ? AND delivered_at IS NULL AND status = 'succeeded'
            """,
            (at, task.id),
        )


def end_wait(connection: sqlite3.Connection, task: Task, at: float | None) -> None:
    """Note when the waiting for an edit under way was ended; None where somebody waits again."""
    connection.execute(
        """
        UPDATE edits SET wait_ended_at = ?1
        WHERE id = ?2 AND (?1 IS NULL OR status IN ('submitting', 'queued', 'processing'))
        """,
        (at, task.id),
    )


def renew(connection: sqlite3.Connection, ids: Sequence[str], holder: str, now: float) -> None:
    """Say again who looks after these edits."""
    if ids:
        with transaction(connection, synced=False):
            connection.execute(
                "UPDATE edits SET held_until = ? WHERE holder = ? AND id IN (SELECT value FROM json_each(?))",
                (now + LEASE_SECONDS, holder, json.dumps(list(ids))),
            )


def adopt(connection: sqlite3.Connection, provider: str, holder: str, now: float) -> list[Task]:
    """Take over the edits under way that nobody looks after (any more)."""
    with transaction(connection):
        rows = connection.execute(
            """
            SELECT * FROM edits
            WHERE status IN ('submitting', 'queued', 'processing') AND (status = 'submitting' OR provider = ?)
                  AND (held_until <= ? OR held_until > ?)
            """,
            (provider, now, now + _ABSURD_SECONDS),
        ).fetchall()
        tasks = [from_row(row) for row in rows]
        _hold(connection, [task.id for task in tasks], holder, now + LEASE_SECONDS)
    return tasks


def claim(connection: sqlite3.Connection, task: Task, holder: str, now: float) -> bool:
    """Take over one edit, also one that rests; False where another process looks after it."""
    with transaction(connection):
        free = connection.execute(
            "SELECT 1 FROM edits WHERE id = ? AND (holder = '' OR held_until <= ? OR held_until > ?)",
            (task.id, now, now + _ABSURD_SECONDS),
        ).fetchone()
        if free:
            _hold(connection, [task.id], holder, now + LEASE_SECONDS)
    return free is not None


def let_go(connection: sqlite3.Connection, holder: str) -> None:
    """Give back every lease on an edit that upstream has an id for."""
    connection.execute(
        """
        UPDATE edits SET holder = '', held_until = 0
        WHERE holder = ? AND status IN ('queued', 'processing')
        """,
        (holder,),
    )


def rest(connection: sqlite3.Connection, task: Task, until: float) -> None:
    """Leave an edit alone for a while; whoever asks for it may take it over sooner."""
    _hold(connection, [task.id], "", until)


def by_handle(connection: sqlite3.Connection, handle: str) -> Task | None:
    """The edit with this id, upstream's or ours."""
    row = connection.execute("SELECT * FROM edits WHERE task_id = ?1 OR id = ?1", (handle,)).fetchone()
    return from_row(row) if row else None


def last_success(connection: sqlite3.Connection) -> Task | None:
    """The edit that finished last with a picture."""
    row = connection.execute(
        "SELECT * FROM edits WHERE status = 'succeeded' ORDER BY finished_at DESC LIMIT 1"
    ).fetchone()
    return from_row(row) if row else None


def latest(
    connection: sqlite3.Connection, statuses: Sequence[Status], before: int | None, limit: int
) -> list[tuple[int, Task]]:
    """Edits with their numbers, latest first; of these statuses, where any are named."""
    below = 2**62 if before is None else before
    if statuses:
        # One page of each status and then the first of all: a rare one is found without reading the others.
        asked = " UNION ALL ".join([_PAGE_OF_A_STATUS] * len(statuses))
        values = [value for status in statuses for value in (status, below, limit)]
        rows = connection.execute(f"{asked} ORDER BY number DESC LIMIT ?", (*values, limit))
    else:
        rows = connection.execute(
            "SELECT * FROM edits WHERE number < ? ORDER BY number DESC LIMIT ?", (below, limit)
        )
    return [(int(row["number"]), from_row(row)) for row in rows]


def spendings(connection: sqlite3.Connection, limits: Sequence[Limit], now: float) -> list[Spending]:
    """Each limit with what is billed, perhaps billed, or reserved in its window."""
    found: list[Spending] = []
    for limit in limits:
        start, end = limit.window(now)
        (micro,) = connection.execute(
            "SELECT COALESCE(SUM(micro_usd), 0) FROM edits WHERE billed <> 'no' AND created_at >= ?", (start,)
        ).fetchone()
        found.append(Spending(limit, Decimal(micro) / _MICRO, end))
    return found


def ledger(connection: sqlite3.Connection) -> list[LedgerRow]:
    """What was spent, by day (of this machine's time zone), tier and provider; latest day first."""
    rows = connection.execute(
        """
        SELECT date(created_at, 'unixepoch', 'localtime') AS day, tier, provider, COUNT(*) AS edits,
               SUM(billed = 'maybe') AS unclear, SUM(CASE billed WHEN 'no' THEN 0 ELSE micro_usd END) AS micro
        FROM edits GROUP BY day, tier, provider ORDER BY day DESC, tier, provider
        """
    )
    return [
        LedgerRow(
            row["day"], row["tier"], row["provider"], row["edits"], row["unclear"], row["micro"] / _MICRO
        )
        for row in rows
    ]


def durations(connection: sqlite3.Connection, tier: str, provider: str) -> list[float]:
    """Seconds from acceptance to the picture, of the most recent edits of a tier."""
    rows = connection.execute(
        """
        SELECT finished_at - accepted_at FROM edits WHERE tier = ? AND provider = ? AND status = 'succeeded'
        ORDER BY finished_at DESC LIMIT ?
        """,
        (tier, provider, _RECENT_EDITS),
    )
    return [float(seconds) for (seconds,) in rows]


def from_row(row: sqlite3.Row) -> Task:
    """A row as a task."""
    values: dict[str, Any] = {column: row[column] for column in _COLUMNS}
    return _ROW.validate_python(
        values | {column: json.loads(values[column] or "null") for column in _AS_JSON}
    )


def _to_row(task: Task) -> dict[str, Any]:
    """A task as SQLite takes it: plain values, JSON for what has parts, and money as a number to add up."""
    row = _ROW.dump_python(task, mode="json")
    return row | {
        **{column: None if row[column] is None else json.dumps(row[column]) for column in _AS_JSON},
        "fingerprint": task.fingerprint,
        "billed": str(task.billed),
        "micro_usd": int(task.list_price_usd * _MICRO),
    }


def _insert(connection: sqlite3.Connection, task: Task, holder: str) -> None:
    connection.execute(
        """
        INSERT INTO edits (id, task_id, owner, provider, tier, prompt, parameters, sources, fingerprint,
                           list_price_usd, billed, micro_usd, status, seed, pictures, warnings, error,
                           created_at, accepted_at, finished_at, batch, delivered_at, holder, held_until)
        VALUES (:id, :task_id, :owner, :provider, :tier, :prompt, :parameters, :sources, :fingerprint,
                :list_price_usd, :billed, :micro_usd, :status, :seed, :pictures, :warnings, :error,
                :created_at, :accepted_at, :finished_at, :batch, :delivered_at, :holder, :held_until)
        """,
        _to_row(task) | {"holder": holder, "held_until": task.created_at + LEASE_SECONDS if holder else 0},
    )


def _put_together(connection: sqlite3.Connection, tasks: Sequence[Task], batch: str | None) -> None:
    """Count edits from before to the batch that asks for them now."""
    if batch is not None:
        ids = json.dumps([task.id for task in tasks])
        connection.execute(
            "UPDATE edits SET batch = ? WHERE id IN (SELECT value FROM json_each(?))", (batch, ids)
        )


def _hold(connection: sqlite3.Connection, ids: Sequence[str], holder: str, until: float) -> None:
    connection.execute(
        "UPDATE edits SET holder = ?, held_until = ? WHERE id IN (SELECT value FROM json_each(?))",
        (holder, until, json.dumps(list(ids))),
    )
