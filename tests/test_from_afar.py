"""Callers who are not on this machine: links instead of paths, and nothing of the machine is read or told."""

import base64
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from tests.clock import FakeClock
from tests.conftest import KEY
from tests.house import Api, Person, painted
from tests.stores import in_threads, opened_store

from kontext_edit import tools
from kontext_edit.app import App, open_for_many
from kontext_edit.errors import KontextError, NoSuchTask, PictureRefused
from kontext_edit.images.prepare import Studio
from kontext_edit.images.sources import Finder, Recalled
from kontext_edit.resources import Shelf
from kontext_edit.settings import read_settings
from kontext_edit.store.inbox import Inbox
from kontext_edit.store.place import upload_id_of
from kontext_edit.tools import make_tools
from kontext_edit.ui import app_tools
from kontext_edit.workshop import OpenWorkshop

PUBLIC_URL = "https://edits.example"
RED = painted("red")
DATA_URL = f"data:image/png;base64,{base64.b64encode(RED).decode()}"
ANNA, BERT = Person(owner="token:anna"), Person(owner="token:bert")


@dataclass
class Team:
    """A server for many, as its callers meet it."""

    app: App
    workshop: OpenWorkshop
    folder: Path
    api: Api
    told: list[str] = field(default_factory=list[str])
    """Everything that callers were answered."""

    async def call(self, handler: tools.Handler, caller: Person = ANNA, **arguments: Any) -> dict[str, Any]:
        result = await self.result(handler, caller, **arguments)
        assert not result.is_error, result
        return result.structured_content or {}

    async def result(
        self, handler: tools.Handler, caller: Person = ANNA, **arguments: Any
    ) -> types.CallToolResult:
        result = await handler(self.workshop, arguments, caller)
        self.told.append(result.model_dump_json())
        return result

    async def refusal(self, handler: tools.Handler, caller: Person = ANNA, **arguments: Any) -> str:
        with pytest.raises(KontextError) as caught:
            await handler(self.workshop, arguments, caller)
        self.told.append(f"{caught.value.message} | {caught.value.hint}")
        return self.told[-1]

    async def edit(self, caller: Person = ANNA, **arguments: Any) -> dict[str, Any]:
        call = {"prompt": "Make it blue", "images": [DATA_URL], "wait_seconds": 40, **arguments}
        return await self.call(tools.edit_image, caller, **call)

    async def fetched(self, url: str) -> bytes | None:
        """What a link brings."""
        found = await self.app.store.answer(url.removeprefix(f"{PUBLIC_URL}/pictures/"))
        return found[0] if found else None

    def assert_nothing_of_the_machine_was_told(self) -> None:
        for told in self.told:
            assert str(self.folder) not in told
            assert "file://" not in told
            assert "KONTEXT_OUTPUT_DIR" not in told


@pytest.fixture
async def team(
    environ: dict[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncGenerator[Team]:
    in_threads(monkeypatch)
    api = Api(clock)
    more = {
        "NOVITA_API_KEY": KEY,
        "KONTEXT_AUTH": "tokens",
        "KONTEXT_PUBLIC_URL": PUBLIC_URL,
        "KONTEXT_WEBHOOK": "off",
        "KONTEXT_STORE_URL": (tmp_path / "the store").as_uri(),
    }
    app = await open_for_many(
        read_settings(environ | more), address=PUBLIC_URL, clock=clock, transport=api.transport
    )
    app.editor.open()
    yield Team(app, OpenWorkshop(app, clock), tmp_path, api)
    await app.close()


# Results


async def test_a_result_is_a_link_that_brings_the_picture_and_says_until_when(
    team: Team, clock: FakeClock
) -> None:
    result = await team.result(tools.edit_image, prompt="Make it blue", images=[DATA_URL], wait_seconds=40)
    told = result.structured_content
    assert told is not None
    (picture,) = told["images"]
    assert await team.fetched(picture["url"]) == painted("blue")
    assert "path" not in picture
    assert picture["url_expires_at"].endswith("Z")
    assert f"it works until {picture['url_expires_at']}" in told["next_step"]
    assert f"task:{told['task_id']}" in told["next_step"]
    sentence, preview, link = result.content
    assert isinstance(sentence, types.TextContent)
    assert picture["url"] in sentence.text
    assert isinstance(preview, types.ImageContent)
    assert isinstance(link, types.ResourceLink)
    assert (link.uri, link.size) == (picture["url"], picture["bytes"])
    assert link.name.endswith("-1.png")
    clock.jump(3601)
    assert await team.fetched(picture["url"]) is None
    team.assert_nothing_of_the_machine_was_told()


async def test_get_task_brings_a_fresh_link_after_the_first_has_expired(team: Team, clock: FakeClock) -> None:
    done = await team.edit()
    clock.jump(3601)
    again = await team.call(tools.get_task, task_id=done["task_id"])
    assert await team.fetched(again["images"][0]["url"]) == painted("blue")
    assert again["images"][0]["url"] != done["images"][0]["url"]


async def test_several_pictures_have_a_link_each_and_the_sentence_stays_short(team: Team) -> None:
    result = await team.result(
        tools.edit_image,
        prompt="Make it blue",
        images=[DATA_URL],
        tier="dev",
        num_images=3,
        wait_seconds=40,
    )
    told: dict[str, Any] = result.structured_content or {}
    pictures = told["images"]
    assert [await team.fetched(each["url"]) for each in pictures] == [
        painted(colour) for colour in ("blue", "teal", "navy")
    ]
    assert [block.type for block in result.content] == ["text", "image", *["resource_link"] * 3]
    assert isinstance(result.content[0], types.TextContent)
    assert result.content[0].text.endswith("3 pictures, each with a link")


async def test_a_batch_tells_links_and_no_paths(team: Team) -> None:
    batch = await team.edit(prompt=None, prompts=["Make it blue", "Make it red"])
    for row in batch["edits"]:
        assert "paths" not in row
        assert row["url_expires_at"]
        assert [await team.fetched(url) for url in row["urls"]] == [painted("blue")]
    team.assert_nothing_of_the_machine_was_told()


async def test_a_list_of_edits_makes_no_links(team: Team) -> None:
    await team.edit()
    listed = await team.call(tools.list_tasks)
    assert listed["tasks"][0]["path"] is None
    assert "https:" not in team.told[-1]


async def test_a_picture_that_is_gone_is_missed_without_its_place(team: Team) -> None:
    done = await team.edit()
    for path in (team.folder / "the store").rglob("*.png"):
        path.unlink()
    again = await team.call(tools.get_task, task_id=done["task_id"])
    assert again["images"][0]["url"] is None
    assert "Picture 1 is no longer there." in again["warnings"]
    assert "no link" in again["next_step"]
    refused = await team.refusal(tools.edit_image, prompt="On", images=["last"])
    assert "was moved or deleted | Edit the original again." in refused
    team.assert_nothing_of_the_machine_was_told()


async def test_the_output_folder_of_the_machine_stays_empty(team: Team) -> None:
    await team.edit()
    assert not (team.folder / "out").exists()


# Resources


async def test_resources_are_read_through_the_store_and_name_no_file(team: Team) -> None:
    done = await team.edit()
    shelf = Shelf(team.workshop, ANNA.owner)
    (listed,) = await shelf.newest()
    assert listed.description == "Edited with Kontext pro."
    contents = await shelf.read(listed.uri)
    assert isinstance(contents, types.BlobResourceContents)
    assert base64.b64decode(contents.blob) == painted("blue")
    told = await shelf.read(f"kontext://tasks/{done['task_id']}")
    assert isinstance(told, types.TextResourceContents)
    assert json.loads(told.text)["images"][0]["url"].startswith(f"{PUBLIC_URL}/pictures/")
    team.told += [listed.model_dump_json(), told.text]
    team.assert_nothing_of_the_machine_was_told()


async def test_another_owner_finds_nothing_under_any_name(team: Team) -> None:
    done = await team.edit()
    kept = await team.app.inbox.keep(ANNA.owner, "a.png", RED)
    stranger = Shelf(team.workshop, BERT.owner)
    assert await stranger.newest() == []
    for uri in (f"kontext://tasks/{done['task_id']}", f"kontext://pictures/{done['task_id']}/1"):
        with pytest.raises(NoSuchTask):
            await stranger.read(uri)
    theirs = await team.refusal(tools.edit_image, BERT, prompt="On", images=[f"task:{done['task_id']}"])
    nobodys = await team.refusal(tools.edit_image, BERT, prompt="On", images=["task:nobody"])
    assert theirs.replace(done["task_id"], "nobody") == nobodys
    assert "no earlier result" in await team.refusal(tools.edit_image, BERT, prompt="On", images=["last"])
    theirs = await team.refusal(tools.edit_image, BERT, prompt="On", images=[kept.source])
    gone = "upload:" + "0" * 32
    nobodys = await team.refusal(tools.edit_image, BERT, prompt="On", images=[gone])
    assert theirs.replace(kept.source, gone) == nobodys
    assert "edit_details" not in await team.refusal(app_tools.edit_details, BERT, task_id=done["task_id"])
    assert len(team.api.bodies) == 1


# The App


async def test_the_app_gives_a_picture_and_sees_it_again_beside_the_result(team: Team) -> None:
    kept = await team.call(app_tools.upload_picture, name="garden.png", data=base64.b64encode(RED).decode())
    done = await team.edit(images=[kept["source"]])
    assert done["images"][0]["changed_percent"] == 100
    details = await team.result(app_tools.edit_details, task_id=done["task_id"])
    assert any(isinstance(block, types.ImageContent) for block in details.content)
    assert (details.structured_content or {})["images"] == [kept["source"]]
    child = await team.edit(images=[f"task:{done['task_id']}"], prompt="Make it dusk")
    details = await team.result(app_tools.edit_details, task_id=child["task_id"])
    assert any(isinstance(block, types.ImageContent) for block in details.content)
    team.assert_nothing_of_the_machine_was_told()


# After a restart


async def test_what_was_edited_is_found_again_through_the_store(team: Team) -> None:
    """A result that is fetched after a restart is still compared with what it was made from."""
    kept = await team.app.inbox.keep(ANNA.owner, "a.png", RED)
    first = await team.edit(images=[kept.source])
    second = await team.edit(images=[f"task:{first['task_id']}"], prompt="Make it dusk")
    for edit in (first, second):
        task = await team.app.journal.get(edit["task_id"], ANNA.owner)
        assert await team.app.editor.original(task)
    linked = await team.edit(images=["https://pictures.example/a.png"])
    assert await team.app.editor.original(await team.app.journal.get(linked["task_id"], ANNA.owner)) is None


# Sources


async def nothing_earlier(task_id: str | None, number: int, owner: str) -> Recalled | None:
    del task_id, number, owner


@pytest.fixture
def afar(tmp_path: Path) -> Finder:
    store = opened_store((tmp_path / "the store").as_uri(), tmp_path, FakeClock())
    return Finder(local=None, recall=nothing_earlier, uploads=store, uploads_url=f"{PUBLIC_URL}/uploads")


async def refused(finder: Finder, sources: Sequence[str], owner: str = "token:anna") -> str:
    with pytest.raises(PictureRefused) as caught:
        await Studio(finder).prepare(sources, owner)
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    "source",
    [
        "photo.png",
        "{folder}/photo.png",
        "~/photo.png",
        "../photo.png",
        "file://{folder}/photo.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "C:\\Users\\me\\photo.png",
        "clipboard",
        "latest:screenshot",
        "latest:download",
        "/mnt/user-data/uploads/photo.png",
        "sandbox:/mnt/data/photo.png",
        "attachment:photo.png",
    ],
)
async def test_nothing_of_the_machine_is_a_source_and_what_is_one_is_said(
    afar: Finder, tmp_path: Path, source: str
) -> None:
    (tmp_path / "photo.png").write_bytes(RED)
    told = await refused(afar, [source.format(folder=tmp_path)])
    assert "this server is elsewhere" in told
    for way in (
        "public http(s) URL",
        "data: URL",
        f"POST to {PUBLIC_URL}/uploads",
        "same bearer token",
        "App",
    ):
        assert way in told
    assert "`last`" in told
    for wrong in ("its path", "KONTEXT_", "`clipboard`", "latest:screenshot`", "looked in", "allowed"):
        assert wrong not in told


async def test_whether_a_file_exists_is_not_told(afar: Finder, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(RED)
    there = await refused(afar, [str(tmp_path / "photo.png")])
    nowhere = await refused(afar, [str(tmp_path / "other.png")])
    assert there.replace("photo.png", "other.png") == nowhere


@pytest.mark.parametrize(
    "source",
    [
        "",
        "last",
        "upload:" + "0" * 32,
        "upload:../../etc/passwd",
        "s3://bucket/photo.png",
        "data:image/png;base64,!",
        "http://127.0.0.1/photo.png",
        "https://me:secret@host.example/photo.png",
        "https://host.example/" + "x" * 3000,
    ],
)
async def test_no_other_refusal_advises_a_path_either(afar: Finder, source: str, tmp_path: Path) -> None:
    told = await refused(afar, [source])
    for wrong in ("its path", "the path", "`clipboard`", "a path", str(tmp_path)):
        assert wrong not in told


async def test_an_upload_belongs_to_whoever_sent_it(tmp_path: Path, afar: Finder) -> None:
    store = opened_store((tmp_path / "the store").as_uri(), tmp_path, FakeClock())
    kept = await Inbox(store).keep("token:anna", "a.png", RED)
    assert kept.source == f"upload:{upload_id_of(RED)}"
    assert (await afar.find(kept.source, "token:anna")).data == RED
    gone = await refused(afar, [kept.source], "token:bert")
    assert "the upload is gone" in gone
    assert f"POST to {PUBLIC_URL}/uploads" in gone


async def test_links_and_data_are_sources_as_at_home(afar: Finder) -> None:
    prepared = await Studio(afar).prepare([DATA_URL, "https://pictures.example/a.png"], "token:anna")
    assert [each.url is None for each in prepared] == [True, False]


# The tools


def test_the_tools_speak_of_links_to_callers_from_elsewhere() -> None:
    definition = make_tools("pro", remote=True)["edit_image"].definition
    images = (definition.output_schema or {})["properties"]["images"]["items"]["properties"]
    assert {"url", "url_expires_at"} <= set(images)
    assert "path" not in images
    text = definition.model_dump_json()
    assert "POST /uploads" in text
    for wrong in ("file path", "clipboard", "latest:", "file://", "a path"):
        assert wrong not in text
    at_home = make_tools("pro")["edit_image"].definition
    assert "url_expires_at" not in at_home.model_dump_json()
    assert "file path" in (at_home.description or "")
