"""The SQL of what many edits come to: their cost, their number, and how long they took."""

from collections.abc import Sequence
from decimal import Decimal
from functools import cache

from kontext_edit.budget import Allowance, Limit, Spending
from kontext_edit.journal.rows import MICRO
from kontext_edit.journal.session import Session

_RECENT_EDITS = 40
_MINUTE = 60.0


def spendings(session: Session, limits: Sequence[Limit], owner: str, now: float) -> list[Spending]:
    """Each limit with what is billed, perhaps billed, or reserved in its window, by the owner or by all."""
    if not limits:
        return []
    windows = [limit.window(now) for limit in limits]
    (sums,) = session.rows(
        _spent(tuple(limit.each_owner for limit in limits)),
        {"owner": owner, **{f"start_{place}": start for place, (start, _) in enumerate(windows)}},
    )
    return [
        Spending(limit, Decimal(sums[f"micro_{place}"]) / MICRO, end)
        for place, (limit, (_, end)) in enumerate(zip(limits, windows, strict=True))
    ]


def refuse_crowd(session: Session, allowance: Allowance, owner: str, now: float, new: int) -> None:
    """Refuse new edits that are more than their owner is allowed; of the latest, no more are counted.

    Raises:
        TooManyEdits: they are.
    """
    (counts,) = session.rows(
        """
        SELECT (SELECT COUNT(*) FROM edits WHERE owner = :owner AND {under_way}) AS under_way,
               (SELECT COUNT(*)
                FROM (SELECT created_at FROM edits WHERE owner = :owner ORDER BY number DESC LIMIT :most)
                     AS recent
                WHERE created_at > :since) AS begun_lately
        """,
        {"owner": owner, "since": now - _MINUTE, "most": allowance.edits_per_minute or 0},
    )
    allowance.refuse_beyond(under_way=counts["under_way"], begun_lately=counts["begun_lately"], new=new)


def durations(session: Session, tier: str, provider: str) -> list[float]:
    """How long upstream worked on the most recent edits of a tier of which that is known, in seconds."""
    rows = session.rows(
        """
        SELECT render_seconds FROM edits
        WHERE tier = :tier AND provider = :provider AND render_seconds IS NOT NULL
        ORDER BY finished_at DESC LIMIT :most
        """,
        {"tier": tier, "provider": provider, "most": _RECENT_EDITS},
    )
    return [row["render_seconds"] for row in rows]


@cache
def _spent(each_owner: tuple[bool, ...]) -> str:
    """The question for what is billed, perhaps billed, or reserved, by an owner or by all, in each window."""
    sums = [
        f"""(
            SELECT COALESCE(SUM(micro_usd), 0) FROM edits
            WHERE billed <> 'no' AND created_at >= :start_{place} {"AND owner = :owner" if owners else ""}
        ) AS micro_{place}"""  # noqa: S608 - our own words
        for place, owners in enumerate(each_owner)
    ]
    return f"SELECT {', '.join(sums)}"
