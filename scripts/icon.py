"""Draws the icon: a picture under a slider, grey before and in colours after.

    .venv/bin/python -m scripts.icon

One list of shapes becomes `docs/icon.svg` and `docs/icon.png` (512 px, for bundles and pages).
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

PROJECT = Path(__file__).resolve().parent.parent
SVG = PROJECT / "docs" / "icon.svg"
PNG = PROJECT / "docs" / "icon.png"

GRID = 64
"""Units a side in which the shapes are given."""
CORNER = 14
"""Radius of the icon's own corners."""
SIDE = 512
"""Pixels of the PNG."""
_FINER = 8
"""How much larger it is drawn before it is scaled down, so that edges are smooth."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon, or a circle where there is one point and a radius; in units of the grid."""

    colour: str
    points: Points
    radius: float = 0

    @property
    def svg(self) -> str:
        """The shape as an element."""
        if self.radius:
            ((x, y),) = self.points
            return f'<circle cx="{x:g}" cy="{y:g}" r="{self.radius:g}" fill="{self.colour}"/>'
        points = " ".join(f"{x:g},{y:g}" for x, y in self.points)
        return f'<polygon points="{points}" fill="{self.colour}"/>'

    def draw(self, canvas: ImageDraw.ImageDraw, scale: float) -> None:
        """Draw the shape at so many pixels a unit."""
        if self.radius:
            ((x, y),) = self.points
            canvas.circle((x * scale, y * scale), self.radius * scale, fill=self.colour)
        else:
            canvas.polygon([(x * scale, y * scale) for x, y in self.points], fill=self.colour)


def _upright(left: float, right: float) -> Points:
    return (left, 0), (right, 0), (right, GRID), (left, GRID)


SHAPES = (
    Shape("#667085", _upright(0, 32)),
    Shape("#344054", ((0, 58), (18, 30), (32, 51.8), (32, 64), (0, 64))),
    Shape("#ff8f3c", _upright(32, GRID)),
    Shape("#ffe38a", ((49, 18),), 7),
    Shape("#6d28d9", ((32, 51.8), (46, 34), (64, 56), (64, 64), (32, 64))),
    Shape("#ffffff", _upright(30, 34)),
    Shape("#ffffff", ((32, 32),), 11),
    Shape("#344054", ((29.5, 26.5), (29.5, 37.5), (24, 32))),
    Shape("#6d28d9", ((34.5, 26.5), (34.5, 37.5), (40, 32))),
)
"""From back to front: before, its hill, after, sun, its hill, the slider, its handle, two arrows."""


def svg() -> str:
    """The icon as a vector drawing."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {GRID} {GRID}">',
        f'<clipPath id="c"><rect width="{GRID}" height="{GRID}" rx="{CORNER}"/></clipPath>',
        '<g clip-path="url(#c)">',
        *(shape.svg for shape in SHAPES),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def drawn(side: int) -> Image.Image:
    """The icon in pixels, transparent outside its corners."""
    scale = side * _FINER / GRID
    size = side * _FINER, side * _FINER
    picture = Image.new("RGB", size)
    canvas = ImageDraw.Draw(picture)
    for shape in SHAPES:
        shape.draw(canvas, scale)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), CORNER * scale, fill=255)
    picture.putalpha(mask)
    return picture.reduce(_FINER)


def png(side: int) -> bytes:
    """The icon as a PNG file with a palette."""
    out = io.BytesIO()
    flat = drawn(side).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    flat.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    """Write the files."""
    SVG.write_text(svg(), encoding="utf-8")
    PNG.write_bytes(png(SIDE))


if __name__ == "__main__":
    main()
