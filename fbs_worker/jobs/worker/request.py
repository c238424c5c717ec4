"""Report job events that only the worker's main process sees: a dead process, a revoked task.

Celery creates one request for each message of a task
(https://docs.celeryq.dev/en/stable/userguide/tasks.html#requests-and-custom-requests).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from fbs_worker.core.errors import FBSError
from fbs_worker.jobs.celery_compat.request import HookedRequest
from fbs_worker.jobs.store import JobStore

JOB_REQUEST: Final = "fbs_worker.jobs.worker.request:JobRequest"
"""The `Request` of tasks that are jobs; identifies them."""

_log = logging.getLogger(__name__)


class JobRequest(HookedRequest):
    """The request of a task that is a job."""

    def process_lost(self, *, worker: str, process: int) -> None:
        """Mark the job as lost, before its message is redelivered."""
        self._update(lambda jobs: jobs.mark_lost(self.id, worker=worker, process=process))

    def task_revoked(self) -> None:
        """Cancel the job."""
        self._update(lambda jobs: jobs.request_cancel(self.id))

    def _update(self, update: Callable[[JobStore], object]) -> None:
        try:
            update(self.app.jobs)
        except FBSError as exc:  # the job reads as lost once its heartbeat is too old
            _log.warning("job %s: its record was not updated: %s", self.id, exc.message)
