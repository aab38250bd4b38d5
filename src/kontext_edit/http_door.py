"""The MCP door over HTTP: for clients of this machine, or, with authentication, for callers anywhere.

Both eras of the protocol are served at one address. On one person's machine handshake clients have sessions;
a server for many is without (see `team`).
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import Any, Literal

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp

from kontext_edit.errors import InvalidSettings
from kontext_edit.logs import formatter
from kontext_edit.loopback import address, listen
from kontext_edit.server import LARGEST_CALL_BYTES, make_server
from kontext_edit.settings import Settings, read_settings
from kontext_edit.telemetry import trace_ids

logger = logging.getLogger(__name__)

_PATH = "/mcp"
_FAREWELL_SECONDS = 3
"""So long a stopping server waits for the answers that are under way; the edits go on with the next start."""


def serve(*, host: str = "127.0.0.1", port: int = 8765, allow: Sequence[str] = ()) -> None:
    """Serve edits over HTTP until Ctrl-C; port 0 picks a free one.

    Without authentication it listens on a loopback address and serves the person whose machine this is.

    Raises:
        InvalidArguments: if the address cannot be listened on, or is not a loopback one and nobody would be
            asked who they are.
        InvalidSettings: if the settings cannot be used.
    """
    settings = read_settings(os.environ, allow)
    if settings.serving.auth:
        _serve_many(settings, host, port)
    else:
        run(make_server(os.environ, allow=allow), host=host, port=port)


def run(server: Server[Any], *, host: str, port: int) -> None:
    """Serve an MCP server over HTTP to this machine alone; see `serve`."""
    listener = listen(host, port, who="Without KONTEXT_AUTH the server")
    app = server.streamable_http_app(
        streamable_http_path=_PATH,
        max_request_body_size=LARGEST_CALL_BYTES,
        transport_security=_only_this_machine(host),
    )
    _announce(f"MCP over HTTP, for this machine alone: {address(host, listener)}{_PATH}")
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config_of(app)).run(sockets=[listener])


def _serve_many(settings: Settings, host: str, port: int) -> None:
    _log_every_edit()
    _team("door")  # without its libraries there is no need to listen
    listener = listen(host, port, who="The server", anywhere=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_open_to_many(settings, listener, address(host, listener)))


async def _open_to_many(settings: Settings, listener: socket.socket, place: str) -> None:
    door = await _team("door").open_door(settings, address=place)
    _announce(f"MCP over HTTP, for bearers of a token: {place}{_PATH}")
    config = config_of(door.asgi, http=_team("impatience").ImpatientProtocol)
    await _Server(config, door.begin_to_close).serve(sockets=[listener])


def _log_every_edit() -> None:
    """Lines with the ids of their trace, one for each edit and each answer; see `telemetry` and `team`."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter(os.environ, around=trace_ids))
        handler.setLevel(logging.INFO)
    logging.getLogger("kontext_edit").setLevel(logging.INFO)


def _team(room: str) -> ModuleType:
    """A room of the door for many, whose libraries one person's server does without."""
    missing = [name for name in ("jwt", "obstore", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise InvalidSettings(
            ["KONTEXT_AUTH needs libraries that are not installed: pip install 'kontext-edit[team]'."]
        )
    return import_module(f"kontext_edit.team.{room}")


class _Server(uvicorn.Server):
    """Tells whoever wants to know that it was asked to stop, before it lets its connections go."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if self._on_stop is not None:
            asyncio.get_running_loop().call_soon_threadsafe(self._on_stop)
        super().handle_exit(sig, frame)


def config_of(app: ASGIApp, http: type[asyncio.Protocol] | Literal["auto"] = "auto") -> uvicorn.Config:
    """How an application is served."""
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_FAREWELL_SECONDS,
    )


def _announce(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\nCtrl-C ends it.\n")
    sys.stderr.flush()


def _only_this_machine(host: str) -> TransportSecuritySettings:
    """No page of a website may talk to this server, not even under a name that leads to this machine."""
    names = ["localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host]
    places = [place for name in names for place in (name, f"{name}:*")]
    return TransportSecuritySettings(
        allowed_hosts=places, allowed_origins=[f"http://{place}" for place in places]
    )
