"""Finished pictures: only verified ones are kept, whole or not at all, and never over another file."""

import errno
import hashlib
import io
import os
import resource
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.house import file_of
from tests.test_journal import new_task
from tests.upstreams import Answer, Upstream

from kontext_edit.errors import Billed, LinkRefused, PictureNotSaved
from kontext_edit.gallery import Gallery
from kontext_edit.images.preview import Look
from kontext_edit.store.disk import Disk
from kontext_edit.store.naming import file_name

LINK = "https://cdn.example/1.png"
RED_JACKET = new_task(
    prompt="Change the jacket to red leather, keep the face", tier="pro", created_at=1_795_000_000.0
)


def picture(colour: str = "red", form: str = "png") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, form)
    return file.getvalue()


def served(content: bytes) -> httpx.Response:
    return httpx.Response(200, content=content)


def gallery(folder: Path, *answers: Answer, base_url: str = "https://api.example") -> Gallery:
    return gallery_over(folder, Upstream(*answers).transport, base_url)


def gallery_over(
    folder: Path, transport: httpx.AsyncBaseTransport, base_url: str = "https://api.example"
) -> Gallery:
    return Gallery(Disk(folder, folder / "uploads"), base_url=base_url, transport=transport)


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


async def test_a_picture_is_kept_byte_for_byte_under_a_name_a_person_finds(tmp_path: Path) -> None:
    content = picture()
    (kept,) = await gallery(tmp_path / "out", served(content)).save(RED_JACKET, (LINK,), None)
    assert file_of(kept).read_bytes() == content
    assert file_of(kept).parent == tmp_path / "out"
    assert file_of(kept).name.startswith("2026-11-")
    assert file_of(kept).name.endswith(".png")
    assert "jacket red leather (pro)" in file_of(kept).name
    assert (kept.width, kept.height, kept.format, kept.bytes) == (64, 48, "png", len(content))
    assert kept.sha256 == hashlib.sha256(content).hexdigest()
    assert kept.changed_percent is None


async def test_the_name_follows_what_came_not_what_was_asked_for(tmp_path: Path) -> None:
    (kept,) = await gallery(tmp_path, served(picture(form="jpeg"))).save(RED_JACKET, (LINK,), None)
    assert kept.format == "jpeg"
    assert file_of(kept).suffix == ".jpg"


async def test_how_much_changed_is_told_against_the_first_source(tmp_path: Path) -> None:
    before = Look.of(Image.new("RGB", (64, 48), "red"))
    (same,) = await gallery(tmp_path, served(picture("red"))).save(RED_JACKET, (LINK,), before)
    (other,) = await gallery(tmp_path, served(picture("blue"))).save(RED_JACKET, (LINK,), before)
    assert same.changed_percent == 0
    assert other.changed_percent == 100


async def test_several_pictures_are_numbered(tmp_path: Path) -> None:
    colours = ["red", "green", "blue"]
    kept = await gallery(tmp_path, *[served(picture(colour)) for colour in colours]).save(
        RED_JACKET, (LINK,) * 3, None
    )
    assert [file_of(each).stem[-2:] for each in kept] == ["-1", "-2", "-3"]
    assert len({each.sha256 for each in kept}) == 3


async def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    name = f"{file_name(RED_JACKET, None)}.png"
    (tmp_path / name).write_text("the person's own")
    (kept,) = await gallery(tmp_path, served(picture())).save(RED_JACKET, (LINK,), None)
    assert (tmp_path / name).read_text() == "the person's own"
    assert file_of(kept).name == name.replace(".png", " (2).png")
    assert left_in(tmp_path) == {name, file_of(kept).name}


async def test_saving_again_what_is_there_changes_nothing(tmp_path: Path) -> None:
    (first,) = await gallery(tmp_path, served(picture())).save(RED_JACKET, (LINK,), None)
    (again,) = await gallery(tmp_path, served(picture())).save(RED_JACKET, (LINK,), None)
    assert again == first
    assert left_in(tmp_path) == {file_of(first).name}


async def test_the_leftovers_of_a_crash_are_cleared_away_and_nothing_else_is(tmp_path: Path) -> None:
    (kept,) = await gallery(tmp_path, served(picture())).save(RED_JACKET, (LINK,), None)
    (tmp_path / f".{RED_JACKET.id}-1-0a1b2c3d.part").write_bytes(b"half a pict")
    (tmp_path / f".{file_of(kept).name}-of-another.part").write_bytes(b"half a pict")
    (tmp_path / f"{file_of(kept).stem} (2).png").touch()
    await gallery(tmp_path).clear_away(RED_JACKET)
    assert left_in(tmp_path) == {file_of(kept).name, f".{file_of(kept).name}-of-another.part"}


async def test_there_is_nothing_to_clear_away_where_there_is_no_folder(tmp_path: Path) -> None:
    await gallery(tmp_path / "none").clear_away(RED_JACKET)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_link_that_is_no_longer_served_is_told_apart(status: int, tmp_path: Path) -> None:
    with pytest.raises(LinkRefused, match=str(status)):
        await gallery(tmp_path, httpx.Response(status)).save(RED_JACKET, (LINK,), None)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(500), "answers 500"),
        (httpx.Response(429), "answers 429"),
        (httpx.ReadTimeout("hangs"), "ReadTimeout"),
        (httpx.ConnectError("refused"), "ConnectError"),
        (httpx.RemoteProtocolError("cut"), "RemoteProtocolError"),
        (served(b"<html>Sign in</html>"), "not a whole picture"),
        (served(b""), "not a whole picture"),
        (served(picture()[:-40]), "not a whole picture"),
        (served(picture(form="gif")), "not a whole picture"),
        (httpx.Response(302, headers={"location": "http://cdn.example/plain"}), "not https"),
        (httpx.Response(302, headers={"location": "ftp://cdn.example/odd"}), "not https"),
        (httpx.Response(302, headers={"location": LINK}), "in circles"),
    ],
    ids=str,
)
async def test_what_is_no_picture_is_not_kept_and_can_be_fetched_again(
    answer: Answer, says: str, tmp_path: Path
) -> None:
    with pytest.raises(PictureNotSaved, match=says) as caught:
        await gallery(tmp_path, answer).save(RED_JACKET, (LINK,), None)
    assert caught.value.retryable
    assert caught.value.billed is Billed.YES
    assert not isinstance(caught.value, LinkRefused)
    assert left_in(tmp_path) == set()


class Endless(httpx.AsyncByteStream):
    """Two gigabytes, a megabyte at a time; counts what was taken."""

    def __init__(self) -> None:
        self.megabytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.megabytes < 2048:
            self.megabytes += 1
            yield bytes(1 << 20)


async def test_a_link_that_delivers_gigabytes_is_cut_off_early(tmp_path: Path) -> None:
    stream = Endless()
    upstream = httpx.MockTransport(lambda _request: httpx.Response(200, stream=stream))
    with pytest.raises(PictureNotSaved, match="more than 50 MB"):
        await gallery_over(tmp_path, upstream).save(RED_JACKET, (LINK,), None)
    assert stream.megabytes <= 60


async def test_a_redirect_within_https_is_followed(tmp_path: Path) -> None:
    moved = httpx.Response(302, headers={"location": "https://other.example/2.png"})
    (kept,) = await gallery(tmp_path, moved, served(picture())).save(RED_JACKET, (LINK,), None)
    assert file_of(kept).exists()


@pytest.mark.parametrize(
    ("base_url", "link", "fetched"),
    [
        ("https://api.example", "http://cdn.example/1.png", False),
        ("https://api.example", "http://127.0.0.1:8787/1.png", False),
        ("https://api.example", "file:///etc/passwd", False),
        ("https://api.example", "not a link", False),
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787/1.png", True),
        ("http://localhost:8787", "http://cdn.example/1.png", False),
        ("http://localhost:8787", "https://cdn.example/1.png", True),
    ],
)
async def test_plain_http_is_for_a_sandbox_on_this_machine_only(
    base_url: str, link: str, *, fetched: bool, tmp_path: Path
) -> None:
    upstream = Upstream(served(picture()))
    saving = gallery_over(tmp_path, upstream.transport, base_url).save(RED_JACKET, (link,), None)
    if fetched:
        await saving
    else:
        with pytest.raises(PictureNotSaved, match="not https"):
            await saving
    assert bool(upstream.requests) is fetched


async def test_the_key_does_not_travel_to_where_the_picture_lies(tmp_path: Path) -> None:
    upstream = Upstream(served(picture()))
    await gallery_over(tmp_path, upstream.transport).save(RED_JACKET, (LINK,), None)
    assert "authorization" not in upstream.requests[0].headers


async def test_a_folder_that_cannot_be_written_says_what_the_person_can_do(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(PictureNotSaved) as caught:
        await gallery(tmp_path / "out", served(picture())).save(RED_JACKET, (LINK,), None)
    assert "KONTEXT_OUTPUT_DIR" in caught.value.hint


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file may grow beyond a few bytes: a write fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("no_room")
async def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(PictureNotSaved, match="File too large"):
        await gallery(tmp_path, served(picture())).save(RED_JACKET, (LINK,), None)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("taken", [False, True])
async def test_a_file_system_without_hard_links_still_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    def no_links(_source: object, target: object) -> None:
        raise OSError(errno.EPERM, "not here", str(target))

    monkeypatch.setattr(os, "link", no_links)
    name = f"{file_name(RED_JACKET, None)}.png"
    if taken:
        (tmp_path / name).write_text("the person's own")
    (kept,) = await gallery(tmp_path, served(picture())).save(RED_JACKET, (LINK,), None)
    assert file_of(kept).read_bytes() == picture()
    assert left_in(tmp_path) == {name, file_of(kept).name}


async def test_another_trouble_with_the_name_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_source: object, _target: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", broken)
    with pytest.raises(PictureNotSaved, match="Input/output error"):
        await gallery(tmp_path, served(picture())).save(RED_JACKET, (LINK,), None)


@pytest.mark.parametrize(
    ("prompt", "gist"),
    [
        ("Change the jacket to red leather, keep the face", "jacket red leather"),
        ("Make it warmer while keeping the cup", "warmer"),
        ("Make it", "edit"),
        ("!!!", "edit"),
        ("../../etc/passwd", "etc passwd"),
        ("把天空变成粉红色", "把天空变成粉红色"),
        ("Replace 'OPEN' with 'CLOSED'", "open closed"),
        ("word " * 40, "word word word word word word word word"),
        ("x" * 300, "x" * 40),
    ],
)
def test_the_name_tells_what_was_edited(prompt: str, gist: str) -> None:
    assert f" {gist} (pro) " in file_name(replace(RED_JACKET, prompt=prompt), None)


@given(prompt=st.text(max_size=300))
def test_any_prompt_makes_a_file_name_that_every_system_takes(prompt: str) -> None:
    name = file_name(replace(RED_JACKET, prompt=prompt), 4)
    assert len(name.encode()) < 230
    assert not set(name) & set('/\\:*?"<>|\0\n\r\t')
    assert name == name.strip(" .")


def test_two_edits_with_the_same_words_have_names_of_their_own() -> None:
    first, second = (replace(RED_JACKET, task_id=each) for each in ("t-1", "t-2"))
    assert file_name(first, None) != file_name(second, None)


async def test_a_preview_is_made_of_what_is_still_there_and_of_nothing_else(tmp_path: Path) -> None:
    answers = [served(picture(colour)) for colour in ("red", "blue")]
    results = gallery(tmp_path, *answers)
    red, blue = await results.save(RED_JACKET, (LINK,) * 2, None)
    both, one = await results.preview([red, blue]), await results.preview([red])
    assert both
    assert one
    assert both != one
    file_of(blue).unlink()
    assert await results.preview([red, blue]) == one
    file_of(red).unlink()
    assert await results.preview([red, blue]) is None


async def test_a_preview_of_an_earlier_process_is_made_from_the_file(tmp_path: Path) -> None:
    before = gallery(tmp_path, served(picture()))
    (kept,) = await before.save(RED_JACKET, (LINK,), None)
    assert await gallery(tmp_path).preview([kept]) == await before.preview([kept])
