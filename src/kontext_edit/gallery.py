"""Finished pictures: fetched and verified, handed to the store, and shown small."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import httpx

from kontext_edit.errors import LinkRefused, PictureNotSaved, PictureRefused
from kontext_edit.images.prepare import in_turn
from kontext_edit.images.preview import Inspected, Look, inspect, preview_of, sheet
from kontext_edit.novita import system_certificates
from kontext_edit.reader import is_loopback
from kontext_edit.store.place import Place, Places, Store
from kontext_edit.task import Picture, Task

_MAX_BYTES = 50 * 1024 * 1024
_FETCH_SECONDS = 180
_TIMEOUT = httpx.Timeout(connect=10, write=10, read=30, pool=30)
_REDIRECTS = 3
_PREVIEWS_AT_HAND = 64
"""Of at most 64 KiB each."""


class Gallery:
    """The results.

    Args:
        store: where pictures are kept.
        base_url: the API's; where it is this machine, links without TLS are followed there.
        transport: the seam for tests and for the embedded sandbox; None is the network.
    """

    def __init__(self, store: Store, *, base_url: str, transport: httpx.AsyncBaseTransport | None) -> None:
        self._store = store
        self._plain_http = is_loopback(base_url)
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, transport=transport, verify=system_certificates())
        self._previews: OrderedDict[str, bytes] = OrderedDict()

    async def save(self, task: Task, links: tuple[str, ...], before: Look | None) -> tuple[Picture, ...]:
        """Fetch, verify and keep the pictures of a task; saving again what is there changes nothing.

        Raises:
            LinkRefused: a link has expired.
            PictureNotSaved: they could not be fetched or written now, and may be later.
        """
        contents = await asyncio.gather(*(self._fetch(link) for link in links))
        return tuple(
            [
                await self._keep(task, number, len(links), content, before)
                for number, content in enumerate(contents, 1)
            ]
        )

    async def preview(self, pictures: Sequence[Picture]) -> bytes | None:
        """One small WebP of all pictures that are still there; None where there is none.

        Raises:
            PictureRefused: one cannot be read.
        """
        small = [each for each in await asyncio.gather(*map(self._small, pictures)) if each is not None]
        return await in_turn(sheet, small) if small else None

    async def places(self, tasks: Sequence[Task]) -> Places:
        """Where the pictures of tasks are, with links that are signed now where callers need links."""
        places = iter(await self._store.places([picture for task in tasks for picture in task.pictures]))
        return {task.id: [next(places) for _ in task.pictures] for task in tasks}

    def glance(self, picture: Picture) -> Place:
        """Where a picture is, as far as can be told at once: without a link."""
        return self._store.glance(picture)

    async def content(self, picture: Picture) -> bytes | None:
        """A picture in full; None where it is gone.

        Raises:
            PictureRefused: it cannot be read.
        """
        return await self._store.picture(picture)

    async def clear_away(self, task: Task) -> None:
        """Remove what a process that died left of a task."""
        await self._store.clear_away(task)

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

    async def _keep(self, task: Task, number: int, of: int, content: bytes, before: Look | None) -> Picture:
        """Verify a picture and keep it."""
        try:
            seen, digest = await in_turn(_verified, content, before)
        except PictureRefused as error:
            raise PictureNotSaved(f"What the API delivered is not a whole picture: {error}") from None
        address = await self._store.keep_picture(task, number, of, seen.format, content)
        self._remember(digest, seen.preview)
        return Picture(
            path=address.path,
            width=seen.width,
            height=seen.height,
            format=seen.format,
            bytes=len(content),
            sha256=digest,
            changed_percent=seen.changed_percent,
            key=address.key,
        )

    async def _small(self, picture: Picture) -> bytes | None:
        """A picture's preview, from when it came or from its file; None where it is gone."""
        if not self._store.glance(picture).there:
            return None
        if (at_hand := self._previews.get(picture.sha256)) is not None:
            return at_hand
        content = await self._store.picture(picture)
        if content is None:
            return None
        small = await in_turn(preview_of, content)
        self._remember(picture.sha256, small)
        return small

    def _remember(self, digest: str, small: bytes) -> None:
        self._previews[digest] = small
        if len(self._previews) > _PREVIEWS_AT_HAND:
            self._previews.popitem(last=False)


def _verified(content: bytes, before: Look | None) -> tuple[Inspected, str]:
    """What a picture is, and its SHA-256."""
    return inspect(content, before), hashlib.sha256(content).hexdigest()


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
