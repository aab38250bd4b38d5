"""An object store: pictures and uploads that all replicas share, and that callers reach by signed links.

`pictures/<owner's hash>/<day>/<edit id>-<number>.<ext>` and `uploads/<owner's hash>/<upload id>`.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import LocalStore, from_url

from kontext_edit.clock import Clock
from kontext_edit.errors import InvalidSettings, PictureNotSaved, PictureRefused
from kontext_edit.store.links import SignedLinks
from kontext_edit.store.place import EXTENSIONS, Address, Kept, Place, superfluous
from kontext_edit.task import Picture, Task

if TYPE_CHECKING:
    from obstore import Attributes, SignCapableStore
    from obstore.store import ObjectStore, RetryConfig

logger = logging.getLogger(__name__)

_TROUBLE = (BaseError, OSError)
"""What the library raises where a store cannot be reached, or refuses."""
_CANNOT_CREATE = (NotSupportedError, NotImplementedError)
_RETRIES: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
"""A request itself may take 30 seconds; options of the client would replace those of the environment."""
_MOST_UPLOADS = 1000
"""Of one owner; listing them must stay cheap."""
_MEDIA_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_REASON_CHARACTERS = 300
_LATER = "Try again in a moment. If it lasts, tell whoever runs this server."


def open_bucket(url: str, *, links: SignedLinks | None, link_seconds: int, clock: Clock) -> "Bucket":
    """The object store at a URL; its options come from the environment (AWS_*, GOOGLE_*, AZURE_*).

    Raises:
        InvalidSettings: it names no store, or options are missing.
    """
    try:
        folder = url.startswith("file:")
        store = from_url(url, mkdir=True) if folder else from_url(url, retry_config=_RETRIES)
    except (*_TROUBLE, ValueError) as error:
        raise InvalidSettings([f"KONTEXT_STORE_URL cannot be used: {_reason(error)}."]) from None
    if isinstance(store, LocalStore) and links is None:
        raise InvalidSettings(
            ["KONTEXT_STORE_URL is a folder, so KONTEXT_PUBLIC_URL must say where links to it lead."]
        )
    return Bucket(store, links=links, link_seconds=link_seconds, clock=clock)


class Bucket:
    """Pictures and uploads on an object store, apart for each owner.

    Args:
        store: as the library opened it.
        links: links of our own, for a store that cannot sign any.
        link_seconds: how long a link works.
        clock: tells when a link will expire.
    """

    def __init__(
        self, store: "ObjectStore", *, links: SignedLinks | None, link_seconds: int, clock: Clock
    ) -> None:
        self._store = store
        self._folder = isinstance(store, LocalStore)
        self._links = links
        self._link_seconds = link_seconds
        self._clock = clock

    async def keep_picture(self, task: Task, number: int, of: int, form: str, content: bytes) -> Address:
        """Put a picture where nothing is; the same picture there already, from before a take-over, is fine.

        Raises:
            PictureNotSaved: it cannot be written now.
        """
        del of
        name = f"{_room('pictures', task.owner)}/{_day(task)}/{task.id}-{number}"
        end = EXTENSIONS.get(form, form)
        kind: Attributes = {"Content-Type": f"image/{form}"}
        try:
            key = f"{name}.{end}"
            if not await self._put_new(key, content, kind):
                key = f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.{end}"
                await self._put_new(key, content, kind)
        except _TROUBLE as error:
            logger.warning("task %s: the store took no picture: %s", task.handle, _reason(error))
            raise PictureNotSaved(
                "The picture could not be written to the server's store.",
                "The API keeps it for about an hour, and it is tried again: call get_task. If it lasts, tell "
                "whoever runs this server.",
            ) from None
        return Address(key=key)

    async def picture(self, picture: Picture) -> bytes | None:
        """A picture's file; None where it is gone.

        Raises:
            PictureRefused: the store cannot be read.
        """
        return None if picture.key is None else await self._get(picture.key)

    def glance(self, picture: Picture) -> Place:
        """Where a picture is, without asking the store."""
        if picture.key is None:  # it was written to a folder, before there was an object store
            return Place(there=False, name="")
        return Place(there=True, name=PurePosixPath(picture.key).name)

    async def places(self, pictures: Sequence[Picture]) -> list[Place]:
        """Where pictures are, each with a link that is signed now."""
        if not pictures:  # as with every look at an edit under way
            return []
        there = await asyncio.gather(*(self._is_there(picture) for picture in pictures))
        keys = [picture.key or "" for picture, is_there in zip(pictures, there, strict=True) if is_there]
        expires_at = self._clock.now() + self._link_seconds
        urls = iter(await self._signed(keys, expires_at))
        places: list[Place] = []
        for picture, is_there in zip(pictures, there, strict=True):
            name = self.glance(picture).name
            url = next(urls, None) if is_there else None
            places.append(Place(is_there, name, url=url, expires_at=expires_at if url else None))
        return places

    async def clear_away(self, task: Task) -> None:
        """Nothing: an object is there whole or not at all."""
        del task

    async def keep_upload(self, owner: str, upload_id: str, content: bytes) -> None:
        """Put an upload, which makes it new again where it was there, and let go of what is too much.

        Raises:
            PictureRefused: the store takes none now.
        """
        room = _room("uploads", owner)
        try:
            await self._store.put_async(f"{room}/{upload_id}", content)
            await self._tidy(room, upload_id)
        except _TROUBLE as error:
            logger.warning("the store took no upload: %s", _reason(error))
            raise PictureRefused("could not be kept in the server's store", _LATER) from None

    async def upload(self, owner: str, upload_id: str) -> bytes | None:
        """An owner's upload; None where they have none of this id.

        Raises:
            PictureRefused: the store cannot be read.
        """
        return await self._get(f"{_room('uploads', owner)}/{upload_id}")

    async def answer(self, token: str) -> tuple[bytes, str] | None:
        """The picture that a link of our own stands for, and its media type; None where it stands for none.

        Raises:
            PictureRefused: the store cannot be read.
        """
        key = self._links.open(token) if self._links else None
        media_type = _MEDIA_TYPES.get(PurePosixPath(key or "").suffix)
        if key is None or media_type is None:
            return None
        content = await self._get(key)
        return None if content is None else (content, media_type)

    async def _put_new(self, key: str, content: bytes, kind: "Attributes") -> bool:
        """Put an object where none is; whether it is there now with this content."""
        attributes = None if self._folder else kind  # files have none
        try:
            await self._store.put_async(key, content, attributes=attributes, mode="create")
        except AlreadyExistsError:
            return await self._get(key) == content
        except _CANNOT_CREATE:
            # Only this edit ever writes to the key, so that at worst a picture of its own is replaced.
            await self._store.put_async(key, content, attributes=attributes)
        return True

    async def _get(self, key: str) -> bytes | None:
        try:
            answer = await self._store.get_async(key)
            return bytes(await answer.bytes_async())
        except FileNotFoundError:
            return None
        except _TROUBLE as error:
            logger.warning("the store could not be read: %s", _reason(error))
            raise PictureRefused("the server's store cannot be read at the moment", _LATER) from None

    async def _is_there(self, picture: Picture) -> bool:
        """Whether a picture is there; a store that cannot tell at the moment most likely has it."""
        if picture.key is None:
            return False
        try:
            await self._store.head_async(picture.key)
        except FileNotFoundError:
            return False
        except _TROUBLE as error:
            logger.warning("the store could not be asked: %s", _reason(error))
        return True

    async def _signed(self, keys: list[str], expires_at: float) -> Sequence[str]:
        """A link for each key: signed by the store where it can, else our own; none where nobody can."""
        if not self._folder:
            store = cast("SignCapableStore", self._store)
            try:
                return await obstore.sign_async(store, "GET", keys, timedelta(seconds=self._link_seconds))
            except (*_TROUBLE, ValueError, NotImplementedError) as error:
                logger.warning("the store signs no links: %s", _reason(error))
        return [self._links.url_for(key, expires_at) for key in keys] if self._links else []

    async def _tidy(self, room: str, keep: str) -> None:
        kept: list[Kept] = []
        async for batch in obstore.list(self._store, room):  # pyright: ignore[reportUnknownMemberType] - Arrow
            for each in batch:
                written = each["last_modified"].timestamp()
                kept.append(Kept(PurePosixPath(each["path"]).name, each["size"], written))
        names = superfluous(kept, keep=keep, most=_MOST_UPLOADS)
        if names:
            await self._store.delete_async([f"{room}/{name}" for name in names])


def _room(what: str, owner: str) -> str:
    """Where an owner's things are; no name of a person stands in a key or a link."""
    return f"{what}/{hashlib.sha256(owner.encode()).hexdigest()[:32]}"


def _day(task: Task) -> str:
    """The same at every replica."""
    return datetime.fromtimestamp(task.created_at, UTC).date().isoformat()


def _reason(error: Exception) -> str:
    """What the library says, for the log: its first line, for the others are its innards."""
    return str(error).partition("\n")[0][:_REASON_CHARACTERS].rstrip(". ") or type(error).__name__
