"""The icon: its files are what the script draws."""

from PIL import Image, ImageChops
from scripts import icon

VISIBLE = 40
"""Levels of 255; a palette changes less at the edges."""


def test_the_drawing_is_fresh() -> None:
    assert icon.SVG.read_text(encoding="utf-8") == icon.svg()


def test_the_picture_is_the_drawing() -> None:
    with Image.open(icon.PNG) as picture:
        assert (picture.format, picture.size) == ("PNG", (icon.SIDE, icon.SIDE))
        shown = picture.convert("RGBA")
    for paper in ("white", "black"):
        ground = Image.new("RGBA", shown.size, paper)
        ours, drawn = (
            Image.alpha_composite(ground, each).convert("L") for each in (shown, icon.drawn(icon.SIDE))
        )
        assert not any(ImageChops.difference(ours, drawn).histogram()[VISIBLE:])


def test_the_corners_are_transparent() -> None:
    with Image.open(icon.PNG) as picture:
        assert picture.convert("RGBA").getchannel("A").getpixel((0, 0)) == 0


def test_the_picture_is_small() -> None:
    assert icon.PNG.stat().st_size < 20_000
