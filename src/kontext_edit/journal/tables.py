"""The journal's tables in PostgreSQL, made and brought up to date by whichever process comes first."""

from typing import Any

from psycopg import Connection

MIGRATIONS = (
    # 1: edits, facts that all processes share, tokens. What is looked up is compared byte by byte ("C"): that
    # is faster, and no update of the system's collations can damage an index. A third of each page stays
    # free, so that a lease is renewed without touching an index.
    """
    CREATE TABLE edits (
        number         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id             TEXT COLLATE "C" NOT NULL UNIQUE,
        task_id        TEXT COLLATE "C" UNIQUE,
        owner          TEXT COLLATE "C" NOT NULL,
        provider       TEXT COLLATE "C" NOT NULL,
        tier           TEXT COLLATE "C" NOT NULL,
        prompt         TEXT NOT NULL,
        parameters     TEXT NOT NULL,
        sources        TEXT NOT NULL,
        fingerprint    TEXT COLLATE "C" NOT NULL,
        list_price_usd NUMERIC NOT NULL,
        billed         TEXT COLLATE "C" NOT NULL,
        micro_usd      BIGINT NOT NULL,
        status         TEXT COLLATE "C" NOT NULL,
        seed           BIGINT,
        pictures       TEXT NOT NULL,
        warnings       TEXT NOT NULL,
        error          TEXT,
        created_at     DOUBLE PRECISION NOT NULL,
        accepted_at    DOUBLE PRECISION,
        finished_at    DOUBLE PRECISION,
        delivered_at   DOUBLE PRECISION,
        batch          TEXT COLLATE "C",
        wait_ended_at  DOUBLE PRECISION,
        holder         TEXT COLLATE "C" NOT NULL DEFAULT '',
        held_until     DOUBLE PRECISION NOT NULL DEFAULT 0
    ) WITH (fillfactor = 67);
    CREATE INDEX edits_by_owner ON edits (owner, number);
    CREATE INDEX edits_by_status ON edits (owner, status, number);
    CREATE INDEX edits_by_fingerprint ON edits (fingerprint, number);
    CREATE INDEX edits_by_batch ON edits (batch, number) WHERE batch IS NOT NULL;
    CREATE INDEX edits_by_tier ON edits (tier, provider, status, finished_at);
    CREATE INDEX edits_by_finish ON edits (owner, finished_at) WHERE status = 'succeeded';
    CREATE INDEX edits_that_cost ON edits (created_at) INCLUDE (micro_usd) WHERE billed <> 'no';
    CREATE INDEX edits_that_cost_owners ON edits (owner, created_at) INCLUDE (micro_usd) WHERE billed <> 'no';
    CREATE INDEX edits_under_way ON edits (owner)
        WHERE status IN ('waiting', 'submitting', 'queued', 'processing');
    CREATE TABLE shared_facts (
        name  TEXT COLLATE "C" PRIMARY KEY,
        value TEXT NOT NULL
    );
    CREATE TABLE tokens (
        name       TEXT COLLATE "C" PRIMARY KEY,
        digest     TEXT COLLATE "C" NOT NULL UNIQUE,
        scopes     TEXT NOT NULL,
        created_at DOUBLE PRECISION NOT NULL
    );
    """,
    # 2: how long upstream worked on an edit, and indexes that a move touches less
    """
    DROP INDEX edits_by_tier;
    DROP INDEX edits_by_status;
    DROP INDEX edits_under_way;
    ALTER TABLE edits ADD COLUMN render_seconds DOUBLE PRECISION;
    UPDATE edits SET render_seconds = finished_at - accepted_at WHERE status = 'succeeded';
    CREATE INDEX edits_learnt ON edits (tier, provider, finished_at) INCLUDE (render_seconds)
        WHERE render_seconds IS NOT NULL;
    CREATE INDEX edits_settled ON edits (owner, status, number)
        WHERE status IN ('succeeded', 'failed', 'unknown');
    CREATE INDEX edits_under_way ON edits (owner, number)
        WHERE status IN ('waiting', 'submitting', 'queued', 'processing');
    """,
)
"""What makes each version of the schema from the one before; the table `journal_versions` has them."""


def migrate(connection: Connection[Any]) -> None:
    """Bring the tables up to date; processes that start at once wait for the first, and find it done."""
    if _version(connection) >= len(MIGRATIONS):
        return
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.execute("SET LOCAL lock_timeout = 0")
        connection.execute("SET LOCAL synchronous_commit = on")
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('kontext-edit migrations', 0))")
        connection.execute(
            """
            CREATE TABLE IF NOT EXISTS journal_versions (
                version INTEGER PRIMARY KEY,
                made_at TIMESTAMPTZ NOT NULL DEFAULT now()
            )
            """
        )
        done = _version(connection)
        for version, migration in enumerate(MIGRATIONS[done:], done + 1):
            connection.execute(migration.encode())
            connection.execute("INSERT INTO journal_versions (version) VALUES (%s)", (version,))


def _version(connection: Connection[Any]) -> int:
    """How many migrations the tables have seen; more than there are here, where a newer program made them."""
    found = connection.execute("SELECT to_regclass('journal_versions') AS versions").fetchone()
    if found is None or found["versions"] is None:
        return 0
    latest = connection.execute("SELECT MAX(version) AS version FROM journal_versions").fetchone()
    return latest["version"] or 0 if latest else 0
