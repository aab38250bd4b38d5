"""What a bearer may do, and the static tokens of a small team.

A static token is 32 random bytes, shown once. The server keeps its SHA-256 alone: what cannot be guessed
needs no slow hash with a salt, and a fast one lets every request be looked up by it.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from kontext_edit.errors import InvalidArguments

READ = "read"
"""List, look at and estimate."""
EDIT = "edit"
"""Begin edits and give pictures; includes `read`."""
METRICS = "metrics"
"""Scrape the metrics, and nothing else."""

SCOPES = (READ, EDIT, METRICS)

TOKEN_PREFIX = "kxt_"  # noqa: S105 - tells a static token from others, and lets a scanner find a leaked one

_INCLUDED = {EDIT: (READ,)}
_RANDOM_BYTES = 32
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Token:
    """A static token as it is kept: by its digest."""

    name: str
    """Whose edits it sees: the owner is `token:<name>`."""
    digest: str = field(repr=False)
    scopes: tuple[str, ...]
    created_at: float
    """Seconds since the epoch."""


def new_token() -> str:
    """A token that nobody has seen: the prefix and 43 letters, digits, `-` and `_`."""
    return TOKEN_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest(token: str) -> str:
    """What is kept of a token: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def token_name(name: str) -> str:
    """The name of a token, checked.

    Raises:
        InvalidArguments: it cannot be one.
    """
    if _NAME.fullmatch(name):
        return name
    raise InvalidArguments(
        ["A token's name has 1 to 64 of a–z, 0–9 and . _ @ -, and begins with a letter or a digit."],
        "Name it for whoever will use it, like anna or build-agent.",
    )


def granted(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes of ours among `scopes`, with those that they include."""
    known = frozenset(scopes) & set(SCOPES)
    return known.union(*(_INCLUDED.get(scope, ()) for scope in known))


def may(scopes: Iterable[str], scope: str) -> bool:
    """Whether a bearer with these scopes may do what `scope` is asked for."""
    return scope in granted(scopes)
