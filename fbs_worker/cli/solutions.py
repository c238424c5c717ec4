"""`fbs setup|status|list|refresh|sync|drop|rotate-keys`: the life cycle of solutions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fbs_worker.cli.options import Format, Named, NameOption, current_settings, one_solution
from fbs_worker.cli.output import OutputFormat, note, plain_lines, print_error, print_result
from fbs_worker.cli.render.results import exit_code_of, result_blocks
from fbs_worker.cli.render.solutions import drop_blocks, list_blocks, rotation_blocks, status_blocks
from fbs_worker.cli.run import Runner
from fbs_worker.core.errors import (
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    FBSError,
    JobFailed,
    RefusedError,
    TablesNotEmpty,
)

if TYPE_CHECKING:
    from fbs_worker.solutions.requests import DropRequest, Request

_UNREACHABLE: Final = "unreachable"


def setup(runner: Runner, given: dict[str, Any]) -> None:
    """Set up a solution: create its tables and discover Odoo.

    System tables and the domain's business tables are in one database, with different prefixes. A repeated setup
    creates missing tables and changes nothing else. Records of mirrored models are copied at its end.
    """
    from fbs_worker.solutions.requests import SetupRequest

    request = SetupRequest.parse(given, settings=runner.settings)
    result = runner.run(request, title=f"Setting up {request.solution_name}")
    if result is None:
        return
    sync = result.get("sync")
    error: FBSError | None = None
    if failed := (sync or {}).get("error"):
        error = JobFailed(failed["message"], hint=failed["hint"], error=failed)
    elif sync and sync.keys() == {"job"}:
        try:
            result["sync"] = runner.follow(sync["job"], title=f"Copying records of {request.solution_name}")
        except FBSError as exc:  # the solution is set up all the same
            error = exc
            result["sync"] = {**sync, "error": exc.to_dict()}
    print_result(result, lambda: result_blocks("setup", result, name=request.solution_name), runner.output_format)
    if error is not None:
        from fbs_worker.cli.app import exit_code

        print_error(error)
        raise typer.Exit(exit_code(error))
    _exit_if_left("sync", result.get("sync"))


def status(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Show a solution's status, tables, discoveries and jobs."""
    from fbs_worker.ops.status import solution_status

    result = solution_status(current_settings(), one_solution(name, solution_name))
    print_result(result, lambda: status_blocks(result), output_format)
    if result["overall_status"] == _UNREACHABLE:
        raise typer.Exit(EXIT_UNREACHABLE)


def list_all(output_format: Format = OutputFormat.TEXT) -> None:
    """List all solutions with their status.

    An unreachable database does not hide the other solutions.
    """
    from fbs_worker.ops.status import list_solutions

    listing = list_solutions(current_settings())
    print_result(listing, lambda: list_blocks(listing), output_format)


def refresh(runner: Runner, given: dict[str, Any]) -> None:
    """Discover a solution's Odoo again and record the changes."""
    from fbs_worker.solutions.requests import RefreshRequest

    request = RefreshRequest(**given)
    _run(runner, request, title=f"Refreshing {request.solution_name}")


def sync(runner: Runner, given: dict[str, Any]) -> None:
    """Copy the records of mirrored models from Odoo.

    The first sync copies everything, the next ones what changed. A table whose deletions look wrong keeps its rows and
    needs a review; the exit code is 4 then, and 1 if a table failed or a verification found a difference.
    """
    from fbs_worker.solutions.requests import SyncRequest

    request = SyncRequest(**given)
    _run(runner, request, title=f"Copying records of {request.solution_name}")


def drop(
    runner: Runner,
    given: dict[str, Any],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", envvar="FBS_YES", help="Do not ask for confirmation.")] = False,
) -> None:
    """Drop a solution: the tables created for it, and no others.

    It lists the tables and asks for confirmation. Business tables that hold rows are only dropped with --with-data.
    """
    from fbs_worker.solutions.requests import DropRequest

    request = DropRequest(**given)
    confirmed = yes or request.dry_run
    if not (confirmed or sys.stdin.isatty()):
        raise RefusedError(
            f"Dropping {request.solution_name!r} needs a confirmation, and there is no terminal to ask at.",
            hint="Pass --yes to drop it, or --dry-run to list the tables that would be dropped.",
        )
    if not confirmed:
        _confirm(runner, request)
    _run(runner, request, title=f"Dropping {request.solution_name}")


def rotate_keys(output_format: Format = OutputFormat.TEXT) -> None:
    """Encrypt stored passwords anew with the first key.

    Afterwards the older keys can be removed from FBS_SECRET_KEYS, unless a database was unreachable.
    """
    from fbs_worker.solutions.key_rotation import rotate_keys as rotate

    result = rotate(current_settings())
    print_result(result, lambda: rotation_blocks(result), output_format)
    if not result["complete"]:
        raise typer.Exit(EXIT_UNREACHABLE if result["unreachable"] else EXIT_FAILED)


def _confirm(runner: Runner, request: DropRequest) -> None:
    """List the tables that would be dropped and ask for confirmation; exit on no."""
    solution = request.solution_name
    plan = runner.run_now(request.model_copy(update={"dry_run": True}), title=f"Inspecting {solution}")
    for block in drop_blocks(plan):
        note(block if isinstance(block, str) else "\n".join(plain_lines(block)))
    if any(plan["rows"].values()) and not request.with_data:
        raise TablesNotEmpty(
            f"Tables of {solution!r} hold rows: nothing was dropped.",
            hint="Save the rows that you need, then pass --with-data to drop them.",
        )
    if not typer.confirm(f"Drop the solution {solution}? This cannot be undone.", err=True):
        note("Nothing was dropped.")
        raise typer.Exit(EXIT_REFUSED)


def _run(runner: Runner, request: Request, *, title: str) -> None:
    result = runner.run(request, title=title)
    if result is not None:
        action = request.task.removeprefix("fbs.")
        print_result(result, lambda: result_blocks(action, result, name=result["solution"]), runner.output_format)
        _exit_if_left(action, result)


def _exit_if_left(action: str, result: dict[str, Any] | None) -> None:
    """Exit with the code of a result that says that something is left to do."""
    if result and (code := exit_code_of(action, result)):
        raise typer.Exit(code)
