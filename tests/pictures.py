"""Real pictures for tests, made with Pillow."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageDraw

from kontext_edit.images.colour import SRGB
from kontext_edit.images.scale import resized

PHOTOGRAPH = Path(__file__).parent.parent / "examples" / "coffee.png"

ORIENTATIONS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientations, and what turns an upright picture into one stored so."""


def photograph(size: tuple[int, int] = (600, 400)) -> Image.Image:
    """The example photograph, at another size where one is given."""
    with Image.open(PHOTOGRAPH) as picture:
        return resized(picture.convert("RGB"), size)


def corners(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Red, green, blue and white quarters: shows how a picture is turned."""
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    middle = size[0] // 2, size[1] // 2
    draw.rectangle((0, 0, middle[0] - 1, middle[1] - 1), "red")
    draw.rectangle((middle[0], 0, size[0], middle[1] - 1), "lime")
    draw.rectangle((0, middle[1], middle[0] - 1, size[1]), "blue")
    return picture


def cut_out(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture that is transparent outside an ellipse."""
    picture = photograph(size).convert("RGBA")
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, *size), fill=255)
    picture.putalpha(mask)
    return picture


def noise(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    """Noise in every channel: what compresses worst."""
    return Image.merge(mode, [Image.effect_noise(size, 100) for _ in mode])


def encoded(picture: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The picture as a file's bytes."""
    out = io.BytesIO()
    picture.save(out, file_format, **options)
    return out.getvalue()


def decoded(data: bytes) -> Image.Image:
    """The picture in a file's bytes, decoded."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture.copy()


def stored(orientation: int, picture: Image.Image | None = None) -> tuple[Image.Image, Image.Exif]:
    """A picture stored the way a camera held at that angle would, and the EXIF that says so."""
    upright = picture or corners()
    turn = ORIENTATIONS[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return upright if turn is None else upright.transpose(turn), exif


def located() -> Image.Exif:
    """EXIF with a camera's name and a place on earth."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "SECRETCAM"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (48.0, 12.0, 30.0), 3: "E", 4: (16.0, 22.0, 0.0)})
    return exif


def srgb_profile() -> bytes:
    """An ICC profile of sRGB."""
    return SRGB.tobytes()


def swapped_profile() -> bytes:
    """The sRGB profile with red and blue exchanged: a conversion that uses it is plain to see."""
    profile = bytearray(srgb_profile())
    count = struct.unpack_from(">I", profile, 128)[0]
    for index in range(count):
        tag = 132 + 12 * index
        name = bytes(profile[tag : tag + 4])
        profile[tag : tag + 4] = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}.get(name, name)
    return bytes(profile)


def png_header(width: int, height: int) -> bytes:
    """A small PNG file that claims to be of any size, as decompression bombs do."""
    data = bytearray(encoded(Image.new("1", (1, 1))))
    struct.pack_into(">II", data, 16, width, height)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def jpeg_of_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header claims another size."""
    claimed = bytearray(data)
    position = next(
        index
        for index in range(2, len(data))
        if data[index] == 0xFF and data[index + 1] in {0xC0, 0xC1, 0xC2}
    )
    struct.pack_into(">HH", claimed, position + 5, height, width)
    return bytes(claimed)
