"""Pictures and uploads are kept whole, for their owner alone, on every kind of store."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx
import pytest
from pydantic import TypeAdapter
from tests.clock import FakeClock
from tests.house import painted
from tests.stores import LINK_SECONDS, PUBLIC_URL, bucket_on, kept, opened_store, s3_server
from tests.test_journal import new_task

from kontext_edit.errors import InvalidSettings, PictureNotSaved, PictureRefused
from kontext_edit.store import opening
from kontext_edit.store.inbox import Inbox
from kontext_edit.store.opening import open_store
from kontext_edit.store.place import MOST_UPLOAD_BYTES, Kept, Store, superfluous, upload_id_of
from kontext_edit.task import Picture, Task

Kind = Literal["folder", "file", "s3"]
RED, BLUE = painted("red"), painted("blue")
DAY = 86_400
EDIT = new_task(created_at=1_795_000_000.0, owner="token:anna")

shared = pytest.mark.parametrize("kind", ["file", "s3"])


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(params=["folder", "file", "s3"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def url(
    kind: Kind, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str | None:
    if kind == "s3":
        return bucket_on(s3, request.node.nodeid, monkeypatch)
    return (tmp_path / "a store").as_uri() if kind == "file" else None


@pytest.fixture
def store(url: str | None, tmp_path: Path) -> Store:
    return opened_store(url, tmp_path, FakeClock())


async def put(store: Store, content: bytes = RED, task: Task = EDIT, number: int = 1, of: int = 1) -> Picture:
    address = await store.keep_picture(task, number, of, "png", content)
    return kept(address.path, address.key, content)


async def link_to(store: Store, picture: Picture) -> str:
    (place,) = await store.places([picture])
    assert place.url is not None
    return place.url


# Pictures


async def test_a_picture_comes_back_byte_for_byte(store: Store) -> None:
    picture = await put(store)
    assert await store.picture(picture) == RED
    assert store.glance(picture).there
    (place,) = await store.places([picture])
    assert place.there


async def test_keeping_a_picture_again_after_a_take_over_changes_nothing(store: Store) -> None:
    assert await put(store) == await put(store)


async def test_two_processes_that_keep_the_same_picture_at_once_both_succeed(store: Store) -> None:
    first, second = await asyncio.gather(put(store), put(store))
    assert await store.picture(first) == await store.picture(second) == RED


async def test_another_picture_is_never_put_over_one_that_is_there(store: Store) -> None:
    first, second = await put(store, RED), await put(store, BLUE)
    assert await store.picture(first) == RED
    assert await store.picture(second) == BLUE
    assert await put(store, BLUE) == second


async def test_several_pictures_of_an_edit_and_the_edits_of_owners_lie_apart(store: Store) -> None:
    bert = replace(EDIT, id="edit-2", task_id="t-2", owner="token:bert")
    pictures = [
        await put(store, RED, number=1, of=2),
        await put(store, BLUE, number=2, of=2),
        await put(store, BLUE, bert),
    ]
    assert [await store.picture(each) for each in pictures] == [RED, BLUE, BLUE]
    assert len({(each.path, each.key) for each in pictures}) == 3
    await store.clear_away(EDIT)
    assert [place.there for place in await store.places(pictures)] == [True] * 3


async def test_what_is_not_there_is_gone_and_no_error(store: Store, kind: Kind, tmp_path: Path) -> None:
    nowhere = (
        kept(tmp_path / "gone.png", None, RED) if kind == "folder" else kept(None, "pictures/x.png", RED)
    )
    elsewhere = kept(None, "pictures/x.png", RED) if kind == "folder" else kept(tmp_path / "x.png", None, RED)
    (tmp_path / "x.png").write_bytes(RED)
    for picture in (nowhere, elsewhere):
        assert await store.picture(picture) is None
        (place,) = await store.places([picture])
        assert (place.there, place.url) == (False, None)


def test_a_picture_that_was_written_down_before_there_were_stores_still_reads() -> None:
    old = {"path": "/out/a b.png", "width": 64, "height": 48, "format": "png", "bytes": 9, "sha256": "ab"}
    picture = TypeAdapter(Picture).validate_json(json.dumps(old | {"changed_percent": None}))
    assert (picture.path, picture.key) == (Path("/out/a b.png"), None)
    new = Picture(None, 64, 48, "png", 9, "ab", None, "pictures/a/b/c.png")
    assert TypeAdapter(Picture).validate_json(TypeAdapter(Picture).dump_json(new)) == new


@shared
async def test_a_key_names_neither_the_owner_nor_what_was_asked_for(store: Store) -> None:
    key = (await put(store)).key or ""
    room, owner, day, name = key.split("/")
    assert (room, day, name) == ("pictures", "2026-11-18", "edit-1-1.png")
    assert len(owner) == 32
    assert "anna" not in key


@shared
async def test_a_picture_of_a_shared_store_is_told_by_a_link_and_never_by_a_path(store: Store) -> None:
    (place,) = await store.places([await put(store)])
    assert (place.there, place.path, place.name) == (True, None, "edit-1-1.png")
    assert place.expires_at == FakeClock().now() + LINK_SECONDS


@pytest.mark.parametrize("kind", ["folder"])
async def test_a_picture_of_a_person_is_told_by_its_path_and_has_no_link(
    store: Store, tmp_path: Path
) -> None:
    picture = await put(store)
    (place,) = await store.places([picture])
    assert (place.path, place.url, place.expires_at) == (picture.path, None, None)
    assert (tmp_path / "pictures") in (picture.path or tmp_path).parents
    assert await store.answer("1.2.3") is None


@pytest.mark.parametrize("kind", ["s3"])
async def test_a_link_that_the_store_signed_brings_the_picture_and_no_other(store: Store) -> None:
    red, blue = await put(store, RED), await put(store, BLUE, number=2, of=2)
    link = await link_to(store, red)
    async with httpx.AsyncClient() as client:
        found = await client.get(link)
        bare = link.partition("?")[0]
        parts = urlsplit(await link_to(store, blue))
        assert (found.status_code, found.content) == (200, RED)
        assert found.headers["content-type"] == "image/png"
        assert bare != parts._replace(query="").geturl()
    assert "X-Amz-Expires=600" in link
    assert "recognisable-secret" not in link


@pytest.mark.parametrize("kind", ["file"])
async def test_a_link_of_our_own_brings_the_picture_until_it_expires(url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    store = opened_store(url, tmp_path, clock)
    link = await link_to(store, await put(store))
    token = link.removeprefix(f"{PUBLIC_URL}/pictures/")
    assert await store.answer(token) == (RED, "image/png")
    clock.jump(LINK_SECONDS - 1)
    assert await store.answer(token) == (RED, "image/png")
    clock.jump(2)
    assert await store.answer(token) is None


@pytest.mark.parametrize("kind", ["file"])
async def test_a_fresh_link_works_after_the_first_has_expired(url: str, tmp_path: Path) -> None:
    clock = FakeClock()
    store = opened_store(url, tmp_path, clock)
    picture = await put(store)
    old = await link_to(store, picture)
    clock.jump(LINK_SECONDS + 1)
    new = await link_to(store, picture)
    assert new != old
    assert await store.answer(new.rpartition("/")[2]) == (RED, "image/png")


@pytest.mark.parametrize("kind", ["file"])
async def test_a_link_to_a_picture_that_was_deleted_brings_nothing(store: Store, tmp_path: Path) -> None:
    picture = await put(store)
    token = (await link_to(store, picture)).rpartition("/")[2]
    (tmp_path / "a store" / (picture.key or "")).unlink()
    assert await store.answer(token) is None
    (place,) = await store.places([picture])
    assert not place.there


@pytest.mark.parametrize("kind", ["file"])
async def test_nothing_half_written_is_left_in_a_folder_that_is_an_object_store(
    store: Store, tmp_path: Path
) -> None:
    await asyncio.gather(*(put(store) for _ in range(5)))
    files = [path for path in (tmp_path / "a store").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [RED]


# Uploads


async def test_an_upload_comes_back_and_is_the_same_when_it_is_given_again(store: Store) -> None:
    inbox = Inbox(store)
    first, again = await inbox.keep("token:anna", "a.png", RED), await inbox.keep("token:anna", "b.png", RED)
    assert first.source == again.source == f"upload:{upload_id_of(RED)}"
    assert (first.width, first.height, first.bytes) == (64, 48, len(RED))
    assert await store.upload("token:anna", upload_id_of(RED)) == RED
    assert await store.upload("token:anna", upload_id_of(BLUE)) is None


@shared
async def test_an_owner_cannot_reach_anothers_upload_nor_push_it_out(store: Store) -> None:
    inbox = Inbox(store)
    await inbox.keep("token:anna", "a.png", RED)
    assert await store.upload("token:bert", upload_id_of(RED)) is None
    await inbox.keep("token:bert", "b.png", BLUE)
    assert await store.upload("token:anna", upload_id_of(RED)) == RED


async def test_what_is_no_picture_is_refused_and_not_kept(store: Store) -> None:
    with pytest.raises(PictureRefused, match="no picture inside"):
        await Inbox(store).keep("token:anna", "note.txt", b"hello")
    assert await store.upload("token:anna", upload_id_of(b"hello")) is None


@shared
async def test_the_oldest_uploads_of_an_owner_go_where_there_are_too_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kontext_edit.store.bucket._MOST_UPLOADS", 1)
    inbox = Inbox(store)
    await inbox.keep("token:bert", "a.png", RED)
    await inbox.keep("token:anna", "a.png", RED)
    await inbox.keep("token:anna", "b.png", BLUE)
    assert await store.upload("token:anna", upload_id_of(RED)) is None
    assert await store.upload("token:anna", upload_id_of(BLUE)) == BLUE
    assert await store.upload("token:bert", upload_id_of(RED)) == RED


@pytest.mark.parametrize("kind", ["folder"])
async def test_a_folder_that_takes_no_uploads_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file", encoding="utf-8")
    with pytest.raises(PictureRefused, match=r"'a.png' could not be kept in .*uploads"):
        await Inbox(store).keep("local", "a.png", RED)


def test_uploads_go_when_they_are_old_or_too_many_and_the_one_just_written_stays() -> None:
    old, middle, new = Kept("old", 10, 0), Kept("middle", 10, 31 * DAY - 1), Kept("new", 10, 31 * DAY)
    assert superfluous([middle, new, old], keep="new") == ["old"]
    assert superfluous([old, middle, new], keep="old") == []
    assert superfluous([middle, new], keep="new", most_bytes=19) == ["middle"]
    assert superfluous([middle, new], keep="new", most_bytes=5) == ["middle"]
    assert superfluous([middle, new], keep="new", most=1) == ["middle"]
    assert superfluous([], keep="new") == []
    assert MOST_UPLOAD_BYTES == 500_000_000


# Trouble


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A store whose server does not answer; it is not asked again either."""
    monkeypatch.setattr("kontext_edit.store.bucket._RETRIES", {"max_retries": 0})
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "recognisable-secret")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    return opened_store("s3://bucket/prefix", tmp_path, FakeClock())


async def test_a_store_that_cannot_be_reached_is_told_without_its_address(
    unreachable: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PictureNotSaved, match="could not be written to the server's store") as not_saved:
        await put(unreachable)
    with pytest.raises(PictureRefused, match="cannot be read at the moment") as not_read:
        await unreachable.upload("token:anna", upload_id_of(RED))
    with pytest.raises(PictureRefused, match=r"'a\.png' could not be kept in the server's store") as not_kept:
        await Inbox(unreachable).keep("token:anna", "a.png", RED)
    for caught in (not_saved, not_read, not_kept):
        told = f"{caught.value.message} {caught.value.hint}"
        assert "127.0.0.1" not in told
        assert "bucket" not in told
        assert "runs this server" in told
    assert "127.0.0.1:1" in caplog.text
    assert "recognisable-secret" not in caplog.text


async def test_while_the_store_cannot_be_asked_a_picture_counts_as_there(unreachable: Store) -> None:
    (place,) = await unreachable.places([kept(None, "pictures/a/b/c.png", RED)])
    assert place.there
    assert place.url is not None


@pytest.mark.parametrize("url", ["s3://", "az://container/prefix", "file://elsewhere/folder"])
def test_a_url_that_names_no_store_is_a_setting_that_cannot_be_used(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(InvalidSettings, match="KONTEXT_STORE_URL cannot be used: ") as caught:
        opened_store(url, tmp_path, FakeClock())
    assert "\n" not in caught.value.message


def test_a_folder_as_a_store_needs_an_address_for_its_links(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="KONTEXT_PUBLIC_URL"):
        open_store(
            tmp_path.as_uri(),
            pictures=tmp_path,
            uploads=tmp_path,
            links=None,
            link_seconds=60,
            clock=FakeClock(),
        )


def test_without_the_library_the_setting_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr(opening, "find_spec", nothing)
    with pytest.raises(InvalidSettings, match=r"pip install 'kontext-edit\[team\]'"):
        opened_store("s3://bucket", tmp_path, FakeClock())
    assert opened_store(None, tmp_path, FakeClock())


def test_the_library_is_imported_only_where_a_store_url_is_used() -> None:
    names = "import sys, kontext_edit.app; print(*sys.modules)"
    run = subprocess.run(  # noqa: S603 - this very Python
        [sys.executable, "-c", names], capture_output=True, encoding="utf-8", check=True
    )
    loaded = set(run.stdout.split())
    assert "kontext_edit.store.opening" in loaded
    assert not {"obstore", "kontext_edit.store.bucket"} & loaded
