"""Two owners at one server: with the other's ids everything answers as it does with ids that never were.

What is tried is counted from the server itself: whatever is new there needs a line in `tests/tried.py`, or a
test here fails and says so.
"""

import asyncio
import base64
import itertools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from tests import tried
from tests.house import painted
from tests.team_house import (
    ERAS,
    EVERYTHING,
    PUBLIC_URL,
    answered,
    bearer,
    until,
)
from tests.tried import (
    BEGINNING,
    ELSEWHERE,
    HANDLED,
    LOOKING,
    NEVER,
    PROMPT,
    ROUTES,
    SENT,
    TEMPLATES,
    TOOLS,
    House,
    Ids,
    Try,
    every_address,
    listed,
)

from kontext_edit.team.routes import PLACES

house = tried.house


# Whether everything is tried.


def assert_all_there(found: set[str], listed: set[str], kind: str, table: str) -> None:
    missing, gone = found - listed, listed - found
    assert not missing, (
        f"The server has the {kind} {', '.join(sorted(missing))}, which nobody has tried with another's ids: "
        f"add to {table} in tests/tried.py with what it takes and every kind of id that fits."
    )
    assert not gone, f"{table} tries the {kind} {', '.join(sorted(gone))}, which the server has not."


async def test_every_tool_is_tried(house: House) -> None:
    tools = {each["name"] for each in await listed(house.team, "tools/list", "tools")}
    assert_all_there(tools, set(TOOLS), "tools", "TOOLS")
    assert_all_there(tools, BEGINNING | LOOKING, "tools", "BEGINNING or LOOKING")


async def test_every_method_is_tried(house: House) -> None:
    server = house.team.door.server
    handlers = (
        getattr(server, f"_{kind}_handlers") for kind in ("request", "notification")
    )  # the only lists
    found = {method for each in handlers for method in each}
    assert_all_there(found, {*HANDLED, *ELSEWHERE}, "methods", "HANDLED")


async def test_every_template_is_tried(house: House) -> None:
    found = await listed(house.team, "resources/templates/list", "resourceTemplates")
    assert_all_there({each["uriTemplate"] for each in found}, set(TEMPLATES), "templates", "TEMPLATES")


async def test_every_route_and_every_place_is_tried(house: House) -> None:
    routes = {route.path for route in house.team.door.routes} | {"/.well-known/oauth-protected-resource/mcp"}
    assert_all_there(routes, set(ROUTES), "routes", "ROUTES")
    assert_all_there(
        {route.split("/")[1] for route in routes}, set(PLACES), "places", "PLACES of team.routes"
    )


# That nothing is told and nothing changes.


def plain(response: httpx.Response, ids: Ids) -> tuple[int, str]:
    """An answer with placeholders where the ids stand that were sent."""
    text = response.text
    for name, value in sorted(asdict(ids).items(), key=lambda each: len(each[1]), reverse=True):
        text = text.replace(value, f"<{name}>").replace(value[:80], f"<{name}>")
    headers = sorted((k, v) for k, v in response.headers.items() if k != "content-length")
    # Bytes of the same answer differ only with the length of the ids.
    return response.status_code, f"{headers} {text}"


async def assert_nothing_told(house: House, asked: Callable[[Ids], Any]) -> tuple[int, str]:
    """Bob asks with anna's ids and with those of nobody, and cannot tell which are whose."""
    before = house.book()
    with_hers, with_nobodys = await asked(house.hers), await asked(NEVER)
    hers, nobodys = plain(with_hers, house.hers), plain(with_nobodys, NEVER)
    assert hers == nobodys
    for secret in house.secrets:
        assert secret not in hers[1]
    for name, value in asdict(house.hers).items():
        assert value not in hers[1], name
    assert house.book() == before
    return hers


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", TOOLS)
async def test_a_tool_tells_nothing_of_anothers(name: str, era: str, house: House) -> None:
    for arguments in TOOLS[name]:

        async def asked(ids: Ids, arguments: Try = arguments) -> httpx.Response:
            given = arguments(ids)
            if name == "edit_image":
                given = {"prompt": "On", "wait_seconds": 0, **given}
            call = {"name": name, "arguments": {k: v for k, v in given.items() if v is not None}}
            return await house.team.ask("bob", "tools/call", call, era, EVERYTHING)

        status, told = await assert_nothing_told(house, asked)
        assert status == 200
        if name in BEGINNING:
            assert '"isError":true' in told or '"error":{' in told


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("method", HANDLED)
async def test_a_method_tells_nothing_of_anothers(method: str, era: str, house: House) -> None:
    for params in HANDLED[method]:

        async def asked(ids: Ids, params: Try = params) -> httpx.Response:
            return await house.team.ask("bob", method, params(ids), era, EVERYTHING)

        status, _ = await assert_nothing_told(house, asked)
        assert status < 500


@pytest.mark.parametrize("capabilities", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_prompt_takes_anothers_id_as_mere_words(
    era: str, capabilities: dict[str, Any], house: House
) -> None:
    prompts = await listed(house.team, "prompts/list", "prompts")
    assert prompts
    for prompt in prompts:
        names = [each["name"] for each in prompt["arguments"]]
        for sent in SENT:

            async def asked(
                ids: Ids, names: Any = names, sent: Any = sent, prompt: Any = prompt
            ) -> httpx.Response:
                params = {"name": prompt["name"], "arguments": dict.fromkeys(names, sent(ids))}
                return await house.team.ask("bob", "prompts/get", params, era, capabilities)

            await assert_nothing_told(house, asked)
        for name in names:

            async def offered(ids: Ids, name: Any = name, prompt: Any = prompt) -> httpx.Response:
                argument = {"name": name, "value": f"task:{ids.done}"[:6]}
                params = {"ref": {"type": "ref/prompt", "name": prompt["name"]}, "argument": argument}
                return await house.team.ask("bob", "completion/complete", params, era, capabilities)

            await assert_nothing_told(house, offered)


@pytest.mark.parametrize("who", ["bob", None])
@pytest.mark.parametrize("path", ROUTES)
async def test_a_route_tells_nothing_of_anothers(path: str, who: str | None, house: House) -> None:
    routes = [route for route in house.team.door.routes if route.path == path]
    methods = sorted({method for route in routes for method in route.methods or ()} | {"GET", "POST"})
    headers = {"content-type": "application/json"} | (bearer(house.team.tokens[who]) if who else {})
    for method, target in itertools.product(methods, ROUTES[path]):

        async def asked(ids: Ids, method: str = method, target: Any = target) -> httpx.Response:
            url, body = target(ids)
            return await house.team.http.request(method, url, content=body, headers=headers)

        status, _ = await assert_nothing_told(house, asked)
        assert status < 500


async def test_the_measures_name_no_owner_and_no_edit(house: House) -> None:
    headers = bearer(house.team.tokens["prometheus"])
    told = (await house.team.http.get("/metrics", headers=headers)).text
    assert 'kontext_edits_total{status="succeeded",tier="pro"} 3.0' in told
    for secret in [*house.secrets, *asdict(house.hers).values(), "token:"]:
        assert secret not in told


# Streams.


async def test_nobody_hears_of_anothers_edits(house: House) -> None:
    team = house.team
    wanted = {
        "notifications": {
            "resourcesListChanged": True,
            "toolsListChanged": True,
            "promptsListChanged": True,
            "resourceSubscriptions": list(every_address(house.hers)),
        }
    }
    nobodys = {
        "notifications": {**wanted["notifications"], "resourceSubscriptions": list(every_address(NEVER))}
    }
    async with (
        team.listening("bob", "subscriptions/listen", wanted) as bob,
        team.listening("bob", "subscriptions/listen", nobodys) as nobody,
        team.listening("anna", "subscriptions/listen", wanted) as anna,
    ):
        team.api.seconds = 0
        await team.edit("anna", f"{PROMPT} once more")
        asked = {"task_id": house.hers.running, "wait_seconds": 50}
        while (await team.tool("anna", "get_task", asked))["status"] != "succeeded":
            pass
        await until(lambda: any("resources/updated" in message["method"] for message in anna.messages))
        assert len(bob.messages) == len(nobody.messages) == 1
        text, other = bob.text, nobody.text
        for (_, value), (_, never) in zip(asdict(house.hers).items(), asdict(NEVER).items(), strict=True):
            text, other = text.replace(value, "<id>"), other.replace(never, "<id>")
        assert text == other
    assert len(anna.messages) > 2
    assert f"kontext://tasks/{house.hers.running_here}" in anna.text.partition("list_changed")[2]


@pytest.mark.parametrize("era", ERAS)
async def test_nobody_ends_anothers_waiting_by_its_request_id(era: str, house: House) -> None:
    """Both count their requests from one, and cancel by that number."""
    call = {"name": "get_task", "arguments": {"task_id": house.hers.running, "wait_seconds": 20}}
    waiting = asyncio.ensure_future(house.team.ask("anna", "tools/call", call))
    began = house.team.clock.monotonic()
    cancelled = await house.team.ask("bob", "notifications/cancelled", {"requestId": 1}, era, EVERYTHING)
    assert cancelled.status_code == 202
    assert answered(await waiting)["result"]["structuredContent"]["task_id"] == house.hers.running
    assert house.team.clock.monotonic() - began >= 20


async def test_a_link_works_for_whoever_has_it_and_names_nobody(house: House) -> None:
    """That is what a link is for; it holds the owner as a hash and stops to work by itself."""
    told = await house.team.tool("anna", "get_task", {"task_id": house.hers.done})
    url = told["images"][0]["url"]
    assert (await house.team.http.get(url)).content == painted("blue")
    name = url.removeprefix(f"{PUBLIC_URL}/pictures/").split(".")[1]
    key = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    assert "anna" not in key
