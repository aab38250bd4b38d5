"""Connections to a PostgreSQL server: where it is, how one is opened, and what may be told of its errors."""

import re
import selectors
import sys
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from pydantic import SecretStr

from kontext_edit.errors import InvalidSettings, JournalUnavailable

Connection = psycopg.Connection[DictRow]

_DEFAULTS: dict[str, Any] = {
    "application_name": "kontext-edit",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "target_session_attrs": "read-write",  # of several hosts the one that takes writes
}
"""What the URL may set otherwise. A server that is gone without a word is noticed within seconds."""
_SESSION = b"""
    SET synchronous_commit = on; SET statement_timeout = '15s'; SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '30s'; SET client_min_messages = warning
"""
"""A transaction in which no money moves says by itself that it need not be on the disk when it ends."""
_PREPARED_AFTER = 3

_Selector = selectors.DefaultSelector if sys.platform == "win32" else selectors.PollSelector
"""What looks at a single connection with the fewest calls of the system."""

_IS_URL = re.compile("postgres(ql)?://")
_ENCODED = re.compile(r"[/?#@\[\]\s]")
"""What stands percent-encoded in a user's name and password."""


class Database:
    """A PostgreSQL database by its URL.

    Raises:
        InvalidSettings: it is none.
    """

    def __init__(self, url: SecretStr) -> None:
        self._parameters = _DEFAULTS | _parsed(url.get_secret_value())
        self.place = _place(self._parameters)

    def connect(self) -> Connection:
        """A new connection, in which each statement is a transaction of its own where none is begun."""
        connection = Connection.connect(
            **self._parameters,
            client_encoding="UTF8",
            autocommit=True,
            prepare_threshold=_PREPARED_AFTER,
            row_factory=dict_row,
        )
        try:
            connection.execute(_SESSION, prepare=False)
        except BaseException:
            connection.close()
            raise
        return connection

    def words(self, error: psycopg.Error) -> str:
        """An error for the log, in one line and without the password."""
        password = self._parameters.get("password")
        said = " ".join(str(error).split())
        return said.replace(password, "***") if password else said

    def unavailable(self, error: psycopg.Error) -> JournalUnavailable:
        """An error for a caller, who need not know where the database is."""
        said = error.diag.message_primary or "it cannot be reached"
        return JournalUnavailable(
            f"The journal's database cannot be used: {said}.",
            "Nothing is sent while an edit cannot be written down. Edits under way go on when it is back: "
            "try again in a moment. If that lasts, the operator finds the reason in the server's log.",
        )


def is_usable(connection: Connection) -> bool:
    """Whether an idle connection can be used: nothing is open, and the server said no last word."""
    if connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE:
        return False
    with _Selector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return not selector.select(timeout=0)


def _parsed(url: str) -> dict[str, Any]:
    """A URL's parts. What is wrong with it is not quoted: any part of it can be the password."""
    user, at, _ = url.partition("://")[2].rpartition("@")
    if _IS_URL.match(url) and not (at and _ENCODED.search(user)):
        with suppress(psycopg.Error):
            parts = conninfo_to_dict(url)
            if all(port.isdecimal() for port in str(parts.get("port", "5432")).split(",")):
                return parts
    problem = (
        "KONTEXT_DATABASE_URL is no URL of a PostgreSQL database: it looks like "
        "postgresql://user:password@host:5432/database, with special characters in the password "
        "percent-encoded (/ is %2F, @ is %40, : is %3A)."
    )
    raise InvalidSettings([problem])


def _place(parameters: dict[str, Any]) -> str:
    host, port = parameters.get("host", "localhost"), parameters.get("port", 5432)
    return f"postgresql://{host}:{port}/{parameters.get('dbname', '')}"
