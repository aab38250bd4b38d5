"""The SQL of edits. Each function is one question or one transaction in a session of the journal.

What reads or moves several rows takes them in the order of their numbers, so that no two wait for each other.
Words in braces are the dialect's: see `session`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Any

from kontext_edit.budget import Allowance, Limit, refuse_beyond
from kontext_edit.errors import Billed
from kontext_edit.journal.rows import LEASE_SECONDS, MICRO, from_row, insert, to_row
from kontext_edit.journal.session import Row, Session
from kontext_edit.journal.sums import refuse_crowd, spendings
from kontext_edit.task import SETTLED, Status, Task, may_move

_ABSURD_SECONDS = 3600.0
"""A lease that runs longer than this was written before the clock jumped back: it is over."""
_MOST_ADOPTED = 200
"""What a process takes over at a time, so that all that are left share what a dead one had."""
_MONEY = "money"
_ONCE_TAKEN = frozenset({Status.PROCESSING, Status.SUCCEEDED})
"""Where an edit goes only from where upstream has taken it: what is billed stays as it is."""


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


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what an edit may begin."""

    limits: Sequence[Limit] = ()
    allowance: Allowance | None = None
    force_new: bool = False
    """Whether it is bought again, though the same was asked for before."""


def begin(session: Session, tasks: Sequence[Task], terms: Terms, holder: str) -> list[Task]:
    """Write an owner's edits down and reserve their price; where one was asked for before, tell that one.

    Raises:
        TooManyEdits: the new ones are more than their owner is allowed; none is written down.
        BudgetExceeded: the new ones together do not fit into a limit; none is written down.
    """
    owner, now = tasks[0].owner, tasks[0].created_at
    with session.transaction(alone=f"owner {owner}"):
        new: dict[str, Task] = {}
        begun: list[Task] = []
        for task in tasks:
            wanted = task.id if terms.force_new else task.fingerprint
            found = None if terms.force_new else new.get(wanted) or _earlier(session, wanted)
            begun.append(found or new.setdefault(wanted, task))
        if terms.allowance and new:
            refuse_crowd(session, terms.allowance, owner, now, len(new))
        price = sum((task.cost_usd for task in new.values()), Decimal(0))
        if price:
            if not all(limit.each_owner for limit in terms.limits):
                session.alone(_MONEY)
            refuse_beyond(spendings(session, terms.limits, owner, now), price)
        insert(session, list(new.values()), holder)
        _put_together(session, begun, tasks[0].batch)
    return begun


def earlier(session: Session, task: Task) -> Task | None:
    """The same request from before: under way, done and never delivered, or of unknown fate."""
    return _earlier(session, task.fingerprint)


def send(session: Session, task: Task, holder: str) -> Task:
    """Move an edit whose turn has come, where this process still holds it; else tell where it is.

    Other processes are not told: to whoever looks it is queued, as before.
    """
    sending = session.change(
        """
        UPDATE edits SET status = 'submitting' WHERE id = :id AND holder = :holder AND status = 'waiting'
        RETURNING *
        """,
        {"id": task.id, "holder": holder},
    )
    return _found(session, sending, replace(task, status=Status.SUBMITTING), holder)


def move(session: Session, task: Task, to: Status, changes: dict[str, Any]) -> Task:
    """Move a task in one transaction; where it went somewhere else meanwhile, tell where it is.

    A task whose row is gone, with a damaged journal that was set aside, is written down anew.
    """
    aim = replace(task, status=to, **changes)
    columns = {"status", *changes, *(() if to in _ONCE_TAKEN else ("billed",))}
    moved = session.change(
        _moving(to, frozenset(columns)), to_row(aim, columns | {"id"}), synced=to is not Status.PROCESSING
    )
    return _found(session, moved, aim, holder="")


def deliver(session: Session, task: Task, at: float) -> None:
    """Note that a finished edit's result went out."""
    session.change(
        """
        UPDATE edits SET delivered_at = :at
        WHERE id = :id AND delivered_at IS NULL AND status = 'succeeded'
        RETURNING id
        """,
        {"at": at, "id": task.id},
        synced=False,
    )


def end_wait(session: Session, task: Task, at: float | None) -> None:
    """Note when the waiting for an edit under way was ended; None where somebody waits again."""
    session.write(
        "UPDATE edits SET wait_ended_at = :at WHERE id = :id AND (:at IS NULL OR {under_way})",
        {"at": at, "id": task.id},
    )


def renew(session: Session, ids: Sequence[str], holder: str, now: float) -> None:
    """Say again who looks after these edits."""
    if ids:
        with session.transaction(synced=False):
            session.write(
                """
                UPDATE edits SET held_until = :until
                WHERE number IN (
                    SELECT number FROM edits WHERE holder = :holder AND id {among_ids}
                    ORDER BY number {for_update}
                )
                """,
                {"until": now + LEASE_SECONDS, "holder": holder, "ids": session.listed(ids)},
            )


def adopt(session: Session, provider: str, holder: str, now: float) -> list[Task]:
    """Take over edits under way that nobody looks after (any more), longest left first."""
    with session.transaction():
        rows = session.rows(
            """
            SELECT * FROM edits
            WHERE {under_way} AND (status IN ('waiting', 'submitting') OR provider = :provider)
                  AND (held_until <= :now OR held_until > :absurd)
            ORDER BY held_until LIMIT :most {for_update_of_free}
            """,
            {"provider": provider, "now": now, "absurd": now + _ABSURD_SECONDS, "most": _MOST_ADOPTED},
        )
        tasks = [from_row(row) for row in rows]
        if tasks:
            _hold(session, [task.id for task in tasks], holder, now + LEASE_SECONDS)
    return tasks


def claim(session: Session, task: Task, holder: str, now: float) -> bool:
    """Take over one edit, also one that rests; False where another process looks after it."""
    free = session.change(
        """
        UPDATE edits SET holder = :holder, held_until = :until
        WHERE id = :id AND (holder = '' OR held_until <= :now OR held_until > :absurd)
        RETURNING id
        """,
        {
            "id": task.id,
            "holder": holder,
            "until": now + LEASE_SECONDS,
            "now": now,
            "absurd": now + _ABSURD_SECONDS,
        },
    )
    return free is not None


def unheld(session: Session, ids: Sequence[str], now: float) -> list[str]:
    """Those of these edits, by our ids, that no process looks after now."""
    rows = session.rows(
        """
        SELECT id FROM edits
        WHERE id {among_ids} AND (holder = '' OR held_until <= :now OR held_until > :absurd)
        """,
        {"ids": session.listed(ids), "now": now, "absurd": now + _ABSURD_SECONDS},
    )
    return [row["id"] for row in rows]


def let_go(session: Session, holder: str) -> None:
    """Give back every lease but those on edits that may just be on their way to upstream."""
    with session.transaction():
        session.write(
            """
            UPDATE edits SET holder = '', held_until = 0
            WHERE number IN (
                SELECT number FROM edits WHERE holder = :holder AND {under_way} AND status <> 'submitting'
                ORDER BY number {for_update}
            )
            """,
            {"holder": holder},
        )


def rest(session: Session, task: Task, until: float) -> None:
    """Leave an edit alone for a while; whoever asks for it may take it over sooner."""
    _hold(session, [task.id], "", until)


def by_handle(session: Session, handle: str) -> Task | None:
    """The edit with this id, upstream's or ours."""
    row = session.row("SELECT * FROM edits WHERE task_id = :handle OR id = :handle", {"handle": handle})
    return from_row(row) if row else None


def number_of(session: Session, edit_id: str, owner: str) -> int | None:
    """The number of an owner's edit."""
    row = session.row(
        "SELECT number FROM edits WHERE id = :id AND owner = :owner", {"id": edit_id, "owner": owner}
    )
    return int(row["number"]) if row else None


def by_ids(session: Session, ids: Sequence[str]) -> list[Task]:
    """The edits with these ids of ours, in the order of writing."""
    rows = session.rows(
        "SELECT * FROM edits WHERE id {among_ids} ORDER BY number",
        {"ids": session.listed(ids)},
    )
    return [from_row(row) for row in rows]


def in_batch(session: Session, batch: str) -> list[Task]:
    """The edits that were asked for together, in the order of writing."""
    rows = session.rows("SELECT * FROM edits WHERE batch = :batch ORDER BY number", {"batch": batch})
    return [from_row(row) for row in rows]


def last_success(session: Session, owner: str) -> Task | None:
    """The owner's edit that finished last with a picture."""
    row = session.row(
        """
        SELECT * FROM edits WHERE owner = :owner AND status = 'succeeded' ORDER BY finished_at DESC LIMIT 1
        """,
        {"owner": owner},
    )
    return from_row(row) if row else None


def latest(
    session: Session, owner: str, statuses: Sequence[Status], before: int | None, limit: int
) -> list[tuple[int, Task]]:
    """The owner's edits with their numbers, latest first; of these statuses, where any are named."""
    below = "" if before is None else "AND number < :before"
    which = [
        f"AND status = :status_{place} AND {'{settled}' if status in SETTLED else '{under_way}'}"
        for place, status in enumerate(statuses)
    ] or [""]
    # One page of each status and then the first of all: a rare one is found without reading the others.
    pages = [
        f"SELECT * FROM edits WHERE owner = :owner {status} {below} ORDER BY number DESC LIMIT :most"  # noqa: S608 - our own words
        for status in which
    ]
    asked = " UNION ALL ".join(f"SELECT * FROM ({page}) AS page" for page in pages)  # noqa: S608 - likewise
    values = {f"status_{place}": str(status) for place, status in enumerate(statuses)}
    rows = session.rows(
        f"{asked} ORDER BY number DESC LIMIT :most",
        values | {"owner": owner, "before": before, "most": limit},
    )
    return [(int(row["number"]), from_row(row)) for row in rows]


def ledger(session: Session) -> list[LedgerRow]:
    """What was spent, by day (of this machine's time zone), tier and provider; latest day first."""
    rows = session.rows(
        """
        SELECT {local_day} AS day, tier, provider, COUNT(*) AS edits,
               SUM(CASE billed WHEN 'maybe' THEN 1 ELSE 0 END) AS unclear,
               SUM(CASE billed WHEN 'no' THEN 0 ELSE micro_usd END) AS micro
        FROM edits GROUP BY day, tier, provider ORDER BY day DESC, tier, provider
        """,
        session.local_days(),
    )
    return [
        LedgerRow(
            row["day"],
            row["tier"],
            row["provider"],
            row["edits"],
            row["unclear"],
            Decimal(row["micro"]) / MICRO,
        )
        for row in rows
    ]


def _earlier(session: Session, fingerprint: str) -> Task | None:
    row = session.row(
        "SELECT * FROM edits WHERE fingerprint = :fingerprint ORDER BY number DESC LIMIT 1",
        {"fingerprint": fingerprint},
    )
    if row is None:
        return None
    found = from_row(row)
    unclear = found.status is Status.UNKNOWN and found.billed is not Billed.NO
    undelivered = found.status is Status.SUCCEEDED and found.delivered_at is None
    return found if unclear or undelivered or not found.settled else None


@cache
def _moving(to: Status, columns: frozenset[str]) -> str:
    """The statement that moves an edit, where it may go there, and writes these columns."""
    origins = ", ".join(f"'{origin}'" for origin in Status if may_move(origin, to))
    written = ", ".join(f"{column} = :{column}" for column in sorted(columns))
    return f"UPDATE edits SET {written} WHERE id = :id AND status IN ({origins}) RETURNING *{{told}}"  # noqa: S608 - our own words


def _found(session: Session, moved: Row | None, aim: Task, holder: str) -> Task:
    """The edit that was moved; else where it is; else, where its row is gone, it is written down anew."""
    if row := moved or session.row("SELECT * FROM edits WHERE id = :id", {"id": aim.id}):
        return from_row(row)
    with session.transaction():
        insert(session, [aim], holder)
    return aim


def _put_together(session: Session, tasks: Sequence[Task], batch: str | None) -> None:
    """Count edits from before to the batch that asks for them now."""
    if batch is not None:
        session.write(
            """
            UPDATE edits SET batch = :batch
            WHERE number IN (SELECT number FROM edits WHERE id {among_ids} ORDER BY number {for_update})
            """,
            {"batch": batch, "ids": session.listed(task.id for task in tasks)},
        )


def _hold(session: Session, ids: Sequence[str], holder: str, until: float) -> None:
    session.write(
        "UPDATE edits SET holder = :holder, held_until = :until WHERE id {among_ids}",
        {"holder": holder, "until": until, "ids": session.listed(ids)},
    )
