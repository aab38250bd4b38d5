"""The sandbox's painter: it does to a picture what Pillow can, and marks it so that nobody is misled.

A pure function: the same job gives the same bytes. It knows some words (see `words`), writes the last
quoted text of a prompt as a caption, joins several sources into one picture, and changes a picture gently
where it knows no word. A band along the bottom edge always says that no model ran.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from io import BytesIO
from typing import Literal

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from kontext_edit.sandbox import effects
from kontext_edit.sandbox.effects import Colour, Effect
from kontext_edit.sandbox.lettering import add_band, add_caption
from kontext_edit.sandbox.words import Reading, read

Format = Literal["jpeg", "png", "webp"]

_PIXELS = 1024 * 1024
"""Kontext works at about one megapixel."""
_STEP = 16
_LEAST_SIDE = 256
_GREATEST_SIDE = 1568

_PAPER: Colour = (246, 243, 238)
_DAYBREAK: tuple[Colour, ...] = ((222, 226, 238), (240, 226, 222), (250, 238, 216))
"""What stands in where there is no source at all."""

_VARIANTS = ((1.0, 1.0), (1.14, 1.10), (0.84, 1.08), (1.06, 0.78))
"""Light and contrast of each variant, so that several pictures of one edit differ visibly."""
_GENTLE: tuple[tuple[Effect, ...], ...] = (
    (effects.warmer,),
    (effects.colder,),
    (effects.vivid, effects.warmer),
    (effects.muted, effects.colder),
)
"""What is done where no word of the prompt is known; the seed chooses."""

_ENCODINGS: dict[Format, dict[str, int]] = {
    "jpeg": {"quality": 90},
    "png": {"compress_level": 1},
    "webp": {"quality": 86, "method": 1},
}
"""Made for speed: the picture is looked at and thrown away."""


@dataclass(frozen=True, slots=True)
class PaintJob:
    """One picture to paint."""

    prompt: str
    sources: Sequence[Image.Image] = ()
    """Upright, in any mode; the first is the picture to edit."""
    size: tuple[int, int] | None = None
    """Exact width and height in pixels."""
    ratio: tuple[int, int] | None = None
    """Width to height, at about one megapixel."""
    output_format: Format = "png"
    seed: int = 0
    variant: int = 0
    """Place of the picture among those of its edit, from 0."""


def paint(job: PaintJob) -> bytes:
    """The finished picture as a file in `job.output_format`."""
    reading = read(job.prompt)
    picture = _composed(job, reading)
    for look in _looks(job, reading):
        picture = look(picture)
    picture = _nuanced(picture, job)
    if reading.caption:
        add_caption(picture, reading.caption)
    add_band(picture)
    file = BytesIO()
    picture.save(file, job.output_format, **_ENCODINGS[job.output_format])
    return file.getvalue()


def _composed(job: PaintJob, reading: Reading) -> Image.Image:
    """The first source, turned and fitted, with the others on it."""
    if not job.sources:
        return effects.gradient(_target(job, (1024, 1024)), _DAYBREAK)
    first, *others = (_flat(source) for source in job.sources)
    base = reduce(lambda picture, turn: turn(picture), reading.turns, _shrunk(first))
    picture = _fitted(base, _target(job, base.size))
    _add_insets(picture, others)
    return picture


def _flat(source: Image.Image) -> Image.Image:
    """In RGB, on paper where it is transparent."""
    if source.mode.startswith("I;16"):
        return _narrowed(source).convert("RGB")
    if not source.has_transparency_data:
        return source.convert("RGB")
    layer = source.convert("RGBA")
    paper = Image.new("RGBA", layer.size, (*_PAPER, 255))
    return Image.alpha_composite(paper, layer).convert("RGB")


def _narrowed(picture: Image.Image) -> Image.Image:
    """16 bits a pixel as 8; a plain conversion would cut off everything above 255."""
    scaled = picture.point(lambda level: level / 256)  # pyright: ignore[reportUnknownMemberType] - NumPy
    return scaled.convert("L")


def _shrunk(picture: Image.Image) -> Image.Image:
    """Not much larger than any result can be, so that turning it is quick."""
    scale = math.sqrt(2.4 * _PIXELS / (picture.width * picture.height))
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return effects.resized(picture, size)


def _target(job: PaintJob, own: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the result."""
    if job.size:
        return job.size
    if job.ratio:
        across = math.sqrt(job.ratio[0] / job.ratio[1])
        side = math.sqrt(_PIXELS)
        return _in_steps(side * across), _in_steps(side / across)
    width, height = own
    scale = max(min(1.0, math.sqrt(_PIXELS / (width * height))), _LEAST_SIDE / min(own))
    return _in_bounds(width * scale), _in_bounds(height * scale)


def _in_steps(side: float) -> int:
    return round(side / _STEP) * _STEP


def _in_bounds(side: float) -> int:
    return min(_GREATEST_SIDE, max(_LEAST_SIDE, round(side)))


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scaled and cropped to fill `size`, around the centre; always a new picture."""
    if picture.size == size:
        return picture.copy()
    return ImageOps.fit(picture, size, Image.Resampling.BICUBIC)


def _add_insets(picture: Image.Image, others: Sequence[Image.Image]) -> None:
    """Lay the other sources along the upper edge as prints with a white border and a soft shadow."""
    if not others:
        return
    margin = round(min(picture.size) * 0.035)
    most_wide = (picture.width - margin) // max(2, len(others)) - margin
    most_high = round(picture.height * 0.36)
    right = picture.width - margin
    for other in others:
        framed = _framed(other, (most_wide, most_high), border=max(3, margin // 4))
        right -= framed.width
        _add_shadow(picture, (right, margin), framed.size, margin)
        picture.paste(framed, (right, margin))
        right -= margin


def _framed(picture: Image.Image, room: tuple[int, int], *, border: int) -> Image.Image:
    inner = (max(1, room[0] - 2 * border), max(1, room[1] - 2 * border))
    return ImageOps.expand(ImageOps.contain(picture, inner, Image.Resampling.BICUBIC), border, _PAPER)


def _add_shadow(picture: Image.Image, at: tuple[int, int], size: tuple[int, int], depth: int) -> None:
    """Darken the surroundings of a print of `size` that is about to lie at `at`."""
    mask = Image.new("L", (size[0] + 2 * depth, size[1] + 2 * depth), 0)
    ImageDraw.Draw(mask).rectangle((depth, depth, depth + size[0], depth + size[1]), fill=150)
    soft = mask.filter(ImageFilter.GaussianBlur(max(1, depth / 3)))
    picture.paste((0, 0, 0), (at[0] - depth, at[1] - depth + depth // 4), soft)


def _looks(job: PaintJob, reading: Reading) -> Sequence[Effect]:
    """What the prompt asks for, or a gentle change where none of it is known."""
    if not reading.is_empty:
        return reading.looks
    return [_half(effect) for effect in _GENTLE[job.seed % len(_GENTLE)]]


def _half(effect: Effect) -> Effect:
    """Half as strong."""
    return lambda picture: Image.blend(picture, effect(picture), 0.5)


def _nuanced(picture: Image.Image, job: PaintJob) -> Image.Image:
    """The small differences that a seed makes, and the larger ones between variants."""
    chance = sha256(f"{job.seed}/{job.variant}".encode()).digest()
    light, contrast = _VARIANTS[job.variant % len(_VARIANTS)]
    return effects.tone(picture, light=light + _sway(chance[0]), contrast=contrast + _sway(chance[1]))


def _sway(byte: int) -> float:
    """Within 2.5 % up and down."""
    return (byte - 127.5) / 5_100
