"""Pixels -> the file that goes upstream: JPEG, or PNG where something is transparent; never too large."""

import io
import math
from dataclasses import dataclass

from PIL import Image

from kontext_edit.images.scale import resized
from kontext_edit.images.wording import MEGABYTE

JPEG_BYTES = MEGABYTE
"""A JPEG is at most this large: enough for the best quality of nearly every photograph."""

PNG_BYTES = 6 * MEGABYTE
"""A PNG is at most this large: as base64 it stays well below the 10 MB that upstream takes [docs]."""

_LADDER = ((92, "4:4:4"), (92, "4:2:0"), (85, "4:2:0"), (75, "4:2:0"), (60, "4:2:0"))
"""Qualities and colour resolutions of a JPEG, tried from the best."""

_PNG_LEVEL = 4
"""Takes 40 % of the time of the default and 3 % more bytes (`bench/prepare.py`, with alpha)."""

_MARGIN = 0.95


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture file. `width` and `height` are in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


def encode(image: Image.Image) -> Encoded:
    """Encode pixels and nothing else: no EXIF, no profile, no comments.

    Args:
        image: RGB or RGBA, in sRGB.
    """
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        return _png(_without_hidden_colours(image))
    return _jpeg(image.convert("RGB"))


def _jpeg(image: Image.Image) -> Encoded:
    while True:
        data = b""
        for quality, subsampling in _LADDER:
            data = _saved(image, "JPEG", quality=quality, subsampling=subsampling)
            if len(data) <= JPEG_BYTES:
                return Encoded(data, "image/jpeg", *image.size)
        image = _shrunk(image, JPEG_BYTES / len(data))


def _png(image: Image.Image) -> Encoded:
    while len(data := _saved(image, "PNG", compress_level=_PNG_LEVEL)) > PNG_BYTES:
        image = _shrunk(image, PNG_BYTES / len(data))
    return Encoded(data, "image/png", *image.size)


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    bare = image.copy()
    bare.info = {}  # Pillow would write a profile, a comment or a resolution that it finds here
    out = io.BytesIO()
    bare.save(out, file_format, **options)
    return out.getvalue()


def _shrunk(image: Image.Image, excess: float) -> Image.Image:
    """The picture with `excess` (below 1) times its pixels, and a little less to be sure."""
    scale = math.sqrt(excess) * _MARGIN
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return resized(image, size)


def _without_hidden_colours(image: Image.Image) -> Image.Image:
    """The picture with black where it is fully transparent: what was erased stays erased."""
    return image.convert("RGBa").convert("RGBA")
