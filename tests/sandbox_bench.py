"""A sandbox with a clock that a test moves and a client that speaks to it."""

import asyncio
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from kontext_edit.sandbox.api import Sandbox
from kontext_edit.sandbox.tasks import Immediate, Progression

COFFEE = Path(__file__).parents[1] / "examples" / "coffee.png"
DEV, PRO, MAX = (f"/v3/async/flux-1-kontext-{tier}" for tier in ("dev", "pro", "max"))
RESULT = "/v3/async/task-result"
BALANCE = "/openapi/v1/billing/balance/detail"
KEY = {"Authorization": "Bearer a-key"}
QUEUED, PROCESSING, SUCCEED, FAILED = (
    f"TASK_STATUS_{word}" for word in ("QUEUED", "PROCESSING", "SUCCEED", "FAILED")
)


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return 1_800_000_000 + self.seconds

    def monotonic(self) -> float:
        return 500 + self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


class Bench:
    """A sandbox, its clock and a client on it."""

    def __init__(self, progression: Progression | None = None, **options: Any) -> None:
        self.clock = HandClock()
        self.sandbox = Sandbox(clock=self.clock, progression=progression or Immediate(), **options)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.sandbox.app), base_url="http://localhost", headers=KEY
        )

    async def submit(self, path: str = PRO, **body: Any) -> str:
        answer = await self.client.post(path, json={"prompt": "warmer", **body})
        assert answer.status_code == 200, answer.text
        assert list(answer.json()) == ["task_id"]
        return answer.json()["task_id"]

    async def poll(self, task_id: str) -> dict[str, Any]:
        answer = await self.client.get(RESULT, params={"task_id": task_id})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def status(self, task_id: str) -> str:
        return (await self.poll(task_id))["task"]["status"]

    async def pictures(self, path: str = PRO, **body: Any) -> list[Image.Image]:
        result = await self.poll(await self.submit(path, **body))
        return [await self.picture(image["image_url"]) for image in result["images"]]

    async def picture(self, url: str) -> Image.Image:
        answer = await self.client.get(url, headers={"Authorization": ""})
        assert answer.status_code == 200, answer.text
        picture = Image.open(BytesIO(answer.content))
        assert picture.format is not None
        assert answer.headers["content-type"] == f"image/{picture.format.lower()}"
        return picture


def encoded(picture: Image.Image, kind: str = "png", **options: Any) -> str:
    file = BytesIO()
    picture.save(file, kind, **options)
    return b64encode(file.getvalue()).decode()


def plain(colour: str = "teal", size: tuple[int, int] = (300, 280)) -> str:
    return encoded(Image.new("RGB", size, colour))


def assert_error(answer: httpx.Response, status: int, reason: str, *words: str) -> None:
    body = answer.json()
    assert (answer.status_code, body["code"], body["reason"]) == (status, status, reason), body
    assert set(body) == {"code", "reason", "message", "metadata"}
    for word in words:
        assert word in body["message"]
