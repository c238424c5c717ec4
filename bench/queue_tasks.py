"""Tasks that only the benches' workers have: one that does nothing, as a job and as a bare Celery task."""

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
    """A job that does nothing."""
    return {"number": number}


@shared_task(name="bench.bare")  # type: ignore[untyped-decorator]
def bare(*, number: int) -> dict[str, Any]:
    """A task that does nothing, as Celery itself runs it."""
    return {"number": number}


@shared_task(name="bench.mark")  # type: ignore[untyped-decorator]
def mark() -> float:
    """The time at which it is run, in seconds."""
    return time.time()


@shared_task(name="bench.discover", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def discover_telling(
    self: JobTask, *, number: int, tell: bool, domain: str, database_config: Mapping[str, Any]
) -> dict[str, Any]:
    """A whole discovery, its progress told as by `fbs.discover` or to nobody; how long it took."""
    _ = number  # no two are the same job
    request = DiscoverRequest.parse(domain=domain, database_config=database_config, full=True, settings=self.settings)
    progress: Progress = self.progress if tell else NullProgress()
    begun = time.perf_counter()
    discover(request, odoo_expected=None, settings=self.settings, progress=progress)
    return {"seconds": time.perf_counter() - begun}
