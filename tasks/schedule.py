"""`fbs.refresh_due`: enqueue the refreshes of solutions without a schedule of their own whose time has come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery import shared_task

from fbs_worker.client.client import Client
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.scheduling.entries import PlanStore
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.reconcile import due_solutions, open_book, refresh_every, without_schedule
from fbs_worker.solutions.workspace import vault_of


@shared_task(name="fbs.refresh_due", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def refresh_due_task(self: JobTask, *, every: str | None = None) -> dict[str, Any]:
    """The job.

    Args:
        every: how often each solution is refreshed, e.g. `6h`; FBS_REFRESH_EVERY if None.
    """
    return refresh_due(_schedule(every, self.settings), settings=self.settings, progress=self.progress)


def refresh_due(every: Schedule, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Enqueue the refreshes that are due. Each solution has its own place in the interval, so they come spread.

    Args:
        every: every how long.
        settings: the home database, the keys and Redis.
        progress: told the steps.

    Returns:
        `every`, `enqueued` (each solution with its job's id) and `solutions` (how many have no schedule of their own).

    Raises:
        FBSError: the address book or Redis could not be asked.
    """
    now = datetime.now(tz=UTC)
    progress.step("connect")
    with open_book(settings, vault_of(settings)) as (_, book):
        entries = book.entries()
    written = without_schedule(entries)
    enqueued: dict[str, str] = {}
    with PlanStore(settings.fbs_redis_url) as store, Client(settings=settings) as client:
        names = due_solutions(every, written, store, now=now)
        progress.step("enqueue", total=len(names))
        for name in names:
            enqueued[name] = client.refresh(name).id
            store.note_refreshed(name, now)
            progress.advance()
        store.forget_refreshed(*(store.refreshed().keys() - {entry.solution_name for entry in entries}))
    return {"every": every.every, "enqueued": enqueued, "solutions": len(written)}


def _schedule(every: object, settings: Settings) -> Schedule:
    if every is None:
        schedule = refresh_every(settings)
        if schedule is None:
            raise SettingsError(
                "How often solutions are to be refreshed is not set.", hint="Set FBS_REFRESH_EVERY, e.g. to 6h."
            )
        return schedule
    if not isinstance(every, str):
        raise UsageError("every is not text.", hint="Give a length of time, e.g. 6h.")
    return Schedule.parse(every=every)
