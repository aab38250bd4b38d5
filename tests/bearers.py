"""A resource server's side for tests: an issuer that it trusts, a book of static tokens, and its verifier."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest
from tests.clock import FakeClock
from tests.issuer import AUDIENCE, ISSUER, Issuer

from kontext_edit.errors import JournalUnavailable
from kontext_edit.team.identity import Jwts, StaticTokens, Verifier
from kontext_edit.team.keys import IssuerKeys
from kontext_edit.tokens import Token, digest, new_token


@dataclass
class Book:
    """Static tokens in memory, and how often they were looked up."""

    kept: dict[str, Token] = field(default_factory=dict[str, Token])
    looked_up: int = 0
    broken: bool = False

    def add(self, name: str, *scopes: str) -> str:
        text = new_token()
        self.kept[digest(text)] = Token(name, digest(text), scopes, 1_790_000_000)
        return text

    async def token(self, digest: str) -> Token | None:
        self.looked_up += 1
        if self.broken:
            raise JournalUnavailable("The journal cannot be read.")
        return self.kept.get(digest)


@dataclass
class House:
    """A resource server's side: the issuer that it trusts, and its verifier."""

    issuer: Issuer
    clock: FakeClock
    keys: IssuerKeys
    book: Book = field(default_factory=Book)

    def __post_init__(self) -> None:
        jwts = Jwts(self.issuer.url, AUDIENCE, self.keys, self.clock)
        self.verifier = Verifier(StaticTokens(self.book, self.clock), jwts)

    async def knows(self, token: str) -> bool:
        return await self.verifier.verify_token(token) is not None


@pytest.fixture
async def house() -> AsyncGenerator[House]:
    clock = FakeClock()
    issuer = Issuer(now=clock.now())
    keys = IssuerKeys(ISSUER, None, clock, issuer.transport)
    yield House(issuer, clock, keys)
    await keys.close()
