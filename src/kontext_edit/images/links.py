"""Links to pictures: looked at closely, then handed to upstream as they are.

Nothing is fetched here. A link that upstream could not open, or that carries a secret, is refused.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from kontext_edit.errors import PictureRefused
from kontext_edit.images.wording import printable

MAX_LENGTH = 2048
"""Characters; longer links are cut or refused by many servers on the way."""

_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\\ud800-\udfff]")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_PRIVATE_NAMES = frozenset({"localhost", "local", "localdomain", "internal", "lan", "intranet", "arpa"})
"""Last labels of names that mean something on one network only."""

_PUBLIC = (
    "The editing service fetches a link itself, so it must be public. Use a public http(s) URL, or {instead}."
)


def check_link(text: str, instead: str) -> str:
    """Refuse a link that upstream could not open or must not see.

    Args:
        text: An http or https URL.
        instead: What to do with a picture whose link cannot be used; part of a sentence.

    Returns:
        What to call it where things are written down: without query, fragment and credentials.

    Raises:
        PictureRefused: It is too long, malformed, private, or carries credentials.
    """
    if len(text) > MAX_LENGTH:
        raise PictureRefused(
            f"the URL is {len(text)} characters long; at most {MAX_LENGTH} are allowed",
            f"Use a shorter link, or {instead}.",
        )
    if _UNSAFE.search(text):
        raise PictureRefused(
            "the URL contains spaces, control characters or backslashes",
            "Percent-encode the URL (a space is %20).",
        )
    parts = _split(text)
    if parts.username is not None or parts.password is not None:
        raise PictureRefused(
            "the URL carries a user name or password, which must not be sent to the editing service",
            f"Use a link without credentials, or {instead}.",
        )
    _check_host(parts.hostname or "", _PUBLIC.format(instead=instead))
    return link_label(text)


def link_label(text: str) -> str:
    """A link as it may be written down: without query, fragment and credentials."""
    bare = re.split(r"[?#]", text, maxsplit=1)[0]
    scheme, slashes, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    return printable(f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}")[:MAX_LENGTH]


def _split(text: str) -> SplitResult:
    """The parts of a URL whose host and port make sense."""
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    else:
        if valid:
            return parts
    raise PictureRefused(
        "the URL is malformed: it has no valid host and port", "Write it as https://host/path/picture.jpg."
    )


def _check_host(host: str, hint: str) -> None:
    """Refuse hosts that only this machine or its network can reach."""
    address = _address(host)
    if address is not None:
        if not address.is_global or address.is_multicast:
            raise PictureRefused(f"the address {host} is private or reserved, not public", hint)
        return
    labels = host.rstrip(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise PictureRefused(f"the host {printable(host)} is a number in an unusual notation", hint)
    if len(labels) == 1 or not all(labels) or labels[-1] in _PRIVATE_NAMES:
        raise PictureRefused(f"the host {printable(host)} exists on a private network only", hint)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """`host` as an address, seen through IPv6's wrapping of IPv4; None where it is a name."""
    try:
        address = ip_address(host.rstrip("."))
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
