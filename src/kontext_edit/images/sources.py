"""A source string -> a picture's bytes or a link.

path, ~, file://          a file inside the allowed folders
http(s)://                checked, then left to upstream
data: and bare base64     decoded
task:<id>, task:<id>#2    an earlier result; `last` and `last#2` the newest
clipboard                 what the person copied last
latest:screenshot         the newest screenshot in the allowed folders
latest:download           the newest picture in the downloads folder
upload:<id>               what the person gave through the App
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from kontext_edit.errors import PictureRefused
from kontext_edit.images.clipboard import grab
from kontext_edit.images.inline import from_base64, from_data_url, is_base64
from kontext_edit.images.latest import LATEST
from kontext_edit.images.links import check_link, link_label
from kontext_edit.images.local import Folders, chat_path_refused, path_of, read_file
from kontext_edit.images.uploads import read_upload
from kontext_edit.images.wording import HOW_TO_GIVE, printable, shown


@dataclass(frozen=True, slots=True)
class Recalled:
    """A picture of an earlier edit, as the journal knows it. `number` counts from 1."""

    path: Path
    task_id: str
    number: int


class Recall(Protocol):
    """Looks up earlier results; this floor knows no journal."""

    async def __call__(self, task_id: str | None, number: int) -> Recalled:
        """Picture `number` of a task, or of the newest finished one where `task_id` is None.

        Raises:
            NoSuchTask: Nobody knows the task.
            PictureRefused: It has no such picture.
        """
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What a source string stands for: bytes, or a link.

    Attributes:
        origin: Where it came from, safe to write down: an absolute path, a URL without query and
            credentials, `data:`, `base64`, `clipboard`, `task:<id>#1`, or `upload:<id>`.
        data: The picture file's own bytes; None for a link.
        url: The link, as it was given; None for bytes.
        note: What a person should know about the choice, where the source left one; part of a sentence.
    """

    origin: str
    data: bytes | None
    url: str | None
    note: str | None = None


class Kind(Enum):
    """What a source string means."""

    CLIPBOARD = auto()
    EARLIER = auto()
    LATEST = auto()
    UPLOAD = auto()
    LINK = auto()
    DATA_URL = auto()
    BASE64 = auto()
    FILE_URL = auto()
    CHAT = auto()
    FOREIGN = auto()
    PATH = auto()


_KEYWORDS = {"clipboard": Kind.CLIPBOARD, "last": Kind.EARLIER}
_SCHEMES = {
    "http": Kind.LINK,
    "https": Kind.LINK,
    "data": Kind.DATA_URL,
    "file": Kind.FILE_URL,
    "task": Kind.EARLIER,
    "latest": Kind.LATEST,
    "upload": Kind.UPLOAD,
    "sandbox": Kind.CHAT,
    "attachment": Kind.CHAT,
    "blob": Kind.FOREIGN,
    "cid": Kind.FOREIGN,
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(//)?", re.IGNORECASE)  # one letter is a Windows drive
_EARLIER = re.compile(
    r"(?:task:(?P<id>[\w.-]{1,200})|last)(?:#(?P<number>[1-9][0-9]?))?", re.IGNORECASE | re.ASCII
)

_SOURCES = (
    "A source is a path, a file:// or http(s):// URL, a data: URL or base64, `task:<id>`, `last`, "
    "`clipboard`, `latest:screenshot` or `latest:download`."
)


def kind_of(text: str) -> Kind:
    """What a source string means; a path where nothing else fits."""
    keyword = text.partition("#")[0].lower()
    if keyword in _KEYWORDS:
        return _KEYWORDS[keyword]
    if scheme := _SCHEME.match(text):
        name, slashes = scheme[1].lower(), scheme[2]
        if name in _SCHEMES or slashes:
            return _SCHEMES.get(name, Kind.FOREIGN)
    return Kind.BASE64 if is_base64(text) else Kind.PATH


def label(source: str) -> str:
    """What to call a source in an error: short, without data and credentials."""
    text = source.strip()
    match kind_of(text):
        case Kind.DATA_URL:
            return "'data:…'"
        case Kind.BASE64:
            return "'base64…'"
        case Kind.LINK | Kind.FOREIGN:
            return shown(link_label(text))
        case _:
            return shown(text)


class Finder:
    """Finds what source strings stand for.

    Args:
        allowed: The folders in which local files may be read.
        folder: The working folder, in which relative names are looked for first.
        recall: Looks up earlier results.
        uploads: Where pictures lie that were given through the App, each named by its id; None where
            there is no such folder.
    """

    def __init__(
        self, *, allowed: Sequence[Path], folder: Path, recall: Recall, uploads: Path | None = None
    ) -> None:
        self._folders = Folders(allowed, folder)
        self._recall = recall
        self._uploads = uploads
        self._ways = {
            Kind.CLIPBOARD: self._clipboard,
            Kind.EARLIER: self._earlier,
            Kind.LATEST: self._latest,
            Kind.UPLOAD: self._upload,
            Kind.LINK: _link,
            Kind.DATA_URL: _data_url,
            Kind.BASE64: _base64,
            Kind.FILE_URL: self._file_url,
            Kind.CHAT: _chat,
            Kind.FOREIGN: _foreign,
            Kind.PATH: self._path,
        }

    async def find(self, source: str) -> Found:
        """The bytes or the link that `source` stands for. Files are read in a thread.

        Raises:
            PictureRefused: It cannot be read, or must not leave the machine.
            NoSuchTask: It names a task that nobody knows.
        """
        text = source.strip()
        if not text:
            raise PictureRefused("the source is empty", f"{_SOURCES} {HOW_TO_GIVE}")
        return await self._ways[kind_of(text)](text)

    async def _path(self, text: str) -> Found:
        path, data = await asyncio.to_thread(self._folders.read, text)
        return Found(printable(str(path)), data, None)

    async def _file_url(self, text: str) -> Found:
        return await self._path(path_of(text))

    async def _clipboard(self, text: str) -> Found:
        if "#" in text:
            raise PictureRefused("the clipboard holds one picture; `clipboard` takes no number", _SOURCES)
        content = await grab()
        return await self._path(content) if isinstance(content, str) else Found("clipboard", content, None)

    async def _earlier(self, text: str) -> Found:
        match = _EARLIER.fullmatch(text)
        if match is None:
            raise PictureRefused(
                "it names no earlier result",
                "Write task:<id> for a task's first picture, task:<id>#2 for its second, or `last`.",
            )
        earlier = await self._recall(match["id"], int(match["number"] or 1))
        name = f"task:{earlier.task_id}#{earlier.number}"
        data = await asyncio.to_thread(read_file, earlier.path)
        if data is None:
            raise PictureRefused(
                f"the picture of {printable(name)} was moved or deleted: {printable(str(earlier.path))}",
                "Ask the person where it is now, or edit the original again.",
            )
        return Found(printable(name), data, None)

    async def _latest(self, text: str) -> Found:
        newest = LATEST.get(text.partition(":")[2].lower())
        if newest is None:
            words = " or ".join(f"`latest:{word}`" for word in LATEST)
            raise PictureRefused("there is no latest of that", f"Use {words}.")
        taken = await asyncio.to_thread(lambda: newest(self._folders.resolved()))
        return Found(printable(str(taken.path)), taken.data, None, taken.note)

    async def _upload(self, text: str) -> Found:
        upload_id = text.partition(":")[2]
        data = await asyncio.to_thread(read_upload, self._uploads, upload_id)
        return Found(f"upload:{upload_id}", data, None)


async def _link(text: str) -> Found:
    return Found(check_link(text), None, text)


async def _data_url(text: str) -> Found:
    return Found("data:", await asyncio.to_thread(from_data_url, text), None)


async def _base64(text: str) -> Found:
    return Found("base64", await asyncio.to_thread(from_base64, text), None)


async def _chat(text: str) -> Found:
    del text
    raise chat_path_refused()


async def _foreign(text: str) -> Found:
    scheme = text.partition(":")[0]
    raise PictureRefused(f"{printable(scheme)}: URLs are not read", f"{_SOURCES} {HOW_TO_GIVE}")
