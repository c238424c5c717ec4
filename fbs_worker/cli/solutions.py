"""`fbs setup|status|list|refresh|drop|rotate-keys`: the life cycle of solutions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fbs_worker.cli.options import (
    BusinessPrefix,
    DatabaseHost,
    DatabaseName,
    DatabasePassword,
    DatabasePort,
    DatabaseUser,
    Domain,
    Format,
    Full,
    Inline,
    NoWait,
    OdooMoved,
    OdooOfSolution,
    SolutionName,
    TablePrefix,
    current_settings,
    database_config,
)
from fbs_worker.cli.output import OutputFormat, note, plain_lines, print_blocks, print_json
from fbs_worker.cli.render.results import result_blocks
from fbs_worker.cli.render.solutions import drop_blocks, list_blocks, rotation_blocks, status_blocks
from fbs_worker.cli.run import Runner
from fbs_worker.core.errors import EXIT_FAILED, EXIT_REFUSED, EXIT_UNREACHABLE, RefusedError, TablesNotEmpty, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNREACHABLE: Final = "unreachable"

Named = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The solution; or --solution-name.", show_default=False)
]
NameOption = Annotated[
    str | None, typer.Option("--solution-name", envvar="FBS_SOLUTION_NAME", help="The solution; see `fbs list`.")
]


def setup(
    *,
    solution_name: SolutionName,
    domain: Domain,
    database_name: DatabaseName = None,
    database_user: DatabaseUser = None,
    database_password: DatabasePassword = None,
    database_host: DatabaseHost = None,
    database_port: DatabasePort = None,
    table_prefix: TablePrefix = None,
    business_prefix: BusinessPrefix = None,
    refresh_discoveries: Annotated[
        bool,
        typer.Option(
            "--refresh-discoveries/--no-refresh-discoveries",
            envvar="FBS_REFRESH_DISCOVERIES",
            help="Whether to discover Odoo, too.",
        ),
    ] = True,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            envvar="FBS_MIRROR",
            metavar="MODEL",
            help="Mirror an Odoo model in a business table, e.g. sale.order; repeatable.",
        ),
    ] = None,
    odoo: OdooOfSolution = None,
    odoo_moved: OdooMoved = False,
    inline: Inline = False,
    no_wait: NoWait = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Set up a solution: create its tables and discover Odoo.

    System tables and the domain's business tables are in one database, with different prefixes. A repeated setup
    creates missing tables and changes nothing else.
    """
    runner = Runner(settings=current_settings(), output_format=output_format, inline=inline, no_wait=no_wait)
    request = {
        "solution_name": solution_name,
        "domain": domain,
        "database_config": database_config(
            name=database_name,
            user=database_user,
            password=database_password,
            host=database_host,
            port=database_port,
        )
        or {},
        "table_prefix": table_prefix,
        "business_prefix": business_prefix,
        "refresh_discoveries": refresh_discoveries,
        "mirror": mirror or [],
        "odoo": odoo,
        "odoo_moved": odoo_moved,
    }
    _finish("setup", runner.run("setup", request, title=f"Setting up {solution_name}"), output_format)


def status(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Show a solution's status, tables, discoveries and jobs."""
    from fbs_worker.ops.status import solution_status

    result = solution_status(current_settings(), one_solution(name, solution_name))
    if output_format is OutputFormat.JSON:
        print_json(result)
    else:
        print_blocks(status_blocks(result))
    if result["overall_status"] == _UNREACHABLE:
        raise typer.Exit(EXIT_UNREACHABLE)


def list_all(output_format: Format = OutputFormat.TEXT) -> None:
    """List all solutions with their status.

    An unreachable database does not hide the other solutions.
    """
    from fbs_worker.ops.status import list_solutions

    listing = list_solutions(current_settings())
    if output_format is OutputFormat.JSON:
        print_json(listing)
    else:
        print_blocks(list_blocks(listing))


def refresh(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    full: Full = False,
    odoo_moved: OdooMoved = False,
    inline: Inline = False,
    no_wait: NoWait = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Discover a solution's Odoo again and record the changes."""
    solution = one_solution(name, solution_name)
    runner = Runner(settings=current_settings(), output_format=output_format, inline=inline, no_wait=no_wait)
    request = {"solution_name": solution, "full": full, "odoo_moved": odoo_moved}
    _finish("refresh", runner.run("refresh", request, title=f"Refreshing {solution}"), output_format)


def drop(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    with_data: Annotated[
        bool, typer.Option("--with-data", envvar="FBS_WITH_DATA", help="Drop business tables that hold rows, too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", envvar="FBS_DRY_RUN", help="Only list the tables that would be dropped.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", envvar="FBS_YES", help="Do not ask for confirmation.")] = False,
    inline: Inline = False,
    no_wait: NoWait = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Drop a solution: the tables created for it, and no others.

    It lists the tables and asks for confirmation. Business tables that hold rows are only dropped with --with-data.
    """
    solution = one_solution(name, solution_name)
    if not (yes or dry_run or sys.stdin.isatty()):
        raise RefusedError(
            f"Dropping {solution!r} needs a confirmation, and there is no terminal to ask at.",
            hint="Pass --yes to drop it, or --dry-run to list the tables that would be dropped.",
        )
    runner = Runner(settings=current_settings(), output_format=output_format, inline=inline, no_wait=no_wait)
    request = {"solution_name": solution, "with_data": with_data, "dry_run": dry_run}
    if not (yes or dry_run):
        _confirm(runner, request)
    _finish("drop", runner.run("drop", request, title=f"Dropping {solution}"), output_format)


def rotate_keys(output_format: Format = OutputFormat.TEXT) -> None:
    """Encrypt stored passwords anew with the first key.

    Afterwards the older keys can be removed from FBS_SECRET_KEYS, unless a database was unreachable.
    """
    from fbs_worker.solutions.key_rotation import rotate_keys as rotate

    result = rotate(current_settings())
    if output_format is OutputFormat.JSON:
        print_json(result)
    else:
        print_blocks(rotation_blocks(result))
    if not result["complete"]:
        raise typer.Exit(EXIT_UNREACHABLE if result["unreachable"] else EXIT_FAILED)


def _confirm(runner: Runner, request: Mapping[str, Any]) -> None:
    """List the tables that would be dropped and ask for confirmation; exit on no."""
    solution = request["solution_name"]
    dry_runner = Runner(settings=runner.settings, output_format=runner.output_format, inline=runner.inline)
    plan = dry_runner.run("drop", {**request, "dry_run": True}, title=f"Inspecting {solution}")
    assert plan is not None  # noqa: S101 -- the runner waits for it
    for block in drop_blocks(plan):
        note(block if isinstance(block, str) else "\n".join(plain_lines(block)))
    if any(plan["rows"].values()) and not request["with_data"]:
        raise TablesNotEmpty(
            f"Tables of {solution!r} hold rows: nothing was dropped.",
            hint="Save the rows that you need, then pass --with-data to drop them.",
        )
    if not typer.confirm(f"Drop the solution {solution}? This cannot be undone.", err=True):
        note("Nothing was dropped.")
        raise typer.Exit(EXIT_REFUSED)


def _finish(action: str, result: dict[str, Any] | None, output_format: OutputFormat) -> None:
    if result is None:  # --no-wait
        return
    if output_format is OutputFormat.JSON:
        print_json(result)
    else:
        print_blocks(result_blocks(action, result, name=result["solution"]))


def one_solution(argument: str | None, option: str | None) -> str:
    """The solution named by the argument or by --solution-name.

    Raises:
        UsageError: none is named, or two different ones.
    """
    if argument and option and argument != option:
        raise UsageError(
            f"Two solutions are named: {argument!r} and {option!r}.",
            hint="Name one, as the argument or by --solution-name (or FBS_SOLUTION_NAME).",
        )
    name = argument or option
    if not name:
        raise UsageError("No solution is named.", hint="Name one; `fbs list` shows them.")
    return name
