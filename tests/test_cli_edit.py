"""Edits on the command line: paths on stdout, everything else on stderr, and exit codes."""

import asyncio
import io
import json
import re
import shutil
import sys
from pathlib import Path

import httpx
import jsonschema
import pytest
from tests import loopback as loopbacks
from tests import shell
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.loopback import LoopbackSandbox, served
from tests.shell import COFFEE, Typed, an_edit, plain, written

from kontext_edit.app import open_app
from kontext_edit.caller import Consent
from kontext_edit.cli.edits import allow_typed, person, until_settled
from kontext_edit.request import parse_edit
from kontext_edit.sandbox.api import Sandbox
from kontext_edit.sandbox.tasks import AfterSeconds
from kontext_edit.settings import read_settings
from kontext_edit.task import NOVITA
from kontext_edit.tools import make_tools

loopback, typed = loopbacks.loopback, shell.typed


class TestEdit:
    def test_stdout_gets_the_path_alone_and_stderr_the_rest(self, typed: Typed, tmp_path: Path) -> None:
        ended = typed("edit", str(COFFEE), "Make it sepia")
        assert ended.code == 0
        (path,) = ended.paths
        assert path.parent == tmp_path / "out"
        assert path.stat().st_size > 1000
        assert "Edited with Kontext Pro: 0 USD (list price 0.036 USD); seed " in ended.err
        assert re.search(r"; \d+×\d+ png, [\d.]+ % changed\.\n", ended.err)
        assert "no model ran, nothing was billed" in ended.err

    def test_json_is_the_structured_content_of_the_tool(self, typed: Typed) -> None:
        ended = typed("edit", str(COFFEE), "Make it sepia", "--json", "--seed", "5")
        jsonschema.validate(ended.answer, make_tools("pro")["edit_image"].definition.output_schema or {})
        assert (ended.code, ended.answer["status"], ended.answer["seed"]) == (0, "succeeded", 5)

    def test_every_option_goes_over_the_wire_as_it_was_typed(
        self, typed: Typed, loopback: LoopbackSandbox
    ) -> None:
        ended = typed(
            *("edit", str(COFFEE), "Make it blue", "--tier", "dev", "--fast-mode", "--size", "512*384"),
            *("--num-inference-steps", "20", "--guidance-scale", "3.5", "--num-images", "2"),
            *("--seed", "-1", "--output-format", "webp"),
        )
        assert ended.code == 0
        assert len(ended.paths) == 2
        body = loopback.sandbox.submissions[-1].body
        assert {name: value for name, value in body.items() if name != "images"} == {
            "prompt": "Make it blue",
            "fast_mode": True,
            "size": "512*384",
            "num_inference_steps": 20,
            "guidance_scale": 3.5,
            "num_images": 2,
            "seed": -1,
            "output_format": "webp",
        }

    def test_what_was_not_typed_is_not_sent(self, typed: Typed, loopback: LoopbackSandbox) -> None:
        assert typed("edit", str(COFFEE), "Make it green").code == 0
        assert set(loopback.sandbox.submissions[-1].body) == {"prompt", "images"}

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ((), "`prompt` is missing: say what to change"),
            (("Make it blue",), "`images` is missing: name 1 to 4 pictures to edit."),
            (("a.png", " "), "`prompt` is empty"),
            ((*"abcde", "x"), "`images` must be a list of 1 to 4 sources"),
            (
                ("a.png", "x", "--guidance-scale", "21"),
                "`guidance_scale` must be a number from 1 to 20; got 21.0.",
            ),
            (("a.png", "x", "--guidance-scale", "much"), "from 1 to 20; got 'much'."),
            (
                ("a.png", "x", "--seed", "1.5"),
                "`seed` must be a whole number from -1 to 2147483647; got '1.5'.",
            ),
            (("a.png", "x", "--num-images", "2"), "`num_images` is a parameter of dev, not of pro"),
            (("a.png", "x", "--tier", "ultra", "--no-fast-mode"), "`tier` must be one of"),
            (("a.png", "x", "--aspect-ratio", "5:1", "--seed", "x"), "`aspect_ratio` must be one of"),
            (("a.png", "x", "--unheard-of"), "No such option"),
            (("a.png", "x", "--seed"), "requires an argument"),
        ],
    )
    def test_bad_arguments_are_told_in_the_words_of_the_spec(
        self, typed: Typed, words: tuple[str, ...], told: str
    ) -> None:
        ended = typed("edit", *words)
        assert (ended.code, ended.out) == (2, "")
        assert told in ended.err

    def test_a_file_in_the_instructions_place_is_refused_before_it_costs_anything(
        self, typed: Typed, loopback: LoopbackSandbox
    ) -> None:
        before = len(loopback.sandbox.submissions)
        ended = typed("edit", str(COFFEE), str(COFFEE))
        assert ended.code == 2
        assert "The last word must be the instruction" in ended.err
        assert len(loopback.sandbox.submissions) == before

    def test_errors_are_told_to_programs_too(self, typed: Typed) -> None:
        ended = typed("edit", "nowhere.png", "Make it blue", "--json")
        assert ended.code == 1
        assert ended.answer["error"]["code"] == "picture_refused"
        assert "there is no such file" in ended.err

    @pytest.mark.parametrize(
        ("prompt", "told"),
        [
            ("sandbox:fail", "The API could not do the edit"),
            ("sandbox:reject", "ILLEGAL_PROMPT"),
        ],
    )
    def test_an_edit_that_fails_says_why_and_whether_it_was_billed(
        self, typed: Typed, prompt: str, told: str
    ) -> None:
        ended = typed("edit", str(COFFEE), prompt)
        assert (ended.code, ended.out) == (1, "")
        assert told in ended.err
        assert "Billed: no." in ended.err

    def test_unusable_settings_are_told(self, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KONTEXT_DEFAULT_TIER", "ultra")
        ended = typed("edit", str(COFFEE), "Make it blue")
        assert ended.code == 1
        assert "KONTEXT_DEFAULT_TIER is 'ultra'" in ended.err

    def test_the_key_appears_nowhere(
        self, typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("NOVITA_API_KEY", KEY)
        monkeypatch.delenv("KONTEXT_PROVIDER")
        with served(keys=frozenset({"another"})) as strict:
            monkeypatch.setenv("NOVITA_BASE_URL", strict.url)
            endings = [
                typed("edit", str(COFFEE), "Make it blue"),
                typed("edit", str(COFFEE), "Make it blue", "--json"),
                typed("doctor"),
                typed("doctor", "--json"),
                typed("estimate"),
            ]
        assert [ended.code for ended in endings] == [1, 1, 1, 1, 0]
        assert "403" in endings[0].err
        assert not any(KEY in ended.out + ended.err for ended in endings)
        assert not any(KEY.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    def test_a_terminal_sees_a_bar(self, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        ended = typed("edit", str(COFFEE), "Make it brown")
        assert "Preparing" in ended.err
        assert "The sandbox paints for 0 s" in plain(ended.err)
        assert ended.out.count("\n") == 1


class TestSources:
    @pytest.mark.parametrize("spelling", ["kept.png", "~/kept.png", "{}/kept.png", "file://{}/kept.png"])
    def test_a_file_that_is_typed_is_allowed_by_that(
        self, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        shutil.copy(COFFEE, tmp_path / "kept.png")
        assert typed("edit", spelling.format(tmp_path), "Make it blue").code == 0

    def test_the_file_is_allowed_and_not_its_folder(self, environ: dict[str, str]) -> None:
        before = read_settings(environ)
        sources, after = allow_typed(["a.png", "last", "https://example.com/b.png", ""], before)
        a = Path.cwd() / "a.png"
        assert sources == [str(a), "last", "https://example.com/b.png", ""]
        assert set(after.allowed_dirs) - set(before.allowed_dirs) == {a}

    def test_the_newest_result_goes_on_to_the_next_edit(self, typed: Typed) -> None:
        assert typed("edit", str(COFFEE), "Make it blue").code == 0
        assert typed("edit", "last", "Mirror it").code == 0

    def test_an_allowed_folder_is_named_with_an_option(self, typed: Typed) -> None:
        ended = typed("edit", "--allow", "~nobody-has-this-name", str(COFFEE), "Make it blue")
        assert ended.code == 1
        assert "--allow is '~nobody-has-this-name'" in ended.err


class TestTask:
    def test_an_earlier_edit_is_shown_as_it_was(self, typed: Typed) -> None:
        first = typed("edit", str(COFFEE), "Make it sepia")
        task_id = json.loads(typed("edit", str(COFFEE), "Make it red", "--json").out)["task_id"]
        again = typed("task", task_id)
        assert again.code == 0
        assert again.paths != first.paths
        assert again.paths[0].exists()
        assert typed("task", f" {task_id} ", "--json").answer["images"][0]["path"] == str(again.paths[0])

    def test_a_picture_that_is_gone_is_noted_and_its_path_not_printed(self, typed: Typed) -> None:
        ended = typed("task", "pro-0")
        assert (ended.code, ended.out) == (0, "")
        assert "gone.png is no longer there" in ended.err

    @pytest.mark.parametrize(("task_id", "code"), [("nobodys", 1), (" ", 2)])
    def test_an_id_that_nobody_knows_is_an_error(self, typed: Typed, task_id: str, code: int) -> None:
        ended = typed("task", task_id)
        assert (ended.code, ended.out) == (code, "")
        assert ended.err.startswith("Error: ")

    def test_an_edit_with_another_provider_is_not_waited_for(self, typed: Typed, tmp_path: Path) -> None:
        theirs = an_edit("edit-theirs", task_id="theirs", provider=NOVITA)
        asyncio.run(written(tmp_path / "home", theirs))
        ended = typed("task", "theirs")
        assert (ended.code, ended.out) == (1, "")
        assert "The edit is queued. To ask again: kontext-edit task theirs" in ended.err
        assert "provider 'novita'" in ended.err


async def test_waiting_goes_on_round_after_round_until_the_edit_is_settled(
    environ: dict[str, str], clock: FakeClock
) -> None:
    sandbox = Sandbox(clock=clock, progression=AfterSeconds(130), base_url="http://localhost")
    settings = read_settings(environ, [str(COFFEE.parent)])
    app = open_app(
        settings, working_dir=COFFEE.parent, clock=clock, transport=httpx.ASGITransport(app=sandbox.app)
    )
    with person() as caller:
        call = parse_edit({"prompt": "Make it blue", "images": [str(COFFEE)], "wait_seconds": 0}, "pro")
        begun = await app.editor.edit(call, caller)
        outcome = await until_settled(app.editor, begun.task.id, clock, caller)
    await app.close()
    assert outcome.task.status == "succeeded"


class Terminal(io.StringIO):
    """Where a person types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stdin", "consent"),
    [
        (Terminal("y\n"), Consent.GIVEN),
        (Terminal("Yes \n"), Consent.GIVEN),
        (Terminal("\n"), Consent.DECLINED),
        (Terminal(""), Consent.DECLINED),
        (io.StringIO("y\n"), Consent.IMPOSSIBLE),
    ],
)
async def test_a_dear_edit_is_asked_about_where_a_person_can_answer(
    stdin: io.StringIO,
    consent: Consent,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    with person() as caller:
        assert await caller.consent("Buy this edit for 2.00 USD?", "subject") is consent
    asked = "Buy this edit for 2.00 USD? [y/N]\n"
    assert capsys.readouterr().err == (asked if stdin.isatty() else "")
