"""The MCP door over HTTP, for clients of this machine: one process, one journal, any number of clients.

Both eras of the protocol are served at one address: sessions for handshake clients, single requests for
those of 2026-07-28.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings

from kontext_edit.loopback import address, listen
from kontext_edit.server import make_server

_PATH = "/mcp"
_LARGEST_CALL_BYTES = 72 * 1024 * 1024
"""Room for the largest picture that is read (50 MB) as base64, and the call around it."""
_FAREWELL_SECONDS = 3
"""So long a stopping server waits for the answers that are under way; the edits go on with the next start."""


def serve(*, host: str = "127.0.0.1", port: int = 8765, allow: Sequence[str] = ()) -> None:
    """Serve edits over HTTP on a loopback address until Ctrl-C; port 0 picks a free one.

    Raises:
        InvalidArguments: if the address is not a loopback one, or cannot be listened on.
    """
    run(make_server(os.environ, allow=allow), host=host, port=port)


def run(server: Server[Any], *, host: str, port: int) -> None:
    """Serve an MCP server over HTTP; see `serve`."""
    listener = listen(host, port, who="The server")
    app = server.streamable_http_app(
        streamable_http_path=_PATH,
        max_request_body_size=_LARGEST_CALL_BYTES,
        transport_security=_only_this_machine(host),
    )
    sys.stderr.write(
        f"MCP over HTTP, for this machine alone: {address(host, listener)}{_PATH}\nCtrl-C ends it.\n"
    )
    sys.stderr.flush()
    config = uvicorn.Config(
        app, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=_FAREWELL_SECONDS
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _only_this_machine(host: str) -> TransportSecuritySettings:
    """No page of a website may talk to this server, not even under a name that leads to this machine."""
    names = ["localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host]
    places = [place for name in names for place in (name, f"{name}:*")]
    return TransportSecuritySettings(
        allowed_hosts=places, allowed_origins=[f"http://{place}" for place in places]
    )
