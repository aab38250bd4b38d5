"""What tests know of the world around the program: its environment, and the settings that it reads."""

import os
import re
from pathlib import Path

_SOURCES = Path(__file__).parent.parent / "src" / "kontext_edit"
_SETTING = re.compile(r'"((?:KONTEXT|NOVITA)_[A-Z_]+)"')
_OF_OWNERS = re.compile(r"KONTEXT_OWNER_")


def machine_environ() -> dict[str, str]:
    """The environment for programs that tests start: the machine's, without anybody's settings or key."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("KONTEXT_", "NOVITA_"))}


def settings_read() -> set[str]:
    """Every setting that the program reads."""
    return {name for path in _SOURCES.glob("**/*.py") for name in _settings_in(path)}


def settings_of_operators() -> set[str]:
    """Those that only a server for many has."""
    return _settings_in(_SOURCES / "serving.py") | set(filter(_OF_OWNERS.match, settings_read()))


def _settings_in(path: Path) -> set[str]:
    return set(_SETTING.findall(path.read_text(encoding="utf-8")))
