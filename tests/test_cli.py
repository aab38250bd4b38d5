"""The commands beside edits, the help, and the program as a process of its own."""

import logging
import os
import re
import signal
import sys
from pathlib import Path

import httpx
import jsonschema
import pytest
from tests import loopback as loopbacks
from tests import shell
from tests.loopback import served
from tests.shell import COFFEE, Typed, plain, started

from kontext_edit.cli import run
from kontext_edit.logs import Keyless
from kontext_edit.sandbox.tasks import AfterSeconds
from kontext_edit.schema import all_parameters, flat_parameter
from kontext_edit.tools import make_tools

loopback, typed = loopbacks.loopback, shell.typed


class TestEstimate:
    def test_the_tiers_stand_side_by_side(self, typed: Typed) -> None:
        ended = typed("estimate", "--edits", "10000")
        assert ended.code == 0
        shown = plain(ended.out)
        for number in ("0.0225", "0.018", "0.036", "0.072", "360.00", "400.00"):
            assert number in shown
        assert "2026-06-26" in shown

    def test_json_is_the_structured_content_of_the_tool(self, typed: Typed) -> None:
        ended = typed(
            "estimate", "--tier", "dev", "--fast-mode", "--num-images", "4", "--edits", "10", "--json"
        )
        jsonschema.validate(ended.answer, make_tools("pro")["estimate_cost"].definition.output_schema or {})
        assert [row["total_usd"] for row in ended.answer["estimates"]] == ["0.72"]

    def test_bad_arguments_are_told_in_the_words_of_the_spec(self, typed: Typed) -> None:
        ended = typed("estimate", "--num-images", "5", "--edits", "many")
        assert (ended.code, ended.out) == (2, "")
        assert "`num_images` must be a whole number from 1 to 4; got 5." in ended.err
        assert "got 'many'" in ended.err


class TestDoctor:
    def test_a_sound_installation_has_a_line_for_everything(self, typed: Typed) -> None:
        ended = typed("doctor")
        assert ended.code == 0
        for name in ("key", "provider", "home", "output", "allowed", "journal", "versions"):
            assert re.search(rf"(ok|warning)\s+{name}\s", ended.out)

    def test_a_problem_is_in_the_exit_code_and_in_the_json(
        self, typed: Typed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KONTEXT_IMAGE_ENCODING", "smoke signals")
        ended = typed("doctor", "--json", "--allow", "nowhere")
        assert ended.code == 1
        first, *others = ended.answer["checks"]
        assert (first["name"], first["state"]) == ("settings", "problem")
        assert "KONTEXT_IMAGE_ENCODING is 'smoke signals'" in first["found"]
        assert {check["state"] for check in others} == {"ok", "warning"}


class TestHelp:
    @pytest.mark.parametrize("columns", ["80", "200"])
    def test_every_option_of_every_tier_is_in_the_help_of_edit(
        self, typed: Typed, monkeypatch: pytest.MonkeyPatch, columns: str
    ) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        ended = typed("edit", "--help")
        assert ended.code == 0
        for name in all_parameters():
            if name not in ("prompt", "images"):
                assert f"--{name.replace('_', '-')} " in plain(ended.out)
        assert "--tier " in plain(ended.out)

    def test_the_help_has_the_specs_sentences_and_defaults(self, typed: Typed) -> None:
        shown = plain(typed("edit", "-h").out)
        for name in ("num_inference_steps", "guidance_scale", "safety_tolerance", "size"):
            assert str(flat_parameter(name)["description"]) in shown
        assert "Default: dev 2.5; pro, max 3.5." in shown
        assert "A whole number from 1 to 50. Default: 28." in shown

    def test_the_commands_are_listed(self, typed: Typed) -> None:
        ended = typed("--help")
        assert ended.code == 0
        assert re.findall(r"^│ (edit|task|estimate|doctor|sandbox) ", ended.out, re.MULTILINE) == [
            *("edit", "task", "estimate", "doctor", "sandbox")
        ]

    def test_the_version_is_told(self, typed: Typed) -> None:
        assert re.fullmatch(r"kontext-edit \d+\.\d+\.\d+\n", typed("--version").out)

    def test_an_unknown_command_is_a_bad_argument(self, typed: Typed) -> None:
        ended = typed("paint")
        assert ended.code == 2
        assert "No such command 'paint'" in ended.err


def test_a_mistake_of_the_program_itself_is_logged_and_ends_in_failure(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    monkeypatch.chdir(doomed)
    doomed.rmdir()
    with pytest.raises(SystemExit) as ended:
        run(["task", "pro-0"])
    assert ended.value.code == 1
    assert "This is a mistake of kontext-edit itself" in capfd.readouterr().err
    assert typed("--version").code == 0


posix = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent with a POSIX signal")


class TestProcess:
    def test_without_a_key_the_embedded_sandbox_edits(self, environ: dict[str, str]) -> None:
        bare = {name: "" for name in os.environ if name.startswith(("NOVITA_", "KONTEXT_"))}
        with started("edit", str(COFFEE), "Make it warmer", "--tier", "dev", **bare | environ) as process:
            out, err = process.communicate()
        assert process.returncode == 0
        assert Path(out.rstrip("\n")).is_file()
        assert "no model ran, nothing was billed" in err

    @posix
    def test_ctrl_c_ends_the_waiting_and_tells_how_to_come_back(self, typed: Typed) -> None:
        with served(AfterSeconds(3600)) as slow:
            with started("edit", str(COFFEE), "Make it blue", NOVITA_BASE_URL=slow.url) as process:
                assert process.stderr is not None
                begun = process.stderr.readline()
                process.send_signal(signal.SIGINT)
                out, err = process.communicate()
            assert process.returncode == 130
            assert len(slow.sandbox.submissions) == 1
        (task_id,) = re.findall(r"kontext-edit task (\S+)", begun)
        assert f"The edit goes on upstream; its picture: kontext-edit task {task_id}" in err
        assert "Traceback" not in err
        assert out == ""
        assert typed("task", "--help").code == 0

    @posix
    def test_ctrl_c_ends_an_edit_of_the_embedded_sandbox_and_says_so(self, environ: dict[str, str]) -> None:
        with started(
            "edit", str(COFFEE), "Make it blue", **environ, FORCE_COLOR="1", TERM="xterm"
        ) as process:
            assert process.stderr is not None
            seen = ""
            while "The sandbox paints" not in seen:
                seen += process.stderr.read(1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        assert process.returncode == 130
        assert "the edit ended with it; nothing was billed" in plain(err)
        assert out == ""

    @posix
    def test_the_sandbox_is_served_alone_until_ctrl_c(self) -> None:
        with started("sandbox", "--port", "0", "--progression", "immediate") as process:
            assert process.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
            assert found is not None
            balance = httpx.get(
                f"{found[0]}/openapi/v1/billing/balance/detail",
                headers={"Authorization": "Bearer any"},
                trust_env=False,
            )
            assert balance.status_code == 200
            process.send_signal(signal.SIGINT)
            process.communicate()
        assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--progression", "soon"), '"soon" is no progression'),
        (("--port", "70000"), "70000"),
        (("--port", "x"), "--port"),
    ],
)
def test_a_sandbox_that_cannot_be_served_so_says_why(typed: Typed, words: tuple[str, ...], told: str) -> None:
    ended = typed("sandbox", *words)
    assert ended.code == 2
    assert told in ended.err


def test_logs_carry_no_key_however_it_is_spelled() -> None:
    def line(key: str | None, message: str) -> str:
        return Keyless(key).format(logging.LogRecord("room", logging.ERROR, "", 0, message, None, None))

    assert line("sk\\1", "Bearer sk\\1 and b'sk\\\\1'") == "ERROR room: Bearer [key] and b'[key]'"
    assert line(None, "nothing to hide") == "ERROR room: nothing to hide"
