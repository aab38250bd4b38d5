"""What the page's tools do with pictures: read what was dropped, show what was edited small enough."""

import io

from PIL import Image

from kontext_edit.images.decode import opened
from kontext_edit.images.inline import from_base64
from kontext_edit.images.prepare import MAX_SIDE, Prepared
from kontext_edit.images.scale import fitted, resized

_SHOWN_BYTES = 700_000
"""Some hosts refuse a result above a megabyte, and base64 adds a third."""
_LADDER = ((MAX_SIDE, 92), (MAX_SIDE, 80), (MAX_SIDE, 60), (1024, 60), (640, 40))
"""Longest sides and qualities, tried from the best."""


def content_of(data: str) -> bytes:
    """The file that the page sends as base64.

    Raises:
        PictureRefused: it is none, or too large.
    """
    return from_base64(data, "let the person drop or pick the picture again")


def small_enough(picture: Prepared) -> tuple[bytes, str] | None:
    """A picture as the model saw it, small enough for hosts, and its media type; None where it is a link."""
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
