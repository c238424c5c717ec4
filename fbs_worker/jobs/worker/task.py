"""What every job has: a record, progress, signs of life, errors in our words, retries, an end on request."""

from __future__ import annotations

import inspect
import logging
import os
import random
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
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
    UsageError,
)
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.store import Claim, JobState, JobStore
from fbs_worker.jobs.worker.celery_events import CeleryReporter
from fbs_worker.jobs.worker.heartbeat import Heartbeat, JobProgress, StaleAttempt
from fbs_worker.jobs.worker.logging import job_context

_log = logging.getLogger(__name__)

_LONGEST_PAUSE: Final = 120.0
_PATIENCE_SECONDS: Final = 60.0

_T = TypeVar("_T")


class JobFailure(Exception):
    """How a failed job looks to plain Celery: `AsyncResult.result.args[0]` is the record's error.

    Args:
        error: `FBSError.to_dict()`.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(dict(error))

    @property
    def error(self) -> dict[str, Any]:
        """What went wrong: code, message, hint, retryable and, if any, context."""
        return cast("dict[str, Any]", self.args[0])

    def __str__(self) -> str:
        return f"{self.error.get('message', '')} [{self.error.get('code', '')}]"

    __repr__ = __str__


def retry_delay(attempt: int, *, chance: float) -> float:
    """Seconds to wait before a retry: they double with each attempt, up to two minutes, and are spread.

    Args:
        attempt: the number of the attempt that failed, from 1.
        chance: 0 to 1; where in the upper half of the span.
    """
    longest = min(_LONGEST_PAUSE, 2.0 ** min(attempt - 1, 10))
    return longest * (0.5 + chance / 2)


def internal_error(exc: Exception) -> InternalError:
    """An error that nobody foresaw, without its words: they may hold a secret."""
    frames = traceback.extract_tb(exc.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    return InternalError(
        f"Something unexpected went wrong: {type(exc).__name__} at {place}.",
        hint="This is a mistake in fbs-worker; the worker's log has the trace. Please report it.",
        type=type(exc).__name__,
        place=place,
    )


def rows_written(result: Mapping[str, Any]) -> int:
    """How many rows of discoveries a job wrote, as its result says; a set-up's are those of its refresh.

    Args:
        result: what the job yielded.
    """
    told = result.get("refresh") or result
    report = told.get("report") if isinstance(told, Mapping) else None
    changes = [report.get(what) for what in ("added", "changed", "removed")] if isinstance(report, Mapping) else []
    return sum(len(each) for each in changes if isinstance(each, list))


class JobTask(Task):  # type: ignore[misc]  # Celery has no types
    """A task that is a job.

    Its function takes keywords only and returns a JSON-ready dictionary; `self.settings` and `self.progress` are there
    for it. In a worker the job has a record; applied inline it has none, and its errors come as they are.
    """

    abstract = True
    throws = (JobFailure,)
    track_started = False  # its record says so, and its first step tells PROGRESS
    max_retries = None  # FBS_MAX_RETRIES counts
    resultrepr_maxsize = 80
    Request = "fbs_worker.jobs.worker.request:JobRequest"

    @property
    def settings(self) -> Settings:
        """What the job works with."""
        return self._fbs.settings

    @property
    def progress(self) -> Progress:
        """Where this run of the job tells its progress."""
        return cast("Progress", self.request.fbs_progress)

    @property
    def in_process(self) -> bool:
        """Applied in the caller's own process: its arguments have not travelled."""
        return self._fbs.in_process is not None

    @property
    def _fbs(self) -> FBSCelery:
        if not isinstance(self.app, FBSCelery):
            raise UsageError(
                f"{self.name} runs in fbs-worker's own application only.", hint="Start the worker with `fbs worker`."
            )
        return self.app

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the task as a job; Celery calls it."""
        inline = self._fbs.in_process
        if inline is None:
            return self._run_recorded(args, kwargs)
        self.request.fbs_progress = inline
        try:
            return self._run_checked(args, kwargs)
        except FBSError:
            raise
        except Exception as exc:
            raise internal_error(exc) from exc

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:  # noqa: ARG002
        """A job whose process had to be killed cannot speak for itself: its worker does. Celery calls it."""
        if isinstance(exc, TimeLimitExceeded):
            self._fbs.jobs.mark_failed(task_id, None, self._too_long().to_dict())

    # --------------------------------------------------------------------------------------------------- innards

    def _run_checked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            _signature(self.run).bind(*args, **kwargs)
        except TypeError as exc:
            raise UsageError(f"{self.name}: {exc}.", hint="Give its arguments by name, as documented.") from None
        return cast("dict[str, Any]", self.run(*args, **kwargs))

    def _run_recorded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        about = _about(self.name, kwargs)
        with job_context(self.request.id, about["action"], about["solution"]):
            try:
                return self._attempt(about, args, kwargs)
            except JobNotFound:  # Redis has lost the record while the job ran: it is done again, with a new one
                _log.warning("job %s: its record is gone", self.request.id)
                self._superseded(self._fbs.jobs, JobState.RUNNING)

    def _attempt(self, about: _About, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        jobs, job_id, token = self._fbs.jobs, self.request.id, uuid.uuid4().hex
        place = {
            "queue_name": str((self.request.delivery_info or {}).get("routing_key") or ""),
            "worker": self.request.hostname or "",
        }
        claim = _or_back_to_the_queue(lambda: jobs.start(job_id, **about, **place, process=os.getpid(), token=token))
        if claim.held_elsewhere:
            self._superseded(jobs, claim.state)
        if not claim.granted:
            return self._already(jobs, job_id, claim)
        self.request.fbs_progress = JobProgress(jobs, job_id, claim.attempt, publish=CeleryReporter(self).progress)
        try:
            with Heartbeat(jobs, job_id, claim.attempt):
                result = self._run_checked(args, kwargs)
                orjson.dumps(result)  # what is not JSON-ready is found out while it can still fail the job
                rows = rows_written(result)
        except StaleAttempt as exc:
            _log.warning("job %s: %s", job_id, exc.message)
            self._superseded(jobs, JobState.RUNNING)
        except JobCancelled:
            self._cancelled(jobs, job_id, claim)
        except SoftTimeLimitExceeded:
            self._fail(jobs, job_id, claim, self._too_long())
        except FBSError as exc:
            self._fail(jobs, job_id, claim, exc)
        except Exception as exc:  # noqa: BLE001 -- whatever it is, the record says so
            places = "".join(traceback.format_tb(exc.__traceback__))  # places only: values may hold a secret
            _log.error("job %s: %s\n%s", job_id, type(exc).__name__, places)
            self._fail(jobs, job_id, claim, internal_error(exc))
        state = _or_back_to_the_queue(lambda: jobs.mark_succeeded(job_id, claim.attempt, result, rows=rows))
        if state is not JobState.SUCCEEDED:
            self._superseded(jobs, state)
        return result

    def _superseded(self, jobs: JobStore, state: JobState) -> NoReturn:
        """Another attempt has the job, and this message may be the only one left of it: while that runs, it is kept.

        Redis hands on a message that it takes for forgotten, and whoever acknowledges it does so for all. So it is
        sent anew, for a time at which the other attempt has ended or is known to be lost.
        """
        if not state.finished:
            self._send_again(jobs.lost_after + 1, retries=self.request.retries)
        raise Ignore from None

    def _send_again(self, seconds: float, *, retries: int) -> Signature:
        """Send the job's message once more, for later. Celery's own `retry` drops the job where that fails."""
        countdown = min(seconds, self._fbs.max_countdown)
        again = self.signature_from_request(countdown=countdown, retries=retries)
        try:
            again.apply_async()
        except OperationalError:  # the message that this run came from is delivered once more
            raise Reject(requeue=True) from None
        return again

    def _already(self, jobs: JobStore, job_id: str, claim: Claim) -> dict[str, Any]:
        """The message of a job that has ended: cancelled while it waited, or delivered once more."""
        if claim.state is JobState.CANCELLED:
            self._mark_cancelled()
        record = _or_back_to_the_queue(lambda: jobs.get(job_id))
        if claim.state is JobState.FAILED:
            raise JobFailure(record.error or {})
        return record.result or {}

    def _cancelled(self, jobs: JobStore, job_id: str, claim: Claim) -> NoReturn:
        state = _or_back_to_the_queue(lambda: jobs.mark_cancelled(job_id, claim.attempt))
        if state is not JobState.CANCELLED:
            self._superseded(jobs, state)
        self._mark_cancelled()

    def _mark_cancelled(self) -> NoReturn:
        CeleryReporter(self).cancelled()
        raise Ignore from None

    def _fail(self, jobs: JobStore, job_id: str, claim: Claim, error: FBSError) -> NoReturn:
        told = error.to_dict()
        wait = getattr(error, "retry_after", None)
        if wait is not None:
            self._again(jobs, job_id, claim, error, wait=wait)
        if error.retryable and claim.attempt - claim.waits <= self.settings.fbs_max_retries:
            self._again(jobs, job_id, claim, error)
        state = _or_back_to_the_queue(lambda: jobs.mark_failed(job_id, claim.attempt, told))
        if state is not JobState.FAILED:
            self._superseded(jobs, state)
        _log.warning("job %s failed: %s", job_id, error.message)
        raise JobFailure(told) from None

    def _again(
        self, jobs: JobStore, job_id: str, claim: Claim, error: FBSError, *, wait: float | None = None
    ) -> NoReturn:
        """Run the job again after a pause; `wait`: the pause that the error asks for, which is no failed attempt."""
        chance = random.random()  # noqa: S311 -- spreads load, guards nothing
        pause = retry_delay(claim.attempt - claim.waits, chance=chance) if wait is None else wait + chance
        pause = min(pause, self._fbs.max_countdown)
        words = f"{'' if wait is None else 'waiting for Odoo, '}again in {pause:.0f} s: {error.message}"
        told = error.to_dict()
        state = _or_back_to_the_queue(
            lambda: jobs.mark_retrying(job_id, claim.attempt, error=told, message=words, waits=wait is not None)
        )
        if state is JobState.CANCELLED:
            self._mark_cancelled()
        if state is not JobState.RETRYING:
            self._superseded(jobs, state)
        _log.warning("job %s: %s", job_id, words)
        again = self._send_again(pause, retries=self.request.retries + 1)
        raise Retry(exc=JobFailure(told), when=pause, sig=again) from None

    def _too_long(self) -> JobError:
        limit = self.soft_time_limit or self.settings.fbs_job_time_limit
        return JobError(
            f"The job took longer than {limit} seconds and was stopped.",
            hint="Raise FBS_JOB_TIME_LIMIT, and FBS_VISIBILITY_TIMEOUT above it.",
            limit=limit,
        )


@lru_cache(maxsize=32)
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


class _About(TypedDict):
    action: str
    solution: str
    domain: str


def _about(task_name: str, kwargs: Mapping[str, Any]) -> _About:
    """What a record says of a task that was sent without one."""
    config = kwargs.get("config")
    given = {key: value for key, value in kwargs.items() if value is not None}
    told = {**(config if isinstance(config, Mapping) else {}), **given}
    return {
        "action": task_name.removeprefix("fbs."),
        "solution": _text(told.get("solution_name")),
        "domain": _text(told.get("domain")),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _or_back_to_the_queue(ask: Callable[[], _T]) -> _T:
    """Ask the record with patience: Redis may be restarting. If it stays away, the job is delivered once more later."""
    until = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.1
    while True:
        try:
            return ask()
        except QueueUnreachable as exc:
            if time.monotonic() > until:
                _log.error("%s The job goes back to the queue.", exc.message)
                raise Reject(exc.message, requeue=True) from None
            time.sleep(pause)
            pause = min(2.0, pause * 2)
