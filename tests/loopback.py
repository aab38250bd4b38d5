"""A sandbox behind a real socket of this machine: real HTTP, served in a thread."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

import pytest
import uvicorn

from kontext_edit.clock import SystemClock
from kontext_edit.sandbox.api import Sandbox
from kontext_edit.sandbox.tasks import Immediate, Progression

_ENDING_SECONDS = 20


@dataclass(frozen=True, slots=True)
class LoopbackSandbox:
    """A sandbox that is being served, and where."""

    url: str
    sandbox: Sandbox

    @property
    def environ(self) -> dict[str, str]:
        """Settings that send edits there."""
        return {"KONTEXT_PROVIDER": "sandbox", "NOVITA_BASE_URL": self.url}


@contextmanager
def served(
    progression: Progression | None = None,
    *,
    keys: frozenset[str] | None = None,
    balance_usd: Decimal = Decimal(10_000),
) -> Generator[LoopbackSandbox]:
    """Serve a sandbox on a free port until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        sandbox = Sandbox(
            clock=SystemClock(),
            progression=progression or Immediate(),
            keys=keys,
            base_url=url,
            balance_usd=balance_usd,
        )
        config = uvicorn.Config(sandbox.app, lifespan="off", ws="none", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        # The port listens already: whoever connects before the server has started is served then.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield LoopbackSandbox(url, sandbox)
        finally:
            server.should_exit = True
            thread.join(_ENDING_SECONDS)
    assert not thread.is_alive(), "the server did not end"


@pytest.fixture(scope="session")
def loopback() -> Generator[LoopbackSandbox]:
    """One for all tests of a process; every edit is done as soon as it is accepted."""
    with served() as sandbox:
        yield sandbox
