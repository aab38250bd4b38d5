"""Other people's URLs, fetched by this machine: from public addresses alone, and no more than a picture.

A name is resolved once, what it stands for is checked, and the connection goes to exactly the address that
was checked, so that a name server cannot answer differently in between. Each redirect is checked the same
way. Nothing of this machine goes along: no cookies, no referrer, no credentials, no proxy of its environment.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Collection
from contextlib import aclosing
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx

from kontext_edit.errors import PictureRefused
from kontext_edit.images.decode import MAX_BYTES
from kontext_edit.images.links import link_label
from kontext_edit.images.prepare import Prepared, prepare
from kontext_edit.images.preview import Look
from kontext_edit.images.sources import Found
from kontext_edit.images.wording import megabytes
from kontext_edit.novita import system_certificates

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address

PORTS = frozenset({80, 443})
"""Where pictures are served; other ports belong to other services."""

_SECONDS = 20.0
_STEP_SECONDS = 8.0
_REDIRECTS = 3
_ADDRESSES_TRIED = 4
_FETCHES = 8
"""Pictures fetched at a time, which bounds memory: each may hold 50 MB."""

_HEADERS = {
    "accept": "image/*",
    "accept-encoding": "identity",  # what is not packed cannot unpack to more than arrived
    "user-agent": "kontext-edit",
}
_HINT = "Use a public http(s) link to the picture itself, or give the picture in another way."

_GLOBAL_UNICAST = ip_network("2000::/3")
"""All of IPv6 that was ever given out for public hosts."""
_MAPPED, _NAT64 = ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96")
"""IPv4 addresses as IPv6 ones; on a network without IPv4 every public picture is behind the second."""
_NOT_FOR_US = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # protocol assignments; 192.0.0.192 tells a cloud machine its secrets
            "192.88.99.0/24",  # relays of 6to4
            "168.63.129.16/32",  # Azure's own services for the machine that asks
            "2001::/23",  # protocol assignments, Teredo among them
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)
"""What Python counts, in some of its versions, as reachable for everyone."""


def is_public(address: Address) -> bool:
    """Whether everyone on the internet reaches the same host there."""
    if isinstance(address, IPv6Address):
        if address in _MAPPED or address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _GLOBAL_UNICAST or address.scope_id:
            return False
    named = any(address in network for network in _NOT_FOR_US if network.version == address.version)
    return address.is_global and not address.is_multicast and not named


class Fetcher:
    """Fetches pictures from URLs that somebody else chose.

    Args:
        may_reach: the addresses that may be connected to.
        ports: the ports that may be connected to.
        seconds: how long one picture may take in whole, redirects included.
        certificates: whom to believe over TLS; None is the system's.
    """

    def __init__(
        self,
        *,
        may_reach: Callable[[Address], bool] = is_public,
        ports: Collection[int] = PORTS,
        seconds: float = _SECONDS,
        certificates: ssl.SSLContext | None = None,
    ) -> None:
        self._may_reach = may_reach
        self._ports = ports
        self._seconds = seconds
        self._fetches = asyncio.Semaphore(_FETCHES)
        self._decodes = asyncio.Semaphore(1)
        # A connection is bound to an address and not to a name, so none is kept for the next request. And
        # a transport alone has no cookies, no proxies, and follows nothing.
        self._transport = httpx.AsyncHTTPTransport(
            verify=certificates or system_certificates(),
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def picture(self, url: str) -> bytes:
        """What the URL delivers, at most 50 MB; whether that is a picture is for its decoder to say.

        Raises:
            PictureRefused: it may not be fetched, or could not be.
        """
        async with self._fetches:
            return await self._fetched(url)

    async def look(self, url: str) -> Look | None:
        """What the picture behind the URL looks like; None where that cannot be had, which is logged."""
        name = link_label(url)
        try:
            async with self._fetches:
                data = await self._fetched(url)
                async with self._decodes:
                    return (await asyncio.to_thread(prepare, Found(name, data, None))).look
        except PictureRefused as refused:
            logger.info("%s is not compared with its result: %s", name, refused.message)
        except Exception:  # an edit that was paid for must not be lost for want of a comparison
            logger.exception("%s could not be looked at", name)
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _fetched(self, url: str) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._followed(_parsed(url))
        except TimeoutError:
            raise _refused(f"its host did not deliver it within {self._seconds:g} seconds") from None
        except httpx.HTTPError as error:
            raise _refused(f"it could not be fetched ({type(error).__name__})") from None

    async def _followed(self, url: httpx.URL) -> bytes:
        """The content at the end of the redirects."""
        for _ in range(1 + _REDIRECTS):
            response = await self._answer(url)
            async with aclosing(response):
                if not response.has_redirect_location:
                    return await _content(response)
                target = _parsed(response.headers["location"], base=url)
            if url.scheme == "https" and target.scheme != "https":
                raise _refused("it is redirected from https to http")
            url = target
        raise _refused(f"it is redirected more than {_REDIRECTS} times")

    async def _answer(self, url: httpx.URL) -> httpx.Response:
        """The answer of the first address that can be connected to."""
        failure: httpx.HTTPError = httpx.ConnectError("no address")
        for address in (await self._addresses(url))[:_ADDRESSES_TRIED]:
            try:
                return await self._transport.handle_async_request(_pinned(url, address))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _addresses(self, url: httpx.URL) -> list[Address]:
        """What the URL's host stands for. One address out of bounds refuses the name: it is a trap."""
        _check_authority(url)
        port = url.port or (443 if url.scheme == "https" else 80)
        if port not in self._ports:
            raise _refused(f"port {port} is not fetched from, only {' and '.join(map(str, sorted(PORTS)))}")
        addresses = await _resolved(url.raw_host.decode(), port)
        if not all(map(self._may_reach, addresses)):
            # Which address it is would tell a stranger about this network.
            raise _refused("its host is not on the public internet")
        return addresses


async def look_of(prepared: Prepared, fetcher: Fetcher | None) -> Look | None:
    """What a result is compared with: the source itself, or what its link delivers if links are fetched."""
    if prepared.look is not None or prepared.url is None or fetcher is None:
        return prepared.look
    return await fetcher.look(prepared.url)


def _parsed(text: str, *, base: httpx.URL | None = None) -> httpx.URL:
    try:
        return base.join(text) if base else httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise _refused(
            "it is no URL" if base is None else "it is redirected to something malformed"
        ) from None


def _check_authority(url: httpx.URL) -> None:
    """Refuse a URL by what can be read off it."""
    if url.scheme not in {"http", "https"}:
        raise _refused("it leads to something that is neither http nor https")
    if url.userinfo:
        raise _refused("it carries a user name or password")
    if not url.host or "%" in url.host:
        raise _refused("it names no host, or one that is written unusually")


async def _resolved(host: str, port: int) -> list[Address]:
    """The addresses of a host, however it is spelled: as the system itself would connect to it."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(ip_address(place[0]) for *_, place in found))
    except (OSError, ValueError):
        raise _refused("its host has no address") from None


def _pinned(url: httpx.URL, address: Address) -> httpx.Request:
    """A request to this very address, which names the host as the URL does, also to TLS."""
    return httpx.Request(
        "GET",
        url.copy_with(host=str(address), fragment=None),
        headers={"host": url.netloc.decode(), **_HEADERS},
        extensions={
            "sni_hostname": url.raw_host.decode(),
            "timeout": httpx.Timeout(_STEP_SECONDS).as_dict(),
        },
    )


async def _content(response: httpx.Response) -> bytes:
    if response.status_code != HTTPStatus.OK:
        raise _refused(f"its host answers {response.status_code}")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _refused("its host delivers it packed, though it was asked not to")
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_BYTES:
            raise _refused(f"it delivers more than {megabytes(MAX_BYTES)}")
    return bytes(content)


def _refused(why: str) -> PictureRefused:
    return PictureRefused(f"the link is not used: {why}", _HINT)
