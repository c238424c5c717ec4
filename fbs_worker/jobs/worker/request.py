"""What a worker's main process does when something happens to a job that the job cannot tell itself.

Celery makes one of these for each message of a task (https://docs.celeryq.dev/en/stable/userguide/tasks.html#requests-and-custom-requests).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from fbs_worker.core.errors import FBSError
from fbs_worker.jobs.celery_compat.request import HookedRequest
from fbs_worker.jobs.store import JobStore

JOB_REQUEST: Final = "fbs_worker.jobs.worker.request:JobRequest"
"""How a task says that it is a job: its `Request`."""

_log = logging.getLogger(__name__)


class JobRequest(HookedRequest):
    """A message of a task that is a job."""

    def process_lost(self) -> None:
        """The record says so before the job is redelivered."""
        self._tell(lambda jobs: jobs.mark_lost(self.id, worker=self.hostname, process=self.worker_pid or 0))

    def task_revoked(self) -> None:
        """Cancel the job."""
        self._tell(lambda jobs: jobs.request_cancel(self.id))

    def _tell(self, say: Callable[[JobStore], object]) -> None:
        try:
            say(self.app.jobs)
        except FBSError as exc:  # it is found out all the same, when its heartbeat is old
            _log.warning("job %s: what became of it could not be told: %s", self.id, exc.message)
