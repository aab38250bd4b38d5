"""Finished pictures on disk: fetched, verified, written atomically, never over an existing file."""

import asyncio
import errno
import glob
import hashlib
import os
import re
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import httpx

from kontext_edit.errors import LinkRefused, PictureNotSaved, PictureRefused
from kontext_edit.images.preview import Inspected, Look, changed_percent, inspect
from kontext_edit.novita import system_certificates
from kontext_edit.settings import is_loopback
from kontext_edit.task import Picture, Task

_MAX_BYTES = 50 * 1024 * 1024
_FETCH_SECONDS = 180
_TIMEOUT = httpx.Timeout(connect=10, write=10, read=30, pool=30)
_REDIRECTS = 3

_EXTENSIONS = {"jpeg": "jpg"}
_NAME_CHARACTERS = 40
_SMALL_WORDS = re.compile(
    "a|an|and|the|to|of|in|on|at|into|it|its|this|that|with|from|for|by|as|be|is|make|made|change|changed"
    "|replace|turn|edit|add|give|put|set|let|please|picture|photo|image",
    re.IGNORECASE,
)
_END_OF_CLAUSE = re.compile(r"[,.;:!?\n]|\b(?:while|keep|keeping|but)\b", re.IGNORECASE)
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


class Gallery:
    """The folder of results.

    Args:
        folder: where pictures go; made when the first one arrives.
        plain_http: whether links without TLS are followed, which only a sandbox on this machine needs.
        transport: the seam for tests and for the embedded sandbox; None is the network.
    """

    def __init__(self, folder: Path, *, base_url: str, transport: httpx.AsyncBaseTransport | None) -> None:
        self.folder = folder
        self._plain_http = is_loopback(base_url)
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, transport=transport, verify=system_certificates())

    async def save(self, task: Task, links: tuple[str, ...], before: Look | None) -> tuple[Picture, ...]:
        """Fetch, verify and write the pictures of a task; saving again what is there changes nothing.

        Raises:
            LinkRefused: a link has expired.
            PictureNotSaved: they could not be fetched or written now, and may be later.
        """
        contents = await asyncio.gather(*(self._fetch(link) for link in links))
        return tuple(
            [
                await asyncio.to_thread(self._keep, task, number, len(links), content, before)
                for number, content in enumerate(contents, 1)
            ]
        )

    async def clear_away(self, task: Task) -> None:
        """Remove what a process that died left of a task: half-written files, and names not filled."""
        await asyncio.to_thread(self._clear_away, task)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _fetch(self, link: str) -> bytes:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                for _ in range(_REDIRECTS):
                    if not self._may_fetch(link):
                        raise PictureNotSaved("The API named a link to the picture that is not https.")
                    async with self._http.stream("GET", link) as response:
                        if response.has_redirect_location:
                            link = str(response.url.join(response.headers["location"]))
                            continue
                        return await _content(response)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise PictureNotSaved(f"The picture could not be fetched ({type(error).__name__}).") from None
        raise PictureNotSaved("The link to the picture leads in circles.")

    def _may_fetch(self, link: str) -> bool:
        return link.startswith("https://") or (self._plain_http and is_loopback(link))

    def _keep(self, task: Task, number: int, of: int, content: bytes, before: Look | None) -> Picture:
        """Verify a picture and write it under a name of its own."""
        try:
            seen = inspect(content)
        except PictureRefused as error:
            raise PictureNotSaved(f"What the API delivered is not a whole picture: {error}") from None
        try:
            path = self._write(task, number, of, seen, content)
        except OSError as error:
            raise PictureNotSaved(
                f"The picture could not be written to {self.folder}: {error.strerror or error}.",
                "The API keeps it for about an hour. Ask the person to make room there or to set "
                "KONTEXT_OUTPUT_DIR to another folder, then call get_task.",
            ) from error
        return Picture(
            path=path,
            width=seen.width,
            height=seen.height,
            format=seen.format,
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            changed_percent=None if before is None else changed_percent(before, seen.look),
        )

    def _write(self, task: Task, number: int, of: int, seen: Inspected, content: bytes) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A name that no other process uses: its part may be a picture's second name, and stays untouched.
        part = self.folder / f".{task.id}-{number}-{secrets.token_hex(4)}.part"
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            name = file_name(task, number if of > 1 else None)
            return _publish(part, self.folder, name, _EXTENSIONS.get(seen.format, seen.format), content)
        finally:
            part.unlink(missing_ok=True)

    def _clear_away(self, task: Task) -> None:
        with suppress(OSError):
            for part in self.folder.glob(f".{task.id}-*.part"):
                part.unlink(missing_ok=True)
            for file in self.folder.glob(f"{glob.escape(file_name(task, None))}*"):
                if not file.stat().st_size:
                    file.unlink()


def file_name(task: Task, number: int | None) -> str:
    """A name by which a person finds the picture, without its extension.

    `2026-11-21 red leather jacket (pro) 4f2a`, and `…4f2a-2` for the second of several.
    """
    day = datetime.fromtimestamp(task.created_at).astimezone().date().isoformat()
    mark = hashlib.sha256(task.handle.encode()).hexdigest()[:4]
    return f"{day} {_gist(task.prompt)} ({task.tier}) {mark}" + (f"-{number}" if number else "")


def _gist(prompt: str) -> str:
    """The words of an instruction that tell it from others."""
    clause, *_ = _END_OF_CLAUSE.split(prompt.strip(), maxsplit=1)
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", clause or prompt)
    telling = [word.lower() for word in words if not _SMALL_WORDS.fullmatch(word)] or ["edit"]
    gist = telling[0][:_NAME_CHARACTERS]
    for word in telling[1:]:
        if len(gist) + 1 + len(word) > _NAME_CHARACTERS:
            break
        gist += f" {word}"
    return gist


async def _content(response: httpx.Response) -> bytes:
    if response.status_code in (401, 403, 404, 410):
        raise LinkRefused(f"The link to the picture is no longer served ({response.status_code}).")
    if not response.is_success:
        raise PictureNotSaved(f"The link to the picture answers {response.status_code}.")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MAX_BYTES:
            raise PictureNotSaved(
                f"The link delivers more than {_MAX_BYTES >> 20} MB, which no picture here has."
            )
    return bytes(content)


def _publish(part: Path, folder: Path, name: str, extension: str, content: bytes) -> Path:
    """Give a written file its name in one step, or a numbered one where that is taken by another picture."""
    for copy in range(1, 1000):
        target = folder / (f"{name}.{extension}" if copy == 1 else f"{name} ({copy}).{extension}")
        try:
            _link(part, target)
        except FileExistsError:
            if _holds(target, content):
                return target
            continue
        _sync_folder(folder)
        return target
    raise OSError(errno.EEXIST, f"every name like {name!r} is taken")


def _link(part: Path, target: Path) -> None:
    """Name the file `target`, unless something has that name."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # A file system without hard links (a memory stick, some shares): reserve the name, then fill it.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        part.replace(target)


def _holds(path: Path, content: bytes) -> bool:
    """Whether this very picture is there already, from before a crash."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk, where the platform can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
