"""What the doors hand to the tools: settings at once, the parts when the first call needs them.

Everything heavy (HTTP, codecs, the journal, the sandbox) is imported with `app`, in a thread beside the
event loop: how fast a server starts is how fast its protocol library does.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from kontext_edit.clock import Clock, SystemClock
from kontext_edit.errors import KontextError
from kontext_edit.settings import Settings, read_settings

if TYPE_CHECKING:
    import httpx

    from kontext_edit.app import App
    from kontext_edit.editor import Editor
    from kontext_edit.journal.book import Journal

logger = logging.getLogger(__name__)

_RESUME_AFTER_SECONDS = 1.0
"""After the first exchange with the client, which nothing should slow down."""


class LazyWorkshop:
    """What the tools work with: the settings at once, the parts when the first call needs them."""

    def __init__(
        self,
        environ: Mapping[str, str],
        allow: Sequence[str],
        clock: Clock | None,
        transport: "httpx.AsyncBaseTransport | None",
    ) -> None:
        self._environ = environ
        self._allow = allow
        self._clock = clock or SystemClock()
        self._transport = transport
        self._opening = asyncio.Lock()
        self._settings: Settings | None = None
        self._app: App | None = None

    def settings(self) -> Settings:
        """The person's settings; raises InvalidSettings."""
        if self._settings is None:
            self._settings = read_settings(self._environ, self._allow)
        return self._settings

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    async def journal(self) -> "Journal":
        """The journal."""
        return (await self._opened()).journal

    async def editor(self) -> "Editor":
        """The editor."""
        return (await self._opened()).editor

    async def resume(self) -> None:
        """Soon after the start: look after what an earlier process left under way."""
        await self._clock.sleep(_RESUME_AFTER_SECONDS)
        try:
            if self.settings().journal_path.exists():
                await self._opened()
        except KontextError as error:
            logger.warning("%s", error)

    async def close(self) -> None:
        """Close the parts, where they were opened."""
        if self._app is not None:
            await self._app.close()
            self._app = None

    async def _opened(self) -> "App":
        """The parts. They are imported beside the event loop, which goes on serving."""
        async with self._opening:
            if self._app is None:
                self._app = await self._open()
                self._app.editor.open()
            return self._app

    async def _open(self) -> "App":
        settings = self.settings()
        module = await asyncio.to_thread(import_module, "kontext_edit.app")
        return module.open_app(settings, working_dir=Path.cwd(), clock=self._clock, transport=self._transport)
