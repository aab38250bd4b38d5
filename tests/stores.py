"""Stores of every kind for tests: folders, a folder as an object store, and a real S3 protocol server."""

import asyncio
import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import LocalStore
from tests.clock import FakeClock

from kontext_edit.store.links import SignedLinks
from kontext_edit.store.opening import open_store
from kontext_edit.store.place import Store
from kontext_edit.task import Picture

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta, PutResult

PUBLIC_URL = "https://edits.example"
SECRET = b"the deployment's secret"
LINK_SECONDS = 600

FAKE_KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "recognisable-secret",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@contextmanager
def s3_server() -> Generator[str]:
    """A server that speaks S3, on a free port of this machine; gives its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def bucket_on(address: str, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket on such a server, and the environment that leads there; gives its URL."""
    for variable, value in FAKE_KEYS.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    bucket = hashlib.sha256(name.encode()).hexdigest()[:32]
    httpx.put(f"{address}/{bucket}").raise_for_status()
    return f"s3://{bucket}/of the team"


def links(clock: FakeClock) -> SignedLinks:
    return SignedLinks(PUBLIC_URL, SECRET, clock)


def opened_store(url: str | None, folder: Path, clock: FakeClock) -> Store:
    """The store at a URL, or in folders."""
    return open_store(
        url,
        pictures=folder / "pictures",
        uploads=folder / "uploads",
        links=links(clock),
        link_seconds=LINK_SECONDS,
        clock=clock,
    )


class FolderInThreads(LocalStore):
    """A folder as an object store, working in the event loop's own threads, which a test clock sees."""

    async def put_async(self, *arguments: Any, **options: Any) -> "PutResult":
        return await asyncio.to_thread(super().put, *arguments, **options)

    async def get_async(self, *arguments: Any, **options: Any) -> "GetResult":
        return await asyncio.to_thread(super().get, *arguments, **options)

    async def head_async(self, *arguments: Any, **options: Any) -> "ObjectMeta":
        return await asyncio.to_thread(super().head, *arguments, **options)


def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let folders that are object stores work so."""

    def opened(url: str, **_options: object) -> LocalStore:
        return FolderInThreads(unquote(url.removeprefix("file://")), mkdir=True)

    monkeypatch.setattr("kontext_edit.store.bucket.from_url", opened)


def kept(path: Path | None, key: str | None, content: bytes, form: str = "png") -> Picture:
    """A picture as the journal knows it."""
    digest = hashlib.sha256(content).hexdigest()
    return Picture(path, 64, 48, form, len(content), digest, None, key)
