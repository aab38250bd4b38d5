"""The commands of `kontext-edit`."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from inspect import Parameter, Signature
from typing import Annotated, Any, get_args

import typer

from kontext_edit import http_door
from kontext_edit.cli import books, edits, output
from kontext_edit.cli import tokens as tokens_of
from kontext_edit.cli.options import Rules, edit_rules, estimate_rules, options, values
from kontext_edit.doctor import State, examine
from kontext_edit.errors import InvalidArguments, KontextError
from kontext_edit.journal.book import Journal
from kontext_edit.logs import formatter
from kontext_edit.request import PublicStatus, parse_edit, parse_task
from kontext_edit.results import Structured
from kontext_edit.sandbox.api import serve as serve_sandbox
from kontext_edit.sandbox.tasks import parse_progression
from kontext_edit.settings import read_settings

logger = logging.getLogger(__name__)

_FAILED, _BAD_ARGUMENTS = 1, 2

_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", show_default=False)]
_Csv = Annotated[bool, typer.Option("--csv", help="Print the ledger for a spreadsheet.", show_default=False)]
_Status = Annotated[str | None, typer.Option(help=f"Only these: {', '.join(get_args(PublicStatus))}.")]
_Allow = Annotated[
    list[str] | None, typer.Option(metavar="DIR", help="A folder that sources may be read from; repeatable.")
]
_Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="The pictures: each a path, a URL, task:<id>, last (the newest result) or clipboard.",
    ),
]
_Instruction = Annotated[
    str | None,
    typer.Argument(metavar="INSTRUCTION", help="What to change and what must stay, in quotes."),
]

_EDIT_RULES, _ESTIMATE_RULES = edit_rules(), estimate_rules()

_commands = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(arguments: Sequence[str]) -> None:
    """Carry out what the arguments say.

    Raises:
        SystemExit: always: 0 done, 1 failed or unknown, 2 bad arguments, 130 stopped with Ctrl-C.
    """
    output.cope_with_any_text(sys.stdout, sys.stderr)
    handler = output.StderrHandler(logging.WARNING)
    handler.setFormatter(formatter(os.environ))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        typer.main.get_command(_commands).main(args=arguments, prog_name="kontext-edit")
    except Exception:
        logger.exception("This is a mistake of kontext-edit itself.")
        raise SystemExit(_FAILED) from None
    finally:
        root.removeHandler(handler)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer hands a flag's value over so
    if wanted:
        typer.echo(f"kontext-edit {version('kontext-edit')}")
        raise typer.Exit


@_commands.callback()
def kontext_edit(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and leave."),
    ] = False,
) -> None:
    """Edit pictures in plain language with FLUX.1 Kontext.

    Without a command this is the MCP server that an assistant starts: kontext-edit [--allow DIR]…
    """


def _command(rules: Rules, **others: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:  # noqa: ANN401 - types
    """Make a command whose options are those of the spec, after `others`: names and annotations."""
    first = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=others[name]) for name in others
    ]
    last = Parameter("json", Parameter.KEYWORD_ONLY, default=False, annotation=_Json)
    signature = Signature([*first, *options(rules), last])

    def added(function: Callable[..., None]) -> Callable[..., None]:
        vars(function)["__signature__"] = signature
        return _commands.command()(function)

    return added


@_command(_EDIT_RULES, sources=_Sources, instruction=_Instruction, allow=_Allow)
def edit(**typed: Any) -> None:  # noqa: ANN401 - what each is stands in the signature that is made
    """Edit pictures, and print where the results are."""
    with _errors_told(as_json=typed["json"]):
        edits.refuse_file_as_instruction(typed["instruction"])
        settings = read_settings(os.environ, typed["allow"] or ())
        sources, settings = edits.allow_typed(typed["sources"] or (), settings)
        arguments = {"images": sources or None, "prompt": typed["instruction"], "wait_seconds": 0}
        call = parse_edit(arguments | values(typed, _EDIT_RULES), settings.default_tier)
        _finish(asyncio.run(edits.carry_out(call, settings)), as_json=typed["json"])


@_commands.command()
def task(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The id of an edit, as `edit` told it.")],
    *,
    json: _Json = False,
) -> None:
    """Wait for an edit that was begun, and print where its results are."""
    with _errors_told(as_json=json):
        call = parse_task({"task_id": task_id})
        _finish(asyncio.run(edits.wait_for(call.task_id.strip(), read_settings())), as_json=json)


@_command(_ESTIMATE_RULES)
def estimate(**typed: Any) -> None:  # noqa: ANN401 - likewise
    """Tell what edits would cost. Free."""
    with _errors_told(as_json=typed["json"]):
        content = asyncio.run(books.prices(values(typed, _ESTIMATE_RULES), read_settings()))
        show = output.put_json if typed["json"] else output.put_estimates
        show(content)


@_commands.command()
def tasks(
    *,
    status: _Status = None,
    limit: Annotated[int, typer.Option(help="How many, 1 to 50.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where an earlier list ended, to go on there.")] = None,
    json: _Json = False,
) -> None:
    """List earlier edits, latest first."""
    with _errors_told(as_json=json):
        wanted = {"status": status, "limit": limit, "cursor": cursor}
        content = asyncio.run(books.tasks(wanted, read_settings()))
        show = output.put_json if json else output.put_tasks
        show(content)
        if content["next_cursor"] and not json:
            output.say(f"There are more: kontext-edit tasks --cursor {content['next_cursor']}")


@_commands.command()
def spend(*, csv: _Csv = False) -> None:
    """Tell what was spent, by day and tier, and what is left of the budgets."""
    with _errors_told(as_json=False):
        rows, spendings = asyncio.run(books.spent(read_settings()))
        if csv:
            books.put_csv(rows)
        else:
            output.put_ledger(rows, spendings)


@_commands.command()
def doctor(*, allow: _Allow = None, json: _Json = False) -> None:
    """Look at key, provider, balance, folders and versions, and say what to do. Free."""
    checks = asyncio.run(examine(os.environ, allow=allow or ()))
    if json:
        output.put_json({"checks": [asdict(check) for check in checks]})
    else:
        output.put_checks(checks)
    if any(check.state is State.PROBLEM for check in checks):
        raise typer.Exit(_FAILED)


@_commands.command()
def sandbox(
    *,
    port: Annotated[int, typer.Option(help="A port of this machine; 0 picks a free one.")] = 8787,
    progression: Annotated[
        str, typer.Option(help='How an edit ends: immediate, "3 polls" or "2 seconds".')
    ] = "2 seconds",
) -> None:
    """Serve a sandbox of the editing API to this machine. No model runs, nothing is billed."""
    with _errors_told(as_json=False):
        serve_sandbox(port=port, progression=parse_progression(progression))


@_commands.command()
def serve(
    *,
    host: Annotated[
        str, typer.Option(help="A loopback address; with KONTEXT_AUTH any.", show_default=True)
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="A port of this machine; 0 picks a free one.")] = 8765,
    allow: _Allow = None,
) -> None:
    """Serve MCP over HTTP to this machine; with KONTEXT_AUTH to callers anywhere (docs/operating.md)."""
    with _errors_told(as_json=False):
        http_door.serve(host=host, port=port, allow=allow or ())


_tokens = typer.Typer(help="Static tokens for callers of a server for many.", no_args_is_help=True)
_commands.add_typer(_tokens, name="tokens")


@_tokens.command("add")
def add_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; their edits belong to it.")],
    *,
    scope: Annotated[str, typer.Option(help="edit, read (look only) or metrics.")] = "edit",
) -> None:
    """Make a token and print it, once."""
    _with_journal(lambda journal: tokens_of.add(journal, name, scope, time.time()))


@_tokens.command("list")
def list_tokens(*, json: _Json = False) -> None:
    """List the tokens; not what they are."""
    _with_journal(lambda journal: tokens_of.show(journal, as_json=json))


@_tokens.command("remove")
def remove_token(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """End a token."""
    _with_journal(lambda journal: tokens_of.remove(journal, name))


def _with_journal(work: Callable[[Journal], Coroutine[object, object, None]]) -> None:
    with _errors_told(as_json=False):
        asyncio.run(books.with_journal(read_settings(), work))


def _finish(content: Structured, *, as_json: bool) -> None:
    """Show a task, and leave with the code that tells what became of it."""
    show = output.put_json if as_json else output.put_task
    show(content)
    if content["status"] != "succeeded":
        raise typer.Exit(_FAILED)


@contextmanager
def _errors_told(*, as_json: bool) -> Generator[None]:
    """Errors as texts that say what to do, and as exit codes."""
    try:
        yield
    except KontextError as error:
        if as_json:
            output.put_json(output.error_content(error))
        output.say_error(error)
        raise typer.Exit(_BAD_ARGUMENTS if isinstance(error, InvalidArguments) else _FAILED) from None
