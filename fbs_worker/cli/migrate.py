"""`fbs migrate`: plan and apply changes of a solution's tables."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fbs_worker.cli.output import PlanFormat, note, plain_lines, print_result
from fbs_worker.cli.render.migrations import migrate_blocks, plan_blocks
from fbs_worker.cli.run import Runner
from fbs_worker.core.errors import EXIT_REFUSED, RefusedError, UsageError
from fbs_worker.migration.model.plan import apply_command

if TYPE_CHECKING:
    from fbs_worker.solutions.requests import MigrateRequest


def migrate(
    runner: Runner,
    given: dict[str, Any],
    *,
    output_format: Annotated[
        PlanFormat,
        typer.Option(
            "--output-format",
            envvar="FBS_OUTPUT_FORMAT",
            help="The format of stdout; with json it is pure JSON, with sql the plan as a script for psql (--plan).",
        ),
    ] = PlanFormat.TEXT,
) -> None:
    """Make a solution's tables match their definition.

    It shows the plan and asks for confirmation. Hazards (deleted data, long locks, possible renames) must be allowed by
    name; removed values are archived for --undo.
    """
    from fbs_worker.solutions.requests import MigrateRequest

    solution = given["solution_name"]
    as_script = output_format is PlanFormat.SQL
    if as_script and (not given.get("plan_only") or runner.no_wait):
        raise UsageError("--output-format sql is for plans.", hint="Add --plan, and leave --no-wait out.")
    decided = given.get("plan_only") or given.get("fingerprint")
    if not (decided or sys.stdin.isatty()):
        raise RefusedError(
            f"Migrating {solution!r} needs a confirmation, and there is no terminal to ask at.",
            hint="Review the plan with --plan, then pass its fingerprint: --apply FINGERPRINT",
        )
    request = MigrateRequest(**given if decided else {**given, "plan_only": True})
    if not decided:
        fingerprint = _confirm(runner, request)
        if fingerprint is None:
            return
        request = request.model_copy(update={"plan_only": False, "fingerprint": fingerprint})
    result = runner.run(request, title=f"{'Planning a migration of' if request.plan_only else 'Migrating'} {solution}")
    if result is not None and as_script:
        from fbs_worker.migration.plan.script import script

        sys.stdout.write(script(result))
    elif result is not None:
        blocks = plan_blocks if request.plan_only else migrate_blocks
        print_result(result, partial(blocks, result), runner.output_format)


def _confirm(runner: Runner, request: MigrateRequest) -> str | None:
    """Show the plan and ask for confirmation.

    Returns:
        The plan's fingerprint; None if there is nothing to apply.

    Raises:
        typer.Exit: the answer is no, or a hazard is not allowed.
    """
    plan = runner.run_now(request, title=f"Planning a migration of {request.solution_name}")
    forbidden = set(plan["needs"]) - set(request.allow)
    if forbidden or plan["blockers"] or not plan["enabled"] or (request.undo and not plan["steps"]):
        print_result(plan, lambda: plan_blocks(plan), runner.output_format)
        if plan["steps"]:
            note("Nothing was changed.")
            raise typer.Exit(EXIT_REFUSED)
        return None
    if plan["steps"]:  # without steps, applying only completes an interrupted migration
        for block in plan_blocks(plan)[:-1]:
            note(block if isinstance(block, str) else "\n".join(plain_lines(block)))
        if not typer.confirm(f"Apply this plan to {request.solution_name}?", err=True):
            note(f"Nothing was changed. To apply it later: {apply_command(plan)}")
            raise typer.Exit(EXIT_REFUSED)
    return str(plan["fingerprint"])
