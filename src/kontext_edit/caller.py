"""Whoever asked for something: told how far it is, and asked when money needs a person's word."""

from enum import StrEnum
from typing import Protocol


class Consent(StrEnum):
    """What came of asking the person."""

    GIVEN = "given"
    DECLINED = "declined"
    DISMISSED = "dismissed"
    """The question was closed without an answer."""
    IMPOSSIBLE = "impossible"
    """The client has no way to ask a person."""


class Caller(Protocol):
    """The other side of a call."""

    async def progress(self, percent: float, sentence: str) -> None:
        """Tell how far it is; called about once a second while the caller waits."""
        ...

    async def consent(self, question: str, subject: str) -> Consent:
        """Ask the person. `subject` names what is agreed to, so that nothing else passes with the answer."""
        ...
