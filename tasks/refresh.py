"""`fbs.refresh`: read a solution's Odoo again and save the changes."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.refresh import refresh
from fbs_worker.solutions.requests import RefreshRequest
from fbs_worker.tasks.refreshing import refresh_solution


@shared_task(name=RefreshRequest.task, bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def refresh_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `refresh`; the arguments are the fields of `RefreshRequest`."""
    request = RefreshRequest.from_message(message, settings=self.settings)
    return refresh(request, settings=self.settings, progress=self.progress, read=refresh_solution)
