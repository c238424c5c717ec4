"""Celery's result backend, below `AsyncResult`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

TRIED: Final = ("celery>=5.5,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.backends.base:Backend.mark_as_revoked": "stores the state REVOKED of a task that stopped on request",
}


def mark_revoked(task: Any, reason: str) -> None:
    """Store that a task was revoked.

    Args:
        task: the Celery task, within a run of it.
        reason: why.
    """
    task.backend.mark_as_revoked(task.request.id, reason, request=task.request)
