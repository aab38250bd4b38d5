"""Where a picture is, for whoever asks, and what every store can do."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kontext_edit.task import Picture, Task

EXTENSIONS = {"jpeg": "jpg"}
"""Of formats whose usual extension is not their name."""

MOST_UPLOAD_BYTES = 500_000_000
"""Of all uploads of one owner."""
_LONGEST_SECONDS = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture is: a file of this machine, or a link that works for a while.

    Attributes:
        there: Whether it is, as far as is known.
        name: Of the file.
        path: For people on this machine.
        url: For everybody else; None where no link can be had at the moment.
        expires_at: When the link stops to work, in seconds since the epoch.
    """

    there: bool
    name: str
    path: Path | None = None
    url: str | None = None
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """What the journal keeps of where a picture was put: a file, or a key on an object store."""

    path: Path | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """An upload that a store has; `written` is in seconds since the epoch, of the store's own clock."""

    name: str
    size: int
    written: float


Places = Mapping[str, Sequence[Place]]
"""Where the pictures of tasks are, by the tasks' own ids; in the order of the pictures."""


class Store(Protocol):
    """Keeps pictures and uploads whole or not at all, and never one picture over another."""

    async def keep_picture(self, task: Task, number: int, of: int, form: str, content: bytes) -> Address:
        """Keep picture `number` (from 1) of the `of` that a task brought; keeping it again changes nothing.

        Raises:
            PictureNotSaved: it cannot be written now.
        """
        ...

    async def picture(self, picture: Picture) -> bytes | None:
        """A picture's file; None where it is gone.

        Raises:
            PictureRefused: it cannot be read.
        """
        ...

    def glance(self, picture: Picture) -> Place:
        """Where a picture is, as far as can be told at once: without a link."""
        ...

    async def places(self, pictures: Sequence[Picture]) -> list[Place]:
        """Where pictures are, each with a fresh link where callers need one."""
        ...

    async def clear_away(self, task: Task) -> None:
        """Remove what a process that died left of a task."""
        ...

    async def keep_upload(self, owner: str, upload_id: str, content: bytes) -> None:
        """Keep an owner's upload, and let go of their oldest ones where it gets too much.

        Raises:
            PictureRefused: it cannot be written; the message goes on after the upload's name.
        """
        ...

    async def upload(self, owner: str, upload_id: str) -> bytes | None:
        """An owner's upload; None where they have none of this id.

        Raises:
            PictureRefused: it cannot be read.
        """
        ...

    async def answer(self, token: str) -> tuple[bytes, str] | None:
        """The picture that a link of our own stands for, and its media type; None where there is none."""
        ...


def upload_id_of(content: bytes) -> str:
    """The id that an upload has by its content."""
    return hashlib.sha256(content).hexdigest()[:32]


def superfluous(
    uploads: Sequence[Kept], *, keep: str, most_bytes: int = MOST_UPLOAD_BYTES, most: int | None = None
) -> list[str]:
    """The names of uploads to let go: what is older than 30 days, and the oldest where there are too many.

    The one just written tells what time it is, by the clock that wrote all of them.

    Args:
        uploads: of one owner.
        keep: the name of the one that was just written.
        most_bytes: of all together.
        most: so many; None is any number.
    """
    # Some stores know no fractions of a second, in which several can be written.
    newest_first = sorted(uploads, key=lambda each: (each.name == keep, each.written), reverse=True)
    names: list[str] = []
    room = most_bytes
    for number, each in enumerate(newest_first, 1):
        room -= each.size
        too_old = newest_first[0].written - each.written > _LONGEST_SECONDS
        too_many = room < 0 or (most is not None and number > most)
        if each.name != keep and (too_old or too_many):
            names.append(each.name)
    return names
