"""`fbs up`, `fbs down`, `fbs env` and `fbs worker`: the local stack."""

from __future__ import annotations

import shlex
from contextlib import suppress
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

_STATES: Final = {"not ours": "external", "ran already": "already running"}
"""Words of the table; JSON has the values of `Service.state`."""

Concurrency = Annotated[
    int, typer.Option("--concurrency", envvar="FBS_CONCURRENCY", min=1, help="Jobs that the worker runs at a time.")
]


def up(
    *,
    foreground: Annotated[
        bool, typer.Option("--foreground", envvar="FBS_FOREGROUND", help="Run until Ctrl-C, then stop everything.")
    ] = False,
    concurrency: Concurrency = 2,
    beat: Annotated[
        bool,
        typer.Option("--beat/--no-beat", envvar="FBS_UP_BEAT", help="Whether to start beat, which runs schedules."),
    ] = True,
    flower: Annotated[
        bool, typer.Option("--flower/--no-flower", envvar="FBS_UP_FLOWER", help="Whether to start the dashboard.")
    ] = True,
    api: Annotated[
        bool, typer.Option("--api/--no-api", envvar="FBS_UP_API", help="Whether to start the HTTP API.")
    ] = True,
    output_format: Format = OutputFormat.TEXT,
    supervise: Annotated[bool, typer.Option("--supervise", hidden=True)] = False,
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Start a complete stack on this machine.

    Starts PostgreSQL and Redis unless configured, a worker, beat, the dashboard and the HTTP API. Other `fbs` commands
    use them. A part that ends is started again, until `fbs down`.
    """
    from fbs_worker.core.settings import get_settings
    from fbs_worker.ops.local import stack
    from fbs_worker.ops.local.processes import exit_on_termination
    from fbs_worker.ops.local.programs import notify_ready
    from fbs_worker.ops.local.supervisor import supervise as supervise_stack

    settings = get_settings()
    if supervise:
        with exit_on_termination():
            notify_ready(ready_fd)
            supervise_stack(settings, concurrency=concurrency, say=note)
        return
    with exit_on_termination():
        selected = {"worker": True, "beat": beat, "flower": flower, "api": api}
        programs = [name for name, is_selected in selected.items() if is_selected]
        info, _ = stack.up(
            settings, concurrency=concurrency, programs=programs, on_start=starting, supervised=not foreground
        )
        if not foreground:
            _print_stack(info, settings, output_format)
            return
        try:
            _print_stack(info, settings, output_format)
            note("Ctrl-C stops everything.")
            supervise_stack(settings, concurrency=concurrency, say=note)
        finally:
            stop_stack(info.home)


def down(output_format: Format = OutputFormat.TEXT) -> None:
    """Stop the stack of `fbs up`, servers last; data is kept."""
    from fbs_worker.core.settings import get_settings

    home = get_settings().home()
    stopped = stop_stack(home)
    if output_format is OutputFormat.JSON:
        print_json({"home": str(home), "stopped": stopped})
    elif not stopped:
        say(f"Nothing is running in {home}.")


def env(output_format: Format = OutputFormat.TEXT) -> None:
    """Print how other programs reach the stack.

    Variables for a shell, with passwords: eval "$(fbs env)". Comments have the same as URLs and lines to paste.
    """
    from fbs_worker.core.errors import QueueUnreachable
    from fbs_worker.core.settings import get_settings
    from fbs_worker.ops.local.state import find_stack

    home = get_settings().home()
    info = find_stack(home)
    if info is None:
        raise QueueUnreachable(f"Nothing is running in {home}.", hint="Start it: fbs up")
    url, redis = info.address_url or info.database_url, info.redis_url
    database = info.database if not info.address_url else type(info.database).from_url(info.address_url)
    variables = {
        "FBS_REDIS_URL": redis,
        "FBS_DATABASE_URL": url,
        "FBS_SECRET_KEYS": info.secret_keys,
        "PGHOST": database.host,
        "PGPORT": str(database.port),
        "PGUSER": database.user,
        "PGPASSWORD": database.password.get_secret_value(),
        "PGDATABASE": database.name,
    }
    variables = {name: value for name, value in variables.items() if value}
    lines = {
        "psql": f"psql {shlex.quote(url)}",
        "redis-cli": f"redis-cli -u {shlex.quote(redis)}",
        "SQLAlchemy": f"create_engine({url.replace('postgresql://', 'postgresql+psycopg2://', 1)!r})",
        "Celery": f"Celery(broker={redis!r}, backend={redis!r})",
    }
    pages = {service.name: service.address for service in info.services if service.name in {"flower", "api"}}
    if output_format is OutputFormat.JSON:
        print_json({"home": str(home), "variables": variables, "paste": lines, "pages": pages})
        return
    for name, value in variables.items():
        say(f"export {name}={shlex.quote(value)}")
    for name, line in {**lines, **pages}.items():
        say(f"# {name}: {line}")


def worker(
    name: Annotated[
        str | None,
        typer.Option(
            "--name", envvar="FBS_WORKER_NAME", help="The worker's name on this host, for `fbs health --worker`."
        ),
    ] = None,
    queues: Annotated[
        str,
        typer.Option(
            "--queues",
            envvar="FBS_QUEUES",
            help="The queues, comma-separated; add celery if no other application uses this Redis.",
        ),
    ] = "fbs.discovery,fbs.schema,fbs.records",
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", envvar="FBS_CONCURRENCY", min=1, help="Jobs at a time; default: the number of processors."
        ),
    ] = None,
    loglevel: Annotated[
        str, typer.Option("--loglevel", envvar="FBS_LOGLEVEL", help="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    ] = "INFO",
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Run a Celery worker in this terminal until Ctrl-C.

    On Ctrl-C it finishes its running jobs.
    """
    from celery.signals import worker_ready

    from fbs_worker.cli.options import current_settings
    from fbs_worker.jobs.worker.run import run_worker
    from fbs_worker.ops.local.programs import notify_ready_on

    settings = current_settings()
    consumes = tuple(dict.fromkeys(queue for part in queues.split(",") if (queue := part.strip())))
    notify_ready_on(worker_ready, ready_fd)
    raise typer.Exit(
        run_worker(settings, name=name, queues=consumes, concurrency=concurrency, loglevel=loglevel.upper())
    )


def starting(name: str) -> None:
    """Print that a part is being started."""
    note(f"Starting {_NAMES[name]} …")


def stop_stack(home: Any, *, seconds: float | None = None) -> list[str]:
    """Stop the stack of a folder and print the stopped parts.

    Args:
        home: the folder.
        seconds: how long the worker may finish its jobs; None for the default of `stack.down`.

    Returns:
        The names of the stopped parts.
    """
    from fbs_worker.ops.local import stack

    stopped = stack.down(home) if seconds is None else stack.down(home, seconds=seconds)
    if stopped:
        note(f"Stopped {', '.join(_NAMES[name] for name in stopped)}.")
    return stopped


def _print_stack(info: StackInfo, settings: Settings, output_format: OutputFormat) -> None:
    from fbs_worker.ops.local import stack
    from fbs_worker.ops.local.stack import flower_password_file

    if not stack.has_current_settings(info, settings):
        note("The worker still has the settings of its start; `fbs down` and `fbs up` apply the current ones.")
    if output_format is OutputFormat.JSON:
        services = [{**service.to_dict(), "state": service.state} for service in info.services]
        print_json(
            {"home": str(info.home), "services": services, "database": info.database.redacted(), "odoo": info.odoo}
        )
        return
    rows = [
        (
            service.name,
            _STATES.get(service.state, service.state),
            str(service.process.pid) if service.process else "",
            service.address,
        )
        for service in info.services
    ]
    print_blocks([Table(title="Running", columns=("service", "state", "pid", "address"), rows=rows)])
    if info.service("flower") and not settings.fbs_flower_password.get_secret_value():
        say(f"Dashboard user: {settings.fbs_flower_user}; its password is in {flower_password_file(info.home)}")
    if info.service("api") and not settings.fbs_api_tokens.get_secret_value():
        say("The API and the web UI accept every user of this machine; set FBS_API_TOKENS to require a token.")
    say(f"Odoo of the worker: {info.odoo or _stored_odoos(info, settings)}")
    say("Other programs find the servers: fbs env")
    say(f"Try: fbs setup --solution-name demo --domain rental --database-name {info.database.name}")


def _stored_odoos(info: StackInfo, settings: Settings) -> str:
    """The connections of the home database, which jobs look up; how to add one where there is none."""
    from fbs_worker.core.errors import FBSError
    from fbs_worker.solutions.odoo_connections import list_odoo

    stored = []
    with suppress(FBSError):
        stored = [f"{each['name']} ({each['url']})" for each in list_odoo(info.fill(settings))["connections"]]
    hint = "none; add one, which jobs use at once: fbs odoo add default --url … --db … --user … --password -"
    return ", ".join(stored) or hint
