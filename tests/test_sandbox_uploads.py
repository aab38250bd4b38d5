"""What the sandbox refuses of an edit's body and pictures, in the API's own error bodies."""

import struct
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.sandbox_bench import COFFEE, DEV, MAX, PRO, Bench, assert_error, encoded, plain

from kontext_edit.sandbox import uploads
from kontext_edit.sandbox.refusals import RefusedError


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (PRO, {}, "'prompt' is a required property"),
        (PRO, {"prompt": " "}, "prompt: "),
        (PRO, {"prompt": 1}, "prompt: 1 is not of type 'string'"),
        (PRO, {"prompt": "x", "images": ["eA=="] * 5}, "images: "),
        (PRO, {"prompt": "x", "images": [1]}, "images.0: "),
        (PRO, {"prompt": "x", "size": "512*512"}, "'size' was unexpected"),
        (PRO, {"prompt": "x", "extra": {"enable_nsfw": True}}, "'enable_nsfw' was unexpected"),
        (PRO, {"prompt": "x", "extra": {"webhook": {}}}, "extra.webhook: 'url' is a required property"),
        (PRO, {"prompt": "x", "extra": {"webhook": {"url": "ftp://a"}}}, "extra.webhook.url: "),
        (PRO, {"prompt": "x", "aspect_ratio": "5:4"}, "aspect_ratio: "),
        (MAX, {"prompt": "x", "safety_tolerance": 2}, "safety_tolerance: "),
        (DEV, {"prompt": "x", "size": "255*512"}, "size: "),
        (DEV, {"prompt": "x", "num_images": 5}, "num_images: 5"),
        (DEV, {"prompt": "x", "num_images": True}, "num_images: True"),
        (DEV, {"prompt": "x", "guidance_scale": 20.5}, "guidance_scale: 20.5"),
        (DEV, {"prompt": "x", "seed": 2**31}, "seed: "),
        (DEV, {"prompt": "x", "num_images": 0, "seed": -2}, "num_images: 0"),
        (DEV, [], "body: [] is not of type 'object'"),
    ],
)
async def test_a_body_that_breaks_the_schema_is_refused_with_the_place(
    bench: Bench, path: str, body: Any, words: str
) -> None:
    assert_error(await bench.client.post(path, json=body), 400, "INVALID_REQUEST_BODY", words)
    assert bench.sandbox.submissions == []


async def test_all_problems_come_at_once_and_a_picture_is_not_repeated_in_them(bench: Bench) -> None:
    answer = await bench.client.post(DEV, json={"images": plain() * 400, "seed": -2})
    assert_error(answer, 400, "INVALID_REQUEST_BODY", "prompt", "images", "seed")
    assert len(answer.text) < 600


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe\xfa",
        b'{"prompt": "x", "guidance_scale": NaN}',
        b'{"prompt": "x", "guidance_scale": Infinity}',
        b"[" * 100_000,
        b"9" * 5_000,
    ],
)
async def test_a_body_that_is_not_json_is_refused(bench: Bench, raw: bytes) -> None:
    assert_error(await bench.client.post(DEV, content=raw), 400, "INVALID_REQUEST_BODY", "not JSON")


async def test_half_a_surrogate_pair_does_not_break_the_answer(bench: Bench) -> None:
    answer = await bench.client.post(DEV, content=b'{"prompt": "x", "\\ud800": "\\udfff"}')
    assert_error(answer, 400, "INVALID_REQUEST_BODY", "unexpected")


@pytest.mark.parametrize(
    "source",
    [
        "photo.png",
        "file:///etc/passwd",
        "eA==",
        "é",
        "data:text/plain;base64,eA==",
        "data:image/png,eA==",
        "http://",
        "https:///holiday.jpg",
        "http://[half",
        encoded(Image.new("RGB", (300, 280)), "gif"),
        encoded(Image.new("RGB", (300, 280)), "bmp"),
        b64encode(COFFEE.read_bytes()[:2_000]).decode(),
        b64encode(COFFEE.read_bytes()[:20]).decode(),
    ],
)
async def test_what_is_no_picture_is_refused(bench: Bench, source: str) -> None:
    answer = await bench.client.post(PRO, json={"prompt": "x", "images": [plain(), source]})
    assert_error(answer, 400, "INVALID_IMAGE_FORMAT")


@pytest.mark.parametrize("size", [(6_001, 1), (1, 6_001)])
async def test_a_picture_beyond_6000_a_side_is_refused(bench: Bench, size: tuple[int, int]) -> None:
    answer = await bench.client.post(PRO, json={"prompt": "x", "images": [plain(size=size)]})
    assert_error(answer, 400, "IMAGE_EXCEEDS_MAX_RESOLUTION", f"{size[0]}x{size[1]}", "6000x6000")


def png_of(width: int, height: int) -> str:
    """A PNG whose header promises so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


@pytest.mark.parametrize("side", [11_000, 60_000])
async def test_a_decompression_bomb_is_refused_undecoded(bench: Bench, side: int) -> None:
    answer = await bench.client.post(PRO, json={"prompt": "x", "images": [png_of(side, side)]})
    assert_error(answer, 400, "IMAGE_EXCEEDS_MAX_RESOLUTION")


async def test_a_file_beyond_10_mb_is_refused(bench: Bench) -> None:
    data = b64encode(bytes((10 << 20) + 1)).decode()
    answer = await bench.client.post(PRO, json={"prompt": "x", "images": [data]})
    assert_error(answer, 400, "IMAGE_FILE_EXCEEDS_MAX_SIZE", "10485761")


async def test_a_request_without_end_is_cut_off(bench: Bench) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(8 << 20)

    assert_error(await bench.client.post(PRO, content=endless()), 400, "IMAGE_FILE_EXCEEDS_MAX_SIZE")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    ["prompt", "images", "size", "num_images", "seed", "aspect_ratio", "guidance_scale"]
)


@settings(max_examples=150, deadline=None)
@given(body=st.dictionaries(MEMBERS, JSON_VALUES) | JSON_VALUES)
async def test_any_json_gets_an_answer_of_the_api(body: object) -> None:
    answer = await Bench().client.post(DEV, json=body)
    assert answer.status_code in {200, 400}


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["png", "jpeg", "webp"]))
def test_damaged_pictures_are_refused_or_decoded_and_nothing_else(data: st.DataObject, kind: str) -> None:
    file = BytesIO()
    Image.linear_gradient("L").save(file, kind)
    damaged = bytearray(file.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=6)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    with suppress(RefusedError):
        assert max(uploads.open_source(b64encode(damaged).decode()).size) <= uploads.MAX_SIDE
