"""`fbs.drop`: drop a solution's tables and delete its rows; other solutions are not affected."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.drop import drop
from fbs_worker.solutions.requests import DropRequest


@shared_task(name=DropRequest.task, bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def drop_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `drop`; the arguments are the fields of `DropRequest`."""
    request = DropRequest.from_message(message, settings=self.settings)
    return drop(request, settings=self.settings, progress=self.progress, earlier_step=self.earlier_step)
