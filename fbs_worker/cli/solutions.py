"""`fbs setup|status|list|refresh|drop|rotate-keys`: a solution's life."""

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
from fbs_worker.cli.render_solutions import drop_blocks, list_blocks, result_blocks, rotation_blocks, status_blocks
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
            help="Whether Odoo is read, too.",
        ),
    ] = True,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            envvar="FBS_MIRROR",
            metavar="MODEL",
            help="An Odoo model that gets a business table, e.g. sale.order; may be given more than once.",
        ),
    ] = None,
    odoo: OdooOfSolution = None,
    odoo_moved: OdooMoved = False,
    inline: Inline = False,
    no_wait: NoWait = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Set a solution up: its tables, and what Odoo has.

    Its tables are system tables and the domain's business tables, in one database, told apart by prefix. Run again, it
    makes what is missing and changes nothing else.
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
    """Show how a solution is: tables, discoveries, refresh, jobs."""
    from fbs_worker.ops.status import solution_status

    told = solution_status(current_settings(), one_solution(name, solution_name))
    if output_format is OutputFormat.JSON:
        print_json(told)
    else:
        print_blocks(status_blocks(told))
    if told["overall_status"] == _UNREACHABLE:
        raise typer.Exit(EXIT_UNREACHABLE)


def list_all(output_format: Format = OutputFormat.TEXT) -> None:
    """List all solutions and how each is.

    It answers while the database of one is down, too.
    """
    from fbs_worker.ops.status import list_solutions

    told = list_solutions(current_settings())
    if output_format is OutputFormat.JSON:
        print_json(told)
    else:
        print_blocks(list_blocks(told))


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
    """Read a solution's Odoo again and record what changed."""
    solution = one_solution(name, solution_name)
    runner = Runner(settings=current_settings(), output_format=output_format, inline=inline, no_wait=no_wait)
    request = {"solution_name": solution, "full": full, "odoo_moved": odoo_moved}
    _finish("refresh", runner.run("refresh", request, title=f"Refreshing {solution}"), output_format)


def drop(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    with_data: Annotated[
        bool, typer.Option("--with-data", envvar="FBS_WITH_DATA", help="Drop business tables though they hold rows.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", envvar="FBS_DRY_RUN", help="Only list what would be dropped.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", envvar="FBS_YES", help="Do not ask.")] = False,
    inline: Inline = False,
    no_wait: NoWait = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Take a solution away: what was made for it, nothing else.

    It shows what would go, and asks. While business tables hold rows it refuses, unless --with-data says that they
    may go.
    """
    solution = one_solution(name, solution_name)
    if not (yes or dry_run or sys.stdin.isatty()):
        raise RefusedError(
            f"Nobody can be asked whether the solution {solution!r} may be dropped.",
            hint="Add --yes to drop it without a question, or --dry-run to see what would be dropped.",
        )
    runner = Runner(settings=current_settings(), output_format=output_format, inline=inline, no_wait=no_wait)
    request = {"solution_name": solution, "with_data": with_data, "dry_run": dry_run}
    if not (yes or dry_run):
        _ask(runner, request)
    _finish("drop", runner.run("drop", request, title=f"Dropping {solution}"), output_format)


def rotate_keys(output_format: Format = OutputFormat.TEXT) -> None:
    """Seal stored passwords anew with the first of the keys.

    After it, older keys can be taken out of FBS_SECRET_KEYS, unless a database could not be reached.
    """
    from fbs_worker.solutions.key_rotation import rotate_keys as rotate

    told = rotate(current_settings())
    if output_format is OutputFormat.JSON:
        print_json(told)
    else:
        print_blocks(rotation_blocks(told))
    if not told["complete"]:
        raise typer.Exit(EXIT_UNREACHABLE if told["unreachable"] else EXIT_FAILED)


def _ask(runner: Runner, request: Mapping[str, Any]) -> None:
    """Show what would be dropped, and ask; the answer no ends the command."""
    solution = request["solution_name"]
    look = Runner(settings=runner.settings, output_format=runner.output_format, inline=runner.inline)
    plan = look.run("drop", {**request, "dry_run": True}, title=f"Looking at {solution}")
    assert plan is not None  # noqa: S101 -- it was waited for
    for block in drop_blocks(plan):
        note(block if isinstance(block, str) else "\n".join(plain_lines(block)))
    if any(plan["rows"].values()) and not request["with_data"]:
        raise TablesNotEmpty(
            f"Tables of {solution!r} hold rows: nothing was dropped.",
            hint="Save what you need; --with-data drops them with their rows.",
        )
    if not typer.confirm(f"Drop the solution {solution} for good?", err=True):
        note("Nothing was dropped.")
        raise typer.Exit(EXIT_REFUSED)


def _finish(action: str, result: dict[str, Any] | None, output_format: OutputFormat) -> None:
    if result is None:  # it is not waited for
        return
    if output_format is OutputFormat.JSON:
        print_json(result)
    else:
        print_blocks(result_blocks(action, result, name=result["solution"]))


def one_solution(argument: str | None, option: str | None) -> str:
    """The one solution that was named, either way."""
    if argument and option and argument != option:
        raise UsageError(
            f"Two solutions are named: {argument!r} and {option!r}.",
            hint="Name one, with or without --solution-name (its environment twin is FBS_SOLUTION_NAME).",
        )
    name = argument or option
    if not name:
        raise UsageError("No solution is named.", hint="Name one (--solution-name …); `fbs list` shows them.")
    return name
