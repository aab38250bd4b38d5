"""How much may be spent: windows of time, limits, and what is said when one is reached."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from typing import Literal

from kontext_edit.errors import BudgetExceeded, TooManyEdits
from kontext_edit.pricing import quotes, usd

Period = Literal["day", "month"]

BUDGET_SETTINGS: dict[Period, str] = {"day": "KONTEXT_BUDGET_DAY_USD", "month": "KONTEXT_BUDGET_MONTH_USD"}
"""Where a person sets what may be spent in all."""
OWNER_BUDGET_SETTINGS: dict[Period, str] = {
    "day": "KONTEXT_OWNER_BUDGET_DAY_USD",
    "month": "KONTEXT_OWNER_BUDGET_MONTH_USD",
}
"""Where the operator of a server sets what each owner may spend."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So much may be spent in each calendar day or month, by the machine's own time zone."""

    period: Period
    amount_usd: Decimal
    each_owner: bool = False
    """Whether every owner has it to themselves; else it is the whole server's."""

    @property
    def setting(self) -> str:
        """Where a person sets it."""
        return (OWNER_BUDGET_SETTINGS if self.each_owner else BUDGET_SETTINGS)[self.period]

    @property
    def name(self) -> str:
        """What it is called."""
        return f"your {self.period}'s budget" if self.each_owner else f"the {self.period}'s budget"

    def window(self, now: float) -> tuple[float, float]:
        """The day or month around `now`: start and end, in seconds since the epoch."""
        today = datetime.fromtimestamp(now).astimezone().date()
        if self.period == "day":
            return _begins(today), _begins(today + timedelta(days=1))
        first = today.replace(day=1)
        return _begins(first), _begins((first + timedelta(days=31)).replace(day=1))


@dataclass(frozen=True, slots=True)
class Spending:
    """A limit and what has gone of it: billed, perhaps billed, and reserved for edits under way."""

    limit: Limit
    spent_usd: Decimal
    ends_at: float

    @property
    def left_usd(self) -> Decimal:
        """What may still be spent; never negative."""
        return max(Decimal(0), self.limit.amount_usd - self.spent_usd)


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much one owner may ask of a server that others use too; None is no limit."""

    edits_at_once: int | None = None
    """Under way at a time, waiting ones included."""
    edits_per_minute: int | None = None
    """Begun in the last 60 seconds."""

    def refuse_beyond(self, *, under_way: int, begun_lately: int, new: int) -> None:
        """Nothing, where `new` edits fit beside those that are there.

        Raises:
            TooManyEdits: with what is allowed, and what to do.
        """
        if self.edits_at_once is not None and under_way + new > self.edits_at_once:
            raise TooManyEdits(
                f"You have {under_way} edits under way; with {new} more there would be more than the "
                f"{self.edits_at_once} that this server allows at once. Nothing was sent.",
                "Wait for some of them with get_task (list_tasks names them), then ask again.",
            )
        if self.edits_per_minute is not None and begun_lately + new > self.edits_per_minute:
            raise TooManyEdits(
                f"You began {begun_lately} edits in the last minute; with {new} more there would be more "
                f"than the {self.edits_per_minute} that this server allows. Nothing was sent.",
                "Wait a minute, then ask again.",
            )


def refuse_beyond(spendings: Iterable[Spending], price_usd: Decimal) -> None:
    """Nothing, where the price fits into what is left.

    Raises:
        BudgetExceeded: with what was spent, what the edit costs, when the window ends, and where a person
            raises it.
    """
    for spending in spendings:
        if price_usd <= spending.left_usd:
            continue
        limit = spending.limit
        ends = time.strftime("%Y-%m-%d %H:%M", time.localtime(spending.ends_at))
        raise BudgetExceeded(
            f"{limit.name.capitalize()} is {usd(limit.amount_usd)} USD: {usd(spending.spent_usd)} USD is "
            f"spent or reserved, and this edit costs {usd(price_usd)} USD. Nothing was sent.",
            f"It starts anew at {ends}. Only the person can raise it, with {limit.setting} "
            f"in the server's settings. {what_fits(spending.left_usd)}",
        )


def what_fits(amount_usd: Decimal) -> str:
    """Which single edits an amount still pays for, as a sentence."""
    fitting = [
        f"{quote.tier}{' with fast_mode' if quote.fast_mode else ''} ({usd(quote.total_usd)} USD)"
        for quote in quotes()
        if quote.total_usd <= amount_usd
    ]
    return f"What fits: {', '.join(fitting)}." if fitting else "No edit fits into what is left."


def _begins(day: date) -> float:
    """The first moment of a local day, in seconds since the epoch.

    That is not midnight where the clocks are put forward then, and the first of two where they are put back.
    """
    return datetime.combine(day, clock_time.min).timestamp()
