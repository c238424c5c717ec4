"""`fbs beat`: the scheduler."""

from __future__ import annotations

from typing import Annotated

import typer


def beat(
    loglevel: Annotated[
        str, typer.Option("--loglevel", envvar="FBS_LOGLEVEL", help="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    ] = "INFO",
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Run Celery beat in this terminal until Ctrl-C.

    It enqueues due refreshes; see `fbs schedule`. A second instance, on this or another machine, is a standby.
    """
    from celery.signals import beat_init

    from fbs_worker.cli.options import current_settings
    from fbs_worker.ops.local.programs import notify_ready_on
    from fbs_worker.scheduling.beat import run_beat

    settings = current_settings()
    notify_ready_on(beat_init, ready_fd)
    raise typer.Exit(run_beat(settings, loglevel=loglevel.upper()))
