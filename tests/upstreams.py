"""Answers of the API for tests that speak for it."""

from collections.abc import Callable

import httpx

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Upstream:
    """Gives prepared answers in order, the last one for ever, and keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return answer(request)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


def error(status: int, reason: str = "", message: str = "no", **headers: str) -> httpx.Response:
    """An error as Novita's services answer it."""
    body: dict[str, object] = {"code": status, "reason": reason, "message": message, "metadata": {}}
    return httpx.Response(status, json=body, headers=headers)


def task_answer(status: str, *links: str, **changes: object) -> httpx.Response:
    """A task result as the API answers it."""
    body = {
        "task": {"task_id": "t-1", "status": f"TASK_STATUS_{status}", "reason": "", "eta": 0},
        "images": [{"image_url": link, "image_url_ttl": "3600", "image_type": "png"} for link in links],
        "extra": {"seed": "123", "debug_info": {"submit_time_ms": "1"}},
    }
    return httpx.Response(200, json=body | changes)


ACCEPTED = httpx.Response(200, json={"task_id": "t-1"})
