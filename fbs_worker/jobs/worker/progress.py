"""Progress of a running job: written to its record, and published to Celery's result backend and events.

Plain Celery clients see it, too: `AsyncResult` has the state PROGRESS, and Flower receives an event.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from celery.exceptions import SoftTimeLimitExceeded

from fbs_worker.core.errors import JobCancelled, QueueUnreachable, SettingsError
from fbs_worker.jobs.model import percentage
from fbs_worker.jobs.store import JobStore, LeaseStatus
from fbs_worker.jobs.worker.logging import set_step
from fbs_worker.jobs.worker.request import mark_revoked

_log = logging.getLogger(__name__)

PROGRESS: Final = "PROGRESS"
"""The Celery state of a running job."""

REPORT_SECONDS: Final = 0.2
"""Minimum interval of the reports within a step."""

CHECK_SECONDS: Final = 1.0
"""Interval of the checks for cancellation while there is nothing to report."""

_MUTE_SECONDS: Final = 30.0
"""How long Celery reports are skipped after a failure, so that an unreachable broker does not slow a job down."""


class StaleAttempt(JobCancelled):
    """Another attempt has claimed the job, because this one was considered dead."""

    code = "job_superseded"


class JobProgress:
    """Writes progress to a job's record, and raises JobCancelled once the job is to stop.

    An unreachable Redis does not stop a job: reports are dropped meanwhile.

    Args:
        store: the job store.
        job_id: the job's id.
        attempt: the number of the claimed attempt.
        publish: called after each report with `{"step": …, "current": …, "total": …, "message": …}`.
    """

    def __init__(
        self, store: JobStore, job_id: str, attempt: int, *, publish: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self._publish = publish
        self._step = ""
        self._current = 0
        self._total: int | None = None
        self._message = ""
        self._pending = False
        self._reported_at = 0.0
        self._checked_at = 0.0

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """Report the beginning of a step; see `Progress.step`."""
        if self._pending:
            self._report("progress")
        self._step, self._current, self._total, self._message = name, 0, total, message
        set_step(name)
        self._report("step")

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Count units of the current step as done; see `Progress.advance`."""
        if units or message:
            self._current += units
            self._message = message or self._message
            self._pending = True
        now = time.monotonic()
        if self._pending and now - self._reported_at >= REPORT_SECONDS:
            self._report("progress")
        elif now - self._checked_at >= CHECK_SECONDS:
            self._call(lambda: self._store.heartbeat(self._job_id, self._attempt))

    def _report(self, kind: Literal["step", "progress"]) -> None:
        self._pending = False
        recorded = self._call(
            lambda: self._store.progress(
                self._job_id,
                self._attempt,
                kind=kind,
                step=self._step,
                current=self._current,
                total=self._total,
                message=self._message,
            )
        )
        self._reported_at = self._checked_at
        if recorded and self._publish is not None:
            self._publish(
                {"step": self._step, "current": self._current, "total": self._total, "message": self._message}
            )

    def _call(self, update: Callable[[], LeaseStatus]) -> bool:
        """Update the record and check the lease; False if Redis is unreachable."""
        try:
            status = update()
            if status is LeaseStatus.STALE and not self._store.cancel_requested(self._job_id):
                raise StaleAttempt("Another worker has claimed the job.")
        except (QueueUnreachable, SettingsError) as exc:
            _log.warning("job %s: its progress was not recorded: %s", self._job_id, exc.message)
            return False
        finally:
            self._checked_at = time.monotonic()
        if status is not LeaseStatus.OURS:
            raise JobCancelled("The job was cancelled.")
        return True


class CeleryReporter:
    """Publishes a job's progress and cancellation to Celery's result backend and events.

    Args:
        task: the Celery task, within a run of it.
    """

    def __init__(self, task: Any) -> None:
        self._task = task
        self._job_id = task.request.id
        self._muted_until: dict[str, float] = {}

    def progress(self, report: Mapping[str, Any]) -> None:
        """Publish the progress.

        Args:
            report: `step`, `current`, `total` and `message`.
        """
        percent = percentage(report["current"], report["total"])
        self._try("result backend", lambda: self._task.update_state(state=PROGRESS, meta=dict(report)))
        # `celery.events.state` derives the task's state PROGRESS from this event
        self._try("events", lambda: self._task.send_event("task-progress", retry=False, percent=percent, **report))

    def cancelled(self) -> None:
        """Publish that the job stopped on request."""
        self._try("result backend", lambda: mark_revoked(self._task, "cancelled"))
        event = {"terminated": False, "signum": None, "expired": False}
        self._try("events", lambda: self._task.send_event("task-revoked", retry=False, **event))

    def _try(self, channel: str, publish: Callable[[], object]) -> None:
        if time.monotonic() < self._muted_until.get(channel, 0.0):
            return
        try:
            publish()
        except SoftTimeLimitExceeded:
            raise
        except Exception as exc:  # noqa: BLE001 -- the exceptions depend on the broker, and must not fail the job
            self._muted_until[channel] = time.monotonic() + _MUTE_SECONDS
            _log.warning("job %s: not reported to Celery's %s: %s", self._job_id, channel, type(exc).__name__)
