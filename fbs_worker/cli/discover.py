"""`fbs discover`: read an Odoo for a domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fbs_worker.cli.display import open_display
from fbs_worker.cli.follow import follow
from fbs_worker.cli.options import Domain, Format, Odoo, current_settings
from fbs_worker.cli.output import OutputFormat, errors_as, print_blocks, print_json, say
from fbs_worker.cli.render import discovery_blocks
from fbs_worker.discovery import DiscoveryType
from fbs_worker.errors import UsageError

if TYPE_CHECKING:
    from fbs_worker.settings import Settings

_DATABASE = "Where to keep it (without a name: nowhere)"


def discover(
    *,
    domain: Domain,
    database_name: Annotated[
        str | None,
        typer.Option("--database-name", envvar="FBS_DATABASE_NAME", rich_help_panel=_DATABASE, help="The database."),
    ] = None,
    database_user: Annotated[
        str | None,
        typer.Option("--database-user", envvar="FBS_DATABASE_USER", rich_help_panel=_DATABASE, help="The role."),
    ] = None,
    database_password: Annotated[
        str | None,
        typer.Option(
            "--database-password",
            envvar="FBS_DATABASE_PASSWORD",
            rich_help_panel=_DATABASE,
            help="Its password. Others on this machine can see it on the command line: better `-` (asks for it), "
            "`env:NAME` or `file:PATH` (read where the job runs).",
        ),
    ] = None,
    database_host: Annotated[
        str | None,
        typer.Option(
            "--database-host",
            envvar="FBS_DATABASE_HOST",
            rich_help_panel=_DATABASE,
            help="A name, an address, or the folder of a Unix socket.",
        ),
    ] = None,
    database_port: Annotated[
        int | None,
        typer.Option("--database-port", envvar="FBS_DATABASE_PORT", rich_help_panel=_DATABASE, help="The port."),
    ] = None,
    table_prefix: Annotated[
        str | None,
        typer.Option(
            "--table-prefix", envvar="FBS_TABLE_PREFIX", rich_help_panel=_DATABASE, help="Prefix of the system tables."
        ),
    ] = None,
    odoo: Odoo = "default",
    discovery_type: Annotated[
        list[DiscoveryType] | None,
        typer.Option(
            "--discovery-type", envvar="FBS_DISCOVERY_TYPE", help="Only this type; may be given more than once."
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", envvar="FBS_FULL", help="Read everything, even though nothing seems changed.")
    ] = False,
    inline: Annotated[
        bool, typer.Option("--inline", envvar="FBS_INLINE", help="Run in this process: no queue, no worker.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", envvar="FBS_NO_WAIT", help="Enqueue, print the job's id and end.")
    ] = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Discover what an Odoo can do for a domain: its modules, models, workflows and BI features."""
    with errors_as(output_format):
        if inline and no_wait:
            raise UsageError("--inline and --no-wait exclude each other.", hint="Leave one of them out.")
        given = {
            "name": database_name,
            "user": database_user,
            "password": _asked(database_password),
            "host": database_host,
            "port": database_port,
        }
        request = {
            "domain": domain,
            "database_config": given if any(value is not None for value in given.values()) else None,
            "table_prefix": table_prefix,
            "discovery_types": [str(kind) for kind in discovery_type] if discovery_type else None,
            "full": full,
            "odoo": odoo,
        }
        settings = current_settings()
        if inline:
            _finish(_inline(request, settings, output_format), domain, output_format)
        else:
            _enqueue(request, settings, output_format, no_wait=no_wait)


def _inline(request: dict[str, Any], settings: Settings, output_format: OutputFormat) -> dict[str, Any]:
    from fbs_worker.inline import run_inline

    with open_display(f"Discovering {request['domain']}", output_format) as display:
        return run_inline("fbs.discover", request, settings=settings, progress=display)


def _enqueue(request: dict[str, Any], settings: Settings, output_format: OutputFormat, *, no_wait: bool) -> None:
    from fbs_worker.client import Client

    with Client(settings=settings) as client:
        job = client.discover(**request)
        if not no_wait:
            result = follow(job, open_display(f"Discovering {request['domain']}", output_format))
            _finish({"job": job.id, **result}, request["domain"], output_format)
        elif output_format is OutputFormat.JSON:
            print_json({"job": job.id})
        else:
            say(f"Enqueued as job {job.id}. Follow it: fbs jobs watch {job.id}")


def _finish(result: dict[str, Any], domain: str, output_format: OutputFormat) -> None:
    if output_format is OutputFormat.JSON:
        print_json({"domain": domain, **result})
    else:
        print_blocks(discovery_blocks(result, domain=domain))


def _asked(given: str | None) -> str | None:
    """The password; `-` asks for it, where nobody can see it."""
    return str(typer.prompt("Password of the database", hide_input=True, err=True)) if given == "-" else given
