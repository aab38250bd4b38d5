import asyncio
import base64
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.pictures import corners, encoded
from tests.rooms import PNG, SECRET, Gallery, finder_in, furnished, local_finder, powerless, refusal

from kontext_edit.errors import NoSuchTask, PictureRefused
from kontext_edit.images.inline import is_base64
from kontext_edit.images.local import path_of
from kontext_edit.images.sources import Finder, Kind, kind_of, label
from kontext_edit.task import LOCAL


@pytest.fixture
def room(tmp_path: Path) -> Path:
    return furnished(tmp_path)


@pytest.fixture
def finder(room: Path) -> Finder:
    return finder_in(room)


@pytest.mark.parametrize(
    "source",
    [
        "{room}/pictures/x.png",
        "  {room}/pictures/x.png\n",
        "{room}/work/../pictures/x.png",
        "x.png",
        "./x.png",
        "file://{room}/pictures/x.png",
        "file://localhost{room}/pictures/x.png",
        "file:{room}/pictures/x.png",
        "FILE://{room}/pictures/x%2Epng",
        "{room}/pictures/inner.png",
    ],
)
async def test_a_file_is_found_however_it_is_named(finder: Finder, room: Path, source: str) -> None:
    found = await finder.find(source.format(room=room), LOCAL)
    assert (found.origin, found.data, found.url) == (str(room / "pictures" / "x.png"), PNG, None)


async def test_a_relative_name_is_looked_for_in_the_working_folder_first(finder: Finder, room: Path) -> None:
    (room / "work" / "x.png").write_bytes(b"mine")
    assert (await finder.find("x.png", LOCAL)).data == b"mine"


async def test_a_tilde_is_the_home(finder: Finder, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(room / "pictures"))
    assert (await finder.find("~/x.png", LOCAL)).data == PNG


async def test_a_file_url_is_percent_decoded_and_keeps_signs_that_were_not_encoded(
    finder: Finder, room: Path
) -> None:
    for name in ("a%20b%231%3F.png", "a b#1?.png"):
        assert (await finder.find(f"file://{room}/pictures/{name}", LOCAL)).data == PNG


async def test_a_name_typed_with_an_ordinary_space_finds_the_macos_screenshot(finder: Finder) -> None:
    found = await finder.find("Screenshot 3.04 PM.png", LOCAL)
    assert found.data == PNG
    assert "\\u202f" in found.origin


async def test_a_look_alike_that_links_outside_is_not_read(finder: Finder, room: Path) -> None:
    (room / "pictures" / "Key 1\u202f.png").symlink_to(room / "private" / "photo.png")
    assert "there is no such file" in await refusal(finder, "Key 1 .png")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "the source is empty"),
        (" \n", "the source is empty"),
        ("nosuch.png", "there is no such file; looked in: {room}/work, {room}/pictures | Ask the person"),
        ("y.png", "Did you mean 'x.png'"),
        ("{room}/pictures/none/x.png", "there is no such file; looked in: {room}/pictures/none"),
        ("{room}/pictures/x.png/y", "there is no such file"),
        ("{room}/pictures/empty.png", "the file is empty (0 bytes)"),
        ("{room}/pictures/folder.png", "it is a folder, not a picture"),
        ("{room}/pictures", "it is a folder, not a picture"),
        ("{room}/pictures/pipe.png", "it is not a regular file"),
        ("{room}/pictures/socket.png", "it is not a regular file"),
        ("{room}/pictures/huge.png", "the file is 50.0 MB; at most 50.0 MB are read"),
        ("{room}/pictures/loop.png", "a chain of symbolic links"),
        ("{room}/private/photo.png", "allowed: {room}/work, {room}/pictures | Ask the person"),
        ("{room}/private/photo.png", "KONTEXT_ALLOWED_DIRS or `--allow DIR`"),
        ("{room}/private/nosuch.png", "outside the allowed folders"),
        ("{room}/pictures/link.png", "outside the allowed folders, maybe through a symbolic link"),
        ("{room}/pictures/sub/photo.png", "outside the allowed folders"),
        ("link.png", "outside the allowed folders"),
        ("../private/photo.png", "outside the allowed folders"),
        ("{room}/pictures/../private/photo.png", "outside the allowed folders"),
        ("file://{room}/pictures/%2e%2e/private/photo.png", "outside the allowed folders"),
        ("{room}/pictures/loop.png/../sub/photo.png", "outside the allowed folders"),
        ("/etc/passwd", "outside the allowed folders"),
        ("/dev/zero", "outside the allowed folders"),
        ("//server/share/x.png", "outside the allowed folders"),
        (r"\\server\share\x.png", "a Windows path"),
        (r"C:\Users\me\x.png", "a Windows path, and this server runs on linux"),
        ("file:///C:/Users/me/x.png", "a Windows path"),
        ("file://C:/Users/me/x.png", "a Windows path"),
        ("a\0b.png", "NUL character"),
        ("\ud800.png", "characters that no file name has"),
        ("n" * 300 + ".png", "its name is too long"),
        ("a/" * 3000 + "x.png", "its name is too long"),
        ("file://server/x.png", "names the host 'server'; only files of this machine are read"),
        ("/mnt/user-data/uploads/x.png", "cannot see files of the chat's sandbox"),
        ("/mnt/data/x.png", "or to copy the picture itself (source: `clipboard`)"),
        ("/home/claude/x.png", "cannot see files of the chat's sandbox"),
        ("/home/oai/share/x.png", "cannot see files of the chat's sandbox"),
        ("sandbox:/mnt/data/x.png", "cannot see files of the chat's sandbox"),
        ("file:///mnt/data/x.png", "cannot see files of the chat's sandbox"),
        ("ftp://host.example/x.png", "ftp: URLs are not read | A source is a path, a file:// or http(s)://"),
        ("s3://bucket/x.png", "s3: URLs are not read"),
        ("blob:https://host.example/1", "blob: URLs are not read"),
        ("cid:picture@chat", "What was pasted into the chat cannot be seen from here"),
        ("attachment:picture.png", "cannot see files of the chat's sandbox"),
        ("uploaded image", "there is no such file; looked in: {room}/work, {room}/pictures | Ask the person"),
        ("http:///x.png", "it has no valid host"),
        ("https://host.example:99999/x.png", "it has no valid host and port"),
        ("https://[::1/x.png", "the URL is malformed"),
        ("https://me:pw@host.example/x.png", "carries a user name or password"),
        ("https://host.example/a b.png", "spaces, control characters or backslashes"),
        ("https://host.example\\@evil.example/x.png", "spaces, control characters or backslashes"),
        ("https://host.example/" + "x" * 2048, "2069 characters long; at most 2048"),
        ("http://localhost/x.png", "localhost exists on a private network only"),
        ("http://nas/x.png", "nas exists on a private network only"),
        ("http://nas.local./x.png", "exists on a private network only"),
        ("http://a..example/x.png", "exists on a private network only"),
        ("http://127.0.0.1/x.png", "127.0.0.1 is private or reserved"),
        ("http://192.168.1.4:8080/x.png", "192.168.1.4 is private or reserved"),
        ("http://169.254.169.254/latest", "is private or reserved"),
        ("http://224.0.0.1/x.png", "is private or reserved"),
        ("http://[::1]/x.png", "::1 is private or reserved"),
        ("http://[::ffff:10.0.0.1]/x.png", "is private or reserved"),
        ("http://2130706433/x.png", "a number in an unusual notation"),
        ("http://0x7f.1/x.png", "a number in an unusual notation"),
        ("data:image/png;base64", "the data URL has no comma"),
        ("data:image/svg+xml,%3Csvg%3E", "percent-encoded; only base64 ones are read"),
        ("data:image/png;base64,", "the base64 data is empty"),
        ("data:image/png;base64,iVBO!!", "not valid base64"),
        ("data:image/png;base64,iVBOR", "not valid base64, or was cut off"),
        ("data:image/png;base64," + "A" * 67_000_000, "the data is 50.2 MB; at most 50.0 MB"),
        ("task:", "it names no earlier result | Write task:<id>"),
        ("task:4f2a#0", "it names no earlier result"),
        ("last#one", "it names no earlier result"),
        ("task:4f2a#3", "the task has 2 pictures"),
        ("task:4f2a#2", "the picture of task:4f2a#2 was moved or deleted: {room}/results/result 2.png"),
        ("clipboard#2", "takes no number"),
        ("latest:picture", "no latest of that | Use `latest:screenshot` or `latest:download`"),
        ("latest:", "no latest of that"),
        ("upload:", "it names no upload: an id is 32 lower-case hexadecimal digits"),
        ("upload:../private/photo.png", "it names no upload"),
        ("upload:" + "A" * 32, "it names no upload"),
        ("upload:" + "a" * 33, "it names no upload"),
        ("upload:" + "a" * 32, "the upload is gone | Ask the person to drop, paste or pick the picture"),
    ],
)
async def test_a_source_that_cannot_be_used_is_refused_and_says_why(
    finder: Finder, room: Path, source: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "socket" in source:
        monkeypatch.chdir(room / "pictures")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.png")
    assert says.format(room=room) in await refusal(finder, source.format(room=room))


async def test_what_lies_outside_is_refused_alike_whether_it_exists_or_not(
    finder: Finder, room: Path
) -> None:
    there = await refusal(finder, str(room / "private" / "photo.png"))
    assert there == await refusal(finder, str(room / "private" / "nothing.png"))


async def test_with_no_folder_allowed_nothing_is_read_and_the_error_says_so(room: Path) -> None:
    finder = local_finder([], room / "pictures", Gallery(room))
    assert "allowed: none" in await refusal(finder, "x.png")


async def test_a_file_that_may_not_be_read_is_refused_and_says_what_to_do(finder: Finder, room: Path) -> None:
    (room / "pictures" / "x.png").chmod(0)
    with powerless():
        assert "permission to read it was denied | Ask the person to allow it" in await refusal(
            finder, str(room / "pictures" / "x.png")
        )


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file whose reading fails")
async def test_a_file_whose_size_is_not_told_is_refused(room: Path) -> None:
    finder = local_finder([Path("/proc")], room, Gallery(room))
    assert "the file is empty" in await refusal(finder, "/proc/self/mem")


@pytest.mark.parametrize(
    "url",
    [
        "https://images.example.com/a/b.png?sig=1%2F2#part",
        "http://93.184.216.34:8080/x.png",
        "HTTPS://[2606:4700::1111]/x.png",
        "https://bücher.example/ü.jpg",
    ],
)
async def test_a_public_url_is_handed_on_as_it_is(finder: Finder, url: str) -> None:
    found = await finder.find(url, LOCAL)
    assert (found.data, found.url) == (None, url)
    assert found.origin == url.partition("?")[0]


TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        (f"data:image/png;base64,{TEXT}", "data:"),
        (f"DATA:text/plain;name=x.png;BASE64,{TEXT}", "data:"),
        (f"data:;base64,{TEXT.rstrip('=')}", "data:"),
        (TEXT, "base64"),
        (TEXT.rstrip("="), "base64"),
        ("\r\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76)), "base64"),
        (base64.urlsafe_b64encode(PNG).decode(), "base64"),
    ],
)
async def test_base64_is_decoded_in_all_its_spellings(finder: Finder, source: str, origin: str) -> None:
    found = await finder.find(source, LOCAL)
    assert (found.origin, found.data) == (origin, PNG)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_every_format_is_recognised_as_base64(file_format: str) -> None:
    assert is_base64(base64.b64encode(encoded(corners(), file_format)).decode())


@pytest.mark.parametrize(
    "name",
    [
        "photo",
        "folder/photo",
        "/home/me/photo",
        "IMG_0001",
        "a" * 255,
        "word " * 80,
        "UklGR",
        "x.png",
        "note:1.png",
    ],
)
def test_a_name_is_not_taken_for_base64(name: str) -> None:
    assert kind_of(name) is Kind.PATH


def test_what_no_file_system_takes_for_a_name_is_base64() -> None:
    assert kind_of("b" * 400) is Kind.BASE64


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("task:4f2a", "task:4f2a#1"),
        ("last", "task:4f2a#1"),
        ("LAST#1", "task:4f2a#1"),
        ("task:4f2a#1", "task:4f2a#1"),
    ],
)
async def test_an_earlier_result_is_found_outside_the_allowed_folders(
    finder: Finder, source: str, origin: str
) -> None:
    found = await finder.find(source, LOCAL)
    assert (found.origin, found.data) == (origin, PNG)


async def test_a_task_that_nobody_knows_is_no_such_task(finder: Finder) -> None:
    with pytest.raises(NoSuchTask):
        await finder.find("task:other", LOCAL)


async def test_a_result_that_was_replaced_by_a_link_is_not_followed(finder: Finder, room: Path) -> None:
    (room / "results" / "result 2.png").symlink_to(room / "private" / "photo.png")
    assert "symbolic links" in await refusal(finder, "task:4f2a#2")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("x.png", "'x.png'"),
        ("https://me:pw@host.example/x.png?token=1", "'https://host.example/x.png'"),
        ("ftp://me:pw@host.example/x.png", "'ftp://host.example/x.png'"),
        (f"data:image/png;base64,{TEXT}", "'data:…'"),
        (TEXT, "'base64…'"),
        ("long " * 100, f"'{('long ' * 12)}…{(' long' * 12)}'"),
        ("bell\x07\ud800", r"'bell\x07\ud800'"),
    ],
)
def test_an_error_calls_a_source_by_a_short_name_without_secrets(source: str, name: str) -> None:
    assert label(source) == name


def test_a_windows_file_url_names_the_drive() -> None:
    assert path_of("file:///C:/a%20b.png") == path_of("file://C:/a%20b.png") == "C:/a b.png"


names = st.sampled_from(
    [
        "x.png",
        "link.png",
        "sub/photo.png",
        "..",
        "private",
        "pictures",
        "photo.png",
        "~",
        "loop.png",
        "%2e%2e",
    ]
)
paths = st.lists(names, max_size=5).map("/".join)
free = st.one_of(
    st.text(max_size=80),
    paths,
    st.tuples(
        st.sampled_from(
            [
                *(
                    "file://",
                    "file:",
                    "http://",
                    "https://",
                    "data:",
                    "task:",
                    "last#",
                    "//",
                    "\\\\",
                    "sandbox:",
                ),
                *("latest:", "upload:"),
            ]
        ),
        st.one_of(st.text(max_size=40), paths),
    ).map("".join),
    st.text(alphabet="ABab01+/=-_\n ", max_size=400),
).filter(lambda source: not source.strip().lower().startswith("clipboard"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(source=free)
@example(source="pictures/../../private/photo.png")
@example(source="last")
def test_any_string_is_found_or_refused_and_nothing_outside_is_read(room: Path, source: str) -> None:
    finder = finder_in(room)
    for text in (source, f"{room}/pictures/{source}", f"file://{room}/pictures/{source}"):
        try:
            found = asyncio.run(asyncio.wait_for(finder.find(text, LOCAL), 5))
        except (PictureRefused, NoSuchTask) as error:
            assert error.message  # noqa: PT017 - whether it fails at all is free
        else:
            assert (found.data is None) != (found.url is None)
            assert found.data != SECRET
            found.origin.encode()


def test_finding_leaves_no_thread_behind_that_waits(finder: Finder, room: Path) -> None:
    before = threading.active_count()
    with pytest.raises(PictureRefused):
        asyncio.run(finder.find(str(room / "pictures" / "pipe.png"), LOCAL))
    assert threading.active_count() == before
