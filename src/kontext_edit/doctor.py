"""A look at the installation: what works, what does not, and what to do about it.

The key is never part of what is found.
"""

import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

import httpx

from kontext_edit.app import App, open_app
from kontext_edit.clock import SystemClock
from kontext_edit.errors import InvalidSettings, JournalUnavailable, KontextError
from kontext_edit.images.wording import listed
from kontext_edit.novita import KEY_PAGE
from kontext_edit.pricing import quotes, usd
from kontext_edit.reader import given
from kontext_edit.settings import Settings, read_settings
from kontext_edit.task import LOCAL, SANDBOX

_LITTLE_SPACE = 500_000_000
"""Bytes; a person should know when there are fewer."""
_PROVIDER_SETTINGS = ("NOVITA_API_KEY", "NOVITA_BASE_URL", "KONTEXT_PROVIDER")
_PACKAGES = ("kontext-edit", "mcp", "pillow")


class State(StrEnum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, what was found, and what to do about it."""

    name: str
    state: State
    found: str
    advice: str = ""


async def examine(
    environ: Mapping[str, str],
    *,
    allow: Sequence[str] = (),
    transport: httpx.AsyncBaseTransport | None = None,
) -> list[Check]:
    """Look at everything. Settings that cannot be used are told, and left out of the rest.

    Args:
        environ: the environment to read the settings from.
        allow: folders named on the command line.
        transport: the seam for HTTP.
    """
    settings, wrong = _usable_settings(environ, allow)
    checks = [Check("settings", State.PROBLEM, wrong, "Correct them where they are set.")] if wrong else []
    app = open_app(settings, working_dir=Path.cwd(), transport=transport)
    try:
        checks += [
            _key(environ),
            await _provider(app, wrong),
            _folder("home", settings.home, "KONTEXT_HOME"),
            _folder("output", settings.output_dir, "KONTEXT_OUTPUT_DIR"),
            _allowed(settings, named=bool(allow or given(environ.get("KONTEXT_ALLOWED_DIRS")))),
            await _journal(app),
            *await _budgets(app),
            _versions(),
        ]
    finally:
        await app.close()
    return checks


def _usable_settings(environ: Mapping[str, str], allow: Sequence[str]) -> tuple[Settings, str]:
    """The settings without those that cannot be used, and what is wrong with these."""
    try:
        return read_settings(environ, allow), ""
    except InvalidSettings as error:
        wrong = error.message
    left_out = {name for name in environ if name in wrong}
    if left_out.intersection(_PROVIDER_SETTINGS):
        left_out.update(_PROVIDER_SETTINGS)
    rest = {name: value for name, value in environ.items() if name not in left_out}
    return read_settings(rest, () if "--allow" in wrong else allow), wrong


def _key(environ: Mapping[str, str]) -> Check:
    if given(environ.get("NOVITA_API_KEY")):
        return Check("key", State.OK, "NOVITA_API_KEY is set")
    return Check(
        "key",
        State.WARNING,
        "NOVITA_API_KEY is not set, so no model can be asked",
        f"Make a key at {KEY_PAGE} and set it where this server is configured.",
    )


async def _provider(app: App, wrong: str) -> Check:
    """Where edits go, and whether it answers; free of charge."""
    if any(name in wrong for name in _PROVIDER_SETTINGS):
        return Check("provider", State.WARNING, "not asked while its settings cannot be used")
    if app.settings.embedded_sandbox:
        return Check("provider", State.OK, "the embedded sandbox: no model runs, nothing is billed")
    where = f"{app.settings.provider} at {app.settings.base_url}"
    try:
        balance = await app.novita.balance_usd()
    except KontextError as error:
        advice = error.hint or "Look at the network, a proxy or a firewall, and at NOVITA_BASE_URL."
        return Check("provider", State.PROBLEM, f"{where}: {error.message}", advice)
    if app.settings.provider == SANDBOX:
        return Check("provider", State.OK, f"{where} answers: no model runs, nothing is billed")
    found = f"{where} answers; the balance is {usd(balance)} USD"
    cheapest = quotes()[0].total_usd
    if balance < cheapest:
        advice = f"An edit costs at least {usd(cheapest)} USD; top up at https://novita.ai/billing."
        return Check("provider", State.WARNING, found, advice)
    return Check("provider", State.OK, found)


def _folder(name: str, folder: Path, setting: str) -> Check:
    """Whether a folder of ours can be written to, or made where it is not there yet."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        advice = f"Ask for the right to write there, or set {setting} to another folder."
        return Check(name, State.PROBLEM, f"{folder} cannot be written to: {error.strerror}", advice)
    made = "" if there == folder else ", made when it is needed"
    found = f"{folder}: writable{made}, {free / 1e9:.1f} GB free"
    if free < _LITTLE_SPACE:
        return Check(name, State.WARNING, found, "Make room: a result has up to a few megabytes.")
    return Check(name, State.OK, found)


def _allowed(settings: Settings, *, named: bool) -> Check:
    """Where sources may be read; the usual folders need not be there, those that a person named should."""
    folders = [folder for folder in settings.allowed_dirs if folder != settings.output_dir]
    there = [folder for folder in folders if folder.is_dir()]
    found = f"sources are read from: {listed([*there, settings.output_dir])}"
    missing = [folder for folder in folders if folder not in there]
    if missing and named:
        advice = "Correct KONTEXT_ALLOWED_DIRS or --allow, or make the folder."
        return Check("allowed", State.WARNING, f"{found}; no folder: {listed(missing)}", advice)
    return Check("allowed", State.OK, found)


async def _journal(app: App) -> Check:
    try:
        await app.journal.last(LOCAL)
    except JournalUnavailable as error:
        return Check("journal", State.PROBLEM, error.message, error.hint)
    damaged = sorted(app.settings.home.glob(f"{app.settings.journal_path.name}.damaged-*"))
    if damaged:
        found = f"{app.journal.place} opens; kept aside because damaged: {listed(damaged)}"
        return Check("journal", State.WARNING, found, "Edits in there are not known any more; move it away.")
    return Check("journal", State.OK, f"{app.journal.place} opens")


async def _budgets(app: App) -> list[Check]:
    """What is left of each limit; nothing where the journal cannot tell."""
    try:
        spendings = await app.journal.spendings(app.settings.limits, LOCAL, SystemClock().now())
    except JournalUnavailable:
        return []
    checks: list[Check] = []
    for spending in spendings:
        limit = spending.limit
        found = f"{usd(spending.left_usd)} of {usd(limit.amount_usd)} USD left for the {limit.period}"
        enough = spending.left_usd >= quotes()[0].total_usd
        advice = "" if enough else f"{limit.setting} raises it; it starts anew by itself."
        checks.append(Check("budget", State.OK if enough else State.WARNING, found, advice))
    return checks


def _versions() -> Check:
    packages = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    return Check(
        "versions", State.OK, f"{packages}, Python {platform.python_version()}, {platform.platform()}"
    )
