"""The doctor: every line says how something is, and a bad one says what to do."""

import shutil
import socket
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from tests.conftest import KEY

from kontext_edit.clock import SystemClock
from kontext_edit.doctor import Check, State, examine
from kontext_edit.sandbox.api import Sandbox
from kontext_edit.sandbox.tasks import Immediate


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def upstream(balance: str = "12.5", keys: frozenset[str] = frozenset({KEY})) -> httpx.AsyncBaseTransport:
    """The API, with a balance in US dollars and the keys that it knows."""
    sandbox = Sandbox(clock=SystemClock(), progression=Immediate(), keys=keys, balance_usd=Decimal(balance))
    return httpx.ASGITransport(app=sandbox.app)


async def examined(
    environ: Mapping[str, str],
    *allow: str,
    transport: httpx.AsyncBaseTransport | None = None,
) -> dict[str, Check]:
    checks = await examine(environ, allow=allow, transport=transport)
    assert not any(KEY in str(check) for check in checks)
    assert all(check.advice for check in checks if check.state is State.PROBLEM)
    return {check.name: check for check in checks}


async def test_a_fresh_installation_without_a_key_works_and_says_what_a_key_would_bring(
    environ: dict[str, str],
) -> None:
    checks = await examined(environ)
    assert [*checks] == ["key", "provider", "home", "output", "allowed", "journal", "budget", "versions"]
    assert {name for name, check in checks.items() if check.state is not State.OK} == {"key"}
    assert checks["key"].state is State.WARNING
    assert "https://novita.ai/settings/key-management" in checks["key"].advice
    assert "no model runs, nothing is billed" in checks["provider"].found


async def test_with_a_key_the_provider_is_asked_for_the_balance(environ: dict[str, str]) -> None:
    checks = await examined(environ | {"NOVITA_API_KEY": KEY}, transport=upstream("12.5"))
    assert checks["key"] == Check("key", State.OK, "NOVITA_API_KEY is set")
    found = "novita at https://api.novita.ai answers; the balance is 12.50 USD"
    assert checks["provider"] == Check("provider", State.OK, found)


async def test_a_balance_that_buys_nothing_is_a_warning(environ: dict[str, str]) -> None:
    checks = await examined(environ | {"NOVITA_API_KEY": KEY}, transport=upstream("0.0179"))
    assert checks["provider"].state is State.WARNING
    assert "at least 0.018 USD" in checks["provider"].advice
    assert "https://novita.ai/billing" in checks["provider"].advice


async def test_a_key_that_is_refused_is_a_problem_and_is_not_shown(environ: dict[str, str]) -> None:
    transport = upstream(keys=frozenset({"another"}))
    checks = await examined(environ | {"NOVITA_API_KEY": KEY}, transport=transport)
    assert checks["provider"].state is State.PROBLEM
    assert "403 INVALID_API_KEY" in checks["provider"].found
    assert "NOVITA_API_KEY" in checks["provider"].advice


async def test_a_provider_that_cannot_be_reached_is_a_problem_that_says_where_to_look(
    environ: dict[str, str],
) -> None:
    with socket.socket() as unused:  # bound and not listening: nobody else gets the port, nobody answers
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        checks = await examined(environ | {"NOVITA_API_KEY": KEY, "NOVITA_BASE_URL": url})
    assert checks["provider"].state is State.PROBLEM
    assert f"novita at {url}" in checks["provider"].found
    assert "cannot be reached" in checks["provider"].found
    assert checks["provider"].advice


async def test_a_sandbox_elsewhere_on_this_machine_says_that_it_is_one(environ: dict[str, str]) -> None:
    elsewhere = {"KONTEXT_PROVIDER": "sandbox", "NOVITA_BASE_URL": "http://localhost:8787"}
    checks = await examined(environ | elsewhere, transport=upstream(keys=frozenset({"sandbox"})))
    assert checks["provider"].state is State.OK
    assert "no model runs, nothing is billed" in checks["provider"].found
    assert "balance" not in checks["provider"].found


async def test_folders_that_are_there_or_can_be_made_are_fine(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    checks = await examined(environ)
    assert checks["home"].found.startswith(f"{tmp_path / 'home'}: writable, made when it is needed, ")
    assert checks["output"].found.startswith(f"{tmp_path / 'out'}: writable, ")
    assert checks["output"].found.endswith(" GB free")
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_folder_that_cannot_be_made_is_a_problem_of_the_folder_and_of_the_journal(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    checks = await examined(environ | {"KONTEXT_HOME": str(tmp_path / "file" / "home")})
    assert checks["home"].state is State.PROBLEM
    assert "set KONTEXT_HOME to another folder" in checks["home"].advice
    assert checks["journal"].state is State.PROBLEM
    assert checks["output"].state is State.OK


async def test_a_full_disk_is_a_warning(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(_: Path) -> Usage:
        return Usage(10**12, 10**12 - 10**8, 10**8)

    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    checks = await examined(environ)
    assert checks["output"].state is State.WARNING
    assert checks["output"].found.endswith("0.1 GB free")
    assert "Make room" in checks["output"].advice


async def test_a_named_folder_that_is_not_there_is_a_warning(environ: dict[str, str], tmp_path: Path) -> None:
    checks = await examined(environ, str(tmp_path / "nowhere"))
    assert checks["allowed"].state is State.WARNING
    assert f"no folder: {tmp_path / 'nowhere'}" in checks["allowed"].found
    assert str(tmp_path / "in") in checks["allowed"].found
    assert "--allow" in checks["allowed"].advice


async def test_the_usual_folders_need_not_be_there(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    del environ["KONTEXT_ALLOWED_DIRS"]
    checks = await examined(environ)
    assert checks["allowed"].state is State.OK


async def test_settings_that_cannot_be_used_are_told_and_the_rest_is_looked_at_all_the_same(
    environ: dict[str, str],
) -> None:
    broken = environ | {"KONTEXT_DEFAULT_TIER": "ultra", "NOVITA_API_KEY": KEY}
    checks = await examined(broken, transport=upstream())
    assert checks["settings"].state is State.PROBLEM
    assert "KONTEXT_DEFAULT_TIER is 'ultra'; it must be one of dev, pro, max." in checks["settings"].found
    assert "the balance is 12.50 USD" in checks["provider"].found
    assert environ["KONTEXT_HOME"] in checks["home"].found


@pytest.mark.parametrize(
    "broken",
    [
        {"NOVITA_API_KEY": "two words"},
        {"NOVITA_API_KEY": KEY, "NOVITA_BASE_URL": "http://elsewhere.example"},
        {"KONTEXT_PROVIDER": "novita"},
        {"KONTEXT_PROVIDER": "novita", "NOVITA_API_KEY": "two words"},
    ],
)
async def test_nobody_is_asked_with_a_key_or_an_address_that_cannot_be_used(
    environ: dict[str, str], broken: dict[str, str]
) -> None:
    checks = await examined(environ | broken, transport=upstream())
    assert checks["settings"].state is State.PROBLEM
    assert "two words" not in str(checks)
    assert checks["provider"] == Check(
        "provider", State.WARNING, "not asked while its settings cannot be used"
    )


async def test_a_home_that_nobody_has_is_left_out(environ: dict[str, str]) -> None:
    checks = await examined(environ, "~nobody-has-this-name/pictures")
    assert "--allow is '~nobody-has-this-name/pictures'" in checks["settings"].found
    assert checks["allowed"].state is State.OK
