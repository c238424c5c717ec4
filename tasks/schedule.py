"""`fbs.refresh_due`: enqueue due refreshes of solutions without a schedule of their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery import shared_task

from fbs_worker.client.client import Client
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.scheduling.entries import EntryStore
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.reconcile import due_solutions, open_registry, refresh_every, without_schedule
from fbs_worker.solutions.workspace import vault_of


@shared_task(name="fbs.refresh_due", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def refresh_due_task(self: JobTask, *, every: str | None = None) -> dict[str, Any]:
    """Run `refresh_due`.

    Args:
        every: the refresh interval, e.g. `6h`; FBS_REFRESH_EVERY if None.
    """
    return refresh_due(_schedule(every, self.settings), settings=self.settings, progress=self.progress)


def refresh_due(every: Schedule, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Enqueue the refreshes that are due. Each solution has its own offset in the interval, so that they are spread.

    Args:
        every: the refresh interval.
        settings: the home database, the keys and Redis.
        progress: receives the steps.

    Returns:
        `every`, `enqueued` (each solution with the id of its job) and `solutions` (number of solutions without a
        schedule of their own).

    Raises:
        FBSError: the home database or Redis does not answer.
    """
    now = datetime.now(tz=UTC)
    progress.step("connect")
    with open_registry(settings, vault_of(settings)) as (_, registry):
        entries = registry.entries()
    written = without_schedule(entries)
    enqueued: dict[str, str] = {}
    with EntryStore(settings.fbs_redis_url) as store, Client(settings=settings) as client:
        names = due_solutions(every, written, store, now=now)
        progress.step("enqueue", total=len(names))
        for name in names:
            enqueued[name] = client.refresh(name).id
            store.record_refreshed(name, now)
            progress.advance()
        store.forget_refreshed(*(store.refreshed().keys() - {entry.solution_name for entry in entries}))
    return {"every": every.every, "enqueued": enqueued, "solutions": len(written)}


def _schedule(every: object, settings: Settings) -> Schedule:
    if every is None:
        schedule = refresh_every(settings)
        if schedule is None:
            raise SettingsError("No refresh interval is set.", hint="Set FBS_REFRESH_EVERY, e.g. to 6h.")
        return schedule
    if not isinstance(every, str):
        raise UsageError("every is not a string.", hint="Give an interval, e.g. 6h.")
    return Schedule.parse(every=every)
