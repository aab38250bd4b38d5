"""What the server imports before a client can see its tools, so that the start cannot rot unseen."""

from pathlib import Path

import pytest
from tests.startup import BEYOND, HELLO, OURS, OURS_SERVED, lists, modules

HEAVY = {
    "PIL",
    "httpx",
    "jsonschema",
    "jwt",
    "kontext_edit.app",
    "kontext_edit.cli",
    "obstore",
    "pillow_heif",
    "prometheus_client",
    "psycopg",
    "rich",
    "sqlite3",
    "truststore",
    "typer",
}

WRITE_ANEW = "is it meant? then: python -m tests.startup"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[str]]:
    return lists(tmp_path_factory.mktemp("startup"))


@pytest.mark.parametrize("snapshot", [OURS, BEYOND], ids=lambda path: path.stem)
def test_the_start_imports_what_its_snapshot_says(snapshot: Path, found: dict[Path, list[str]]) -> None:
    assert found[snapshot] == snapshot.read_text(encoding="utf-8").splitlines(), WRITE_ANEW


def test_the_start_imports_nothing_heavy_that_the_sdk_does_not(tmp_path: Path) -> None:
    assert not HEAVY & (modules(OURS_SERVED, tmp_path) - modules(HELLO, tmp_path))
