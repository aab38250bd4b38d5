"""An edit as a row of the journal."""

import json
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter

from kontext_edit.journal.session import Row, Session
from kontext_edit.task import Task

LEASE_SECONDS = 15.0
"""For so long a process looks after an edit without saying so again."""
MICRO = Decimal(1_000_000)
"""Parts of a dollar: money that is added up is a whole number of them."""

_TASK = TypeAdapter(Task)
_COLUMNS = frozenset(Task.__dataclass_fields__)
_AS_JSON = frozenset({"parameters", "sources", "pictures", "warnings", "error"})
_COUNTED: dict[str, Callable[[Task], str | int]] = {
    "fingerprint": lambda task: task.fingerprint,
    "billed": lambda task: str(task.billed),
    "micro_usd": lambda task: int(task.list_price_usd * MICRO),
}
"""What follows from a task, and is written down to be looked up and added up."""
_ALL = _COLUMNS | _COUNTED.keys()


def from_row(row: Row) -> Task:
    """A row as a task."""
    values: dict[str, Any] = {column: row[column] for column in _COLUMNS}
    return _TASK.validate_python(
        values | {column: json.loads(values[column] or "null") for column in _AS_JSON}
    )


def to_row(task: Task, columns: AbstractSet[str] = _ALL) -> dict[str, Any]:
    """A task as a database takes it: plain values, JSON for what has parts, money as a number to add up."""
    row = _TASK.dump_python(task, mode="json", include=set(_COLUMNS & columns))
    for column in _AS_JSON & columns:
        row[column] = None if row[column] is None else json.dumps(row[column])
    return row | {column: _COUNTED[column](task) for column in _COUNTED.keys() & columns}


def insert(session: Session, tasks: Sequence[Task], holder: str) -> None:
    """Write edits down, looked after by `holder`, or by nobody where that is empty."""
    session.write_each(
        """
        INSERT INTO edits (id, task_id, owner, provider, tier, prompt, parameters, sources, fingerprint,
                           list_price_usd, billed, micro_usd, status, seed, pictures, warnings, error,
                           created_at, accepted_at, finished_at, render_seconds, batch, delivered_at, holder,
                           held_until)
        VALUES (:id, :task_id, :owner, :provider, :tier, :prompt, :parameters, :sources, :fingerprint,
                :list_price_usd, :billed, :micro_usd, :status, :seed, :pictures, :warnings, :error,
                :created_at, :accepted_at, :finished_at, :render_seconds, :batch, :delivered_at, :holder,
                :held_until)
        RETURNING id{told}
        """,
        [
            to_row(task) | {"holder": holder, "held_until": task.created_at + LEASE_SECONDS if holder else 0}
            for task in tasks
        ],
    )
