"""Whoever asked for something: told how far it is, and asked when money needs a person's word."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from kontext_edit.task import LOCAL


class Consent(StrEnum):
    """What came of asking the person."""

    GIVEN = "given"
    DECLINED = "declined"
    DISMISSED = "dismissed"
    """The question was closed without an answer."""
    IMPOSSIBLE = "impossible"
    """The client has no way to ask a person."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is asking, as the door that let them in knows it."""

    owner: str
    """Whose edits they see and begin."""
    may_edit: bool
    """Whether they may begin edits and give pictures; who may not can look at what there is."""


AT_HOME = Visitor(LOCAL, may_edit=True)
"""The person whose machine this is."""


class Caller(Protocol):
    """The other side of a call."""

    @property
    def owner(self) -> str:
        """Whose edits it may see and begin."""
        ...

    async def progress(self, percent: float, sentence: str) -> None:
        """Tell how far it is; called about once a second while the caller waits."""
        ...

    async def consent(self, question: str, subject: str) -> Consent:
        """Ask the person. `subject` names what is agreed to, so that nothing else passes with the answer."""
        ...
