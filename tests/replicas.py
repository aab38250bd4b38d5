"""A server for many as its operator runs it: replicas, PostgreSQL, a store, and a load balancer before them.

Every part is a process or a thread of its own; upstream is `tests.billing`.
"""

import asyncio
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr
from tests.billing import ROOT, Upstream
from tests.customers import Books, Era, whole_pictures
from tests.doors import bearer
from tests.house import painted
from tests.postgres import Cluster
from tests.round_robin import RoundRobin, round_robin
from tests.surroundings import machine_environ

from kontext_edit.journal.book import Journal
from kontext_edit.task import Picture, Task
from kontext_edit.tokens import EDIT, digest, new_token

REAL = ("-m", "kontext_edit", "serve", "--port", "0")
"""A replica as it is; others are `killable`."""

_STARTING_SECONDS = 60
_MOST_SECONDS = 60
_PAUSE_SECONDS = 0.05


def killable(pace: str, *point: str) -> tuple[str, ...]:
    """A replica that is quicker than a real one, and killed at a point, if one is named."""
    return "-m", "tests.killable_replica", pace, *point


@dataclass
class Replica:
    """One process, and where it listens."""

    process: subprocess.Popen[str]
    url: str = ""
    said: list[str] = field(default_factory=list[str])

    def kill(self) -> None:
        """Without a warning."""
        self.process.kill()
        self.process.wait()

    def ask_to_end(self) -> None:
        """As who wants to replace it does."""
        self.process.terminate()

    async def died(self) -> None:
        """Wait until it has."""
        await until(lambda: self.process.poll() is not None)


@dataclass
class Deployment:
    """One server for many."""

    folder: Path
    database: SecretStr
    upstream: Upstream
    proxy: RoundRobin
    environ: dict[str, str]
    processes: ExitStack
    tokens: dict[str, str]

    def start(self, *commands: tuple[str, ...]) -> list[Replica]:
        """Start replicas at the same moment; returns them when all listen. The proxy does not know them."""
        replicas = [Replica(self.processes.enter_context(self._process(command))) for command in commands]
        for replica in replicas:
            self._hear(replica)
        return replicas

    @asynccontextmanager
    async def client(self, name: str = "anna", era: Era = "auto", at: str = "") -> AsyncGenerator[Client]:
        """A client of somebody with a token; its requests go through the proxy, or to one address."""
        url = f"{at or self.proxy.url}/mcp"
        headers = bearer(self.tokens[name])
        async with (
            httpx2.AsyncClient(headers=headers, timeout=_MOST_SECONDS, trust_env=False) as http,
            Client(streamable_http_client(url, http_client=http), mode=era) as client,
        ):
            yield client

    def uploaded(self, name: str = "anna", colour: str = "red") -> str:
        """A small picture, sent in through the proxy; returns it as a source."""
        answer = httpx.post(
            f"{self.proxy.url}/uploads",
            content=painted(colour),
            headers=bearer(self.tokens[name]),
            trust_env=False,
            timeout=_MOST_SECONDS,
        )
        return answer.raise_for_status().json()["source"]

    def books(self, name: str = "anna") -> Books:
        """What somebody bought."""
        return Books(self.database, self.upstream, f"token:{name}")

    async def edits_when(self, condition: Callable[[list[Task]], bool], name: str = "anna") -> list[Task]:
        """Somebody's edits, as soon as something is so for them."""
        books = self.books(name)
        async with asyncio.timeout(_MOST_SECONDS):
            edits = await books.edits()
            while not condition(edits):
                await asyncio.sleep(_PAUSE_SECONDS)
                edits = await books.edits()
        return edits

    def pictures(self) -> set[str]:
        """The keys of all pictures in the store, which are whole."""
        store = self.folder / "store"
        return {path.relative_to(store).as_posix() for path in whole_pictures(store / "pictures")}

    def content(self, picture: Picture) -> bytes:
        """A picture as the store has it."""
        assert picture.key is not None
        return (self.folder / "store" / picture.key).read_bytes()

    @contextmanager
    def _process(self, command: tuple[str, ...]) -> Generator[subprocess.Popen[str]]:
        environ = {"PYTHONUTF8": "1", **machine_environ(), **self.environ}
        with subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, *command], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environ
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _hear(self, replica: Replica) -> None:
        """Wait until it says where it listens; what it says later is kept."""
        said = replica.process.stderr
        assert said is not None
        too_late = threading.Timer(_STARTING_SECONDS, replica.process.kill)
        too_late.start()
        first = said.readline()
        too_late.cancel()
        found = re.search(r"(http://\S+)/mcp", first)
        assert found is not None, first + said.read()
        replica.url = found[1]
        threading.Thread(target=_keep, args=[said, replica.said], daemon=True).start()


def _keep(said: IO[str], lines: list[str]) -> None:
    lines.extend(said)


@contextmanager
def deployed(
    folder: Path, cluster: Cluster, upstream: Upstream, *owners: str, **more: str
) -> Generator[Deployment]:
    """A server for many without a replica yet, which knows these owners, until the block ends."""
    with cluster.database() as database, round_robin() as proxy, ExitStack() as processes:
        environ = {
            "KONTEXT_AUTH": "tokens",
            "KONTEXT_DATABASE_URL": database.get_secret_value(),
            "KONTEXT_STORE_URL": (folder / "store").as_uri(),
            "KONTEXT_PUBLIC_URL": proxy.url,
            "KONTEXT_WEBHOOK": "off",
            "KONTEXT_HOME": str(folder / "home"),
            "KONTEXT_BUDGET_DAY_USD": "none",
            "KONTEXT_OWNER_EDITS_AT_ONCE": "1000",
            "KONTEXT_OWNER_EDITS_PER_MINUTE": "10000",
            "KONTEXT_OWNER_CALLS_AT_ONCE": "1000",
            "KONTEXT_PROVIDER": "novita",
            "NOVITA_API_KEY": "sk_play_money",
            "NOVITA_BASE_URL": upstream.url,
        }
        with ThreadPoolExecutor() as beside:  # a loop may be running here
            tokens = beside.submit(asyncio.run, _made_known(database, owners or ("anna",))).result()
        yield Deployment(folder, database, upstream, proxy, environ | more, processes, tokens)


async def _made_known(database: SecretStr, owners: tuple[str, ...]) -> dict[str, str]:
    journal = Journal(database)
    tokens = {name: new_token() for name in owners}
    for name, token in tokens.items():
        await journal.add_token(name, digest(token), (EDIT,), time.time())
    await journal.close()
    return tokens


def edit(prompt: str, source: str, wait_seconds: int = 20) -> dict[str, Any]:
    """The arguments of an edit that is small and quick."""
    return {
        "prompt": prompt,
        "images": [source],
        "tier": "dev",
        "size": "256*256",
        "wait_seconds": wait_seconds,
    }


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, and not for ever."""
    async with asyncio.timeout(_MOST_SECONDS):
        while not condition():  # noqa: ASYNC110 - of another process, which sets no event here
            await asyncio.sleep(_PAUSE_SECONDS)
