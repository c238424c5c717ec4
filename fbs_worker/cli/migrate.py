"""`fbs migrate`: show what would change in a solution's tables, and change it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fbs_worker.cli.options import Format, Inline, NoWait, current_settings
from fbs_worker.cli.output import OutputFormat, note, plain_lines, print_blocks, print_json
from fbs_worker.cli.render_migrations import migrate_blocks, plan_blocks
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
    plan: Annotated[bool, typer.Option("--plan", envvar="FBS_PLAN", help="Only show what would change.")] = False,
    apply: Annotated[
        str | None,
        typer.Option(
            "--apply",
            envvar="FBS_APPLY",
            metavar="FINGERPRINT",
            help="Apply this plan without a question; it is refused if it does not fit the database any more.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            envvar="FBS_ALLOW",
            metavar="HAZARD",
            help="A hazard that may be, e.g. DELETES_DATA; may be given more than once.",
        ),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            envvar="FBS_RENAME",
            metavar="TABLE.OLD=NEW",
            help="A column that was renamed; may be given more than once.",
        ),
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", envvar="FBS_RESTORE", help="What was changed by hand becomes as it was made.")
    ] = False,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            envvar="FBS_MIRROR",
            metavar="MODEL",
            help="A further Odoo model that gets a business table; may be given more than once.",
        ),
    ] = None,
    no_mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--no-mirror",
            envvar="FBS_NO_MIRROR",
            metavar="MODEL",
            help="A mirrored model whose table goes; may be given more than once.",
        ),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", envvar="FBS_UNDO", help="Revert the last migration, as far as nothing is lost.")
    ] = False,
    inline: Inline = False,
    no_wait: NoWait = False,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Make a solution's tables match their definition.

    It shows the plan, and asks. What deletes data, locks a table for long or may be a rename wants to be allowed by
    name; what is deleted is kept for --undo.
    """
    solution = one_solution(name, solution_name)
    if plan and apply:
        raise UsageError("--plan and --apply exclude each other.", hint="Leave one of them out.")
    if not (plan or apply or sys.stdin.isatty()):
        raise RefusedError(
            f"Nobody can be asked whether the tables of {solution!r} may be changed.",
            hint="Look at the plan with --plan, then give its fingerprint: --apply FINGERPRINT",
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
        apply = apply or _ask(runner, request, options)
        if apply is None:
            return
    asked = {**request, "plan_only": plan, "fingerprint": apply}
    title = f"{'Planning a migration of' if plan else 'Migrating'} {solution}"
    result = runner.run("migrate", asked, title=title)
    if result is None:  # it is not waited for
        return
    if plan:
        _show(result, runner, options)
    elif output_format is OutputFormat.JSON:
        print_json(result)
    else:
        print_blocks(migrate_blocks(result))


def _ask(runner: Runner, request: Mapping[str, Any], options: Sequence[str]) -> str | None:
    """Show the plan and ask; the answer no, or what was not allowed, ends the command.

    Returns:
        The plan's fingerprint; None where there is nothing to apply.
    """
    look = Runner(settings=runner.settings, output_format=runner.output_format, inline=runner.inline)
    title = f"Planning a migration of {request['solution_name']}"
    plan = look.run("migrate", {**request, "plan_only": True}, title=title)
    assert plan is not None  # noqa: S101 -- it was waited for
    forbidden = set(plan["needs"]) - {hazard.strip().upper() for hazard in request["allow"]}
    if forbidden or not plan["enabled"] or (request["undo"] and not plan["steps"]):
        _show(plan, runner, options)
        if plan["steps"]:
            note("Nothing was changed.")
            raise typer.Exit(EXIT_REFUSED)
        return None
    if plan["steps"]:  # otherwise there is nothing to ask, but one that was cut off is brought to its end
        for block in plan_blocks(plan, options=options)[:-1]:
            note(block if isinstance(block, str) else "\n".join(plain_lines(block)))
        if not typer.confirm(f"Change the tables of {request['solution_name']} so?", err=True):
            note(f"Nothing was changed. Later: {apply_command(plan, options=options)}")
            raise typer.Exit(EXIT_REFUSED)
    return str(plan["fingerprint"])


def _show(result: Mapping[str, Any], runner: Runner, options: Sequence[str]) -> None:
    if runner.output_format is OutputFormat.JSON:
        print_json(result)
    else:
        print_blocks(plan_blocks(result, options=options))


def _options(request: Mapping[str, Any]) -> list[str]:
    """The options that make a plan another one, as they are typed."""
    words = ["--restore"] if request["restore"] else []
    for option, key in (("--rename", "renames"), ("--mirror", "mirror"), ("--no-mirror", "unmirror")):
        words += [word for value in request[key] for word in (option, value)]
    return words
