"""The SQL of what processes share beside edits: facts by name, and the tokens that callers are known by."""

from collections.abc import Callable

from kontext_edit.journal.session import Row, Session
from kontext_edit.tokens import Token


def share(session: Session, name: str, change: Callable[[str | None], str]) -> str:
    """Change what all processes know under a name."""
    with session.transaction(alone=f"fact {name}", synced=False):
        row = session.row("SELECT value FROM shared_facts WHERE name = :name", {"name": name})
        before = row["value"] if row else None
        value = change(before)
        if value != before:
            session.write(
                """
                INSERT INTO shared_facts (name, value) VALUES (:name, :value)
                ON CONFLICT (name) DO UPDATE SET value = excluded.value
                """,
                {"name": name, "value": value},
            )
    return value


def add_token(session: Session, token: Token) -> bool:
    """Write a token down; False where its name or its digest is there already."""
    values = {
        "name": token.name,
        "digest": token.digest,
        "scopes": " ".join(token.scopes),
        "created_at": token.created_at,
    }
    added = session.change(
        """
        INSERT INTO tokens (name, digest, scopes, created_at)
        VALUES (:name, :digest, :scopes, :created_at)
        ON CONFLICT DO NOTHING RETURNING name
        """,
        values,
    )
    return added is not None


def token(session: Session, digest: str) -> Token | None:
    """The token with this digest."""
    row = session.row("SELECT * FROM tokens WHERE digest = :digest", {"digest": digest})
    return _token(row) if row else None


def tokens(session: Session) -> list[Token]:
    """All tokens, by name."""
    return [_token(row) for row in session.rows("SELECT * FROM tokens ORDER BY name")]


def remove_token(session: Session, name: str) -> bool:
    """Forget a token; False where there is none."""
    return session.change("DELETE FROM tokens WHERE name = :name RETURNING name", {"name": name}) is not None


def _token(row: Row) -> Token:
    return Token(row["name"], row["digest"], tuple(row["scopes"].split()), row["created_at"])
