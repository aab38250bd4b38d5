"""The newest screenshot or download: pictures that a person has just made, without a name to type.

Systems name screenshots in the person's language and keep them in different folders; what is known of that
stands here.
"""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import platformdirs

from kontext_edit.errors import PictureRefused
from kontext_edit.images.local import read_file, within
from kontext_edit.images.wording import HOW_TO_GIVE, listed, printable, shown

_COMMON = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".heic", ".avif", ".tif", ".tiff", ".bmp")
_RARE = (".jpe", ".jfif", ".mpo", ".heif", ".hif")
_PARTIAL = (".part", ".crdownload", ".download", ".partial", ".opdownload")
"""What browsers add to a file's name until it is complete. Firefox holds the final name by an empty file."""

_SCREENSHOTS = (
    "screenshot",  # GNOME, KDE, Xfce, Windows, macOS since 10.14; Android
    "screen shot",
    "bildschirmfoto",
    "capture d'écran",
    "capture d’écran",
    "captura de pantalla",
    "captura de tela",
    "captura de ecrã",
    "captura de ecrán",
    "istantanea",
    "schermata",
    "schermafbeelding",
    "schermafdruk",
    "skærmbillede",
    "skärmavbild",
    "skärmbild",
    "skjermbilde",
    "näyttökuva",
    "kuvakaappaus",
    "zrzut ekranu",
    "snímek obrazovky",
    "snímka obrazovky",
    "képernyőkép",
    "captură de ecran",
    "ekran resmi",
    "ekran görüntüsü",
    "снимок экрана",
    "знімок екрана",
    "στιγμιότυπο",
    "צילום מסך",
    "لقطة شاشة",
    "スクリーンショット",
    "截屏",
    "截图",
    "截圖",
    "屏幕截图",
    "螢幕截圖",
    "螢幕快照",
    "스크린샷",
    "cleanshot",
    "flameshot",
)
"""How the names of screenshots begin."""

_FOLDERS = (
    "screenshots",
    "bildschirmfotos",
    "captures d'écran",
    "captures d’écran",
    "capturas de pantalla",
    "capturas de tela",
    "capturas de ecrã",
    "schermafbeeldingen",
    "schermafdrukken",
    "skærmbilleder",
    "skärmbilder",
    "zrzuty ekranu",
    "снимки экрана",
    "スクリーンショット",
    "屏幕截图",
    "截图",
    "截圖",
    "스크린샷",
)
"""Folders in which every picture is a screenshot."""

_ALLOW_DOWNLOADS = (
    "Ask the person for the picture's path, or to allow their downloads folder with KONTEXT_ALLOWED_DIRS or "
    "`--allow DIR`."
)
_PERMISSION = (
    "Ask the person to allow reading the folder (macOS: System Settings, Privacy & Security, Files and "
    "Folders), or for the picture's path."
)


@dataclass(frozen=True, slots=True)
class Taken:
    """The file that was chosen, its bytes, and when it was last changed (seconds since the epoch)."""

    path: Path
    data: bytes
    changed_at: float

    @property
    def note(self) -> str:
        """Which file it is, for a person who may have meant another."""
        changed = datetime.fromtimestamp(self.changed_at).astimezone()
        return f"taken as the newest in {printable(str(self.path.parent))}, from {changed:%Y-%m-%d %H:%M}"


def newest_screenshot(allowed: Sequence[Path]) -> Taken:
    """The newest screenshot that lies directly in an allowed folder or in a folder of screenshots there.

    Args:
        allowed: Resolved folders.

    Raises:
        PictureRefused: There is none.
    """
    named = [folder for folder in allowed if not _is_for_screenshots(folder.name)]
    whole = [folder for folder in allowed if _is_for_screenshots(folder.name)]
    whole += _subfolders(named, allowed)
    return _newest("screenshot", [(named, _is_screenshot), (whole, _any)])


def newest_download(allowed: Sequence[Path]) -> Taken:
    """The newest picture in the downloads folder, where that is allowed.

    Args:
        allowed: Resolved folders.

    Raises:
        PictureRefused: The folder is not allowed, or there is no picture in it.
    """
    downloads = platformdirs.user_downloads_path()
    named = [folder for folder in allowed if _plain(folder.name) in {"downloads", _plain(downloads.name)}]
    resolved = Path(os.path.realpath(downloads))
    if within(resolved, allowed):
        named.append(resolved)
    if not named:
        raise PictureRefused(
            f"the downloads folder is not among the allowed ones: {listed(allowed)}", _ALLOW_DOWNLOADS
        )
    return _newest("download", [(list(dict.fromkeys(named)), _any)])


@dataclass(frozen=True, slots=True)
class _Candidate:
    changed_at: float
    path: Path


def _newest(what: str, searches: list[tuple[list[Path], Callable[[str], bool]]]) -> Taken:
    candidates: list[_Candidate] = []
    denied: list[Path] = []
    for folders, fits in searches:
        for folder in folders:
            try:
                candidates += _pictures(folder, fits)
            except OSError:
                denied.append(folder)
    for candidate in sorted(candidates, key=lambda each: (each.changed_at, each.path.name), reverse=True):
        try:
            data = read_file(candidate.path)
        except PictureRefused as refused:
            name = shown(str(candidate.path))
            raise PictureRefused(f"the newest {what}, {name}: {refused.message}", refused.hint) from None
        if data is not None:  # None: it was moved away meanwhile
            return Taken(candidate.path, data, candidate.changed_at)
    folders = [folder for folders, _ in searches for folder in folders if folder not in denied]
    closed = f"; could not be listed: {listed(denied)}" if denied else ""
    raise PictureRefused(
        f"there is no {what} in {listed(folders)}{closed}", _PERMISSION if denied else HOW_TO_GIVE
    )


def _pictures(folder: Path, fits: Callable[[str], bool]) -> Iterator[_Candidate]:
    """The complete picture files directly in a folder whose names fit. Links are left alone."""
    with os.scandir(folder) as entries:
        listing = {entry.name: entry for entry in entries}
    unfinished = {
        name.removesuffix(end) for name in listing for end in _PARTIAL if name.lower().endswith(end)
    }
    for name, entry in listing.items():
        if name.startswith(".") or name in unfinished or not name.lower().endswith(_COMMON + _RARE):
            continue
        if not fits(name):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_size:
            yield _Candidate(status.st_mtime, folder / name)


def _subfolders(folders: Sequence[Path], allowed: Sequence[Path]) -> list[Path]:
    """The folders of screenshots in `folders` that are not allowed folders themselves."""
    found: list[Path] = []
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                names = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # told by the search of the folder itself
        found += [folder / name for name in names if _is_for_screenshots(name)]
    return [folder for folder in found if folder not in allowed]


def _is_for_screenshots(name: str) -> bool:
    return _plain(name) in _FOLDERS


def _is_screenshot(name: str) -> bool:
    return _plain(name).startswith(_SCREENSHOTS)


def _any(name: str) -> bool:
    return bool(name)


def _plain(name: str) -> str:
    """A name as it is compared: one spelling of accents, no capitals."""
    return unicodedata.normalize("NFKC", name).casefold()


LATEST = {"screenshot": newest_screenshot, "download": newest_download}
"""What there is a latest of, and what finds it."""
