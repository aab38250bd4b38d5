"""The documents say what the program does: fresh generated tables, all settings, all commands, live links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.surroundings import settings_of_operators, settings_read

from kontext_edit.tiers import DEFAULT_TIER
from kontext_edit.tools import make_tools

PROJECT = Path(__file__).parent.parent
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("examples/*.md"), *PROJECT.glob("docs/**/*.md")])
README = (PROJECT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def section(heading: str, document: str) -> str:
    """What stands below a heading of a document, up to the next one."""
    return document.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def first_column(heading: str, document: str = README) -> list[str]:
    """The first cells of the table in a section, without backticks."""
    cells = re.findall(r"^\| (.+?) \|", section(heading, document), re.MULTILINE)
    return [cell.replace("`", "") for cell in cells if not cell.startswith("---")][1:]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own programs in our own interpreter
        [sys.executable, "-m", *arguments],
        cwd=PROJECT,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_the_generated_tables_are_fresh() -> None:
    checked = run("cogapp", "--check", "--diff", "README.md")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_setting_of_a_person_stands_in_the_readmes_table_and_no_other() -> None:
    assert sorted(first_column("Settings")) == sorted(settings_read() - settings_of_operators())


def test_every_setting_of_an_operator_stands_in_their_documents_table_and_no_other() -> None:
    document = (PROJECT / "docs" / "operating.md").read_text(encoding="utf-8")
    assert sorted(first_column("Settings", document)) == sorted(settings_of_operators())


def test_every_tool_stands_in_the_table_and_no_other() -> None:
    assert first_column("The tools") == list(make_tools(DEFAULT_TIER))


def test_every_command_stands_in_the_table_and_no_other() -> None:
    told = run("kontext_edit", "--help").stdout
    commands = re.findall(r"^\W*([a-z]+)\s{2,}\S", told.split("Commands", 1)[1], re.MULTILINE)
    named = [cell.split()[1] for cell in first_column("Command line")]
    assert commands
    assert sorted(named) == sorted(commands)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_links_to_in_the_project_is_there(document: Path) -> None:
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    relative = [target.partition("#")[0] for target in targets if "://" not in target]
    missing = [target for target in relative if target and not (document.parent / target).exists()]
    assert not missing


def test_the_picture_of_the_readme_is_small() -> None:
    assert (PROJECT / "docs" / "before-after.jpg").stat().st_size <= 150_000
