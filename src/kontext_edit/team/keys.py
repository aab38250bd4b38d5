"""The public keys of an OAuth issuer: fetched over HTTP, kept, and fetched anew when one is unknown.

Whoever sends tokens decides which key ids are asked for. So at most one fetch a minute goes out, and one at a
time, whatever arrives; while the issuer cannot be reached, the keys that are known go on.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
from pydantic import BaseModel, ValidationError
from starlette.authentication import AuthenticationError

from kontext_edit.clock import Clock
from kontext_edit.errors import InvalidSettings
from kontext_edit.novita import system_certificates
from kontext_edit.reader import is_loopback

logger = logging.getLogger(__name__)

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "Ed448": ("EdDSA",),
}
ALGORITHMS = (*_RSA, *sorted({name for names in _BY_CURVE.values() for name in names}))
"""Signatures by key pairs alone: a secret shared with the issuer (HS*) or none at all proves nothing here."""

_FRESH_SECONDS = 3600
"""Keys older than this are asked for again, so that one that was withdrawn comes to its end."""
_PAUSE_SECONDS = 60
_PAUSE_AFTER_FAILURE_SECONDS = 10
_TIMEOUT = httpx.Timeout(5)
_LONGEST_FETCH_SECONDS = 15
_LARGEST_ANSWER_BYTES = 512 * 1024


class CannotVerify(AuthenticationError):
    """Whether a token is good cannot be told at present: no verdict on it, and worth another try."""


class _FetchFailed(Exception):
    """The issuer gave no usable answer; the text is for the log."""


class _KeySet(BaseModel):
    keys: list[dict[str, Any]]


class _Metadata(BaseModel):
    issuer: str
    jwks_uri: str


class IssuerKeys:
    """The keys of one issuer.

    Args:
        issuer: its identifier, letter by letter as in its tokens.
        jwks_url: where its keys are; None where its metadata says so [RFC 8414, OpenID Connect Discovery].
        clock: for the pauses between fetches.
        transport: the seam for tests; None is the network.

    Raises:
        InvalidSettings: an address is not https.
    """

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not all(_is_safe(url) for url in (issuer, jwks_url) if url):
            raise InvalidSettings(["An OAuth issuer and its keys must be at https, except on this machine."])
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._clock = clock
        self._http = httpx.AsyncClient(
            timeout=_TIMEOUT, transport=transport, verify=system_certificates(), follow_redirects=False
        )
        self._fetching = asyncio.Lock()
        self._keys: list[jwt.PyJWK] = []
        self._fetched_at = self._next_fetch_at = float("-inf")
        self._failed = False

    async def key(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key with this id that signs by `algorithm`; without an id, the only one that does.

        Raises:
            CannotVerify: it is unknown, and the issuer cannot be asked.
        """
        found = self._known(key_id, algorithm)
        is_fresh = self._clock.monotonic() - self._fetched_at < _FRESH_SECONDS
        if found is None or not (is_fresh or self._fetching.locked()):
            await self._refresh()
            found = self._known(key_id, algorithm)
        if found is None and self._failed:
            raise CannotVerify("The issuer of access tokens cannot be reached.")
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _known(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        suitable = [key for key in self._keys if key.algorithm_name == algorithm]
        if key_id is None:
            return suitable[0] if len(suitable) == 1 else None
        return next((key for key in suitable if key.key_id == key_id), None)

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was just done; whoever comes meanwhile waits for the same fetch."""
        async with self._fetching:
            now = self._clock.monotonic()
            if now < self._next_fetch_at:
                return
            # A fetch that is never heard of again, since its caller went away, counts as a failed one.
            self._failed, self._next_fetch_at = True, now + _PAUSE_AFTER_FAILURE_SECONDS
            try:
                async with asyncio.timeout(_LONGEST_FETCH_SECONDS):
                    self._keys = await self._fetch()
            except (_FetchFailed, TimeoutError) as failure:
                logger.warning("the keys of the OAuth issuer cannot be fetched: %s", failure or "too slow")
            else:
                self._failed, self._fetched_at, self._next_fetch_at = False, now, now + _PAUSE_SECONDS

    async def _fetch(self) -> list[jwt.PyJWK]:
        answer = await self._get(self._jwks_url or await self._discovered())
        try:
            entries = _KeySet.model_validate_json(answer or b"").keys
        except ValidationError:
            raise _FetchFailed("the answer is no set of keys") from None
        keys = [key for entry in entries for key in _usable(entry)]
        if not keys:
            raise _FetchFailed("none of the keys can be used")
        return keys

    async def _discovered(self) -> str:
        """Where the issuer's metadata says that the keys are."""
        for url in _metadata_urls(self._issuer):
            answer = await self._get(url)
            try:
                metadata = _Metadata.model_validate_json(answer or b"")
            except ValidationError:
                continue
            if metadata.issuer == self._issuer and _is_safe(metadata.jwks_uri):
                return metadata.jwks_uri
        raise _FetchFailed("no metadata of the issuer names an https address of its keys")

    async def _get(self, url: str) -> bytes | None:
        """A short answer; None for any that is not a success."""
        try:
            async with self._http.stream("GET", url, headers={"accept": "application/json"}) as response:
                if not response.is_success:
                    return None
                body = b""
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _LARGEST_ANSWER_BYTES:
                        raise _FetchFailed("the answer is too large")
                return body
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _FetchFailed(f"{type(error).__name__} at {urlsplit(url).hostname}") from None


def _usable(entry: dict[str, Any]) -> Iterator[jwt.PyJWK]:
    """A published key, once for each algorithm that it may sign by; what cannot be used is left out."""
    if entry.get("use", "sig") != "sig" or "d" in entry:
        return
    possible = _RSA if entry.get("kty") == "RSA" else _BY_CURVE.get(str(entry.get("crv")), ())
    for algorithm in possible:
        if entry.get("alg", algorithm) == algorithm:
            try:
                yield jwt.PyJWK(entry, algorithm)
            except jwt.PyJWTError as error:
                logger.warning("a key of the OAuth issuer cannot be used: %s", type(error).__name__)


def _metadata_urls(issuer: str) -> Iterator[str]:
    """Where an issuer may tell about itself: the well-known part stands before its path, or after it."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    yield f"{origin}/.well-known/oauth-authorization-server{path}"
    yield f"{origin}/.well-known/openid-configuration{path}"
    if path:
        yield f"{origin}{path}/.well-known/openid-configuration"


def _is_safe(url: str) -> bool:
    return url.lower().startswith("https://") or (url.lower().startswith("http://") and is_loopback(url))
