"""A client that is not ours and has the protocol's tasks, FastMCP's, edits a picture over a restart.

`make fastmcp` brings it; without it this test is skipped, except in continuous integration.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.loopback import served
from tests.surroundings import machine_environ

from kontext_edit.sandbox.tasks import AfterSeconds

PROJECT = Path(__file__).parent.parent
PLACE = PROJECT / ".tools" / "fastmcp"
PYTHON = PLACE / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture
def environ_of_both(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    if not PYTHON.exists() and not os.environ.get("CI"):
        pytest.skip("FastMCP is not here; `make fastmcp` brings it")
    assert PYTHON.exists(), "continuous integration brings FastMCP: run `make fastmcp` first"
    Image.new("RGB", (300, 200), "teal").save(Path(environ["KONTEXT_ALLOWED_DIRS"]) / "photo.jpg")
    return machine_environ() | environ | {"HOME": str(tmp_path), "FASTMCP_SHOW_CLI_BANNER": "false"}


def ask(environ: dict[str, str], what: str, *arguments: str, handle: str = "") -> Any:
    """One run of the client, with a server process that ends with it."""
    ended = subprocess.run(  # noqa: S603 - the client that the project has brought
        [str(PYTHON), str(PROJECT / "tests" / "fastmcp_client.py"), what, sys.executable, *arguments],
        env=environ,
        input=handle,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_fastmcp_begins_an_edit_and_finishes_it_with_the_next_server(environ_of_both: dict[str, str]) -> None:
    arguments = json.dumps({"prompt": "Blur it", "images": ["photo.jpg"], "seed": 1})
    with served(AfterSeconds(4)) as sandbox:
        environ = environ_of_both | sandbox.environ
        handle = ask(environ, "begin", arguments)
        assert handle["status"] == "working"
        result = ask(environ, "finish", handle=json.dumps(handle))
        again = ask(environ, "finish", handle=json.dumps(handle))
        assert len(sandbox.sandbox.submissions) == 1
    assert result["status"] == "succeeded"
    (picture,) = result["images"]
    assert Path(picture["path"]).stat().st_size == picture["bytes"]
    assert again == result, "asking again brings the same picture"
