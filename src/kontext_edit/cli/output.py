"""What a person sees: paths and tables on stdout, so that they can be piped, everything else on stderr."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kontext_edit.budget import Spending
from kontext_edit.cli.books import cells
from kontext_edit.doctor import Check, State
from kontext_edit.errors import KontextError
from kontext_edit.images.wording import printable
from kontext_edit.journal.statements import LedgerRow
from kontext_edit.pricing import usd
from kontext_edit.results import Structured, error_result

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "bold red"}


def say(line: str) -> None:
    """A line on stderr."""
    sys.stderr.write("\n".join(map(printable, line.splitlines())) + "\n")
    sys.stderr.flush()


class StderrHandler(logging.Handler):
    """Logs to whatever stderr is at the moment, which a progress bar borrows."""

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        say(self.format(record))


def put_json(content: object) -> None:
    """An answer for programs on stdout."""
    _put(json.dumps(content, ensure_ascii=False, indent=2))


def put_task(content: Structured) -> None:
    """A task: the pictures' paths or links on stdout, one a line, and the rest of it on stderr."""
    for picture in content["images"]:
        if url := picture.get("url"):
            _put(url)
        elif "path" in picture and Path(picture["path"]).exists():
            _put(picture["path"])
    say(_headline(content))
    for warning in content["warnings"]:
        say(f"Note: {warning}")
    if "error" in content:
        say(f"Billed: {content['error']['billed']}.")


def say_error(error: KontextError) -> None:
    """An error's message and what to do about it."""
    say(f"Error: {error.message}")
    if error.hint:
        say(error.hint)


def error_content(error: KontextError) -> Structured:
    """The same for programs."""
    return error_result(error).structured_content or {}


def put_estimates(content: Structured) -> None:
    """Prices as a table."""
    table = Table(caption=f"List prices of {content['prices_as_of']} in US dollars")
    table.add_column("Tier")
    for heading in ("Image", "Images an edit", "Edits", "Total", "BFL direct"):
        table.add_column(heading, justify="right")
    for row in content["estimates"]:
        table.add_row(
            row["tier"] + (" fast" if row["fast_mode"] else ""),
            row["image_usd"],
            str(row["images_per_edit"]),
            str(row["edits"]),
            row["total_usd"],
            row["bfl_direct_usd"] or "–",
        )
    Console(highlight=False).print(table)


def put_tasks(content: Structured) -> None:
    """Earlier edits as a table, latest first; the id stands below the instruction, fit for copying."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("When", "Status", "Tier"):
        table.add_column(heading, no_wrap=True)
    table.add_column("USD", justify="right", no_wrap=True)
    table.add_column("Edit", overflow="fold")
    for row in content["tasks"]:
        edit = Text.assemble(printable(row["prompt"]), "\n", (row["task_id"], "dim"))
        table.add_row(row["created"], row["status"], row["tier"], row["cost_usd"], edit)
    Console(highlight=False).print(table)


def put_ledger(rows: Sequence[LedgerRow], spendings: Sequence[Spending]) -> None:
    """What was spent, by day and tier, and what is left of the budgets."""
    table = Table()
    for heading in ("Day", "Tier", "Provider"):
        table.add_column(heading)
    for heading in ("Edits", "Unclear", "USD"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*cells(row))
    Console(highlight=False).print(table)
    for each in spendings:
        limit = each.limit
        say(f"Left for the {limit.period}: {usd(each.left_usd)} of {usd(limit.amount_usd)} USD.")


def put_checks(checks: Sequence[Check]) -> None:
    """What the doctor found, one line each, and what to do about it below."""
    table = Table.grid(padding=(0, 2))
    for check in checks:
        found = "\n".join(filter(None, [check.found, check.advice and f"→ {check.advice}"]))
        table.add_row(
            Text(check.state, style=_COLOURS[check.state]), check.name, Text(found, overflow="fold")
        )
    Console(highlight=False).print(table)


def _headline(content: Structured) -> str:
    """What became of a task, in a line."""
    if content["status"] == "succeeded":
        facts = [_cost(content), f"seed {content['seed']}", *map(_picture, content["images"])]
        return f"Edited with Kontext {content['tier'].capitalize()}: {'; '.join(facts)}."
    if "error" in content:
        return f"{content['error']['message']}\n{content['error']['hint']}".rstrip()
    return f"The edit is {content['status']}. To ask again: kontext-edit task {content['task_id']}"


def _cost(content: Structured) -> str:
    cost, price = content["cost_usd"], content["list_price_usd"]
    return f"{cost} USD" if cost == price else f"{cost} USD (list price {price} USD)"


def _picture(picture: Structured) -> str:
    size = f"{picture['width']}×{picture['height']} {picture['format']}"
    changed = picture["changed_percent"]
    return size if changed is None else f"{size}, {changed:g} % changed"


def _put(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def cope_with_any_text(*streams: object) -> None:
    """Let a console that lacks a character show its escape, rather than end a paid edit in an error."""
    for stream in streams:
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
