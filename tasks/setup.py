"""`fbs.setup`: create a solution's tables in its database, fill its catalogue, and have its records copied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import shared_task

from fbs_worker.client.in_process import run_in_process
from fbs_worker.connectors.connect import RECORDING_SCHEME
from fbs_worker.core.errors import FBSError, JobCancelled
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.requests import SetupRequest, SyncRequest
from fbs_worker.solutions.setup import set_up
from fbs_worker.tasks.refreshing import refresh_solution


@shared_task(name=SetupRequest.task, bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def setup_task(self: JobTask, **message: Any) -> dict[str, Any]:
    """Run `set_up`; the arguments are the fields of `SetupRequest`.

    Returns:
        Its result, and `sync`: the first copy of the records: as `{"job": id}`; in-process its result, or
        `{"error": …}` if it failed, for the solution is set up all the same; None without.
    """
    request = SetupRequest.from_message(message, settings=self.settings, in_process=self.in_process)
    result = set_up(request, settings=self.settings, progress=self.progress, read=refresh_solution)
    return {**result, "sync": _copy(self, request.solution_name) if request.sync and _has_records(result) else None}


def _has_records(result: Mapping[str, Any]) -> bool:
    """Whether something is mirrored from an Odoo that was read: a recording has no records."""
    refreshed = result["refresh"] or {}
    url = str(refreshed.get("source", {}).get("url", ""))
    return bool(result["mirrored"] and url) and not url.startswith(RECORDING_SCHEME)


def _copy(task: JobTask, solution: str) -> dict[str, Any]:
    request = SyncRequest(solution_name=solution)
    if task.in_process:
        try:
            return run_in_process(request.task, dict(request), settings=task.settings, progress=task.progress)
        except JobCancelled:
            raise
        except FBSError as exc:
            return {"error": exc.to_dict()}
    return {"job": task.enqueue(request.task, request.to_message(task.settings), solution=solution)}
