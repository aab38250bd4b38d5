"""What a client may offer while a person types: ids of edits, numbers of pictures, arguments of prompts."""

from collections.abc import Iterable
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from kontext_edit import addresses
from kontext_edit.errors import KontextError, NoSuchTask
from kontext_edit.mcp_caller import owner_of
from kontext_edit.prompts import recipe_named
from kontext_edit.task import Task
from kontext_edit.tools import Workshop

Context = ServerRequestContext[None, Any]

_LOOKED_THROUGH = 500
_OFFERED = 100
"""The protocol's most."""


def add_to(server: Server[None], workshop: Workshop) -> None:
    """Let clients complete the ids in addresses and the arguments of prompts."""

    async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        name, typed = params.argument.name, params.argument.value
        before = (params.context and params.context.arguments) or {}
        offers = Offers(workshop, owner_of(ctx))
        try:
            if isinstance(params.ref, types.PromptReference):
                values = await offers.for_prompt(params.ref.name, name)
            else:
                values = await offers.for_address(params.ref.uri, name, before)
        except KontextError as error:
            raise MCPError(types.INTERNAL_ERROR, f"{error.message} {error.hint}".strip()) from error
        return types.CompleteResult(completion=_completion(values, typed))

    server.add_request_handler("completion/complete", types.CompleteRequestParams, complete)


class Offers:
    """Where the values come from, for one owner."""

    def __init__(self, workshop: Workshop, owner: str) -> None:
        self._workshop = workshop
        self._owner = owner

    async def for_prompt(self, prompt: str, name: str) -> list[str]:
        """Values for an argument of a prompt; for a picture also the earlier results."""
        arguments = {argument.name: argument for argument in recipe_named(prompt).arguments}
        if name not in arguments:
            raise _no_argument(name, arguments)
        if not arguments[name].picture:
            return list(arguments[name].choices or arguments[name].suggestions)
        always = ["last"] if self._workshop.remote else ["last", "clipboard"]
        return [*always, *(source for task in await self._tasks() for source in _sources(task))]

    async def for_address(self, template: str, name: str, before: dict[str, str]) -> list[str]:
        """Values for a part of an address; `before` are the parts that are filled in."""
        if template == addresses.TASK.template and name == "id":
            return [task.handle for task in await self._tasks()]
        if template == addresses.PICTURE.template and name == "id":
            return [task.handle for task in await self._tasks() if task.pictures]
        if template == addresses.PICTURE.template and name == "n":
            return await self._numbers(before.get("id", ""))
        parts = {addresses.TASK.template: ("id",), addresses.PICTURE.template: ("id", "n")}
        if template in parts:
            raise _no_argument(name, parts[template])
        raise MCPError(
            types.INVALID_PARAMS,
            f"There is no template {template[:80]!r}; there are {' and '.join(parts)}.",
        )

    async def _tasks(self) -> list[Task]:
        journal = await self._workshop.journal()
        return [task for _, task in await journal.latest(self._owner, limit=_LOOKED_THROUGH)]

    async def _numbers(self, handle: str) -> list[str]:
        journal = await self._workshop.journal()
        try:
            task = await journal.get(handle, self._owner)
        except NoSuchTask:
            return []
        return [str(number) for number in range(1, len(task.pictures) + 1)]


def _sources(task: Task) -> list[str]:
    """The pictures of a task as sources; the first needs no number."""
    others = [f"task:{task.handle}#{number}" for number in range(2, len(task.pictures) + 1)]
    return [f"task:{task.handle}", *others] if task.pictures else []


def _completion(values: Iterable[str], typed: str) -> types.Completion:
    fitting = [value for value in values if value.casefold().startswith(typed.casefold())]
    return types.Completion(values=fitting[:_OFFERED], total=len(fitting), has_more=len(fitting) > _OFFERED)


def _no_argument(name: str, known: Iterable[str]) -> MCPError:
    return MCPError(
        types.INVALID_PARAMS, f"There is no argument {name[:40]!r} here; there are {', '.join(known)}."
    )
