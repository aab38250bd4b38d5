"""Any colour mode and any profile -> sRGB with eight bits a channel."""

import io
import math
from typing import Literal

from PIL import Image, ImageCms


def _standard(name: Literal["sRGB", "LAB"]) -> ImageCms.ImageCmsProfile:
    profile = ImageCms.createProfile(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # compiled
    return ImageCms.ImageCmsProfile(profile)  # pyright: ignore[reportUnknownArgumentType]  # likewise


SRGB = _standard("sRGB")
"""The colour space that screens, the web and the model take for granted."""

_LAB = _standard("LAB")

_SIXTEEN_BITS = 65535
_EIGHT_BITS = 255
_WITH_ALPHA = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA"}
_RESIZABLE = frozenset({"L", "LA", "RGB", "RGBA", "CMYK", "LAB"})


def resizable(image: Image.Image) -> Image.Image:
    """The picture in a mode that can be resampled: L, LA, RGB, RGBA, CMYK or LAB.

    Palettes are resolved, transparent colours become alpha, deep channels are brought to eight bits.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if image.mode in _WITH_ALPHA:
        return image.convert(_WITH_ALPHA[image.mode])
    if "transparency" in image.info and image.mode in {"1", "L", "P", "RGB"}:
        return image.convert("LA" if image.mode in {"1", "L"} else "RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in _RESIZABLE else image.convert("RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str | None]:
    """The picture as sRGB.

    Args:
        image: In a mode that `resizable` gives.
        profile: The embedded ICC profile.

    Returns:
        It as RGB or RGBA, and a warning where its colours had to be guessed.
    """
    if image.mode in {"LA", "RGBA"}:
        alpha = image.getchannel("A")
        colours, warning = to_srgb(image.convert(image.mode[:-1]), profile)
        colours.putalpha(alpha)
        return colours, warning
    if image.mode == "LAB":
        return _transformed(image, None), None
    if profile is None:
        guessed = "its CMYK colours have no profile, so they were converted by rule of thumb"
        return image.convert("RGB"), guessed if image.mode == "CMYK" else None
    try:
        return _transformed(image, profile), None
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB"), "its colour profile is broken or does not fit, and was ignored"


def _transformed(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture as RGB; without a profile its numbers are LAB."""
    source = _LAB if profile is None else ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, SRGB, image.mode, "RGB").apply(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """A picture of deep or real numbers as L.

    Sixteen-bit files use their full range by definition. Others do not say: numbers that fit into 0…1, eight
    or sixteen bits are taken as such, and anything else is spread over its own range.
    """
    numbers = image.convert("F")
    low, high = (0.0, float(_SIXTEEN_BITS)) if image.mode.startswith("I;16") else _range(numbers)
    scale = _EIGHT_BITS / (high - low)
    eight = numbers.point(  # pyright: ignore[reportUnknownMemberType]  # numpy is optional
        lambda value: value * scale + (0.5 - low * scale)
    )
    return eight.convert("L")


def _range(numbers: Image.Image) -> tuple[float, float]:
    """What black and white are in a picture that does not say."""
    low, high = (float(edge) for edge in numbers.getextrema() if isinstance(edge, float))
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    if low >= 0:
        fitting = [top for top in (1.0, float(_EIGHT_BITS), float(_SIXTEEN_BITS)) if high <= top]
        return 0.0, fitting[0] if fitting else high
    return low, max(high, low + 1.0)
