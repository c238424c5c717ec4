"""`fbs.setup`: create a solution's tables in its database, and fill its catalogue."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.requests import SetupRequest
from fbs_worker.solutions.setup import set_up
from fbs_worker.tasks.refreshing import refresh_solution


@shared_task(name=SetupRequest.task, bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def setup_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `set_up`; the arguments are the fields of `SetupRequest`."""
    request = SetupRequest.from_message(message, settings=self.settings, in_process=self.in_process)
    return set_up(request, settings=self.settings, progress=self.progress, read=refresh_solution)
