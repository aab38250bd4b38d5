import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.pictures import corners, decoded
from tests.rooms import finder_in, furnished, refusal

from kontext_edit.errors import PictureRefused
from kontext_edit.images import clipboard
from kontext_edit.images.sources import Finder
from kontext_edit.task import LOCAL


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return furnished(tmp_path)


@pytest.fixture
def finder(room: Path) -> Finder:
    return finder_in(room)


Helper = Callable[[str, str], None]


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """Installs a program that answers for the clipboard, as the only one on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)

    def install(name: str, script: str) -> None:
        program = programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return install


@pytest.mark.parametrize("program", ["xclip", "wl-paste"])
async def test_the_clipboard_gives_its_picture(
    finder: Finder, room: Path, helper: Helper, program: str
) -> None:
    helper(program, f"exec /bin/cat '{room}/pictures/x.png'")
    found = await finder.find("Clipboard", LOCAL)
    assert found.origin == "clipboard"
    assert found.data is not None
    assert decoded(found.data).tobytes() == corners().tobytes()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'No selection' >&2; exit 1", "there is no picture on the clipboard | Ask the person to copy"),
        ("echo 'cannot connect' >&2; exit 1", "the clipboard cannot be read: xclip error: cannot connect"),
        ("echo text", "what is on the clipboard is no picture"),
    ],
)
async def test_a_clipboard_without_a_picture_says_what_to_do(
    finder: Finder, helper: Helper, script: str, says: str
) -> None:
    helper("xclip", script)
    assert says in await refusal(finder, "clipboard")


@pytest.mark.usefixtures("helper")
async def test_without_a_helper_program_the_clipboard_names_the_one_to_install(finder: Finder) -> None:
    assert "install wl-clipboard (Wayland) or xclip (X11)" in await refusal(finder, "clipboard")


async def test_a_clipboard_that_never_answers_is_not_waited_for(
    finder: Finder, room: Path, helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = room / "gate"
    os.mkfifo(gate)
    helper("xclip", f"read line < '{gate}'")
    monkeypatch.setattr(clipboard, "PATIENCE", 0.0)
    assert "the clipboard did not answer within 0 s" in await refusal(finder, "clipboard")
    opened = await asyncio.to_thread(gate.open, "w")
    opened.close()


async def test_a_file_on_the_clipboard_is_checked_like_any_path(finder: Finder, room: Path) -> None:
    name = clipboard.taken([str(room / "private" / "photo.png")])
    assert isinstance(name, str)
    assert "outside the allowed folders" in await refusal(finder, name)


def test_several_files_on_the_clipboard_are_named_and_not_guessed_at() -> None:
    with pytest.raises(PictureRefused, match=r"2 files on the clipboard: '/a/x\.png', '/b/y\.png'"):
        clipboard.taken(["/a/x.png", "/b/y.png"])


def test_a_cmyk_picture_on_the_clipboard_becomes_a_png() -> None:
    data = clipboard.taken(Image.new("CMYK", (9, 9), (0, 255, 255, 0)))
    assert isinstance(data, bytes)
    assert decoded(data).getpixel((0, 0)) == (255, 0, 0)
