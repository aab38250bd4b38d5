"""The journal in a PostgreSQL database, which any number of servers share."""

import hashlib
import logging
import queue
import re
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from functools import cache

import psycopg
from psycopg.rows import DictRow
from pydantic import SecretStr

from kontext_edit.budget import Limit
from kontext_edit.journal.database import Connection, Database, is_usable
from kontext_edit.journal.listener import MOVED, RUNG, Listener
from kontext_edit.journal.session import NOTHING, Answer, Dialect, Hearer, Session
from kontext_edit.journal.tables import migrate

logger = logging.getLogger(__name__)

_CONNECTIONS = 8
"""So many are opened at most, beside the listener's."""
_DAY = Limit("day", Decimal(0))

_DIALECT = Dialect(
    for_update="FOR UPDATE",
    for_update_of_free="FOR UPDATE SKIP LOCKED",
    among_ids="= ANY(:ids)",
    local_day="(CAST(:days AS TEXT[]))[width_bucket(created_at, CAST(:midnights AS DOUBLE PRECISION[]))]",
    told=f", pg_notify('{MOVED}', id || ' ' || status)",
)

_NOT_SYNCED = ", set_config('synchronous_commit', 'off', true) AS synchronous_commit"
"""Added to what a statement returns, it spares another one before it."""
_KEY_BYTES = 8


class PostgresSession:
    """A session on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._cursor = connection.cursor()

    def rows(self, statement: str, values: Mapping[str, object] = NOTHING) -> Sequence[DictRow]:
        """What a question finds."""
        return self._cursor.execute(_text(statement), values).fetchall()

    def row(self, statement: str, values: Mapping[str, object] = NOTHING) -> DictRow | None:
        """The first of what a question finds."""
        return self._cursor.execute(_text(statement), values).fetchone()

    def write(self, statement: str, values: Mapping[str, object] = NOTHING) -> None:
        """Carry out a statement."""
        self._cursor.execute(_text(statement), values)

    def write_each(self, statement: str, values: Sequence[Mapping[str, object]]) -> None:
        """Carry out a statement with one set of values after the other."""
        for each in values:
            self.write(statement, each)

    def change(
        self, statement: str, values: Mapping[str, object] = NOTHING, *, synced: bool = True
    ) -> DictRow | None:
        """Carry out a statement as a transaction of its own; the first row that it returns."""
        return self.row(statement if synced else statement + _NOT_SYNCED, values)

    @contextmanager
    def transaction(self, *, alone: str = "", synced: bool = True) -> Generator[None]:
        """All or nothing; others see it when it is over."""
        first = ["BEGIN"]
        if not synced:
            first.append("SET LOCAL synchronous_commit = off")
        if alone:
            first.append(_lock(alone))
        self._cursor.execute("; ".join(first).encode(), prepare=False)
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):
                self._cursor.execute(b"ROLLBACK")
            raise
        self._cursor.execute(b"COMMIT")

    def alone(self, name: str) -> None:
        """From here to the end of the transaction, no other one is alone with this name."""
        self._cursor.execute(_lock(name).encode(), prepare=False)

    def listed(self, values: Iterable[str]) -> object:
        """Several values as one."""
        return list(values)

    def local_days(self) -> Mapping[str, object]:
        """The days of all edits and when they began here; the server may live in another time zone."""
        span = self.row("SELECT MIN(created_at) AS first, MAX(created_at) AS last FROM edits")
        days: list[str] = []
        midnights: list[float] = []
        if span and span["first"] is not None:
            begins, ends = _DAY.window(span["first"])
            while begins <= span["last"]:
                days.append(datetime.fromtimestamp(begins).astimezone().date().isoformat())
                midnights.append(begins)
                begins, ends = ends, _DAY.window(ends)[1]
        return {"days": days, "midnights": midnights}


class PostgresEngine:
    """A few connections, each for one call at a time; a broken one is replaced by the next call.

    Raises:
        InvalidSettings: the URL is none.
    """

    def __init__(self, url: SecretStr) -> None:
        self._database = Database(url)
        self.place = self._database.place
        self.notice: str | None = None
        self._idle: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(_CONNECTIONS):
            self._idle.put(None)
        self._migrating = threading.Lock()
        self._is_migrated = False
        self._listener: Listener | None = None

    @property
    def hears_others(self) -> bool:
        """Whether the listener has its connection."""
        return self._listener is not None and self._listener.hears

    def run(self, work: Callable[[Session], Answer]) -> Answer:
        """Do something in a session.

        Raises:
            JournalUnavailable: the database cannot be reached or used.
        """
        try:
            with self._connection() as connection:
                return work(PostgresSession(connection))
        except psycopg.Error as error:
            logger.warning("the journal at %s: %s", self.place, self._database.words(error))
            raise self._database.unavailable(error) from error

    def hear(self, hearer: Hearer) -> Future[None]:
        """Tell somebody what goes on in all processes, this one included."""
        if self._listener is None:
            self._listener = Listener(self._database, hearer)
            self._listener.start()
        return self._listener.began

    def ring(self, name: str) -> bool:
        """Say a word to all listeners."""
        question = "SELECT pg_notify(:channel, :name)"
        self.run(lambda session: session.rows(question, {"channel": RUNG, "name": name}))
        return True

    def close(self) -> None:
        """Close all connections, when what uses them is done."""
        if self._listener is not None:
            self._listener.end()
            self._listener = None
        idle = [self._idle.get() for _ in range(_CONNECTIONS)]
        for connection in filter(None, idle):
            connection.close()
        for _ in idle:
            self._idle.put(None)

    @contextmanager
    def _connection(self) -> Generator[Connection]:
        connection = self._idle.get()
        try:
            if connection is not None and not is_usable(connection):
                connection.close()
                connection = None
            connection = connection or self._opened()
            yield connection
        except psycopg.Error:
            if connection is not None:
                connection.close()
            raise
        finally:
            self._idle.put(None if connection is None or connection.closed else connection)

    def _opened(self) -> Connection:
        connection = self._database.connect()
        try:
            with self._migrating:
                if not self._is_migrated:
                    migrate(connection)
                    self._is_migrated = True
        except BaseException:
            connection.close()
            raise
        return connection


def _lock(name: str) -> str:
    """The statement that waits until no other transaction has this name."""
    key = hashlib.blake2b(f"kontext-edit {name}".encode(), digest_size=_KEY_BYTES).digest()
    return f"SELECT pg_advisory_xact_lock({int.from_bytes(key, signed=True)})"


@cache
def _text(statement: str) -> bytes:
    """A statement as the driver takes it."""
    return re.sub(r":(\w+)", r"%(\1)s", _DIALECT.text(statement)).encode()
