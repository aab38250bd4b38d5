"""How names and sizes are written in errors: short, printable, exact."""

from collections.abc import Iterable
from pathlib import Path

MEGABYTE = 1_000_000
"""Bytes; the unit in which limits are told to people."""

HOW_TO_GIVE = (
    "Ask the person for the picture's path; or to copy the picture itself (source: `clipboard`), take a "
    "screenshot of it (`latest:screenshot`) or download it (`latest:download`). What was pasted into the "
    "chat cannot be seen from here."
)
"""What an assistant can ask a person for who has a picture somewhere."""

_LONGEST = 120
"""Characters of a name that an error repeats; longer ones lose their middle."""


def printable(text: str) -> str:
    """`text` with everything escaped that a log, a database or JSON might stumble over."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def shown(text: str) -> str:
    """A name in quotes, printable, with its middle left out when it is long."""
    if len(text) > _LONGEST:
        half = _LONGEST // 2
        text = f"{text[:half]}…{text[-half:]}"
    return f"'{printable(text)}'"


def listed(folders: Iterable[Path]) -> str:
    """Folders in a sentence, each once."""
    names = dict.fromkeys(printable(str(folder)) for folder in folders)
    return ", ".join(names) or "none"


def megabytes(count: int) -> str:
    """A number of bytes as people write it."""
    return f"{count / MEGABYTE:.1f} MB"
