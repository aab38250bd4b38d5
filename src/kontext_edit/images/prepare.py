"""Sources -> what upstream gets: upright, sRGB, fitted, without metadata; nothing unchecked leaves."""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Literal, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from PIL import ExifTags, Image, ImageFile

from kontext_edit.errors import KontextError, NoSuchTask, PictureRefused
from kontext_edit.images.bands import in_bands
from kontext_edit.images.colour import resizable, to_srgb
from kontext_edit.images.decode import load, opened
from kontext_edit.images.encode import encode
from kontext_edit.images.preview import Look
from kontext_edit.images.scale import fitted, resized
from kontext_edit.images.sources import Finder, Found, label
from kontext_edit.images.wording import shown
from kontext_edit.task import Source

MAX_SIDE = 1568
"""Pixels; the model's longest side, so that anything beyond is wasted upload."""

MIN_SIDE = 8
"""Pixels; with less there is nothing to edit."""

_TINY = 16
"""Pixels; below, an edit can be made but hardly makes sense."""

_DECODES = 2
"""Pictures decoded at a time, which bounds memory however many edits are asked for."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientations and what turns them upright."""

Encoding = Literal["data-url", "base64"]
Args = ParamSpec("Args")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A source, ready for upstream.

    Attributes:
        origin: Where it came from, safe to write down.
        sha256: Of the source's own bytes, or of the URL.
        data: A JPEG or PNG file; None for a URL.
        media_type: `image/jpeg` or `image/png`; None for a URL.
        url: The link for upstream to fetch; None for data.
        width: Of `data`, in pixels; None for a URL.
        height: Of `data`, in pixels; None for a URL.
        look: What a result is compared with; None for a URL.
        warnings: What a person should know about how the source was read.
    """

    origin: str
    sha256: str
    data: bytes | None
    media_type: str | None
    url: str | None
    width: int | None
    height: int | None
    look: Look | None
    warnings: tuple[str, ...]

    def wire(self, encoding: Encoding) -> str:
        """The picture as upstream reads it: the URL as it is, a data URL, or bare base64."""
        if self.data is None:
            return self.url or ""
        text = base64.b64encode(self.data).decode("ascii")
        return text if encoding == "base64" else f"data:{self.media_type};base64,{text}"


def prepare(found: Found) -> Prepared:
    """Decode, turn upright, convert to sRGB, fit and encode. Uses the CPU: call it in a thread.

    Raises:
        PictureRefused: It is no whole picture of a format that is read, or too large or small.
    """
    if found.data is None:
        url = found.url or ""
        digest = hashlib.sha256(url.encode()).hexdigest()
        return Prepared(found.origin, digest, None, None, url, None, None, None, ())
    image, warnings = _pixels(found.data)
    if found.note:
        warnings.insert(0, found.note)
    sent = encode(image)
    if min(sent.width, sent.height) < _TINY:
        warnings.append(f"only {sent.width}x{sent.height} pixels: expect a poor result")
    name = PurePath(found.origin).name or found.origin
    return Prepared(
        origin=found.origin,
        sha256=hashlib.sha256(found.data).hexdigest(),
        data=sent.data,
        media_type=sent.media_type,
        url=None,
        width=sent.width,
        height=sent.height,
        look=Look.of(image),
        warnings=tuple(f"{name}: {warning}." for warning in warnings),
    )


def _pixels(data: bytes) -> tuple[Image.Image, list[str]]:
    """The first frame, upright and fitted, as sRGB; and what there is to say about it."""
    with opened(data) as image:
        warnings = _frames(image)
        if min(image.size) < MIN_SIDE:
            raise PictureRefused(
                f"it is only {image.width}x{image.height} pixels; at least {MIN_SIDE} a side are needed",
                "Use a larger picture: the model works at about one megapixel.",
            )
        small = in_bands(image, data, MAX_SIDE)
        if small is None:
            load(image, data, MAX_SIDE)
            plain = resizable(image)
            small = resized(plain, fitted(plain.size, MAX_SIDE)).copy()
            turn = _UPRIGHT.get(_orientation(image))  # now: some formats turn themselves, or tell late
        else:
            turn = _UPRIGHT.get(_orientation(small))
        profile = image.info.get("icc_profile")
    small, warning = to_srgb(small, profile if isinstance(profile, bytes) and profile else None)
    warnings += [warning] if warning else []
    return small if turn is None else small.transpose(turn), warnings


def _frames(image: ImageFile.ImageFile) -> list[str]:
    """A warning where a file holds more than one picture. A camera's JPEG may: a depth map, say."""
    if image.format in {"JPEG", "MPO"} or not getattr(image, "is_animated", False):
        return []
    return ["it holds several frames or pages, and only the first is used"]


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; upright where the metadata is damaged."""
    with suppress(Exception):
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def _take_turn(work: Callable[[], Coroutine[object, object, Answer]]) -> Answer:
    """Decode in turn; a thread cannot be stopped, so that cancelled work keeps its turn to the end."""
    turns = _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_DECODES))
    await turns.acquire()
    job = asyncio.ensure_future(work())
    job.add_done_callback(lambda _: turns.release())
    return await asyncio.shield(job)


async def in_turn(work: Callable[Args, Answer], *args: Args.args, **kwargs: Args.kwargs) -> Answer:
    """Carry out work with pictures in a thread, and never so much of it that nothing else gets a thread."""
    return await _take_turn(lambda: asyncio.to_thread(work, *args, **kwargs))


class Studio:
    """Prepares all the sources of an edit."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    async def prepare(self, sources: Sequence[str], owner: str) -> list[Prepared]:
        """Prepare the sources that an owner named side by side, and tell every problem at once.

        Raises:
            PictureRefused: Some cannot be used; the message names each.
        """
        outcomes = await asyncio.gather(
            *(_take_turn(partial(self._read, source, owner)) for source in sources), return_exceptions=True
        )
        prepared: list[Prepared] = []
        refused: dict[str, KontextError] = {}
        for index, (source, outcome) in enumerate(zip(sources, outcomes, strict=True)):
            if isinstance(outcome, (PictureRefused, NoSuchTask)):
                refused[f"images[{index}] {label(source)}"] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                prepared.append(outcome)
        if refused:
            message = "; ".join(f"{name}: {error.message}" for name, error in refused.items())
            hints = dict.fromkeys(error.hint for error in refused.values() if error.hint)
            raise PictureRefused(message, " ".join(hints))
        return prepared

    async def again(self, source: Source, owner: str) -> Prepared | None:
        """A source of an earlier edit of the owner's; None where it is not at hand unchanged."""
        data = await self._finder.again(source, owner)
        if data is None:
            return None
        found = Found(source.origin, data, None)
        try:
            return await in_turn(prepare, found)
        except PictureRefused:
            return None

    async def _read(self, source: str, owner: str) -> Prepared:
        found = await self._finder.find(source, owner)
        try:
            return await asyncio.to_thread(prepare, found)
        except PictureRefused as refused:
            if found.note is None:
                raise
            name = PurePath(found.origin).name
            raise PictureRefused(f"{shown(name)}, {found.note}: {refused.message}", refused.hint) from None
