"""What the doors hand to the tools: settings at once, the parts when the first call needs them.

Everything heavy (HTTP, codecs, the journal, the sandbox) is imported with `app`, in a thread beside the
event loop: how fast a server starts is how fast its protocol library does.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from kontext_edit.clock import Clock, SystemClock
from kontext_edit.errors import KontextError
from kontext_edit.settings import Settings, read_settings

if TYPE_CHECKING:
    import httpx

    from kontext_edit.app import App
    from kontext_edit.editor import Editor
    from kontext_edit.gallery import Gallery
    from kontext_edit.journal.book import Journal
    from kontext_edit.store.inbox import Inbox

logger = logging.getLogger(__name__)

_RESUME_AFTER_SECONDS = 1.0
"""After the first exchange with the client, which nothing should slow down."""


class _Parts(ABC):
    """The parts, however they come to be opened."""

    remote: ClassVar[bool]
    """Whether callers are elsewhere: then no file of this machine is read for them or told to them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @abstractmethod
    def settings(self) -> Settings:
        """The settings; raises InvalidSettings."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    async def journal(self) -> "Journal":
        """The journal."""
        return (await self._opened()).journal

    async def editor(self) -> "Editor":
        """The editor."""
        return (await self._opened()).editor

    async def gallery(self) -> "Gallery":
        """The finished pictures."""
        return (await self._opened()).gallery

    async def inbox(self) -> "Inbox":
        """Where pictures go that come as bytes."""
        return (await self._opened()).inbox

    @abstractmethod
    async def resume(self) -> None:
        """Look after what an earlier process left under way."""

    @abstractmethod
    async def close(self) -> None:
        """Close the parts, where they were opened."""

    @abstractmethod
    async def _opened(self) -> "App":
        """The parts."""


class LazyWorkshop(_Parts):
    """One person's: the settings at once, the parts when the first call needs them."""

    remote = False

    def __init__(
        self,
        environ: Mapping[str, str],
        allow: Sequence[str],
        clock: Clock | None,
        transport: "httpx.AsyncBaseTransport | None",
    ) -> None:
        super().__init__(clock or SystemClock())
        self._environ = environ
        self._allow = allow
        self._transport = transport
        self._opening = asyncio.Lock()
        self._settings: Settings | None = None
        self._app: App | None = None

    def settings(self) -> Settings:
        """The person's settings; raises InvalidSettings."""
        if self._settings is None:
            self._settings = read_settings(self._environ, self._allow)
        return self._settings

    async def resume(self) -> None:
        """Soon after the start: look after what an earlier process left under way."""
        await self._clock.sleep(_RESUME_AFTER_SECONDS)
        try:
            settings = self.settings()
            if settings.serving.database_url or settings.journal_path.exists():
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
        if settings.embedded_sandbox:
            await asyncio.to_thread(import_module, "kontext_edit.sandbox.api")
        return module.open_app(settings, working_dir=Path.cwd(), clock=self._clock, transport=self._transport)


class OpenWorkshop(_Parts):
    """A server's for many, whose parts were opened before it began to listen."""

    remote = True

    def __init__(self, app: "App", clock: Clock) -> None:
        super().__init__(clock)
        self._app = app

    def settings(self) -> Settings:
        """The operator's settings."""
        return self._app.settings

    async def resume(self) -> None:
        """Look after what other processes left under way, from now on."""
        self._app.editor.open()

    async def close(self) -> None:
        """Close the parts."""
        await self._app.close()

    async def _opened(self) -> "App":
        return self._app
