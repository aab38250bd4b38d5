"""What strangers and callers send on purpose: refused over a real socket, and no secret is told or logged."""

import asyncio
import base64
import json
import logging
import os
import time
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.attacks import (
    MALFORMED,
    METHODS,
    OVERSIZED,
    PATHS,
    REBINDING,
    SMUGGLED,
    SOURCES,
    TOKENS,
    Attack,
    call,
    post,
    status_of,
)
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.hosts import host, is_ours
from tests.issuer import encoded
from tests.team_house import (
    PUBLIC_URL,
    SOURCE,
    Served,
    answered,
    open_team,
    served_team,
    team_environ,
)

from kontext_edit.errors import JournalUnavailable
from kontext_edit.fetcher import Fetcher
from kontext_edit.settings import read_settings
from kontext_edit.team.door import open_door

PASSWORD = "recognisable-password"  # noqa: S105 - to find it in a log


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served_team(tmp_path_factory.mktemp("team")) as team:
        yield team


NOT_WRITTEN = {"uvicorn.access", "sse_starlette.sse"}
"""The first goes nowhere in a server (see below) but to pytest; the second has whole answers, to debug."""

ATTACKS = [
    pytest.param(*attack, id=name)
    for table in (REBINDING, OVERSIZED, MALFORMED, TOKENS, PATHS, SMUGGLED, METHODS)
    for name, attack in table.items()
]


def secrets_of(served: Served, sent: bytes = b"") -> list[str]:
    """What may stand in no answer and in no line of a log."""
    app = served.door.app
    texts = [
        KEY,
        app.secret.hex(),
        *served.tokens.values(),
        *(t.removeprefix("kxt_") for t in served.tokens.values()),
    ]
    head = sent.partition(b"\r\n\r\n")[0].decode("latin-1")
    for line in head.splitlines():
        if line.lower().startswith("authorization:"):
            texts += [part for part in line.split()[-1].split(".") if len(part) > 30]
    return texts


def assert_no_secret(texts: Sequence[str], records: list[logging.LogRecord], answer: bytes) -> None:
    formatter = logging.Formatter("%(name)s %(message)s")
    told = [formatter.format(record) for record in records if record.name not in NOT_WRITTEN]
    told.append(answer.decode("latin-1"))
    for text in texts:
        assert not [line[:300] for line in told if text in line]


def assert_serves(served: Served) -> None:
    assert status_of(served.send(post(token=served.tokens["anna"]))) == 200


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "kontext_edit")
    return caplog


@pytest.mark.parametrize(("attack", "statuses"), ATTACKS)
def test_a_hostile_request_is_refused_and_the_next_good_one_answered(
    attack: Attack, statuses: set[int], served: Served, log: pytest.LogCaptureFixture
) -> None:
    sent, began = attack(served), time.monotonic()
    answer = served.send(sent)
    assert status_of(answer) in statuses, answer[:300]
    assert answer.count(b"HTTP/1.1 ") <= 2
    if status_of(answer) == 200:
        assert b'"isError":true' in answer or b'"error":{' in answer, answer[:300]
    assert time.monotonic() - began < 10
    assert_serves(served)
    assert_no_secret(secrets_of(served, sent), log.records, answer)
    assert not [
        record for record in log.records if record.name.startswith("kontext_edit") and record.exc_info
    ]


# Links that were signed, and marks that upstream got.


def test_a_signed_link_is_for_its_picture_and_its_time_alone(
    served: Served, log: pytest.LogCaptureFixture
) -> None:
    edit = call("edit_image", json.dumps({"prompt": "Make it blue", "images": [SOURCE], "wait_seconds": 40}))
    told = served.send(post(body=edit, token=served.tokens["anna"]), seconds=60).decode()
    link = told.partition(f"{PUBLIC_URL}/pictures/")[2].partition('"')[0].partition(" ")[0]
    until, name, mark = link.split(".")
    assert status_of(served.send(post(f"/pictures/{link}", b"", method="GET"))) == 200
    key = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    other = encoded(key.replace("-1.png", "-2.png").encode())
    outside = encoded(b"../../home/journal.sqlite3")
    forged = [
        f"{until}.{name}.{mark[:-1]}{'0' if mark[-1] != '0' else '1'}",
        f"{int(until) + 1}.{name}.{mark}",
        f"{until}.{name}=.{mark}",
        f"{until}.{other}.{mark}",
        f"{until}.{outside}.{mark}",
        f"{until}.{name}.",
        f"{until}.{name}.{mark}.{mark}",
        f"{until[:-1]}.{until[-1]}.{name}.{mark}",
        f"{until}.{name}.{mark.upper()}",
        f"²{until}.{name}.{mark}".encode().decode("latin-1"),
    ]
    for each in forged:
        answer = served.send(post(f"/pictures/{each}", b"", method="GET"))
        assert status_of(answer) in {400, 404}, each
    assert_serves(served)
    assert_no_secret([mark], log.records, b"")


def test_addresses_with_their_secrets_are_not_logged_by_the_http_server(served: Served) -> None:
    assert served.port
    assert not logging.getLogger("uvicorn.access").propagate


def test_a_forged_ring_is_nobodys(served: Served, log: pytest.LogCaptureFixture) -> None:
    webhook = served.door.app.webhook
    assert webhook is not None
    mark = webhook.url_for("edit-1").rpartition("/")[2]
    for path in (
        f"edit-2/{mark}",
        f"edit-1/{mark[:-1]}",
        f"edit-1/{mark}=",
        f"edit-1%00/{mark}",
        "edit-1/%20",
    ):
        assert status_of(served.send(post(f"/webhooks/{path}", b"{}"))) == 404
    assert status_of(served.send(post(f"/webhooks/edit-1/{mark}", b"{}"))) == 200
    assert_no_secret([mark], log.records, b"")


# Slow.


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(Content_Length="100"), 401),
        (post()[:60], 0),
        (b"", 0),
    ],
    ids=["a body of a stranger", "headers that stop", "silence"],
)
def test_who_is_slow_is_left(sent: bytes, status: int, served: Served) -> None:
    assert status_of(served.send(sent)) == status
    assert_serves(served)


def test_a_slow_body_of_a_bearer_is_given_up(served: Served) -> None:
    assert status_of(served.send(post(Content_Length="100", token=served.tokens["anna"]))) == 408
    assert_serves(served)


# Sources.


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_source_that_is_not_the_callers_to_name_is_refused(
    source: str, served: Served, log: pytest.LogCaptureFixture
) -> None:
    body = call("edit_image", json.dumps({"prompt": "On", "images": [source]}))
    answer = served.send(post(body=body, token=served.tokens["anna"]))
    assert status_of(answer) == 200
    assert b'"isError":true' in answer, answer[:600]
    assert b'"billed":"no"' in answer
    assert b"internal_error" not in answer
    assert_serves(served)
    assert_no_secret([*secrets_of(served), PASSWORD], log.records, answer)


@pytest.mark.parametrize("fetching", ["on", "off"])
async def test_a_public_name_that_leads_inside_is_not_opened_here(
    fetching: str, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may stand for an address of this network, or its host may send on to one."""
    async with host() as inside, host(lambda _: redirected(inside.port)) as outside:
        reach = partial(
            Fetcher, may_reach=is_ours, ports={outside.port}
        )  # the port of `inside` is not public
        monkeypatch.setattr("kontext_edit.app.Fetcher", reach if fetching == "on" else None)
        loop = asyncio.get_running_loop()

        async def resolved(*_: Any, **__: Any) -> Any:
            return [(2, 1, 6, "", ("127.0.0.1", outside.port))]

        monkeypatch.setattr(loop, "getaddrinfo", resolved)
        async with open_team(tmp_path, clock, monkeypatch, KONTEXT_FETCH_LINKS=fetching) as team:
            await team.token("anna")
            source = f"http://pictures.example:{outside.port}/x.png"
            edit = await team.edit("anna", "Make it blue", images=[source])
        assert edit["status"] == "succeeded"
        assert edit["images"][0]["changed_percent"] is None
        assert team.api.bodies[0]["images"] == [source]
        assert bool(outside.heads) is (fetching == "on")
        assert inside.heads == []


def redirected(port: int) -> bytes:
    return f"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n".encode()


async def test_a_fetching_server_reaches_no_private_address(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with host() as inside:
        loop = asyncio.get_running_loop()

        async def resolved(*_: Any, **__: Any) -> Any:
            return [(2, 1, 6, "", ("127.0.0.1", inside.port))]

        monkeypatch.setattr(loop, "getaddrinfo", resolved)
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.INFO, "httpx")
        async with open_team(tmp_path, clock, monkeypatch, KONTEXT_FETCH_LINKS="on") as team:
            await team.token("anna")
            edit = await team.edit(
                "anna", "Make it blue", images=["http://pictures.example/x.png?key=secret-key-1"]
            )
        assert edit["images"][0]["changed_percent"] is None
        assert inside.heads == []
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("kontext_edit")]
    assert any("not on the public internet" in line for line in ours)
    assert not any("secret-key-1" in line for line in ours)


# The database.


async def test_a_database_that_is_away_is_told_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"postgresql://kontext:{PASSWORD}@127.0.0.1:1/team?connect_timeout=1"
    settings = read_settings(team_environ(tmp_path, KONTEXT_DATABASE_URL=url))
    assert isinstance(settings.serving.database_url, SecretStr)
    with pytest.raises(JournalUnavailable) as caught:
        await open_door(settings, address="http://127.0.0.1:1")
    told = [str(caught.value), repr(settings), caught.value.hint]
    told += [logging.Formatter().format(record) for record in caplog.records]
    assert not [line for line in told if PASSWORD in line]
    assert os.fspath(tmp_path) not in str(caught.value)


async def test_no_caller_is_told_where_this_machine_keeps_things(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_team(tmp_path, clock, monkeypatch) as team:
        await team.token("anna")
        for source in SOURCES.values():
            call = {"name": "edit_image", "arguments": {"prompt": "On", "images": [source]}}
            response = await team.ask("anna", "tools/call", call)
            assert answered(response)["result"]["isError"]
            assert str(tmp_path) not in response.text
            assert "KONTEXT_ALLOWED_DIRS" not in response.text
