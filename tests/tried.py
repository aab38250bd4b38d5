"""With what bob tries every tool, method, address and route, when it is anna's ids that he sends.

A tool, method or route that is new on the server needs its entry here: see `test_isolation`.
"""

import json
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.clock import FakeClock
from tests.house import Api, painted
from tests.team_house import (
    EVERYTHING,
    SOURCE,
    Team,
    answered,
    bearer,
    open_team,
)

PROMPT = "Give the walrus a monocle"
"""Anna's words, which nobody else may ever read."""
FOREVER = 1e12


@dataclass(frozen=True)
class Ids:
    """Everything by which something of somebody's can be named."""

    done: str
    done_here: str
    running: str
    running_here: str
    batch: str
    upload: str
    link: str
    mark: str


NEVER = Ids(
    done="t-777",
    done_here="edit-00000000deadbeef",
    running="t-778",
    running_here="edit-00000000deadbeee",
    batch="batch-00000000deadbeef",
    upload="0123456789abcdef" * 2,
    link="1790003600.bmV2ZXI.0000",
    mark="bmV2ZXI",
)
"""The same, of nobody."""


@dataclass
class House:
    """A server, what anna has there, and what else may not be seen of it."""

    team: Team
    hers: Ids
    secrets: list[str]
    journal: Path

    def book(self) -> list[Any]:
        """Everything in the journal but who looks after an edit at the moment, and facts of the server."""
        with closing(sqlite3.connect(self.journal)) as journal:
            journal.row_factory = sqlite3.Row
            rows = [dict(row) for row in journal.execute("SELECT * FROM edits ORDER BY number")]
        return [{k: v for k, v in row.items() if k not in ("holder", "held_until")} for row in rows]


@pytest.fixture
async def house(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[House]:
    async with open_team(
        tmp_path, clock, monkeypatch, KONTEXT_BUDGET_DAY_USD="900", KONTEXT_OWNER_BUDGET_DAY_USD="7"
    ) as team:
        for name in ("anna", "bob"):
            await team.token(name)
        await team.token("carol", "read")
        await team.token("prometheus", "metrics")
        hers, secrets = await furnished(team)
        yield House(team, hers, secrets, tmp_path / "home" / "journal.sqlite3")


async def furnished(team: Team) -> tuple[Ids, list[str]]:
    """What anna does: an edit, a batch, an edit that never ends, an upload."""
    done = await team.edit("anna", PROMPT)
    batch = await team.edit("anna", f"{PROMPT} left", f"{PROMPT} right")
    kept = await team.http.post("/uploads", content=painted("plum"), headers=bearer(team.tokens["anna"]))
    assert isinstance(team.api, Api)
    team.api.seconds = FOREVER
    running = await team.edit("anna", f"{PROMPT} again", images=[kept.json()["source"]])
    journal, webhook = team.door.app.journal, team.door.app.webhook
    tasks = [await journal.get(told["task_id"], "token:anna") for told in (done, running)]
    assert [task.status for task in tasks] == ["succeeded", "processing"]
    assert webhook is not None
    url = done["images"][0]["url"]
    hers = Ids(
        done=done["task_id"],
        done_here=tasks[0].id,
        running=running["task_id"],
        running_here=tasks[1].id,
        batch=batch["task_id"],
        upload=kept.json()["source"].removeprefix("upload:"),
        # Her link with its last letter changed: the link itself is for whomever she gives it to.
        link=f"{url.rpartition('/')[2][:-1]}{'0' if url[-1] != '0' else '1'}",
        mark=webhook.url_for(tasks[1].id).rpartition("/")[2][:-1] + "_",
    )
    picture = tasks[0].pictures[0]
    secrets = ["walrus", "monocle", "anna", url, picture.sha256, picture.key or "?"]
    return hers, secrets


Try = Callable[[Ids], dict[str, Any]]


TOOLS: dict[str, list[Try]] = {
    "edit_image": [
        lambda of: {"images": [f"task:{of.done}"]},
        lambda of: {"images": [f"task:{of.done_here}#1"]},
        lambda of: {"images": [f"task:{of.running}"]},
        lambda of: {"images": [f"upload:{of.upload}"]},
        lambda of: {"images": [SOURCE, f"upload:{of.upload}"]},
        lambda of: {"images": [f"task:{of.batch}"]},
        lambda _: {"images": ["last"]},
        lambda _: {"images": ["last#2"]},
        lambda of: {"images": [f"task:{of.done}"], "prompt": None, "prompts": ["A", "B"]},
    ],
    "get_task": [
        lambda of: {"task_id": of.done},
        lambda of: {"task_id": of.done_here},
        lambda of: {"task_id": of.running, "wait_seconds": 0},
        lambda of: {"task_id": of.running_here, "wait_seconds": 1},
        lambda of: {"task_id": of.batch},
        lambda of: {"task_id": f" {of.batch} "},
    ],
    "list_tasks": [
        lambda _: {},
        lambda _: {"status": "succeeded"},
        lambda _: {"status": "processing"},
        lambda of: {"cursor": of.done_here},
        lambda of: {"cursor": of.done},
        lambda _: {"cursor": "3"},
    ],
    "estimate_cost": [lambda _: {}, lambda _: {"tier": "max", "edits": 40}],
    "begin_edit": [
        lambda of: {"prompt": "On", "images": [f"task:{of.done}"]},
        lambda of: {"prompt": "On", "images": [f"upload:{of.upload}"]},
        lambda _: {"prompt": "On", "images": ["last"]},
    ],
    "upload_picture": [lambda of: {"data": "bm8gcGljdHVyZQ==", "name": f"upload:{of.upload}"}],
    "edit_details": [
        lambda of: {"task_id": of.done},
        lambda of: {"task_id": of.done_here},
        lambda of: {"task_id": of.running},
        lambda of: {"task_id": of.batch},
    ],
    "running_edits": [lambda _: {}],
}
"""The arguments with which bob calls each tool."""

TEMPLATES: dict[str, list[Callable[[Ids], str]]] = {
    "kontext://tasks/{id}": [
        lambda of: f"kontext://tasks/{of.done}",
        lambda of: f"kontext://tasks/{of.running_here}",
        lambda of: f"kontext://tasks/{of.batch}",
    ],
    "kontext://pictures/{id}/{n}": [
        lambda of: f"kontext://pictures/{of.done}/1",
        lambda of: f"kontext://pictures/{of.done_here}/1",
        lambda of: f"kontext://pictures/{of.done}/9",
        lambda of: f"kontext://pictures/{of.running}/1",
    ],
}
"""The addresses that bob reads, subscribes to and follows."""


def edit_call(of: Ids) -> dict[str, Any]:
    return {"name": "edit_image", "arguments": {"prompt": "On", "images": [f"task:{of.done}"]}}


def every_address(of: Ids) -> Iterator[str]:
    yield from ("kontext://tasks", "kontext://tiers")
    for addresses in TEMPLATES.values():
        yield from (address(of) for address in addresses)


def reads() -> list[Try]:
    count = len(list(every_address(NEVER)))
    return [lambda of, n=number: {"uri": list(every_address(of))[n]} for number in range(count)]


def completions() -> list[Try]:
    def for_template(template: str, name: str, value: Callable[[Ids], str]) -> Try:
        ref = {"type": "ref/resource", "uri": template}
        return lambda of: {
            "ref": ref,
            "argument": {"name": name, "value": value(of)},
            "context": {"arguments": {"id": of.done}},
        }

    task, picture = TEMPLATES
    return [
        for_template(task, "id", lambda _: ""),
        for_template(task, "id", lambda of: of.done[:3]),
        for_template(task, "id", lambda of: of.done_here),
        for_template(picture, "id", lambda _: ""),
        for_template(picture, "n", lambda _: ""),
    ]


HANDLED: dict[str, list[Try]] = {
    "tasks/get": [
        lambda of: {"taskId": of.done},
        lambda of: {"taskId": of.running},
        lambda of: {"taskId": of.batch},
    ],
    "tasks/update": [
        lambda of: {"taskId": of.running, "inputResponses": {}},
        lambda of: {"taskId": of.running_here, "inputResponses": {"consent": {"action": "accept"}}},
        lambda of: {"taskId": of.batch, "inputResponses": {}},
    ],
    "tasks/cancel": [
        lambda of: {"taskId": of.running},
        lambda of: {"taskId": of.running_here},
        lambda of: {"taskId": of.batch},
        lambda of: {"taskId": of.done},
    ],
    "resources/read": reads(),
    "resources/subscribe": reads(),
    "resources/unsubscribe": reads(),
    "resources/list": [lambda _: {}],
    "resources/templates/list": [lambda _: {}],
    "completion/complete": completions(),
    "tools/call": [edit_call],
    "tools/list": [lambda _: {}],
    "prompts/list": [lambda _: {}],
    "ping": [lambda _: {}],
    "server/discover": [lambda _: {}],
    "notifications/initialized": [lambda _: {}],
}
"""The parameters with which bob calls each method."""

SENT: tuple[Callable[[Ids], str], ...] = (
    lambda of: f"task:{of.done}",
    lambda of: of.batch,
    lambda of: f"upload:{of.upload}",
)
"""What bob fills into prompts."""

ELSEWHERE = {
    "prompts/get": "every prompt and argument is tried by a test of its own",
    "subscriptions/listen": "an open stream is listened to by a test of its own",
}

ROUTES: dict[str, list[Callable[[Ids], tuple[str, str]]]] = {
    "/uploads": [lambda of: ("/uploads", f"upload:{of.upload}")],
    "/pictures/{token}": [lambda of: (f"/pictures/{of.link}", "")],
    "/webhooks/{edit_id}/{mark}": [
        lambda of: (f"/webhooks/{of.running_here}/{of.mark}", ""),
        lambda of: (f"/webhooks/{of.running}/{NEVER.mark}", ""),
        lambda of: (f"/webhooks/{of.done_here}/{of.mark}", "{}"),
    ],
    "/health": [lambda _: ("/health", "")],
    "/ready": [lambda _: ("/ready", "")],
    "/metrics": [lambda _: ("/metrics", "")],
    "/.well-known/oauth-protected-resource/mcp": [
        lambda _: ("/.well-known/oauth-protected-resource/mcp", "")
    ],
    "/mcp": [lambda of: ("/mcp", json.dumps({"task_id": of.done}))],
}
"""What bob requests at each route: a target, and a body."""

BEGINNING = {"edit_image", "begin_edit", "upload_picture"}
"""The tools that need the scope `edit`."""
LOOKING = {"get_task", "list_tasks", "estimate_cost", "edit_details", "running_edits"}
"""The tools that do with the scope `read`."""


async def listed(team: Team, method: str, key: str, **more: Any) -> list[dict[str, Any]]:
    response = await team.ask("bob", method, {}, capabilities=more.get("capabilities", EVERYTHING))
    return answered(response)["result"][key]
