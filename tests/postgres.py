"""A PostgreSQL server for the tests: private, started once by each process, with a database for each test.

`scripts/postgres.sh` brings what this needs; without it these tests are skipped, except in continuous
integration.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psycopg
import pytest
from pydantic import SecretStr

USER = "kontext"
PASSWORD = "secret-of-the-database"  # noqa: S105 - trusted anyway; it is looked for where it must not be
_SERVERS_USER = "postgres"
_START_SECONDS = 30
_PAUSE_SECONDS = 0.05


def program(name: str) -> Path | None:
    """One of PostgreSQL's programs, of the newest version that is there."""
    if found := shutil.which(name):
        return Path(found)
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: path.parts[-3])
    return installed[-1] if installed else None


class Cluster:
    """A server with its own folder. What a power cut would lose it may lose."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._server: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make its folder."""
        options = ["--no-sync", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C"]
        with (self.folder / "log").open("ab") as log:
            made = _started("initdb", *options, f"--pgdata={self._data}", output=log).wait()
        assert made == 0, (self.folder / "log").read_text()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 200,
            "shared_buffers": "32MB",
            "timezone": "Pacific/Kiritimati",  # days are those of the program, wherever the server lives
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (self.folder / "log").open("ab") as log:
            server = self._server = _started("postgres", "-D", str(self._data), *options, output=log)
        patience = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert server.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < patience, (self.folder / "log").read_text()
            time.sleep(_PAUSE_SECONDS)

    def stop(self) -> None:
        """Stop it at once, cutting every connection."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait()
            self._server = None

    def url(self, database: str) -> SecretStr:
        """Where one of its databases is."""
        return SecretStr(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}")

    def execute(self, statement: str) -> None:
        """Carry out a statement beside the databases of the tests."""
        with psycopg.connect(self.url("postgres").get_secret_value(), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def database(self) -> Generator[SecretStr]:
        """A fresh database, while it is needed."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def cluster() -> Generator[Cluster]:
    """A server of its own."""
    with tempfile.TemporaryDirectory(prefix="kontext-postgres-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, _SERVERS_USER, _SERVERS_USER)
        server = Cluster(folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Generator[Cluster]:
    """The server of this test process."""
    if program("initdb") is None:
        assert not os.environ.get("CI"), "continuous integration brings PostgreSQL: scripts/postgres.sh"
        pytest.skip("PostgreSQL is not here; scripts/postgres.sh brings it")
    with cluster() as server:
        yield server


@pytest.fixture
def database(postgres: Cluster) -> Generator[SecretStr]:
    """A database of the test's own."""
    with postgres.database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | SecretStr:
    """Where a journal can be, one engine after the other."""
    if request.param == "sqlite":
        return tmp_path / "home" / "journal.sqlite3"
    return request.getfixturevalue("database")


def _started(name: str, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """One of PostgreSQL's programs, which refuse to run as root."""
    found = program(name)
    assert found is not None
    user = _SERVERS_USER if os.geteuid() == 0 else None
    return subprocess.Popen(  # noqa: S603 - PostgreSQL
        [found, *arguments],
        stdout=output,
        stderr=output,
        cwd="/",
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
