"""How long the server takes from its start to the list of its tools, against the least there can be.

    python bench/start.py [--json]

The least is a server with one tool on the same SDK, which does nothing. Both are started as new processes,
in turn, and asked over stdio, so that a busy machine slows both alike; the disk is warm.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parts import HANDSHAKE, HELLO, LAST, environ
from report import Row, alone, ratios, told

MAX_RATIO = 1.05
ROUNDS = 15
WARM_UP_ROUNDS = 2
"""Rounds before those that count: they write the bytecode and warm the disk."""


def seconds_to_tools(command: list[str], settings: dict[str, str]) -> float:
    """From starting a process to the last byte of its tools."""
    asked = "".join(json.dumps(message) + "\n" for message in HANDSHAKE)
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - the two servers of this file
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=settings,
        text=True,
    ) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("a server without pipes")
        server.stdin.write(asked)
        server.stdin.flush()
        for line in server.stdout:
            answer = json.loads(line)
            if answer.get("id") == LAST:
                seconds = time.perf_counter() - started
                break
        else:
            raise RuntimeError(f"{command} ended without naming its tools")
        server.stdin.close()
        server.wait(timeout=30)
    if not answer["result"]["tools"]:
        raise RuntimeError(f"{command} has no tools")
    return seconds


def measure(folder: Path) -> tuple[list[float], list[float]]:
    """Milliseconds of ours and of the least, round by round."""
    hello = folder / "hello.py"
    hello.write_text(HELLO)
    ours, least = [sys.executable, "-m", "kontext_edit"], [sys.executable, str(hello)]
    settings = environ(folder)
    pairs: list[tuple[float, float]] = []
    for number in range(WARM_UP_ROUNDS + ROUNDS):
        turn = [ours, least] if number % 2 else [least, ours]
        seconds = {command[-1]: seconds_to_tools(command, settings) for command in turn}
        pairs.append((1000 * seconds[ours[-1]], 1000 * seconds[least[-1]]))
    counted = pairs[WARM_UP_ROUNDS:]
    return [mine for mine, _ in counted], [other for _, other in counted]


def rows() -> list[Row]:
    """The answer."""
    with tempfile.TemporaryDirectory() as folder:
        ours, least = measure(Path(folder))
    return [
        Row(
            "start to `tools/list` on stdio",
            told(ours, 0, "ms"),
            "a hello-world server on the same SDK",
            told(least, 0, "ms"),
            ratios(ours, least),
            MAX_RATIO,
        )
    ]


if __name__ == "__main__":
    alone(rows, __doc__ or "")
