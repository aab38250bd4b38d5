"""The address of upstream's webhook: one for each edit, and nobody can guess it."""

import asyncio
import socket
from urllib.parse import unquote, urlsplit

import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.loopback import served

from kontext_edit.clock import SystemClock
from kontext_edit.novita import Novita, RemoteStatus
from kontext_edit.pace import OwnNoticeboard
from kontext_edit.watcher import Watcher
from kontext_edit.webhook import PATH, Webhook, deployment_secret

EDIT = "edit-0123456789abcdef"
SECRET = b"a secret of this deployment only"


def parts(url: str) -> tuple[str, str]:
    """Of the path, decoded as a router hands them on."""
    _, door, edit_id, mark = urlsplit(url).path.split("/")
    assert door == "webhooks"
    return unquote(edit_id), unquote(mark)


def test_an_address_stands_below_the_public_one_and_leads_back_to_its_edit() -> None:
    for public_url in ("https://edits.example", "https://edits.example/"):
        webhook = Webhook(public_url, SECRET)
        url = webhook.url_for(EDIT)
        assert url.startswith("https://edits.example/webhooks/edit-0123456789abcdef/")
        assert webhook.edit_of(*parts(url)) == EDIT
    assert PATH.count("{") == 2


@given(edit_id=st.text(min_size=1))
def test_any_id_comes_back_from_its_address(edit_id: str) -> None:
    webhook = Webhook("https://edits.example", SECRET)
    try:
        edit_id.encode()
    except UnicodeEncodeError:
        return
    if "/" not in edit_id and edit_id not in (".", ".."):
        assert webhook.edit_of(*parts(webhook.url_for(edit_id))) == edit_id


def test_the_mark_is_256_bits_that_only_the_secret_gives() -> None:
    mark = parts(Webhook("https://edits.example", SECRET).url_for(EDIT))[1]
    assert len(mark) == 43
    others = {
        parts(Webhook("https://edits.example", b"another secret").url_for(EDIT))[1],
        parts(Webhook("https://edits.example", SECRET).url_for("edit-1"))[1],
    }
    assert mark not in others
    assert len(others) == 2


@given(edit_id=st.text(), mark=st.text())
def test_an_address_that_was_not_made_here_leads_nowhere(edit_id: str, mark: str) -> None:
    webhook = Webhook("https://edits.example", SECRET)
    assert webhook.edit_of(edit_id, mark) is None


def test_a_mark_that_is_nearly_right_leads_nowhere() -> None:
    webhook = Webhook("https://edits.example", SECRET)
    edit_id, mark = parts(webhook.url_for(EDIT))
    for wrong in ("", mark[:-1], mark + "A", mark.swapcase(), mark + "\n", "\udc80\u00e9"):
        assert webhook.edit_of(edit_id, wrong) is None
    assert webhook.edit_of("edit-other", mark) is None


async def test_processes_that_start_at_the_same_moment_have_the_same_secret() -> None:
    board = OwnNoticeboard()
    one, other = await asyncio.gather(deployment_secret(board), deployment_secret(board))
    assert one == other
    assert len(one) == 32
    assert await deployment_secret(OwnNoticeboard()) != one


async def test_an_end_goes_over_real_http_from_upstream_to_who_watches_the_edit() -> None:
    """No time passes: without the ring the first question would come after an hour."""

    async def on_processing() -> None:
        raise AssertionError("it is done when it rings")

    with served() as upstream, socket.create_server(("127.0.0.1", 0)) as listener:
        novita = Novita(upstream.url, SecretStr("k"), SystemClock(), None)
        watcher = Watcher(novita, SystemClock())
        webhook = Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}", SECRET)

        async def door(request: Request) -> Response:
            edit_id = webhook.edit_of(request.path_params["edit_id"], request.path_params["mark"])
            if edit_id is None:
                return Response(status_code=404)
            watcher.ring(edit_id)
            return Response()

        app = Starlette(routes=[Route(PATH, door, methods=["POST"])])
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(20):
            task_id = await novita.submit(
                "/v3/async/flux-1-kontext-pro", {"prompt": "warmer"}, webhook=webhook.url_for(EDIT)
            )
            result = await watcher.until_done(
                task_id,
                since=SystemClock().now(),
                usual=(3600, 7200),
                bell=EDIT,
                on_processing=on_processing,
            )
        assert result.status is RemoteStatus.SUCCEED
        server.should_exit = True
        await serving
        await novita.close()
