"""A process of Celery's own: its banner, its exit code, its commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from click import get_current_context

TRIED: Final = ("celery>=5.5,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.apps.worker:Worker.quiet": "set: no banner",
    "celery.worker.worker:WorkController.exitcode": "set when the worker stops; None after a plain end",
    "celery.bin.celery:celery": "Celery's commands are click's: their context is the current one while they run",
}


def omit_banner(instance: Any) -> None:
    """Start a worker without its banner.

    Args:
        instance: the worker, as the signal `celeryd_init` passes it.
    """
    instance.quiet = True


def exit_code_of(worker: Any) -> int:
    """The exit code that a worker gives its process, once it has stopped."""
    return int(worker.exitcode or 0)


def runs_celery_command() -> bool:
    """Whether one of Celery's own commands (`celery -A fbs_worker.app …`) runs in this thread."""
    return get_current_context(silent=True) is not None
