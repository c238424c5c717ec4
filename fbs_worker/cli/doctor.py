"""`fbs doctor`: check everything, and say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from fbs_worker.cli.options import Format
from fbs_worker.cli.output import OutputFormat, Table, print_result
from fbs_worker.core.errors import EXIT_FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fbs_worker.core.settings import Settings
    from fbs_worker.ops.doctor import Finding

_ODOO_SECONDS: Final = 5.0


def doctor(output_format: Format = OutputFormat.TEXT) -> None:
    """Check everything, and say what to do.

    A line each for settings and where they come from, keys, Odoo, PostgreSQL, Redis, workers, beat, clocks and disk;
    within seconds, whatever hangs. Exit code 0: all is well, or there are warnings; 1: there is an error.
    """
    from fbs_worker.core.settings import get_settings
    from fbs_worker.ops.doctor import Level, diagnose

    settings = get_settings()
    findings = diagnose(settings, _connections(settings), lambda name: _check_odoo(settings, name))
    levels = [finding.level for finding in findings]
    worst = next((level for level in (Level.ERROR, Level.WARNING) if level in levels), Level.OK)
    rows = [(each.name, str(each.level), each.detail, each.hint) for each in findings]
    table = Table(title="Diagnosis", columns=("check", "status", "detail", "what to do"), rows=rows)
    result = {"level": str(worst), "findings": [finding.to_dict() for finding in findings]}
    print_result(result, lambda: [table], output_format)
    if worst is Level.ERROR:
        raise typer.Exit(EXIT_FAILED)


def _connections(settings: Settings) -> Sequence[str]:
    """The names of the connections to Odoo."""
    from fbs_worker.core.settings import DEFAULT_CONNECTION

    return [*([DEFAULT_CONNECTION] if settings.odoo_url else []), *sorted(settings.fbs_odoo)]


def _check_odoo(settings: Settings, name: str) -> Sequence[Finding]:
    """Log in to an Odoo of the settings, and read the modules."""
    from fbs_worker.client.in_process import run_in_process
    from fbs_worker.ops.doctor import Finding, Level

    quick = settings.model_copy(
        update={
            "odoo_timeout": min(settings.odoo_timeout, _ODOO_SECONDS),
            "fbs_odoo": {
                each: one.model_copy(update={"timeout": min(one.timeout, _ODOO_SECONDS)})
                for each, one in settings.fbs_odoo.items()
            },
            "fbs_redis_url": "",
        }
    )
    found = run_in_process(
        "fbs.discover", {"domain": "generic", "discovery_types": ["module"], "odoo": name}, settings=quick
    )
    detail = f"Odoo {found['source']['series']} at {found['source']['url']}"
    return [Finding(name=f"odoo {name}", level=Level.OK, detail=detail)]
