"""Large pictures, decoded and shrunk band by band, so that they never stand in memory whole.

What comes out is what decoding in full and `resized` would make, pixel for pixel. PNG is cut into bands by
its rows; HEIC is decoded in one piece by its codec, whose memory is then read in bands and not copied.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import cast

import pillow_heif
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from kontext_edit.images.colour import resizable
from kontext_edit.images.decode import check_size
from kontext_edit.images.scale import coarsely, finished, fitted, weighted

_ROWS = 64
"""Rows of a band, about: a whole number of the rows that become one."""

_PIECE = 1 << 16
"""Bytes that are inflated at a time."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BYTES_A_PIXEL = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of PNG's colour types, with eight bits a channel."""
_COLOURS = frozenset({b"PLTE", b"tRNS"})
_TELLING = frozenset({b"acTL", b"eXIf", b"iTXt", b"zTXt", b"tEXt"})
"""Chunks that say something of a picture; behind it they are read by whoever decodes it in full."""


class _NotInBands(Exception):
    """This file must be decoded in full, which also tells what is wrong with it."""


def in_bands(image: ImageFile.ImageFile, data: bytes, side: int) -> Image.Image | None:
    """A picture fitted to `side` pixels, in a mode that `resizable` gives, with what its file says of it.

    Returns:
        None where it is too small to be worth it, or its format gives no bands.

    Raises:
        PictureRefused: It has more pixels than are ever decoded.
    """
    by = coarsely(image.size, fitted(image.size, side))
    if by[1] == 1 or not (image.format == "HEIF" or isinstance(image, PngImageFile)):
        return None
    check_size(image.width * image.height)
    rows = max(1, _ROWS // by[1]) * by[1]
    try:
        size, bands = _heif(data, rows) if image.format == "HEIF" else (image.size, _png(data, rows))
        small = finished(_gathered(bands, size, by), size, by, fitted(size, side))
    except _NotInBands:
        return None
    small.info = image.info.copy()
    return small


def _gathered(bands: Iterable[Image.Image], size: tuple[int, int], by: tuple[int, int]) -> Image.Image:
    """The picture with so many pixels made one, its colours weighted by their alpha."""
    parts = (weighted(resizable(band)).reduce(by) for band in bands)
    first = next(parts)
    small = Image.new(first.mode, (-(-size[0] // by[0]), -(-size[1] // by[1])))
    top = 0
    for part in chain([first], parts):
        small.paste(part, (0, top))
        top += part.height
    return small


def _heif(data: bytes, rows: int) -> tuple[tuple[int, int], Iterator[Image.Image]]:
    file = pillow_heif.open_heif(io.BytesIO(data))  # pyright: ignore[reportUnknownMemberType]  # its options are untyped
    main = file[cast("int", file.primary_index)]  # pyright: ignore[reportUnknownMemberType]  # likewise
    pixels, stride = cast("bytes", main.data), main.stride  # in truth a view of the codec's memory
    width, height = main.size  # known for certain only now

    def bands() -> Iterator[Image.Image]:
        for top in range(0, height, rows):
            count = min(rows, height - top)
            part = pixels[top * stride : (top + count) * stride]
            yield Image.frombuffer(main.mode, (width, count), part, "raw", main.mode, stride, 1)

    return (width, height), bands()


@dataclass(frozen=True, slots=True)
class _Png:
    """A PNG file's parts. `colours` are whole chunks; `pieces` are the deflated rows."""

    width: int
    height: int
    kind: int
    colours: bytes
    pieces: list[memoryview]


def _png(data: bytes, rows: int) -> Iterator[Image.Image]:
    """Bands of a PNG, each decoded as a small file of its own.

    A row is told by its difference to the one above, so that a band's file begins with the last row of the
    band before.
    """
    png = _parts(data)
    length = 1 + png.width * _BYTES_A_PIXEL[png.kind]
    take, above = _inflated(png.pieces), b""
    for top in range(0, png.height, rows):
        count = min(rows, png.height - top)
        extra = 1 if above else 0
        band = _band(_file(png, count + extra, above + take(count * length)))
        above = b"\0" + band.crop((0, band.height - 1, png.width, band.height)).tobytes()
        yield band.crop((0, extra, png.width, band.height)) if extra else band


def _band(file: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(file), formats=("PNG",)) as band:
            band.load()
            return band
    except (OSError, SyntaxError, ValueError):  # what Pillow calls a damaged PNG
        raise _NotInBands from None


def _parts(data: bytes) -> _Png:
    view, position = memoryview(data), len(_SIGNATURE)
    header, colours, pieces, ended = b"", b"", list[memoryview](), False
    while position + 12 <= len(data) and not ended:
        size, name = struct.unpack_from(">I4s", data, position)
        whole = view[position : position + 12 + size]
        if name == b"IHDR":
            header = bytes(whole[8:-4])
        elif name in _COLOURS:
            colours += whole
        elif name == b"IDAT":
            pieces += [whole[8:-4][at : at + _PIECE] for at in range(0, size, _PIECE)]
        elif name == b"acTL" or (pieces and name in _TELLING):
            raise _NotInBands
        ended = name == b"IEND"
        position += len(whole)
    try:
        width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    except struct.error:
        raise _NotInBands from None
    if depth != 8 or kind not in _BYTES_A_PIXEL or interlaced or not ended:  # noqa: PLR2004 - bits
        raise _NotInBands
    return _Png(width, height, kind, colours, pieces)


def _inflated(pieces: Iterable[memoryview]) -> Callable[[int], bytes]:
    """Takes so many bytes of the rows at a time, however small they were deflated."""
    inflate, waiting, left = zlib.decompressobj(), iter(pieces), b""

    def take(count: int) -> bytes:
        nonlocal left
        taken = bytearray()
        while len(taken) < count:
            piece = left or next(waiting, None)
            if piece is None:
                raise _NotInBands
            try:
                taken += inflate.decompress(piece, count - len(taken))
            except zlib.error:
                raise _NotInBands from None
            left = inflate.unconsumed_tail
        return bytes(taken)

    return take


def _file(png: _Png, height: int, rows: bytes) -> bytes:
    """A PNG of these rows, which are not deflated anew."""
    header = struct.pack(">IIBBBBB", png.width, height, 8, png.kind, 0, 0, 0)
    chunks = (
        _chunk(b"IHDR", header),
        png.colours,
        _chunk(b"IDAT", zlib.compress(rows, 0)),
        _chunk(b"IEND", b""),
    )
    return _SIGNATURE + b"".join(chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
    )
