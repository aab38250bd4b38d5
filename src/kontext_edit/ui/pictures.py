"""What the page's tools do with picture files: keep what was dropped, find again what was edited."""

import hashlib
import io
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from kontext_edit.errors import PictureRefused
from kontext_edit.images.decode import opened
from kontext_edit.images.inline import from_base64
from kontext_edit.images.prepare import MAX_SIDE, Prepared, prepare
from kontext_edit.images.scale import fitted, resized
from kontext_edit.images.sources import Found
from kontext_edit.images.wording import MEGABYTE, shown
from kontext_edit.task import Source

UPLOAD = "upload:"
"""What a source string begins with that means a picture from the page."""

_ID_CHARACTERS = 32
MOST_BYTES = 500 * MEGABYTE
"""Of all uploads together."""
_LONGEST_DAYS = 30
_DAY = 86_400

_SHOWN_BYTES = 700_000
"""Some hosts refuse a result above a megabyte, and base64 adds a third."""
_LADDER = ((MAX_SIDE, 92), (MAX_SIDE, 80), (MAX_SIDE, 60), (1024, 60), (640, 40))
"""Longest sides and qualities, tried from the best."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that was given in the page. `width` and `height` are what the model will see of it."""

    source: str
    width: int
    height: int
    bytes: int
    warnings: tuple[str, ...]


def keep_upload(folder: Path, name: str, data: str, *, most_bytes: int = MOST_BYTES) -> Upload:
    """Check a picture like any source, and keep its own bytes under the hash of them.

    Args:
        folder: where uploads are kept; made when the first one arrives.
        name: the file's name, for errors alone.
        data: the file as base64.
        most_bytes: of all that is kept; beyond, the oldest go.

    Raises:
        PictureRefused: it is no picture that can be edited, or it cannot be kept.
    """
    content = from_base64(data)
    prepared = prepare(Found(name, content, None))
    upload_id = hashlib.sha256(content).hexdigest()[:_ID_CHARACTERS]
    try:
        _write(folder, upload_id, content)
    except OSError as error:
        raise PictureRefused(
            f"{shown(name)} could not be kept in {folder}: {error.strerror}",
            "Ask the person to look at the folder (space, rights), or to give the picture's path instead.",
        ) from error
    _tidy(folder, most_bytes, keep=upload_id, now=time.time())
    return Upload(
        UPLOAD + upload_id, prepared.width or 0, prepared.height or 0, len(content), prepared.warnings
    )


def before(source: Source, path: Path) -> tuple[bytes, str] | None:
    """The picture that was edited as the model saw it, upright and fitted, and its media type.

    Args:
        source: as the journal knows it.
        path: the file where it was read.

    Returns:
        None where the file is not there any more, or is another one by now.
    """
    with suppress(OSError, PictureRefused):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == source.sha256:
            return _small_enough(prepare(Found(source.origin, content, None)))
    return None


def _write(folder: Path, name: str, content: bytes) -> None:
    """Whole or not at all; what is there already counts as new again."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = folder / name
    if target.exists():
        os.utime(target)
        return
    half = folder / f".{secrets.token_hex(8)}"
    try:
        half.write_bytes(content)
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)


def _tidy(folder: Path, room: int, *, keep: str, now: float) -> None:
    """Let go of what is too old or too much, the oldest first."""
    for path, size, written in _newest_first(folder):
        room -= size
        if path.name != keep and (room < 0 or now - written > _LONGEST_DAYS * _DAY):
            with suppress(OSError):
                path.unlink()


def _newest_first(folder: Path) -> list[tuple[Path, int, float]]:
    found: list[tuple[Path, int, float]] = []
    for path in folder.iterdir():
        with suppress(OSError):  # another process may be tidying too
            status = path.stat()
            found.append((path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda each: each[2], reverse=True)


def _small_enough(picture: Prepared) -> tuple[bytes, str] | None:
    if picture.data is None:
        return None
    if len(picture.data) <= _SHOWN_BYTES:
        return picture.data, picture.media_type or ""
    with opened(picture.data) as image:
        encodings = (_webp(image, side, quality) for side, quality in _LADDER)
        data = next((data for data in encodings if len(data) <= _SHOWN_BYTES), None)
    return (data, "image/webp") if data else None


def _webp(image: Image.Image, side: int, quality: int) -> bytes:
    out = io.BytesIO()
    resized(image, fitted(image.size, side)).save(out, "WEBP", quality=quality, method=2)
    return out.getvalue()
