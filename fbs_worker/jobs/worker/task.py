"""Base class of tasks that are jobs: claim, heartbeats, progress, retries, cancellation and the final record.

A job runs at least once, and only one attempt at a time: an attempt claims the job in the job store and holds it with
heartbeats. An attempt whose claim is stale ends without a result.
"""

from __future__ import annotations

import inspect
import logging
import os
import random
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn, TypedDict, TypeVar, cast

import orjson
from celery import Signature, Task
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, TimeLimitExceeded
from kombu.exceptions import OperationalError

from fbs_worker.core.errors import (
    FBSError,
    InternalError,
    JobCancelled,
    JobError,
    JobNotFound,
    QueueUnreachable,
    SettingsError,
    UsageError,
)
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.model import TABLE_STATUSES, Freshness, variant_of
from fbs_worker.jobs.store import Claim, JobState, JobStore
from fbs_worker.jobs.worker.heartbeat import Heartbeat
from fbs_worker.jobs.worker.logging import job_context
from fbs_worker.jobs.worker.progress import CeleryReporter, JobProgress, StaleAttempt

_log = logging.getLogger(__name__)

_MAX_RETRY_DELAY: Final = 120.0
_REDIS_RETRY_SECONDS: Final = 60.0

_T = TypeVar("_T")


class JobFailure(Exception):
    """The exception of a failed job in Celery's result backend: `AsyncResult.result.args[0]` is the record's error.

    Args:
        error: `FBSError.to_dict()`.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(dict(error))

    @property
    def error(self) -> dict[str, Any]:
        """The error: code, message, hint, retryable and, if any, context."""
        return cast("dict[str, Any]", self.args[0])

    def __str__(self) -> str:
        return f"{self.error.get('message', '')} [{self.error.get('code', '')}]"

    __repr__ = __str__


def retry_delay(attempt: int, *, jitter: float) -> float:
    """Return the seconds before a retry: exponential backoff with jitter, at most two minutes.

    Args:
        attempt: the number of the attempt that failed, from 1.
        jitter: 0 to 1; the position in the upper half of the delay.
    """
    longest = min(_MAX_RETRY_DELAY, 2.0 ** min(attempt - 1, 10))
    return longest * (0.5 + jitter / 2)


def internal_error(exc: Exception) -> InternalError:
    """Build the error for an unexpected exception, without its message, which may hold a secret."""
    frames = traceback.extract_tb(exc.__traceback__)
    location = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown location"
    return InternalError(
        f"Unexpected error: {type(exc).__name__} at {location}.",
        hint="This is a bug in fbs-worker. Please report it with the traceback from the worker's log.",
        type=type(exc).__name__,
        place=location,
    )


def rows_written(result: Mapping[str, Any]) -> int:
    """Return the number of discovery rows that a job wrote; for a set-up, those of its refresh.

    Args:
        result: the job's result.
    """
    refresh = result.get("refresh") or result
    report = refresh.get("report") if isinstance(refresh, Mapping) else None
    changes = [report.get(kind) for kind in ("added", "changed", "removed")] if isinstance(report, Mapping) else []
    return sum(len(each) for each in changes if isinstance(each, list))


def freshness(result: Mapping[str, Any]) -> Freshness:
    """Return what a job says about the freshness of its solution, for the metrics; as for `rows_written`."""
    if result.get("dropped") is not None and not result.get("dry_run"):
        return "dropped"
    refresh = result.get("refresh") or result
    derived = [refresh.get(name) for name in ("workflows", "dashboards")] if isinstance(refresh, Mapping) else []
    counts = [each for each in derived if isinstance(each, Mapping)]
    if not counts:
        return ""
    found = rows_written(result) or any(each.get(kind) for each in counts for kind in ("added", "changed", "removed"))
    return "changed" if found else "checked"


def record_gauges(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the fields of the metrics that a sync of a whole solution sets; empty for other jobs.

    Args:
        result: the job's result.
    """
    tables = result.get("tables")
    if not isinstance(tables, list) or "needs_review" not in result or result.get("models"):
        return {}
    solution = result["solution"]
    states = Counter(table["status"] for table in tables)
    synced = [datetime.fromisoformat(table["synced_at"]).timestamp() for table in tables if table["synced_at"]]
    return {
        f"record_rows|{solution}": sum(table["rows"] for table in tables),
        f"record_rejected|{solution}": sum(table["rejected"] for table in tables),
        f"record_calls|{solution}": result["calls"],
        **({f"record_synced|{solution}": min(synced)} if synced else {}),
        **{f"record_tables|{solution}|{status}": states[status] for status in TABLE_STATUSES},
    }


class JobTask(Task):  # type: ignore[misc]  # Celery has no types
    """A task that is a job.

    Its function takes keyword arguments and returns a JSON-ready dictionary; it uses `self.settings` and
    `self.progress`. In a worker the job has a record. Applied in-process it has none, and its errors propagate.
    """

    abstract = True
    throws = (JobFailure,)
    track_started = False  # the record has it, and the first step sets PROGRESS
    max_retries = None  # FBS_MAX_RETRIES applies instead
    is_retried: bool = True
    """Whether a temporary error delays the job; one that answers a person who waits fails at once."""
    resultrepr_maxsize = 80
    Request = "fbs_worker.jobs.worker.request:JobRequest"

    @property
    def settings(self) -> Settings:
        """The settings of the application."""
        return self._fbs.settings

    @property
    def progress(self) -> Progress:
        """The progress of this run."""
        return cast("Progress", self.request.fbs_progress)

    @property
    def earlier_step(self) -> str | None:
        """The last step that an earlier attempt of this job reported, empty if none; None in its first attempt."""
        return cast("str | None", getattr(self.request, "fbs_earlier_step", None))

    @property
    def in_process(self) -> bool:
        """Whether the task is applied in the caller's process, with arguments that were not sent through a queue."""
        return self._fbs.in_process is not None

    def enqueue(self, name: str, kwargs: Mapping[str, Any], *, solution: str = "") -> str:
        """Enqueue a further job; see `FBSCelery.enqueue`."""
        return self._fbs.enqueue(name, kwargs, solution=solution)

    def cancel(self, job_id: str) -> None:
        """Ask a further job to stop."""
        self._fbs.jobs.request_cancel(job_id)

    @property
    def _fbs(self) -> FBSCelery:
        if not isinstance(self.app, FBSCelery):
            raise UsageError(
                f"{self.name} needs the Celery application of fbs-worker.", hint="Start the worker with `fbs worker`."
            )
        return self.app

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the task as a job."""
        progress = self._fbs.in_process
        if progress is None:
            return self._run_recorded(args, kwargs)
        self.request.fbs_progress = progress
        try:
            return self._run_checked(args, kwargs)
        except FBSError:
            raise
        except Exception as exc:
            raise internal_error(exc) from exc

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:  # noqa: ARG002
        """Record the failure of a job whose process was killed at the hard time limit; runs in the main process."""
        if isinstance(exc, TimeLimitExceeded):
            self._fbs.jobs.mark_failed(task_id, None, self._time_limit_error().to_dict())

    def _run_checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            _signature(self.run).bind(*args, **kwargs)
        except TypeError as exc:
            raise UsageError(f"{self.name}: {exc}.", hint="Pass its arguments as keywords, as documented.") from None
        return cast("dict[str, Any]", self.run(*args, **kwargs))

    def _run_recorded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        labels = _labels(self.name, kwargs)
        with job_context(self.request.id, labels["action"], labels["solution"]):
            try:
                return self._run_attempt(labels, args, kwargs)
            except JobNotFound:  # Redis lost the record while the job ran: run it again with a new one
                _log.warning("job %s: its record is lost", self.request.id)
                self._end_stale(self._fbs.jobs, JobState.RUNNING)

    def _run_attempt(self, labels: _Labels, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        jobs, job_id, token = self._fbs.jobs, self.request.id, uuid.uuid4().hex
        origin = {
            "queue_name": str((self.request.delivery_info or {}).get("routing_key") or ""),
            "worker": self.request.hostname or "",
        }
        claim = _call_or_requeue(lambda: jobs.start(job_id, **labels, **origin, process=os.getpid(), token=token))
        if claim.held_elsewhere:
            self._end_stale(jobs, claim.state)
        if not claim.granted:
            return self._finished_result(jobs, job_id, claim)
        self.request.fbs_earlier_step = claim.earlier_step
        self.request.fbs_progress = JobProgress(jobs, job_id, claim.attempt, publish=CeleryReporter(self).progress)
        try:
            with Heartbeat(jobs, job_id, claim.attempt):
                result = self._run_checked(args, kwargs)
                orjson.dumps(result)  # a result that is not JSON-ready fails the job
                rows, fresh, gauges = rows_written(result), freshness(result), record_gauges(result)
        except StaleAttempt as exc:
            _log.warning("job %s: %s", job_id, exc.message)
            self._end_stale(jobs, JobState.RUNNING)
        except JobCancelled:
            self._end_cancelled(jobs, job_id, claim)
        except SoftTimeLimitExceeded:
            self._fail(jobs, job_id, claim, self._time_limit_error())
        except FBSError as exc:
            self._fail(jobs, job_id, claim, exc)
        except Exception as exc:  # noqa: BLE001 -- recorded in the job
            frames = "".join(traceback.format_tb(exc.__traceback__))  # without the message, which may hold a secret
            _log.error("job %s: %s\n%s", job_id, type(exc).__name__, frames)
            self._fail(jobs, job_id, claim, internal_error(exc))
        state = _call_or_requeue(
            lambda: jobs.mark_succeeded(job_id, claim.attempt, result, rows=rows, fresh=fresh, gauges=gauges)
        )
        if state is not JobState.SUCCEEDED:
            self._end_stale(jobs, state)
        return result

    def _end_stale(self, jobs: JobStore, state: JobState) -> NoReturn:
        """End a stale attempt without a result, and keep a message of the job until the other attempt has ended.

        A redelivered message has the delivery tag of the original, so acknowledging this one acknowledges both, and
        the job would be lost if the other attempt died. So a copy is sent with an ETA at which the other attempt has
        ended or reads as lost.
        """
        if not state.finished:
            self._resend(jobs.lost_after + 1, retries=self.request.retries)
        raise Ignore from None

    def _resend(self, seconds: float, *, retries: int) -> Signature:
        """Send the job's message again with a countdown. Celery's `retry` would drop the job if sending fails."""
        countdown = min(seconds, self._fbs.max_countdown)
        signature = self.signature_from_request(countdown=countdown, retries=retries)
        try:
            signature.apply_async()
        except OperationalError:  # requeue the original message instead
            raise Reject(requeue=True) from None
        return signature

    def _finished_result(self, jobs: JobStore, job_id: str, claim: Claim) -> dict[str, Any]:
        """Return the result of a finished job: it was cancelled while it waited, or its message was redelivered."""
        if claim.state is JobState.CANCELLED:
            self._mark_cancelled()
        record = _call_or_requeue(lambda: jobs.get(job_id))
        if claim.state is JobState.FAILED:
            raise JobFailure(record.error or {})
        return record.result or {}

    def _end_cancelled(self, jobs: JobStore, job_id: str, claim: Claim) -> NoReturn:
        state = _call_or_requeue(lambda: jobs.mark_cancelled(job_id, claim.attempt))
        if state is not JobState.CANCELLED:
            self._end_stale(jobs, state)
        self._mark_cancelled()

    def _mark_cancelled(self) -> NoReturn:
        CeleryReporter(self).cancelled()
        raise Ignore from None

    def _fail(self, jobs: JobStore, job_id: str, claim: Claim, error: FBSError) -> NoReturn:
        payload = error.to_dict()
        wait = getattr(error, "retry_after", None) if self.is_retried else None
        if wait is not None:
            self._retry_later(jobs, job_id, claim, error, wait=wait)
        if self.is_retried and error.retryable and claim.attempt - claim.waits <= self.settings.fbs_max_retries:
            self._retry_later(jobs, job_id, claim, error)
        state = _call_or_requeue(lambda: jobs.mark_failed(job_id, claim.attempt, payload))
        if state is not JobState.FAILED:
            self._end_stale(jobs, state)
        _log.warning("job %s failed: %s", job_id, error.message)
        raise JobFailure(payload) from None

    def _retry_later(
        self, jobs: JobStore, job_id: str, claim: Claim, error: FBSError, *, wait: float | None = None
    ) -> NoReturn:
        """Retry the job after a delay.

        Args:
            jobs: the job store.
            job_id: the job's id.
            claim: the claim of this attempt.
            error: the failure.
            wait: the delay that the error demands; such an attempt does not count as failed. None for the backoff.
        """
        jitter = random.random()  # noqa: S311 -- not used for security
        delay = retry_delay(claim.attempt - claim.waits, jitter=jitter) if wait is None else wait + jitter
        delay = min(delay, self._fbs.max_countdown)
        message = f"{'' if wait is None else 'waiting for Odoo, '}retry in {delay:.0f} s: {error.message}"
        payload = error.to_dict()
        state = _call_or_requeue(
            lambda: jobs.mark_retrying(job_id, claim.attempt, error=payload, message=message, waits=wait is not None)
        )
        if state is JobState.CANCELLED:
            self._mark_cancelled()
        if state is not JobState.RETRYING:
            self._end_stale(jobs, state)
        _log.warning("job %s: %s", job_id, message)
        signature = self._resend(delay, retries=self.request.retries + 1)
        raise Retry(exc=JobFailure(payload), when=delay, sig=signature) from None

    def _time_limit_error(self) -> JobError:
        limit = self.soft_time_limit or self.settings.fbs_job_time_limit
        return JobError(
            f"The job exceeded its time limit of {limit} seconds and was stopped.",
            hint="Raise FBS_JOB_TIME_LIMIT, and FBS_VISIBILITY_TIMEOUT above it.",
            limit=limit,
        )


@lru_cache(maxsize=32)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


class _Labels(TypedDict):
    action: str
    solution: str
    domain: str
    variant: str


def _labels(task_name: str, kwargs: Mapping[str, Any]) -> _Labels:
    """Return the fields of the record for a task that was sent without one."""
    config = kwargs.get("config")
    present = {key: value for key, value in kwargs.items() if value is not None}
    arguments = {**(config if isinstance(config, Mapping) else {}), **present}
    action = task_name.removeprefix("fbs.")
    return {
        "action": action,
        "variant": variant_of(action, arguments),
        "solution": _text(arguments.get("solution_name")),
        "domain": _text(arguments.get("domain")),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _call_or_requeue(call: Callable[[], _T]) -> _T:
    """Call the job store, retry while Redis may be restarting, and requeue the message if it stays unreachable."""
    deadline = time.monotonic() + _REDIS_RETRY_SECONDS
    delay = 0.1
    while True:
        try:
            return call()
        except (QueueUnreachable, SettingsError) as exc:  # the user's rights or password were changed
            if time.monotonic() > deadline:
                _log.error("%s The job is requeued.", exc.message)
                raise Reject(exc.message, requeue=True) from None
            time.sleep(delay)
            delay = min(2.0, delay * 2)
