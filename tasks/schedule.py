"""`fbs.refresh_due`: enqueue the refreshes of solutions without a schedule of their own that are due."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import shared_task

from fbs_worker.client.client import Client
from fbs_worker.core.errors import SettingsError, UsageError
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.scheduling.model import CATCH_UP, Schedule, due
from fbs_worker.scheduling.service import open_home, refresh_every
from fbs_worker.scheduling.store import ScheduledSolution


@shared_task(name="fbs.refresh_due", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def refresh_due_task(self: JobTask, *, every: str | None = None) -> dict[str, Any]:
    """The job.

    Args:
        every: how often each solution is refreshed, e.g. `6h`; FBS_REFRESH_EVERY if None.
    """
    return refresh_due(_schedule(every, self.settings), settings=self.settings, progress=self.progress)


def refresh_due(every: Schedule, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Enqueue the refreshes that are due. Each solution has its own offset in the interval, so they come spread.

    Args:
        every: the interval.
        settings: the home database, the keys and Redis.
        progress: receives the steps.

    Returns:
        `every`, `enqueued` (each solution with its job's id) and `solutions` (how many have no schedule of their own).

    Raises:
        FBSError: the home database or Redis does not answer.
    """
    progress.step("connect")
    enqueued: dict[str, str] = {}
    with open_home(settings, read_only=False) as (_, store), Client(settings=settings) as client:
        now = store.now()
        solutions = {each.name: each for each in store.all() if each.is_active and each.own is None}
        slots = {name: each.next_slot(every) or now for name, each in solutions.items()}
        names = due(slots, now=now, look=CATCH_UP)
        progress.step("enqueue", total=len(names))
        for name in names:
            job_id = store.claim(solutions[name], now=now, enqueue=partial(_refresh, client, solutions[name]))
            if job_id is not None:
                enqueued[name] = job_id
            progress.advance()
    return {"every": every.every, "enqueued": enqueued, "solutions": len(solutions)}


def _refresh(client: Client, solution: ScheduledSolution) -> str:
    return client.refresh(solution.name).id


def _schedule(every: object, settings: Settings) -> Schedule:
    if every is None:
        schedule = refresh_every(settings)
        if schedule is None:
            raise SettingsError(
                "FBS_REFRESH_EVERY is not set: it is the interval of refreshes.", hint="Set it, e.g. to 6h."
            )
        return schedule
    if not isinstance(every, str):
        raise UsageError("every is not text.", hint="Give an interval, e.g. 6h.")
    return Schedule.parse(every=every)
