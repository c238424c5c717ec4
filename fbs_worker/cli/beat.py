"""`fbs beat`: what starts scheduled refreshes."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer


def beat(
    loglevel: Annotated[
        str, typer.Option("--loglevel", envvar="FBS_LOGLEVEL", help="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    ] = "INFO",
    ready_fd: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
) -> None:
    """Run Celery beat in this terminal until Ctrl-C.

    It enqueues refreshes when they are due; see `fbs schedule`. A second one, on this machine or another, stands by and
    takes over when the first is gone.
    """
    from fbs_worker.cli.options import current_settings
    from fbs_worker.schedule_beat import run_beat

    settings = current_settings()
    if ready_fd is not None:
        _tell_when_ready(ready_fd)
    raise typer.Exit(run_beat(settings, loglevel=loglevel.upper()))


def _tell_when_ready(ready_fd: int) -> None:
    """Whoever started this beat waits at the other end of a pipe."""
    from celery.signals import beat_init

    @beat_init.connect(weak=False)  # type: ignore[untyped-decorator]
    def tell(**_: Any) -> None:
        os.write(ready_fd, b"!")
        os.close(ready_fd)
