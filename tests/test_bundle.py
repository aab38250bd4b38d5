"""The bundle, packed by the official tool, edits a picture from an empty folder, as in a desktop application.

`make bundle` brings the tool; without it these tests are skipped, except in continuous integration.
"""

import os
import zipfile
from pathlib import Path

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from PIL import Image
from scripts.bundle import pack, read_manifest, server_in, tool_is_here, unpack
from tests.pictures import PHOTOGRAPH
from tests.surroundings import machine_environ

NEEDED = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "docs",
    "examples",
    "manifest.json",
    "pyproject.toml",
    "src",
    "uv.lock",
}
"""What the server is built and run from, and what a person may want to read."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh bundle."""
    if not tool_is_here() and not os.environ.get("CI"):
        pytest.skip("the bundles' official tool is not here; `make bundle` brings it")
    assert tool_is_here(), "continuous integration brings the bundles' tool: run `make bundle` first"
    file = tmp_path_factory.mktemp("dist") / "kontext-edit.mcpb"
    pack(file)
    return file


@pytest.fixture(scope="module")
def unpacked(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was empty before the bundle was unpacked into it."""
    folder = tmp_path_factory.mktemp("unpacked")
    unpack(bundle, folder)
    return folder


@pytest.fixture
def server(unpacked: Path, tmp_path: Path) -> StdioServerParameters:
    """The bundle's server, for a person who chose folders and left the key and the budget alone."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "coffee.png").write_bytes(PHOTOGRAPH.read_bytes())
    application = machine_environ() | {"KONTEXT_HOME": str(tmp_path / "home"), "UV_PYTHON_DOWNLOADS": "never"}
    chosen = {
        "allowed_folders": [str(tmp_path / "photos"), str(tmp_path)],
        "output_folder": str(tmp_path / "edited"),
    }
    return server_in(unpacked, chosen, application)


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_the_unpacked_bundle_edits_a_picture_on_its_sandbox(
    server: StdioServerParameters, tmp_path: Path, era: str
) -> None:
    async with Client(server, mode=era) as client:
        edit = {"prompt": "Make it black and white", "images": ["coffee.png"]}
        result = await client.call_tool("edit_image", edit)
    told = result.structured_content
    assert (told["status"], told["provider"], told["cost_usd"]) == ("succeeded", "sandbox", "0")
    path = Path(told["images"][0]["path"])
    assert path.parent == tmp_path / "edited"
    with Image.open(path) as picture:
        picture.load()
        assert picture.size == (told["images"][0]["width"], told["images"][0]["height"])


async def test_the_unpacked_bundle_lists_the_tools_that_its_manifest_names(
    server: StdioServerParameters, unpacked: Path
) -> None:
    async with Client(server) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
    assert listed == [tool["name"] for tool in read_manifest(unpacked)["tools"]]


def test_the_bundle_holds_what_the_server_needs_and_nothing_of_the_workshop(bundle: Path) -> None:
    names = zipfile.ZipFile(bundle).namelist()
    assert {name.partition("/")[0] for name in names} == NEEDED
    assert not [name for name in names if "__pycache__" in name]
    assert bundle.stat().st_size < 1_000_000


def test_the_bundle_shows_an_icon_of_the_size_that_applications_want(unpacked: Path) -> None:
    with Image.open(unpacked / read_manifest(unpacked)["icon"]) as icon:
        assert (icon.format, icon.size) == ("PNG", (512, 512))
