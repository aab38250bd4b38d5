"""`kontext-edit serve` as a process of its own on a free port of this machine."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.surroundings import machine_environ

SERVE = (sys.executable, "-m", "kontext_edit", "serve", "--port", "0")


@dataclass
class HttpServer:
    """A server that listens, and what it said after it was stopped."""

    url: str
    process: subprocess.Popen[str]
    stop_with: signal.Signals
    last_words: str = ""

    def stop(self) -> None:
        """Ask it to stop, and see that it does."""
        assert self.process.stderr is not None
        self.process.send_signal(self.stop_with)
        self.last_words = self.process.stderr.read()
        assert self.process.wait() == (0 if self.stop_with is signal.SIGINT else -self.stop_with)


@contextmanager
def http_server(
    environ: dict[str, str], command: Sequence[str] = SERVE, *, stop: signal.Signals = signal.SIGINT
) -> Generator[HttpServer]:
    """Serve until the block ends; then it is asked to stop, and has to do so."""
    environ = {"PYTHONUTF8": "1", **machine_environ(), **environ}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as process:  # noqa: S603 - ourselves
        killer = threading.Timer(300, process.kill)
        killer.start()
        try:
            assert process.stderr is not None
            found = re.search(r"http://\S+/mcp", line := process.stderr.readline())
            assert found is not None, line + process.stderr.read()
            process.stderr.readline()
            server = HttpServer(found[0], process, stop)
            yield server
            if process.returncode is None:
                server.stop()
        finally:
            killer.cancel()
            process.kill()
