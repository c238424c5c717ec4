"""`fbs migrate`: plan and apply changes of a solution's tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fbs_worker.cli.options import Format, Inline, NoWait, current_settings
from fbs_worker.cli.output import OutputFormat, note, plain_lines, print_blocks, print_json
from fbs_worker.cli.render.migrations import migrate_blocks, plan_blocks
from fbs_worker.cli.run import Runner
from fbs_worker.cli.solutions import Named, NameOption, one_solution
from fbs_worker.core.errors import EXIT_REFUSED, RefusedError, UsageError
from fbs_worker.migration.model.plan import apply_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def migrate(
    *,
    name: Named = None,
    solution_name: NameOption = None,
    plan: Annotated[bool, typer.Option("--plan", envvar="FBS_PLAN", help="Only show the plan.")] = False,
    apply: Annotated[
        str | None,
        typer.Option(
            "--apply",
            envvar="FBS_APPLY",
            metavar="FINGERPRINT",
            help="Apply this plan without confirmation; rejected if it is stale.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            envvar="FBS_ALLOW",
            metavar="HAZARD",
            help="Allow this hazard, e.g. DELETES_DATA; repeatable.",
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            envvar="FBS_RENAME",
            metavar="TABLE.OLD=NEW",
            help="A renamed column; repeatable.",
        ),
    ] = None,
    restore: Annotated[bool, typer.Option("--restore", envvar="FBS_RESTORE", help="Revert manual changes.")] = False,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            envvar="FBS_MIRROR",
            metavar="MODEL",
            help="Mirror a further Odoo model in a business table; repeatable.",
        ),
    ] = None,
    no_mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--no-mirror",
            envvar="FBS_NO_MIRROR",
            metavar="MODEL",
            help="Remove the table of a mirrored model; repeatable.",
        ),
    ] = None,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo", envvar="FBS_UNDO", help="Undo the last migration, as far as possible without losing data."
        ),
    ] = False,
    inline: Inline = False,
    no_wait: NoWait = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Make a solution's tables match their definition.

    It shows the plan and asks for confirmation. Hazards (deleted data, long locks, possible renames) must be allowed by
    name; removed values are archived for --undo.
    """
    solution = one_solution(name, solution_name)
    if plan and apply:
        raise UsageError("--plan and --apply exclude each other.", hint="Leave one of them out.")
    if not (plan or apply or sys.stdin.isatty()):
        raise RefusedError(
            f"Migrating {solution!r} needs a confirmation, and there is no terminal to ask at.",
            hint="Review the plan with --plan, then pass its fingerprint: --apply FINGERPRINT",
        )
    request: dict[str, Any] = {
        "solution_name": solution,
        "allow": allow or [],
        "renames": rename or [],
        "restore": restore,
        "mirror": mirror or [],
        "unmirror": no_mirror or [],
        "undo": undo,
    }
    options = _options(request)
    runner = Runner(settings=current_settings(), output_format=output_format, inline=inline, no_wait=no_wait)
    if not plan:
        apply = apply or _confirm(runner, request, options)
        if apply is None:
            return
    arguments = {**request, "plan_only": plan, "fingerprint": apply}
    title = f"{'Planning a migration of' if plan else 'Migrating'} {solution}"
    result = runner.run("migrate", arguments, title=title)
    if result is None:  # --no-wait
        return
    if plan:
        _show(result, runner, options)
    elif output_format is OutputFormat.JSON:
        print_json(result)
    else:
        print_blocks(migrate_blocks(result))


def _confirm(runner: Runner, request: Mapping[str, Any], options: Sequence[str]) -> str | None:
    """Show the plan and ask for confirmation.

    Returns:
        The plan's fingerprint; None if there is nothing to apply.

    Raises:
        typer.Exit: the answer is no, or a hazard is not allowed.
    """
    planner = Runner(settings=runner.settings, output_format=runner.output_format, inline=runner.inline)
    title = f"Planning a migration of {request['solution_name']}"
    plan = planner.run("migrate", {**request, "plan_only": True}, title=title)
    assert plan is not None  # noqa: S101 -- the runner waits for it
    forbidden = set(plan["needs"]) - {hazard.strip().upper() for hazard in request["allow"]}
    if forbidden or not plan["enabled"] or (request["undo"] and not plan["steps"]):
        _show(plan, runner, options)
        if plan["steps"]:
            note("Nothing was changed.")
            raise typer.Exit(EXIT_REFUSED)
        return None
    if plan["steps"]:  # without steps, applying only completes an interrupted migration
        for block in plan_blocks(plan, options=options)[:-1]:
            note(block if isinstance(block, str) else "\n".join(plain_lines(block)))
        if not typer.confirm(f"Apply this plan to {request['solution_name']}?", err=True):
            note(f"Nothing was changed. To apply it later: {apply_command(plan, options=options)}")
            raise typer.Exit(EXIT_REFUSED)
    return str(plan["fingerprint"])


def _show(result: Mapping[str, Any], runner: Runner, options: Sequence[str]) -> None:
    if runner.output_format is OutputFormat.JSON:
        print_json(result)
    else:
        print_blocks(plan_blocks(result, options=options))


def _options(request: Mapping[str, Any]) -> list[str]:
    """The command-line options that are part of the plan."""
    arguments = ["--restore"] if request["restore"] else []
    for option, key in (("--rename", "renames"), ("--mirror", "mirror"), ("--no-mirror", "unmirror")):
        arguments += [argument for value in request[key] for argument in (option, value)]
    return arguments
