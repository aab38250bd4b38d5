"""The composition root: the one place where the parts are built and joined.

Importing this module brings HTTP, codecs and the journal; a server does so at the first call that needs
them, and so starts as fast as its protocol library does.
"""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr

from kontext_edit.clock import Clock, SystemClock
from kontext_edit.editor import Editor, Sharing
from kontext_edit.fetcher import Fetcher
from kontext_edit.gallery import Gallery
from kontext_edit.images.local import Folders
from kontext_edit.images.prepare import Studio
from kontext_edit.images.sources import Finder
from kontext_edit.journal.book import Journal
from kontext_edit.novita import Novita
from kontext_edit.pace import Pacemaker
from kontext_edit.settings import Settings
from kontext_edit.store.inbox import Inbox
from kontext_edit.store.links import SignedLinks
from kontext_edit.store.opening import open_store
from kontext_edit.store.place import Store
from kontext_edit.store.recall import recall_from
from kontext_edit.telemetry import NO_MEASURES, Measures, Observer
from kontext_edit.turnstile import Turnstile
from kontext_edit.webhook import Webhook, deployment_secret

if TYPE_CHECKING:
    from kontext_edit.sandbox.api import Sandbox

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
    store: Store
    gallery: Gallery
    inbox: Inbox
    editor: Editor
    fetcher: Fetcher | None
    webhook: Webhook | None
    sandbox: "Sandbox | None"
    """Where this process is its own upstream."""
    secret: bytes
    """What all replicas of a server share, and nobody else knows; empty for one person's."""

    async def close(self) -> None:
        """Stop watching, close the connections, let go of the journal."""
        await self.editor.close()
        await self.novita.close()
        await self.gallery.close()
        if self.fetcher is not None:
            await self.fetcher.close()
        if self.sandbox is not None:
            await self.sandbox.close()
        await self.journal.close()


@dataclass(frozen=True, slots=True)
class _Upstream:
    """Where edits go: the API, or the sandbox inside this process."""

    base_url: str
    key: SecretStr
    transport: httpx.AsyncBaseTransport | None
    sandbox: "Sandbox | None" = None


def open_journal(settings: Settings, *, private: bool = False) -> Journal:
    """The journal that the settings name: a database that replicas share, or a file of this machine.

    Args:
        settings: the person's or the operator's.
        private: whether callers are elsewhere, and are not told where a file is.

    Raises:
        InvalidSettings: the driver of the database is not installed.
    """
    return Journal(settings.serving.database_url or settings.journal_path, private=private)


def open_app(
    settings: Settings,
    *,
    working_dir: Path,
    clock: Clock | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> App:
    """Build the parts of one person's server.

    `editor.open()` begins to look after what an earlier process left under way.

    Args:
        settings: the person's.
        working_dir: where relative sources are looked for first.
        clock: the seam for time; None is the machine's.
        transport: the seam for HTTP; None is the network, or the embedded sandbox.
    """
    clock = clock or SystemClock()
    upstream = _upstream(settings, clock, transport)
    serving, journal = settings.serving, open_journal(settings)
    # A store in a folder is for callers elsewhere; here pictures are files already.
    shared = serving.store_url if not (serving.store_url or "").startswith("file:") else None
    store = _store(settings, shared, clock)
    finder = Finder(
        local=Folders(settings.allowed_dirs, working_dir), recall=recall_from(journal, store), uploads=store
    )
    novita = Novita(upstream.base_url, upstream.key, clock, upstream.transport)
    # Whoever hands in a transport, or has no key, is on no network.
    fetcher = _fetcher(settings) if upstream.transport is None else None
    return _joined(
        settings,
        upstream,
        journal=journal,
        novita=novita,
        store=store,
        finder=finder,
        clock=clock,
        observer=Observer(clock),
        sharing=Sharing(fetcher=fetcher),
    )


async def open_for_many(
    settings: Settings,
    *,
    address: str,
    clock: Clock | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    measures: Measures = NO_MEASURES,
) -> App:
    """Build the parts of a server for callers elsewhere; with one database, all replicas are one server.

    Args:
        settings: the operator's.
        address: where this process listens, for when no public URL is set.
        clock: the seam for time; None is the machine's.
        transport: the seam for HTTP; None is the network, or the embedded sandbox.
        measures: what counts.
    """
    clock = clock or SystemClock()
    upstream = _upstream(settings, clock, transport)
    serving, journal = settings.serving, open_journal(settings, private=True)
    journal.on_failure.append(measures.database_failed)
    secret = await deployment_secret(journal)
    public_url = serving.public_url or address
    url = serving.store_url or (settings.home / "store").as_uri()
    store = _store(settings, url, clock, SignedLinks(public_url, secret, clock))
    finder = Finder(
        local=None, recall=recall_from(journal, store), uploads=store, uploads_url=f"{public_url}/uploads"
    )
    novita = Novita(
        upstream.base_url,
        upstream.key,
        clock,
        upstream.transport,
        pace=Pacemaker(clock, journal),
        measures=measures,
    )
    observer = Observer(clock, measures, replica=socket.gethostname(), log_prompts=serving.log_prompts)
    sharing = Sharing(
        turnstile=Turnstile(),
        webhook=Webhook(public_url, secret) if serving.webhook and upstream.sandbox is None else None,
        fetcher=_fetcher(settings),
    )
    return _joined(
        settings,
        upstream,
        journal=journal,
        novita=novita,
        store=store,
        finder=finder,
        clock=clock,
        observer=observer,
        sharing=sharing,
        secret=secret,
    )


def _joined(  # noqa: PLR0913 - what differs between one person's server and one for many
    settings: Settings,
    upstream: _Upstream,
    *,
    journal: Journal,
    novita: Novita,
    store: Store,
    finder: Finder,
    clock: Clock,
    observer: Observer,
    sharing: Sharing,
    secret: bytes = b"",
) -> App:
    gallery = Gallery(store, base_url=upstream.base_url, transport=upstream.transport)
    editor = Editor(
        settings=settings,
        journal=journal,
        studio=Studio(finder),
        novita=novita,
        gallery=gallery,
        clock=clock,
        observer=observer,
        sharing=sharing,
    )
    return App(
        settings=settings,
        journal=journal,
        novita=novita,
        store=store,
        gallery=gallery,
        inbox=Inbox(store),
        editor=editor,
        fetcher=sharing.fetcher,
        webhook=sharing.webhook,
        sandbox=upstream.sandbox,
        secret=secret,
    )


def _upstream(settings: Settings, clock: Clock, transport: httpx.AsyncBaseTransport | None) -> _Upstream:
    if not settings.embedded_sandbox:
        return _Upstream(settings.base_url, settings.api_key or _SANDBOX_KEY, transport)
    if transport is not None:
        return _Upstream(_SANDBOX_URL, _SANDBOX_KEY, transport)
    # Its own validator is slow to import, and whoever has a key never needs it.
    from kontext_edit.sandbox.api import Sandbox  # noqa: PLC0415 - as above
    from kontext_edit.sandbox.tasks import AfterSeconds  # noqa: PLC0415 - as above

    sandbox = Sandbox(clock=clock, progression=AfterSeconds(_SANDBOX_SECONDS), base_url=_SANDBOX_URL)
    return _Upstream(_SANDBOX_URL, _SANDBOX_KEY, httpx.ASGITransport(app=sandbox.app), sandbox)


def _store(settings: Settings, url: str | None, clock: Clock, links: SignedLinks | None = None) -> Store:
    return open_store(
        url,
        pictures=settings.output_dir,
        uploads=settings.uploads_dir,
        links=links,
        link_seconds=settings.serving.link_seconds,
        clock=clock,
    )


def _fetcher(settings: Settings) -> Fetcher | None:
    return Fetcher() if settings.serving.fetch_links else None
