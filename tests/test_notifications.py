"""What clients are told while edits move, in the way of each era of the protocol."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.subscriptions import Subscription
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.shared.memory import MessageStream, create_client_server_memory_streams
from mcp.shared.message import SessionMessage
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCRequest, JSONRPCResponse
from tests.at_home import at_home, begun, edited, server_at_home, steps, until
from tests.clock import FakeClock
from tests.house import Api, Person, opened, photo, wanted

from kontext_edit.task import LOCAL, Status, Task


@dataclass
class Heard:
    """What a handshake client was told beside its answers."""

    updated: list[str] = field(default_factory=list[str])
    lists: int = 0

    async def __call__(self, message: object) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.updated.append(message.params.uri)
        if isinstance(message, types.ResourceListChangedNotification):
            self.lists += 1


async def subscribe(client: Client, *uris: str) -> None:
    for uri in uris:
        with pytest.warns(MCPDeprecationWarning, match="removed as of 2026-07-28"):
            await client.subscribe_resource(uri)  # pyright: ignore[reportDeprecated] - the handshake era's way


async def unsubscribe(client: Client, uri: str) -> None:
    with pytest.warns(MCPDeprecationWarning, match="removed as of 2026-07-28"):
        await client.unsubscribe_resource(uri)  # pyright: ignore[reportDeprecated] - the handshake era's way


async def test_a_handshake_client_hears_that_the_list_changed_when_an_edit_begins_and_ends(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api, heard = Api(clock, seconds=20), Heard()
    async with at_home(environ, api, clock, "legacy", hears=heard) as client:
        await client.list_resources()
        await begun(client, environ, wait_seconds=5)
        await until(lambda: heard.lists > 0)
        at_its_beginning = heard.lists
        await clock.sleep(60)
        await until(lambda: heard.lists > at_its_beginning)
    assert heard.updated == []


async def test_a_handshake_client_hears_of_the_edit_it_subscribed_to_until_it_unsubscribes(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api, heard = Api(clock, seconds=20), Heard()
    async with at_home(environ, api, clock, "legacy", hears=heard) as client:
        edit = await begun(client, environ, wait_seconds=1)
        await subscribe(client, f"kontext://tasks/{edit['task_id']}", "kontext://tasks")
        await clock.sleep(60)
        await until(lambda: f"kontext://tasks/{edit['task_id']}" in heard.updated)
        assert set(heard.updated) == {f"kontext://tasks/{edit['task_id']}", "kontext://tasks"}
        await unsubscribe(client, "kontext://tasks")
        told = Counter(heard.updated)
        await edited(client, environ, prompt="Make it green")
        await steps(200)
    assert Counter(heard.updated) == told


async def test_each_handshake_client_hears_only_of_what_it_subscribed_to(
    environ: dict[str, str], clock: FakeClock
) -> None:
    heard = Heard()
    async with at_home(environ, Api(clock), clock, "legacy", hears=heard) as client:
        await subscribe(client, "kontext://tasks/t-2")
        await edited(client, environ)
        await steps(200)
        assert heard.updated == []
        await edited(client, environ, prompt="Make it green")
        await until(lambda: "kontext://tasks/t-2" in heard.updated)


@dataclass
class Wire:
    """A handshake client, message by message."""

    streams: MessageStream

    async def ask(self, number: int, method: str, **params: object) -> JSONRPCMessage:
        read, write = self.streams
        await write.send(
            SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params))
        )
        answer = await read.receive()
        assert isinstance(answer, SessionMessage)
        return answer.message


@asynccontextmanager
async def wired(server: Server[None], options: NotificationOptions | None = None) -> AsyncGenerator[Wire]:
    async with create_client_server_memory_streams() as (streams, (server_read, server_write)):
        init = server.create_initialization_options(options)
        serving = asyncio.create_task(server.run(server_read, server_write, init))
        yield Wire(streams)
        await streams[1].aclose()
        await serving


HELLO: dict[str, object] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


async def test_a_client_that_has_not_said_it_is_initialized_is_told_to(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with wired(server_at_home(environ, Api(clock), clock)) as wire:
        await wire.ask(1, "initialize", **HELLO)
        answer = await wire.ask(2, "resources/subscribe", uri="kontext://tasks")
    assert isinstance(answer, JSONRPCError)
    assert answer.error.code == types.INVALID_REQUEST
    assert "notifications/initialized first" in answer.error.message


async def test_saying_twice_that_it_is_initialized_does_not_tell_a_client_twice(
    environ: dict[str, str], clock: FakeClock
) -> None:
    heard = Heard()
    async with at_home(environ, Api(clock), clock, "legacy", hears=heard) as client:
        await client.session.send_notification(types.InitializedNotification())
        await client.list_resources()
        await edited(client, environ)
        await until(lambda: heard.lists > 0)
        await steps(200)
    moves_that_change_the_list = [Status.SUBMITTING, Status.QUEUED, Status.SUCCEEDED]
    assert heard.lists == len(moves_that_change_the_list)


async def test_the_handshake_says_that_lists_change_and_that_addresses_can_be_subscribed_to(
    environ: dict[str, str], clock: FakeClock
) -> None:
    options = NotificationOptions(resources_changed=True)
    async with wired(server_at_home(environ, Api(clock), clock), options) as wire:
        answer = await wire.ask(1, "initialize", **HELLO)
    assert isinstance(answer, JSONRPCResponse)
    capabilities = answer.result["capabilities"]
    assert capabilities["resources"] == {"subscribe": True, "listChanged": True}
    assert capabilities["prompts"] == {"listChanged": False}
    assert capabilities["completions"] == {}


async def test_a_modern_client_is_told_of_resources_that_change_and_of_completions(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with at_home(environ, Api(clock), clock, "auto") as client:
        capabilities = client.server_capabilities
    assert capabilities.resources == types.ResourcesCapability(subscribe=True, list_changed=True)
    assert capabilities.prompts is not None
    assert capabilities.completions is not None


async def test_a_modern_client_hears_on_its_stream_what_it_asked_for(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=20)
    async with (
        at_home(environ, api, clock, "auto") as client,
        client.listen(resources_list_changed=True, resource_subscriptions=["kontext://tasks/t-1"]) as stream,
    ):
        await begun(client, environ, wait_seconds=1)
        beginning = {await next_of(stream), await next_of(stream)}
        await clock.sleep(60)
        ending = {await next_of(stream), await next_of(stream)}
    both: set[ServerEvent] = {ResourcesListChanged(), ResourceUpdated("kontext://tasks/t-1")}
    assert beginning == ending == both


async def test_a_modern_client_is_told_nothing_that_it_did_not_ask_for(
    environ: dict[str, str], clock: FakeClock
) -> None:
    heard = Heard()
    async with (
        at_home(environ, Api(clock), clock, "auto", hears=heard) as client,
        client.listen(resource_subscriptions=["kontext://tasks"]) as stream,
    ):
        await edited(client, environ)
        told = await next_of(stream)
    assert told == ResourceUpdated("kontext://tasks")
    assert heard == Heard(updated=["kontext://tasks"] * len(heard.updated))


async def test_listening_works_with_unusable_settings_though_there_is_nothing_to_hear(
    environ: dict[str, str], clock: FakeClock
) -> None:
    async with (
        at_home(environ, Api(clock), clock, "auto", KONTEXT_DEFAULT_TIER="ultra") as client,
        client.listen(resources_list_changed=True) as stream,
    ):
        assert stream.honored.resources_list_changed


async def test_a_batch_is_news_under_its_own_name_too(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock, seconds=20)
    async with at_home(environ, api, clock, "auto") as client:
        batch = await begun(client, environ, prompt=None, prompts=["Blue", "Red"], wait_seconds=1)
        async with client.listen(resource_subscriptions=[f"kontext://tasks/{batch['task_id']}"]) as stream:
            await clock.sleep(60)
            assert await next_of(stream) == ResourceUpdated(f"kontext://tasks/{batch['task_id']}")


async def test_an_edit_of_another_process_is_news_once_it_is_seen_here(
    environ: dict[str, str], clock: FakeClock
) -> None:
    api = Api(clock, seconds=20)
    async with (
        at_home(environ, api, clock, "auto") as client,
        opened(environ, api, clock) as other,
        client.listen(resources_list_changed=True) as stream,
    ):
        await other.editor.edit(wanted(photo(environ), wait_seconds=1), Person())
        await client.call_tool("list_tasks", {})
        assert await next_of(stream) == ResourcesListChanged()


def written_down(moves: list[tuple[str, Status]]) -> Callable[[Task], None]:
    return lambda task: moves.append((task.handle, task.status))


async def test_the_journal_tells_each_move_once(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock, seconds=20)
    moves: list[tuple[str, Status]] = []
    async with opened(environ, api, clock) as app:
        app.journal.on_move.append(written_down(moves))
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
        await app.journal.get(outcome.task.id, LOCAL)
        await app.journal.latest(LOCAL, limit=10)
    assert [status for _, status in moves] == [
        Status.SUBMITTING,
        Status.QUEUED,
        Status.PROCESSING,
        Status.SUCCEEDED,
    ]
    assert [handle for handle, _ in moves[1:]] == ["t-1"] * 3


async def test_an_edit_that_was_over_before_is_no_news(environ: dict[str, str], clock: FakeClock) -> None:
    api = Api(clock)
    moves: list[tuple[str, Status]] = []
    async with opened(environ, api, clock) as earlier:
        await earlier.editor.edit(wanted(photo(environ)), Person())
    async with opened(environ, api, clock) as app:
        app.journal.on_move.append(written_down(moves))
        await app.journal.get("t-1", LOCAL)
        await app.journal.latest(LOCAL, limit=10)
    assert moves == []


async def next_of(stream: Subscription) -> ServerEvent:
    """The next event of a stream; what never comes fails the test."""
    coming = asyncio.ensure_future(anext(stream))
    await until(coming.done)
    return coming.result()
