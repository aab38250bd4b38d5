"""Large pictures shrunk band by band look exactly as if they had been decoded in full."""

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import ExifTags, Image, ImageChops
from PIL.PngImagePlugin import PngInfo
from tests.pictures import cut_out, encoded, noise, photograph, stored

from kontext_edit.errors import PictureRefused
from kontext_edit.images.bands import in_bands
from kontext_edit.images.colour import resizable
from kontext_edit.images.decode import opened
from kontext_edit.images.prepare import prepare
from kontext_edit.images.scale import fitted, resized
from kontext_edit.images.sources import Found

Size = tuple[int, int]

SIDE = 100


def banded(data: bytes) -> Image.Image | None:
    with opened(data) as image:
        return in_bands(image, data, SIDE)


def in_full(data: bytes) -> Image.Image:
    with opened(data) as image:
        image.load()
        plain = resizable(image)
        return resized(plain, fitted(plain.size, SIDE))


def palette(size: Size) -> bytes:
    return encoded(photograph(size).quantize(64), transparency=3)


def keyed(size: Size) -> bytes:
    return encoded(photograph(size).quantize(8).convert("RGB"), transparency=(0, 0, 0))


def heic(size: Size) -> bytes:
    return encoded(photograph(size), "HEIF")


def noisy(mode: str) -> Callable[[Size], bytes]:
    return lambda size: encoded(noise(size, mode))


def see_through(size: Size) -> bytes:
    return encoded(cut_out(size))


@pytest.mark.parametrize("size", [(400, 300), (301, 417), (1000, 130), (255, 255), (900, 21)])
@pytest.mark.parametrize("make", [noisy("RGB"), noisy("L"), noisy("LA"), see_through, palette, keyed, heic])
def test_a_picture_shrunk_in_bands_is_the_picture_shrunk_in_full(
    make: Callable[[Size], bytes], size: Size
) -> None:
    data = make(size)
    small, full = banded(data), in_full(data)
    assert small is not None
    assert (small.mode, small.size) == (full.mode, full.size)
    assert all(
        ImageChops.difference(mine, theirs).getbbox() is None
        for mine, theirs in zip(small.split(), full.split(), strict=True)
    )


def test_rows_deflated_to_nearly_nothing_are_inflated_a_band_at_a_time() -> None:
    data = encoded(Image.new("RGB", (3000, 3000), "teal"))
    small = banded(data)
    assert small is not None
    assert small.getcolors() == [(SIDE * SIDE, (0, 128, 128))]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_exif_behind(picture: Image.Image, exif: Image.Exif) -> bytes:
    data = encoded(picture)
    return data[:-12] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[-12:]


def animated() -> bytes:
    return encoded(
        photograph(), save_all=True, append_images=[photograph().transpose(Image.Transpose.ROTATE_180)]
    )


def interlaced() -> bytes:
    data = bytearray(encoded(photograph()))
    data[28] = 1
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encoded(photograph((120, 90))), id="small enough"),
        pytest.param(encoded(photograph(), "JPEG"), id="JPEG"),
        pytest.param(encoded(photograph(), "WEBP"), id="WebP"),
        pytest.param(encoded(photograph().convert("1")), id="one bit"),
        pytest.param(encoded(photograph().convert("I;16")), id="sixteen bits"),
        pytest.param(animated(), id="animated"),
        pytest.param(interlaced(), id="interlaced"),
        pytest.param(with_exif_behind(photograph(), stored(6)[1]), id="metadata behind the pixels"),
        pytest.param(encoded(photograph())[:-2000], id="truncated"),
        pytest.param(encoded(photograph())[:-12], id="without an end"),
    ],
)
def test_what_gives_no_bands_is_left_to_the_way_in_full(data: bytes) -> None:
    assert banded(data) is None


def test_broken_pixels_are_left_to_the_way_in_full_which_says_so() -> None:
    rows = zlib.compress(bytes([9]) * (1 + 3 * 600) * 400)
    whole = encoded(photograph())
    start = whole.index(b"IDAT") - 4
    assert banded(whole[:start] + chunk(b"IDAT", rows) + chunk(b"IEND", b"")) is None
    assert banded(whole[:start] + chunk(b"IDAT", b"no deflated data") + chunk(b"IEND", b"")) is None


def large() -> Image.Image:
    return photograph((4000, 200))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_large_truncated_picture_is_refused_and_says_so(share: float) -> None:
    data = encoded(large())
    with pytest.raises(PictureRefused, match="truncated"):
        prepare(Found("large.png", data[: int(len(data) * share)], None))


def test_a_large_picture_is_turned_upright_and_keeps_no_metadata() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    info = PngInfo()
    info.add_text("Comment", "secret")
    out = io.BytesIO()
    large().save(out, "PNG", exif=exif, pnginfo=info)
    prepared = prepare(Found("large.png", out.getvalue(), None))
    assert (prepared.width, prepared.height) == (78, 1568)
    assert b"secret" not in (prepared.data or b"")


def test_a_large_picture_with_metadata_behind_its_pixels_is_turned_too() -> None:
    prepared = prepare(Found("large.png", with_exif_behind(large(), stored(6)[1]), None))
    assert (prepared.width, prepared.height) == (78, 1568)
