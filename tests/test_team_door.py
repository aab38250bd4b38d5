"""The team's door when all is well: both eras, uploads, links, consent, tasks, the page, the webhook."""

import asyncio
import base64
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import mcp_types as types
import pytest
from mcp.client.context import ClientRequestContext
from mcp.client.extension import advertise
from PIL import Image
from tests.at_home import ERAS
from tests.attacks import call, post, status_of
from tests.clock import FakeClock
from tests.house import painted
from tests.http_server import http_server
from tests.loopback import served
from tests.task_client import Patient
from tests.team_house import (
    LEGACY,
    MODERN,
    PUBLIC_URL,
    SOURCE,
    Served,
    answered,
    bearer,
    open_team,
    served_team,
)

from kontext_edit import http_door
from kontext_edit.errors import InvalidSettings
from kontext_edit.journal.book import Journal
from kontext_edit.sandbox.tasks import AfterPolls, AfterSeconds
from kontext_edit.team import metrics
from kontext_edit.tokens import digest, new_token
from kontext_edit.ui import page

both_eras = pytest.mark.parametrize("era", ERAS)
EDIT: dict[str, Any] = {"prompt": "Make it blue", "images": [SOURCE]}


@both_eras
async def test_a_client_edits_waits_lists_and_gets_links(
    era: str, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_team(tmp_path, clock, monkeypatch) as team:
        team.api.seconds = 30
        await team.token("anna")
        async with team.client("anna", era) as client:
            assert client.protocol_version == (LEGACY if era == "legacy" else MODERN)
            begun = await client.call_tool("edit_image", {**EDIT, "wait_seconds": 5})
            task_id = begun.structured_content["task_id"]
            assert begun.structured_content["status"] in ("queued", "processing")
            done = await client.call_tool("get_task", {"task_id": task_id, "wait_seconds": 50})
            listed = await client.call_tool("list_tasks", {})
            read = await client.read_resource(f"kontext://pictures/{task_id}/1")
        (row,) = listed.structured_content["tasks"]
        (picture,) = done.structured_content["images"]
        (contents,) = read.contents
        assert (row["task_id"], row["path"]) == (task_id, None)
        assert isinstance(contents, types.BlobResourceContents)
        assert base64.b64decode(contents.blob) == painted("blue")
        assert (await team.http.get(picture["url"])).content == painted("blue")


async def test_an_upload_becomes_an_edit_whose_link_expires_and_comes_afresh(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_team(tmp_path, clock, monkeypatch, KONTEXT_LINK_SECONDS="600") as team:
        headers = bearer(await team.token("anna"))
        kept = await team.http.post(
            "/uploads", content=painted("plum"), headers=headers | {"x-file-name": "my%20plum.png"}
        )
        assert kept.status_code == 201
        assert (kept.json()["name"], kept.json()["width"]) == ("my plum.png", 64)
        edit = await team.edit("anna", "Make it blue", images=[kept.json()["source"]])
        url = edit["images"][0]["url"]
        shown = await team.http.get(url)
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
        assert shown.headers["x-content-type-options"] == "nosniff"
        clock.jump(601)
        gone = await team.http.get(url)
        assert gone.status_code == 404
        assert "get_task gives a fresh one" in gone.text
        again = await team.tool("anna", "get_task", {"task_id": edit["task_id"]})
        assert (await team.http.get(again["images"][0]["url"])).content == painted("blue")
        refused = await team.http.post("/uploads", content=b"no picture", headers=headers)
        assert refused.status_code == 422
        assert "JPEG" in refused.json()["error"]["hint"]


async def test_a_person_is_asked_over_http_without_sessions(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def answer(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert context.session
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={})

    async with open_team(tmp_path, clock, monkeypatch, KONTEXT_CONFIRM_ABOVE_USD="0.03") as team:
        await team.token("anna")
        async with team.client("anna", elicitation=answer) as client:
            bought = await client.call_tool("edit_image", EDIT)
        assert bought.structured_content["status"] == "succeeded"
        assert asked == ["Buy this edit for 0.036 USD? Kontext pro: Make it blue"]
        # Without sessions an answer of a handshake client would have nowhere to go.
        async with team.client("anna", "legacy", elicitation=answer) as client:
            refused = await client.call_tool("edit_image", {**EDIT, "force_new": True})
        assert refused.structured_content["error"]["code"] == "consent_missing"
        assert len(team.api.bodies) == len(asked) == 1


async def test_an_edit_is_a_task_of_the_protocol_over_http(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = Patient(clock)
    async with open_team(tmp_path, clock, monkeypatch) as team:
        team.api.seconds = 30
        await team.token("anna")
        async with team.client("anna", extensions=[patient]) as client:
            done = await client.call_tool("edit_image", EDIT)
        assert done.structured_content["status"] == "succeeded"
        assert done.structured_content["images"][0]["url"].startswith(f"{PUBLIC_URL}/pictures/")
    assert patient.asked > 0


async def test_the_page_has_its_tools_over_http(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = advertise(page.EXTENSION, {"mimeTypes": [page.MIME]})
    async with open_team(tmp_path, clock, monkeypatch) as team:
        team.api.seconds = 1e9
        await team.token("anna")
        async with team.client("anna", extensions=[apps]) as client:
            data = base64.b64encode(painted("plum")).decode()
            kept = await client.call_tool("upload_picture", {"data": data, "name": "plum.png"})
            call = {"prompt": "Make it blue", "images": [kept.structured_content["source"]]}
            begun = await client.call_tool("begin_edit", call)
            running = await client.call_tool("running_edits", {})
            details = await client.call_tool("edit_details", {"task_id": begun.structured_content["task_id"]})
            shown = await client.read_resource(page.URI)
        (row,) = running.structured_content["edits"]
        assert row["prompt"] == "Make it blue"
        assert details.structured_content["images"] == [kept.structured_content["source"]]
        assert [type(block) for block in details.content] == [types.ImageContent]
        assert shown.contents[0].mime_type == page.MIME


# What an operator looks at.


async def test_a_replica_whose_journal_is_gone_is_not_ready_but_alive(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_team(tmp_path, clock, monkeypatch) as team:
        assert (await team.http.get("/ready")).text == "ready\n"
        (tmp_path / "home").rename(tmp_path / "elsewhere")
        (tmp_path / "home").write_text("no folder any more")
        await team.door.app.journal.close()
        answer = await team.http.get("/ready")
        assert (answer.status_code, answer.text) == (503, "the journal cannot be reached\n")
        assert (await team.http.get("/health")).status_code == 200
        unknown = await team.http.post("/mcp", headers=bearer(new_token()))
        assert unknown.status_code == 503


async def test_a_replica_that_closes_is_not_ready_and_lets_nobody_wait(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_team(tmp_path, clock, monkeypatch) as team:
        team.api.seconds = 1e9
        await team.token("anna")
        team.door.begin_to_close()
        assert (await team.http.get("/ready")).status_code == 503
        began = clock.monotonic()
        told = await team.edit("anna", "Make it blue", wait_seconds=50)
        assert told["status"] in ("queued", "processing")
        assert clock.monotonic() - began < 40


async def test_a_client_without_a_token_is_led_to_the_issuer(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = "https://login.example/team"
    more = {"KONTEXT_AUTH": "tokens,oauth", "KONTEXT_OAUTH_ISSUER": issuer}
    async with open_team(tmp_path, clock, monkeypatch, api=None, **more) as team:
        refused = await team.http.post("/mcp")
        assert refused.status_code == 401
        place = refused.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
        told = (await team.http.get(place)).json()
    assert told["resource"] == f"{PUBLIC_URL}/mcp"
    assert told["authorization_servers"] == [issuer]
    assert told["scopes_supported"] == ["read", "edit"]


async def test_the_measures_are_for_tokens_with_their_scope(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_team(tmp_path, clock, monkeypatch) as team:
        await team.token("anna")
        await team.token("prometheus", "metrics")
        await team.edit("anna", "Make it blue")
        assert (await team.http.get("/metrics", headers=bearer(team.tokens["anna"]))).status_code == 403
        told = await team.http.get("/metrics", headers=bearer(team.tokens["prometheus"]))
        assert told.headers["content-type"] == metrics.CONTENT_TYPE
        for line in (
            'kontext_edits_total{status="succeeded",tier="pro"} 1.0',
            'kontext_list_price_usd_total{tier="pro"} 0.036',
            'kontext_calls_total{method="tools/call",result="ok"} 1.0',
            "kontext_edits_under_way 0.0",
        ):
            assert line in told.text
        refused = await team.http.post("/mcp", headers=bearer(team.tokens["prometheus"]))
        assert refused.status_code == 403


async def test_methods_that_somebody_made_up_are_counted_as_one(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_team(tmp_path, clock, monkeypatch) as team:
        await team.token("anna", "read", "metrics")
        for number in range(5):
            assert "error" in answered(await team.ask("anna", f"made/up{number}", {}))
        told = (await team.http.get("/metrics", headers=bearer(team.tokens["anna"]))).text
    assert "made" not in told


# Upstream's webhook, over real sockets.


def request(team: Served, path: str, body: bytes, **more: str) -> bytes:
    """A request to the address that upstream knows the server by."""
    return post(path, body, Host=f"127.0.0.1:{team.port}", **more)


def polls(team: Served) -> int:
    """How often upstream was asked, as the server counts it."""
    told = team.send(request(team, "/metrics", b"", method="GET", token=team.tokens["prometheus"])).decode()
    return int(float(told.partition("\nkontext_polls_total ")[2].split("\n")[0]))


def asked(team: Served, name: str, **arguments: Any) -> dict[str, Any]:
    body = call(name, json.dumps(arguments))
    answer = team.send(request(team, "/mcp", body, token=team.tokens["anna"]), seconds=60)
    assert status_of(answer) == 200
    line = next(line for line in answer.splitlines() if line.startswith(b"data: {") and b'"result"' in line)
    return json.loads(line[6:])["result"]["structuredContent"]


def wish() -> dict[str, Any]:
    out = BytesIO()
    Image.new("RGB", (300, 280), "red").save(out, "png")
    source = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    return {"prompt": "Blur it", "images": [source], "tier": "dev", "size": "256*256"}


def test_the_end_of_an_edit_is_pushed_and_upstream_is_hardly_asked(tmp_path: Path) -> None:
    with served(AfterSeconds(0.6)) as upstream, served_team(tmp_path, upstream.url) as team:
        for _ in range(2):
            done = asked(team, "edit_image", **wish(), force_new=True, wait_seconds=30)
            assert done["status"] == "succeeded"
        assert polls(team) <= 2 * 2


def test_a_storm_of_rings_does_not_become_a_storm_of_questions(tmp_path: Path) -> None:
    with served(AfterPolls(10_000)) as upstream, served_team(tmp_path, upstream.url) as team:
        begun = asked(team, "edit_image", **wish(), wait_seconds=1)
        assert begun["status"] in ("queued", "processing")
        (edit_id,) = [row.id for row in edits(tmp_path, begun["task_id"])]
        webhook = team.door.app.webhook
        assert webhook is not None
        path = webhook.url_for(edit_id).partition(f":{team.port}")[2]
        before = polls(team)
        ring, forged = (request(team, each, b"{}") for each in (path, path[:-3] + "abc"))
        with ThreadPoolExecutor(8) as crowd:
            assert {status_of(answer) for answer in crowd.map(team.send, [ring] * 200)} == {200}
            assert {status_of(answer) for answer in crowd.map(team.send, [forged] * 20)} == {404}
        asked(team, "get_task", task_id=begun["task_id"], wait_seconds=2)
        assert 1 <= polls(team) - before <= 6


def edits(folder: Path, handle: str) -> list[Any]:
    """The edit with this id, read from the journal's own file."""

    async def read() -> list[Any]:
        journal = Journal(folder / "home" / "journal.sqlite3")
        try:
            return [await journal.get(handle, "token:anna")]
        finally:
            await journal.close()

    return asyncio.run(read())


# `serve`.


def test_serve_writes_a_json_line_for_each_edit_without_its_prompt(environ: dict[str, str]) -> None:
    token = new_token()
    home = Path(environ["KONTEXT_HOME"])
    home.mkdir(parents=True)
    known(home, token)
    more = {"KONTEXT_AUTH": "tokens", "KONTEXT_LOG": "json"}
    with http_server(environ | more, stop=signal.SIGTERM) as server:
        body = call("edit_image", json.dumps({**wish(), "prompt": "Hide the walrus", "wait_seconds": 30}))
        headers = bearer(token) | {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
        }
        answer = httpx.post(server.url, content=body, headers=headers, timeout=60, trust_env=False)
        assert '"status":"succeeded"' in answer.text
        assert httpx.post(server.url, content=body, trust_env=False).status_code == 401
    lines: list[dict[str, Any]] = []
    for line in server.last_words.splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    (edit,) = [line for line in lines if line["message"] == "edit succeeded"]
    assert (edit["owner"], edit["tier"], edit["provider"]) == ("token:anna", "dev", "sandbox")
    assert any(line["logger"] == "kontext_edit.team.guard" for line in lines)
    assert "walrus" not in server.last_words
    assert token not in server.last_words


def known(home: Path, token: str) -> None:
    """Write a token down where the server looks for it."""

    async def write() -> None:
        journal = Journal(home / "journal.sqlite3")
        await journal.add_token("anna", digest(token), ("edit",), 0)
        await journal.close()

    asyncio.run(write())


@pytest.mark.parametrize("missing", ["jwt", "obstore", "prometheus_client"])
def test_without_its_libraries_the_team_s_server_says_what_to_install(
    missing: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(name: str) -> object:
        return None if name == missing else find_spec(name)

    monkeypatch.setattr(http_door, "find_spec", found)
    for name, value in (environ | {"KONTEXT_AUTH": "tokens"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=r"pip install 'kontext-edit\[team\]'"):
        http_door.serve(port=0)
