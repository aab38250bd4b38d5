"""Bytes to pixels, within limits: the only place where Pillow opens a picture."""

import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import pillow_heif
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from kontext_edit.errors import PictureRefused
from kontext_edit.images.arenas import share_arenas
from kontext_edit.images.scale import fitted
from kontext_edit.images.wording import MEGABYTE, megabytes

MAX_BYTES = 50 * MEGABYTE
"""A source's own size."""

MAX_PIXELS = 100_000_000
"""Pixels that are ever held in memory, a JPEG's counted after its reduction."""

MAX_CODED_PIXELS = 400_000_000
"""Pixels of a JPEG that is reduced while it is decoded: twice the largest phone camera's."""

READABLE = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
"""Pillow's names; its JPEG also covers MPO, which many phones and cameras write."""

ACCEPTED = "JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF and HEIC"

# Pillow's own limit looks at the size before a JPEG is reduced and would refuse a 200-megapixel phone
# photograph. `check_size` takes its place, before any decoding.
Image.MAX_IMAGE_PIXELS = None

share_arenas()
pillow_heif.register_heif_opener()  # pyright: ignore[reportUnknownMemberType]  # its options are untyped

_TILE_WIDTH, _TILE_LENGTH = 322, 323
"""TIFF's tags for the size of a tile, which is decoded whole even where the picture is smaller."""

_CLOSE = 0.9
_AMPLE = 1_200_000
"""Pixels; the model works at about one megapixel."""

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
"""Where a segment of a JPEG begins; decoders skip whatever stands between segments."""

_SEQUENTIAL = frozenset({0xC0, 0xC1})
_FRAMES = _SEQUENTIAL | {0xC2}
_SCAN = 0xDA
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})
"""Markers that start a picture and a scan, and those that have no segment."""

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)
_FOREIGN = {
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"8BPS": "a Photoshop document",
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"-----BEGIN": "a text that looks like a key or certificate",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL picture",
    b"\xff\x0a": "a JPEG XL picture",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 picture",
    b"\x00\x00\x01\x00": "a Windows icon",
}
_HEAD = 4096
"""Bytes in which a text format gives itself away."""


def format_of(data: bytes) -> str | None:
    """The format that `data` begins as, by its signature; None where it is none that is read here."""
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":
        return "BMP"
    return _BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None


@contextmanager
def opened(data: bytes, formats: tuple[str, ...] = READABLE) -> Generator[ImageFile.ImageFile]:
    """A picture whose header was read; whatever its decoder stumbles over becomes a refusal.

    Raises:
        PictureRefused: `data` is too large, holds no picture of these formats, or is damaged.
    """
    if len(data) > MAX_BYTES:
        raise PictureRefused(
            f"it is {megabytes(len(data))}; at most {megabytes(MAX_BYTES)} are read",
            "Make the picture smaller first.",
        )
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            yield image
    except PictureRefused:
        raise
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except Exception as error:  # on damaged data decoders raise whatever comes
        raise _damaged(format_of(data) or "file") from error


def load(image: ImageFile.ImageFile, data: bytes, side: int | None = None) -> None:
    """Decode the first frame, a JPEG at a reduced scale that still covers `side` pixels.

    Raises:
        PictureRefused: It has more pixels than are ever decoded.
    """
    coded = image.width * image.height
    if isinstance(image, JpegImageFile) and side is not None:
        image.draft(None, _wanted(image.size, side))
        check_size(coded, MAX_CODED_PIXELS)
        if not _decodes_in_strips(data):
            check_size(coded)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        check_size(_tile_pixels(image))
    check_size(image.width * image.height)
    image.load()


def _wanted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """How large a reduced JPEG must at least be: a little below `side` where that is still ample.

    A JPEG halves its scale in steps, and missing a step by a few pixels costs four times the decoding.
    """
    close = fitted(size, round(_CLOSE * side))
    return close if close[0] * close[1] >= _AMPLE else fitted(size, side)


def check_size(pixels: int, limit: int = MAX_PIXELS) -> None:
    """Raises PictureRefused where a picture has more pixels than are decoded."""
    if pixels > limit:
        raise PictureRefused(
            f"it has {pixels / 1e6:,.0f} megapixels, more than the {limit / 1e6:.0f} that are decoded",
            "Make the picture smaller first: nothing beyond 1568 pixels a side is used anyway.",
        )


def _tile_pixels(image: TiffImagePlugin.TiffImageFile) -> int:
    width = cast("int", image.tag_v2.get(_TILE_WIDTH, 0))
    return width * cast("int", image.tag_v2.get(_TILE_LENGTH, 0))


def _decodes_in_strips(data: bytes) -> bool:
    """Whether a JPEG is one scan with all its colours.

    Any other (progressive, or a scan for each colour) makes the decoder hold the whole picture at full
    size, however small it is wanted.
    """
    position, frame, colours = 2, 0, 0
    while found := _MARKER.search(data, position):
        marker, start = found[1][0], found.end()
        if marker == _SCAN:
            return frame in _SEQUENTIAL and data[start + 2] == colours
        if marker in _FRAMES:
            frame, colours = marker, data[start + 7]
        position = start if marker in _BARE else start + int.from_bytes(data[start : start + 2])
    return False


def _unidentified(data: bytes) -> PictureRefused:
    """Why no decoder took `data`."""
    if not data:
        return PictureRefused("it is empty (0 bytes)", "Ask the person for another copy of the picture.")
    if (name := format_of(data)) is not None:
        return _damaged(name)
    kind = next((kind for start, kind in _FOREIGN.items() if data.startswith(start)), _text_kind(data))
    return PictureRefused(
        f"there is no picture inside: it is {kind}; nothing was sent",
        f"Use {ACCEPTED}. Convert anything else to PNG or JPEG first.",
    )


def _text_kind(data: bytes) -> str:
    head = data[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return "an SVG drawing"
    if head.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if data[4:8] == b"ftyp":
        return "a video, or a picture in a format that is not read here"
    return "a text" if _is_text(data[:_HEAD]) else "an unknown kind of file"


def _is_text(head: bytes) -> bool:
    try:
        return "\0" not in head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3 > 0  # a letter cut in two at the end


def _damaged(name: str) -> PictureRefused:
    return PictureRefused(
        f"the {name} is damaged or truncated and cannot be decoded completely",
        "Ask the person for an intact copy: download or export it again.",
    )
