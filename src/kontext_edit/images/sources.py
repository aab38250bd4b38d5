"""A source string -> a picture's bytes or a link.

path, ~, file://          a file inside the allowed folders
http(s)://                checked, then left to upstream
data: and bare base64     decoded
task:<id>, task:<id>#2    an earlier result; `last` and `last#2` the newest
clipboard                 what the person copied last
latest:screenshot         the newest screenshot in the allowed folders
latest:download           the newest picture in the downloads folder
upload:<id>               what was given as bytes, through the App or over HTTP
"""

import asyncio
import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

from kontext_edit.errors import KontextError, PictureRefused
from kontext_edit.images.clipboard import grab
from kontext_edit.images.inline import from_base64, from_data_url, is_base64
from kontext_edit.images.latest import LATEST
from kontext_edit.images.links import check_link, link_label
from kontext_edit.images.local import Folders, chat_path_refused, path_of, read_file
from kontext_edit.images.ways import AT_HOME, from_afar
from kontext_edit.images.wording import printable, shown
from kontext_edit.task import Source


@dataclass(frozen=True, slots=True)
class Recalled:
    """A picture of an earlier edit.

    Attributes:
        data: Its file; None where that is gone.
        task_id: Of the edit.
        number: Its place in the result, from 1.
        path: Where the file is, or was, on this machine; None where it was put elsewhere.
    """

    data: bytes | None
    task_id: str
    number: int
    path: Path | None


class Recall(Protocol):
    """Looks up earlier results; this floor knows no journal."""

    async def __call__(self, task_id: str | None, number: int, owner: str) -> Recalled | None:
        """Picture `number` of a task of the owner's, or of the newest finished one where `task_id` is None.

        Returns:
            None where there is no finished one.

        Raises:
            NoSuchTask: The owner has no such task.
            PictureRefused: It has no such picture, or that cannot be read.
        """
        ...


class Uploads(Protocol):
    """Keeps what owners gave as bytes; this floor knows no store."""

    async def upload(self, owner: str, upload_id: str) -> bytes | None:
        """An owner's upload; None where they have none of this id.

        Raises:
            PictureRefused: It cannot be read.
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

_UPLOAD_ID = re.compile("[0-9a-f]{32}")


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
        local: The folders of this machine in which pictures may be read; None where callers are elsewhere,
            and nothing of this machine is read for them.
        recall: Looks up earlier results.
        uploads: Where pictures are that came as bytes.
        uploads_url: Where callers from elsewhere send pictures to.
    """

    def __init__(
        self,
        *,
        local: Folders | None,
        recall: Recall,
        uploads: Uploads,
        uploads_url: str = "/uploads of this server",
    ) -> None:
        self._recall = recall
        self._uploads = uploads
        self._ways = AT_HOME if local else from_afar(uploads_url)
        self._local = local
        self._finders = {
            Kind.EARLIER: self._earlier,
            Kind.UPLOAD: self._upload,
            Kind.LINK: self._link,
            Kind.DATA_URL: self._data_url,
            Kind.BASE64: self._base64,
            Kind.FOREIGN: self._foreign,
        }

    async def find(self, source: str, owner: str) -> Found:
        """The bytes or the link that `source` stands for, as its owner names it. Files are read in a thread.

        Raises:
            PictureRefused: It cannot be read, or must not leave the machine.
            NoSuchTask: It names a task that the owner does not have.
        """
        text = source.strip()
        if not text:
            raise PictureRefused("the source is empty", f"{self._ways.sources} {self._ways.how_to_give}")
        kind = kind_of(text)
        if kind in self._finders:
            return await self._finders[kind](text, owner)
        if self._local is None:
            raise PictureRefused(
                "this server is elsewhere: it sees no files, clipboard or screenshots of the person's "
                "machine, nor of the chat's sandbox",
                self._ways.how_to_give,
            )
        return await _AT_HOME[kind](text, self._local)

    async def again(self, source: Source, owner: str) -> bytes | None:
        """The bytes of a source that was used before; None where they are not at hand unchanged."""
        kind = kind_of(source.origin)
        data: bytes | None = None
        with suppress(KontextError):
            if kind in (Kind.EARLIER, Kind.UPLOAD):
                data = (await self._finders[kind](source.origin, owner)).data
            elif kind is Kind.PATH and self._local and Path(source.origin).is_absolute():
                data = await asyncio.to_thread(read_file, Path(source.origin))
        return data if data and hashlib.sha256(data).hexdigest() == source.sha256 else None

    async def _earlier(self, text: str, owner: str) -> Found:
        match = _EARLIER.fullmatch(text)
        if match is None:
            raise PictureRefused(
                "it names no earlier result",
                "Write task:<id> for a task's first picture, task:<id>#2 for its second, or `last`.",
            )
        earlier = await self._recall(match["id"], int(match["number"] or 1), owner)
        if earlier is None:
            raise PictureRefused("There is no earlier result yet.", self._ways.no_result)
        name = printable(f"task:{earlier.task_id}#{earlier.number}")
        if earlier.data is None:
            where = f": {printable(str(earlier.path))}" if self._local and earlier.path else ""
            raise PictureRefused(f"the picture of {name} was moved or deleted{where}", self._ways.gone_result)
        return Found(name, earlier.data, None)

    async def _upload(self, text: str, owner: str) -> Found:
        upload_id = text.partition(":")[2]
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise PictureRefused(
                "it names no upload: an id is 32 lower-case hexadecimal digits",
                "Use upload:<id> exactly as it was answered when the picture was given.",
            )
        data = await self._uploads.upload(owner, upload_id)
        if data is None:
            raise PictureRefused("the upload is gone", self._ways.gone_upload)
        return Found(f"upload:{upload_id}", data, None)

    async def _link(self, text: str, owner: str) -> Found:
        del owner
        return Found(check_link(text, self._ways.instead_of_link), None, text)

    async def _data_url(self, text: str, owner: str) -> Found:
        del owner
        data = await asyncio.to_thread(from_data_url, text, self._ways.instead_of_base64)
        return Found("data:", data, None)

    async def _base64(self, text: str, owner: str) -> Found:
        del owner
        data = await asyncio.to_thread(from_base64, text, self._ways.instead_of_base64)
        return Found("base64", data, None)

    async def _foreign(self, text: str, owner: str) -> Found:
        del owner
        scheme = printable(text.partition(":")[0])
        raise PictureRefused(f"{scheme}: URLs are not read", f"{self._ways.sources} {self._ways.how_to_give}")


async def _path(text: str, local: Folders) -> Found:
    path, data = await asyncio.to_thread(local.read, text)
    return Found(printable(str(path)), data, None)


async def _file_url(text: str, local: Folders) -> Found:
    return await _path(path_of(text), local)


async def _clipboard(text: str, local: Folders) -> Found:
    if "#" in text:
        raise PictureRefused("the clipboard holds one picture; `clipboard` takes no number", AT_HOME.sources)
    content = await grab()
    return await _path(content, local) if isinstance(content, str) else Found("clipboard", content, None)


async def _latest(text: str, local: Folders) -> Found:
    newest = LATEST.get(text.partition(":")[2].lower())
    if newest is None:
        words = " or ".join(f"`latest:{word}`" for word in LATEST)
        raise PictureRefused("there is no latest of that", f"Use {words}.")
    taken = await asyncio.to_thread(lambda: newest(local.resolved()))
    return Found(printable(str(taken.path)), taken.data, None, taken.note)


async def _chat(text: str, local: Folders) -> Found:
    del text, local
    raise chat_path_refused()


_AT_HOME = {
    Kind.CLIPBOARD: _clipboard,
    Kind.LATEST: _latest,
    Kind.FILE_URL: _file_url,
    Kind.CHAT: _chat,
    Kind.PATH: _path,
}
"""What only a person on this machine can name."""
