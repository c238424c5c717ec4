"""`fbs.record`: write a recording of an Odoo to a file, for a bug report or a test."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from celery import shared_task

from fbs_worker.connectors.connect import limiter_for, open_transport
from fbs_worker.connectors.recording.recorder import record
from fbs_worker.core.errors import RefusedError
from fbs_worker.core.settings import DEFAULT_CONNECTION
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.odoo_connections import find_odoo


@shared_task(name="fbs.record", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def record_task(self: JobTask, *, path: str, odoo: str = DEFAULT_CONNECTION) -> dict[str, Any]:
    """Record an Odoo into a file. Runs in-process only: a worker would write the file on its own machine.

    Args:
        path: the file to write.
        odoo: name of the Odoo connection.

    Returns:
        The summary of the recording.

    Raises:
        RefusedError: the task came through the queue.
        FBSError: Odoo reported an error, or the file cannot be written.
    """
    if not self.in_process:
        raise RefusedError(
            "fbs.record runs only on the caller's machine, not in a worker.", hint="Use `fbs record FILE`."
        )
    self.progress.step("connect")
    connection = find_odoo(self.settings, odoo)
    limiter = limiter_for(connection, settings=self.settings, progress=self.progress)
    transport = open_transport(
        connection, limiter=limiter, max_answer=self.settings.fbs_odoo_max_answer, progress=self.progress
    )
    with closing(transport):
        return record(
            transport,
            Path(path),
            page_size=self.settings.fbs_page_size,
            lang=connection.lang,
            progress=self.progress,
        )
