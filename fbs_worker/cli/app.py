"""The command line put together, and what becomes of its errors.

Exit codes: 0 done, 1 failed, 2 usage, 3 a server is unreachable, 4 refused, 130 interrupted. They are the error's own,
wherever it happened: a job that is refused by a worker ends its command like one that is refused at once. Whoever asked
for JSON gets an error as JSON on stdout, besides the two lines on stderr.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from fbs_worker.cli import (
    api,
    beat,
    demo,
    diagram,
    discover,
    flower,
    health,
    jobs,
    metrics,
    migrate,
    misc,
    record,
    schedule,
    solutions,
    stack,
    token,
)
from fbs_worker.cli.output import OutputFormat, note, print_error, print_json
from fbs_worker.core.errors import EXIT_DONE, EXIT_USAGE, FBSError, InternalError, JobFailed, UsageError

EXIT_INTERRUPTED: Final = 130
_DEBUG: Final = "--debug"
_FORMAT: Final = "--output-format"

app = typer.Typer(
    name="fbs",
    help="Reads what an Odoo server can do into PostgreSQL, and sets up business tables beside it, as Celery jobs.",
    epilog="Start with `fbs demo`. Exit codes: 0 done, 1 failed, 2 usage, 3 unreachable, 4 refused.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help cuts long names of options and variables off
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=misc.print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, envvar="FBS_DEBUG", help="Show the trace of an error; may stand anywhere.")
    ] = False,
) -> None: ...


app.command("discover")(discover.discover)
app.command("setup")(solutions.setup)
app.command("status")(solutions.status)
app.command("list")(solutions.list_all)
app.command("refresh")(solutions.refresh)
app.command("migrate")(migrate.migrate)
app.command("diagram")(diagram.diagram)
app.command("drop")(solutions.drop)
app.command("rotate-keys")(solutions.rotate_keys)
app.command("record")(record.record)
app.add_typer(jobs.app, name="jobs")
app.command("demo")(demo.demo)
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("worker")(stack.worker)
app.command("beat")(beat.beat)
app.add_typer(schedule.app, name="schedule")
app.command("flower")(flower.flower)
app.command("api")(api.api)
app.command("new-token")(token.new_token)
app.command("health")(health.health)
app.command("metrics")(metrics.metrics)
app.command("domains")(misc.domains)
app.command("new-key")(misc.new_key)
app.command("version")(misc.version)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: as they were typed, without the program's name.

    Returns:
        The exit code.
    """
    debug = _DEBUG in arguments or os.environ.get("FBS_DEBUG", "").lower() in {"1", "true", "yes", "on"}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign shows another; nothing fails for it
    try:
        try:
            return _invoke([word for word in arguments if word != _DEBUG])
        except FBSError as exc:
            if debug:
                traceback.print_exception(exc)
            print_error(exc)
            if _wants_json(arguments):
                print_json({"error": exc.to_dict()})
            return exit_code(exc)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has seen enough (`fbs jobs list | head`): end without a word, now and at Python's exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (KeyboardInterrupt, typer.Abort):
        note("Interrupted.")
        return EXIT_INTERRUPTED


def exit_code(error: FBSError) -> int:
    """The exit code that an error means; of a job that failed, the one of what it failed with."""
    if isinstance(error, JobFailed):
        code = error.context.get("error", {}).get("code")
        kinds = [FBSError]
        for kind in kinds:
            if kind.code == code:
                return kind.exit_code
            kinds += kind.__subclasses__()
    return error.exit_code


def _invoke(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        # typer's own `main` would end the process and word the errors itself
        with command.make_context("fbs", arguments) as context:
            command.invoke(context)
    except typer.Exit as exc:
        return exc.exit_code
    except (FBSError, BrokenPipeError, typer.Abort):
        raise
    except Exception as exc:
        words = getattr(exc, "format_message", None)
        if not callable(words):
            kind = type(exc).__name__
            raise InternalError(
                f"this is a bug in fbs-worker: {kind} ({' '.join(str(exc).split())[:200]}).",
                hint="run it again with --debug and report what it prints.",
            ) from exc
        if type(exc).__name__ == "NoArgsIsHelpError":  # typer's copy of click has it in a place of its own
            note(str(words()))
            return EXIT_USAGE
        raise _usage_error(exc, str(words())) from exc
    return EXIT_DONE


def _wants_json(arguments: Sequence[str]) -> bool:
    """Known without a parse, for what is wrong may be the arguments themselves."""
    given = os.environ.get("FBS_OUTPUT_FORMAT", "")
    for position, word in enumerate(arguments):
        if word == _FORMAT:
            given = "".join(arguments[position + 1 : position + 2])
        elif word.startswith(f"{_FORMAT}="):
            given = word.partition("=")[2]
    return given == OutputFormat.JSON


def _usage_error(exc: Exception, words: str) -> UsageError:
    context = getattr(exc, "ctx", None)
    command = context.command_path if context else "fbs"
    return UsageError(words, hint=f"See: {command} --help")
