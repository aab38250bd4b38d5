"""The tools: what a model reads of them, what they take, and what carries them out.

The definitions are made from the spec. Everything heavy is behind `Workshop`, which is opened by the first
call that needs it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import mcp_types as types
from pydantic import MISSING

from kontext_edit.caller import Caller
from kontext_edit.errors import InvalidArguments
from kontext_edit.pricing import quote, quotes
from kontext_edit.request import (
    Arguments,
    EditOptions,
    EstimateCall,
    ListCall,
    TaskCall,
    parse_edit,
    parse_edits,
    parse_estimate,
    parse_list,
    parse_task,
)
from kontext_edit.results import batch_result, estimate_result, list_result, task_result
from kontext_edit.schema import JsonSchema, all_parameters, flat_parameter, properties
from kontext_edit.settings import Settings
from kontext_edit.task import BATCH, Status
from kontext_edit.tiers import TIERS

if TYPE_CHECKING:
    from kontext_edit.editor import Editor
    from kontext_edit.journal.book import Journal
    from kontext_edit.waiting import Outcome


class Workshop(Protocol):
    """What the tools work with."""

    def settings(self) -> Settings:
        """The person's settings; raises InvalidSettings."""
        ...

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    async def journal(self) -> "Journal":
        """The journal."""
        ...

    async def editor(self) -> "Editor":
        """The editor, opened by the first call."""
        ...


Handler = Callable[[Workshop, Arguments, Caller], Awaitable[types.CallToolResult]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its definition, and what carries it out."""

    definition: types.Tool
    handler: Handler


async def edit_image(workshop: Workshop, arguments: Arguments, caller: Caller) -> types.CallToolResult:
    """Edit pictures and wait for the result; with `prompts` one edit for each of them."""
    default_tier = workshop.settings().default_tier
    if arguments.get("prompts") is None:
        call = parse_edit(arguments, default_tier)
        editor = await workshop.editor()
        return await _told(editor, await editor.edit(call, caller))
    calls = parse_edits(arguments, default_tier)
    editor = await workshop.editor()
    return await _all_told(editor, *await editor.edit_all(calls, caller))


async def get_task(workshop: Workshop, arguments: Arguments, caller: Caller) -> types.CallToolResult:
    """Wait for an edit, or a batch of them, that was begun."""
    call = parse_task(arguments)
    editor, handle = await workshop.editor(), call.task_id.strip()
    if handle.startswith(BATCH):
        return await _all_told(editor, handle, await editor.follow_all(handle, call.wait_seconds, caller))
    return await _told(editor, await editor.follow(handle, call.wait_seconds, caller))


async def list_tasks(workshop: Workshop, arguments: Arguments, _caller: Caller) -> types.CallToolResult:
    """Tell which edits there are."""
    return await listed(parse_list(arguments), await workshop.journal())


async def listed(call: ListCall, journal: "Journal") -> types.CallToolResult:
    """The edits that a call asks for."""
    statuses = [] if call.status is MISSING else [Status(call.status)]
    if Status.QUEUED in statuses:
        statuses.append(Status.SUBMITTING)
    rows = await journal.latest(statuses=statuses, before=_number(call), limit=call.limit + 1)
    return list_result(rows, call.limit)


async def estimate_cost(workshop: Workshop, arguments: Arguments, _caller: Caller) -> types.CallToolResult:
    """Tell prices, and what is left of the budget."""
    call, settings = parse_estimate(arguments), workshop.settings()
    return await estimated(call, settings, await workshop.journal(), workshop.now())


async def estimated(
    call: EstimateCall, settings: Settings, journal: "Journal", now: float
) -> types.CallToolResult:
    """What the edits of a call would cost, and what is left of the budget at the time `now`."""
    shape = {"images": call.num_images, "edits": call.edits}
    fast_mode = None if call.fast_mode is MISSING else call.fast_mode
    if call.tier is MISSING:
        found = quotes(fast_mode=fast_mode, **shape)
    else:
        found = [quote(call.tier, fast_mode=bool(fast_mode), **shape)]
    spendings = await journal.spendings(settings.limits, now)
    return estimate_result(found, settings.provider, spendings)


async def task_told(editor: "Editor", outcome: "Outcome", preview: bytes | None) -> types.CallToolResult:
    """How far an edit is, with what it was made from."""
    return task_result(
        outcome.task,
        outcome.progress_percent,
        preview=preview,
        notes=outcome.notes,
        lineage=await editor.lineage(outcome.task),
    )


def batch_told(batch: str, outcomes: "Sequence[Outcome]", preview: bytes | None) -> types.CallToolResult:
    """How far the edits of a batch are; what there is to say of several is said once."""
    notes = tuple(dict.fromkeys(note for outcome in outcomes for note in outcome.notes))
    percent = sum(outcome.progress_percent for outcome in outcomes) / len(outcomes)
    return batch_result(batch, [outcome.task for outcome in outcomes], percent, preview=preview, notes=notes)


async def _told(editor: "Editor", outcome: "Outcome") -> types.CallToolResult:
    result = await task_told(editor, outcome, await editor.preview(outcome.task))
    editor.hand_over(outcome.task)
    return result


async def _all_told(editor: "Editor", batch: str, outcomes: "list[Outcome]") -> types.CallToolResult:
    tasks = [outcome.task for outcome in outcomes]
    result = batch_told(batch, outcomes, await editor.preview(*tasks))
    for task in tasks:
        editor.hand_over(task)
    return result


def _number(call: ListCall) -> int | None:
    if call.cursor is MISSING:
        return None
    if not (call.cursor.isdecimal() and len(call.cursor) <= _CURSOR_DIGITS):
        raise InvalidArguments(
            ["`cursor` must be the next_cursor of an earlier list_tasks, as it stands there."]
        )
    return int(call.cursor)


_CURSOR_DIGITS = 18
"""As many as every number that SQLite keeps may have."""

_SOURCES = (
    "Each: a path, file:// or http(s):// URL, data: URL, base64, task:<id> or task:<id>#2 (earlier result), "
    "last, clipboard, latest:screenshot, latest:download."
)
_WAIT = "Seconds to wait; then go on with get_task."

_EDIT_DESCRIPTION = (
    "Edit existing pictures by an instruction with FLUX.1 Kontext. Costs money for each image (see "
    "estimate_cost; free sandbox without a key). Gives a file path and a small preview. "
    "Tiers: "
    + "; ".join(f"{name} - {model.suits}" for name, model in TIERS.items())
    + ". Instruct plainly: change, replace or remove a named subject, quote text (from 'OPEN' to 'CLOSED'), "
    "say what must stay. Not done when wait_seconds end? Call get_task, never edit_image again."
)
_TASK_DESCRIPTION = (
    "Wait for an edit or a batch and get its result, also of earlier ones and after a restart. Waits by "
    "itself: do not call it in quick succession. Free."
)
_LIST_DESCRIPTION = "Earlier edits, latest first: to find a lost task_id or picture. Free."
_ESTIMATE_DESCRIPTION = "What edits would cost, for one tier or all side by side. Free."

_MONEY = {"type": "string"}
_STRING, _INTEGER = {"type": "string"}, {"type": "integer"}
_NULLABLE_NUMBER = {"type": ["number", "null"]}
_ERROR_SCHEMA: JsonSchema = {
    "type": "object",
    "properties": {
        "code": _STRING,
        "message": _STRING,
        "hint": _STRING,
        "retryable": {"type": "boolean"},
        "billed": _STRING,
    },
}
_TASK_SCHEMA: JsonSchema = {
    "type": "object",
    "properties": {
        "task_id": _STRING,
        "status": {"enum": [str(status) for status in Status if status is not Status.SUBMITTING]},
        "tier": _STRING,
        "cost_usd": _MONEY,
        "list_price_usd": _MONEY,
        "progress_percent": _INTEGER,
        "seed": {"type": ["integer", "null"]},
        "provider": _STRING,
        "images": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "path": _STRING,
                    "width": _INTEGER,
                    "height": _INTEGER,
                    "format": _STRING,
                    "bytes": _INTEGER,
                    "sha256": _STRING,
                    "changed_percent": _NULLABLE_NUMBER,
                },
            },
        },
        "edits": {"type": "array", "items": {"type": "object"}},
        "lineage": {"type": "array", "items": _STRING},
        "warnings": {"type": "array", "items": _STRING},
        "next_step": _STRING,
        "error": _ERROR_SCHEMA,
    },
}
_LIST_SCHEMA: JsonSchema = {
    "type": "object",
    "properties": {
        "tasks": {"type": "array", "items": {"type": "object"}},
        "next_cursor": {"type": ["string", "null"]},
    },
}
_ESTIMATE_SCHEMA: JsonSchema = {
    "type": "object",
    "properties": {
        "estimates": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "tier": _STRING,
                    "fast_mode": {"type": "boolean"},
                    "image_usd": _MONEY,
                    "images_per_edit": _INTEGER,
                    "edits": _INTEGER,
                    "total_usd": _MONEY,
                    "bfl_direct_usd": {"type": ["string", "null"]},
                },
            },
        },
        "prices_as_of": _STRING,
        "provider": _STRING,
        "budget_left_usd": {"type": "object"},
        "which_tier": _STRING,
    },
}


def _input(parameters: dict[str, JsonSchema], *required: str) -> JsonSchema:
    """A tool's input. Patterns are left to the validation: a model reads the sentence that says the same."""
    rules = {name: _without_pattern(rule) for name, rule in parameters.items()}
    schema: JsonSchema = {"type": "object", "properties": rules, "additionalProperties": False}
    return schema | {"required": list(required)} if required else schema


def _without_pattern(rule: JsonSchema) -> JsonSchema:
    plain = {key: value for key, value in rule.items() if key != "pattern"}
    return plain | {"items": _without_pattern(plain["items"])} if "items" in plain else plain


def make_tools(default_tier: str) -> dict[str, Tool]:
    """The tools by name, as this server offers them."""
    flat = {name: flat_parameter(name) for name in all_parameters()}
    flat["images"]["description"] = _SOURCES
    options, task, listing, estimate = map(properties, (EditOptions, TaskCall, ListCall, EstimateCall))
    options["tier"]["default"] = default_tier
    options["wait_seconds"]["description"] = _WAIT
    made = (
        Tool(
            types.Tool(
                name="edit_image",
                title="Edit a picture",
                description=_EDIT_DESCRIPTION,
                input_schema=_input(flat | options, "images"),
                output_schema=_TASK_SCHEMA,
                annotations=types.ToolAnnotations(
                    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
                ),
            ),
            edit_image,
        ),
        Tool(
            types.Tool(
                name="get_task",
                title="Get an edit's result",
                description=_TASK_DESCRIPTION,
                input_schema=_input(task, "task_id"),
                output_schema=_TASK_SCHEMA,
                # Not read-only: a picture that has become ready is fetched and written to disk.
                annotations=types.ToolAnnotations(
                    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True
                ),
            ),
            get_task,
        ),
        Tool(
            types.Tool(
                name="list_tasks",
                title="List edits",
                description=_LIST_DESCRIPTION,
                input_schema=_input(listing),
                output_schema=_LIST_SCHEMA,
                annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
            ),
            list_tasks,
        ),
        Tool(
            types.Tool(
                name="estimate_cost",
                title="Estimate the cost of edits",
                description=_ESTIMATE_DESCRIPTION,
                input_schema=_input(estimate),
                output_schema=_ESTIMATE_SCHEMA,
                annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
            ),
            estimate_cost,
        ),
    )
    return {tool.definition.name: tool for tool in made}
