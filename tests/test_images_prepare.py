import asyncio
import base64
import hashlib
import io
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageStat, PngImagePlugin
from tests.pictures import (
    ORIENTATIONS,
    corners,
    cut_out,
    decoded,
    encoded,
    located,
    noise,
    photograph,
    srgb_profile,
    stored,
    swapped_profile,
)
from tests.rooms import local_finder

from kontext_edit.errors import NoSuchTask, PictureRefused
from kontext_edit.images.prepare import MAX_SIDE, Prepared, Studio, prepare
from kontext_edit.images.sources import Found, Recalled
from kontext_edit.images.wording import HOW_TO_GIVE
from kontext_edit.task import LOCAL

KEY = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
JPEG = encoded(photograph(), "JPEG", quality=90)


def prepared(data: bytes, origin: str = "/pictures/x.png") -> Prepared:
    return prepare(Found(origin, data, None))


def sent(data: bytes) -> Image.Image:
    """What upstream would see of a file."""
    return decoded(prepared(data).data or b"")


def apart(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two pictures in levels of 255."""
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return max(ImageStat.Stat(difference).mean)


def near(pixel: object, wanted: tuple[int, ...], by: int = 12) -> bool:
    """Whether a pixel is a colour, give or take JPEG's losses."""
    values = cast("tuple[int, ...]", pixel)
    return all(abs(value - should) <= by for value, should in zip(values, wanted, strict=True))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_every_format_leaves_as_a_jpeg_that_looks_the_same(file_format: str) -> None:
    result = prepared(encoded(photograph(), file_format))
    assert (result.media_type, result.width, result.height, result.warnings) == ("image/jpeg", 600, 400, ())
    picture = decoded(result.data or b"")
    assert (picture.format, picture.mode, picture.size) == (None, "RGB", (600, 400))
    assert apart(picture, photograph()) < 8


def test_what_is_sent_is_named_hashed_and_written_as_upstream_reads_it() -> None:
    result = prepared(JPEG)
    assert result.origin == "/pictures/x.png"
    assert result.sha256 == hashlib.sha256(JPEG).hexdigest()
    assert result.url is None
    assert result.look is not None
    bare = result.wire("base64")
    assert base64.b64decode(bare) == result.data
    assert result.wire("data-url") == f"data:image/jpeg;base64,{bare}"


def test_a_url_is_sent_as_it_is_in_either_encoding() -> None:
    url = "https://host.example/x.jpg?sig=1"
    result = prepare(Found("https://host.example/x.jpg", None, url))
    assert result.wire("data-url") == result.wire("base64") == url
    assert result.sha256 == hashlib.sha256(url.encode()).hexdigest()
    assert (result.data, result.media_type, result.width, result.height, result.look) == (None,) * 5


@pytest.mark.parametrize("orientation", list(ORIENTATIONS))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_camera_picture_is_turned_upright(file_format: str, orientation: int) -> None:
    picture, exif = stored(orientation)
    upright = sent(encoded(picture, file_format, exif=exif.tobytes()))
    assert upright.size == corners().size
    assert apart(upright, corners()) < 12


def test_damaged_exif_leaves_a_picture_as_it_is() -> None:
    data = encoded(corners(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert apart(sent(data), corners()) < 12


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("picture", [photograph((64, 48)), cut_out()], ids=["opaque", "transparent"])
def test_nothing_but_pixels_leaves_the_machine(file_format: str, picture: Image.Image) -> None:
    if file_format == "JPEG":
        picture = picture.convert("RGB")
    options = {"exif": located(), "icc_profile": srgb_profile(), "xmp": b"<x:xmpmeta>SECRETPLACE</x:xmpmeta>"}
    data = encoded(picture, file_format, **options)
    assert b"SECRETCAM" in data
    result = prepared(data).data or b""
    for trace in (b"SECRET", b"Exif", b"eXIf", b"GPS", b"xmp", b"ICC_PROFILE", b"iCCP", b"tEXt", b"iTXt"):
        assert trace not in result
    left = set(decoded(result).info)
    assert left <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_comments_do_not_leave_the_machine() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "SECRETNOTE")
    for data in (
        encoded(photograph(), "JPEG", comment=b"SECRETNOTE"),
        encoded(photograph(), "GIF", comment=b"SECRETNOTE"),
        encoded(cut_out(), "PNG", pnginfo=text, dpi=(123, 123)),
    ):
        assert b"SECRETNOTE" not in (prepared(data).data or b"SECRETNOTE")


def test_colours_that_were_erased_stay_erased() -> None:
    picture = Image.new("RGBA", (64, 64), (200, 10, 10, 0))
    picture.paste((0, 255, 0, 255), (0, 0, 32, 64))
    assert sent(encoded(picture)).getpixel((60, 60)) == (0, 0, 0, 0)


def test_an_embedded_profile_is_applied() -> None:
    data = encoded(Image.new("RGB", (32, 32), "red"), "PNG", icc_profile=swapped_profile())
    assert near(sent(data).getpixel((9, 9)), (0, 0, 255))


def test_a_profile_is_applied_beside_transparency() -> None:
    picture = Image.new("RGBA", (32, 32), (255, 0, 0, 128))
    assert sent(encoded(picture, "PNG", icc_profile=swapped_profile())).getpixel((9, 9)) == (0, 0, 255, 128)


@pytest.mark.parametrize("profile", [b"broken", srgb_profile()[:200]])
def test_a_broken_profile_is_ignored_with_a_warning(profile: bytes) -> None:
    result = prepared(encoded(corners(), "PNG", icc_profile=profile))
    assert result.warnings == ("x.png: its colour profile is broken or does not fit, and was ignored.",)
    assert apart(decoded(result.data or b""), corners()) < 12


def test_a_colour_profile_on_a_grey_picture_does_not_fit_and_is_ignored() -> None:
    result = prepared(encoded(Image.new("L", (32, 32), 90), "PNG", icc_profile=srgb_profile()))
    assert "does not fit" in result.warnings[0]
    assert near(decoded(result.data or b"").getpixel((9, 9)), (90, 90, 90), 3)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb_with_a_warning(file_format: str) -> None:
    result = prepared(encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), file_format))
    assert near(decoded(result.data or b"").getpixel((9, 9)), (255, 0, 0))
    assert "converted by rule of thumb" in result.warnings[0]


DEEP = {
    "I;16": (Image.new("I;16", (32, 32), 65535 // 2), "PNG"),
    "I;16B": (Image.new("I;16B", (32, 32), 65535 // 2), "TIFF"),
    "I as eight bits": (Image.new("I", (32, 32), 128), "TIFF"),
    "I as sixteen bits": (Image.new("I", (32, 32), 65535 // 2), "TIFF"),
    "F from 0 to 1": (Image.new("F", (32, 32), 0.5), "TIFF"),
    "L": (Image.new("L", (32, 32), 128), "PNG"),
    "LA": (Image.new("LA", (32, 32), (128, 255)), "PNG"),
    "PA": (Image.new("LA", (32, 32), (128, 255)).convert("RGBA").convert("PA"), "TIFF"),
    "LAB": (Image.new("LAB", (32, 32), (137, 128, 128)), "TIFF"),
    "YCbCr": (Image.new("YCbCr", (32, 32), (128, 128, 128)), "TIFF"),
    "P": (Image.new("RGB", (32, 32), (128, 128, 128)).quantize(4), "PNG"),
}


@pytest.mark.parametrize("name", list(DEEP))
def test_middle_grey_stays_middle_grey_in_every_mode(name: str) -> None:
    picture, file_format = DEEP[name]
    result = prepared(encoded(picture, file_format))
    assert (result.media_type, result.warnings) == ("image/jpeg", ())
    assert near(decoded(result.data or b"").getpixel((9, 9)), (128, 128, 128), 3)


def test_black_and_white_stays_so() -> None:
    picture = corners().convert("1")
    assert apart(sent(encoded(picture)), picture) < 3


@pytest.mark.parametrize(("low", "high"), [(-5.0, 5.0), (0.0, 1e6), (-1e6, -1e6 + 10)])
def test_numbers_of_unknown_range_are_spread_over_it(low: float, high: float) -> None:
    picture = Image.new("F", (32, 32), low)
    picture.paste(high, (0, 0, 16, 32))
    result = sent(encoded(picture, "TIFF"))
    assert near(result.getpixel((2, 9)), (255, 255, 255), 4)
    assert near(result.getpixel((30, 9)), (0, 0, 0), 4)


def test_numbers_that_are_none_do_no_harm() -> None:
    assert sent(encoded(Image.new("F", (32, 32), float("nan")), "TIFF")).size == (32, 32)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_transparent_colour_becomes_alpha(mode: str) -> None:
    picture = Image.new("RGB", (32, 32), "black")
    picture.paste("white", (0, 0, 16, 32))
    picture = picture.quantize(2) if mode == "P" else picture.convert(mode)
    colour = picture.getpixel((30, 9))
    result = prepared(encoded(picture, "PNG", transparency=colour))
    assert result.media_type == "image/png"
    assert decoded(result.data or b"").getchannel("A").getextrema() == (0, 255)


def test_alpha_that_hides_nothing_is_dropped() -> None:
    assert prepared(encoded(photograph((64, 48)).convert("RGBA"))).media_type == "image/jpeg"


def test_edges_of_a_cut_out_do_not_pick_up_hidden_colours() -> None:
    picture = Image.new("RGBA", (3000, 30), (0, 255, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 1501, 30))
    result = sent(encoded(picture))
    pixels = [cast("tuple[int, ...]", result.getpixel((x, 7))) for x in range(result.width)]
    assert all(green < 30 for _, green, _, alpha in pixels if alpha > 20)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((3000, 2000), (1568, 1045)),
        ((2000, 3000), (1045, 1568)),
        ((1568, 1568), (1568, 1568)),
        ((20000, 10), (1568, 1)),
        ((100, 80), (100, 80)),
        ((9, 8), (9, 8)),
    ],
)
def test_a_picture_is_fitted_and_never_enlarged(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    result = prepared(encoded(Image.new("RGB", size, "teal")))
    assert (result.width, result.height) == wanted == decoded(result.data or b"").size


@pytest.mark.parametrize(
    ("size", "least"),
    [((6000, 4000), 1411), ((4032, 3024), 1568), ((2900, 2900), 1450), ((6000, 1200), 1500)],
)
def test_a_large_jpeg_is_decoded_at_a_reduced_scale_that_is_ample(size: tuple[int, int], least: int) -> None:
    result = prepared(encoded(photograph(size), "JPEG"))
    assert least <= max(result.width or 0, result.height or 0) <= MAX_SIDE
    expected = photograph((result.width or 0, result.height or 0))
    assert apart(decoded(result.data or b""), expected) < 4


@pytest.mark.parametrize("size", [(1568, 1568), (2400, 1600)])
def test_even_noise_leaves_as_a_jpeg_of_at_most_a_megabyte(size: tuple[int, int]) -> None:
    assert len(prepared(encoded(noise(size))).data or b"") <= 1_000_000


def test_transparent_noise_shrinks_until_it_is_below_six_megabytes() -> None:
    result = prepared(encoded(noise((1568, 1568), "RGBA"), compress_level=1))
    assert result.media_type == "image/png"
    assert 4_000_000 < len(result.data or b"") <= 6_000_000
    assert 1000 < (result.width or 0) < 1568


def test_a_tiny_picture_is_sent_with_a_warning() -> None:
    assert prepared(encoded(Image.new("RGB", (15, 40))), "clipboard").warnings == (
        "clipboard: only 15x40 pixels: expect a poor result.",
    )


def frames(file_format: str) -> bytes:
    return encoded(
        Image.new("RGB", (32, 32), "red"),
        file_format,
        save_all=True,
        append_images=[Image.new("RGB", (32, 32), "blue")],
    )


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF"])
def test_of_several_frames_the_first_is_used_with_a_warning(file_format: str) -> None:
    result = prepared(frames(file_format), "/pictures/two.gif")
    assert result.warnings == ("two.gif: it holds several frames or pages, and only the first is used.",)
    assert near(decoded(result.data or b"").getpixel((9, 9)), (254, 0, 0))


def test_a_second_picture_in_a_camera_jpeg_needs_no_warning() -> None:
    result = prepared(frames("MPO"))
    assert result.warnings == ()
    assert near(decoded(result.data or b"").getpixel((9, 9)), (254, 0, 0))


def test_a_200_megapixel_phone_photograph_is_read() -> None:
    result = prepared(encoded(Image.new("L", (16384, 12288), 90), "JPEG"))
    assert (result.width, result.height) == (1568, 1176)


@settings(deadline=None, max_examples=60)
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F", "I;16"]),
    width=st.integers(8, 2000),
    height=st.integers(8, 300),
    orientation=st.integers(0, 9),
)
def test_any_picture_becomes_one_within_the_limits(
    mode: str, width: int, height: int, orientation: int
) -> None:
    exif = located()
    exif[0x0112] = orientation
    result = prepared(encoded(Image.new(mode, (width, height)), "TIFF", exif=exif))
    picture = decoded(result.data or b"")
    assert picture.size == (result.width, result.height)
    assert 1 <= min(picture.size) <= max(picture.size) <= MAX_SIDE
    assert picture.mode in {"RGB", "RGBA"}
    assert b"SECRET" not in (result.data or b"SECRET")


async def recall(task_id: str | None, number: int, owner: str) -> Recalled:
    raise NoSuchTask(
        f"nobody knows the task {task_id}, let alone its picture {number}", f"See get_task, {owner}."
    )


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "photo.png").write_bytes(KEY)
    return Studio(local_finder([tmp_path], tmp_path, recall))


async def test_several_sources_come_back_in_their_order(studio: Studio) -> None:
    url = "https://host.example/b.png"
    results = await studio.prepare(["a.jpg", url, "a.jpg", "a.jpg"], LOCAL)
    assert [result.media_type or result.url for result in results] == ["image/jpeg", url, *["image/jpeg"] * 2]


async def test_every_problem_is_told_in_one_refusal(studio: Studio, tmp_path: Path) -> None:
    with pytest.raises(PictureRefused) as caught:
        await studio.prepare(["photo.png", "a.jpg", "none.gif", "task:zz"], LOCAL)
    assert caught.value.message == (
        "images[0] 'photo.png': there is no picture inside: it is a text that looks like a key or "
        f"certificate; nothing was sent; images[2] 'none.gif': there is no such file; looked in: {tmp_path}; "
        "images[3] 'task:zz': nobody knows the task zz, let alone its picture 1"
    )
    assert caught.value.hint == (
        "Use JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF and HEIC. Convert anything else to PNG or JPEG first. "
        f"{HOW_TO_GIVE} See get_task, local."
    )


async def test_the_same_hint_is_given_once(studio: Studio) -> None:
    with pytest.raises(PictureRefused) as caught:
        await studio.prepare(["none.gif", "none.webp"], LOCAL)
    assert caught.value.hint == HOW_TO_GIVE


async def test_a_failure_that_is_no_refusal_is_not_disguised(tmp_path: Path) -> None:
    async def broken(task_id: str | None, number: int, owner: str) -> Recalled:
        raise OSError(task_id, number, owner)

    with pytest.raises(OSError, match="1"):
        await Studio(local_finder([], tmp_path, broken)).prepare(["last", "none.gif"], LOCAL)


async def test_at_most_two_pictures_are_prepared_at_a_time_and_a_cancelled_one_gives_its_turn_back(
    tmp_path: Path,
) -> None:
    running: list[int] = []
    started, gate = asyncio.Semaphore(0), asyncio.Event()

    async def slow(task_id: str | None, number: int, owner: str) -> Recalled:
        running.append(number)
        started.release()
        await gate.wait()
        raise NoSuchTask(f"{task_id} {number} {owner}")

    studio = Studio(local_finder([], tmp_path, slow))
    first = asyncio.ensure_future(studio.prepare(["last#1", "last#2", "last#3"], LOCAL))
    second = asyncio.ensure_future(studio.prepare(["last#4"], LOCAL))
    await started.acquire()
    await started.acquire()
    assert running == [1, 2]
    first.cancel()
    await asyncio.wait([first])
    assert running == [1, 2]
    gate.set()
    with pytest.raises(PictureRefused):
        await second
    assert running == [1, 2, 4]


def test_the_profile_made_for_these_tests_is_one_that_programs_accept() -> None:
    assert ImageCms.ImageCmsProfile(io.BytesIO(swapped_profile())).tobytes()
