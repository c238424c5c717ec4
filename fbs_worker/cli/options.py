"""Options that several commands have; each has its environment twin, shown in the help."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fbs_worker.cli.output import OutputFormat
from fbs_worker.core.errors import UsageError

if TYPE_CHECKING:
    from fbs_worker.core.settings import Settings

Domain = Annotated[str, typer.Option("--domain", envvar="FBS_DOMAIN", help="The business domain; see `fbs domains`.")]
SolutionName = Annotated[
    str, typer.Option("--solution-name", envvar="FBS_SOLUTION_NAME", help="The solution; see `fbs list`.")
]
DatabaseName = Annotated[
    str | None,
    typer.Option("--database-name", envvar="FBS_DATABASE_NAME", help="The database's name."),
]
DatabaseUser = Annotated[
    str | None,
    typer.Option("--database-user", envvar="FBS_DATABASE_USER", help="The role in the database."),
]
DatabasePassword = Annotated[
    str | None,
    typer.Option(
        "--database-password",
        envvar="FBS_DATABASE_PASSWORD",
        help="That role's password. Others on this machine can see it on the command line: better `-` (asks for it, or "
        "reads it from a pipe), `env:NAME` or `file:PATH` (read where the job runs).",
    ),
]
DatabaseHost = Annotated[
    str | None,
    typer.Option(
        "--database-host",
        envvar="FBS_DATABASE_HOST",
        help="Where PostgreSQL is: a name, an address, or a socket's folder.",
    ),
]
DatabasePort = Annotated[
    int | None,
    typer.Option("--database-port", envvar="FBS_DATABASE_PORT", help="The port of PostgreSQL."),
]
TablePrefix = Annotated[
    str | None,
    typer.Option("--table-prefix", envvar="FBS_TABLE_PREFIX", help="Prefix of the system tables."),
]
BusinessPrefix = Annotated[
    str | None,
    typer.Option(
        "--business-prefix",
        envvar="FBS_BUSINESS_PREFIX",
        help="Prefix of the business tables; may be empty.",
    ),
]
Odoo = Annotated[
    str,
    typer.Option(
        "--odoo", envvar="FBS_ODOO_CONNECTION", help="Which Odoo: `default` is ODOO_URL, others FBS_ODOO__<NAME>__URL."
    ),
]
OdooOfSolution = Annotated[
    str | None,
    typer.Option(
        "--odoo",
        envvar="FBS_ODOO_CONNECTION",
        help="Which Odoo: `default` is ODOO_URL, others FBS_ODOO__<NAME>__URL; else the one that it has.",
        show_default=False,
    ),
]
OdooMoved = Annotated[
    bool,
    typer.Option(
        "--odoo-moved", envvar="FBS_ODOO_MOVED", help="What is kept was read from this same Odoo, at another address."
    ),
]
Full = Annotated[
    bool, typer.Option("--full", envvar="FBS_FULL", help="Read everything, even though nothing seems changed.")
]
Inline = Annotated[
    bool,
    typer.Option("--inline", envvar="FBS_INLINE", help="Run in this process: no queue, no worker."),
]
NoWait = Annotated[
    bool,
    typer.Option("--no-wait", envvar="FBS_NO_WAIT", help="Enqueue, print the job's id and end."),
]
Format = Annotated[
    OutputFormat,
    typer.Option("--output-format", envvar="FBS_OUTPUT_FORMAT", help="What stdout holds; json is JSON alone."),
]


def current_settings() -> Settings:
    """The settings, what they lack taken from a stack that `fbs up` keeps running.

    Raises:
        SettingsError: one is not valid.
    """
    from fbs_worker.client.service import process_settings

    return process_settings()


def database_config(
    *, name: str | None, user: str | None, password: str | None, host: str | None, port: int | None
) -> dict[str, Any] | None:
    """The `--database-…` options as the dictionary that every face takes; None when none of them was given.

    Raises:
        UsageError: the password was to come from a pipe, and none came.
    """
    given = {"name": name, "user": user, "password": _asked(password), "host": host, "port": port}
    return given if any(value is not None for value in given.values()) else None


def _asked(given: str | None) -> str | None:
    """The password; `-` asks for it where nobody can see it, or reads it from a pipe."""
    if given != "-":
        return given
    if sys.stdin.isatty():
        return str(typer.prompt("Password of the database", hide_input=True, err=True))
    read = sys.stdin.readline().rstrip("\r\n")
    if not read:
        hint = "Pipe it in: printf %s … | <command> --database-password -"
        raise UsageError("There was no password to read.", hint=hint)
    return read
