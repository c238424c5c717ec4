"""`fbs up`, `fbs down` and `fbs worker`: what runs on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fbs_worker.cli.options import Format
from fbs_worker.cli.output import OutputFormat, Table, note, print_blocks, print_json, say

if TYPE_CHECKING:
    from fbs_worker.core.settings import Settings
    from fbs_worker.ops.local.state import StackInfo

_NAMES: Final = {
    "postgres": "PostgreSQL",
    "redis": "Redis",
    "worker": "the worker",
    "beat": "beat",
    "flower": "the dashboard",
    "api": "the API",
}
_LOOK_SECONDS: Final = 0.5

Concurrency = Annotated[
    int, typer.Option("--concurrency", envvar="FBS_CONCURRENCY", min=1, help="How many jobs the worker runs at a time.")
]


def up(
    *,
    foreground: Annotated[
        bool, typer.Option("--foreground", envvar="FBS_FOREGROUND", help="Stay until Ctrl-C, then stop everything.")
    ] = False,
    concurrency: Concurrency = 2,
    beat: Annotated[
        bool, typer.Option("--beat/--no-beat", envvar="FBS_UP_BEAT", help="Whether schedules are kept.")
    ] = True,
    flower: Annotated[
        bool, typer.Option("--flower/--no-flower", envvar="FBS_UP_FLOWER", help="Whether there is a dashboard.")
    ] = True,
    api: Annotated[
        bool, typer.Option("--api/--no-api", envvar="FBS_UP_API", help="Whether there is the HTTP API.")
    ] = True,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Start all that is needed on this machine.

    PostgreSQL and Redis where none is set, a worker, beat, which keeps schedules, the dashboard and the HTTP API. Other
    `fbs` commands find them.
    """
    from fbs_worker.core.settings import get_settings
    from fbs_worker.ops.local import stack
    from fbs_worker.ops.local.processes import exit_on_termination

    settings = get_settings()
    with exit_on_termination():
        wanted = {"worker": True, "beat": beat, "flower": flower, "api": api}
        programs = [name for name, is_wanted in wanted.items() if is_wanted]
        info, _ = stack.up(settings, concurrency=concurrency, programs=programs, on_start=starting)
        if not foreground:
            _tell(info, settings, output_format)
            return
        try:
            _tell(info, settings, output_format)
            note("Ctrl-C stops everything.")
            _stay(info)
        finally:
            told_down(info.home)


def down(output_format: Format = OutputFormat.TEXT) -> None:
    """Stop what `fbs up` started, servers last; data stays."""
    from fbs_worker.core.settings import get_settings

    home = get_settings().home()
    stopped = told_down(home)
    if output_format is OutputFormat.JSON:
        print_json({"home": str(home), "stopped": stopped})
    elif not stopped:
        say(f"Nothing runs in {home}.")


def worker(
    name: Annotated[
        str | None,
        typer.Option("--name", envvar="FBS_WORKER_NAME", help="Its name on this host, for `fbs health --worker`."),
    ] = None,
    queues: Annotated[
        str,
        typer.Option(
            "--queues",
            envvar="FBS_QUEUES",
            help="Its queues, comma-separated; celery, too, where this Redis is fbs-worker's alone.",
        ),
    ] = "fbs.discovery,fbs.schema",
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", envvar="FBS_CONCURRENCY", min=1, help="Jobs at a time; default: processors."),
    ] = None,
    loglevel: Annotated[
        str, typer.Option("--loglevel", envvar="FBS_LOGLEVEL", help="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    ] = "INFO",
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Run a Celery worker in this terminal until Ctrl-C.

    It finishes the jobs that it has, then.
    """
    from celery.signals import worker_ready

    from fbs_worker.cli.options import current_settings
    from fbs_worker.jobs.worker.run import run_worker
    from fbs_worker.ops.local.programs import notify_ready_on

    settings = current_settings()
    taken = tuple(dict.fromkeys(word for part in queues.split(",") if (word := part.strip())))
    notify_ready_on(worker_ready, ready_fd)
    raise typer.Exit(run_worker(settings, name=name, queues=taken, concurrency=concurrency, loglevel=loglevel.upper()))


def starting(name: str) -> None:
    """Say what is being started."""
    note(f"Starting {_NAMES[name]} …")


def told_down(home: Any, *, seconds: float | None = None) -> list[str]:
    """Stop the stack of a folder and say what was stopped.

    Args:
        home: the folder.
        seconds: how long the worker may finish its jobs; a while if None.
    """
    from fbs_worker.ops.local import stack

    stopped = stack.down(home) if seconds is None else stack.down(home, seconds=seconds)
    if stopped:
        note(f"Stopped {', '.join(_NAMES[name] for name in stopped)}.")
    return stopped


def _tell(info: StackInfo, settings: Settings, output_format: OutputFormat) -> None:
    from fbs_worker.ops.local import stack
    from fbs_worker.ops.local.stack import flower_password_file

    if not stack.has_current_settings(info, settings):
        note("The worker runs with the settings of its start; `fbs down` and `fbs up` give it those of now.")
    if output_format is OutputFormat.JSON:
        services = [{**service.to_dict(), "state": service.state} for service in info.services]
        print_json(
            {"home": str(info.home), "services": services, "database": info.database.redacted(), "odoo": info.odoo}
        )
        return
    rows = [
        (service.name, service.state, str(service.process.pid) if service.process else "", service.address)
        for service in info.services
    ]
    print_blocks([Table(title="Running", columns=("service", "state", "pid", "place"), rows=rows)])
    if info.service("flower") and not settings.fbs_flower_password.get_secret_value():
        say(f"The dashboard's user is {settings.fbs_flower_user}, its password is in {flower_password_file(info.home)}")
    if info.service("api") and not settings.fbs_api_tokens.get_secret_value():
        say("The API and its pages answer whoever is on this machine; FBS_API_TOKENS says who else, and who alone.")
    say(f"Odoo of the worker: {info.odoo or 'none: set ODOO_URL, then `fbs down` and `fbs up`'}")
    say(f"Try: fbs setup --solution-name demo --domain rental --database-name {info.database.name}")


def _stay(info: StackInfo) -> None:
    """Until Ctrl-C, or until a part of the stack ends by itself."""
    from fbs_worker.core.errors import JobError

    while True:
        for service in info.services:
            if service.process and not service.process.alive:
                raise JobError(
                    f"{_NAMES[service.name].capitalize()} has ended.", hint=f"Its log is in {info.home}: fbs up again."
                )
        time.sleep(_LOOK_SECONDS)
