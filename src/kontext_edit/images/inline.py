"""Pictures inside the source string itself: data URLs and bare base64."""

import base64
import binascii
import re

from kontext_edit.errors import PictureRefused
from kontext_edit.images.decode import MAX_BYTES, format_of
from kontext_edit.images.ways import AT_HOME
from kontext_edit.images.wording import megabytes

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+=*")
_URL_SAFE = str.maketrans("-_", "+/")
_HEAD = 32
"""Base64 characters that hold every format's signature."""
_LONGEST_NAME = 255
"""Bytes in one name on every common file system; what has more of them between slashes is no path."""

_HINT = "Send base64 (data:image/png;base64,… or the bare characters), or better {better}."


def is_base64(text: str) -> bool:
    """Whether `text` is bare base64 rather than the name of a file.

    Base64 has slashes (every JPEG starts with `/9j/`), and a name can consist of its letters alone. So it
    must begin as a picture does, or be something that no file system takes for a name.
    """
    letters = "".join(text.split())
    if not _BASE64.fullmatch(letters):
        return False
    head = letters[:_HEAD].translate(_URL_SAFE).rstrip("=")
    begins = format_of(base64.b64decode(head[: len(head) // 4 * 4])) is not None
    return begins or (" " not in text and max(map(len, letters.split("/"))) > _LONGEST_NAME)


def from_data_url(text: str, better: str = AT_HOME.instead_of_base64) -> bytes:
    """The bytes in a data URL. Its media type is not trusted: the bytes tell what they are.

    Args:
        text: The URL.
        better: What an error advises instead; part of a sentence.

    Raises:
        PictureRefused: It is not base64, empty, or too large.
    """
    head, comma, payload = text.partition(",")
    if not comma:
        raise PictureRefused("the data URL has no comma, so it holds no data", _HINT.format(better=better))
    if not head.lower().rstrip().endswith(";base64"):
        raise PictureRefused(
            "the data URL is percent-encoded; only base64 ones are read", _HINT.format(better=better)
        )
    return from_base64(payload, better)


def from_base64(text: str, better: str = AT_HOME.instead_of_base64) -> bytes:
    """The bytes that base64 stands for; white space, the URL-safe letters and missing padding are fine.

    Args:
        text: The characters.
        better: What an error advises instead; part of a sentence.

    Raises:
        PictureRefused: It is not base64, empty, or too large.
    """
    letters = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    if not letters:
        raise PictureRefused("the base64 data is empty", _HINT.format(better=better))
    if len(letters) > MAX_BYTES * 4 // 3:
        raise PictureRefused(
            f"the data is {megabytes(len(letters) * 3 // 4)}; at most {megabytes(MAX_BYTES)} are read",
            "Make the picture smaller first.",
        )
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PictureRefused(
            "the data is not valid base64, or was cut off", _HINT.format(better=better)
        ) from None
