"""What the journal needs of a database: sessions to ask and write in, and an engine that opens them.

One text of SQL serves both engines, with values by name (`:name`). Where their dialects differ there is a
word in braces, which an engine replaces by its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

Answer = TypeVar("Answer")

NOTHING: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an engine has for each word in braces."""

    for_update: str
    """Ends a question whose rows nobody else may change before the transaction is over."""
    for_update_of_free: str
    """The same, passing over the rows that another transaction has."""
    among_ids: str
    """That a column's value is one of `:ids`, which `Session.listed` makes."""
    local_day: str
    """The day that an edit was created on (ISO 8601), by the time zone of this process."""
    told: str
    """Ends what a statement that moves edits returns: all processes are told when the transaction is over."""
    under_way: str = "status IN ('waiting', 'submitting', 'queued', 'processing')"
    """As the index `edits_under_way` has it, word for word."""
    settled: str = "status IN ('succeeded', 'failed', 'unknown')"
    """As the index `edits_settled` has it, word for word."""

    @cache  # noqa: B019 - a dialect lives as long as the program, and the texts are few
    def text(self, statement: str) -> str:
        """A statement with its words replaced."""
        return statement.format_map(asdict(self))


class Row(Protocol):
    """What a question finds, by the names of its columns."""

    def __getitem__(self, column: str, /) -> Any:  # noqa: ANN401 - what a column can hold
        """The value in a column."""
        ...


class Session(Protocol):
    """An open journal, for one question or one transaction at a time."""

    def rows(self, statement: str, values: Mapping[str, object] = NOTHING) -> Sequence[Row]:
        """What a question finds."""
        ...

    def row(self, statement: str, values: Mapping[str, object] = NOTHING) -> Row | None:
        """The first of what a question finds."""
        ...

    def write(self, statement: str, values: Mapping[str, object] = NOTHING) -> None:
        """Carry out a statement."""
        ...

    def write_each(self, statement: str, values: Sequence[Mapping[str, object]]) -> None:
        """Carry out a statement with one set of values after the other."""
        ...

    def change(
        self, statement: str, values: Mapping[str, object] = NOTHING, *, synced: bool = True
    ) -> Row | None:
        """Carry out a statement as a transaction of its own; the first row that it returns.

        It ends with what it returns.
        """
        ...

    def transaction(self, *, alone: str = "", synced: bool = True) -> AbstractContextManager[None]:
        """All or nothing.

        Args:
            alone: no other transaction is alone with this name before it ends.
            synced: it is on the disk when it ends; else a power cut may undo it.
        """
        ...

    def alone(self, name: str) -> None:
        """From here to the end of the transaction, no other one is alone with this name."""
        ...

    def listed(self, values: Iterable[str]) -> object:
        """Several values as one, for `{among_ids}`."""
        ...

    def local_days(self) -> Mapping[str, object]:
        """The values that `{local_day}` needs."""
        ...


class Hearer(Protocol):
    """Who is told, in a thread of the engine's, what goes on in other processes."""

    def moved(self, statuses: Mapping[str, str]) -> None:
        """Edits, by our ids, are somewhere else."""
        ...

    def rung(self, name: str) -> None:
        """A process said a word."""
        ...

    def caught_up(self) -> None:
        """Hearing begins, perhaps again: what happened before, nobody told."""
        ...


class Engine(Protocol):
    """A database that holds a journal. Its calls block; any thread may make them."""

    place: str
    """Where it is, for people; no password."""
    notice: str | None
    """What the person has to know about it."""

    @property
    def hears_others(self) -> bool:
        """Whether a hearer is told of other processes, just now."""
        ...

    def run(self, work: Callable[[Session], Answer]) -> Answer:
        """Do something in a session.

        Raises:
            JournalUnavailable: the database cannot be opened, read or written.
        """
        ...

    def hear(self, hearer: Hearer) -> Future[None]:
        """Tell somebody what goes on in other processes, where the engine can.

        Returns at once:
            What is done when hearing begins; or fails with JournalUnavailable where it cannot begin yet, and
            then it does as soon as the database is there.
        """
        ...

    def ring(self, name: str) -> bool:
        """Say a word to all hearers, this process's too; False where the engine carries none."""
        ...

    def close(self) -> None:
        """Let go of everything; the next call opens it again."""
        ...
