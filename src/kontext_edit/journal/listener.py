"""A thread that listens to what other processes do, on a connection of its own."""

import logging
import selectors
import socket
import threading
from concurrent.futures import Future

import psycopg

from kontext_edit.journal.database import Connection, Database
from kontext_edit.journal.session import Hearer

logger = logging.getLogger(__name__)

MOVED = "kontext_edit_moved"
"""The channel of moves: our id and the status, with a space between."""
RUNG = "kontext_edit_rung"

_AGAIN_SECONDS = 1.0


class Listener:
    """Listens from its start to its end; after the database was away, again."""

    def __init__(self, database: Database, hearer: Hearer) -> None:
        self.began: Future[None] = Future()
        """Done when it hears; JournalUnavailable where the first attempt failed."""
        self.hears = False
        self._database = database
        self._hearer = hearer
        self._ended = False
        self._woken, self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._listen_on, name="journal's listener", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self.began.set_running_or_notify_cancel()
        self._thread.start()

    def end(self) -> None:
        """Stop, and wait until it has."""
        self._ended = True
        self._wake.send(b"!")
        self._thread.join()
        self._wake.close()
        self._woken.close()

    def _listen_on(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._ended:
                try:
                    self._listen(selector)
                except psycopg.Error as error:
                    logger.warning("the journal at %s: %s", self._database.place, self._database.words(error))
                    if not self.began.done():
                        self.began.set_exception(self._database.unavailable(error))
                    selector.select(_AGAIN_SECONDS)

    def _listen(self, selector: selectors.BaseSelector) -> None:
        with self._database.connect() as connection:
            connection.execute(f"LISTEN {MOVED}".encode())
            connection.execute(f"LISTEN {RUNG}".encode())
            selector.register(connection, selectors.EVENT_READ)
            try:
                self.hears = True
                self._hearer.caught_up()
                if not self.began.done():
                    self.began.set_result(None)
                self._tell(connection)
                while not self._ended:
                    selector.select()
                    self._tell(connection)
            finally:
                self.hears = False
                selector.unregister(connection)

    def _tell(self, connection: Connection) -> None:
        """Pass on what has come, without waiting for more."""
        moves: dict[str, str] = {}
        for note in connection.notifies(timeout=0):
            if note.channel == RUNG:
                self._hearer.rung(note.payload)
            else:
                task_id, _, status = note.payload.partition(" ")
                moves[task_id] = status
        if moves:
            self._hearer.moved(moves)
