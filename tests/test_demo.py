"""The demonstration is the first thing that a person runs: no key, no cost, and how to go on."""

import json
import re
import subprocess
import sys
from pathlib import Path

from examples.demo import PROJECT, server_environment
from PIL import Image
from tests.conftest import KEY
from tests.surroundings import machine_environ


def run_demo(**environ: str) -> str:
    """What the demonstration prints, in an environment without anybody's settings."""
    run = subprocess.run(  # noqa: S603 - our own script in our own interpreter
        [sys.executable, str(PROJECT / "examples" / "demo.py")],
        env=machine_environ() | environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_demonstration_edits_a_photograph_and_ends_with_its_path_its_cost_and_how_to_connect(
    tmp_path: Path,
) -> None:
    told = run_demo(
        KONTEXT_OUTPUT_DIR=str(tmp_path / "pictures"),
        KONTEXT_HOME=str(tmp_path / "home"),
        NOVITA_API_KEY=KEY,  # which it must leave alone
    )
    path = re.search(r"^ +result +(.+)$", told, re.MULTILINE)
    assert path is not None
    with Image.open(path[1]) as picture:
        assert picture.size == (600, 400)
    assert Path(path[1]).parent == tmp_path / "pictures"
    assert re.search(r"^ +cost +0 USD \(with a key: 0\.036 USD\)$", told, re.MULTILINE)
    assert "100%  succeeded after" in told
    assert told.startswith("Kontext Edit on its sandbox: no model runs, and nothing is billed.")
    assert "NOVITA_API_KEY is set; this demonstration leaves it alone." in told
    assert KEY not in told
    assert "claude mcp add kontext-edit -- " in told
    desktop = re.search(r"^    (\{\n.*?^    \})$", told, re.MULTILINE | re.DOTALL)
    assert desktop is not None
    server = json.loads(desktop[1])["mcpServers"]["kontext-edit"]
    assert Path(server["command"]).is_absolute()


def test_its_results_go_where_the_person_wants_them_else_into_the_ignored_folder_out() -> None:
    chosen = {"KONTEXT_OUTPUT_DIR": "/pictures", "KONTEXT_HOME": "/journal", "NOVITA_API_KEY": KEY}
    assert (
        server_environment(chosen).items()
        >= {
            "KONTEXT_OUTPUT_DIR": "/pictures",
            "KONTEXT_HOME": "/journal",
            "KONTEXT_PROVIDER": "sandbox",
        }.items()
    )
    assert "NOVITA_API_KEY" not in server_environment(chosen)
    ignored = (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/out/" in ignored
    assert server_environment({})["KONTEXT_OUTPUT_DIR"] == str(PROJECT / "out")
    assert Path(server_environment({})["KONTEXT_HOME"]).is_relative_to(PROJECT / "out")
