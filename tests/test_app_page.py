"""The page in a real Chromium, inside an independent host: the MCP Inspector's web client.

`scripts/app-tools.sh` brings what this needs; without it these tests are skipped, except in continuous
integration. Pictures of what was seen are kept in `out/app`.
"""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, FrameLocator, expect
from tests.app_host import AXE, CHROMIUM, INSPECTOR, PROJECT, Host, browsing, inspecting
from tests.conftest import KEY
from tests.loopback import served

from kontext_edit.sandbox.tasks import AfterSeconds

COFFEE = PROJECT / "examples" / "coffee.png"
EDIT = {"prompt": "Make it dusk", "images": [str(COFFEE)], "tier": "dev", "num_images": 2, "seed": 7}
SANDBOX = {"KONTEXT_PROVIDER": "sandbox"}


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    needed = {"the inspector": INSPECTOR.exists(), "axe-core": AXE.exists(), "Chromium": bool(CHROMIUM)}
    missing = [name for name, there in needed.items() if not there]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{', '.join(missing)} not here; scripts/app-tools.sh brings it")
    assert not missing, f"continuous integration brings {missing}: run scripts/app-tools.sh first"
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def host(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Generator[Host]:
    with inspected(browser, tmp_path_factory.mktemp("page"), "legacy", SANDBOX) as host:
        yield host


@contextmanager
def inspected(browser: Browser, folder: Path, era: str, provider: dict[str, str]) -> Generator[Host]:
    """The host, with a server of ours whose files are in `folder`; in the end nothing may have gone wrong."""
    environ = {
        "KONTEXT_HOME": str(folder / "home"),
        "KONTEXT_OUTPUT_DIR": str(folder / "out"),
        "KONTEXT_ALLOWED_DIRS": str(COFFEE.parent),
    }
    with inspecting(browser, environ | provider, folder, era) as host:
        yield host
    assert host.faults == []
    assert host.outside == []


@pytest.fixture
def app(host: Host) -> FrameLocator:
    """The page with an edit of two variants, after its progress was seen."""
    host.call("Edit a picture", EDIT | {"force_new": True})
    running(host.app, "Kontext dev edits: Make it dusk")
    host.shoot("progress")
    finished(host.app, "dusk (dev)")
    return host.app


def running(app: FrameLocator, words: str) -> None:
    """The page shows that an edit runs, and how far it is."""
    expect(app.locator("#doing")).to_have_text(re.compile(rf"{re.escape(words)} \([1-9]\d?\s%\)"))
    percent = app.get_by_role("progressbar", name="Progress of the edit").evaluate("(bar) => bar.value")
    assert 0 < percent < 100


def finished(app: FrameLocator, name: str) -> None:
    """The page shows a picture of this name, beside the one before."""
    expect(app.locator("#path")).to_have_text(re.compile(re.escape(name)))
    expect(app.locator("#canvas")).to_be_visible()
    expect(app.locator("main")).to_have_attribute("aria-busy", "false")
    expect(app.get_by_role("slider")).to_be_visible()


def brightness(app: FrameLocator, x: float) -> float:
    """How bright the stage is around a place from its left (0) to its right (1) edge."""
    return app.locator("#canvas").evaluate(
        """(canvas, x) => {
            const [column, row] = [canvas.width * x, canvas.height / 4].map(Math.round);
            const { data } = canvas.getContext("2d").getImageData(column - 5, row, 10, canvas.height / 2);
            return data.reduce((sum, value) => sum + value, 0) / data.length;
        }""",
        x,
    )


def test_mouse_and_keyboard_compare_zoom_and_show_the_difference(host: Host, app: FrameLocator) -> None:
    slider, stage = app.get_by_role("slider", name="Before and after"), app.locator("#canvas")
    expect(slider).to_have_attribute("aria-valuetext", "50 percent before, 50 percent after")
    before_and_after = brightness(app, 0.3), brightness(app, 0.7)
    box = stage.bounding_box()
    assert box is not None
    mouse, middle = host.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + box["width"] / 2, middle)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.8, middle, steps=5)
    mouse.up()
    expect(slider).to_have_attribute("aria-valuetext", "80 percent before, 20 percent after")
    assert brightness(app, 0.3) == before_and_after[0]
    assert brightness(app, 0.7) != before_and_after[1]
    host.shoot("slider")
    slider.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "79 percent before, 21 percent after")
    slider.press("Home")
    level = app.locator("#zoom-fit")
    stage.focus()
    before = brightness(app, 0.7)
    stage.press("d")
    expect(app.get_by_role("button", name="Difference")).to_have_attribute("aria-pressed", "true")
    assert brightness(app, 0.7) != before
    host.shoot("difference")
    stage.press("d")
    assert brightness(app, 0.7) == before
    stage.press("+")
    expect(level).to_have_text("125 %")
    stage.press("ArrowRight")
    stage.hover()
    host.page.mouse.wheel(0, -300)
    expect(level).not_to_have_text("125 %")
    host.shoot("zoomed")
    stage.press("0")
    expect(level).to_have_text("100 %")


def test_variants_and_the_numbers_of_an_edit_are_shown(host: Host, app: FrameLocator) -> None:
    expect(app.get_by_role("heading", name="“Make it dusk”")).to_be_visible()
    numbers = app.locator("#numbers")
    for words in ("Tierdev", "Seed7", "Price0 USD (sandbox; list price 0.045 USD)", "600 × 400"):
        expect(numbers).to_contain_text(words)
    first = app.locator("#path").inner_text()
    second = app.get_by_role("button", name="Variant 2")
    second.click()
    expect(second).to_have_attribute("aria-pressed", "true")
    expect(app.locator("#path")).to_have_text(first.replace("-1.", "-2."))
    app.get_by_role("button", name="Copy path").click()
    expect(app.get_by_role("button", name="Copied")).to_be_visible()
    assert host.copied() == app.locator("#path").inner_text()
    host.widen(1200)
    host.shoot("light-1200")
    assert host.findings() == []
    host.darken()
    host.shoot("dark-1200")
    assert host.findings() == []
    host.widen(360)
    assert app.locator("html").evaluate("(root) => root.scrollWidth") == 360
    host.shoot("dark-360")
    assert host.findings() == []
    host.darken()
    host.shoot("light-360")
    assert host.findings() == []


def test_a_refinement_goes_on_from_the_picture_and_can_be_taken_back(host: Host, app: FrameLocator) -> None:
    app.get_by_role("textbox").fill("Now make it black and white")
    app.get_by_role("textbox").press("Enter")
    running(app, "Kontext dev edits: Now make it black and white")
    host.shoot("refining")
    finished(app, "black white (dev)")
    host.shoot("refined")
    refined: str = app.locator("main").evaluate("() => state.edit.told.task_id")
    app.get_by_role("button", name="Back one step").click()
    finished(app, "dusk (dev)")
    app.get_by_role("button", name="Same on Max").click()
    running(app, "Kontext max edits: Make it dusk")
    finished(app, "dusk (max)")
    first = app.locator("#path").inner_text()
    app.get_by_role("button", name="Another take").click()
    expect(app.locator("#path")).not_to_have_text(first)
    finished(app, "dusk (max)")
    host.call("Get an edit's result", {"task_id": refined})
    finished(app, "black white (dev)")
    app.get_by_role("button", name="Back one step").click()
    finished(app, "dusk (dev)")


def test_a_dropped_picture_is_uploaded_and_edited(host: Host, tmp_path: Path) -> None:
    host.call("Get an edit's result", {"task_id": "nobody-knows"})
    app = host.app
    expect(app.get_by_role("alert")).to_contain_text("Not done: no such task")
    expect(app.get_by_role("alert")).to_contain_text("Nothing was billed.")
    host.shoot("error")
    assert host.findings() == []
    note = tmp_path / "note.txt"
    note.write_text("no picture", encoding="utf-8")
    host.hand_over("drop", note, "text/plain")
    expect(app.get_by_role("alert")).to_contain_text("there is no picture inside")
    photo = tmp_path / "garden.jpg"
    Image.effect_mandelbrot((640, 480), (-2, -1, 1, 1), 60).convert("RGB").save(photo)
    host.hand_over("drop", photo, "image/jpeg")
    expect(app.locator("#upload-name")).to_have_text("garden.jpg, 640 × 480")
    expect(app.get_by_role("alert")).to_be_hidden()
    host.shoot("uploaded")
    assert host.findings() == []
    app.get_by_role("textbox").fill("Make it warmer")
    app.get_by_role("button", name="Edit this picture").click()
    running(app, "Kontext pro edits: Make it warmer")
    finished(app, "warmer (pro)")
    host.shoot("upload-edited")


def test_a_picture_can_be_picked_or_pasted_too_and_given_up_again(host: Host, tmp_path: Path) -> None:
    host.call("Get an edit's result", {"task_id": "nobody-knows"})
    app = host.app
    with host.page.expect_file_chooser() as choosing:
        app.get_by_role("button", name="Another picture").click()
    choosing.value.set_files(COFFEE)
    expect(app.locator("#upload-name")).to_have_text("coffee.png, 600 × 400")
    app.get_by_role("button", name="Remove this picture").click()
    expect(app.locator("#upload-name")).to_be_hidden()
    expect(app.get_by_role("button", name="Refine")).to_be_disabled()
    large = tmp_path / "large.png"
    Image.effect_noise((2600, 2600), 60).save(large)
    host.hand_over("paste", large, "image/png")
    expect(app.locator("#upload-name")).to_have_text("large.png, 1568 × 1568")


def test_edits_of_one_call_are_shown_side_by_side(host: Host) -> None:
    prompts = ["Make it dusk", "Make it sepia", "Make it a pencil sketch"]
    host.call("Edit a picture", {"prompts": prompts, "images": [str(COFFEE)]})
    app = host.app
    running(app, "Kontext pro edits: 3 pictures")
    finished(app, "dusk (pro)")
    third = app.get_by_role("button", name=prompts[2])
    third.click()
    finished(app, "pencil sketch (pro)")
    expect(third).to_have_attribute("aria-pressed", "true")
    expect(app.get_by_role("heading", name=f"“{prompts[2]}”")).to_be_visible()
    host.shoot("batch")
    assert host.findings() == []


def test_a_client_of_2026_07_28_is_told_prices_and_that_its_host_passes_no_question_on(
    browser: Browser, tmp_path: Path
) -> None:
    paid = {"KONTEXT_PROVIDER": "novita", "NOVITA_API_KEY": KEY, "KONTEXT_CONFIRM_ABOVE_USD": "0.05"}
    with (
        served(AfterSeconds(2)) as api,
        inspected(browser, tmp_path, "modern", paid | {"NOVITA_BASE_URL": api.url}) as host,
    ):
        app = host.app
        host.call("Edit a picture", {"prompt": "Make it dusk", "images": [str(COFFEE)]})
        running(app, "Kontext pro edits: Make it dusk")
        finished(app, "dusk (pro)")
        app.get_by_role("textbox").fill("Now make it black and white")
        app.get_by_role("button", name="Refine · 0.036 USD").click()
        running(app, "Kontext pro edits: Now make it black and white")
        finished(app, "black white (pro)")
        expect(app.get_by_role("button", name="Another take · 0.036 USD")).to_be_enabled()
        app.get_by_role("button", name="Same on Max · 0.072 USD").click()
        expect(app.get_by_role("alert")).to_contain_text("this host does not pass the question on")
        expect(app.get_by_role("alert")).to_contain_text("Nothing was billed.")
        host.shoot("not-asked")
