"""Results: verified, shown small, and compared with what they were made from."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from kontext_edit.errors import PictureRefused
from kontext_edit.images.colour import resizable
from kontext_edit.images.decode import load, opened
from kontext_edit.images.local import read_file
from kontext_edit.images.scale import fitted, resized
from kontext_edit.images.wording import printable

PREVIEW_SIDE = 512
"""Pixels; a preview's longest side."""

PREVIEW_BYTES = 64 * 1024
"""A preview's size, so that it never floods a conversation."""

_RESULTS = ("JPEG", "PNG", "WEBP")
"""What the model delivers [ref]."""

_LOOK_SIDES = range(8, 257)
"""Pixels a side of a look. At least two pixels of the picture go into each, which evens out noise."""

_NOTICEABLE = 12
"""Levels of 255 in any channel; a smaller difference is a codec's noise."""

_QUALITIES = (82, 70, 55, 40, 25)
_GAP = 6
_PAPER = (244, 244, 242)


@dataclass(frozen=True, slots=True)
class Look:
    """What two pictures are compared by.

    Attributes:
        side: Both sides in pixels, whatever the picture's shape: at most 256, half the picture's shorter
            side where that is less.
        pixels: The picture stretched to that square, as rows of RGB bytes.
    """

    side: int
    pixels: bytes

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """The look of a picture of any mode."""
        side = max(_LOOK_SIDES[0], min(_LOOK_SIDES[-1], min(image.size) // 2))
        return cls(side, resized(_flat(image), (side, side)).tobytes())

    def softened(self, side: int) -> Image.Image:
        """Its pixels at a smaller side, lightly blurred, so that an edge may move by a fraction."""
        square = Image.frombytes("RGB", (self.side, self.side), self.pixels)
        return resized(square, (side, side)).filter(ImageFilter.BoxBlur(1))


@dataclass(frozen=True, slots=True)
class Inspected:
    """A result that decodes completely. `format` is `jpeg`, `png` or `webp`; sizes are in pixels."""

    format: str
    width: int
    height: int
    look: Look


def inspect(data: bytes) -> Inspected:
    """Decode a result completely, to be sure that it is one.

    Raises:
        PictureRefused: It is no whole JPEG, PNG or WebP.
    """
    with opened(data, _RESULTS) as image:
        load(image, data)
        name = "jpeg" if image.format == "MPO" else str(image.format).lower()
        return Inspected(name, image.width, image.height, Look.of(image))


def changed_percent(before: Look, after: Look) -> float:
    """How much of the picture differs noticeably, from 0.0 to 100.0; 0.0 says that nothing was edited.

    Compression and rescaling do not count.
    """
    side = min(before.side, after.side)
    red, green, blue = ImageChops.difference(before.softened(side), after.softened(side)).split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    changed = sum(largest.histogram()[_NOTICEABLE:])
    return round(100 * changed / side**2, 1)


def preview(paths: Sequence[Path]) -> bytes:
    """One WebP of at most 512 px a side and 64 KiB; several pictures as a sheet with numbers.

    Raises:
        PictureRefused: A picture is gone, or no longer one.
    """
    thumbnails = [_thumbnail(path) for path in paths]
    sheet = thumbnails[0] if len(thumbnails) == 1 else _sheet(thumbnails)
    return next(data for data in _encodings(sheet) if len(data) <= PREVIEW_BYTES)


def _bytes(path: Path) -> bytes:
    data = read_file(path)
    if data is None:
        raise PictureRefused(
            f"the picture {printable(str(path))} is gone", "Ask the person whether it was moved or deleted."
        )
    return data


def _thumbnail(path: Path) -> Image.Image:
    """A picture fitted to a preview, on white where it is transparent."""
    with opened(data := _bytes(path), _RESULTS) as image:
        load(image, data, PREVIEW_SIDE)
        flat = _flat(image)
        return resized(flat, fitted(flat.size, PREVIEW_SIDE))


def _flat(image: Image.Image) -> Image.Image:
    """A picture as RGB, on white where it is transparent."""
    plain = resizable(image)
    if not plain.mode.endswith("A"):
        return plain.convert("RGB")
    pixels = plain.convert("RGBA")
    white = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(white, pixels).convert("RGB")


def _encodings(image: Image.Image) -> Iterator[bytes]:
    """WebP files, each smaller than the one before: first quality goes, then size."""
    while True:
        for quality in _QUALITIES:
            out = io.BytesIO()
            image.save(out, "WEBP", quality=quality, method=4)
            yield out.getvalue()
        image = resized(image, fitted(image.size, max(image.size) * 3 // 4))


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
    sheet = Image.new("RGB", (_extent(cell[0], columns), _extent(cell[1], rows)), _PAPER)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        corner = _GAP + column * (cell[0] + _GAP), _GAP + row * (cell[1] + _GAP)
        _place(sheet, picture, (*corner, *cell), str(index + 1))
    return sheet


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
    sheet.paste(resized(picture, size), (left, top))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    tag = (left + 4, top + 4, left + 24, top + 24)
    draw.rounded_rectangle(tag, 5, fill=(28, 28, 30))
    draw.text((left + 14, top + 14), number, fill="white", font=font, anchor="mm")
