"""Options shared by several commands; the help shows the environment variable of each."""

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
    typer.Option("--database-name", envvar="FBS_DATABASE_NAME", help="The name of the database."),
]
DatabaseUser = Annotated[
    str | None,
    typer.Option("--database-user", envvar="FBS_DATABASE_USER", help="The database role."),
]
DatabasePassword = Annotated[
    str | None,
    typer.Option(
        "--database-password",
        envvar="FBS_DATABASE_PASSWORD",
        help="The role's password. Other users can read the command line: prefer `-` (prompts, or reads stdin), "
        "`env:NAME` or `file:PATH` (read where the job runs).",
    ),
]
DatabaseHost = Annotated[
    str | None,
    typer.Option(
        "--database-host",
        envvar="FBS_DATABASE_HOST",
        help="The host of PostgreSQL: a name, an address or the folder of a socket.",
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
        "--odoo",
        envvar="FBS_ODOO_CONNECTION",
        help="The Odoo connection: `default` is ODOO_URL, others FBS_ODOO__<NAME>__URL.",
    ),
]
OdooOfSolution = Annotated[
    str | None,
    typer.Option(
        "--odoo",
        envvar="FBS_ODOO_CONNECTION",
        help="The Odoo connection: `default` is ODOO_URL, others FBS_ODOO__<NAME>__URL; default: unchanged.",
        show_default=False,
    ),
]
OdooMoved = Annotated[
    bool,
    typer.Option(
        "--odoo-moved",
        envvar="FBS_ODOO_MOVED",
        help="Confirm that the saved discoveries are of this same Odoo, at another address.",
    ),
]
Full = Annotated[
    bool, typer.Option("--full", envvar="FBS_FULL", help="Read everything, even if the fingerprint is unchanged.")
]
Inline = Annotated[
    bool,
    typer.Option("--inline", envvar="FBS_INLINE", help="Run in this process, without queue and worker."),
]
NoWait = Annotated[
    bool,
    typer.Option("--no-wait", envvar="FBS_NO_WAIT", help="Enqueue the job, print its id and exit."),
]
Format = Annotated[
    OutputFormat,
    typer.Option(
        "--output-format", envvar="FBS_OUTPUT_FORMAT", help="The format of stdout; with json it is pure JSON."
    ),
]


def current_settings() -> Settings:
    """The settings, with unset ones taken from a running local stack (`fbs up`).

    Raises:
        SettingsError: a setting is invalid.
    """
    from fbs_worker.client.service import process_settings

    return process_settings()


def database_config(
    *, name: str | None, user: str | None, password: str | None, host: str | None, port: int | None
) -> dict[str, Any] | None:
    """The `--database-…` options as a `database_config`.

    Returns:
        The dictionary; None if no option was given.

    Raises:
        UsageError: the password is `-` and stdin is empty.
    """
    options = {"name": name, "user": user, "password": _read_password(password), "host": host, "port": port}
    return options if any(value is not None for value in options.values()) else None


def _read_password(option: str | None) -> str | None:
    """The password; `-` prompts for it without echo, or reads it from stdin."""
    if option != "-":
        return option
    if sys.stdin.isatty():
        return str(typer.prompt("Database password", hide_input=True, err=True))
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        hint = "Pipe it in: printf %s … | <command> --database-password -"
        raise UsageError("There is no password to read on stdin.", hint=hint)
    return password
