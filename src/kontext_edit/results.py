"""What a caller gets back: a task, an estimate or an error as a tool's result.

A result is a short sentence, a small preview, a path or a link, and a few numbers. Some clients show the
model only the structured content, so it holds everything that the next step needs.
"""

import base64
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import mcp_types as types

from kontext_edit.budget import Spending
from kontext_edit.errors import Billed, KontextError, Problem
from kontext_edit.pricing import Quote, usd
from kontext_edit.store.place import Place, Places
from kontext_edit.task import HERE, SANDBOX, Picture, Status, Task
from kontext_edit.tiers import PRICES_AS_OF, TIERS

Structured = dict[str, Any]
Placed = tuple[Picture, Place]
"""A picture, and where it is for whoever asks."""

_ROW_CHARACTERS = 60

_SANDBOX_SENTENCE = "SANDBOX: no model ran, nothing was billed."
_SANDBOX_WARNING = f"{_SANDBOX_SENTENCE} Real edits need NOVITA_API_KEY."


def task_result(  # noqa: PLR0913 - what is told, each by its name
    task: Task,
    progress_percent: float,
    *,
    places: Places,
    preview: bytes | None,
    notes: tuple[str, ...],
    lineage: Sequence[str] = (),
) -> types.CallToolResult:
    """A task as the result of `edit_image` or `get_task`.

    Args:
        task: what is known of it.
        progress_percent: how far it may be, while it is under way.
        places: where its pictures are, for whoever asks.
        preview: a small WebP of all its pictures.
        notes: what there is to say about this moment, which the task itself does not keep.
        lineage: what it was made from, as sources: its parent first.
    """
    placed = _placed(task, places)
    warnings = [*task.warnings, *notes, *_missing(placed)]
    if task.provider == SANDBOX:
        warnings.append(_SANDBOX_WARNING)
    structured: Structured = {
        "task_id": task.handle,
        "status": public_status(task),
        "tier": task.tier,
        "cost_usd": usd(task.cost_usd),
        "list_price_usd": usd(task.list_price_usd),
        "progress_percent": 100 if task.settled else int(progress_percent),
        "seed": task.seed,
        "provider": task.provider,
        "images": [_picture(picture, place) for picture, place in placed],
        "warnings": warnings,
        "next_step": _next_step(task, placed, lineage),
    }
    if lineage:
        structured["lineage"] = list(lineage)
    if task.error is not None:
        structured["error"] = _error(task.error, task.billed)
    return types.CallToolResult(
        content=[
            types.TextContent(text=" ".join([_sentence(task, placed), *notes])),
            *_shown(placed, preview),
        ],
        structured_content=structured,
        is_error=task.status in (Status.FAILED, Status.UNKNOWN),
    )


def batch_result(  # noqa: PLR0913 - what is told, each by its name
    batch: str,
    tasks: Sequence[Task],
    progress_percent: float,
    *,
    places: Places,
    preview: bytes | None,
    notes: tuple[str, ...],
) -> types.CallToolResult:
    """Several edits that were asked for together, told one by one; `preview` is their contact sheet."""
    succeeded = [task for task in tasks if task.status is Status.SUCCEEDED]
    placed = [each for task in succeeded for each in _placed(task, places)]
    settled = [task for task in tasks if task.settled]
    done = len(settled) == len(tasks)
    cost = usd(sum((task.cost_usd for task in tasks), Decimal(0)))
    next_step = (
        'Show the person what came. To go on from one: images ["task:<its task_id>"].'
        if done
        else f"Call get_task with task_id {batch}; do not call edit_image again for it."
    )
    sentence = f"{len(succeeded)} of {len(tasks)} edits are done, for {cost} USD."
    warnings = [_SANDBOX_WARNING, *notes] if tasks[0].provider == SANDBOX else list(notes)
    return types.CallToolResult(
        content=[
            types.TextContent(text=" ".join([_prefix(tasks[0]) + sentence, *notes, next_step])),
            *_shown(placed, preview),
        ],
        structured_content={
            "task_id": batch,
            "status": _status_of_all(tasks),
            "tier": tasks[0].tier,
            "cost_usd": cost,
            "list_price_usd": usd(sum((task.list_price_usd for task in tasks), Decimal(0))),
            "progress_percent": 100 if done else int(progress_percent),
            "provider": tasks[0].provider,
            "edits": [_edit(task, _placed(task, places)) for task in tasks],
            "warnings": warnings,
            "next_step": next_step,
        },
        is_error=done and not succeeded,
    )


def _status_of_all(tasks: Sequence[Task]) -> str:
    """One word for several edits: how far the slowest is, or whether anything came."""
    if not all(task.settled for task in tasks):
        return str(Status.PROCESSING)
    if any(task.status is Status.SUCCEEDED for task in tasks):
        return str(Status.SUCCEEDED)
    return str(Status.UNKNOWN if any(task.status is Status.UNKNOWN for task in tasks) else Status.FAILED)


def _edit(task: Task, placed: Sequence[Placed]) -> Structured:
    """One edit of several: a row, with its pictures and what went wrong."""
    row = _row(task) | {"seed": task.seed} | _addresses([place for _, place in placed])
    del row["created"], row["path"], row["tier"]
    return row if task.error is None else row | {"error": _error(task.error, task.billed)}


def public_status(task: Task) -> str:
    """The status that callers are told: before upstream's answer an edit is queued here."""
    return str(Status.QUEUED if task.status in HERE else task.status)


def list_result(rows: list[tuple[int, Task]], limit: int) -> types.CallToolResult:
    """Edits, latest first, as the result of `list_tasks`; a row beyond `limit` only says that there are more.

    `next_cursor` is null at the end.
    """
    tasks = [_row(task) for _, task in rows[:limit]]
    more = rows[limit - 1][1].id if len(rows) > limit else None
    lines = [f"{row['task_id']} {row['status']} {row['tier']}: {row['prompt']}" for row in tasks]
    return types.CallToolResult(
        content=[types.TextContent(text="\n".join(lines) or "No edits.")],
        structured_content={"tasks": tasks, "next_cursor": more},
    )


def estimate_result(quotes: list[Quote], provider: str, spendings: list[Spending]) -> types.CallToolResult:
    """Prices as the result of `estimate_cost`."""
    rows = [_quote(quote) for quote in quotes]
    told = "; ".join(
        f"{quote.tier}{' fast' if quote.fast_mode else ''} {usd(quote.total_usd)} USD" for quote in quotes
    )
    left = _left(spendings)
    rest = "".join(f" Left for the {period}: {amount} USD." for period, amount in left.items())
    note = f" {_SANDBOX_SENTENCE}" if provider == SANDBOX else ""
    return types.CallToolResult(
        content=[types.TextContent(text=f"List prices of {PRICES_AS_OF}: {told}.{rest}{note}")],
        structured_content={
            "estimates": rows,
            "prices_as_of": PRICES_AS_OF,
            "provider": provider,
            "budget_left_usd": left,
            "which_tier": "; ".join(f"{name}: {model.suits}" for name, model in TIERS.items()),
        },
    )


def _left(spendings: Sequence[Spending]) -> dict[str, str]:
    """What may still be spent in each period: the least that any of its limits leaves."""
    least: dict[str, Decimal] = {}
    for each in spendings:
        period = each.limit.period
        least[period] = min(each.left_usd, least.get(period, each.left_usd))
    return {period: usd(amount) for period, amount in least.items()}


def error_result(error: KontextError) -> types.CallToolResult:
    """An error as a result, for the assistant that has to act on it."""
    problem = error.problem
    text = f"{problem.message} {problem.hint}".strip()
    return types.CallToolResult(
        content=[types.TextContent(text=text)],
        structured_content={"error": _error(problem, problem.billed)},
        is_error=True,
    )


def _error(problem: Problem, billed: Billed) -> Structured:
    return {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "retryable": problem.retryable,
        "billed": str(billed),
    }


def _sentence(task: Task, placed: Sequence[Placed]) -> str:
    return _prefix(task) + _what_happened(task, placed)


def _prefix(task: Task) -> str:
    return f"{_SANDBOX_SENTENCE} " if task.provider == SANDBOX else ""


def _what_happened(task: Task, placed: Sequence[Placed]) -> str:
    if task.status is Status.SUCCEEDED:
        where = _where([place for _, place in placed])
        return f"Edited with Kontext {task.tier} for {usd(task.cost_usd)} USD: {where}"
    if task.error is not None:
        return f"{task.error.message} {task.error.hint}".strip()
    return f"The edit is {public_status(task)}. {_next_step(task, placed)}"


def _where(places: Sequence[Place]) -> str:
    """Where pictures are, in a few words."""
    first, *others = places
    if first.path is not None:
        return f"{len(places)} pictures in {first.path.parent}" if others else str(first.path)
    if others:
        return f"{len(places)} pictures, each with a link"
    return first.url or "there is no link to its picture now"


def _next_step(task: Task, placed: Sequence[Placed], lineage: Sequence[str] = ()) -> str:
    """What the assistant does now."""
    if task.status is Status.SUCCEEDED:
        undo = f" To undo, edit {lineage[0]} instead." if lineage else ""
        tell = _tell([place for _, place in placed])
        return f'{tell} To edit it further: images ["task:{task.handle}"].{undo}'
    if task.settled:
        return "See error.hint."
    return f"Call get_task with task_id {task.handle}; do not call edit_image again for it."


def _tell(places: Sequence[Place]) -> str:
    """What to tell the person of where the pictures are."""
    if any(place.path for place in places):
        return "Tell the person the path."
    until = next((place.expires_at for place in places if place.expires_at), None)
    if until is None:
        return "Tell the person that there is no link now."
    which = "links; they work" if len(places) > 1 else "link; it works"
    return f"Tell the person the {which} until {_iso(until)}, and get_task brings a fresh one."


def _row(task: Task) -> Structured:
    return {
        "task_id": task.handle,
        "status": public_status(task),
        "tier": task.tier,
        "prompt": _short(task.prompt),
        "cost_usd": usd(task.cost_usd),
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(task.created_at)),
        "path": str(task.pictures[0].path) if task.pictures and task.pictures[0].path else None,
    }


def _short(prompt: str) -> str:
    """An instruction as it fits into a row, on one line."""
    line = " ".join(prompt.split())
    return line if len(line) <= _ROW_CHARACTERS else f"{line[: _ROW_CHARACTERS - 1].rstrip()}…"


def _placed(task: Task, places: Places) -> list[Placed]:
    return list(zip(task.pictures, places[task.id], strict=True))


def _missing(placed: Sequence[Placed]) -> list[str]:
    """What there is to say of pictures that cannot be had."""
    told: list[str] = []
    for number, (_, place) in enumerate(placed, 1):
        if not place.there:
            told.append(f"{place.path or f'Picture {number}'} is no longer there.")
        elif place.path is None and place.url is None:
            told.append(f"There is no link to picture {number} at the moment: call get_task again later.")
    return told


def _addresses(places: Sequence[Place]) -> Structured:
    """Where the pictures of one edit of several are: paths, or links that expire together."""
    if not places or places[0].path is not None:
        return {"paths": [str(place.path) for place in places]}
    return {"urls": [place.url for place in places], "url_expires_at": _expiry(places[0])}


def _picture(picture: Picture, place: Place) -> Structured:
    where: Structured = {"path": str(place.path)}
    if place.path is None:
        where = {"url": place.url, "url_expires_at": _expiry(place)}
    return where | {
        "width": picture.width,
        "height": picture.height,
        "format": picture.format,
        "bytes": picture.bytes,
        "sha256": picture.sha256,
        "changed_percent": picture.changed_percent,
    }


def _expiry(place: Place) -> str | None:
    return None if place.expires_at is None else _iso(place.expires_at)


def _iso(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 has them, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _shown(placed: Sequence[Placed], preview: bytes | None) -> list[types.ContentBlock]:
    """One small preview of all pictures, and a link to each one that is there."""
    links: list[types.ContentBlock] = [
        types.ResourceLink(uri=uri, name=place.name, mime_type=f"image/{picture.format}", size=picture.bytes)
        for picture, place in placed
        if place.there and (uri := place.path.as_uri() if place.path else place.url)
    ]
    if preview is None:
        return links
    return [types.ImageContent(data=base64.b64encode(preview).decode(), mime_type="image/webp"), *links]


def _quote(quote: Quote) -> Structured:
    return {
        "tier": quote.tier,
        "fast_mode": quote.fast_mode,
        "image_usd": usd(quote.image_usd),
        "images_per_edit": quote.images,
        "edits": quote.edits,
        "total_usd": usd(quote.total_usd),
        "bfl_direct_usd": None if quote.bfl_total_usd is None else usd(quote.bfl_total_usd),
    }
