"""`fbs.sync` and `fbs.sync_table`: copy the records of mirrored models into their tables."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from celery import shared_task

from fbs_worker.connectors.connect import limiter_for, open_transport
from fbs_worker.connectors.records import OdooRecords
from fbs_worker.core.errors import JobCancelled
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.replication.source import RecordSource
from fbs_worker.scheduling.service import sync_window
from fbs_worker.solutions.requests import SyncRequest, SyncTableRequest
from fbs_worker.solutions.sync import Job, sync, sync_table

_SHARE_OF_LIMIT: Final = 0.9
"""Of the time limit of a job: then it pauses by itself."""


@shared_task(name=SyncRequest.task, bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def sync_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `sync`; the arguments are the fields of `SyncRequest`."""
    request = SyncRequest.from_message(message, settings=self.settings)
    with _job(self) as job:
        return sync(request, job)


@shared_task(  # type: ignore[untyped-decorator]  # Celery has no types
    name=SyncTableRequest.task, bind=True, base=JobTask
)
def sync_table_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `sync_table`; the arguments are the fields of `SyncTableRequest`."""
    request = SyncTableRequest.from_message(message, settings=self.settings)
    with _job(self) as job:
        return sync_table(request, job)


@contextmanager
def _job(task: JobTask) -> Iterator[Job]:
    """How a task runs; the jobs that it enqueued are cancelled with it."""
    parts: list[str] = []

    def enqueue(part: SyncTableRequest) -> None:
        parts.append(task.enqueue(part.task, part.to_message(task.settings), solution=part.solution_name))

    seconds = _SHARE_OF_LIMIT * task.settings.fbs_job_time_limit
    job = Job(
        run=task.request.id or str(uuid.uuid4()),
        settings=task.settings,
        progress=task.progress,
        open_records=open_records,
        window=sync_window(task.settings),
        deadline=None if task.in_process else time.monotonic() + seconds,
        enqueue=None if task.in_process else enqueue,
    )
    try:
        yield job
    except JobCancelled:
        for each in parts:
            task.cancel(each)
        raise


@contextmanager
def open_records(odoo: OdooConnection, *, settings: Settings, progress: Progress) -> Iterator[RecordSource]:
    """Open an Odoo to read records.

    Args:
        odoo: the connection.
        settings: Redis and the limits.
        progress: checked for cancellation while a call waits.

    Raises:
        FBSError: Odoo cannot be reached, or rejects the login.
    """
    limiter = limiter_for(odoo, settings=settings, progress=progress)
    transport = open_transport(odoo, limiter=limiter, max_answer=settings.fbs_odoo_max_answer, progress=progress)
    with closing(transport):
        yield OdooRecords(transport, lang=odoo.lang, waiting=lambda: progress.advance(0))
