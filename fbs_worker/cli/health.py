"""`fbs health`: check everything that jobs need."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from fbs_worker.cli.options import Format, current_settings
from fbs_worker.cli.output import OutputFormat, Table, print_error, print_result

_STATUS: Final = {"fine": "ok"}
"""Words of the table; JSON has the values of `Health`."""


def health(
    worker: Annotated[
        str | None,
        typer.Option(
            "--worker",
            envvar="FBS_WORKER",
            help="Check only this worker: its `fbs worker --name` on this host, or NAME@host.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", envvar="FBS_HEALTH_TIMEOUT", min=1, help="Seconds to wait for workers.")
    ] = 10.0,
    output_format: Format = OutputFormat.TEXT,
) -> None:
    """Check Redis, the home database and the workers.

    A probe passes through each queue as a job would. Exit code 0: all checks passed, or the workers are busy; 3: a
    check failed.
    """
    from fbs_worker.ops.health import check_health

    report = check_health(current_settings(), worker=worker, seconds=timeout)
    rows = [(check.name, _STATUS.get(check.health, str(check.health)), check.detail) for check in report.checks]
    table = Table(title="Health", columns=("check", "status", "detail"), rows=rows)
    print_result(report.to_dict(), lambda: [table], output_format)
    if report.error is not None:
        print_error(report.error)
        raise typer.Exit(report.error.exit_code)
