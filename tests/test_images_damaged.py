import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.pictures import corners, decoded, encoded, jpeg_of_size, photograph, png_header

from kontext_edit.errors import PictureRefused
from kontext_edit.images.prepare import MAX_SIDE, Prepared, prepare
from kontext_edit.images.sources import Found

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
JPEG = encoded(photograph(), "JPEG", quality=90)


def prepared(data: bytes) -> Prepared:
    return prepare(Found("/pictures/x.png", data, None))


def tiled(side: int) -> bytes:
    """A TIFF of 16x16 pixels in one tile that claims to be far larger."""
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 322: side, 323: side, 324: 200, 325: 256}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + bytes(256)


def with_junk(data: bytes) -> bytes:
    """A JPEG with bytes between its first segments that decoders skip."""
    return data[:20] + b"\0\xff\0\xff\xff\xd0" + data[20:]


def interleaved_badly() -> bytes:
    """A large sequential JPEG whose first scan holds one colour only."""
    data = bytearray(jpeg_of_size(JPEG, 12000, 12000))
    scan = data.index(b"\xff\xda")
    return bytes(data[: scan + 4]) + b"\x01" + bytes(data[scan + 5 :])


def cut(data: bytes, share: float = 0.5) -> bytes:
    return data[: int(len(data) * share)]


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "it is empty (0 bytes)"),
    "a private key": (lambda: KEY, "there is no picture inside: it is a text that looks like a key"),
    "a text": (lambda: "Grüße\n".encode() * 999, "it is a text; nothing was sent"),
    "a text cut in a letter": (lambda: b"x" * 4095 + "ü".encode(), "it is a text; nothing was sent"),
    "binary data": (lambda: bytes(range(256)), "an unknown kind of file"),
    "high bytes": (lambda: b"\xfe" * 99, "an unknown kind of file"),
    "SVG": (lambda: b"<?xml version='1.0'?>\n<svg xmlns=''/>", "an SVG drawing"),
    "a web page": (lambda: b"\n<!DOCTYPE html><p>Not found", "a web page"),
    "PDF": (lambda: b"%PDF-1.7\n", "a PDF document; nothing was sent | Use JPEG, PNG, WebP, GIF, TIFF"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript document"),
    "Photoshop": (lambda: b"8BPS\0\x01", "a Photoshop document"),
    "ZIP": (lambda: b"PK\x03\x04", "a ZIP archive"),
    "an icon": (lambda: encoded(corners(), "ICO"), "a Windows icon"),
    "JPEG 2000": (lambda: encoded(corners(), "JPEG2000"), "a JPEG 2000 picture"),
    "JPEG XL": (lambda: b"\xff\x0a\0\0", "a JPEG XL picture"),
    "a video": (lambda: b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
    "PPM": (lambda: encoded(corners(), "PPM"), "there is no picture inside"),
    "a truncated JPEG": (lambda: cut(JPEG), "the JPEG is damaged or truncated"),
    "a truncated progressive JPEG": (
        lambda: cut(encoded(photograph(), "JPEG", progressive=True), 0.02),
        "the JPEG is damaged or truncated",
    ),
    "a JPEG's first bytes": (lambda: JPEG[:20], "the JPEG is damaged or truncated"),
    "a truncated PNG": (lambda: cut(encoded(photograph())), "the PNG is damaged or truncated"),
    "a PNG's signature": (lambda: b"\x89PNG\r\n\x1a\n", "the PNG is damaged or truncated"),
    "a truncated WebP": (lambda: cut(encoded(photograph(), "WEBP")), "the WebP is damaged or truncated"),
    "a truncated GIF": (lambda: cut(encoded(photograph(), "GIF")), "the GIF is damaged or truncated"),
    "a truncated TIFF": (lambda: cut(encoded(photograph(), "TIFF")), "the TIFF is damaged or truncated"),
    "a truncated BMP": (lambda: cut(encoded(photograph(), "BMP")), "the BMP is damaged or truncated"),
    "a truncated AVIF": (lambda: cut(encoded(photograph(), "AVIF")), "the AVIF is damaged or truncated"),
    "a truncated HEIC": (lambda: cut(encoded(photograph(), "HEIF")), "the HEIC is damaged or truncated"),
    "a PNG bomb": (lambda: png_header(60000, 60000), "it has 3,600 megapixels, more than the 100 that are"),
    "a JPEG bomb": (lambda: jpeg_of_size(JPEG, 65000, 65000), "it has 4,225 megapixels, more than the 400"),
    "a progressive JPEG bomb": (
        lambda: jpeg_of_size(encoded(photograph(), "JPEG", progressive=True), 12000, 12000),
        "it has 144 megapixels, more than the 100",
    ),
    "a JPEG bomb in several scans": (interleaved_badly, "it has 144 megapixels, more than the 100"),
    "a progressive JPEG bomb behind junk": (
        lambda: with_junk(jpeg_of_size(encoded(photograph(), "JPEG", progressive=True), 12000, 12000)),
        "it has 144 megapixels, more than the 100",
    ),
    "a TIFF bomb in one tile": (lambda: tiled(60000), "it has 3,600 megapixels, more than the 100"),
    "a GIF bomb": (
        lambda: b"GIF89a" + struct.pack("<HH", 60000, 60000) + encoded(corners(), "GIF")[10:],
        "it has 3,600 megapixels",
    ),
    "too many bytes": (
        lambda: JPEG + bytes(50_000_000),
        "at most 50.0 MB are read | Make the picture smaller",
    ),
    "a single pixel": (lambda: encoded(Image.new("RGB", (1, 1))), "it is only 1x1 pixels; at least 8"),
    "a line": (lambda: encoded(Image.new("RGB", (900, 7))), "it is only 900x7 pixels; at least 8 a side"),
}


@pytest.mark.filterwarnings("ignore:Truncated File Read", "ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", list(BAD))
def test_what_is_no_whole_picture_is_refused_and_says_so(name: str) -> None:
    make, says = BAD[name]
    with pytest.raises(PictureRefused) as caught:
        prepared(make())
    assert says in f"{caught.value.message} | {caught.value.hint}"
    assert caught.value.hint


@settings(deadline=None, max_examples=150)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_any_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    file_format = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF"]))
    spoilt = bytearray(encoded(corners(), file_format))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(len(spoilt) - 1, 400)))
        spoilt[position] = data.draw(st.integers(0, 255))
    try:
        result = prepared(bytes(spoilt))
    except PictureRefused as error:
        assert error.hint  # noqa: PT017 - whether it fails at all is free
    else:
        assert max(decoded(result.data or b"").size) <= MAX_SIDE
