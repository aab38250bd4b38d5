"""The journal's file: opened, brought to the newest schema, and set aside where it is damaged."""

import json
import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path

from kontext_edit.task import LOCAL, Source, Task

_BUSY_SECONDS = 10
_WAL_PAUSE_SECONDS = 0.02
_PRIMARY_CODE = 0xFF
"""The part of SQLite's error codes that says what kind it is."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_MIGRATIONS = (
    # 1: an edit, and how far it is
    """
    CREATE TABLE edits (
        id             TEXT PRIMARY KEY,
        task_id        TEXT UNIQUE,
        provider       TEXT NOT NULL,
        tier           TEXT NOT NULL,
        prompt         TEXT NOT NULL,
        parameters     TEXT NOT NULL,
        sources        TEXT NOT NULL,
        list_price_usd TEXT NOT NULL,
        status         TEXT NOT NULL,
        seed           INTEGER,
        pictures       TEXT NOT NULL DEFAULT '[]',
        warnings       TEXT NOT NULL DEFAULT '[]',
        error          TEXT,
        created_at     REAL NOT NULL,
        accepted_at    REAL,
        finished_at    REAL
    ) STRICT;
    CREATE INDEX edits_by_age ON edits (created_at);
    CREATE INDEX edits_by_tier ON edits (tier, status, finished_at);
    """,
    # 2: what it cost as a number to add up, who looks after it, whether its result went out, and what makes
    # two requests the same; a number of its own keeps the order of writing, whatever the clock does
    """
    ALTER TABLE edits RENAME TO edits_1;
    DROP INDEX edits_by_age;
    DROP INDEX edits_by_tier;
    CREATE TABLE edits (
        number         INTEGER PRIMARY KEY AUTOINCREMENT,
        id             TEXT NOT NULL UNIQUE,
        task_id        TEXT UNIQUE,
        owner          TEXT NOT NULL,
        provider       TEXT NOT NULL,
        tier           TEXT NOT NULL,
        prompt         TEXT NOT NULL,
        parameters     TEXT NOT NULL,
        sources        TEXT NOT NULL,
        fingerprint    TEXT NOT NULL,
        list_price_usd TEXT NOT NULL,
        billed         TEXT NOT NULL,
        micro_usd      INTEGER NOT NULL,
        status         TEXT NOT NULL,
        seed           INTEGER,
        pictures       TEXT NOT NULL,
        warnings       TEXT NOT NULL,
        error          TEXT,
        created_at     REAL NOT NULL,
        accepted_at    REAL,
        finished_at    REAL,
        delivered_at   REAL,
        holder         TEXT NOT NULL DEFAULT '',
        held_until     REAL NOT NULL DEFAULT 0
    ) STRICT;
    INSERT INTO edits (id, task_id, owner, provider, tier, prompt, parameters, sources, fingerprint,
                       list_price_usd, billed, micro_usd, status, seed, pictures, warnings, error,
                       created_at, accepted_at, finished_at, delivered_at)
        SELECT id, task_id, 'local', provider, tier, prompt, parameters, sources,
               fingerprint(provider, tier, prompt, parameters, sources), list_price_usd,
               CASE WHEN provider = 'sandbox' THEN 'no'
                    WHEN status = 'failed' THEN COALESCE(error ->> '$.billed', 'no')
                    WHEN status IN ('submitting', 'unknown') THEN 'maybe'
                    ELSE 'yes' END,
               CAST(ROUND(list_price_usd * 1000000) AS INTEGER), status, seed, pictures, warnings, error,
               created_at, accepted_at, finished_at, finished_at
        FROM edits_1 ORDER BY created_at;
    DROP TABLE edits_1;
    CREATE INDEX edits_by_status ON edits (status, number);
    CREATE INDEX edits_by_fingerprint ON edits (fingerprint, number);
    CREATE INDEX edits_by_tier ON edits (tier, provider, status, finished_at);
    CREATE INDEX edits_by_finish ON edits (finished_at) WHERE status = 'succeeded';
    CREATE INDEX edits_that_cost ON edits (created_at, micro_usd) WHERE billed <> 'no';
    """,
    # 3: what was asked for together
    """
    ALTER TABLE edits ADD COLUMN batch TEXT;
    CREATE INDEX edits_by_batch ON edits (batch, number) WHERE batch IS NOT NULL;
    """,
    # 4: that nobody waits for it any more, by the protocol's own tasks
    """
    ALTER TABLE edits ADD COLUMN wait_ended_at REAL;
    """,
    # 5: several owners, each with their own edits and limits; facts that all processes share; tokens
    """
    DROP INDEX edits_by_status;
    DROP INDEX edits_by_finish;
    CREATE INDEX edits_by_owner ON edits (owner, number);
    CREATE INDEX edits_by_status ON edits (owner, status, number);
    CREATE INDEX edits_by_finish ON edits (owner, finished_at) WHERE status = 'succeeded';
    CREATE INDEX edits_that_cost_owners ON edits (owner, created_at, micro_usd) WHERE billed <> 'no';
    CREATE INDEX edits_under_way ON edits (owner)
        WHERE status IN ('waiting', 'submitting', 'queued', 'processing');
    CREATE TABLE shared_facts (
        name   TEXT PRIMARY KEY,
        value  TEXT NOT NULL
    ) STRICT;
    CREATE TABLE tokens (
        name       TEXT PRIMARY KEY,
        digest     TEXT NOT NULL UNIQUE,
        scopes     TEXT NOT NULL,
        created_at REAL NOT NULL
    ) STRICT;
    """,
    # 6: how long upstream worked on an edit; indexes that a move touches less, and with all that is added up
    """
    DROP INDEX edits_by_tier;
    DROP INDEX edits_by_status;
    DROP INDEX edits_under_way;
    DROP INDEX edits_that_cost;
    DROP INDEX edits_that_cost_owners;
    ALTER TABLE edits ADD COLUMN render_seconds REAL;
    UPDATE edits SET render_seconds = finished_at - accepted_at WHERE status = 'succeeded';
    CREATE INDEX edits_learnt ON edits (tier, provider, finished_at, render_seconds)
        WHERE render_seconds IS NOT NULL;
    CREATE INDEX edits_settled ON edits (owner, status, number)
        WHERE status IN ('succeeded', 'failed', 'unknown');
    CREATE INDEX edits_under_way ON edits (owner, number)
        WHERE status IN ('waiting', 'submitting', 'queued', 'processing');
    CREATE INDEX edits_that_cost ON edits (created_at, billed, micro_usd) WHERE billed <> 'no';
    CREATE INDEX edits_that_cost_owners ON edits (owner, created_at, billed, micro_usd) WHERE billed <> 'no';
    """,
)
"""What makes each version of the schema from the one before; `user_version` counts them."""


def open_file(path: Path) -> sqlite3.Connection:
    """The journal at `path`, made or migrated where it must be; where money moves, a write is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        _use_wal(connection)
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Where two processes make the file at once, SQLite tells the second at once that it is locked."""
    patience = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > patience:
                raise
            time.sleep(_WAL_PAUSE_SECONDS)
        else:
            return


@contextmanager
def transaction(connection: sqlite3.Connection, *, synced: bool = True) -> Generator[None]:
    """All or nothing, and nobody else writes meanwhile.

    What is `synced` is on the disk when it ends; the rest a power cut may undo, and nothing else.
    """
    connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file is no journal (any more)."""
    return isinstance(error, sqlite3.DatabaseError) and getattr(error, "sqlite_errorcode", None) in _DAMAGED


def is_damaged(path: Path) -> bool:
    """Whether the file at `path` is bad: another process may have set the bad one aside by now."""
    try:
        with closing(open_file(path)) as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return True
    return found != "ok"


def identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one that took its name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path) -> Path:
    """Give a damaged journal another name, with all that belongs to it; nothing is deleted."""
    name = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    aside, copy = path.with_name(name), 1
    while aside.exists():
        copy += 1
        aside = path.with_name(f"{name}-{copy}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version >= len(_MIGRATIONS):
        return
    connection.create_function("fingerprint", 5, _fingerprint, deterministic=True)
    with transaction(connection):
        (version,) = connection.execute(
            "PRAGMA user_version"
        ).fetchone()  # another process may have been first
        for migration in _MIGRATIONS[version:]:
            for statement in filter(str.strip, migration.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(version, len(_MIGRATIONS))}")


def _fingerprint(provider: str, tier: str, prompt: str, parameters: str, sources: str) -> str:
    return Task(
        id="",
        provider=provider,
        tier=tier,
        prompt=prompt,
        parameters=json.loads(parameters),
        sources=tuple(Source(**source) for source in json.loads(sources)),
        list_price_usd=Decimal(0),
        created_at=0,
        owner=LOCAL,
    ).fingerprint
