"""News of the edits, for the clients that want to hear it, in both eras of the protocol.

A handshake client is told on its connection: that the list changed, and of the addresses it subscribed to.
A 2026-07-28 client opens a stream with `subscriptions/listen`, which the SDK's handler serves. Both hang on
one bus. Each piece of news says only that something should be read again.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent

from kontext_edit.addresses import TASKS, task_uri
from kontext_edit.errors import KontextError
from kontext_edit.mcp_caller import owner_of
from kontext_edit.task import Status, Task
from kontext_edit.tools import Workshop

Context = ServerRequestContext[None, Any]


def add_to(server: Server[None], workshop: Workshop) -> "Bulletins":
    """Let clients follow what happens."""
    bulletins = Bulletins(workshop)

    async def listen(
        ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        with suppress(KontextError):  # where the parts cannot be opened, nothing happens to tell of
            await bulletins.follow()
        return await bulletins.of(owner_of(ctx)).listen(ctx, params)

    async def subscribe(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        try:
            await bulletins.follow()
        except KontextError as error:
            raise MCPError(types.INTERNAL_ERROR, f"{error.message} {error.hint}".strip()) from error
        return await bulletins.of(owner_of(ctx)).subscribe(ctx, params)

    async def unsubscribe(ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        return await bulletins.of(owner_of(ctx)).unsubscribe(ctx, params)

    async def keep_told(ctx: Context, params: types.NotificationParams) -> None:
        await bulletins.of(owner_of(ctx)).keep_told(ctx, params)

    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, subscribe)
    server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, unsubscribe)
    server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, listen)
    server.add_notification_handler("notifications/initialized", types.NotificationParams, keep_told)
    return bulletins


class Bulletins:
    """One bulletin for each owner who wants to hear: nobody is told of another's edits."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._of: dict[str, Bulletin] = {}

    async def follow(self) -> None:
        """Hear of every move; it begins with a client's first interest, so that a start opens no journal."""
        journal = await self._workshop.journal()
        if self.moved not in journal.on_move:
            journal.on_move.append(self.moved)

    def of(self, owner: str) -> "Bulletin":
        """What the clients of this owner are told."""
        return self._of.setdefault(owner, Bulletin())

    def moved(self, task: Task) -> None:
        """An edit was begun, or is somewhere else than before."""
        if task.owner in self._of:
            self._of[task.owner].moved(task)


class Bulletin:
    """Carries what an edit's move changes to every client of its owner."""

    def __init__(self) -> None:
        self._bus = InMemorySubscriptionBus()
        self._wanted: dict[int, set[str]] = {}
        self._posting: set[asyncio.Task[None]] = set()
        self.listen = ListenHandler(self._bus)
        """Serves `subscriptions/listen`."""

    def moved(self, task: Task) -> None:
        """An edit was begun, or is somewhere else than before."""
        posting = asyncio.create_task(self._post(_news(task)))
        self._posting.add(posting)
        posting.add_done_callback(self._posting.discard)

    async def keep_told(self, ctx: Context, _params: types.NotificationParams) -> None:
        """Serve `notifications/initialized`: it lasts as long as its connection, which gets the news."""
        client = _client(ctx)
        if client in self._wanted:
            return
        wanted = self._wanted[client] = set[str]()
        waiting: asyncio.Queue[ServerEvent] = asyncio.Queue()

        def put(event: ServerEvent) -> None:
            if isinstance(event, ResourcesListChanged) or (
                isinstance(event, ResourceUpdated) and event.uri in wanted
            ):
                waiting.put_nowait(event)

        unsubscribe = self._bus.subscribe(put)
        try:
            while True:
                event = await waiting.get()
                if isinstance(event, ResourceUpdated):
                    await ctx.session.send_resource_updated(event.uri)
                else:
                    await ctx.session.send_resource_list_changed()
        finally:
            unsubscribe()
            del self._wanted[client]

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Serve `resources/subscribe` of the handshake era."""
        self._wanted_by(ctx).add(params.uri)
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Serve `resources/unsubscribe` of the handshake era."""
        self._wanted_by(ctx).discard(params.uri)
        return types.EmptyResult()

    def _wanted_by(self, ctx: Context) -> set[str]:
        wanted = self._wanted.get(_client(ctx))
        if wanted is None:
            raise MCPError(
                types.INVALID_REQUEST,
                "Send notifications/initialized first: updates go to initialized connections.",
            )
        return wanted

    async def _post(self, news: Iterable[ServerEvent]) -> None:
        for event in news:
            await self._bus.publish(event)


def _client(ctx: Context) -> int:
    """Tells connections apart: the parameters of its handshake live exactly as long as a connection."""
    return id(ctx.session.client_params)


def _news(task: Task) -> list[ServerEvent]:
    """What a move of this edit changed; a subscriber may know it by upstream's id, ours, or its batch's."""
    handles = dict.fromkeys(handle for handle in (task.handle, task.id, task.batch) if handle)
    uris = [*map(task_uri, handles), TASKS]
    updated: list[ServerEvent] = [ResourceUpdated(uri) for uri in uris]
    return updated if task.status is Status.PROCESSING else [*updated, ResourcesListChanged()]
