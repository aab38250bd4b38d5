"""The person's settings, read from the environment.

A plain class over `os.environ`: it is read at every start, and a settings library costs more start-up
time than it saves lines.
"""

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

import platformdirs
from pydantic import SecretStr

from kontext_edit.budget import BUDGET_SETTINGS, Limit, Period
from kontext_edit.errors import InvalidSettings
from kontext_edit.tiers import DEFAULT_TIER, TIERS

NOVITA_URL = "https://api.novita.ai"
"""Where the API lives [guide]."""

Provider = Literal["novita", "sandbox"]
Encoding = Literal["data-url", "base64"]

_ABSURD_USD = 1_000_000_000
"""More than this is a slip of the hand, or a number that is written with an exponent."""
_DEFAULT_BUDGETS: dict[Period, Decimal | None] = {"day": Decimal("5.00"), "month": None}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the person decided; every path is absolute."""

    provider: Provider
    api_key: SecretStr | None
    base_url: str
    home: Path
    output_dir: Path
    allowed_dirs: tuple[Path, ...]
    default_tier: str
    image_encoding: Encoding
    limits: tuple[Limit, ...]
    confirm_above_usd: Decimal | None
    """One edit that costs more needs the person's word; None never asks."""

    @property
    def journal_path(self) -> Path:
        """The journal's file."""
        return self.home / "journal.sqlite3"

    @property
    def uploads_dir(self) -> Path:
        """Where pictures are kept that came as bytes and not as files."""
        return self.home / "uploads"

    @property
    def embedded_sandbox(self) -> bool:
        """Whether edits go to the sandbox inside this process."""
        return self.provider == "sandbox" and self.base_url == NOVITA_URL


def read_settings(environ: Mapping[str, str] = os.environ, allow: Sequence[str] = ()) -> Settings:
    """Read the settings from `environ` and the folders named with `--allow`.

    Raises:
        InvalidSettings: naming every value that cannot be used.
    """
    reader = _Reader(environ)
    api_key = reader.key("NOVITA_API_KEY")
    provider = reader.choice("KONTEXT_PROVIDER", ("novita", "sandbox"), "novita" if api_key else "sandbox")
    output_dir = reader.folder("KONTEXT_OUTPUT_DIR") or platformdirs.user_pictures_path() / "Kontext Edit"
    settings = Settings(
        provider=cast("Provider", provider),
        api_key=SecretStr(api_key) if api_key else None,
        base_url=reader.base_url(provider),
        home=reader.folder("KONTEXT_HOME") or platformdirs.user_data_path("kontext-edit", appauthor=False),
        output_dir=output_dir,
        allowed_dirs=_allowed_dirs(
            [*reader.folders("KONTEXT_ALLOWED_DIRS"), *reader.each_folder("--allow", allow)], output_dir
        ),
        default_tier=reader.choice("KONTEXT_DEFAULT_TIER", tuple(TIERS), DEFAULT_TIER),
        image_encoding=cast(
            "Encoding", reader.choice("KONTEXT_IMAGE_ENCODING", ("data-url", "base64"), "data-url")
        ),
        limits=tuple(_limits(reader)),
        confirm_above_usd=reader.money("KONTEXT_CONFIRM_ABOVE_USD", Decimal("1.00")),
    )
    if provider == "novita" and not api_key:
        reader.problems.append("KONTEXT_PROVIDER is 'novita', and NOVITA_API_KEY is not set.")
    if reader.problems:
        raise InvalidSettings(reader.problems)
    return settings


def is_loopback(url: str) -> bool:
    """Whether `url` points at this very machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _limits(reader: "_Reader") -> Iterator[Limit]:
    for period, default in _DEFAULT_BUDGETS.items():
        amount = reader.money(BUDGET_SETTINGS[period], default)
        if amount is not None:
            yield Limit(period, amount)


def _allowed_dirs(named: Sequence[Path], output_dir: Path) -> tuple[Path, ...]:
    """The folders that sources may be read from: those named, else the usual ones; always the results'."""
    chosen = named or [folder for folder in _usual_dirs() if not _too_wide(folder)]
    return tuple(dict.fromkeys([*chosen, output_dir]))


def _usual_dirs() -> tuple[Path, ...]:
    """Where a person's pictures lie."""
    return (
        Path.cwd(),
        platformdirs.user_pictures_path(),
        platformdirs.user_downloads_path(),
        platformdirs.user_desktop_path(),
        platformdirs.user_documents_path(),
    )


def _too_wide(folder: Path) -> bool:
    """Whether the folder holds the whole home or a whole disk.

    A desktop application starts a server in such a folder, and a person without, say, a folder for
    documents has the home named for it.
    """
    folder = folder.resolve()
    return folder == Path(folder.anchor) or Path.home().resolve().is_relative_to(folder)


def given(value: str | None) -> str | None:
    """The value, or None where nothing was chosen.

    Claude Desktop passes a bundle's unset optional setting as the literal `${user_config.name}`.
    """
    value = (value or "").strip()
    return None if not value or value.startswith("${") else value


class _Reader:
    """Reads one value after the other and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str) -> str | None:
        return given(self._environ.get(name))

    def key(self, name: str) -> str | None:
        """A key as it can stand in a header; what is wrong with it is told without quoting it."""
        value = self.text(name)
        if value and not (value.isascii() and value.isprintable() and " " not in value):
            self.problems.append(f"{name} must be the key alone: letters, digits and signs, no spaces.")
        return value

    def folder(self, name: str) -> Path | None:
        return next(iter(self.each_folder(name, [self._environ.get(name, "")])), None)

    def folders(self, name: str) -> list[Path]:
        return self.each_folder(name, self._environ.get(name, "").split(os.pathsep))

    def each_folder(self, name: str, values: Iterable[str]) -> list[Path]:
        """The folders among `values`, absolute."""
        folders: list[Path] = []
        for value in filter(None, map(given, values)):
            try:
                folders.append(Path(value).expanduser().absolute())
            except RuntimeError:
                self.problems.append(f"{name} is {value!r}; there is no such home folder.")
            if "\0" in value:
                self.problems.append(f"{name} is {value!r}; no folder can be named so.")
        return folders

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name) or default
        if value not in allowed:
            self.problems.append(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")
        return value

    def money(self, name: str, default: Decimal | None) -> Decimal | None:
        """An amount of US dollars; `none` means no limit."""
        value = self.text(name)
        if value is None:
            return default
        if value.lower() == "none":
            return None
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if amount.is_finite() and 0 <= amount < _ABSURD_USD:
            return amount
        self.problems.append(f"{name} is {value!r}; it must be an amount of US dollars like 5.00, or none.")
        return default

    def base_url(self, provider: str) -> str:
        url = (self.text("NOVITA_BASE_URL") or NOVITA_URL).rstrip("/")
        if not _is_plain_http_url(url):
            self.problems.append(
                "NOVITA_BASE_URL must be an http(s) URL of a host, without credentials, ? or #."
            )
        elif not is_loopback(url):
            if not url.lower().startswith("https:"):
                self.problems.append("NOVITA_BASE_URL must be https, except on this machine itself.")
            if provider == "sandbox" and url != NOVITA_URL:
                self.problems.append(
                    "KONTEXT_PROVIDER is 'sandbox': NOVITA_BASE_URL may only name a sandbox on this machine."
                )
        return url


def _is_plain_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_is_real = parts.port != 0  # reading it raises where it is no port at all
    except ValueError:
        return False
    bare = parts.username is None and not parts.query and not parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_real and bare
