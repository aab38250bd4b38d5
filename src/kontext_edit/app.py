"""The composition root: the one place where the parts are built and joined.

Importing this module brings HTTP, codecs and the journal; a server does so at the first call that needs
them, and so starts as fast as its protocol library does.
"""

from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from kontext_edit.clock import Clock, SystemClock
from kontext_edit.editor import Editor
from kontext_edit.errors import PictureRefused
from kontext_edit.gallery import Gallery
from kontext_edit.images.prepare import Studio
from kontext_edit.images.sources import Finder, Recall, Recalled
from kontext_edit.journal.book import Journal
from kontext_edit.novita import Novita
from kontext_edit.sandbox.api import Sandbox
from kontext_edit.sandbox.tasks import AfterSeconds
from kontext_edit.settings import Settings

_SANDBOX_SECONDS = 2.0
"""How long the embedded sandbox takes for an edit, so that progress can be seen."""
_SANDBOX_URL = "http://localhost"
_SANDBOX_KEY = SecretStr("sandbox")


@dataclass(frozen=True, slots=True)
class App:
    """The parts, joined."""

    settings: Settings
    journal: Journal
    novita: Novita
    gallery: Gallery
    editor: Editor

    async def close(self) -> None:
        """Stop watching, close the connections, let go of the journal."""
        await self.editor.close()
        await self.novita.close()
        await self.gallery.close()
        await self.journal.close()


def open_app(
    settings: Settings,
    *,
    working_dir: Path,
    clock: Clock | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> App:
    """Build the parts. `editor.open()` begins to look after what an earlier process left under way.

    Args:
        settings: the person's.
        working_dir: where relative sources are looked for first.
        clock: the seam for time; None is the machine's.
        transport: the seam for HTTP; None is the network, or the embedded sandbox.
    """
    clock = clock or SystemClock()
    base_url = settings.base_url
    if settings.embedded_sandbox:
        base_url = _SANDBOX_URL
        transport = transport or _embedded_sandbox(clock)
    journal = Journal(settings.journal_path)
    novita = Novita(base_url, settings.api_key or _SANDBOX_KEY, clock, transport)
    gallery = Gallery(settings.output_dir, base_url=base_url, transport=transport)
    finder = Finder(
        allowed=settings.allowed_dirs,
        folder=working_dir,
        recall=_recall_from(journal),
        uploads=settings.uploads_dir,
    )
    editor = Editor(
        settings=settings,
        journal=journal,
        studio=Studio(finder),
        novita=novita,
        gallery=gallery,
        clock=clock,
    )
    return App(settings, journal, novita, gallery, editor)


def _recall_from(journal: Journal) -> Recall:
    """How the sources `last`, `task:<id>` and `task:<id>#2` find earlier results."""

    async def recall(task_id: str | None, number: int) -> Recalled:
        task = await journal.last() if task_id is None else await journal.get(task_id)
        if task is None:
            raise PictureRefused("There is no earlier result yet.", "Name a picture by its path or URL.")
        if not 1 <= number <= len(task.pictures):
            raise PictureRefused(
                f"The task {task.handle} has {len(task.pictures)} pictures, so there is no #{number}.",
                "" if task.settled else "Call get_task to see how far it is.",
            )
        return Recalled(task.pictures[number - 1].path, task.handle, number)

    return recall


def _embedded_sandbox(clock: Clock) -> httpx.AsyncBaseTransport:
    sandbox = Sandbox(clock=clock, progression=AfterSeconds(_SANDBOX_SECONDS), base_url=_SANDBOX_URL)
    return httpx.ASGITransport(app=sandbox.app)
