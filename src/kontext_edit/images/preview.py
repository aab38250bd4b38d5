"""Results: verified, shown small, and compared with what they were made from."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from kontext_edit.images.colour import resizable
from kontext_edit.images.decode import load, opened
from kontext_edit.images.scale import fitted, glanced, softly

PREVIEW_SIDE = 512
"""Pixels; a preview's longest side."""

PREVIEW_BYTES = 64 * 1024
"""A preview's size, so that it never floods a conversation."""

_RESULTS = ("JPEG", "PNG", "WEBP")
"""What the model delivers [ref]."""

_LOOK_SIDES = range(8, 193)
"""Pixels a side of a look. At least two pixels of a preview go into each, which evens out noise."""

_NOTICEABLE = 12
"""Levels of 255 in any channel; a smaller difference is a codec's noise."""

_QUALITIES = (82, 70, 55, 40, 25)
_WEBP_METHOD = 0
"""Takes 30 % of the time of the default, for a fifth more bytes; a preview has few of them anyway."""
_GAP = 6
_PAPER = (244, 244, 242)


@dataclass(frozen=True, slots=True)
class Look:
    """What two pictures are compared by; small, since every edit under way keeps one.

    Attributes:
        packed: The picture stretched to a square, as a lossless WebP of some 60 KB at most. A side has
            192 pixels, or half the shorter side of its preview where that is less.
    """

    packed: bytes

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """The look of a picture of any mode."""
        out = io.BytesIO()
        _square(_glance(image)).save(out, "WEBP", lossless=True, quality=0, method=0)
        return cls(out.getvalue())

    def square(self) -> Image.Image:
        """Its pixels."""
        return _decoded(self.packed)


@dataclass(frozen=True, slots=True)
class Inspected:
    """A result that decodes completely.

    Attributes:
        format: `jpeg`, `png` or `webp`.
        width: In pixels.
        height: In pixels.
        changed_percent: How much of it differs from what it was made from; None where that is not known.
        preview: A WebP of at most 512 px a side and 64 KiB.
    """

    format: str
    width: int
    height: int
    changed_percent: float | None
    preview: bytes


def inspect(data: bytes, before: Look | None = None) -> Inspected:
    """Decode a result completely, to be sure that it is one, and look at it in the same go.

    Args:
        data: The file.
        before: What it was made from, to be compared with.

    Raises:
        PictureRefused: It is no whole JPEG, PNG or WebP.
    """
    with opened(data, _RESULTS) as image:
        load(image, data)
        name = "jpeg" if image.format == "MPO" else str(image.format).lower()
        small = _glance(image)
        changed = None if before is None else _changed(before.square(), _square(small))
        return Inspected(name, image.width, image.height, changed, _encoded(small))


def changed_percent(before: Look, after: Look) -> float:
    """How much of the picture differs noticeably, from 0.0 to 100.0; 0.0 says that nothing was edited.

    Compression and rescaling do not count.
    """
    return _changed(before.square(), after.square())


def preview_of(data: bytes) -> bytes:
    """One picture's preview, from its file; a JPEG is not decoded in full for it.

    Raises:
        PictureRefused: It is no whole JPEG, PNG or WebP.
    """
    with opened(data, _RESULTS) as image:
        load(image, data, PREVIEW_SIDE)
        return _encoded(_glance(image))


def sheet(previews: Sequence[bytes]) -> bytes:
    """Previews side by side and numbered, within the limits of one; a single one is as it was."""
    if len(previews) == 1:
        return previews[0]
    return _encoded(_sheet([_decoded(each) for each in previews]))


def _decoded(data: bytes) -> Image.Image:
    with opened(data, _RESULTS) as image:
        load(image, data)
        return image.convert("RGB")


def _glance(image: Image.Image) -> Image.Image:
    """A picture fitted to a preview, on white where it is transparent."""
    plain = resizable(image)
    return _flat(glanced(plain, fitted(plain.size, PREVIEW_SIDE)))


def _square(small: Image.Image) -> Image.Image:
    """What is compared, of a picture at a preview's size."""
    side = max(_LOOK_SIDES[0], min(_LOOK_SIDES[-1], min(small.size) // 2))
    return softly(small, (side, side))


def _changed(before: Image.Image, after: Image.Image) -> float:
    side = min(before.width, after.width)
    red, green, blue = ImageChops.difference(_softened(before, side), _softened(after, side)).split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    changed = sum(largest.histogram()[_NOTICEABLE:])
    return round(100 * changed / side**2, 1)


def _softened(square: Image.Image, side: int) -> Image.Image:
    """A look at a smaller side, lightly blurred, so that an edge may move by a fraction."""
    return softly(square, (side, side)).filter(ImageFilter.BoxBlur(1))


def _flat(image: Image.Image) -> Image.Image:
    """A picture that can be resampled as RGB, on white where it is transparent."""
    if not image.mode.endswith("A"):
        return image.convert("RGB")
    pixels = image.convert("RGBA")
    white = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(white, pixels).convert("RGB")


def _encoded(image: Image.Image) -> bytes:
    return next(data for data in _encodings(image) if len(data) <= PREVIEW_BYTES)


def _encodings(image: Image.Image) -> Iterator[bytes]:
    """WebP files, each smaller than the one before: first quality goes, then size."""
    while True:
        for quality in _QUALITIES:
            out = io.BytesIO()
            image.save(out, "WEBP", quality=quality, method=_WEBP_METHOD)
            yield out.getvalue()
        image = glanced(image, fitted(image.size, max(image.size) * 3 // 4))


def _sheet(pictures: list[Image.Image]) -> Image.Image:
    """Pictures side by side in the grid that shows them largest, numbered from 1."""
    widest = max(picture.width for picture in pictures)
    tallest = max(picture.height for picture in pictures)
    columns, cell = max(
        (
            (columns, _cell(widest, tallest, columns, len(pictures)))
            for columns in range(1, len(pictures) + 1)
        ),
        key=lambda choice: choice[1][0] * choice[1][1],
    )
    rows = math.ceil(len(pictures) / columns)
    grid = Image.new("RGB", (_extent(cell[0], columns), _extent(cell[1], rows)), _PAPER)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        corner = _GAP + column * (cell[0] + _GAP), _GAP + row * (cell[1] + _GAP)
        _place(grid, picture, (*corner, *cell), str(index + 1))
    return grid


def _cell(width: int, height: int, columns: int, count: int) -> tuple[int, int]:
    """The largest cell of the shape width:height for which the whole grid fits into a preview."""
    rows = math.ceil(count / columns)
    scale = min(
        (PREVIEW_SIDE - _GAP * (columns + 1)) / (columns * width),
        (PREVIEW_SIDE - _GAP * (rows + 1)) / (rows * height),
    )
    return max(1, int(width * scale)), max(1, int(height * scale))


def _extent(cell: int, count: int) -> int:
    return cell * count + _GAP * (count + 1)


def _place(sheet: Image.Image, picture: Image.Image, box: tuple[int, int, int, int], number: str) -> None:
    """Paste a picture into the middle of its cell, with its number on a small tag in the corner."""
    left, top, width, height = box
    scale = min(width / picture.width, height / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    left, top = left + (width - size[0]) // 2, top + (height - size[1]) // 2
    sheet.paste(glanced(picture, size), (left, top))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    tag = (left + 4, top + 4, left + 24, top + 24)
    draw.rounded_rectangle(tag, 5, fill=(28, 28, 30))
    draw.text((left + 14, top + 14), number, fill="white", font=font, anchor="mm")
