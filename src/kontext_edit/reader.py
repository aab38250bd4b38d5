"""Reads settings from the environment, and collects what is wrong with them."""

import ipaddress
import os
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit

_ABSURD_USD = 1_000_000_000
"""More than this is a slip of the hand, or a number that is written with an exponent."""
_COUNT_DIGITS = 9


class Reader:
    """Reads one value after the other and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str) -> str | None:
        """The value; None where nothing was chosen."""
        return given(self._environ.get(name))

    def key(self, name: str) -> str | None:
        """A key as it can stand in a header; what is wrong with it is told without quoting it."""
        value = self.text(name)
        if value and not (value.isascii() and value.isprintable() and " " not in value):
            self.problems.append(f"{name} must be the key alone: letters, digits and signs, no spaces.")
        return value

    def folder(self, name: str) -> Path | None:
        """A folder, absolute."""
        return next(iter(self.each_folder(name, [self._environ.get(name, "")])), None)

    def folders(self, name: str) -> list[Path]:
        """Folders, separated as in PATH."""
        return self.each_folder(name, self._environ.get(name, "").split(os.pathsep))

    def each_folder(self, name: str, values: Iterable[str]) -> list[Path]:
        """The folders among `values`, absolute."""
        folders: list[Path] = []
        for value in filter(None, map(given, values)):
            try:
                folders.append(Path(value).expanduser().absolute())
            except RuntimeError:
                self.problems.append(f"{name} is {value!r}; there is no such home folder.")
            if "\0" in value:
                self.problems.append(f"{name} is {value!r}; no folder can be named so.")
        return folders

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """One of some words."""
        value = self.text(name) or default
        if value not in allowed:
            self.problems.append(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")
        return value

    def money(self, name: str, default: Decimal | None) -> Decimal | None:
        """An amount of US dollars; `none` means no limit."""
        value = self.text(name)
        if value is None:
            return default
        if value.lower() == "none":
            return None
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal("NaN")
        if amount.is_finite() and 0 <= amount < _ABSURD_USD:
            return amount
        self.problems.append(f"{name} is {value!r}; it must be an amount of US dollars like 5.00, or none.")
        return default

    def words(self, name: str, allowed: tuple[str, ...]) -> frozenset[str]:
        """Some of some words, separated by commas; none where nothing was chosen."""
        chosen = {word.strip() for word in (self.text(name) or "").split(",")} - {""}
        if not chosen <= set(allowed):
            self.problems.append(f"{name} must name some of {', '.join(allowed)}, separated by commas.")
        return frozenset(chosen & set(allowed))

    def switch(self, name: str, *, default: bool) -> bool:
        """On or off."""
        return self.choice(name, ("on", "off"), "on" if default else "off") == "on"

    def count(self, name: str, default: int | None) -> int | None:
        """A whole number from 1; `none` means no limit."""
        value = self.text(name)
        if value is None:
            return default
        if value.lower() == "none":
            return None
        if value.isdecimal() and len(value) <= _COUNT_DIGITS and int(value):
            return int(value)
        self.problems.append(f"{name} is {value!r}; it must be a whole number from 1, or none.")
        return default

    def url(self, name: str, default: str | None = None) -> str | None:
        """The address of a host over http(s), without a slash at its end; https except on this machine."""
        url = (self.text(name) or default or "").rstrip("/")
        if not url:
            return None
        if not _is_plain_http_url(url):
            self.problems.append(f"{name} must be an http(s) URL of a host, without credentials, ? or #.")
        elif not is_loopback(url) and not url.lower().startswith("https:"):
            self.problems.append(f"{name} must be https, except on this machine itself.")
        return url


def is_loopback(url: str) -> bool:
    """Whether `url` points at this very machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def given(value: str | None) -> str | None:
    """The value, or None where nothing was chosen.

    Claude Desktop passes a bundle's unset optional setting as the literal `${user_config.name}`.
    """
    value = (value or "").strip()
    return None if not value or value.startswith("${") else value


def _is_plain_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_is_real = parts.port != 0  # reading it raises where it is no port at all
    except ValueError:
        return False
    bare = parts.username is None and not parts.query and not parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port_is_real and bare
