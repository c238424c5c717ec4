"""Tasks that only the benches' workers have: one that does nothing, as a job and as a bare Celery task."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from celery import shared_task

from fbs_worker.progress import Progress
from fbs_worker.requests import DiscoverRequest
from tasks.base import JobTask
from tasks.discover import discover


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


class _Timed:
    """Progress that is passed on, and timed."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner
        self.seconds = 0.0
        self.count = 0

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """See `Progress.step`."""
        self._time(lambda: self._inner.step(name, total=total, message=message))

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """See `Progress.advance`."""
        self._time(lambda: self._inner.advance(units, message=message))

    def _time(self, tell: Callable[[], None]) -> None:
        begun = time.perf_counter()
        try:
            tell()
        finally:
            self.seconds += time.perf_counter() - begun
            self.count += 1


@shared_task(name="bench.discover", bind=True, base=JobTask)  # type: ignore[untyped-decorator]
def timed_discover(self: JobTask, *, domain: str, database_config: Mapping[str, Any]) -> dict[str, Any]:
    """A whole discovery, its progress told as by `fbs.discover`; how long it took, and the telling alone."""
    request = DiscoverRequest.parse(domain=domain, database_config=database_config, full=True, settings=self.settings)
    timed = _Timed(self.progress)
    begun = time.perf_counter()
    discover(request, odoo_expected=None, settings=self.settings, progress=timed)
    return {"seconds": time.perf_counter() - begun, "progress_seconds": timed.seconds, "told": timed.count}
