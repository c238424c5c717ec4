"""Tasks of the benchmarks' workers: no-op tasks, as a job and as a bare Celery task, and a discovery."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from celery import shared_task

from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.solutions.requests import DiscoverRequest
from fbs_worker.tasks.discover import discover


@shared_task(name="bench.job", base=JobTask)  # type: ignore[untyped-decorator]
def job(*, number: int) -> dict[str, Any]:
    """Return at once, as a job."""
    return {"number": number}


@shared_task(name="bench.bare")  # type: ignore[untyped-decorator]
def bare(*, number: int) -> dict[str, Any]:
    """Return at once, as a bare Celery task."""
    return {"number": number}


@shared_task(name="bench.mark")  # type: ignore[untyped-decorator]
def mark() -> float:
    """Return the time at which it runs, in seconds."""
    return time.time()


@shared_task(name="bench.discover", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def discover_reporting(
    self: JobTask, *, number: int, report: bool, domain: str, database_config: Mapping[str, Any]
) -> dict[str, Any]:
    """Run a discovery, with or without reporting its progress; return the seconds it took."""
    _ = number  # gives each job its own deduplication key
    request = DiscoverRequest.parse(domain=domain, database_config=database_config, full=True, settings=self.settings)
    progress: Progress = self.progress if report else NullProgress()
    begun = time.perf_counter()
    discover(request, settings=self.settings, progress=progress)
    return {"seconds": time.perf_counter() - begun}
