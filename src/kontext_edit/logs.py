"""What is logged: lines without secrets, for people or, as JSON, for machines."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import cast
from urllib.parse import quote

FIELDS = "fields"
"""Where a record carries what it knows beside its message: `logger.info("…", extra={FIELDS: {…}})`."""

_KEY = "NOVITA_API_KEY"
_SHORTEST = 8
"""Characters; any other value of the environment that is shorter may be a word of ordinary lines."""

_TELLING_NAME = r"(?:^|_)(?:KEY|TOKEN|SECRET)(?:_|$)|PASSW(?:OR)?D"
_WORD = r"[\w-]{0,24}(?:passw(?:or)?d|secret|token|api_?key|access_?key|signature)[\w-]{0,24}"
_VALUE = r"""'[^']*'|"[^"]*"|[^\s,;&)}\]'"]+"""

_SUSPECT = r"[?=@]|['\"]:|authorization|bearer|basic|\beyJ|\bkxt_|/webhooks/|/pictures/"
"""Is in whatever a pattern below can match; most texts have nothing of it."""

_PATTERNS = (
    # The query of a link: signatures and ids.
    (r"\?[^\s'\"<>()\[\]{}?]*=[^\s'\"<>()\[\]{}]*", "?[query]"),
    # The password of a database's or a gateway's URL, up to the last @, since it may contain one.
    (r"\b([a-z][a-z0-9+.-]{0,20}://[^\s/:@'\"]{0,100}):[^\s'\"]{0,200}@", r"\1:[secret]@"),
    # A header as libraries write it: `Authorization: …`, or a pair of byte strings.
    (
        r"(authorization['\"]?\s*[:=,]\s*(?:b?['\"])?)(?:(?:bearer|basic|digest)\s+)?[^\s'\",)\]}]+",
        r"\1[secret]",
    ),
    (r"\b(bearer|basic)\s+[\w.~+/=-]{16,}", r"\1 [secret]"),
    # A JSON Web Token, and a static token of this server.
    (r"\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*", "[token]"),
    (r"\bkxt_[\w-]{8,}", "[token]"),
    # The parts of this server's own addresses that nobody can guess.
    (r"(/webhooks/[^/\s]{1,80}/)[\w-]+", r"\1[secret]"),
    (r"(/pictures/\d{1,20}\.[\w-]{1,1000}\.)[0-9a-f]{64}", r"\1[secret]"),
    # `password=…`, and the same in a printed dictionary.
    (rf"\b({_WORD})=(?:{_VALUE})", r"\1=[secret]"),
    (rf"""(['"]{_WORD}['"]:\s*b?)(?:'[^']*'|"[^"]*")""", r"\1'[secret]'"),
)
"""What looks like a secret, and what is written instead."""


@cache
def _compiled() -> tuple[re.Pattern[str], tuple[tuple[re.Pattern[str], str], ...]]:
    """The patterns; to compile them takes longer than to start without a line to log."""
    return re.compile(_SUSPECT, re.IGNORECASE), tuple(
        (re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in _PATTERNS
    )


def secrets_in(environ: Mapping[str, str]) -> list[str]:
    """The values of the environment that are named as a key, a token, a secret or a password is."""
    return [
        value
        for name, value in environ.items()
        if name == _KEY or (re.search(_TELLING_NAME, name.upper()) and len(value.strip()) >= _SHORTEST)
    ]


class Scrubber:
    """Takes secrets out of a text: those that it is told, and whatever looks like one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        if self._known:
            text = self._known.sub("[key]", text)
        suspect, patterns = _compiled()
        if suspect.search(text):
            for pattern, instead in patterns:
                text = pattern.sub(instead, text)
        return text

    def deeply(self, value: object) -> object:
        """The same for every text within a value, which becomes one that JSON has."""
        if isinstance(value, Mapping):
            pairs = cast("Mapping[object, object]", value).items()
            return {str(name): self.deeply(inner) for name, inner in pairs}
        if isinstance(value, (list, tuple)):
            return [self.deeply(inner) for inner in cast("Iterable[object]", value)]
        plain = value is None or isinstance(value, (bool, int, float))
        return cast("object", value if plain else self(str(value)))


class Keyless(logging.Formatter):
    """Lines for people, without the key or any other secret, also where a traceback quotes it."""

    def __init__(self, *secrets: str | None) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._scrub = Scrubber(filter(None, secrets))

    def format(self, record: logging.LogRecord) -> str:
        """The line, its fields at its end, and the traceback below it."""
        return self._scrub(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """The line itself."""
        fields = _fields(record).items()
        told = (f" {name}={value}" for name, value in fields if value is not None)
        return super().formatMessage(record) + "".join(told)


class JsonLines(logging.Formatter):
    """One JSON object a line, in ASCII: time (UTC), level, logger, message, and whatever fields it has.

    Args:
        secrets: What must not be in it.
        around: What is true for all lines of a moment, like the ids of a trace; asked for each line.
    """

    def __init__(
        self, *secrets: str | None, around: Callable[[], Mapping[str, object]] = dict[str, object]
    ) -> None:
        super().__init__()
        self._scrub = Scrubber(filter(None, secrets))
        self._around = around

    def format(self, record: logging.LogRecord) -> str:
        """The object."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._around(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(self._scrub.deeply(line), separators=(",", ":"))


def formatter(
    environ: Mapping[str, str], around: Callable[[], Mapping[str, object]] = dict[str, object]
) -> logging.Formatter:
    """How this process writes its log, as KONTEXT_LOG says.

    It is read here already, since unusable settings are logged too.
    """
    secrets = secrets_in(environ)
    if environ.get("KONTEXT_LOG", "").strip() == "json":
        return JsonLines(*secrets, around=around)
    return Keyless(*secrets)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    return vars(record).get(FIELDS) or {}


def _spellings(secret: str) -> set[str]:
    """How a secret may stand in a text: as it is, escaped, or as a part of a URL."""
    bare = secret.strip()
    return {bare, ascii(bare)[1:-1], quote(bare, safe="")} - {""}
