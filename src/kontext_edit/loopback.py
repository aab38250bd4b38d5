"""A place to listen on, which this machine alone can reach unless others are asked who they are."""

import ipaddress
import socket

from kontext_edit.errors import InvalidArguments

_PORTS = range(65_536)


def listen(host: str, port: int, *, who: str, anywhere: bool = False) -> socket.socket:
    """Listen on an address, as a rule a loopback one; port 0 picks a free one.

    Args:
        host: an address, or `localhost`.
        port: 0 to 65535.
        who: what listens, as the beginning of a sentence.
        anywhere: whether other machines may reach it.

    Raises:
        InvalidArguments: if the address is not a loopback one, or cannot be listened on.
    """
    if port not in _PORTS:
        raise InvalidArguments([f"{port} is no port."], "Choose one from 1 to 65535; 0 picks a free one.")
    if not anywhere and not _is_loopback(host):
        raise InvalidArguments(
            [f"{who} serves this machine alone, and {host} is not a loopback address."],
            "Leave the host out, or use 127.0.0.1, ::1 or localhost. Other machines are served by "
            "`kontext-edit serve` with KONTEXT_AUTH, which says how callers prove who they are.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise InvalidArguments(
            [f"{who} cannot listen on {host} at port {port}: {error}."],
            "Choose another port; 0 picks a free one.",
        ) from error


def address(host: str, listener: socket.socket) -> str:
    """Where it listens, as the beginning of a URL."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
