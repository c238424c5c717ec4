"""`fbs.migrate`: migrate a solution's tables to the desired schema, or revert the last migration."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.migrate import migrate
from fbs_worker.solutions.requests import MigrateRequest


@shared_task(name=MigrateRequest.task, bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def migrate_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `migrate`; the arguments are the fields of `MigrateRequest`."""
    request = MigrateRequest.from_message(message, settings=self.settings)
    return migrate(request, settings=self.settings, progress=self.progress)
