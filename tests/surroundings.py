"""The environment for programs that tests start: the machine's, without anybody's settings or key."""

import os


def machine_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("KONTEXT_", "NOVITA_"))}
