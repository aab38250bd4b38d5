"""The key appears nowhere: not in results, logs, errors, the journal, files, or what a process prints."""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from tests.clock import FakeClock
from tests.house import Api, Person, Scripted, client, everything, opened, photo, wanted
from tests.loopback import served
from tests.surroundings import machine_environ
from tests.test_faults import damage
from tests.upstreams import error, task_answer

from kontext_edit.app import open_app
from kontext_edit.cli import run
from kontext_edit.doctor import examine
from kontext_edit.errors import InvalidSettings, KontextError
from kontext_edit.logs import Keyless
from kontext_edit.settings import read_settings

KEY = "sk_tattletale_9f8e7d6c5b4a"
QUOTED = f"the key {KEY} is not good; Authorization: Bearer {KEY}"


def where_it_is(folder: Path) -> list[Path]:
    """The files below a folder that hold the key, by name or by content."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if KEY.encode() in path.read_bytes() or KEY in str(path)]


def spoken(error: BaseException) -> str:
    """Everything that an exception can say of itself and of where it came from."""
    lines = traceback.format_exception(error)
    return "".join([str(error), repr(error), repr(vars(error)), *lines])


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every library's log, down to the last detail; it must not hold the key."""
    with caplog.at_level(logging.DEBUG):
        yield caplog
    records = caplog.get_records("call")
    assert records
    for record in records:
        assert KEY not in logging.Formatter().format(record) + repr(record.args)


REFUSALS: list[Scripted] = [
    error(401, "", QUOTED),
    error(403, "INVALID_API_KEY", QUOTED),
    error(400, "MISSING_API_KEY", QUOTED),
    error(400, "INVALID_REQUEST_BODY", QUOTED),
    error(400, QUOTED, QUOTED),
    error(400, "ILLEGAL_PROMPT", QUOTED),
    error(402, "", QUOTED),
    error(418, "", QUOTED),
    error(500, "", QUOTED),
    error(504, "GATEWAY", QUOTED),
    httpx.Response(200, content=QUOTED.encode()),
    httpx.Response(302, headers={"location": f"https://elsewhere.example/?key={KEY}"}),
    httpx.ReadError(QUOTED),
    httpx.ReadTimeout(QUOTED),
    httpx.ConnectError(QUOTED),
    RuntimeError("a bug"),
]


@pytest.mark.parametrize("answer", REFUSALS, ids=lambda answer: str(answer).replace(KEY, "KEY")[:60])
async def test_a_submission_that_quotes_the_key_back_is_told_without_it(
    answer: Scripted,
    environ: dict[str, str],
    clock: FakeClock,
    tmp_path: Path,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    api = Api(clock, on_submit=[answer] * 5)
    arguments: dict[str, Any] = {"prompt": "Make it blue", "images": [photo(environ)]}
    async with client(environ, api, clock, NOVITA_API_KEY=KEY) as assistant:
        results = [
            await assistant.call_tool("edit_image", arguments),
            await assistant.call_tool("edit_image", arguments),
            await assistant.call_tool("list_tasks", {}),
        ]
    assert everything_logged
    assert all(KEY not in result.model_dump_json() for result in results)
    assert where_it_is(tmp_path) == []


POLLS: list[Scripted] = [
    error(401, "", QUOTED),
    error(404, "TASK_NOT_FOUND", QUOTED),
    error(500, "", QUOTED),
    httpx.Response(200, content=QUOTED.encode()),
    httpx.ReadError(QUOTED),
    task_answer(f"ODD_{KEY}"),
    task_answer("SUCCEED", f"http://cdn.example/{KEY}.png"),
    task_answer("SUCCEED", f"https://cdn.example/{KEY}\n.png"),
]


@pytest.mark.parametrize("answer", POLLS, ids=lambda answer: str(answer).replace(KEY, "KEY")[:60])
async def test_an_answer_about_a_task_that_quotes_the_key_is_told_without_it(
    answer: Scripted,
    environ: dict[str, str],
    clock: FakeClock,
    tmp_path: Path,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    api = Api(clock, on_poll=[answer] * 4)
    async with client(environ, api, clock, NOVITA_API_KEY=KEY) as assistant:
        arguments = {"prompt": "Make it blue", "images": [photo(environ)], "wait_seconds": 5}
        results = [
            await assistant.call_tool("edit_image", arguments),
            await assistant.call_tool("get_task", {"task_id": "t-1"}),
        ]
    assert everything_logged
    assert all(KEY not in result.model_dump_json() for result in results)
    assert where_it_is(tmp_path) == []


async def test_a_failure_whose_reason_quotes_the_key_is_told_without_it(
    environ: dict[str, str], clock: FakeClock, tmp_path: Path
) -> None:
    failed = {"task": {"task_id": "t-1", "status": "TASK_STATUS_FAILED", "reason": QUOTED}}
    api = Api(clock, on_poll=[httpx.Response(200, json=failed)])
    async with opened(environ, api, clock, NOVITA_API_KEY=KEY) as app:
        outcome = await app.editor.edit(wanted(photo(environ)), Person())
        assert KEY not in repr(await everything(app))
    assert outcome.task.error is not None
    assert "the key [key] is not good" in outcome.task.error.message
    assert where_it_is(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": " "},
        {"images": ["missing.png"]},
        {"images": ["/etc/passwd"]},
        {"images": ["data:image/png;base64,AAAA"]},
        {"images": ["https://user:word@pictures.example/1.png"]},
        {"images": ["task:nobody"]},
        {"images": ["last"]},
        {"tier": "ultra", "seed": "x"},
        {"sead": 1},
    ],
    ids=str,
)
async def test_no_error_of_a_call_holds_the_key(
    arguments: dict[str, Any],
    environ: dict[str, str],
    clock: FakeClock,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    async with client(environ, Api(clock), clock, NOVITA_API_KEY=KEY) as assistant:
        result = await assistant.call_tool(
            "edit_image", {"prompt": "Make it blue", "images": [photo(environ)], **arguments}
        )
    assert everything_logged
    assert result.is_error
    assert KEY not in result.model_dump_json()


async def test_no_exception_of_the_parts_holds_the_key(
    environ: dict[str, str], clock: FakeClock, tmp_path: Path
) -> None:
    api = Api(clock)
    caught: list[BaseException] = []
    async with opened(environ, api, clock, NOVITA_API_KEY=KEY) as app:
        for answer in [each for each in REFUSALS if not isinstance(each, RuntimeError)]:
            api.on_submit = api.on_poll = [answer] * 5
            for work in (
                app.novita.submit("/v3/async/flux-1-kontext-pro", {}),
                app.novita.result("t-1"),
                app.novita.balance_usd(),
            ):
                try:
                    await work
                except KontextError as error:
                    caught.append(error)
        assert KEY not in repr(app)
        assert KEY not in repr(app.settings)
        assert KEY not in repr(vars(app.novita))
        await everything(app)
    assert len(caught) >= 30
    assert all(KEY not in spoken(error) for error in caught)
    assert where_it_is(tmp_path) == []


@pytest.mark.parametrize(
    "more",
    [
        {"NOVITA_BASE_URL": f"https://{KEY}@gateway.example"},
        {"NOVITA_BASE_URL": f"https://gateway.example/?key={KEY}"},
        {"NOVITA_API_KEY": f"Bearer {KEY}"},
        {"KONTEXT_DEFAULT_TIER": "ultra"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_told_without_the_key(more: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings) as caught:
        read_settings({"NOVITA_API_KEY": KEY, **more})
    assert KEY not in spoken(caught.value)


async def test_over_a_real_socket_no_library_logs_the_key(
    environ: dict[str, str], tmp_path: Path, everything_logged: pytest.LogCaptureFixture
) -> None:
    with served(keys=frozenset({"another"})) as sandbox:
        more = {"NOVITA_API_KEY": KEY, "KONTEXT_PROVIDER": "novita", "NOVITA_BASE_URL": sandbox.url}
        app = open_app(read_settings(environ | more), working_dir=tmp_path)
        try:
            outcome = await app.editor.edit(wanted(photo(environ)), Person())
        finally:
            await app.close()
    assert outcome.task.error is not None
    assert outcome.task.error.code == "key_rejected"
    assert {"httpx", "httpcore"} <= {record.name.partition(".")[0] for record in everything_logged.records}
    assert where_it_is(tmp_path) == []


async def test_the_doctor_finds_everything_wrong_and_does_not_name_the_key(
    environ: dict[str, str], clock: FakeClock
) -> None:
    damaged = Path(environ["KONTEXT_HOME"]) / "journal.sqlite3"
    damaged.parent.mkdir()
    damaged.write_bytes(b"no journal " * 500)
    for answer in (error(403, "INVALID_API_KEY", QUOTED), httpx.ConnectError(QUOTED), error(500, "", QUOTED)):
        api = Api(clock, on_poll=[answer])
        checks = await examine(environ | {"NOVITA_API_KEY": KEY}, transport=api.transport)
        assert any(check.state == "problem" for check in checks)
        assert KEY not in repr(checks)


def test_a_log_line_is_written_without_the_key_in_any_spelling() -> None:
    line = logging.makeLogRecord({"msg": "%s", "args": (QUOTED,), "levelname": "ERROR", "name": "httpx"})
    assert KEY not in Keyless(KEY).format(line)
    try:
        int(QUOTED)
    except ValueError:
        line = logging.makeLogRecord({"msg": "it broke", "exc_info": sys.exc_info()})
    assert KEY not in Keyless(KEY).format(line)
    assert "it broke" in Keyless(None).format(line)


async def test_a_real_server_process_prints_and_writes_the_key_nowhere(
    environ: dict[str, str], tmp_path: Path
) -> None:
    source = photo(environ)
    errors = tmp_path / "stderr"
    told: list[str] = []
    with ExitStack() as stack:
        sandbox = stack.enter_context(served(keys=frozenset({"another"})))
        log = stack.enter_context(errors.open("w"))
        more = {"NOVITA_API_KEY": KEY, "KONTEXT_PROVIDER": "novita", "NOVITA_BASE_URL": sandbox.url}
        process = StdioServerParameters(
            command=sys.executable, args=["-m", "kontext_edit"], env=machine_environ() | environ | more
        )
        async with Client(stdio_client(process, errlog=log), mode="auto") as assistant:
            for name, arguments in (
                ("edit_image", {"prompt": "Make it blue", "images": [source]}),
                ("edit_image", {"prompt": "sandbox:reject", "images": [source]}),
                ("edit_image", {"prompt": "Make it blue", "images": ["nowhere.png"]}),
                ("edit_image", {"prompt": "Make it blue"}),
                ("get_task", {"task_id": "nobody"}),
                ("list_tasks", {}),
                ("estimate_cost", {"tier": "gold"}),
            ):
                told.append((await assistant.call_tool(name, arguments)).model_dump_json())
            damage(tmp_path / "home" / "journal.sqlite3")
            told.append((await assistant.call_tool("list_tasks", {})).model_dump_json())
    assert "key_rejected" in told[0]
    assert KEY not in "".join(told)
    assert "damaged" in errors.read_text()
    assert where_it_is(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        ("edit", "in/photo.png", "Make it blue"),
        ("edit", "in/photo.png", "Make it blue", "--seed", "x"),
        ("edit", "nowhere.png", "Make it blue"),
        ("task", "nobody"),
        ("tasks",),
        ("spend",),
        ("estimate",),
        ("doctor",),
        ("--help",),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_no_command_prints_or_writes_the_key(
    words: tuple[str, ...],
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    photo(environ)
    monkeypatch.chdir(tmp_path)
    with served(keys=frozenset({"another"})) as sandbox:
        more = {"NOVITA_API_KEY": KEY, "KONTEXT_PROVIDER": "novita", "NOVITA_BASE_URL": sandbox.url}
        for name, value in (environ | more).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            run(words)
    out, err = capfd.readouterr()
    assert out + err
    assert "Traceback" not in err
    assert KEY not in out + err
    assert where_it_is(tmp_path) == []
