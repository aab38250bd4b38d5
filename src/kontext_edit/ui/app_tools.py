"""The tools that only the page calls: a host lists them to no model, and this server to no other client."""

import asyncio
import base64
import hashlib
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import mcp_types as types
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kontext_edit.caller import Caller
from kontext_edit.errors import InvalidArguments
from kontext_edit.request import Arguments, parse_task
from kontext_edit.results import public_status
from kontext_edit.task import SETTLED, Source, Status
from kontext_edit.tiers import TIERS
from kontext_edit.tools import Tool, Workshop, edit_image
from kontext_edit.ui.page import app_only_meta

if TYPE_CHECKING:
    from types import ModuleType

_UNDER_WAY = [status for status in Status if status not in SETTLED]
_MOST_TOLD = 20
_DEAREST = "max"
_LINKS = ("http://", "https://")
_ELSEWHERE = ("data:", "base64", "clipboard")
"""Origins that name no picture which can be had again."""


class _UploadCall(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(max_length=400)] = "picture"
    data: Annotated[str, Field(min_length=1)]


async def upload_picture(workshop: Workshop, arguments: Arguments, caller: Caller) -> types.CallToolResult:
    """Keep a picture that was dropped, pasted or picked in the page."""
    try:
        call = _UploadCall.model_validate(arguments)
    except ValidationError:
        raise InvalidArguments(["`data` must be a picture file as base64, and `name` its name."]) from None
    inbox, pictures = await workshop.inbox(), await _pictures(workshop)
    content: bytes = await asyncio.to_thread(pictures.content_of, call.data)
    kept = await inbox.keep(caller.owner, call.name, content)
    return types.CallToolResult(content=[types.TextContent(text=kept.source)], structured_content=kept.told)


async def begin_edit(workshop: Workshop, arguments: Arguments, caller: Caller) -> types.CallToolResult:
    """Begin an edit as `edit_image` does, without waiting for it.

    A tool of its own, since a host may declare the tasks extension for its assistant: then `edit_image` is
    answered with a task, which hosts do not pass on to a page.
    """
    return await edit_image(workshop, {**arguments, "wait_seconds": 0}, caller)


async def edit_details(workshop: Workshop, arguments: Arguments, caller: Caller) -> types.CallToolResult:
    """What an edit was made from, and how to ask for it again; the picture before, where it is at hand."""
    call = parse_task(arguments)
    editor, journal = await workshop.editor(), await workshop.journal()
    task = await journal.get(call.task_id.strip(), caller.owner)
    pictures = await _pictures(workshop)
    content: list[types.ContentBlock] = []
    if original := await editor.original(task):
        found: tuple[bytes, str] | None = await asyncio.to_thread(pictures.small_enough, original)
        if found:
            content.append(types.ImageContent(data=base64.b64encode(found[0]).decode(), mime_type=found[1]))
    return types.CallToolResult(
        content=content,
        structured_content={
            "task_id": task.handle,
            "prompt": task.prompt,
            "tier": task.tier,
            "sources": [source.origin for source in task.sources],
            "images": _again(task.sources),
            "another_take": {"tier": task.tier, **_without(task.parameters, "seed")},
            "on_max": {"tier": _DEAREST, **_known_to(_DEAREST, task.parameters)},
        },
    )


async def running_edits(workshop: Workshop, arguments: Arguments, caller: Caller) -> types.CallToolResult:
    """The edits under way, latest first, and how far each may be."""
    del arguments
    editor, journal = await workshop.editor(), await workshop.journal()
    rows = await journal.latest(caller.owner, statuses=_UNDER_WAY, limit=_MOST_TOLD)
    told: list[dict[str, Any]] = []
    for _, task in rows:
        outcome = await editor.follow(task.id, 0, caller)
        told.append(
            {
                "task_id": outcome.task.handle,
                "prompt": outcome.task.prompt,
                "tier": outcome.task.tier,
                "status": public_status(outcome.task),
                "progress_percent": 100 if outcome.task.settled else int(outcome.progress_percent),
            }
        )
    return types.CallToolResult(content=[], structured_content={"edits": told})


async def _pictures(workshop: Workshop) -> "ModuleType":
    """The part that needs the codecs, imported beside the event loop, after those of the workshop."""
    await workshop.journal()
    return await asyncio.to_thread(import_module, "kontext_edit.ui.pictures")


def _again(sources: tuple[Source, ...]) -> list[str] | None:
    """The sources as `edit_image` takes them; None where one of them cannot be had again."""
    if all(_can_be_had_again(source) for source in sources):
        return [source.origin for source in sources]
    return None


def _can_be_had_again(source: Source) -> bool:
    """A link is written down without its query, which may hold a key: then it is another link."""
    if source.origin.startswith(_LINKS):
        return hashlib.sha256(source.origin.encode()).hexdigest() == source.sha256
    return not source.origin.startswith(_ELSEWHERE)


def _without(parameters: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key != name}


def _known_to(tier: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters that another tier takes as well."""
    return {name: value for name, value in parameters.items() if name in TIERS[tier].model_fields}


def _tool(name: str, *, read_only: bool = False) -> types.Tool:
    """A definition with what a host needs and nothing for a model to read: every byte of the list counts."""
    return types.Tool(
        name=name,
        input_schema={"type": "object"},
        annotations=types.ToolAnnotations(read_only_hint=True) if read_only else None,
        _meta=app_only_meta(),
    )


APP_TOOLS: dict[str, Tool] = {
    tool.definition.name: tool
    for tool in (
        Tool(_tool("begin_edit"), begin_edit, begins_edits=True),
        Tool(_tool("upload_picture"), upload_picture, begins_edits=True),
        Tool(_tool("edit_details", read_only=True), edit_details),
        Tool(_tool("running_edits", read_only=True), running_edits),
    )
}
"""The page's tools by name."""
