"""The editing API as a transport of this process.

It keeps nothing of an edit but when it is done, and how often it was asked about.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from kontext_edit.clock import Clock

_CDN = "cdn.example"


@dataclass(slots=True)
class Render:
    """An edit on its way. `seen` is when its finish was first told; times are monotonic seconds."""

    begun: float
    done: float
    polls: int = 0
    seen: float | None = None

    @property
    def lag(self) -> float:
        """How long the finish was not seen."""
        return (self.seen or self.done) - self.done


@dataclass
class Upstream:
    """Takes every edit on, and renders it for as long as `seconds` draws."""

    clock: Clock
    seconds: Callable[[random.Random], float]
    picture: bytes
    dice: random.Random = field(default_factory=lambda: random.Random(6))  # noqa: S311 - the same in every run
    renders: list[Render] = field(default_factory=list[Render])

    @property
    def transport(self) -> httpx.MockTransport:
        """Where requests go."""
        return httpx.MockTransport(self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == _CDN:
            return httpx.Response(200, content=self.picture)
        if request.method == "POST":
            begun = self.clock.monotonic()
            self.renders.append(Render(begun, begun + self.seconds(self.dice)))
            return httpx.Response(200, json={"task_id": f"t-{len(self.renders)}"})
        return self._result(request.url.params["task_id"])

    def _result(self, task_id: str) -> httpx.Response:
        render, now = self.renders[int(task_id.removeprefix("t-")) - 1], self.clock.monotonic()
        render.polls += 1
        done = now >= render.done
        if done and render.seen is None:
            render.seen = now
        ahead = self.clock.now() - now
        times = [round(1000 * (ahead + moment)) if done else 0 for moment in (render.begun, render.done)]
        answer = {
            "task": {"task_id": task_id, "status": f"TASK_STATUS_{'SUCCEED' if done else 'PROCESSING'}"},
            "images": [{"image_url": f"https://{_CDN}/{task_id}.png"}] if done else [],
            "extra": {
                "seed": 7,
                "debug_info": {
                    "submit_time_ms": times[0],
                    "execute_time_ms": times[1] - times[0],
                    "complete_time_ms": times[1],
                },
            },
        }
        return httpx.Response(200, content=json.dumps(answer))
