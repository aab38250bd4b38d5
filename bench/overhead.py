"""What an edit costs in CPU time on this machine, against a bare script that does the least.

    python bench/overhead.py [--json]

Upstream is a sandbox on this machine in a process of its own: its time does not count. The script reads the
file, sends it as base64, asks once whether the edit is done, fetches the picture and writes it: it checks
nothing, fits nothing, shows nothing and forgets everything. So a second script is measured as well, which
does with Pillow what makes an edit usable: it fits the photograph to what the model takes, decodes the
result, and makes a preview. Each way makes some edits in turns, in one process, after a first that does not
count.

The last question leaves the pictures out: a link is the source and the result is tiny, so that what is left
is the journal, the watcher, the client. There upstream is a transport of this process, the same for both.
"""

import asyncio
import base64
import io
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from PIL import Image

from first_call import sandbox
from kontext_edit.app import App, open_app
from kontext_edit.clock import SystemClock
from kontext_edit.images.prepare import MAX_SIDE
from kontext_edit.settings import read_settings
from kontext_edit.tiers import TIERS
from parts import Person, environ, noisy, wanted
from report import Row, alone, ratios, told
from upstream import Upstream

MAX_RATIO = 1.3
ROUNDS = 4
EDITS = 4
"""Edits of one round, side by side, since the first question comes after a pause."""

MANY = 20
"""The same where there is little to do."""

TIER = "pro"
LINK = "https://pictures.example/source.jpg"
SOURCES = {"1 MP": (1152, 864), "12 MP": (4032, 3024)}

Edit = Callable[[str], Awaitable[object]]


class Scripts:
    """The two scripts that are compared with."""

    def __init__(self, url: str, photo: Path, folder: Path) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, headers={"Authorization": "Bearer sandbox"}, timeout=60
        )
        self._photo = photo
        self._folder = folder

    async def bare(self, prompt: str) -> None:
        """Submit, ask, fetch, write."""
        content = await self._edited(prompt, self._photo.read_bytes())
        (self._folder / f"{prompt}.png").write_bytes(content)

    async def careful(self, prompt: str) -> None:
        """The same, with what makes it usable."""
        content = await self._edited(prompt, await asyncio.to_thread(fitted, self._photo))
        await asyncio.to_thread(seen, content)
        (self._folder / f"{prompt}.png").write_bytes(content)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _edited(self, prompt: str, data: bytes) -> bytes:
        image = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        submitted = await self._client.post(TIERS[TIER].endpoint, json={"prompt": prompt, "images": [image]})
        task = submitted.raise_for_status().json()["task_id"]
        while True:
            await asyncio.sleep(0.2)
            answer = (await self._client.get("/v3/async/task-result", params={"task_id": task})).json()
            if answer["images"]:
                return (await self._client.get(answer["images"][0]["image_url"])).content


def fitted(path: Path) -> bytes:
    """A photograph at the model's size."""
    out = io.BytesIO()
    with Image.open(path) as picture:
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        picture.save(out, "JPEG", quality=92)
    return out.getvalue()


def seen(content: bytes) -> bytes:
    """A preview of a result that decodes completely."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        picture.thumbnail((512, 512))
        picture.save(out, "WEBP", quality=82)
    return out.getvalue()


async def with_us(app: App, photo: Path, prompt: str) -> None:
    """An edit of ours, from the call to the preview that its caller gets."""
    outcome = await app.editor.edit(wanted(str(photo), prompt=prompt, tier=TIER, wait_seconds=50), Person())
    if not outcome.task.settled or await app.editor.preview(outcome.task) is None:
        raise RuntimeError(f"an edit did not succeed: {outcome.task}")


async def cpu_ms(edit: Edit, name: str, edits: int = EDITS) -> float:
    """CPU milliseconds of one edit in this process, when some run side by side."""
    began = time.process_time()
    await asyncio.gather(*(edit(f"{name} {number}") for number in range(edits)))
    return 1000 * (time.process_time() - began) / edits


async def measure(url: str, folder: Path, size: tuple[int, int]) -> dict[str, list[float]]:
    """CPU milliseconds of each way, round by round."""
    settings = read_settings(environ(folder, KONTEXT_PROVIDER="sandbox", NOVITA_BASE_URL=url))
    app = open_app(settings, working_dir=folder)
    app.editor.open()
    photo = folder / "in" / "photo.jpg"
    noisy(size).save(photo, quality=90)
    scripts = Scripts(url, photo, folder)
    ways: dict[str, Edit] = {
        "us": lambda prompt: with_us(app, photo, prompt),
        "bare": scripts.bare,
        "careful": scripts.careful,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 + ROUNDS):
        for name, edit in ways.items():
            found[name].append(await cpu_ms(edit, f"{name} {number}"))
    await scripts.close()
    await app.close()
    return {name: values[1:] for name, values in found.items()}


async def measure_books(folder: Path) -> dict[str, list[float]]:
    """CPU milliseconds of an edit in which there is nothing to do with pictures."""
    clock = SystemClock()
    upstream = Upstream(clock, lambda _: 0.0, tiny())
    settings = read_settings(environ(folder, NOVITA_API_KEY="sk_bench"))
    app = open_app(settings, working_dir=folder, clock=clock, transport=upstream.transport)
    app.editor.open()
    client = httpx.AsyncClient(base_url="https://api.example", transport=upstream.transport)

    async def ours(prompt: str) -> None:
        await app.editor.edit(wanted(LINK, prompt=prompt, tier=TIER, wait_seconds=50), Person())

    async def bare(prompt: str) -> None:
        answer = await client.post(TIERS[TIER].endpoint, json={"prompt": prompt, "images": [LINK]})
        await asyncio.sleep(0.2)
        task = {"task_id": answer.json()["task_id"]}
        done = (await client.get("/v3/async/task-result", params=task)).json()
        content = (await client.get(done["images"][0]["image_url"])).content
        (folder / f"{prompt}.png").write_bytes(content)

    ways: dict[str, Edit] = {"us": ours, "bare": bare}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 + ROUNDS):
        for name, edit in ways.items():
            found[name].append(await cpu_ms(edit, f"{name} {number}", MANY))
    await client.aclose()
    await app.close()
    return {name: values[1:] for name, values in found.items()}


def tiny() -> bytes:
    """A picture that costs nothing to look at."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(out, "PNG")
    return out.getvalue()


def rows() -> list[Row]:
    """The answers."""
    found: list[Row] = []
    with sandbox() as url:
        for name, size in SOURCES.items():
            with tempfile.TemporaryDirectory() as folder:
                ways = asyncio.run(measure(url, Path(folder), size))
            question, ours = f"CPU of an edit of a {name} photograph", told(ways["us"], 0, "ms")
            for baseline, way, target in (
                ("a bare httpx script", "bare", MAX_RATIO),
                ("a script that also fits, verifies and shows", "careful", None),
            ):
                theirs = told(ways[way], 0, "ms")
                found.append(Row(question, ours, baseline, theirs, ratios(ways["us"], ways[way]), target))
    with tempfile.TemporaryDirectory() as folder:
        ways = asyncio.run(measure_books(Path(folder)))
    us, bare = ways["us"], ways["bare"]
    question = "CPU of an edit without its pictures"
    found.append(
        Row(question, told(us, 1, "ms"), "a bare httpx script", told(bare, 1, "ms"), ratios(us, bare), None)
    )
    return found


if __name__ == "__main__":
    alone(rows, __doc__ or "")
