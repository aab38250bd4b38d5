"""The journal in a file of its own: SQLite in WAL mode, so that several processes can share it."""

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path

from kontext_edit.errors import JournalUnavailable
from kontext_edit.journal.file import identity, is_damage, is_damaged, open_file, set_aside, transaction
from kontext_edit.journal.session import NOTHING, Answer, Dialect, Hearer, Row, Session

logger = logging.getLogger(__name__)

_DIALECT = Dialect(
    for_update="",
    for_update_of_free="",
    among_ids="IN (SELECT value FROM json_each(:ids))",
    local_day="date(created_at, 'unixepoch', 'localtime')",
    told="",
)


class FileSession:
    """A session in the file; what writes there is alone in any case."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, statement: str, values: Mapping[str, object] = NOTHING) -> Sequence[Row]:
        """What a question finds."""
        return self._connection.execute(_DIALECT.text(statement), values).fetchall()

    def row(self, statement: str, values: Mapping[str, object] = NOTHING) -> Row | None:
        """The first of what a question finds."""
        return self._connection.execute(_DIALECT.text(statement), values).fetchone()

    def write(self, statement: str, values: Mapping[str, object] = NOTHING) -> None:
        """Carry out a statement."""
        self._connection.execute(_DIALECT.text(statement), values)

    def write_each(self, statement: str, values: Sequence[Mapping[str, object]]) -> None:
        """Carry out a statement with one set of values after the other."""
        self._connection.executemany(_DIALECT.text(statement), values)

    def change(
        self, statement: str, values: Mapping[str, object] = NOTHING, *, synced: bool = True
    ) -> Row | None:
        """Carry out a statement as a transaction of its own; the first row that it returns."""
        with self.transaction(synced=synced):
            return next(iter(self.rows(statement, values)), None)

    def transaction(self, *, alone: str = "", synced: bool = True) -> AbstractContextManager[None]:
        """All or nothing, and nobody else writes meanwhile."""
        del alone  # as every transaction is
        return transaction(self._connection, synced=synced)

    def alone(self, name: str) -> None:
        """As every transaction is."""

    def listed(self, values: Iterable[str]) -> object:
        """Several values as one."""
        return json.dumps(list(values))

    def local_days(self) -> Mapping[str, object]:
        """Nothing: SQLite knows the time zone."""
        return NOTHING


class EmbeddedEngine:
    """One file, one connection, one call at a time; a damaged file is set aside.

    Args:
        path: the file.
        private: whether callers are elsewhere, so that only the log is told where it is.
    """

    hears_others = False

    def __init__(self, path: Path, *, private: bool) -> None:
        self._path = path
        self._private = private
        self.place = str(path)
        self.notice: str | None = None
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def run(self, work: Callable[[Session], Answer]) -> Answer:
        """Do something in the file.

        Raises:
            JournalUnavailable: it cannot be opened, read or written.
        """
        with self._lock:
            try:
                try:
                    return work(FileSession(self._opened()))
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    self._close()
                    if is_damaged(self._path):
                        self._set_aside()
                    return work(FileSession(self._opened()))
            except (sqlite3.Error, OSError) as error:
                raise self._unavailable(error) from error

    def hear(self, hearer: Hearer) -> Future[None]:
        """Nothing: a file tells nobody."""
        del hearer
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def ring(self, name: str) -> bool:
        """Not carried anywhere."""
        del name
        return False

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and identity(self._path) != self._identity:
            self._close()  # somebody took the file away: what is written there now, nobody would see
        if self._connection is None:
            self._connection = open_file(self._path)
            self._identity = identity(self._path)
        return self._connection

    def _unavailable(self, error: Exception) -> JournalUnavailable:
        if self._private:
            logger.error("the journal %s cannot be used: %s", self._path, error)
            return JournalUnavailable(
                "The journal cannot be used at the moment.",
                "Nothing is sent while an edit cannot be written down. Try again in a moment; if it lasts, "
                "tell whoever runs this server.",
            )
        return JournalUnavailable(
            f"The journal {self._path} cannot be used: {error}.",
            "Nothing is sent while an edit cannot be written down. Ask the person to look at the "
            "folder (space, rights, another program), or to set KONTEXT_HOME to another one.",
        )

    def _set_aside(self) -> None:
        """Go on with a new file where the old one is damaged, and say so."""
        aside = set_aside(self._path)
        logger.error("the journal was damaged and is kept as %s", aside)
        self.notice = (
            f"The journal was damaged and is kept {'aside' if self._private else f'as {aside}'}. Edits and "
            "spending from before are not known here any more: repeating one of them may buy it again."
        )

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
