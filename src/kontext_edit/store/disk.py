"""Folders of this machine: a person's pictures under names they find, and what they gave as bytes."""

import asyncio
import errno
import glob
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from kontext_edit.errors import PictureNotSaved, PictureRefused
from kontext_edit.images.local import read_file
from kontext_edit.store.naming import file_name
from kontext_edit.store.place import EXTENSIONS, Address, Kept, Place, superfluous
from kontext_edit.task import Picture, Task

_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


class Disk:
    """One person's folders; whoever the owner is, they are the same.

    Args:
        pictures: where results go; made when the first one arrives.
        uploads: where pictures go that came as bytes; made likewise.
    """

    def __init__(self, pictures: Path, uploads: Path) -> None:
        self._pictures = pictures
        self._uploads = uploads

    async def keep_picture(self, task: Task, number: int, of: int, form: str, content: bytes) -> Address:
        """Write a picture under a name of its own; what is there already under it is used.

        Raises:
            PictureNotSaved: it cannot be written now.
        """
        name = file_name(task, number if of > 1 else None)
        part = f".{task.id}-{number}-{secrets.token_hex(4)}.part"
        try:
            path = await asyncio.to_thread(self._write, part, name, EXTENSIONS.get(form, form), content)
        except OSError as error:
            raise PictureNotSaved(
                f"The picture could not be written to {self._pictures}: {error.strerror or error}.",
                "The API keeps it for about an hour. Ask the person to make room there or to set "
                "KONTEXT_OUTPUT_DIR to another folder, then call get_task.",
            ) from error
        return Address(path=path)

    async def picture(self, picture: Picture) -> bytes | None:
        """A picture's file; None where it is gone.

        Raises:
            PictureRefused: it cannot be read.
        """
        return None if picture.path is None else await asyncio.to_thread(read_file, picture.path)

    def glance(self, picture: Picture) -> Place:
        """Where a picture is."""
        path = picture.path
        if path is None:  # it went to an object store, which is not the one of today
            return Place(there=False, name=picture.key or "")
        return Place(there=path.exists(), name=path.name, path=path)

    async def places(self, pictures: Sequence[Picture]) -> list[Place]:
        """Where pictures are."""
        return [self.glance(picture) for picture in pictures]

    async def clear_away(self, task: Task) -> None:
        """Remove what a process that died left of a task: half-written files, and names not filled."""
        await asyncio.to_thread(self._clear_away, task)

    async def keep_upload(self, owner: str, upload_id: str, content: bytes) -> None:
        """Keep an upload, and let go of the oldest ones where it gets too much.

        Raises:
            PictureRefused: it cannot be written.
        """
        del owner
        try:
            await asyncio.to_thread(self._write_upload, upload_id, content)
        except OSError as error:
            raise PictureRefused(
                f"could not be kept in {self._uploads}: {error.strerror}",
                "Ask the person to look at the folder (space, rights), or to give the picture's path "
                "instead.",
            ) from error
        await asyncio.to_thread(self._tidy, upload_id)

    async def upload(self, owner: str, upload_id: str) -> bytes | None:
        """An upload; None where there is none of this id.

        Raises:
            PictureRefused: it cannot be read.
        """
        del owner
        return await asyncio.to_thread(read_file, self._uploads / upload_id)

    async def answer(self, token: str) -> tuple[bytes, str] | None:
        """Nothing: files of this machine have no links."""
        del token
        return None

    def _write(self, part_name: str, name: str, extension: str, content: bytes) -> Path:
        self._pictures.mkdir(parents=True, exist_ok=True)
        # A name that no other process uses: its part may be a picture's second name, and stays untouched.
        part = self._pictures / part_name
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return _publish(part, self._pictures, name, extension, content)
        finally:
            part.unlink(missing_ok=True)

    def _clear_away(self, task: Task) -> None:
        with suppress(OSError):
            for part in self._pictures.glob(f".{task.id}-*.part"):
                part.unlink(missing_ok=True)
            for file in self._pictures.glob(f"{glob.escape(file_name(task, None))}*"):
                if not file.stat().st_size:
                    file.unlink()

    def _write_upload(self, name: str, content: bytes) -> None:
        """Whole or not at all; what is there already counts as new again."""
        self._uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._uploads / name
        if target.exists():
            os.utime(target)
            return
        half = self._uploads / f".{secrets.token_hex(8)}"
        try:
            half.write_bytes(content)
            half.replace(target)
        finally:
            half.unlink(missing_ok=True)

    def _tidy(self, keep: str) -> None:
        for name in superfluous(list(_kept_in(self._uploads)), keep=keep):
            with suppress(OSError):
                (self._uploads / name).unlink()


def _kept_in(folder: Path) -> Iterator[Kept]:
    for path in folder.iterdir():
        with suppress(OSError):  # another process may be tidying too
            status = path.stat()
            yield Kept(path.name, status.st_size, status.st_mtime)


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
