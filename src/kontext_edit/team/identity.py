"""Who is asking: a bearer token becomes what its holder may do and whose edits they are.

JWTs of an OAuth issuer and static tokens of the journal are told apart by their shape. A token's text is kept
nowhere and told to nobody; the log has only why one was refused.
"""

import logging
from typing import Annotated, Any, Protocol

import jwt
from mcp.server.auth.provider import AccessToken, TokenVerifier
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from kontext_edit.clock import Clock
from kontext_edit.errors import JournalUnavailable
from kontext_edit.team.keys import ALGORITHMS, CannotVerify, IssuerKeys
from kontext_edit.tokens import TOKEN_PREFIX, Token, digest, granted

logger = logging.getLogger(__name__)

NOT_KEPT = "[not kept]"
"""Stands where the SDK would carry the token itself along."""

_LEEWAY_SECONDS = 30
"""Two machines' clocks never agree."""
_LONGEST_TOKEN = 16 * 1024
_REMEMBERED_SECONDS = 30
"""How long a removed static token may still work."""


class TokenBook(Protocol):
    """Where static tokens are written down."""

    async def token(self, digest: str) -> Token | None:
        """The token with this digest.

        Raises:
            JournalUnavailable: nobody can tell.
        """
        ...


class StaticTokens:
    """Static tokens, by a book of them. A good one is remembered for half a minute; a wrong one never is."""

    def __init__(self, book: TokenBook, clock: Clock) -> None:
        self._book = book
        self._clock = clock
        self._remembered: dict[str, tuple[float, AccessToken]] = {}

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whose token it is; None where it is nobody's.

        Raises:
            CannotVerify: the book cannot be read.
        """
        key, now = digest(token), self._clock.monotonic()
        until, access = self._remembered.get(key, (now, None))
        if access is not None and now < until:
            return access
        self._remembered.pop(key, None)
        try:
            found = await self._book.token(key)
        except JournalUnavailable as error:
            raise CannotVerify("The tokens of this server cannot be looked up.") from error
        if found is None:
            return _refused("no such static token")
        access = AccessToken(
            token=NOT_KEPT,
            client_id=f"token:{found.name}",
            scopes=sorted(granted(found.scopes)),
            subject=found.name,
        )
        self._remembered[key] = now + _REMEMBERED_SECONDS, access
        return access


def _one_line(text: str) -> str:
    """A subject becomes part of an owner: it must fit into a line and into any database."""
    if not text.isprintable():
        raise ValueError
    return text


_Words = str | list[str]
_Moment = Annotated[float, Field(strict=True, ge=0, le=2**53, allow_inf_nan=False)]


class _Claims(BaseModel):
    """What a token says, as far as it is read [RFC 9068, and what issuers in the field write]."""

    iss: str
    sub: Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_one_line)]
    exp: _Moment
    nbf: _Moment = 0
    iat: _Moment = 0
    scope: _Words = ""
    scp: _Words = ""
    client_id: str | None = None
    azp: str | None = None
    typ: str = "Bearer"
    token_use: str = "access"  # noqa: S105 - a claim's usual value
    at_hash: Any = None
    c_hash: Any = None

    @property
    def scopes(self) -> frozenset[str]:
        """Ours among the scopes."""
        said = (words.split() if isinstance(words, str) else words for words in (self.scope, self.scp))
        return granted(word for words in said for word in words)

    @property
    def is_for_access(self) -> bool:
        """Whether it is no ID or refresh token, which some issuers sign with the same key."""
        kind = self.typ.lower() in ("bearer", "jwt", "at+jwt") and self.token_use == "access"  # noqa: S105 - as above
        return kind and self.at_hash is None and self.c_hash is None


class Jwts:
    """JWTs of one OAuth issuer for one audience.

    Args:
        issuer: its identifier, letter by letter.
        audience: what a token must be meant for; as a rule this server's own address.
        keys: the issuer's.
        clock: for what has expired or is not valid yet.
    """

    def __init__(self, issuer: str, audience: str, keys: IssuerKeys, clock: Clock) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._clock = clock

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whose token it is; None where it is not good.

        Raises:
            CannotVerify: it is signed by an unknown key, and the issuer cannot be asked.
        """
        if len(token) > _LONGEST_TOKEN:
            return _refused("too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            return _refused(type(error).__name__)
        if (algorithm := header.get("alg")) not in ALGORITHMS:
            return _refused("algorithm not allowed")
        if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in ("jwt", "at+jwt"):
            return _refused("not an access token")
        key = await self._keys.key(header.get("kid"), algorithm)
        if key is None:
            return _refused("unknown key")
        return self._verified(token, key, algorithm)

    def _verified(self, token: str, key: jwt.PyJWK, algorithm: str) -> AccessToken | None:
        try:
            claims = _Claims.model_validate(
                jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    issuer=self._issuer,
                    audience=self._audience,
                    options={
                        "require": ["iss", "aud", "exp", "sub"],
                        "enforce_minimum_key_length": True,
                        # The time is told by our clock, below.
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                    },
                )
            )
        except (jwt.PyJWTError, ValidationError) as error:
            return _refused(type(error).__name__)
        now = self._clock.now()
        if not max(claims.nbf, claims.iat) - _LEEWAY_SECONDS <= now < claims.exp + _LEEWAY_SECONDS:
            return _refused("expired, or not valid yet")
        if not claims.is_for_access:
            return _refused("not an access token")
        return AccessToken(
            token=NOT_KEPT,
            client_id=claims.client_id or claims.azp or claims.sub,
            scopes=sorted(claims.scopes),
            expires_at=int(claims.exp) + _LEEWAY_SECONDS,
            resource=self._audience,
            subject=claims.sub,
            claims={"iss": claims.iss},
        )


class Verifier:
    """Verifies the tokens of both kinds, as far as the server takes them."""

    def __init__(self, static: StaticTokens | None = None, jwts: Jwts | None = None) -> None:
        self._static = static
        self._jwts = jwts

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whose token it is; None where it is not good.

        Raises:
            CannotVerify: that cannot be told at present.
        """
        kind: TokenVerifier | None = self._static if token.startswith(TOKEN_PREFIX) else self._jwts
        return _refused("of a kind that is not taken") if kind is None else await kind.verify_token(token)


def owner_of(access: AccessToken) -> str:
    """Whose edits a bearer sees and begins."""
    issuer = (access.claims or {}).get("iss")
    return f"token:{access.subject}" if issuer is None else f"oauth:{issuer} {access.subject}"


def _refused(why: str) -> None:
    logger.info("a bearer token was refused: %s", why)
