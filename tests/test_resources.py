"""What clients read by address: edits, their pictures, the tiers; in both eras of the protocol."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mcp_types as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from tests.at_home import ERAS, Era, at_home, begun, edited, read_text
from tests.clock import FakeClock
from tests.house import Api

from kontext_edit.addresses import picture_uri
from kontext_edit.resources import NO_SUCH_RESOURCE, tiers_document

pytestmark = pytest.mark.parametrize("era", ERAS)

NOT_FOUND = {"legacy": NO_SUCH_RESOURCE, "auto": types.INVALID_PARAMS}


async def listed(client: Client) -> list[types.Resource]:
    """Our own rows of `resources/list`."""
    resources = (await client.list_resources()).resources
    return [each for each in resources if each.uri.startswith("kontext://")]


def file(edit: dict[str, Any]) -> Path:
    """The first picture of an edit."""
    return Path(edit["images"][0]["path"])


def put_a_folder_at(path: Path) -> None:
    path.unlink()
    path.mkdir()


async def refused(client: Client, uri: str) -> MCPError:
    with pytest.raises(MCPError) as caught:
        await client.read_resource(uri)
    return caught.value


async def test_a_new_home_lists_tasks_and_tiers_and_says_how_the_rest_is_addressed(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        rows = await listed(client)
        templates = (await client.list_resource_templates()).resource_templates
    assert [each.uri for each in rows] == ["kontext://tasks", "kontext://tiers"]
    assert [each.uri_template for each in templates] == [
        "kontext://tasks/{id}",
        "kontext://pictures/{id}/{n}",
    ]
    assert all(each.title and each.description for each in (*rows, *templates))


async def test_listing_names_the_pictures_of_the_latest_edits_and_the_edits_under_way(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    api = Api(clock)
    async with at_home(environ, api, clock, era) as client:
        done = await edited(client, environ, tier="dev", num_images=2)
        api.seconds = 1000
        running = await begun(client, environ, prompt="Make it green", wait_seconds=1)
        rows = (await listed(client))[2:]
    first, second = done["images"]
    assert [each.uri for each in rows] == [
        f"kontext://tasks/{running['task_id']}",
        f"kontext://pictures/{done['task_id']}/1",
        f"kontext://pictures/{done['task_id']}/2",
    ]
    assert [each.size for each in rows[1:]] == [first["bytes"], second["bytes"]]
    assert {each.mime_type for each in rows[1:]} == {"image/png"}
    assert rows[1].title == "Make it blue"
    assert first["path"] in str(rows[1].description)


async def test_the_latest_edits_read_as_list_tasks_tells_them(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        await edited(client, environ)
        told = await client.call_tool("list_tasks", {"limit": 50})
        assert json.loads(await read_text(client, "kontext://tasks")) == told.structured_content


async def test_an_edit_reads_as_get_task_tells_it(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        edit = await edited(client, environ)
        child = await edited(client, environ, images=[f"task:{edit['task_id']}"])
        for task_id in (edit["task_id"], child["task_id"]):
            told = await client.call_tool("get_task", {"task_id": task_id})
            assert (
                json.loads(await read_text(client, f"kontext://tasks/{task_id}")) == told.structured_content
            )


async def test_several_edits_at_once_read_as_get_task_tells_them(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        batch = await begun(client, environ, prompt=None, prompts=["Make it blue", "Make it red"])
        told = await client.call_tool("get_task", {"task_id": batch["task_id"]})
        read = json.loads(await read_text(client, f"kontext://tasks/{batch['task_id']}"))
    assert read == told.structured_content


async def test_reading_an_edit_neither_waits_for_it_nor_counts_as_having_its_result(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    """An edit whose result never went out must still be given to whoever asks for it again."""
    api = Api(clock, seconds=5)
    async with at_home(environ, api, clock, era) as client:
        running = await begun(client, environ, wait_seconds=0)
        address = f"kontext://tasks/{running['task_id']}"
        assert json.loads(await read_text(client, address))["status"] in ("queued", "processing")
        await clock.sleep(60)
        assert json.loads(await read_text(client, address))["status"] == "succeeded"
        await clock.sleep(60)
        again = await begun(client, environ, wait_seconds=0)
    assert (again["task_id"], again["status"]) == ("t-1", "succeeded")
    assert len(api.bodies) == 1


async def test_a_picture_reads_in_full_as_it_stands_on_the_disk(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        edit = await edited(client, environ)
        (contents,) = (await client.read_resource(picture_uri(edit["task_id"], 1))).contents
    assert isinstance(contents, types.BlobResourceContents)
    assert contents.mime_type == "image/png"
    assert base64.b64decode(contents.blob) == file(edit).read_bytes()


async def test_a_picture_that_was_deleted_is_missed_in_words_and_no_longer_listed(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        edit = await edited(client, environ)
        file(edit).unlink()
        error = await refused(client, picture_uri(edit["task_id"], 1))
        rows = await listed(client)
    assert error.code == NOT_FOUND[era]
    assert f"{file(edit)} is no longer there." in error.message
    assert len(rows) == 2


async def test_a_picture_that_cannot_be_read_is_an_error_of_this_machine(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        edit = await edited(client, environ)
        put_a_folder_at(file(edit))
        error = await refused(client, picture_uri(edit["task_id"], 1))
    assert error.code == types.INTERNAL_ERROR
    assert f"{file(edit)} cannot be read" in error.message


async def test_the_tiers_read_as_tables_of_every_parameter_and_price(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        text = await read_text(client, "kontext://tiers")
    assert text == tiers_document()
    assert "| `pro` | 0.036 | 0.04 |" in text
    assert "| `num_inference_steps` | a whole number from 1 to 50, default 28 | – | – |" in text


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("kontext://nothing", "There are kontext://tasks, kontext://tiers"),
        ("file:///etc/passwd", "There is no resource"),
        ("kontext://tasks/t-99", "No edit with the id 't-99'"),
        ("kontext://tasks/batch-99", "No edit with the id 'batch-99'"),
        ("kontext://pictures/t-99/1", "No edit with the id 't-99'"),
        ("kontext://pictures/t-1/2", "has 1 pictures, so there is no '2'"),
        ("kontext://pictures/t-1/0", "so there is no '0'"),
        ("kontext://pictures/t-1/01", "so there is no '01'"),
    ],
)
async def test_what_does_not_exist_is_not_found_and_says_what_there_is(
    environ: dict[str, str], clock: FakeClock, era: Era, uri: str, said: str
) -> None:
    async with at_home(environ, Api(clock), clock, era) as client:
        await edited(client, environ)
        error = await refused(client, uri)
    assert error.code == NOT_FOUND[era]
    assert said in error.message
    assert error.data == {"uri": uri}


async def test_unusable_settings_are_told_and_the_tiers_are_still_there(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    async with at_home(environ, Api(clock), clock, era, KONTEXT_BUDGET_DAY_USD="much") as client:
        error = await refused(client, "kontext://tasks")
        text = await read_text(client, "kontext://tiers")
    assert error.code == types.INTERNAL_ERROR
    assert "KONTEXT_BUDGET_DAY_USD" in error.message
    assert text == tiers_document()


segments = st.one_of(
    st.text(max_size=20).map(lambda text: quote(text, safe="")),
    st.sampled_from(
        ["..", "%2e%2e", "..%2f..%2fsecret.txt", "%00", "t-1", "1", "secret.txt", "9" * 5000, "%ff%fe"]
    ),
)
uris = st.one_of(
    st.text(max_size=60),
    st.builds("kontext://{}/{}".format, st.sampled_from(["tasks", "pictures"]), segments),
    st.builds("kontext://pictures/{}/{}".format, segments, segments),
)


@settings(max_examples=150, database=None, deadline=None)
@given(asked=st.lists(uris, min_size=1))
def collect(into: list[str], asked: list[str]) -> None:
    into.extend(asked)


async def answer(client: Client, uri: str) -> Any:
    """What an address gives: the contents, or the code of the error."""
    try:
        (contents,) = (await client.read_resource(uri)).contents
    except MCPError as error:
        return error.code
    return contents


async def test_no_address_reaches_a_file_that_is_not_a_picture_of_the_journal(
    environ: dict[str, str], clock: FakeClock, era: Era
) -> None:
    """Whatever is asked for is a resource, or is not found; it is never a crash or another file."""
    asked: list[str] = []
    collect(asked)
    async with at_home(environ, Api(clock), clock, era) as client:
        edit = await edited(client, environ)
        file(edit).with_name("secret.txt").write_text("secret", encoding="utf-8")
        picture = file(edit).read_bytes()
        for uri in dict.fromkeys(asked):
            told = await answer(client, uri)
            if isinstance(told, types.BlobResourceContents):
                assert base64.b64decode(told.blob) == picture
            elif isinstance(told, types.TextResourceContents):
                assert "secret" not in told.text
            else:
                assert told == NOT_FOUND[era], uri
