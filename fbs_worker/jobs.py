"""The records of jobs in Redis: their states, their progress, their events, and the wish to stop them.

    fbs:job:<id>          a hash: the record
    fbs:job:<id>:events   a stream: what happened, at most about 1,000 entries
    fbs:jobs              a sorted set: the ids by the time of their creation
    fbs:jobs:ending       a sorted set: the ids of finished jobs by the time at which their record goes

A finished job's record is kept for a time and then goes by itself; one that waits or runs stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Self, cast

import orjson

from fbs_worker import job_scripts, queue
from fbs_worker.errors import JobError, JobNotFound
from fbs_worker.job_events import FINISHED, Claim, JobEvent, JobRecord, JobState, Standing

__all__ = ["FINISHED", "Claim", "JobEvent", "JobRecord", "JobState", "JobStore", "Standing"]

HEARTBEAT_SECONDS: Final = 5.0
"""How often a worker gives a sign of life for a job."""

LOST_AFTER_SECONDS: Final = 30.0
"""A running job without a sign of life for this long reads as lost."""

MOST_LOSSES: Final = 3
"""A job that lost its worker this often is not started again: it may be what kills the worker."""

_INDEX: Final = "fbs:jobs"
_ENDING: Final = "fbs:jobs:ending"
_LIST_CHUNK: Final = 100
_FOLLOW_SECONDS: Final = 1.0


class JobStore:
    """The records of jobs.

    Args:
        redis_url: `redis://[:password@]host:port/db`.
        ttl: seconds that the record of a finished job is kept.
        lost_after: seconds without a heartbeat after which a running job reads as lost.

    Raises:
        SettingsError: the URL is not one. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str, *, ttl: int, lost_after: float = LOST_AFTER_SECONDS) -> None:
        self._redis = queue.connect(redis_url)
        self._address = queue.address(redis_url)
        self._ttl = ttl
        self._lost_after = lost_after
        self._create = self._redis.register_script(job_scripts.CREATE)
        self._start = self._redis.register_script(job_scripts.START)
        self._progress = self._redis.register_script(job_scripts.PROGRESS)
        self._heartbeat = self._redis.register_script(job_scripts.HEARTBEAT)
        self._leave = self._redis.register_script(job_scripts.LEAVE)
        self._request_cancel = self._redis.register_script(job_scripts.REQUEST_CANCEL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back. The store may be used again afterwards."""
        self._redis.close()

    def ping(self) -> None:
        """See whether Redis answers.

        Raises:
            QueueUnreachable: it does not.
        """
        with queue.errors_of(self._address):
            self._redis.ping()

    # ------------------------------------------------------------------------------------------- who enqueues

    def create(self, job_id: str, *, action: str, solution: str = "", domain: str = "") -> None:
        """Make the record of a job that is about to be enqueued.

        Args:
            job_id: an id that no other job has; the Celery task's id.
            action: what it does, e.g. `discover`.
            solution: the solution that it is for, if any.
            domain: the domain that it is for, if any.
        """
        self._run(self._create, job_id, None, action, solution, domain)

    def remove(self, job_id: str) -> None:
        """Take back the record of a job that could not be enqueued."""
        with queue.errors_of(self._address), self._redis.pipeline() as pipe:
            pipe.delete(_key(job_id), _events_key(job_id))
            pipe.zrem(_INDEX, job_id)
            pipe.zrem(_ENDING, job_id)
            pipe.execute()

    def request_cancel(self, job_id: str) -> JobState:
        """Ask for a job to stop.

        One that waits, or whose worker is lost, is cancelled at once; a running one at its next step.

        Returns:
            The state that the job is in now; a finished one stays as it is.

        Raises:
            JobNotFound: no job has that id.
        """
        state = self._run(self._request_cancel, job_id, None, int(self._lost_after * 1000))
        if state is None:
            raise _not_found(job_id)
        return JobState(state)

    # -------------------------------------------------------------------------------------------- who looks on

    def get(self, job_id: str) -> JobRecord:
        """The job of that id.

        Raises:
            JobNotFound: there is none, or its record has expired.
        """
        with queue.errors_of(self._address), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(_key(job_id))
            clock, kept = pipe.execute()
        if "state" not in kept:
            raise _not_found(job_id)
        return self._record(job_id, kept, clock)

    def list(self, limit: int = 50, state: JobState | None = None) -> Sequence[JobRecord]:
        """Jobs, the newest first.

        Args:
            limit: at most so many.
            state: only those that are in this state.
        """
        found: list[JobRecord] = []
        offset = 0
        while len(found) < limit:
            with queue.errors_of(self._address), self._redis.pipeline(transaction=False) as pipe:
                ids = cast("list[str]", self._redis.zrevrange(_INDEX, offset, offset + _LIST_CHUNK - 1))
                pipe.time()
                for job_id in ids:
                    pipe.hgetall(_key(job_id))
                clock, *hashes = pipe.execute()
            for job_id, kept in zip(ids, hashes, strict=True):
                if "state" not in kept:  # expired since
                    continue
                record = self._record(job_id, kept, clock)
                if state is None or record.state is state:
                    found.append(record)
            if len(ids) < _LIST_CHUNK:
                break
            offset += _LIST_CHUNK
        return found[:limit]

    def follow(self, job_id: str, *, from_start: bool = True, timeout: float | None = None) -> Iterator[JobEvent]:
        """The events of a job as they come.

        The last event is the job's final state, or that it is lost; follow it again then to see whether another worker
        takes it up.

        Args:
            job_id: the job's id.
            from_start: begin with what is kept of the past; else with what happens from now on.
            timeout: seconds after which to stop without a last event; None to follow for as long as it takes.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
        """
        until = None if timeout is None else time.monotonic() + timeout
        place = "0-0" if from_start else self._newest_event(job_id)
        record = self.get(job_id)
        if not from_start and record.state.finished:
            yield JobEvent.from_record(record, event_id=place)
            return
        while True:
            wait = _FOLLOW_SECONDS if until is None else min(_FOLLOW_SECONDS, until - time.monotonic())
            if wait <= 0:
                return
            fresh = self._events_after(job_id, place, wait)
            for event in fresh:
                yield event
                place = event.id
                if event.last:
                    return
            if not fresh:
                record = self.get(job_id)
                ending = JobEvent.from_record(record, event_id=place)
                if ending.last:
                    yield ending
                    return

    # -------------------------------------------------------------------------------------------- who does the work

    def start(self, job_id: str, *, action: str, solution: str = "", domain: str = "") -> Claim:
        """Take a job up. One that has no record yet (enqueued by another program) gets it now.

        Args:
            job_id: the job's id.
            action: see `create`, and the same for the others.
            solution: see `create`.
            domain: see `create`.

        Returns:
            A claim whose state is RUNNING if the job is the caller's now; any other means: do not run it.
        """
        error = JobError(
            f"The job lost its worker {MOST_LOSSES} times and is not started again.",
            hint="Look into the worker's log for what killed it (often: too little memory).",
        )
        state, attempt = self._run(
            self._start,
            job_id,
            None,
            action,
            solution,
            domain,
            MOST_LOSSES,
            orjson.dumps(error.to_dict()).decode(),
            error.message,
        )
        return Claim(state=JobState(state), attempt=attempt)

    def progress(
        self,
        job_id: str,
        attempt: int,
        *,
        kind: str,
        step: str,
        current: int = 0,
        total: int | None = None,
        message: str = "",
    ) -> Standing:
        """Tell how far a running job is; a sign of life, too.

        Args:
            job_id: the job's id.
            attempt: the claim's number.
            kind: `step` for a new one, `progress` within one, or `message`.
            step: the step's name.
            current: how many of its units are done.
            total: how many it has, if known.
            message: one line for a person.

        Returns:
            Whether to go on.
        """
        told = "" if total is None else total
        return Standing(self._run(self._progress, job_id, attempt, kind, step, current, told, message))

    def heartbeat(self, job_id: str, attempt: int) -> Standing:
        """Give a sign of life for a running job.

        Returns:
            Whether to go on.
        """
        return Standing(self._run(self._heartbeat, job_id, attempt))

    def cancel_requested(self, job_id: str) -> bool:
        """Whether someone asked for the job to stop, or it has been cancelled."""
        with queue.errors_of(self._address):
            state, stop = cast("list[str | None]", self._redis.hmget(_key(job_id), "state", "stop"))
        return stop is not None or state == JobState.CANCELLED

    def retrying(self, job_id: str, attempt: int, *, error: Mapping[str, Any], message: str) -> JobState:
        """A running job failed and is going to be run again.

        Args:
            job_id: the job's id.
            attempt: the claim's number.
            error: `FBSError.to_dict()` of what went wrong.
            message: one line for a person: when it is run again, and why.

        Returns:
            The state that the job is in now: RETRYING, unless someone asked it to stop or another attempt took over.
        """
        return self._left(job_id, attempt, JobState.RETRYING, field="error", value=error, message=message)

    def succeed(self, job_id: str, attempt: int, result: Mapping[str, Any]) -> JobState:
        """A running job has done its work.

        Args:
            job_id: the job's id.
            attempt: the claim's number.
            result: JSON-ready.

        Returns:
            The state that the job is in now: SUCCEEDED, unless another attempt has taken over.

        Raises:
            TypeError: the result is not JSON-ready.
        """
        return self._left(job_id, attempt, JobState.SUCCEEDED, field="result", value=result, message="")

    def fail(self, job_id: str, attempt: int | None, error: Mapping[str, Any]) -> JobState:
        """A running job has failed for good.

        Args:
            job_id: the job's id.
            attempt: the claim's number; None when the attempt cannot speak for itself any more.
            error: `FBSError.to_dict()` of what went wrong.

        Returns:
            The state that the job is in now: FAILED, unless another attempt has taken over.
        """
        message = str(error.get("message", ""))
        return self._left(job_id, attempt, JobState.FAILED, field="error", value=error, message=message)

    def cancelled(self, job_id: str, attempt: int) -> JobState:
        """A running job has stopped on request.

        Returns:
            The state that the job is in now: CANCELLED, unless another attempt has taken over.
        """
        return self._left(job_id, attempt, JobState.CANCELLED, message="stopped on request")

    # --------------------------------------------------------------------------------------------------- innards

    def _left(
        self,
        job_id: str,
        attempt: int | None,
        state: JobState,
        *,
        message: str,
        field: str = "",
        value: Mapping[str, Any] | None = None,
    ) -> JobState:
        kept = orjson.dumps(value or {}).decode()
        now_in = self._run(self._leave, job_id, attempt, str(state), field, kept, message)
        if now_in is None:
            raise _not_found(job_id)
        return JobState(now_in)

    def _run(self, script: Any, job_id: str, attempt: int | None, *arguments: str | int) -> Any:
        spoken = "" if attempt is None else attempt
        with queue.errors_of(self._address):
            return script(
                keys=[_key(job_id), _events_key(job_id), _INDEX, _ENDING], args=[job_id, self._ttl, spoken, *arguments]
            )

    def _record(self, job_id: str, kept: Mapping[str, str], clock: tuple[int, int]) -> JobRecord:
        now = clock[0] * 1000 + clock[1] // 1000
        return JobRecord.from_hash(job_id, kept, now=now, lost_after=self._lost_after)

    def _newest_event(self, job_id: str) -> str:
        with queue.errors_of(self._address):
            newest = cast("list[tuple[str, Any]]", self._redis.xrevrange(_events_key(job_id), count=1))
        return newest[0][0] if newest else "0-0"

    def _events_after(self, job_id: str, place: str, seconds: float) -> Sequence[JobEvent]:
        with queue.errors_of(self._address):
            answer = cast(
                "list[tuple[str, list[tuple[str, dict[str, str]]]]]",
                self._redis.xread({_events_key(job_id): place}, block=max(1, int(seconds * 1000))),
            )
        return [JobEvent.from_entry(job_id, entry_id, kept) for _, entries in answer for entry_id, kept in entries]


def _key(job_id: str) -> str:
    return f"fbs:job:{job_id}"


def _events_key(job_id: str) -> str:
    return f"fbs:job:{job_id}:events"


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound(
        f"There is no job {job_id!r}.", hint="`fbs jobs list` shows the jobs; the records of finished ones expire."
    )
