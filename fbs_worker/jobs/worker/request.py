"""What a worker's main process does when something happens to a job that the job cannot tell itself.

Celery makes one of these for each message of a task (https://docs.celeryq.dev/en/stable/userguide/tasks.html#requests-and-custom-requests).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from celery.exceptions import WorkerLostError
from celery.worker.request import Request

from fbs_worker.core.errors import FBSError
from fbs_worker.jobs.store import JobStore

JOB_REQUEST: Final = "fbs_worker.jobs.worker.request:JobRequest"
"""How a task says that it is a job: its `Request`."""

_log = logging.getLogger(__name__)


class JobRequest(Request):  # type: ignore[misc]  # Celery has no types
    """A message of a task that is a job."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The run ended in an error. Where its process died, the record says so before the job is handed on."""
        raised = exc_info.exception
        if isinstance(getattr(raised, "exc", raised), (WorkerLostError, SystemExit, KeyboardInterrupt)):
            self._tell(self._mark_lost)
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def _announce_cancelled(self, emit_retry: bool = True) -> None:
        """The run was cut off because its worker ends; Celery calls it."""
        self._tell(self._mark_lost)
        super()._announce_cancelled(emit_retry=emit_retry)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """The job was revoked with Celery's own means, and its message is going to be dropped; Celery calls it."""
        if terminated:
            self._tell(self._mark_lost)
        self._tell(lambda jobs: jobs.request_cancel(self.id))
        super()._announce_revoked(reason, terminated, signum, expired)

    def _mark_lost(self, jobs: JobStore) -> None:
        jobs.mark_lost(self.id, worker=self._hostname, process=self.worker_pid or 0)

    def _tell(self, say: Callable[[JobStore], object]) -> None:
        try:
            say(self._app.jobs)
        except FBSError as exc:  # it is found out all the same, when its heartbeat is old
            _log.warning("job %s: what became of it could not be told: %s", self.id, exc.message)
