"""A real OAuth issuer for tests: key pairs, metadata, a set of keys over HTTP, and tokens signed by them."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ISSUER = "https://login.example/team"
AUDIENCE = "https://edits.example/mcp"

_ENDING_SECONDS = 20
_LIFETIME_SECONDS = 600


@cache
def _rsa_key(_number: int) -> rsa.RSAPrivateKey:
    """RSA keys are dear to make, so that tests share them."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def encoded(part: object) -> str:
    """A part of a token: bytes, or what is written as JSON."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _without_none(parts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value is not None}


@dataclass(frozen=True)
class SigningKey:
    """A key pair of the issuer."""

    kid: str | None
    algorithm: str
    private: Any

    @classmethod
    def make(cls, kid: str | None, algorithm: str = "RS256", number: int = 0) -> "SigningKey":
        """A key pair; RSA keys of the same `number` are the same."""
        if algorithm.startswith("ES"):
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            return cls(kid, algorithm, ec.generate_private_key(curves[algorithm]))
        if algorithm == "EdDSA":
            return cls(kid, algorithm, ed25519.Ed25519PrivateKey.generate())
        return cls(kid, algorithm, _rsa_key(number))

    @property
    def public_pem(self) -> bytes:
        """What everybody may know of it."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """A token that says just this, good or not; a part that is None is left out."""
        parts = [_without_none({"typ": "JWT", "alg": self.algorithm} | header), _without_none(claims)]
        said = ".".join(map(encoded, parts))
        return (
            f"{said}.{encoded(jwt.get_algorithm_by_name(self.algorithm).sign(said.encode(), self.private))}"
        )

    def published(self, **changes: Any) -> dict[str, Any]:
        """Its entry in the set of keys; a change to None leaves a part out."""
        kinds = {"ES": ECAlgorithm, "Ed": OKPAlgorithm}
        kind = kinds.get(self.algorithm[:2], RSAAlgorithm)
        entry = json.loads(kind.to_jwk(self.private.public_key()))
        entry |= {"kid": self.kid, "alg": self.algorithm, "use": "sig"} | changes
        return _without_none(entry)


@dataclass
class Issuer:
    """An authorization server as a resource server sees it. It can rotate its keys, and be out of reach."""

    url: str = ISSUER
    keys: list[SigningKey] = field(default_factory=lambda: [SigningKey.make("k1")])
    down: bool = False
    silent: bool = False
    """Takes requests and never answers."""
    asked: list[str] = field(default_factory=list[str])
    """The paths that were asked for."""
    answers: dict[str, Response] = field(default_factory=dict[str, Response])
    """Prepared answers, by path."""
    now: float = 0.0
    """When its tokens are issued."""

    @property
    def app(self) -> Starlette:
        """Its public side."""
        return Starlette(routes=[Route("/{path:path}", self._answer)])

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        """The way to it, without a network."""
        return _Way(self)

    @property
    def jwks_url(self) -> str:
        """Where its keys are."""
        return f"{self.url}/keys"

    def token(
        self, signed_by: SigningKey | None = None, headers: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """A token for the right audience; a claim that is None is left out."""
        key = signed_by or self.keys[0]
        return key.sign({"kid": key.kid} | (headers or {}), self.claims() | claims)

    def claims(self) -> dict[str, Any]:
        """What a good token says."""
        return {
            "iss": self.url,
            "sub": "anna",
            "aud": AUDIENCE,
            "iat": self.now,
            "exp": self.now + _LIFETIME_SECONDS,
            "scope": "openid edit",
            "client_id": "desktop",
        }

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == httpx.URL(self.jwks_url).path:
            return JSONResponse({"keys": [key.published() for key in self.keys]})
        if path == f"{httpx.URL(self.url).path.rstrip('/')}/.well-known/openid-configuration":
            return JSONResponse({"issuer": self.url, "jwks_uri": self.jwks_url})
        return Response(status_code=404)


class _Way(httpx.AsyncBaseTransport):
    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._inner = httpx.ASGITransport(issuer.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._issuer.down:
            self._issuer.asked.append(request.url.path)
            raise httpx.ConnectError("unreachable")
        if self._issuer.silent:
            await asyncio.Event().wait()
        return await self._inner.handle_async_request(request)


@contextmanager
def served_issuer(issuer: Issuer) -> Generator[Issuer]:
    """Serve an issuer on a free port of this machine, with the address there as its identifier."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        issuer.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(issuer.app, lifespan="off", ws="none", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.should_exit = True
            thread.join(_ENDING_SECONDS)
    assert not thread.is_alive(), "the issuer did not end"
