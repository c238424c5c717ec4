"""A running job's progress for who knows Celery alone: `AsyncResult` reads PROGRESS, Flower hears of it as it comes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.exceptions import SoftTimeLimitExceeded

from fbs_worker.jobs.model import percentage

_log = logging.getLogger(__name__)

PROGRESS: Final = "PROGRESS"

_QUIET_SECONDS: Final = 30.0
"""How long what could not be told is not tried again: a broker that is away must not slow a job down."""


class CeleryReporter:
    """Tells Celery about a job.

    Args:
        task: the Celery task, within a run of it.
    """

    def __init__(self, task: Any) -> None:
        self._task = task
        self._job_id = task.request.id
        self._quiet_until: dict[str, float] = {}

    def progress(self, told: Mapping[str, Any]) -> None:
        """How far the job is.

        Args:
            told: `step`, `current`, `total` and `message`.
        """
        percent = percentage(told["current"], told["total"])
        self._try("results", lambda: self._task.update_state(state=PROGRESS, meta=dict(told)))
        # with this event Celery's own picture of the task (`celery.events.state`) reads PROGRESS, too
        self._try("events", lambda: self._task.send_event("task-progress", retry=False, percent=percent, **told))

    def cancelled(self) -> None:
        """The job has stopped on request."""
        backend, request = self._task.backend, self._task.request
        self._try("results", lambda: backend.mark_as_revoked(self._job_id, "cancelled", request=request))
        event = {"terminated": False, "signum": None, "expired": False}
        self._try("events", lambda: self._task.send_event("task-revoked", retry=False, **event))

    def _try(self, where: str, tell: Callable[[], object]) -> None:
        if time.monotonic() < self._quiet_until.get(where, 0.0):
            return
        try:
            tell()
        except SoftTimeLimitExceeded:
            raise
        except Exception as exc:  # noqa: BLE001 -- each broker's library raises what it likes, and no job fails for that
            self._quiet_until[where] = time.monotonic() + _QUIET_SECONDS
            _log.warning("job %s could not be told to Celery's %s: %s", self._job_id, where, type(exc).__name__)
