"""The commands about static tokens: a token is shown once, on stdout alone, and kept nowhere."""

import json
import logging
from pathlib import Path

import pytest
from tests.shell import plain

from kontext_edit.cli import tokens as commands
from kontext_edit.cli.main import run
from kontext_edit.errors import InvalidArguments
from kontext_edit.journal.book import Journal
from kontext_edit.tokens import digest


@pytest.fixture
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Journal:
    return Journal(tmp_path_factory.mktemp("home") / "journal.sqlite3")


async def test_a_new_token_stands_alone_on_stdout_and_works(
    keeper: Journal, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await commands.add(keeper, "anna", "edit", 1_790_000_000)
    out, err = capsys.readouterr()
    (token,) = out.splitlines()
    kept = await keeper.token(digest(token))
    assert kept is not None
    assert (kept.name, kept.scopes) == ("anna", ("edit",))
    assert "not shown again" in err
    for text in (err, caplog.text, repr(kept), keeper.path.read_bytes().decode("latin-1")):
        assert token not in text


async def test_the_list_tells_names_scopes_and_days(
    keeper: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    await commands.add(keeper, "bob", "read", 1_790_000_000)
    await commands.add(keeper, "anna", "edit", 1_790_000_000)
    capsys.readouterr()
    await commands.show(keeper, as_json=True)
    told = json.loads(capsys.readouterr().out)["tokens"]
    assert told[0] == {"name": "anna", "scopes": ["edit"], "created": "2026-09-21T14:13:20+00:00"}
    assert [row["name"] for row in told] == ["anna", "bob"]
    await commands.show(keeper, as_json=False)
    table = plain(capsys.readouterr().out)
    assert table.index("anna") < table.index("bob")


async def test_a_removed_token_is_gone(keeper: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    await commands.add(keeper, "anna", "edit", 0)
    token = capsys.readouterr().out.strip()
    await commands.remove(keeper, "anna")
    assert await keeper.token(digest(token)) is None
    assert "within half a minute" in capsys.readouterr().err
    with pytest.raises(InvalidArguments, match="no token of this name"):
        await commands.remove(keeper, "anna")


@pytest.mark.parametrize(
    ("name", "scope", "told"),
    [("Anna Smith", "edit", "1 to 64"), ("anna", "admin", "no scope 'admin'"), ("bob", "edit", "bob")],
)
async def test_what_cannot_be_added_is_refused_and_no_token_is_shown(
    name: str, scope: str, told: str, keeper: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    await commands.add(keeper, "bob", "read", 0)
    capsys.readouterr()
    with pytest.raises(InvalidArguments, match=told):
        await commands.add(keeper, name, scope, 0)
    assert capsys.readouterr().out == ""


def test_the_commands_make_list_and_remove_tokens_of_the_journal_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KONTEXT_HOME", str(tmp_path))

    def command(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            run(["tokens", *arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().out

    code, token = command("add", "anna", "--scope", "read")
    assert (code, token[:4]) == (0, "kxt_")
    code, listed = command("list", "--json")
    assert [row["name"] for row in json.loads(listed)["tokens"]] == ["anna"]
    assert token.strip() not in listed
    assert command("add", "anna")[0] == 2
    assert command("remove", "anna") == (0, "")
    assert command("remove", "anna")[0] == 2
