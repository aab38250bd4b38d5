"""What the painter does to a picture: each effect takes an RGB picture and gives a new one."""

import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

Effect = Callable[[Image.Image], Image.Image]
Colour = tuple[int, int, int]

_BLACK: Colour = (0, 0, 0)


def grayscale(picture: Image.Image) -> Image.Image:
    """Black and white, with a little more contrast than a plain conversion."""
    return ImageEnhance.Contrast(ImageOps.grayscale(picture).convert("RGB")).enhance(1.1)


def sepia(picture: Image.Image) -> Image.Image:
    """The brown of an old print."""
    return ImageOps.colorize(
        ImageOps.grayscale(picture), black="#1c1108", mid="#94714a", white="#fbf0d9", midpoint=120
    )


def warmer(picture: Image.Image) -> Image.Image:
    """Towards yellow and red."""
    return _gained(picture, 1.12, 1.02, 0.80)


def colder(picture: Image.Image) -> Image.Image:
    """Towards blue."""
    return _gained(picture, 0.82, 0.98, 1.16)


def sunset(picture: Image.Image) -> Image.Image:
    """A low sun: a sky from violet to gold laid over the picture, and a glow."""
    sky = gradient(picture.size, [(92, 58, 120), (232, 96, 92), (255, 160, 84), (132, 62, 50)])
    toned = Image.blend(ImageChops.overlay(picture, sky), sky, 0.22)
    glow = resized(ImageOps.invert(Image.radial_gradient("L")), picture.size)
    light = ImageOps.colorize(curved(glow, lambda level: level * 0.42), black="black", white="#ffb45a")
    return ImageChops.screen(_gained(toned, 1.06, 0.92, 0.86), light)


def night(picture: Image.Image) -> Image.Image:
    """Dark and blue, darkest in the corners."""
    muted = ImageEnhance.Color(picture).enhance(0.55)
    return vignette(_gained(muted, 0.30, 0.42, 0.74), 0.6)


def blur(picture: Image.Image) -> Image.Image:
    """Soft as out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(max(2, max(picture.size) / 140)))


def sharpen(picture: Image.Image) -> Image.Image:
    """Crisper edges."""
    return picture.filter(ImageFilter.UnsharpMask(radius=2.2, percent=160, threshold=2))


def brighter(picture: Image.Image) -> Image.Image:
    """Lighter, mostly in the middle tones."""
    return curved(picture, lambda level: 255 * (level / 255) ** 0.66)


def darker(picture: Image.Image) -> Image.Image:
    """Darker, mostly in the middle tones."""
    return curved(picture, lambda level: 245 * (level / 255) ** 1.5)


def contrast(picture: Image.Image) -> Image.Image:
    """More contrast."""
    return curved(picture, lambda level: 127.5 * (1 + math.tanh((level / 127.5 - 1) * 1.6) / 0.922))


def softer(picture: Image.Image) -> Image.Image:
    """Less contrast."""
    return ImageEnhance.Contrast(picture).enhance(0.62)


def vivid(picture: Image.Image) -> Image.Image:
    """Stronger colours."""
    return ImageEnhance.Color(picture).enhance(1.6)


def muted(picture: Image.Image) -> Image.Image:
    """Weaker colours."""
    return ImageEnhance.Color(picture).enhance(0.45)


def negative(picture: Image.Image) -> Image.Image:
    """Light for dark."""
    return ImageOps.invert(picture)


def sketch(picture: Image.Image) -> Image.Image:
    """Pencil on warm paper: dark lines where the picture is darker than its surroundings."""
    return ImageOps.colorize(_lines(picture, 0.16), black="#2b2a2c", white="#f7f3ea")


def pixelate(picture: Image.Image) -> Image.Image:
    """Squares of one colour, about fifty along the longer side."""
    block = max(picture.size) / 50
    few = (max(1, round(picture.width / block)), max(1, round(picture.height / block)))
    small = resized(picture, few, Image.Resampling.BOX)
    return resized(small, picture.size, Image.Resampling.NEAREST)


def poster(picture: Image.Image) -> Image.Image:
    """Few, strong colours."""
    smooth = picture.filter(ImageFilter.BoxBlur(max(1, max(picture.size) / 500)))
    return ImageEnhance.Color(ImageOps.posterize(ImageOps.autocontrast(smooth, cutoff=1), 2)).enhance(1.25)


def cartoon(picture: Image.Image) -> Image.Image:
    """Flat colours with drawn outlines."""
    smooth = picture.filter(ImageFilter.BoxBlur(max(1, max(picture.size) / 340)))
    flat = ImageEnhance.Color(ImageOps.posterize(smooth, 3)).enhance(1.5)
    return ImageChops.multiply(brighter(flat), _lines(picture, 0.2).convert("RGB"))


def vintage(picture: Image.Image) -> Image.Image:
    """A faded print: raised blacks, warm lights, dark corners."""
    faded = curved(ImageEnhance.Color(picture).enhance(0.65), lambda level: 34 + level * 0.80)
    return vignette(_gained(faded, 1.08, 1.0, 0.82), 0.45)


def vignette(picture: Image.Image, depth: float) -> Image.Image:
    """Darker towards the corners; `depth` 1 makes them black."""
    far = curved(Image.radial_gradient("L"), lambda level: max(0.0, level - 100) * 255 / 155 * depth)
    mask = resized(far, picture.size)
    return Image.composite(Image.new("RGB", picture.size, _BLACK), picture, mask)


def tint(colour: Colour) -> Effect:
    """An effect that lays `colour` over a picture and keeps its light and shade."""

    def tinted(picture: Image.Image) -> Image.Image:
        dark = _between(_BLACK, colour, 0.22)
        light = _between((255, 255, 255), colour, 0.18)
        wash = ImageOps.colorize(ImageOps.grayscale(picture), black=dark, mid=colour, white=light)
        return Image.blend(picture, wash, 0.66)

    return tinted


def mirror(picture: Image.Image) -> Image.Image:
    """Left for right."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def flip(picture: Image.Image) -> Image.Image:
    """Top for bottom."""
    return picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def rotate(degrees: float) -> Effect:
    """An effect that turns a picture clockwise; the corners that open are filled with its own colours."""

    def rotated(picture: Image.Image) -> Image.Image:
        average = resized(picture, (1, 1), Image.Resampling.BOX).tobytes()
        return picture.rotate(
            -degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(average[0], average[1], average[2])
        )

    return rotated


def gradient(size: tuple[int, int], stops: Sequence[Colour]) -> Image.Image:
    """A soft vertical gradient through `stops`, from the top down."""
    strip = Image.frombytes("RGB", (1, len(stops)), bytes(level for stop in stops for level in stop))
    return resized(strip, size)


def tone(picture: Image.Image, *, light: float, contrast: float) -> Image.Image:
    """Exposure and contrast together; 1 and 1 change nothing. Colours stay, so that gray stays gray."""
    return curved(picture, lambda level: ((level - 128) * contrast + 128) * light)


def curved(picture: Image.Image, curve: Callable[[float], float]) -> Image.Image:
    """Every level of every channel put through `curve`, both from 0 to 255."""
    return _mapped(picture, _table(curve) * len(picture.getbands()))


def resized(
    picture: Image.Image, size: tuple[int, int], method: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """Scaled to exactly `size`; large pictures are halved first, which is quicker."""
    return picture.resize(size, method, reducing_gap=2.0)  # pyright: ignore[reportUnknownMemberType] - NumPy


def _mapped(picture: Image.Image, table: list[int]) -> Image.Image:
    return picture.point(table)  # pyright: ignore[reportUnknownMemberType] - its signature names NumPy


def _gained(picture: Image.Image, red: float, green: float, blue: float) -> Image.Image:
    tables = [_table(lambda level, gain=gain: level * gain) for gain in (red, green, blue)]
    return _mapped(picture, [entry for table in tables for entry in table])


def _lines(picture: Image.Image, softness: float) -> Image.Image:
    """Dark strokes on white; the smaller `softness`, the harder the pencil."""
    gray = ImageOps.grayscale(picture)
    around = gray.filter(ImageFilter.GaussianBlur(max(1.5, max(picture.size) / 260)))
    return ImageChops.subtract(gray, around, scale=softness, offset=255)


def _between(start: Colour, end: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(start, end, strict=True))
    return red, green, blue


def _table(curve: Callable[[float], float]) -> list[int]:
    """A look-up table for one channel."""
    return [min(255, max(0, round(curve(level)))) for level in range(256)]
