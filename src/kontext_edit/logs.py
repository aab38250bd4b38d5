"""What is logged carries no key, whatever a library put into its message."""

import logging


class Keyless(logging.Formatter):
    """Lines without the key, also where a traceback quotes it with escapes."""

    def __init__(self, key: str | None) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._spellings = {key, ascii(key)[1:-1]} if key else set[str]()

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it."""
        line = super().format(record)
        for spelling in self._spellings:
            line = line.replace(spelling, "[key]")
        return line
