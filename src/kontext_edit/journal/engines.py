"""Which engine a journal is on."""

from pathlib import Path

from pydantic import SecretStr

from kontext_edit.errors import InvalidSettings
from kontext_edit.journal.embedded import EmbeddedEngine
from kontext_edit.journal.session import Engine


def engine_at(place: Path | SecretStr, *, private: bool) -> Engine:
    """The engine for a file, or for the URL of a PostgreSQL database. Nothing is opened yet.

    Args:
        place: the file or the URL.
        private: whether callers are elsewhere, and are not told where a file is; a URL is told to nobody.

    Raises:
        InvalidSettings: the URL is none, or the driver for it is not installed.
    """
    if isinstance(place, Path):
        return EmbeddedEngine(place, private=private)
    try:
        from kontext_edit.journal.postgres import PostgresEngine  # noqa: PLC0415 - the driver is an extra
    except ImportError as error:
        raise InvalidSettings(
            [f"KONTEXT_DATABASE_URL needs a driver ({error}): run pip install 'kontext-edit[postgres]'."]
        ) from error
    return PostgresEngine(place)
