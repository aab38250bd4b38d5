"""What the operator of a server for many decides; a personal server has none of it."""

from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

from pydantic import SecretStr

from kontext_edit.budget import Allowance
from kontext_edit.reader import Reader

Auth = Literal["tokens", "oauth"]

_AUTHS: tuple[Auth, ...] = ("tokens", "oauth")
_DATABASES = ("postgresql", "postgres")
_STORES = ("s3", "gs", "az", "file")
_LINK_SECONDS = 3600
_LONGEST_LINK_SECONDS = 7 * 24 * 3600
"""No signed link of S3 lives longer."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """Who issues the bearer tokens, and for whom."""

    issuer: str
    audience: str
    jwks_url: str | None
    """Where its keys are; None where its metadata says so."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How edits are served to callers who are not on this machine."""

    auth: frozenset[Auth]
    """How callers prove who they are; without any the server is one person's."""
    oauth: OAuth | None
    public_url: str | None
    """The address under which callers, and upstream's webhook, reach the server."""
    webhook: bool
    """Whether upstream is asked to push the end of an edit."""
    database_url: SecretStr | None
    """A journal that replicas share."""
    store_url: str | None
    """Where pictures and uploads are kept, if not in folders of this machine."""
    link_seconds: int
    """How long a link to a picture works."""
    allowance: Allowance
    """What one owner may ask for."""
    calls_at_once: int | None
    """How many requests one owner may have open at a replica."""
    allowed_hosts: tuple[str, ...]
    """Names under which the server may be called; no other, so that no website can rebind its own."""
    fetch_links: bool
    """Whether pictures behind links are fetched to compare results with them."""
    json_logs: bool
    log_prompts: bool


def read_serving(reader: Reader) -> Serving:
    """Read what the operator set; what is wrong with it, `reader` tells."""
    auth = cast("frozenset[Auth]", reader.words("KONTEXT_AUTH", _AUTHS))
    public_url = reader.url("KONTEXT_PUBLIC_URL")
    return Serving(
        auth=auth,
        oauth=_oauth(reader, public_url) if "oauth" in auth else None,
        public_url=public_url,
        webhook=reader.switch("KONTEXT_WEBHOOK", default=public_url is not None) and public_url is not None,
        database_url=_database_url(reader),
        store_url=_store_url(reader),
        link_seconds=min(reader.count("KONTEXT_LINK_SECONDS", None) or _LINK_SECONDS, _LONGEST_LINK_SECONDS),
        allowance=Allowance(
            edits_at_once=reader.count("KONTEXT_OWNER_EDITS_AT_ONCE", 50 if auth else None),
            edits_per_minute=reader.count("KONTEXT_OWNER_EDITS_PER_MINUTE", 120 if auth else None),
        ),
        calls_at_once=reader.count("KONTEXT_OWNER_CALLS_AT_ONCE", 100),
        allowed_hosts=_hosts(reader, public_url),
        fetch_links=reader.switch("KONTEXT_FETCH_LINKS", default=not auth),
        json_logs=reader.choice("KONTEXT_LOG", ("text", "json"), "text") == "json",
        log_prompts=reader.switch("KONTEXT_LOG_PROMPTS", default=False),
    )


def _oauth(reader: Reader, public_url: str | None) -> OAuth | None:
    issuer = reader.text("KONTEXT_OAUTH_ISSUER")
    audience = reader.text("KONTEXT_OAUTH_AUDIENCE") or (f"{public_url}/mcp" if public_url else None)
    jwks_url = reader.url("KONTEXT_OAUTH_JWKS_URL")
    reader.url("KONTEXT_OAUTH_ISSUER")  # kept as it is written, since tokens name it letter by letter
    if issuer is None or audience is None or public_url is None:
        reader.problems.append(
            "KONTEXT_AUTH names oauth, which needs KONTEXT_OAUTH_ISSUER and KONTEXT_PUBLIC_URL."
        )
        return None
    return OAuth(issuer, audience, jwks_url)


def _database_url(reader: Reader) -> SecretStr | None:
    url = reader.text("KONTEXT_DATABASE_URL")
    if url is not None and url.partition("://")[0] not in _DATABASES:
        reader.problems.append("KONTEXT_DATABASE_URL must begin with postgresql://.")
    return SecretStr(url) if url else None


def _store_url(reader: Reader) -> str | None:
    url = reader.text("KONTEXT_STORE_URL")
    if url is not None and url.partition("://")[0] not in _STORES:
        schemes = ", ".join(f"{scheme}://" for scheme in _STORES)
        reader.problems.append(f"KONTEXT_STORE_URL must begin with one of {schemes}.")
    return url


def _hosts(reader: Reader, public_url: str | None) -> tuple[str, ...]:
    named = [host.strip() for host in (reader.text("KONTEXT_ALLOWED_HOSTS") or "").split(",") if host.strip()]
    return tuple(named or ([urlsplit(public_url).netloc] if public_url else []))
