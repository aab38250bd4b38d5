import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageEnhance
from tests.pictures import corners, cut_out, decoded, encoded, noise, photograph
from tests.rooms import Gallery, local_finder

from kontext_edit.errors import PictureRefused
from kontext_edit.images.prepare import Studio, prepare
from kontext_edit.images.preview import Look, changed_percent, inspect, preview_of, sheet
from kontext_edit.images.scale import resized
from kontext_edit.images.sources import Found
from kontext_edit.task import LOCAL, Source


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_whole_result_tells_what_it_is(file_format: str) -> None:
    result = inspect(encoded(photograph(), file_format), Look.of(photograph()))
    assert (result.format, result.width, result.height) == (file_format.lower(), 600, 400)
    assert result.changed_percent == 0.0
    assert seen(result.preview).size == (512, 341)


def test_a_result_is_compared_with_nothing_where_its_source_is_not_known() -> None:
    assert inspect(encoded(photograph())).changed_percent is None


def test_a_result_with_a_second_picture_inside_is_a_jpeg() -> None:
    assert inspect(encoded(corners(), "MPO", save_all=True, append_images=[corners()])).format == "jpeg"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.98])
def test_a_truncated_result_is_refused(file_format: str, share: float) -> None:
    data = encoded(photograph(), file_format)
    with pytest.raises(PictureRefused, match=r"truncated|empty"):
        inspect(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<html>expired", "it is a web page"),
        (b'{"error": "expired"}', "it is a text"),
        (encoded(corners(), "GIF"), "the GIF is damaged or truncated"),
    ],
)
def test_a_result_that_is_no_result_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(PictureRefused, match=says):
        inspect(data)


def again(picture: Image.Image, file_format: str = "JPEG", quality: int = 80) -> Image.Image:
    return decoded(encoded(picture, file_format, quality=quality))


@pytest.mark.parametrize("size", [(600, 400), (1568, 1045), (64, 43), (100, 90), (1000, 40)])
def test_compression_and_rescaling_are_no_change(size: tuple[int, int]) -> None:
    picture = photograph(size)
    before = Look.of(picture)
    other = resized(picture, (size[0] * 13 // 10, size[1] * 13 // 10))
    for after in (picture, again(picture), again(picture, "WEBP"), again(other)):
        assert changed_percent(before, Look.of(after)) == 0.0


def test_what_was_painted_over_is_measured() -> None:
    picture = photograph()
    painted = picture.copy()
    ImageDraw.Draw(painted).rectangle((0, 0, 299, 199), fill="magenta")
    assert 24 <= changed_percent(Look.of(picture), Look.of(again(painted))) <= 26


def test_a_small_change_is_seen() -> None:
    painted = photograph()
    ImageDraw.Draw(painted).ellipse((100, 100, 125, 125), fill="magenta")
    assert 0.1 <= changed_percent(Look.of(photograph()), Look.of(painted)) <= 0.6


def test_a_change_of_light_is_seen() -> None:
    brighter = ImageEnhance.Brightness(photograph()).enhance(1.15)
    assert changed_percent(Look.of(photograph()), Look.of(brighter)) > 70


def test_the_opposite_is_changed_completely() -> None:
    black = Look.of(Image.new("RGB", (300, 300), "black"))
    white = Look.of(Image.new("L", (90, 400), "white"))
    assert changed_percent(black, white) == 100.0


def test_a_result_of_another_shape_can_be_compared() -> None:
    before, after = Look.of(photograph((900, 300))), Look.of(ImageChops.invert(photograph((300, 900))))
    assert 0 <= changed_percent(before, after) <= 100


@settings(deadline=None, max_examples=30)
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"]),
    sizes=st.lists(st.integers(1, 700), min_size=4, max_size=4),
)
def test_any_two_pictures_can_be_compared(mode: str, sizes: list[int]) -> None:
    before = Look.of(Image.new(mode, (sizes[0], sizes[1])))
    after = Look.of(Image.new("RGB", (sizes[2], sizes[3]), "white"))
    assert changed_percent(before, before) == 0.0
    assert 0.0 <= changed_percent(before, after) <= 100.0


def studio(folder: Path) -> Studio:
    return Studio(local_finder([folder], folder, Gallery(folder)))


async def test_a_picture_on_disk_looks_as_it_did_when_it_was_prepared(tmp_path: Path) -> None:
    data = encoded(photograph((2400, 1600)), "JPEG")
    (tmp_path / "x.jpg").write_bytes(data)
    prepared = prepare(Found("x.jpg", data, None))
    again = await studio(tmp_path).again(Source(str(tmp_path / "x.jpg"), prepared.sha256), LOCAL)
    assert prepared.look is not None
    assert again is not None
    assert again.look is not None
    assert changed_percent(prepared.look, again.look) == 0.0


async def test_a_source_that_is_gone_or_another_one_by_now_is_not_compared_with(tmp_path: Path) -> None:
    data = encoded(photograph((64, 64)), "PNG")
    (tmp_path / "x.png").write_bytes(data)
    sha256 = prepare(Found("x.png", data, None)).sha256
    assert await studio(tmp_path).again(Source(str(tmp_path / "gone.png"), sha256), LOCAL) is None
    (tmp_path / "x.png").write_bytes(encoded(photograph((65, 64)), "PNG"))
    assert await studio(tmp_path).again(Source(str(tmp_path / "x.png"), sha256), LOCAL) is None


def preview(paths: list[Path]) -> bytes:
    """The previews of files, side by side."""
    return sheet([preview_of(path.read_bytes()) for path in paths])


def saved(folder: Path, *pictures: Image.Image) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path, compress_level=1)
    return paths


def seen(data: bytes) -> Image.Image:
    """A preview, checked against its limits."""
    assert len(data) <= 64 * 1024
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "WEBP"
        assert max(picture.size) <= 512
        return picture.convert("RGB")


@pytest.mark.parametrize(
    ("size", "wanted"), [((1500, 1000), (512, 341)), ((1000, 1500), (341, 512)), ((100, 80), (100, 80))]
)
def test_a_preview_is_small_and_keeps_the_shape(
    tmp_path: Path, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert seen(preview(saved(tmp_path, photograph(size)))).size == wanted


def test_a_preview_of_noise_stays_small(tmp_path: Path) -> None:
    assert min(seen(preview(saved(tmp_path, noise((1024, 1024))))).size) >= 256


def test_a_preview_gives_up_size_when_quality_is_not_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kontext_edit.images.preview.PREVIEW_BYTES", 4000)
    data = preview(saved(tmp_path, noise((512, 512))))
    assert len(data) <= 4000
    assert max(seen(data).size) < 512


def test_what_is_transparent_is_white_in_a_preview(tmp_path: Path) -> None:
    corner = seen(preview(saved(tmp_path, cut_out((300, 200))))).getpixel((1, 1))
    assert isinstance(corner, tuple)
    assert min(corner) > 250


@pytest.mark.parametrize("size", [(900, 600), (600, 900), (512, 512), (1500, 400)])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_several_pictures_share_one_numbered_sheet(tmp_path: Path, count: int, size: tuple[int, int]) -> None:
    sheet = seen(preview(saved(tmp_path, *[Image.new("RGB", size, "teal")] * count)))
    assert max(sheet.size) >= 480
    assert sheet.getpixel((sheet.width - 2, 2)) != sheet.getpixel((30, 30))
    colours = sheet.getcolors(sheet.width * sheet.height) or []
    teal = sum(
        number
        for number, colour in colours
        if isinstance(colour, tuple) and colour[0] < 40 and colour[1] > 90
    )
    assert teal / (sheet.width * sheet.height) > 0.6


def test_pictures_of_different_shapes_share_a_sheet(tmp_path: Path) -> None:
    paths = saved(tmp_path, photograph((900, 300)), photograph((300, 900)), photograph())
    assert max(seen(preview(paths)).size) >= 480


def test_a_preview_of_a_large_jpeg_needs_no_full_decode(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (16000, 9000), "teal").save(path)
    assert seen(preview([path])).size == (512, 288)
