"""The `fbs` application: its commands and the handling of their errors.

Exit codes: 0 done, 1 failed, 2 usage error, 3 a server is unreachable, 4 rejected, 130 interrupted. An error has the
same exit code in this process and in a worker. With JSON output it is also printed as JSON on stdout, in addition to
the two lines on stderr.
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
    doctor,
    flower,
    health,
    init,
    jobs,
    mcp,
    metrics,
    migrate,
    misc,
    odoo,
    record,
    schedule,
    solutions,
    stack,
    token,
)
from fbs_worker.cli.options import add_job_command
from fbs_worker.cli.output import OutputFormat, note, print_error, print_json
from fbs_worker.core.errors import EXIT_DONE, EXIT_USAGE, FBSError, InternalError, JobFailed, UsageError
from fbs_worker.core.service_links import remove_service_links
from fbs_worker.core.settings_file import PLACE, add_settings_file

EXIT_INTERRUPTED: Final = 130
_DEBUG: Final = "--debug"
_FORMAT: Final = "--output-format"
_COMPLETE: Final = "_FBS_COMPLETE"

app = typer.Typer(
    name="fbs",
    help="Discover an Odoo server, save the discoveries in PostgreSQL and set up business tables, as Celery jobs.",
    epilog="Start with `fbs demo`. Exit codes: 0 done, 1 failed, 2 usage error, 3 unreachable, 4 rejected.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help truncates long names of options and variables
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=misc.print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option(_DEBUG, envvar="FBS_DEBUG", help="Show the traceback of an error; allowed at any position.")
    ] = False,
) -> None: ...


add_job_command(app, "discover", discover.discover)
add_job_command(app, "setup", solutions.setup)
app.command("status")(solutions.status)
app.command("list")(solutions.list_all)
add_job_command(app, "refresh", solutions.refresh, by_name=True)
add_job_command(app, "sync", solutions.sync, by_name=True)
add_job_command(app, "migrate", migrate.migrate, by_name=True)
app.command("diagram")(diagram.diagram)
add_job_command(app, "drop", solutions.drop, by_name=True)
app.command("rotate-keys")(solutions.rotate_keys)
app.add_typer(odoo.app, name="odoo")
app.command("record")(record.record)
app.add_typer(jobs.app, name="jobs")
app.command("init")(init.init)
app.command("demo")(demo.demo)
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("env")(stack.env)
app.command("worker")(stack.worker)
app.command("beat")(beat.beat)
app.add_typer(schedule.app, name="schedule")
app.command("flower")(flower.flower)
app.command("api")(api.api)
app.command("mcp")(mcp.mcp)
app.command("new-token")(token.new_token)
app.command("health")(health.health)
app.command("doctor")(doctor.doctor)
app.command("metrics")(metrics.metrics)
app.add_typer(misc.domains_app, name="domains")
app.command("new-key")(misc.new_key)
app.command("version")(misc.version)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: the command-line arguments, without the program's name.

    Returns:
        The exit code.
    """
    remove_service_links(os.environ)
    debug = _DEBUG in arguments or os.environ.get("FBS_DEBUG", "").lower() in {"1", "true", "yes", "on"}
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # replace characters that the terminal cannot encode
    try:
        try:
            if "demo" in arguments[:1]:
                os.environ[PLACE] = ""  # it has settings of its own
            add_settings_file(os.environ)  # options have the same variables as settings
            return _invoke([argument for argument in arguments if argument != _DEBUG])
        except FBSError as exc:
            if debug:
                traceback.print_exception(exc)
            print_error(exc)
            if _json_output(arguments):
                print_json({"error": exc.to_dict()})
            return exit_code(exc)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed the pipe (`fbs jobs list | head`): exit silently, now and in Python's final flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except (KeyboardInterrupt, typer.Abort):
        note("Interrupted.")
        return EXIT_INTERRUPTED


def exit_code(error: FBSError) -> int:
    """The exit code of an error; for a failed job, that of the job's error."""
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
    if _COMPLETE in os.environ:  # a shell asks what may follow
        command.main(arguments, "fbs")
    try:
        # typer's own `main` would print errors itself and exit
        with command.make_context("fbs", arguments) as context:
            command.invoke(context)
    except typer.Exit as exc:
        return exc.exit_code
    except (FBSError, BrokenPipeError, typer.Abort):
        raise
    except Exception as exc:
        format_message = getattr(exc, "format_message", None)
        if not callable(format_message):
            kind = type(exc).__name__
            raise InternalError(
                f"This is a bug in fbs-worker: {kind} ({' '.join(str(exc).split())[:200]}).",
                hint="Run it again with --debug and report the output.",
            ) from exc
        if type(exc).__name__ == "NoArgsIsHelpError":  # typer bundles its own copy of click
            note(str(format_message()))
            return EXIT_USAGE
        raise _usage_error(exc, str(format_message())) from exc
    return EXIT_DONE


def _json_output(arguments: Sequence[str]) -> bool:
    """Determined without parsing: the arguments themselves may be wrong."""
    if "mcp" in arguments[:1]:
        return False  # stdout is the protocol's
    output_format = os.environ.get("FBS_OUTPUT_FORMAT", "")
    for position, argument in enumerate(arguments):
        if argument == _FORMAT:
            output_format = "".join(arguments[position + 1 : position + 2])
        elif argument.startswith(f"{_FORMAT}="):
            output_format = argument.partition("=")[2]
    return output_format == OutputFormat.JSON


def _usage_error(exc: Exception, message: str) -> UsageError:
    context = getattr(exc, "ctx", None)
    command = context.command_path if context else "fbs"
    return UsageError(message, hint=f"See: {command} --help")
