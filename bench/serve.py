"""A server for a team under load: thousands of edits in flight over two replicas, and hundreds who wait.

    python bench/serve.py [EDITS]

Two replicas (`kontext-edit serve`) share a PostgreSQL of their own and a folder as their store; upstream is
a process on loopback that takes every edit on and renders it for about a minute. Each owner asks for edits
twenty at a time, some wait for theirs, and all the while the state of single edits is asked. It takes some
minutes, so the runner of the other benchmarks leaves it out.
"""

import asyncio
import base64
import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import uvicorn
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kontext_edit.journal.book import Journal
from kontext_edit.tokens import digest, new_token
from parts import PHOTOGRAPH, environ
from report import machine, table, versions

EDITS, OWNERS, TOGETHER, WAITING = 2000, 20, 20, 200
RENDER_SECONDS = (60.0, 120.0)
REPLICAS = 2
QUESTIONS_PER_SECOND = 10
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Replica:
    """A process that serves, and what the system says of it."""

    process: subprocess.Popen[str]
    url: str

    @property
    def cpu_seconds(self) -> float:
        """User's and system's, since it began."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self, what: str = "VmRSS") -> float:
        """Resident now, or `VmHWM`: at its peak."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(what))) / 1024


async def main(edits: int) -> None:
    """Measure, and print a table."""
    from tests.postgres import cluster  # noqa: PLC0415 - `parts` has brought the path by now

    with tempfile.TemporaryDirectory(prefix="kontext-bench-") as name:
        folder = Path(name)
        with cluster() as server, server.database() as url, _upstream() as upstream:
            journal = Journal(url)
            tokens = [await _token(journal, f"owner-{number}") for number in range(OWNERS)]
            settings = environ(
                folder,
                KONTEXT_AUTH="tokens",
                KONTEXT_DATABASE_URL=url.get_secret_value(),
                KONTEXT_STORE_URL=(folder / "store").as_uri(),
                KONTEXT_OWNER_EDITS_AT_ONCE="none",
                KONTEXT_OWNER_EDITS_PER_MINUTE="none",
                KONTEXT_CONFIRM_ABOVE_USD="none",
                KONTEXT_PUBLIC_URL="http://127.0.0.1",
                KONTEXT_WEBHOOK="off",
                NOVITA_API_KEY="bench",
                NOVITA_BASE_URL=upstream,
            )
            with contextlib.ExitStack() as stack:
                replicas = [stack.enter_context(_replica(settings)) for _ in range(REPLICAS)]
                await _measure(replicas, tokens, edits)
            await journal.close()
            _check(url.get_secret_value(), edits)


async def _measure(replicas: list[Replica], tokens: list[str], edits: int) -> None:
    idle = [replica.memory_mb() for replica in replicas]
    cpu = sum(replica.cpu_seconds for replica in replicas)
    began = time.monotonic()
    calls = [(token, number) for number in range(edits // OWNERS // TOGETHER) for token in tokens]
    batches = [each async for each in _begun(calls, replicas)]
    submitted = time.monotonic() - began
    in_flight = [replica.memory_mb() for replica in replicas]
    asking = asyncio.create_task(_ask(replicas, batches))
    waits = [_wait(replicas[number % REPLICAS], *batches[number % len(batches)]) for number in range(WAITING)]
    statuses = await asyncio.gather(*waits)
    others = await asyncio.gather(*(_wait(replicas[0], *each) for each in batches))
    whole = time.monotonic() - began
    asking.cancel()
    latencies = sorted(await asking)
    peak = [replica.memory_mb("VmHWM") for replica in replicas]
    spent = sum(replica.cpu_seconds for replica in replicas) - cpu
    _demand({*statuses, *others} == {"succeeded"}, "an edit did not succeed")
    shortest, longest = RENDER_SECONDS
    worst = latencies[int(len(latencies) * 0.99)]
    rows = [
        ("edits, replicas, callers waiting", f"{edits}, {REPLICAS}, {WAITING}"),
        ("taken on by upstream", f"{edits / submitted:.0f} edits a second"),
        (f"to the last picture, of renders of {shortest:.0f} to {longest:.0f} s", f"{whole:.0f} s"),
        ("memory of a replica, idle", _both(idle)),
        ("with all edits in flight", _both(in_flight)),
        ("at its peak", _both(peak)),
        ("CPU an edit, both replicas", f"{1000 * spent / edits:.0f} ms"),
        ("`get_task` without waiting, median", f"{1000 * latencies[len(latencies) // 2]:.0f} ms"),
        (f"its 99th percentile, of {len(latencies)}", f"{1000 * worst:.0f} ms"),
    ]
    print(table(f"{machine()}, {versions('mcp', 'psycopg', 'uvicorn')}.", ("what", "measured"), rows))


def _both(megabytes: list[float]) -> str:
    return " and ".join(f"{each:.0f} MB" for each in megabytes)


async def _begun(
    calls: Iterable[tuple[str, int]], replicas: list[Replica]
) -> AsyncGenerator[tuple[str, str]]:
    """Ask for the edits, a few calls at a time; tells each token with the name of its batch."""
    source = "data:image/png;base64," + base64.b64encode(PHOTOGRAPH.read_bytes()).decode()
    few = asyncio.Semaphore(8)

    async def begin(token: str, number: int) -> tuple[str, str]:
        prompts = [f"Take {number}-{each}" for each in range(TOGETHER)]
        async with few, _client(replicas[number % REPLICAS], token) as client:
            answer = await client.call_tool(
                "edit_image", {"images": [source], "prompts": prompts, "tier": "dev", "wait_seconds": 0}
            )
        _demand(not answer.is_error, str(answer.content))
        return token, str(_told(answer)["task_id"])

    for done in asyncio.as_completed([begin(*call) for call in calls]):
        yield await done


async def _wait(replica: Replica, token: str, batch: str) -> str:
    """Wait for a batch as an assistant does: long polls, one after the other."""
    async with _client(replica, token) as client:
        while True:
            answer = await client.call_tool("get_task", {"task_id": batch, "wait_seconds": 50})
            told = _told(answer)
            if told["status"] not in ("queued", "processing"):
                return str(told["status"])


async def _ask(replicas: list[Replica], batches: list[tuple[str, str]]) -> list[float]:
    """How long single questions take, asked at a steady rate until it is cancelled."""
    seconds: list[float] = []
    dice = random.Random(5)  # noqa: S311 - the same in every run
    with contextlib.suppress(asyncio.CancelledError):
        async with contextlib.AsyncExitStack() as stack:
            clients: list[tuple[Client, str]] = []
            for number, (token, batch) in enumerate(batches[:OWNERS]):
                client = await stack.enter_async_context(_client(replicas[number % REPLICAS], token))
                told = await client.call_tool("get_task", {"task_id": batch, "wait_seconds": 0})
                clients.append((client, str(_told(told)["edits"][0]["task_id"])))
            while True:
                client, task = dice.choice(clients)
                began = time.monotonic()
                await client.call_tool("get_task", {"task_id": task, "wait_seconds": 0})
                seconds.append(time.monotonic() - began)
                await asyncio.sleep(1 / QUESTIONS_PER_SECOND)
    return seconds


def _told(answer: CallToolResult) -> dict[str, Any]:
    """What a tool answered, as data."""
    return answer.structured_content or {}


def _check(url: str, edits: int) -> None:
    """None lost: the journal has each edit, done, and nothing else."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT status, COUNT(*) FROM edits GROUP BY status").fetchall()
    _demand(rows == [("succeeded", edits)], f"the journal has {rows}")
    print(f"\nNone lost: {edits} of {edits} edits have their picture.")


@contextlib.asynccontextmanager
async def _client(replica: Replica, token: str) -> AsyncGenerator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=120) as http,
        Client(streamable_http_client(replica.url, http_client=http)) as client,
    ):
        yield client


async def _token(journal: Journal, name: str) -> str:
    token = new_token()
    await journal.add_token(name, digest(token), ("edit",), time.time())
    return token


@contextlib.contextmanager
def _upstream() -> Generator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _process([sys.executable, __file__, "upstream", str(port)], dict(os.environ)) as process:
        _line(process)
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _replica(settings: dict[str, str]) -> Generator[Replica]:
    with _process([sys.executable, "-m", "kontext_edit", "serve", "--port", "0"], settings) as process:
        line = _line(process)
        _demand("http://" in line, f"a replica did not start: {line}")
        threading.Thread(target=lambda: process.stderr and process.stderr.read(), daemon=True).start()
        yield Replica(process, line.rpartition(" ")[2].strip())


@contextlib.contextmanager
def _process(command: list[str], settings: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def _line(process: subprocess.Popen[str]) -> str:
    """The next line that a process says of itself."""
    return process.stderr.readline() if process.stderr else ""


def _demand(truth: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not truth:
        sys.exit(f"The measurement is void: {otherwise}.")


def upstream(port: int) -> None:
    """Be the editing API: take every edit on, render it for about a minute, serve one picture."""
    dice = random.Random(6)  # noqa: S311 - the same in every run
    picture, done_at = PHOTOGRAPH.read_bytes(), list[float]()
    base = f"http://127.0.0.1:{port}"

    async def submit(request: Request) -> Response:
        await request.body()
        done_at.append(time.monotonic() + dice.uniform(*RENDER_SECONDS))
        return JSONResponse({"task_id": f"t-{len(done_at)}"})

    async def result(request: Request) -> Response:
        task_id = request.query_params["task_id"]
        done = time.monotonic() >= done_at[int(task_id.removeprefix("t-")) - 1]
        images = [{"image_url": f"{base}/picture/{task_id}.png"}] if done else []
        word = "SUCCEED" if done else "PROCESSING"
        task = {"task_id": task_id, "status": f"TASK_STATUS_{word}"}
        return JSONResponse({"task": task, "images": images, "extra": {"seed": 7}})

    async def fetch(_request: Request) -> Response:
        return Response(picture, media_type="image/png")

    routes = [
        Route("/v3/async/task-result", result),
        Route("/v3/async/{endpoint}", submit, methods=["POST"]),
        Route("/picture/{name}", fetch),
    ]
    sys.stderr.write("ready\n")
    sys.stderr.flush()
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    if sys.argv[1:2] == ["upstream"]:
        upstream(int(sys.argv[2]))
    else:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else EDITS))
