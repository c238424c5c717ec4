"""`fbs doctor`: check everything, and say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from fbs_worker.cli.options import Format
from fbs_worker.cli.output import OutputFormat, Table, print_result
from fbs_worker.core.errors import EXIT_FAILED

if TYPE_CHECKING:
    from fbs_worker.core.settings import Settings

_ODOO_SECONDS: Final = 5.0


def doctor(context: typer.Context, output_format: Format = OutputFormat.TEXT) -> None:
    """Check everything, and say what to do.

    A line each for settings and where they come from, keys, Odoo, PostgreSQL, Redis, workers, beat, clocks and disk;
    within seconds, whatever hangs. Exit code 0: all is well, or there are warnings; 1: there is an error.
    """
    from fbs_worker.core.settings import get_settings
    from fbs_worker.ops.doctor import Level, diagnose

    findings = diagnose(get_settings(), _check_odoo, options=_variables(context.find_root().command))
    levels = [finding.level for finding in findings]
    worst = next((level for level in (Level.ERROR, Level.WARNING) if level in levels), Level.OK)
    rows = [(each.name, str(each.level), each.detail, each.hint) for each in findings]
    table = Table(title="Diagnosis", columns=("check", "status", "detail", "what to do"), rows=rows)
    result = {"level": str(worst), "findings": [finding.to_dict() for finding in findings]}
    print_result(result, lambda: [table], output_format)
    if worst is Level.ERROR:
        raise typer.Exit(EXIT_FAILED)


def _variables(command: Any) -> set[str]:
    """The variables of the options of a command, and of those below it."""
    found = {each.envvar for each in command.params if isinstance(each.envvar, str)}
    return found.union(*map(_variables, getattr(command, "commands", {}).values()))


def _check_odoo(settings: Settings, name: str) -> dict[str, Any]:
    """Log in to an Odoo, in short time and without waiting for others."""
    from fbs_worker.client.in_process import run_in_process

    update = {
        "odoo_timeout": min(settings.odoo_timeout, _ODOO_SECONDS),
        "fbs_odoo": {
            each: one.model_copy(update={"timeout": min(one.timeout, _ODOO_SECONDS)})
            for each, one in settings.fbs_odoo.items()
        },
        "fbs_redis_url": "",
    }
    return run_in_process("fbs.test_odoo", {"name": name}, settings=settings.model_copy(update=update))
