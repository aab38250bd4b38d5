"""The tools: what a model reads of them, what they take, and what carries them out.

The definitions are made from the spec. Everything heavy is behind `Workshop`, which is opened by the first
call that needs it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import mcp_types as types
from pydantic import MISSING

from kontext_edit.budget import Spending
from kontext_edit.caller import Caller
from kontext_edit.errors import InvalidArguments, NoSuchTask
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
from kontext_edit.task import BATCH, HERE, Status
from kontext_edit.tiers import TIERS

if TYPE_CHECKING:
    from kontext_edit.editor import Editor
    from kontext_edit.gallery import Gallery
    from kontext_edit.journal.book import Journal
    from kontext_edit.store.inbox import Inbox
    from kontext_edit.waiting import Outcome


class Workshop(Protocol):
    """What the tools work with."""

    @property
    def remote(self) -> bool:
        """Whether callers are elsewhere: then no file of this machine is read for them or told to them."""
        ...

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

    async def gallery(self) -> "Gallery":
        """The finished pictures."""
        ...

    async def inbox(self) -> "Inbox":
        """Where pictures go that come as bytes."""
        ...


Handler = Callable[[Workshop, Arguments, Caller], Awaitable[types.CallToolResult]]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its definition, and what carries it out."""

    definition: types.Tool
    handler: Handler
    begins_edits: bool = False
    """Whether it needs the right to edit: it spends money, or takes pictures in."""


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


async def list_tasks(workshop: Workshop, arguments: Arguments, caller: Caller) -> types.CallToolResult:
    """Tell which edits there are."""
    return await listed(parse_list(arguments), await workshop.journal(), caller.owner)


async def listed(call: ListCall, journal: "Journal", owner: str) -> types.CallToolResult:
    """The edits of an owner that a call asks for."""
    statuses = [] if call.status is MISSING else [Status(call.status)]
    if Status.QUEUED in statuses:
        statuses.extend(HERE)
    before = await _number(call, journal, owner)
    rows = await journal.latest(owner, statuses=statuses, before=before, limit=call.limit + 1)
    return list_result(rows, call.limit)


async def estimate_cost(workshop: Workshop, arguments: Arguments, caller: Caller) -> types.CallToolResult:
    """Tell prices, and what is left of the budget."""
    call, settings = parse_estimate(arguments), workshop.settings()
    spendings = await (await workshop.journal()).spendings(settings.limits, caller.owner, workshop.now())
    return estimated(call, settings.provider, spendings)


def estimated(call: EstimateCall, provider: str, spendings: list[Spending]) -> types.CallToolResult:
    """What the edits of a call would cost, and what is left of the budget."""
    shape = {"images": call.num_images, "edits": call.edits}
    fast_mode = None if call.fast_mode is MISSING else call.fast_mode
    if call.tier is MISSING:
        found = quotes(fast_mode=fast_mode, **shape)
    else:
        found = [quote(call.tier, fast_mode=bool(fast_mode), **shape)]
    return estimate_result(found, provider, spendings)


async def task_told(editor: "Editor", outcome: "Outcome", preview: bytes | None) -> types.CallToolResult:
    """How far an edit is, with what it was made from."""
    return task_result(
        outcome.task,
        outcome.progress_percent,
        places=await editor.places(outcome.task),
        preview=preview,
        notes=outcome.notes,
        lineage=await editor.lineage(outcome.task),
    )


async def batch_told(
    editor: "Editor", batch: str, outcomes: "Sequence[Outcome]", preview: bytes | None
) -> types.CallToolResult:
    """How far the edits of a batch are; what there is to say of several is said once."""
    tasks = [outcome.task for outcome in outcomes]
    places = await editor.places(*tasks)
    notes = tuple(dict.fromkeys(note for outcome in outcomes for note in outcome.notes))
    percent = sum(outcome.progress_percent for outcome in outcomes) / len(outcomes)
    return batch_result(batch, tasks, percent, places=places, preview=preview, notes=notes)


async def _told(editor: "Editor", outcome: "Outcome") -> types.CallToolResult:
    result = await task_told(editor, outcome, await editor.preview(outcome.task))
    editor.hand_over(outcome.task)
    return result


async def _all_told(editor: "Editor", batch: str, outcomes: "list[Outcome]") -> types.CallToolResult:
    tasks = [outcome.task for outcome in outcomes]
    result = await batch_told(editor, batch, outcomes, await editor.preview(*tasks))
    for task in tasks:
        editor.hand_over(task)
    return result


async def _number(call: ListCall, journal: "Journal", owner: str) -> int | None:
    """Below which number the list goes on. The cursor is an edit's id, since numbers would count others'."""
    if call.cursor is MISSING:
        return None
    try:
        return await journal.number_of(call.cursor, owner)
    except NoSuchTask:
        raise InvalidArguments(
            ["`cursor` must be the next_cursor of an earlier list_tasks, as it stands there."]
        ) from None


_SOURCES = (
    "Each: a path, file:// or http(s):// URL, data: URL, base64, task:<id> or task:<id>#2 (earlier result), "
    "last, clipboard, latest:screenshot, latest:download."
)
_REMOTE_SOURCES = (
    "Each: an http(s):// URL, data: URL, base64, upload:<id> (answered by POST /uploads), task:<id> or "
    "task:<id>#2 (earlier result), last."
)
_WAIT = "Seconds to wait; then go on with get_task."

_EDIT_DESCRIPTION = (
    "Edit existing pictures by an instruction with FLUX.1 Kontext. Costs money for each image (see "
    "estimate_cost; free sandbox without a key). Gives a {what} and a small preview. "
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
_NULLABLE_STRING = {"type": ["string", "null"]}
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
        "status": {"enum": [str(status) for status in Status if status not in HERE]},
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


def _task_schema(*, remote: bool) -> JsonSchema:
    """An edit's result; for callers from elsewhere a picture is a link and not a file."""
    if not remote:
        return _TASK_SCHEMA
    images = _TASK_SCHEMA["properties"]["images"]
    picture = {"url": _NULLABLE_STRING, "url_expires_at": _NULLABLE_STRING, **images["items"]["properties"]}
    del picture["path"]
    told = {"images": {"type": "array", "items": {"type": "object", "properties": picture}}}
    return _TASK_SCHEMA | {"properties": _TASK_SCHEMA["properties"] | told}


def make_tools(default_tier: str, *, remote: bool = False) -> dict[str, Tool]:
    """The tools by name, as this server offers them.

    Args:
        default_tier: for calls that name none.
        remote: whether callers are elsewhere, so that pictures are links for them and never files.
    """
    flat = {name: flat_parameter(name) for name in all_parameters()}
    flat["images"]["description"] = _REMOTE_SOURCES if remote else _SOURCES
    task_schema = _task_schema(remote=remote)
    options, task, listing, estimate = map(properties, (EditOptions, TaskCall, ListCall, EstimateCall))
    options["tier"]["default"] = default_tier
    options["wait_seconds"]["description"] = _WAIT
    made = (
        Tool(
            types.Tool(
                name="edit_image",
                title="Edit a picture",
                description=_EDIT_DESCRIPTION.format(what="link" if remote else "file path"),
                input_schema=_input(flat | options, "images"),
                output_schema=task_schema,
                annotations=types.ToolAnnotations(
                    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
                ),
            ),
            edit_image,
            begins_edits=True,
        ),
        Tool(
            types.Tool(
                name="get_task",
                title="Get an edit's result",
                description=_TASK_DESCRIPTION,
                input_schema=_input(task, "task_id"),
                output_schema=task_schema,
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
