"""The commands about static tokens: a new one on stdout, once; what people read on stderr or in a table."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

from kontext_edit.cli.output import say
from kontext_edit.errors import InvalidArguments
from kontext_edit.tokens import SCOPES, Token, digest, new_token, token_name


class TokenKeeper(Protocol):
    """Where static tokens are written down, as their administrator sees it."""

    async def add_token(self, name: str, digest: str, scopes: Sequence[str], at: float) -> None:
        """Write a token down; raises InvalidArguments where the name is taken."""
        ...

    async def tokens(self) -> list[Token]:
        """All tokens, by name."""
        ...

    async def remove_token(self, name: str) -> bool:
        """Forget a token; False where there is none of this name."""
        ...


async def add(keeper: TokenKeeper, name: str, scope: str, at: float) -> None:
    """Make a token, and print it on stdout: the only time that it is seen.

    Raises:
        InvalidArguments: the name or the scope cannot be used, or the name is taken.
        JournalUnavailable: it cannot be written down.
    """
    if scope not in SCOPES:
        raise InvalidArguments([f"There is no scope {scope!r}."], f"Choose one of {', '.join(SCOPES)}.")
    token = new_token()
    await keeper.add_token(token_name(name), digest(token), (scope,), at)
    sys.stdout.write(f"{token}\n")
    sys.stdout.flush()
    say(f"This is the token of {name}, with the scope {scope}. It is not shown again, and not kept here.")
    say("Clients send it with every request, as the header: Authorization: Bearer <token>")


async def show(keeper: TokenKeeper, *, as_json: bool) -> None:
    """Tell which tokens there are, on stdout; not what they are.

    Raises:
        JournalUnavailable: they cannot be read.
    """
    rows = [_row(token) for token in await keeper.tokens()]
    if as_json:
        sys.stdout.write(json.dumps({"tokens": rows}, indent=2) + "\n")
        return
    table = Table()
    for heading in ("Name", "Scopes", "Made"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row["name"], " ".join(row["scopes"]), row["created"])
    Console(highlight=False).print(table)


async def remove(keeper: TokenKeeper, name: str) -> None:
    """End a token.

    Raises:
        InvalidArguments: there is none of this name.
        JournalUnavailable: it cannot be forgotten.
    """
    if not await keeper.remove_token(name):
        raise InvalidArguments(
            ["There is no token of this name."], "`kontext-edit tokens list` shows which there are."
        )
    say(f"The token of {name} is removed; running servers refuse it within half a minute.")


def _row(token: Token) -> dict[str, Any]:
    created = datetime.fromtimestamp(token.created_at, UTC).isoformat(timespec="seconds")
    return {"name": token.name, "scopes": list(token.scopes), "created": created}
