"""The person's settings, read from the environment.

A plain class over `os.environ`: it is read at every start, and a settings library costs more start-up
time than it saves lines.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal, cast

import platformdirs
from pydantic import SecretStr

from kontext_edit.budget import BUDGET_SETTINGS, OWNER_BUDGET_SETTINGS, Limit, Period
from kontext_edit.errors import InvalidSettings
from kontext_edit.reader import Reader, is_loopback
from kontext_edit.serving import Serving, read_serving
from kontext_edit.tiers import DEFAULT_TIER, TIERS

NOVITA_URL = "https://api.novita.ai"
"""Where the API lives [guide]."""

Provider = Literal["novita", "sandbox"]
Encoding = Literal["data-url", "base64"]

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
    serving: Serving
    """What an operator decided for callers who are not on this machine."""

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
    reader = Reader(environ)
    api_key = reader.key("NOVITA_API_KEY")
    provider = reader.choice("KONTEXT_PROVIDER", ("novita", "sandbox"), "novita" if api_key else "sandbox")
    output_dir = reader.folder("KONTEXT_OUTPUT_DIR") or platformdirs.user_pictures_path() / "Kontext Edit"
    settings = Settings(
        provider=cast("Provider", provider),
        api_key=SecretStr(api_key) if api_key else None,
        base_url=_base_url(reader, provider),
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
        serving=read_serving(reader),
    )
    if provider == "novita" and not api_key:
        reader.problems.append("KONTEXT_PROVIDER is 'novita', and NOVITA_API_KEY is not set.")
    if reader.problems:
        raise InvalidSettings(reader.problems)
    return settings


def _limits(reader: Reader) -> Iterator[Limit]:
    for period, default in _DEFAULT_BUDGETS.items():
        amount = reader.money(BUDGET_SETTINGS[period], default)
        if amount is not None:
            yield Limit(period, amount)
        owners_amount = reader.money(OWNER_BUDGET_SETTINGS[period], None)
        if owners_amount is not None:
            yield Limit(period, owners_amount, each_owner=True)


def _base_url(reader: Reader, provider: str) -> str:
    url = reader.url("NOVITA_BASE_URL", NOVITA_URL) or NOVITA_URL
    if provider == "sandbox" and url != NOVITA_URL and not is_loopback(url):
        reader.problems.append(
            "KONTEXT_PROVIDER is 'sandbox': NOVITA_BASE_URL may only name a sandbox on this machine."
        )
    return url


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
