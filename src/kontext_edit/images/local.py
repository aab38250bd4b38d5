"""Files on this machine: read only inside the allowed folders, whatever links say, and never waited for."""

import difflib
import errno
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from kontext_edit.errors import PictureRefused
from kontext_edit.images.decode import MAX_BYTES
from kontext_edit.images.wording import HOW_TO_GIVE, listed, megabytes, printable, shown

_LONGEST_PATH = 4096
"""Bytes; Linux's limit, and more than the other systems allow."""

_CHAT_PATH = re.compile(r"/(mnt/(user-data|data|uploads|outputs)|home/(claude|oai|sandbox))(/|$)")
"""Where the sandboxes of chat assistants keep what was uploaded to the chat."""

_DRIVE = re.compile(r"/?[A-Za-z]:[\\/]")
_FOREIGN = re.compile(r"[A-Za-z]:[\\/]|\\\\") if sys.platform != "win32" else re.compile(r"(?!)")
"""Paths of Windows, where this is another system."""

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)  # the path was resolved: a link now was put there since
    | getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer would block for ever
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)

_ASK = "Ask the person for the picture's path."
_REASONS = {
    errno.EACCES: (
        "permission to read it was denied",
        "Ask the person to allow it (macOS: System Settings, Privacy & Security, Files and Folders).",
    ),
    errno.ENAMETOOLONG: ("its name is too long for a file", _ASK),
    errno.ELOOP: ("it is a chain of symbolic links that leads nowhere", "Ask the person for the real file."),
    errno.ENXIO: ("it is not a regular file", "Only files are read, no devices, pipes or sockets."),
}
_REASONS[errno.EPERM] = _REASONS[errno.EACCES]
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


def chat_path_refused() -> PictureRefused:
    """The error for a path in a chat's own sandbox, which assistants often take for the person's machine."""
    return PictureRefused(
        "this server runs on the person's own machine and cannot see files of the chat's sandbox",
        f"{HOW_TO_GIVE} A public http(s) URL works too.",
    )


def path_of(url: str) -> str:
    """The path that a `file:` URL names, percent-decoded.

    Raises:
        PictureRefused: It names another machine.
    """
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if _DRIVE.match(host + slash):
            host, rest = "", rest[2:]
        else:
            rest = slash + path
        if host.lower() not in {"", "localhost"}:
            raise PictureRefused(
                f"the file:// URL names the host {shown(host)}; only files of this machine are read",
                "Write file:///folder/picture.jpg (three slashes), or just the path.",
            )
    path = unquote(rest, errors="surrogateescape")
    return path[1:] if path.startswith("/") and _DRIVE.match(path) else path


class Folders:
    """The folders in which local pictures may be read.

    Args:
        allowed: These, with everything below them.
        working: Where a relative name is looked for first, if it is allowed.
    """

    def __init__(self, allowed: Sequence[Path], working: Path) -> None:
        self._allowed = tuple(folder.expanduser() for folder in allowed)
        self._working = working

    def resolved(self) -> list[Path]:
        """The allowed folders, without links."""
        return [_resolved(folder) for folder in self._allowed]

    def read(self, name: str) -> tuple[Path, bytes]:
        """The resolved path and the bytes of a file.

        Args:
            name: A path; `~` is expanded, and a relative one is looked for in the working folder and then
                in each allowed folder.

        Raises:
            PictureRefused: It is missing, outside, no regular file, empty, or too large.
        """
        text = self._checked(name)
        allowed = self.resolved()
        places = [_resolved(base / text) for base in self._bases(text)]
        inside = [path for path in places if within(path, allowed)]
        for path in inside:
            for spelling in _spellings(path, allowed):
                data = read_file(spelling)
                if data is not None:
                    return spelling, data
        if _CHAT_PATH.match(text):
            raise chat_path_refused()
        if not inside or self._leads_outside(text, places, allowed):
            raise self._outside(text, allowed)
        raise _missing(text, inside)

    def _checked(self, name: str) -> str:
        """`name` with `~` expanded, if it can name a file at all."""
        if "\0" in name:
            raise PictureRefused("it contains a NUL character, which no file name has", _ASK)
        text = os.path.expanduser(name)  # noqa: PTH111 - Path's version raises where there is no home
        try:
            length = len(os.fsencode(text))
        except UnicodeEncodeError:
            raise PictureRefused("it contains characters that no file name has", _ASK) from None
        if length > _LONGEST_PATH:
            raise PictureRefused(*_REASONS[errno.ENAMETOOLONG])
        # On Windows even a look at \\host\share sends the person's credentials to that host.
        if re.match(r"[\\/]{2}", text) and not within(Path(text), self._allowed):
            raise self._outside(text, self.resolved())
        return text

    def _bases(self, text: str) -> list[Path]:
        """Where a name is looked for; once where it is absolute."""
        return [self._working] if Path(text).is_absolute() else [self._working, *self._allowed]

    def _leads_outside(self, text: str, places: list[Path], allowed: list[Path]) -> bool:
        """Whether an existing link was the reason that nothing was found inside."""
        links = (base / text for base in self._bases(text))
        return any(
            not within(place, allowed) and os.path.lexists(link)
            for link, place in zip(links, places, strict=True)
        )

    def _outside(self, text: str, allowed: list[Path]) -> PictureRefused:
        """Says nothing about whether the file exists: what is outside is none of the assistant's business."""
        if _FOREIGN.match(text):
            return _windows_path()
        return PictureRefused(
            f"it lies outside the allowed folders, maybe through a symbolic link; allowed: {listed(allowed)}",
            "Ask the person to put the picture into an allowed folder, or to allow its folder with "
            "KONTEXT_ALLOWED_DIRS or `--allow DIR`.",
        )


def read_file(path: Path) -> bytes | None:
    """The bytes of a regular file, which is opened without following links or waiting.

    Returns:
        None where there is no such file.

    Raises:
        PictureRefused: It is a folder, a device or a pipe, empty, too large, or not readable.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        if os.path.isdir(path):  # noqa: PTH112 - never raises; Windows refuses to open a folder at all
            raise _folder() from None
        reason = printable(error.strerror or "unknown error")
        raise PictureRefused(
            *_REASONS.get(error.errno or 0, (f"it cannot be read: {reason}", _ASK))
        ) from None
    try:
        _check(os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = printable(error.strerror or "unknown error")
        raise PictureRefused(f"reading it failed: {reason}", "Try again, or copy the file.") from None
    finally:
        os.close(descriptor)


def _check(status: os.stat_result) -> None:
    """Refuse what is no regular file of a sensible size."""
    if stat.S_ISDIR(status.st_mode):
        raise _folder()
    if not stat.S_ISREG(status.st_mode):
        raise PictureRefused(*_REASONS[errno.ENXIO])
    if status.st_size == 0:
        raise PictureRefused("the file is empty (0 bytes)", "Ask the person for another copy of the picture.")
    if status.st_size > MAX_BYTES:
        raise PictureRefused(
            f"the file is {megabytes(status.st_size)}; at most {megabytes(MAX_BYTES)} are read",
            "Ask the person for a smaller version of the picture.",
        )


def _resolved(path: Path) -> Path:
    """`path` without links. Twice: what follows `..` after a circular link is left alone the first time."""
    return Path(os.path.realpath(os.path.realpath(path)))


def within(path: Path, folders: Sequence[Path]) -> bool:
    """Whether a resolved path is one of the folders or lies below one."""
    return any(path.is_relative_to(folder) for folder in folders)


def _spellings(path: Path, allowed: list[Path]) -> Iterator[Path]:
    """`path`, then files beside it whose names look the same.

    macOS writes a narrow no-break space into the names of screenshots and may compose accents differently;
    assistants type the ordinary characters.
    """
    yield path
    wanted = unicodedata.normalize("NFKC", path.name)
    for name in _names(path.parent):
        if name != path.name and unicodedata.normalize("NFKC", name) == wanted:
            twin = _resolved(path.parent / name)
            if within(twin, allowed):
                yield twin


def _names(folder: Path) -> list[str]:
    """What is in a folder; nothing where it cannot be listed."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names are what is compared
    except OSError:
        return []


def _missing(text: str, inside: list[Path]) -> PictureRefused:
    """The error for a file that is nowhere, with the folders looked in and names that come close."""
    if _FOREIGN.match(text):
        return _windows_path()
    folders = list(dict.fromkeys(path.parent for path in inside))
    names = [name for folder in folders for name in _names(folder)]
    near = difflib.get_close_matches(Path(text).name, names, n=3)
    hint = f"Did you mean {' or '.join(shown(name) for name in near)}?" if near else HOW_TO_GIVE
    return PictureRefused(f"there is no such file; looked in: {listed(folders)}", hint)


def _windows_path() -> PictureRefused:
    return PictureRefused(
        f"it is a Windows path, and this server runs on {sys.platform}",
        "Ask the person for a path on the machine where this server runs.",
    )


def _folder() -> PictureRefused:
    return PictureRefused("it is a folder, not a picture", "Name one picture inside it.")
