"""What the person copied last: a picture, or the name of a picture file."""

import asyncio
import io

from PIL import Image, ImageGrab, ImageOps

from kontext_edit.errors import PictureRefused
from kontext_edit.images.wording import printable, shown

PATIENCE = 10.0
"""Seconds to wait for the program that owns the clipboard; on X11 and Wayland it may never answer."""

_COPY_FIRST = (
    "Ask the person to copy the picture itself (not its name or link) and try again, to take a screenshot of "
    "it (source: `latest:screenshot`), or to give its path."
)

Content = Image.Image | list[str] | None


async def grab() -> bytes | str:
    """The clipboard's picture as PNG bytes, or the name of the one file it holds.

    Raises:
        PictureRefused: There is none, or the clipboard cannot be read.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.to_thread(_grab)
    except TimeoutError:
        raise PictureRefused(f"the clipboard did not answer within {PATIENCE:.0f} s", _COPY_FIRST) from None


def _grab() -> bytes | str:
    try:
        return taken(ImageGrab.grabclipboard())
    except NotImplementedError:
        raise PictureRefused(
            "the clipboard cannot be read: no helper program is installed",
            "Ask the person to install wl-clipboard (Wayland) or xclip (X11), or to give the picture's path.",
        ) from None
    except ChildProcessError as error:
        raise PictureRefused(f"the clipboard cannot be read: {printable(str(error))}", _COPY_FIRST) from None
    except (OSError, ValueError, SyntaxError):
        raise PictureRefused("what is on the clipboard is no picture that can be read", _COPY_FIRST) from None


def taken(content: Content) -> bytes | str:
    """What Pillow found on the clipboard as PNG bytes or one file's name.

    Raises:
        PictureRefused: It is nothing, or more than one file.
    """
    if isinstance(content, Image.Image):
        return _png(content)
    if not content:
        raise PictureRefused("there is no picture on the clipboard", _COPY_FIRST)
    if len(content) > 1:
        names = ", ".join(shown(name) for name in content[:4])
        raise PictureRefused(
            f"there are {len(content)} files on the clipboard: {names}",
            "Pass the paths of the pictures that are meant as sources of their own.",
        )
    return content[0]


def _png(image: Image.Image) -> bytes:
    """A picture in memory as PNG; its colour profile goes with it, its orientation is applied."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode in {"CMYK", "YCbCr", "LAB", "HSV", "F"}:
        upright = upright.convert("RGB")
        upright.info.pop("icc_profile", None)
    out = io.BytesIO()
    upright.save(out, "PNG", compress_level=1)
    return out.getvalue()
