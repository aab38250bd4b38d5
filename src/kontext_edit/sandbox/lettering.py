"""Words on a picture: the band that says what this is, a caption, and the stand-in for a web picture."""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

BAND_TEXT = "SANDBOX: no model ran"

_INK = (250, 248, 244)
_PLATE = (22, 22, 26)
_PAPER = (231, 229, 224)
_PENCIL = (122, 120, 116)
_PLACEHOLDER_SIZE = (1024, 768)
_LONGEST_CAPTION = 120
_LONGEST_NAME = 60

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def band_height(size: tuple[int, int]) -> int:
    """How many rows at the bottom edge of a picture of this size the band takes."""
    return round(_band_letters(size) * 1.75)


def add_band(picture: Image.Image) -> None:
    """Mark `picture` along its bottom edge as painted by the sandbox."""
    width, height = picture.size
    top = height - band_height(picture.size)
    _darken(picture, (0, top, width, height), strength=0.82)
    middle = (width / 2, (top + height) / 2)
    font = _font(_band_letters(picture.size))
    ImageDraw.Draw(picture).text(middle, BAND_TEXT, fill=_INK, font=font, anchor="mm")


def add_caption(picture: Image.Image, text: str) -> None:
    """Write `text` on a plate above the band, in at most three lines."""
    width, height = picture.size
    lines, font = _fitted(_printable(text)[:_LONGEST_CAPTION], width * 0.84, height)
    block = "\n".join(lines)
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), block, font=font, align="center")
    pad = round((bottom - top) / len(lines) * 0.55) + 4
    plate_height = round(bottom - top) + 2 * pad
    plate_width = min(width, round(right - left) + 3 * pad)
    x = (width - plate_width) // 2
    y = max(0, height - band_height(picture.size) - plate_height - round(height * 0.05))
    _darken(picture, (x, y, x + plate_width, y + plate_height), strength=0.62, radius=pad)
    corner = (width / 2 - (left + right) / 2, y + pad - top)
    draw.multiline_text(corner, block, fill=_INK, font=font, align="center")


def placeholder(host: str, name: str) -> Image.Image:
    """A neutral stand-in for a picture on the web, which the sandbox does not fetch."""
    width, height = _PLACEHOLDER_SIZE
    picture = Image.new("RGB", _PLACEHOLDER_SIZE, _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((392, 190, 632, 370), radius=18, outline=_PENCIL, width=8)
    draw.ellipse((560, 222, 596, 258), fill=_PENCIL)
    draw.polygon([(412, 350), (482, 258), (532, 318), (562, 284), (612, 350)], fill=_PENCIL)
    lines = ((host, 0.60, 46), (name, 0.69, 34), ("a picture on the web, not fetched", 0.77, 26))
    for text, share, letters in lines:
        line, font = _one_line(_printable(text), width * 0.9, letters)
        draw.text((width / 2, height * share), line, fill=_PENCIL, font=font, anchor="mm")
    return picture


def _band_letters(size: tuple[int, int]) -> int:
    """The band's letter size in pixels: small, yet legible from 256 pixels a side on."""
    return min(30, max(13, min(size) // 34, max(size) // 76))


@lru_cache(maxsize=64)
def _font(letters: int) -> Font:
    return ImageFont.load_default(size=letters)


def _printable(text: str) -> str:
    """Without what a font cannot draw: line breaks, control characters, halves of surrogate pairs."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split()) or "…"


def _fitted(text: str, width: float, height: int) -> tuple[list[str], Font]:
    """`text` in the largest letters that need no more than three lines of `width`, else in the smallest."""
    smallest = _band_letters((round(width), height))
    for letters in range(max(smallest, height // 10), smallest, -2):
        font = _font(letters)
        lines = _wrapped(text, font, width)
        if len(lines) <= (1 if letters > height // 16 else 3) and _widest(lines, font) <= width:
            return lines, font
    font = _font(smallest)
    return [_cut(line, font, width) for line in _wrapped(text, font, width)[:3]], font


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _widest(lines: list[str], font: Font) -> float:
    return max(font.getlength(line) for line in lines)


def _one_line(text: str, width: float, letters: int) -> tuple[str, Font]:
    font = _font(letters)
    return _cut(text[:_LONGEST_NAME], font, width), font


def _cut(line: str, font: Font, width: float) -> str:
    """`line` with its end left out until it fits."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


def _darken(
    picture: Image.Image, box: tuple[int, int, int, int], *, strength: float, radius: int = 0
) -> None:
    """Lay a dark plate over a part of `picture` that lets some of it through."""
    size = (box[2] - box[0], box[3] - box[1])
    mask = Image.new("L", size, 0)
    edge = (0, 0, size[0] - 1, size[1] - 1)
    ImageDraw.Draw(mask).rounded_rectangle(edge, radius=radius, fill=round(255 * strength))
    picture.paste(_PLATE, box, mask)
