"""The sandbox alone: a process of its own behind a real socket."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO

import httpx
import pytest
from PIL import Image
from tests.sandbox_bench import KEY, PRO, RESULT, plain

from kontext_edit.errors import InvalidArguments
from kontext_edit.sandbox.api import serve
from kontext_edit.sandbox.tasks import Immediate

SERVE = "from kontext_edit.sandbox.api import serve; from kontext_edit.sandbox.tasks import Immediate; "


@pytest.fixture
def served() -> Iterator[str]:
    """The address of a sandbox that runs in a process of its own until the test is over."""
    command = [sys.executable, "-c", f"{SERVE} serve(port=0, progression=Immediate())"]
    with subprocess.Popen(  # noqa: S603 - ourselves
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUTF8": "1"}
    ) as process:
        killer = threading.Timer(60, process.kill)
        killer.start()
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
        assert found is not None
        assert f"NOVITA_BASE_URL={found[0]}" in "".join(process.stderr.readline() for _ in range(3))
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "", "it ends without a word"
        assert process.wait() == 0
        killer.cancel()


async def test_served_alone_on_a_free_port_its_links_lead_to_that_port(served: str) -> None:
    async with httpx.AsyncClient(base_url=served, headers=KEY, trust_env=False) as client:
        answer = await client.post(PRO, json={"prompt": "warmer", "images": [plain()]})
        result = await client.get(RESULT, params=answer.json())
        url = result.json()["images"][0]["image_url"]
        assert url.startswith(f"{served}/results/")
        picture = Image.open(BytesIO((await client.get(url)).content))
        assert picture.size == (300, 280)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])  # noqa: S104 - it is refused
def test_it_is_served_to_this_machine_alone(host: str) -> None:
    with pytest.raises(InvalidArguments, match="not a loopback address") as caught:
        serve(host=host, port=0, progression=Immediate())
    assert "127.0.0.1" in caught.value.hint


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidArguments, match=f"at port {port}") as caught:
            serve(host=host, port=port, progression=Immediate())
    assert "0 picks a free one" in caught.value.hint


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_number_that_is_no_port_is_an_error(port: int) -> None:
    with pytest.raises(InvalidArguments, match=f"{port} is no port"):
        serve(port=port, progression=Immediate())
