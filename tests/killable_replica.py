"""A replica of the server for many that is killed at a named point, as `tests.killable` is.

    python -m tests.killable_replica PACE [POINT] [PASSES]

It says on standard error where it listens, like the real one. Its pace is one of `PACES`.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import h11
from tests.killable import (
    NONE,
    ONE,
    PERHAPS,
    QUICK,
    RESULTS,
    WAITING,
    Paces,
    Point,
    Trap,
    after,
    before,
    before_commit,
    bought,
    hurry,
    is_done,
    mid_download,
    on_the_wire,
    trap_after,
    unclear,
    wrap,
)

from kontext_edit import delivery, pace
from kontext_edit.gallery import Gallery
from kontext_edit.http_door import serve
from kontext_edit.journal import rows, statements
from kontext_edit.journal.book import Journal
from kontext_edit.novita import Novita
from kontext_edit.store.bucket import Bucket
from kontext_edit.task import Status
from kontext_edit.waiting import WaitingRoom

_ENDLESS_SECONDS = 1_000.0

PACES: dict[str, Paces] = {
    "quick": QUICK,
    "in a storm": (
        *QUICK,
        (delivery, "_ARRIVAL_SECONDS", 5.0),  # a client of a busy machine may take long to ask again
        (pace, "_LONGEST_INTERVAL", 0.05),  # its refusals come by chance, and not from asking too fast
    ),
    "with endless leases": (
        *QUICK,
        (rows, "LEASE_SECONDS", _ENDLESS_SECONDS),
        (statements, "LEASE_SECONDS", _ENDLESS_SECONDS),
    ),
}

_RESULT = b'"status":"succeeded"'


def _before_answering(trap: Trap) -> None:
    """When the result is about to be written to the client."""

    def wrapper(original: Callable[..., bytes | None]) -> Callable[..., bytes | None]:
        def send(*args: Any, **kwargs: Any) -> bytes | None:
            content = original(*args, **kwargs)
            if _RESULT in (content or b""):
                trap()
            return content

        return send

    wrap(h11.Connection, "send", wrapper)


def _answered(trap: Trap) -> None:
    """When the result is on its way to the client, and the end of the answer perhaps is not."""

    def soon() -> None:
        asyncio.get_running_loop().call_soon(trap)

    _before_answering(soon)


POINTS: dict[str, Point] = {
    "before the journal's first word": bought(before(Journal, "begin_all")),
    "begun, not committed": bought(before_commit("begin")),
    "begun": bought(after(Journal, "begin_all")),
    "its turn, not committed": bought(before_commit("send")),
    "its turn": unclear(after(Journal, "sending"), NONE),
    "before the submission": unclear(before(Novita, "submit"), NONE),
    "request half sent": unclear(on_the_wire("send_request_body.started", "POST"), NONE),
    "request sent": unclear(on_the_wire("send_request_body.complete", "POST"), PERHAPS),
    "answer begun": unclear(on_the_wire("receive_response_headers.complete", "POST"), ONE),
    "accepted, not committed": unclear(before_commit("move", Status.QUEUED), ONE),
    "accepted": bought(after(Journal, "accepted")),
    "processing, not committed": bought(before_commit("move", Status.PROCESSING)),
    "done upstream": bought(after(Novita, "result", is_done)),
    "link answered": bought(on_the_wire("receive_response_headers.complete", "GET", RESULTS)),
    "mid-download": bought(mid_download),
    "before it is put": bought(before(Bucket, "_put_new")),
    "put": bought(after(Bucket, "_put_new")),
    "saved": bought(after(Gallery, "save")),
    "success, not committed": bought(before_commit("move", Status.SUCCEEDED)),
    "succeeded": bought(after(Journal, "succeeded")),
    "before it is answered": bought(_before_answering),
    "answered": bought(_answered),
    "before delivery is noted": bought(before(Journal, "delivered")),
}
"""The steps of an edit that are others than on one person's machine, or are on another database or store."""

ADOPTED = "adopted"
"""When a replica has taken over what another one left."""

_ARMS = {name: point.arm for name, point in POINTS.items()} | {
    WAITING: before(WaitingRoom, "_pass_time"),
    ADOPTED: after(Journal, "adopt", bool),
}


def main(speed: str, point: str = "", passes: str = "1") -> None:
    """Serve until Ctrl-C."""
    logging.basicConfig(level=logging.WARNING)
    hurry(PACES[speed])
    if point:
        _ARMS[point](trap_after(int(passes)))
    serve(port=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
