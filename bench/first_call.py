"""How much slower the first call after the start is than the same call made second.

    python bench/first_call.py [--json]

A new process for each measurement: it is started, asked for its tools, and then for the same thing twice.
"At once" leaves it no moment after the list; "after 2 s" is what a model needs at least to choose a tool, for
a person who has edited before. Upstream is a sandbox on this machine in a process of its own, which has
every edit done as soon as it is asked.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parts import HANDSHAKE, LAST, environ, noisy
from report import Row, Spread, alone, ratios, told

MAX_RATIO = 2.0
MAX_EXTRA_SECONDS = 0.6
ROUNDS = {"estimate_cost": 7, "edit_image": 3}
PAUSES = {"at once": 0.0, "after 2 s": 2.0}


class Server:
    """A stdio server that is being asked."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._asked = LAST

    def say(self, *messages: dict[str, Any]) -> None:
        """Send messages."""
        assert self._process.stdin  # noqa: S101 - it was started with pipes
        self._process.stdin.write("".join(json.dumps(message) + "\n" for message in messages))
        self._process.stdin.flush()

    def answer(self, number: int) -> dict[str, Any]:
        """The result of the question with this id."""
        assert self._process.stdout  # noqa: S101 - likewise
        for line in self._process.stdout:
            message = json.loads(line)
            if message.get("id") == number and "method" not in message:
                return message["result"]
        raise RuntimeError("the server ended")

    def seconds(self, tool: str, arguments: dict[str, Any]) -> float:
        """How long one call of a tool takes."""
        self._asked += 1
        params = {"name": tool, "arguments": arguments}
        started = time.perf_counter()
        self.say({"jsonrpc": "2.0", "id": self._asked, "method": "tools/call", "params": params})
        result = self.answer(self._asked)
        if result.get("isError"):
            raise RuntimeError(f"{tool}: {result}")
        return time.perf_counter() - started


@contextmanager
def started(settings: dict[str, str]) -> Generator[Server]:
    """A new server that has named its tools."""
    with subprocess.Popen(
        [sys.executable, "-m", "kontext_edit"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=settings,
        text=True,
    ) as process:
        server = Server(process)
        server.say(*HANDSHAKE)
        server.answer(LAST)
        yield server
        if process.stdin:
            process.stdin.close()
        process.wait(timeout=30)


@contextmanager
def sandbox() -> Generator[str]:
    """A sandbox on this machine, in a process of its own; its URL."""
    command = [sys.executable, "-m", "kontext_edit", "sandbox", "--port", "0", "--progression", "immediate"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        assert process.stderr  # noqa: S101 - it was started with a pipe
        line = process.stderr.readline()
        try:
            yield next(word for word in line.split() if word.startswith("http")).rstrip(":,")
        finally:
            process.terminate()


def measure(folder: Path, url: str, tool: str, pause: float) -> tuple[float, float]:
    """Seconds of the first call and of the second, in a process of their own."""
    settings = environ(folder, KONTEXT_PROVIDER="sandbox", NOVITA_BASE_URL=url)
    photo = folder / "in" / "small.jpg"
    if not photo.exists():
        noisy((800, 600)).save(photo, quality=90)
    edit = {"prompt": "Make the cup blue", "images": [str(photo)], "force_new": True}
    arguments = edit if tool == "edit_image" else {}
    with started(settings) as server:
        time.sleep(pause)
        return server.seconds(tool, arguments), server.seconds(tool, arguments)


def rows() -> list[Row]:
    """The answers: two rows for each tool and moment."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name, sandbox() as url:
        folder = Path(name)
        measure(folder, url, "estimate_cost", 0)  # from now on there is a journal
        for tool in ("estimate_cost", "edit_image"):
            for when, pause in PAUSES.items():
                pairs = [measure(folder, url, tool, pause) for _ in range(ROUNDS[tool])]
                first, second = ([1000 * pair[index] for pair in pairs] for index in (0, 1))
                extra = Spread.of([(mine - other) / 1000 for mine, other in zip(first, second, strict=True)])
                question = f"first `{tool}` after the start, {when}"
                ours, theirs = told(first, 0, "ms"), told(second, 0, "ms")
                found += [
                    Row(
                        question, ours, "the same call made second", theirs, ratios(first, second), MAX_RATIO
                    ),
                    Row(f"{question}: more", ours, "likewise", theirs, extra, MAX_EXTRA_SECONDS, "s"),
                ]
    return found


if __name__ == "__main__":
    alone(rows, __doc__ or "")
