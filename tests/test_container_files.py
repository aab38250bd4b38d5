"""What an operator starts the server with: linted here, since nothing here runs containers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent
OPERATING = HOME / "docs" / "operating.md"


def settings() -> set[str]:
    """The names of every setting that the program reads."""
    source = "\n".join(file.read_text() for file in (HOME / "src" / "kontext_edit").rglob("*.py"))
    return set(re.findall(r'"(KONTEXT_[A-Z_]+)"', source))


def lint(*command: str) -> None:
    linted = subprocess.run(  # noqa: S603 - a tool of this environment, on our own files
        [TOOLS / command[0], *command[1:]], cwd=HOME, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_dockerfile_passes_its_linter() -> None:
    lint("hadolint", "Dockerfile")


def test_the_compose_file_fits_its_published_schema() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "docs/operating.md"])
def test_every_setting_that_an_operator_is_told_of_exists(name: str) -> None:
    told = set(re.findall(r"\bKONTEXT_[A-Z_]+\b", (HOME / name).read_text()))
    assert told
    assert told <= settings()


def test_the_guide_names_every_variable_that_the_compose_file_asks_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (HOME / "compose.yaml").read_text()))
    told = OPERATING.read_text()
    assert asked
    assert [name for name in asked if f"{name}=" not in told] == []


def test_the_image_is_built_from_files_that_exist_and_are_let_in() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (HOME / "Dockerfile").read_text(), re.MULTILINE)
    let_in = {line[1:] for line in (HOME / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    needed = {name for line in copied for name in line.split()}
    assert needed == let_in
    assert [name for name in needed if not (HOME / name).exists()] == []


def test_no_secret_stands_in_the_files_and_no_image_floats() -> None:
    compose = (HOME / "compose.yaml").read_text()
    secrets = re.findall(r"^ +\w*(?:KEY|SECRET|PASSWORD)\w*: *(.+)$", compose, re.MULTILINE)
    assert len(secrets) == 6
    assert all(value.startswith("${") for value in secrets)
    images = re.findall(r"(?:image:|FROM) (\S+)", compose + (HOME / "Dockerfile").read_text())
    assert [image for image in images if ":" not in image or image.endswith("latest")] == ["kontext-edit"]


def test_the_server_runs_as_nobody_in_particular() -> None:
    dockerfile = (HOME / "Dockerfile").read_text()
    user = re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    assert user is not None
    assert int(user[1]) >= 10_000
    assert f"uid={user[1]}," in (HOME / "compose.yaml").read_text()
