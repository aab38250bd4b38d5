"""`kontext-edit` and `python -m kontext_edit`: without a command the stdio server, else the command line.

Nothing but the server is imported on the way to the server: how fast it starts is how fast a client is
ready.
"""

import gc
import os
import sys


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
    """The folders of `--allow DIR` where there is nothing else: that is the server; None otherwise."""
    folders: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        folder = value if equals else next(rest, None)
        if name != "--allow" or folder is None:
            return None
        folders.append(folder)
    return folders


if __name__ == "__main__":
    main()
