"""Adapter for Celery's request: report job events that only the worker's main process sees, e.g. a dead process.

Celery creates one request for each message of a task and documents custom ones
(https://docs.celeryq.dev/en/stable/userguide/tasks.html#requests-and-custom-requests), but of what happens outside of
the task's own process it offers `on_failure` and `on_timeout` only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.exceptions import WorkerLostError
from celery.worker.request import Request

from fbs_worker.core.errors import FBSError
from fbs_worker.jobs.store import JobStore

TRIED: Final = ("celery>=5.5,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.worker.request:Request.on_failure": "overridden: the run ended in an error, or its process died",
    "celery.worker.request:Request._announce_cancelled": "overridden: the run was cut off because its worker stops",
    "celery.worker.request:Request._announce_revoked": "overridden: the task was revoked, its message is dropped",
    "celery.worker.request:Request.worker_pid": "the process of the run; None before it is accepted",
    "celery.worker.request:Request.hostname": "the worker's name",
    "celery.worker.request:Request.app": "the Celery application",
    "celery.backends.base:Backend.mark_as_revoked": "stores the state REVOKED of a task that stopped on request",
}

JOB_REQUEST: Final = "fbs_worker.jobs.worker.request:JobRequest"
"""The `Request` of tasks that are jobs; identifies them."""

_log = logging.getLogger(__name__)


class JobRequest(Request):  # type: ignore[misc]  # Celery has no types
    """The request of a task that is a job."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Mark the job as lost if its process died, before its message is redelivered."""
        raised = exc_info.exception
        if isinstance(getattr(raised, "exc", raised), (WorkerLostError, SystemExit, KeyboardInterrupt)):
            self._mark_lost()
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def _announce_cancelled(self, *args: Any, **kwargs: Any) -> None:  # none before Celery 5.6
        self._mark_lost()
        super()._announce_cancelled(*args, **kwargs)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        if terminated:
            self._mark_lost()
        self._update(lambda jobs: jobs.request_cancel(self.id))
        super()._announce_revoked(reason, terminated, signum, expired)

    def _mark_lost(self) -> None:
        self._update(lambda jobs: jobs.mark_lost(self.id, worker=self.hostname, process=self.worker_pid or 0))

    def _update(self, update: Callable[[JobStore], object]) -> None:
        try:
            update(self.app.jobs)
        except FBSError as exc:  # the job reads as lost once its heartbeat is too old
            _log.warning("job %s: its record was not updated: %s", self.id, exc.message)


def mark_revoked(task: Any, reason: str) -> None:
    """Store in Celery's result backend that a task was revoked.

    Args:
        task: the Celery task, within a run of it.
        reason: why.
    """
    task.backend.mark_as_revoked(task.request.id, reason, request=task.request)
