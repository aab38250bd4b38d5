"""What a person has just made or given: the newest screenshot, the newest download, an upload of the App."""

import os
from datetime import datetime
from pathlib import Path

import pytest
from tests.pictures import corners, encoded
from tests.rooms import PNG, SECRET, Gallery, local_finder, powerless, refusal

from kontext_edit.errors import PictureRefused
from kontext_edit.images.prepare import Studio
from kontext_edit.images.sources import Finder
from kontext_edit.task import LOCAL

MORNING = 1_790_000_000
"""Seconds since the epoch: when the first picture of a test was made."""

UPLOAD = "0123456789abcdef" * 2


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a desktop, pictures and downloads, all allowed, and a private folder."""
    for name in ("Desktop", "Pictures", "Downloads", "private", "uploads"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DOWNLOAD_DIR", raising=False)
    return tmp_path


def finder(home: Path, *names: str) -> Finder:
    """A finder that may read these folders of a home, or the usual ones."""
    allowed = [home / name for name in names or ("Desktop", "Pictures", "Downloads")]
    return local_finder(allowed, home, Gallery(home), home / "uploads")


def made(path: Path, minutes: int = 0, content: bytes = PNG) -> Path:
    """A file that was last changed so many minutes after the morning."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    changed_at = MORNING + 60 * minutes
    os.utime(path, (changed_at, changed_at))
    return path


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot 2026-11-21 at 3.04.05\u202fPM.png",
        "Screen Shot 2016-11-21 at 15.04.05.png",
        "Screenshot from 2026-11-21 15-04-05.png",
        "Screenshot From 2026-11-21 15-04-05.png",
        "Screenshot_20261121_150405.jpg",
        "Screenshot (12).png",
        "screenshot.webp",
        "Bildschirmfoto 2026-11-21 um 15.04.05.png",
        "Bildschirmfoto vom 2026-11-21 15-04-05.png",
        "Capture d’écran 2026-11-21 à 15.04.05.png",
        "Capture d'e\u0301cran_20261121.png",
        "Captura de pantalla 2026-11-21 a las 15.04.05.png",
        "Captura de Tela 2026-11-21 às 15.04.05.png",
        "Schermata 2026-11-21 alle 15.04.05.png",
        "Schermafbeelding 2026-11-21 om 15.04.05.png",
        "Zrzut ekranu 2026-11-21.png",
        "Снимок экрана 2026-11-21 в 15.04.05.png",
        "スクリーンショット 2026-11-21 15.04.05.png",
        "截屏2026-11-21 15.04.05.png",
        "스크린샷 2026-11-21 오후 3.04.05.png",
    ],
)
async def test_a_screenshot_is_known_by_its_name_in_many_languages(home: Path, name: str) -> None:
    made(home / "Desktop" / name)
    made(home / "Desktop" / "holiday.png", 5)
    found = await finder(home).find("latest:screenshot", LOCAL)
    assert found.data == PNG
    assert found.origin.startswith(str(home / "Desktop"))


@pytest.mark.parametrize("folder", ["Screenshots", "screenshots", "Bildschirmfotos", "Captures d’écran"])
async def test_in_a_folder_of_screenshots_every_picture_is_one(home: Path, folder: str) -> None:
    made(home / "Desktop" / "Screenshot 1.png")
    newest = made(home / "Pictures" / folder / "2026-11-21_15-04.png", 1)
    assert (await finder(home).find("LATEST:screenshot", LOCAL)).origin == str(newest)
    assert (await finder(home, f"Pictures/{folder}").find("latest:screenshot", LOCAL)).origin == str(newest)


async def test_folders_of_screenshots_are_not_searched_any_deeper(home: Path) -> None:
    made(home / "Desktop" / "work" / "Screenshot 1.png")
    made(home / "Pictures" / "holidays" / "Screenshot 2.png")
    assert "there is no screenshot in" in await refusal(finder(home), "latest:screenshot")


async def test_the_newest_download_is_a_complete_picture_and_nothing_else(home: Path) -> None:
    downloads = home / "Downloads"
    made(downloads / "old.jpg")
    newest = made(downloads / "New One.JPG", 1)
    made(downloads / "manual.pdf", 2)
    made(downloads / "half.png.crdownload", 3)
    made(downloads / "coming.png", 4)
    made(downloads / "coming.png.part", 4)
    made(downloads / "reserved.png", 5, b"")
    made(downloads / ".hidden.png", 6)
    made(home / "Pictures" / "elsewhere.png", 7)
    (downloads / "folder.png").mkdir()
    found = await finder(home).find("latest:download", LOCAL)
    assert (found.origin, found.data) == (str(newest), PNG)


async def test_a_link_in_the_folder_is_never_the_newest(home: Path) -> None:
    target = made(home / "private" / "photo.png", 9, SECRET)
    (home / "Downloads" / "photo.png").symlink_to(target)
    (home / "Pictures" / "Screenshots").symlink_to(home / "private")
    (home / "Desktop" / "Screenshot 1.png").symlink_to(target)
    assert "there is no download in" in await refusal(finder(home), "latest:download")
    assert "there is no screenshot in" in await refusal(finder(home), "latest:screenshot")


async def test_the_downloads_folder_may_have_the_name_that_the_system_gives_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DOWNLOAD_DIR", str(home / "Téléchargements"))
    newest = made(home / "Téléchargements" / "photo.png")
    assert (await finder(home, "Téléchargements").find("latest:download", LOCAL)).origin == str(newest)
    assert (await finder(home, ".").find("latest:download", LOCAL)).origin == str(newest)


async def test_a_downloads_folder_that_is_not_allowed_is_not_looked_into(home: Path) -> None:
    made(home / "Downloads" / "photo.png")
    said = await refusal(finder(home, "Desktop", "Pictures"), "latest:download")
    assert f"is not among the allowed ones: {home}/Desktop, {home}/Pictures | Ask the person" in said
    assert "KONTEXT_ALLOWED_DIRS" in said


async def test_without_a_screenshot_the_error_says_where_it_looked_and_what_to_ask(home: Path) -> None:
    said = await refusal(finder(home), "latest:screenshot")
    assert f"no screenshot in {home}/Desktop, {home}/Pictures, {home}/Downloads | Ask the person" in said
    assert "clipboard" in said


async def test_a_folder_that_may_not_be_listed_is_named_with_what_to_do(home: Path) -> None:
    (home / "Desktop").chmod(0)
    with powerless():
        said = await refusal(finder(home, "Desktop"), "latest:screenshot")
    assert f"could not be listed: {home}/Desktop | Ask the person to allow reading the folder" in said


async def test_the_edit_warns_which_file_was_taken_and_how_old_it_is(home: Path) -> None:
    made(home / "Desktop" / "Screenshot 1.png")
    (prepared,) = await Studio(finder(home)).prepare(["latest:screenshot"], LOCAL)
    when = datetime.fromtimestamp(MORNING).astimezone().strftime("%Y-%m-%d %H:%M")
    assert prepared.warnings == (f"Screenshot 1.png: taken as the newest in {home}/Desktop, from {when}.",)


@pytest.mark.parametrize("content", [SECRET, PNG[: len(PNG) // 2]], ids=["no picture", "cut off"])
async def test_the_newest_is_checked_like_any_picture_and_the_refusal_names_it(
    home: Path, content: bytes
) -> None:
    made(home / "Downloads" / "good.png")
    made(home / "Downloads" / "bad.png", 1, content)
    with pytest.raises(PictureRefused, match=r"'latest:download': 'bad\.png', taken as the newest in "):
        await Studio(finder(home)).prepare(["latest:download"], LOCAL)


async def test_a_newest_that_is_too_large_is_named(home: Path) -> None:
    huge = made(home / "Downloads" / "huge.png")
    with huge.open("wb") as file:
        file.truncate(50_000_001)
    assert f"the newest download, '{huge}': the file is 50.0 MB" in await refusal(
        finder(home), "latest:download"
    )


async def test_an_upload_is_found_by_its_id_alone(home: Path) -> None:
    (home / "uploads" / UPLOAD).write_bytes(PNG)
    found = await finder(home).find(f"upload:{UPLOAD}", LOCAL)
    assert (found.origin, found.data, found.note) == (f"upload:{UPLOAD}", PNG, None)


async def test_an_upload_is_checked_like_any_picture(home: Path) -> None:
    (home / "uploads" / UPLOAD).write_bytes(SECRET)
    with pytest.raises(PictureRefused, match="there is no picture inside"):
        await Studio(finder(home)).prepare([f"upload:{UPLOAD}"], LOCAL)


async def test_an_upload_that_was_replaced_by_a_link_is_not_followed(home: Path) -> None:
    (home / "uploads" / UPLOAD).symlink_to(made(home / "private" / "photo.png", 0, encoded(corners())))
    assert "symbolic links" in await refusal(finder(home), f"upload:{UPLOAD}")


async def test_where_no_uploads_are_kept_an_upload_is_gone(home: Path) -> None:
    nowhere = local_finder([home], home, Gallery(home))
    assert "the upload is gone" in await refusal(nowhere, f"upload:{UPLOAD}")
