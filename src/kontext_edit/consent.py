"""When money needs a person's word, and what is said where it is not given."""

import hashlib
from collections.abc import Sequence
from decimal import Decimal

from kontext_edit.budget import what_fits
from kontext_edit.caller import Caller, Consent
from kontext_edit.errors import ConsentMissing
from kontext_edit.pricing import usd
from kontext_edit.task import Task

_PROMPT_CHARACTERS = 200


def is_dear(tasks: Sequence[Task], limit: Decimal) -> bool:
    """Whether these edits together cost more than may be spent without asking."""
    return price_of(tasks) > limit


async def ask_above(limit: Decimal, tasks: Sequence[Task], caller: Caller) -> None:
    """Ask the person about edits that are dear together; no argument of a tool stands in for their word.

    Raises:
        ConsentMissing: they did not agree, or could not be asked.
    """
    if not is_dear(tasks, limit):
        return
    price, first, several = usd(price_of(tasks)), tasks[0], len(tasks) > 1
    what = f"these {len(tasks)} edits" if several else "this edit"
    question = f"Buy {what} for {price} USD? Kontext {first.tier}: {first.prompt[:_PROMPT_CHARACTERS]}"
    # The answer holds for exactly this: the same edits at the same price.
    subject = hashlib.sha256(" ".join(task.fingerprint for task in tasks).encode()).hexdigest()
    consent = await caller.consent(question, f"{subject} {price}")
    if consent is not Consent.GIVEN:
        cost = f"{what.capitalize()} {'cost' if several else 'costs'} {price} USD"
        raise _not_agreed(consent, cost, limit)


def price_of(tasks: Sequence[Task]) -> Decimal:
    """What edits cost together."""
    return sum((task.cost_usd for task in tasks), Decimal(0))


def _not_agreed(consent: Consent, cost: str, limit: Decimal) -> ConsentMissing:
    setting = f"KONTEXT_CONFIRM_ABOVE_USD ({usd(limit)} USD)"
    if consent is Consent.IMPOSSIBLE:
        return ConsentMissing(
            f"{cost}, above {setting}, and this client cannot ask the person. Nothing was sent.",
            f"Only the person can raise the setting, where the server is configured. {what_fits(limit)}",
        )
    did = "declined" if consent is Consent.DECLINED else "closed the question without an answer"
    return ConsentMissing(
        f"{cost}, above {setting}, and the person {did}. Nothing was sent.",
        f"Ask the person what they want instead. {what_fits(limit)}",
    )
