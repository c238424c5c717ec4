"""The command line put together, and what becomes of its errors.

Exit codes: 0 done, 1 a job or an answer failed, 2 usage, 3 a server is unreachable, 4 refused, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from fbs_worker.cli import demo, discover, jobs, misc, record, stack
from fbs_worker.cli.output import note, print_error
from fbs_worker.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, FBSError, UsageError

EXIT_INTERRUPTED: Final = 130
_DEBUG: Final = "--debug"

app = typer.Typer(
    name="fbs",
    help="Reads what an Odoo server can do into PostgreSQL, as Celery jobs that anyone can watch.",
    epilog="Start with `fbs demo`. Exit codes: 0 done, 1 failed, 2 usage, 3 unreachable, 4 refused.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
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


app.command("discover", rich_help_panel="Work")(discover.discover)
app.command("record", rich_help_panel="Work")(record.record)
app.add_typer(jobs.app, name="jobs", rich_help_panel="Work")
app.command("demo", rich_help_panel="This machine")(demo.demo)
app.command("up", rich_help_panel="This machine")(stack.up)
app.command("down", rich_help_panel="This machine")(stack.down)
app.command("worker", rich_help_panel="This machine")(stack.worker)
app.command("domains", rich_help_panel="Facts")(misc.domains)
app.command("new-key", rich_help_panel="Facts")(misc.new_key)
app.command("version", rich_help_panel="Facts")(misc.version)


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
    command = typer.main.get_command(app)
    try:
        try:
            # typer's own `main` would end the process and word the errors itself
            with command.make_context("fbs", [word for word in arguments if word != _DEBUG]) as context:
                command.invoke(context)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read us has seen enough (`fbs jobs list | head`): end without a word, now and at Python's exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except typer.Exit as exc:
        return exc.exit_code
    except FBSError as exc:
        return _failed(exc, debug=debug)
    except (KeyboardInterrupt, typer.Abort):
        note("Interrupted.")
        return EXIT_INTERRUPTED
    except Exception as exc:  # noqa: BLE001 -- the last place that can tell a person
        words = getattr(exc, "format_message", None)
        if callable(words):  # typer's own, about what was typed
            if not words():  # nothing was, and the help has been shown
                return EXIT_USAGE
            return _failed(_usage_error(exc, str(words())), debug=debug)
        if debug:
            traceback.print_exc()
        kind = type(exc).__name__
        note(f"error: this is a bug in fbs-worker: {kind} ({' '.join(str(exc).split())[:200]}).")
        note("hint: run it again with --debug and report what it prints.")
        return EXIT_FAILED
    return EXIT_DONE


def _failed(exc: FBSError, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(exc)
    print_error(exc)
    return exc.exit_code


def _usage_error(exc: Exception, words: str) -> UsageError:
    context = getattr(exc, "ctx", None)
    command = context.command_path if context else "fbs"
    return UsageError(words, hint=f"See: {command} --help")
