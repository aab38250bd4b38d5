"""The resources: the edits and their pictures, and what the tiers take and cost, to be read by address."""

import base64
import json
import textwrap
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kontext_edit import addresses, bulletin
from kontext_edit.addresses import picture_uri, task_uri
from kontext_edit.caller import Consent
from kontext_edit.errors import KontextError, NoSuchResource, NoSuchTask, PictureRefused
from kontext_edit.mcp_caller import owner_of
from kontext_edit.pricing import price_rows
from kontext_edit.results import Structured, list_result
from kontext_edit.schema import markdown_table, parameter_rows
from kontext_edit.task import BATCH, Picture, Task
from kontext_edit.tiers import PRICES_AS_OF, TIERS
from kontext_edit.tools import Workshop, batch_told, task_told

if TYPE_CHECKING:
    from kontext_edit.gallery import Gallery

Context = ServerRequestContext[None, Any]
Contents = types.TextResourceContents | types.BlobResourceContents

NO_SUCH_RESOURCE = -32002
"""How the handshake versions say it; 2026-07-28 says "invalid params"."""

_JSON, _MARKDOWN = "application/json", "text/markdown"
_TASKS_TOLD = 50
_TASKS_LISTED = 10
_TITLE_CHARACTERS = 60

_ALWAYS_THERE = (
    types.Resource(
        uri=addresses.TASKS,
        name="tasks",
        title="Latest edits",
        description=f"The latest {_TASKS_TOLD} edits, latest first, as list_tasks tells them.",
        mime_type=_JSON,
    ),
    types.Resource(
        uri=addresses.TIERS,
        name="tiers",
        title="Tiers and prices",
        description="What FLUX.1 Kontext Dev, Pro and Max take, what they cost, and what each suits.",
        mime_type=_MARKDOWN,
    ),
)
_TEMPLATES = (
    types.ResourceTemplate(
        uri_template=addresses.TASK.template,
        name="task",
        title="An edit",
        description="One edit by its task_id, as get_task tells it, without waiting.",
        mime_type=_JSON,
    ),
    types.ResourceTemplate(
        uri_template=addresses.PICTURE.template,
        name="picture",
        title="A finished picture",
        description="A picture in full: the task_id of its edit, and its number from 1.",
    ),
)


def add_to(server: Server[None], workshop: Workshop) -> None:
    """Let clients list, read and follow the resources."""
    bulletins = bulletin.add_to(server, workshop)

    async def list_resources(
        ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        with _as_protocol_errors():
            await bulletins.follow()
            newest = await Shelf(workshop, owner_of(ctx)).newest()
            return types.ListResourcesResult(resources=[*_ALWAYS_THERE, *newest])

    async def list_templates(
        _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=list(_TEMPLATES))

    async def read(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        try:
            with _as_protocol_errors():
                return types.ReadResourceResult(
                    contents=[await Shelf(workshop, owner_of(ctx)).read(params.uri)]
                )
        except NoSuchTask as error:
            modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
            code = types.INVALID_PARAMS if modern else NO_SUCH_RESOURCE
            raise MCPError(code, _told(error), data={"uri": params.uri}) from error

    server.add_request_handler("resources/list", types.PaginatedRequestParams, list_resources)
    server.add_request_handler("resources/templates/list", types.PaginatedRequestParams, list_templates)
    server.add_request_handler("resources/read", types.ReadResourceRequestParams, read)


class Shelf:
    """What stands at the addresses, for one owner."""

    def __init__(self, workshop: Workshop, owner: str) -> None:
        self._workshop = workshop
        self._owner = owner

    async def newest(self) -> list[types.Resource]:
        """The latest edits: one under way as a task, a finished one as its pictures that are still there."""
        journal = await self._workshop.journal()
        rows = await journal.latest(self._owner, limit=_TASKS_LISTED)
        gallery = await self._workshop.gallery()
        return [resource for _, task in rows for resource in _listed(task, gallery)]

    async def read(self, uri: str) -> Contents:
        """What stands at an address.

        Raises:
            NoSuchTask: nothing does.
        """
        if uri == addresses.TIERS:
            return types.TextResourceContents(uri=uri, mime_type=_MARKDOWN, text=tiers_document())
        if uri == addresses.TASKS:
            rows = await (await self._workshop.journal()).latest(self._owner, limit=_TASKS_TOLD)
            return _json(uri, list_result(rows, _TASKS_TOLD).structured_content)
        if found := addresses.TASK.match(uri):
            return _json(uri, await self._task(str(found["id"])))
        if found := addresses.PICTURE.match(uri):
            return await self._picture(uri, str(found["id"]), str(found["n"]))
        raise NoSuchResource(
            f"There is no resource {uri[:80]!r}.",
            f"There are {addresses.TASKS}, {addresses.TIERS}, {addresses.TASK.template} and "
            f"{addresses.PICTURE.template}.",
        )

    async def _task(self, handle: str) -> Structured | None:
        """An edit or a batch as `get_task` tells it; looking at it here does not hand its result over."""
        editor = await self._workshop.editor()
        if handle.startswith(BATCH):
            outcomes = await editor.follow_all(handle, 0, _Reader(self._owner))
            return (await batch_told(editor, handle, outcomes, preview=None)).structured_content
        outcome = await editor.follow(handle, 0, _Reader(self._owner))
        return (await task_told(editor, outcome, preview=None)).structured_content

    async def _picture(self, uri: str, handle: str, number: str) -> Contents:
        task = await (await self._workshop.journal()).get(handle, self._owner)
        pictures = {str(place): picture for place, picture in enumerate(task.pictures, 1)}
        if number not in pictures:
            raise NoSuchResource(
                f"The task {task.handle} has {len(pictures)} pictures, so there is no {number[:20]!r}.",
                "" if task.settled else "Call get_task to see how far it is.",
            )
        picture = pictures[number]
        name = str(picture.path or f"Picture {number} of {task.handle}")
        try:
            content = await (await self._workshop.gallery()).content(picture)
        except PictureRefused as error:
            raise MCPError(types.INTERNAL_ERROR, f"{name} cannot be read: {error.message}.") from error
        if content is None:
            raise NoSuchResource(
                f"{name} is no longer there.", "Ask the person whether it was moved or deleted."
            )
        return types.BlobResourceContents(
            uri=uri, mime_type=_mime_type(picture), blob=base64.b64encode(content).decode()
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Whoever reads a resource: waits for nothing, and is asked nothing."""

    owner: str

    async def progress(self, percent: float, sentence: str) -> None:
        """Reading takes no time that one could tell of."""

    async def consent(self, question: str, subject: str) -> Consent:
        """Reading buys nothing."""
        _ = question, subject
        return Consent.IMPOSSIBLE


def tiers_document() -> str:
    """Prices and parameters of all tiers, in Markdown, read from the spec."""
    return "\n\n".join(
        [
            "# FLUX.1 Kontext: tiers",
            f"US dollars an image at Novita, prices of {PRICES_AS_OF}; beside them Black Forest Labs' own.",
            markdown_table(["tier", "Novita", "BFL direct", "suits"], price_rows()),
            "What each tier takes. A parameter that is left out is not sent: the API's default holds.",
            markdown_table(["parameter", *TIERS, "what it is"], parameter_rows()),
        ]
    )


def _listed(task: Task, gallery: "Gallery") -> Iterator[types.Resource]:
    title = textwrap.shorten(task.prompt, _TITLE_CHARACTERS, placeholder="…")
    if not task.settled:
        yield types.Resource(
            uri=task_uri(task.handle),
            name=task.handle,
            title=title,
            description=f"An edit under way on {task.tier}.",
            mime_type=_JSON,
        )
    for number, picture in enumerate(task.pictures, 1):
        place = gallery.glance(picture)
        if place.there:
            where = f"; the file is {place.path}" if place.path else ""
            yield types.Resource(
                uri=picture_uri(task.handle, number),
                name=place.name,
                title=title,
                description=f"Edited with Kontext {task.tier}{where}.",
                mime_type=_mime_type(picture),
                size=picture.bytes,
                annotations=types.Annotations(audience=["user"]),
            )


def _mime_type(picture: Picture) -> str:
    return f"image/{picture.format}"


def _json(uri: str, told: object) -> Contents:
    return types.TextResourceContents(uri=uri, mime_type=_JSON, text=json.dumps(told, ensure_ascii=False))


@contextmanager
def _as_protocol_errors() -> Generator[None]:
    """What is wrong with this machine reaches the client in words; what does not exist is the caller's."""
    try:
        yield
    except NoSuchTask:
        raise
    except KontextError as error:
        raise MCPError(types.INTERNAL_ERROR, _told(error)) from error


def _told(error: KontextError) -> str:
    return f"{error.message} {error.hint}".strip()
