"""From a request to a task that is settled: sources, the person who waits, and Ctrl-C."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from kontext_edit.app import App, open_app
from kontext_edit.caller import Caller, Consent
from kontext_edit.cli.output import say
from kontext_edit.clock import Clock, SystemClock
from kontext_edit.editor import Editor
from kontext_edit.errors import InvalidArguments
from kontext_edit.images.local import path_of
from kontext_edit.images.sources import Kind, kind_of
from kontext_edit.request import EditCall
from kontext_edit.results import Structured, task_result
from kontext_edit.settings import Settings
from kontext_edit.task import LOCAL
from kontext_edit.waiting import Outcome

_ROUND_SECONDS = 40.0
"""How long one round of waiting lasts; there are as many as an edit needs."""


class Person:
    """Who sits at the terminal: sees a bar, and answers questions there."""

    owner = LOCAL

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._line = bar.add_task("Preparing", total=100)

    async def progress(self, percent: float, sentence: str) -> None:
        """Move the bar."""
        self._bar.update(self._line, completed=percent, description=sentence)

    async def consent(self, question: str, subject: str) -> Consent:
        """Ask with a line on stderr, where somebody can answer on stdin."""
        del subject  # the question and its answer are one moment here
        if not sys.stdin.isatty():
            return Consent.IMPOSSIBLE
        self._bar.stop()
        say(f"{question} [y/N]")
        answer = sys.stdin.readline().strip().lower()
        self._bar.start()
        return Consent.GIVEN if answer in ("y", "yes") else Consent.DECLINED


@contextmanager
def person() -> Generator[Person]:
    """The person, with a bar on stderr for as long as the block lasts; none where that is no terminal."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Person(bar)


async def carry_out(call: EditCall, settings: Settings) -> Structured:
    """Edit pictures and wait until the edit is settled; `call` itself asks for no waiting.

    Returns:
        The structured content of `edit_image`.

    Raises:
        KontextError: nothing was begun.
    """
    clock = SystemClock()
    async with _opened(settings, clock) as app:
        with person() as caller:
            begun = await app.editor.edit(call, caller)
            if not settings.embedded_sandbox:
                say(f"Begun. Should this command be cut off: kontext-edit task {begun.task.id}")
            outcome = await _interruptible(app, begun.task.id, clock, caller)
        return await _told(app.editor, replace(outcome, notes=_each_once(begun.notes, outcome.notes)))


async def wait_for(handle: str, settings: Settings) -> Structured:
    """Wait until an edit that was begun is settled, or can get no further for now.

    Returns:
        The structured content of `get_task`.

    Raises:
        NoSuchTask: nobody here knows the id.
    """
    clock = SystemClock()
    async with _opened(settings, clock) as app:
        with person() as caller:
            outcome = await _interruptible(app, handle, clock, caller)
        return await _told(app.editor, outcome)


async def until_settled(editor: Editor, handle: str, clock: Clock, caller: Caller) -> Outcome:
    """Wait for a task, round after round, for as long as somebody works on it."""
    while True:
        begun = clock.monotonic()
        outcome = await editor.follow(handle, _ROUND_SECONDS, caller)
        back_early = clock.monotonic() - begun < _ROUND_SECONDS / 2
        if outcome.task.settled or back_early:
            return outcome


def allow_typed(sources: Sequence[str], settings: Settings) -> tuple[list[str], Settings]:
    """The sources with their paths made absolute, and settings that allow these files.

    A person who types a file's name allows that file; an assistant cannot.
    """
    absolute = [_absolute(source) for source in sources]
    files = [
        Path(path_of(source) if kind_of(source) is Kind.FILE_URL else source)
        for source in filter(None, absolute)
        if kind_of(source) in (Kind.PATH, Kind.FILE_URL)
    ]
    return absolute, replace(settings, allowed_dirs=(*settings.allowed_dirs, *files))


def refuse_file_as_instruction(instruction: str | None) -> None:
    """Nobody means a file's name as an instruction, and such an edit would cost what any other does.

    Raises:
        InvalidArguments: the last word names a file.
    """
    if instruction and os.path.isfile(instruction):  # noqa: PTH113 - Path's raises on a text of any length
        raise InvalidArguments(
            [f"The last word must be the instruction, and {instruction!r} is a file."],
            'For example: kontext-edit edit photo.jpg "Make the sky pink, keep everything else".',
        )


def _absolute(source: str) -> str:
    """A path as this shell means it; every other source as it is."""
    if kind_of(source) is not Kind.PATH or not source:
        return source
    return os.path.abspath(os.path.expanduser(source))  # noqa: PTH100, PTH111 - Path's raises without a home


@asynccontextmanager
async def _opened(settings: Settings, clock: Clock) -> AsyncGenerator[App]:
    """The parts, looking after what earlier processes left under way too."""
    app = open_app(settings, working_dir=Path.cwd(), clock=clock)
    app.editor.open()
    try:
        yield app
    finally:
        await app.close()


async def _interruptible(app: App, handle: str, clock: Clock, caller: Caller) -> Outcome:
    """Wait; Ctrl-C ends the waiting, and the person is told what becomes of the edit."""
    try:
        return await until_settled(app.editor, handle, clock, caller)
    except asyncio.CancelledError:
        if app.settings.embedded_sandbox:
            say("Stopped. The sandbox ran in this command, so the edit ended with it; nothing was billed.")
        else:
            say(f"Stopped waiting. The edit goes on upstream; its picture: kontext-edit task {handle}")
        raise


async def _told(editor: Editor, outcome: Outcome) -> Structured:
    places = await editor.places(outcome.task)
    result = task_result(
        outcome.task, outcome.progress_percent, places=places, preview=None, notes=outcome.notes
    )
    await editor.delivered(outcome.task)
    return result.structured_content or {}


def _each_once(*notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for some in notes for note in some))
