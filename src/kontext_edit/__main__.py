"""`kontext-edit` and `python -m kontext_edit`: without a command the stdio server, else the command line.

Nothing but the server is imported on the way to the server: how fast it starts is how fast a client is
ready.
"""

import gc
import os
import sys
from pathlib import Path


def main() -> None:
    """Start what the arguments name."""
    arguments = sys.argv[1:]
    allow = _folders_only(arguments)
    if allow is None:
        from kontext_edit.cli import run  # noqa: PLC0415 - brings typer and rich, which the server does without

        run(arguments)
        return
    gc.disable()  # importing makes no garbage worth looking for
    import asyncio  # noqa: PLC0415 - imported while the collector rests

    from kontext_edit.server import serve_stdio  # noqa: PLC0415 - likewise

    gc.freeze()
    gc.enable()
    asyncio.run(serve_stdio(os.environ, allow))


def _folders_only(arguments: list[str]) -> list[str] | None:
    """The folders of `--allow DIR…` where there is nothing else: that is the server; None otherwise.

    A bundle's host expands a list of folders in place: one `--allow`, then any number of absolute paths,
    also none at all.
    """
    folders: list[str] = []
    before = ""
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--allow":
            folders += [value] if value else []
        elif before == "--allow" or (folders and Path(argument).is_absolute()):
            folders.append(argument)
        else:
            return None
        before = argument
    return folders


if __name__ == "__main__":
    main()
