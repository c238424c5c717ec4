"""Job store in Redis: records, progress, events, deduplication and cancellation requests.

`JobReader` is the read side, `JobStore` adds the transitions. Keys:

    fbs:job:<id>          hash: the record
    fbs:job:<id>:events   stream: the events, at most about 1,000 entries
    fbs:job:<id>:log      stream: the lines that a worker logged during the job, at most about 1,000
    fbs:jobs              sorted set: job ids by creation time
    fbs:jobs:open         set: ids of unfinished jobs
    fbs:jobs:ending       sorted set: ids of finished jobs by the expiry of their record
    fbs:same:<hash>       string: id of the unfinished job that owns a deduplication key
    fbs:metrics           hash: counters (see `fbs_worker.ops.metrics`)

The record of a finished job expires after the TTL; an unfinished job's record does not expire.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import orjson
from redis.client import Pipeline
from redis.exceptions import ResponseError

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import JobError, JobNotFound, UsageError
from fbs_worker.jobs import scripts
from fbs_worker.jobs.model import (
    FINISHED,
    SHORT_ID,
    Claim,
    Freshness,
    JobEvent,
    JobRecord,
    JobState,
    LeaseStatus,
    LogLine,
    UnreadableRecord,
    state_of,
)

__all__ = [
    "FINISHED",
    "METRICS_KEY",
    "Claim",
    "JobEvent",
    "JobReader",
    "JobRecord",
    "JobState",
    "JobStore",
    "LeaseStatus",
]

LOST_AFTER_SECONDS: Final = 30.0
"""A running job without a heartbeat for this long reads as lost."""

MAX_LOSSES: Final = 3
"""A job that lost its worker this often fails instead of starting again: it may be the cause."""

MAX_LOG_LINES: Final = 1_000
MAX_LOG_CHARS: Final = 4_000
"""Maximum length of a kept log line."""

METRICS_KEY: Final = "fbs:metrics"
OPEN_KEY: Final = "fbs:jobs:open"
_INDEX_KEY: Final = "fbs:jobs"
_ENDING_KEY: Final = "fbs:jobs:ending"
_REAPER_LEASE_KEY: Final = "fbs:redelivery"

_LIST_CHUNK: Final = 100
_FOLLOW_SECONDS: Final = 1.0
_FIRST_EVENT_ID: Final = "0-0"


class JobReader(queue.RedisOwner):
    """Read side of the job store.

    Args:
        redis_url: `redis://[:password@]host:port/db`.
        lost_after: seconds without a heartbeat after which a running job reads as lost.

    Raises:
        SettingsError: the URL is not valid. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str, *, lost_after: float = LOST_AFTER_SECONDS) -> None:
        super().__init__(redis_url)
        self._lost_after = lost_after

    @property
    def lost_after(self) -> float:
        """Seconds without a heartbeat after which a running job reads as lost."""
        return self._lost_after

    @property
    def address(self) -> str:
        """`host:port` of the Redis server."""
        return self._redis.address

    def ping(self) -> None:
        """Check that Redis answers.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        self._redis.ping()

    def check_rights(self) -> None:
        """Check that Redis accepts what jobs need; see `fbs_worker.core.redis.check_rights`."""
        queue.check_rights(self._redis)

    def get(self, job_id: str) -> JobRecord:
        """Return a job's record.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
        """
        for record in self._records([job_id]):
            return record
        raise _not_found(job_id)

    def list(
        self, limit: int = 50, state: JobState | None = None, *, solution: str = "", action: str = ""
    ) -> Sequence[JobRecord]:
        """List jobs, newest first.

        Args:
            limit: the maximum number of records.
            state: only jobs in this state; None for all.
            solution: only jobs of this solution; empty for all.
            action: only jobs with this action, e.g. `refresh`; empty for all.
        """
        matching: list[JobRecord] = []
        offset = 0
        while len(matching) < limit:
            ids = cast("list[str]", self._redis.zrevrange(_INDEX_KEY, offset, offset + _LIST_CHUNK - 1))
            matching += [
                record
                for record in self._records(ids)
                if (state is None or record.state is state)
                and solution in {"", record.solution}
                and action in {"", record.action}
            ]
            if len(ids) < _LIST_CHUNK:
                break
            offset += _LIST_CHUNK
        return matching[:limit]

    def full_id(self, beginning: str) -> str:
        """Return the id of the one job whose id begins so; the text itself where it is an id.

        Args:
            beginning: a whole id, or at least its first `SHORT_ID` characters.

        Raises:
            JobNotFound: no job's id begins so.
            UsageError: several do.
        """
        if self._redis.exists(_record_key(beginning)):
            return beginning
        found: set[str] = set()
        if len(beginning) >= SHORT_ID:
            pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", beginning) + "*"
            found = {job_id for job_id, _ in self._redis.zscan_iter(_INDEX_KEY, match=pattern, count=1_000)}
        if len(found) > 1:
            raise UsageError(f"{len(found)} jobs begin with {beginning!r}.", hint="Give more characters of the id.")
        for job_id in found:
            return job_id
        raise _not_found(beginning)

    def request(self, job_id: str) -> dict[str, Any]:
        """Return the arguments that a job was enqueued with, secrets encrypted; empty where they were not recorded."""
        text = cast("str | None", self._redis.hget(_record_key(job_id), "request"))
        arguments = orjson.loads(text) if text else {}
        return arguments if isinstance(arguments, dict) else {}

    def log(self, job_id: str) -> Sequence[LogLine]:
        """Return what happened in a job, oldest first: states, steps, messages, and what its worker logged.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
        """
        self.get(job_id)
        lines = []
        for key in (_events_key(job_id), _log_key(job_id)):
            for position, fields in cast("list[tuple[str, dict[str, str]]]", self._redis.xrange(key)):
                line = LogLine.from_entry(position, fields)
                if line is not None:
                    lines.append(line)
        return sorted(lines, key=lambda line: line.at)

    def open(self) -> Sequence[JobRecord]:
        """List the unfinished jobs, in no order."""
        ids = cast("set[str]", self._redis.smembers(OPEN_KEY))
        return self._records(ids)

    def states(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """Return the states of jobs without reading the whole records; ids without a record are left out.

        Args:
            job_ids: the ids to look up.
        """
        ids = tuple(dict.fromkeys(job_ids))
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for job_id in ids:
                pipe.hmget(_record_key(job_id), "state", "heartbeat_at")
            clock, *rows = self._replies(pipe)
        now = _milliseconds(clock)
        states = {}
        for job_id, row in zip(ids, rows, strict=True):
            state, heartbeat_at = row or (None, None)
            with suppress(ValueError):  # damaged
                if state is not None:
                    states[job_id] = state_of(state, heartbeat_at, now=now, lost_after=self._lost_after)
        return states

    def newest_event(self, job_id: str) -> str:
        """Return the id of a job's newest event; `0-0` if it has none."""
        newest = cast("list[tuple[str, object]]", self._redis.xrevrange(_events_key(job_id), count=1))
        return newest[0][0] if newest else _FIRST_EVENT_ID

    def follow(self, job_id: str, *, from_start: bool = True, timeout: float | None = None) -> Iterator[JobEvent]:
        """Yield a job's events as they occur.

        The last event is the final state, or LOST if no worker has restarted the job for half of `lost_after`; follow
        the job once more to see whether one does.

        Args:
            job_id: the job's id.
            from_start: begin with the recorded events; False to begin with new ones.
            timeout: seconds after which to stop without a last event; None for no limit.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
        """
        for event in self.watch(job_id, after=None if from_start else "", timeout=timeout):
            if event is not None:
                yield event

    def watch(
        self, job_id: str, *, after: str | None = None, timeout: float | None = None
    ) -> Generator[JobEvent | None]:
        """Yield a job's events as they occur, and None after each second without one, so that the caller can poll.

        Args:
            job_id: the job's id.
            after: the event id to resume after; None for the first recorded event, empty for new events only.
            timeout: seconds after which to stop without a last event; None for no limit. The last event is the same
                as that of `follow`.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
        """
        until = None if timeout is None else time.monotonic() + timeout
        position = self.newest_event(job_id) if after == "" else after or _FIRST_EVENT_ID
        record = self.get(job_id)
        if after == "" and record.state.finished:
            yield JobEvent.from_record(record, event_id=position)
            return
        lost_since: float | None = None
        while True:
            wait = _FOLLOW_SECONDS if until is None else min(_FOLLOW_SECONDS, until - time.monotonic())
            if wait <= 0:
                return
            entries = self._entries_after(job_id, position, wait)
            for position, fields in entries:
                try:
                    event = JobEvent.from_entry(job_id, position, fields)
                except (KeyError, ValueError):  # damaged, or of a newer version
                    continue
                yield event
                if event.last:
                    return
            if entries:
                continue
            record = self.get(job_id)
            now = time.monotonic()
            lost_since = (lost_since or now) if record.state is JobState.LOST else None
            if record.state.finished or (lost_since and now - lost_since >= self._lost_after / 2):
                yield JobEvent.from_record(record, event_id=position)
                return
            yield None

    def _records(self, job_ids: Iterable[str]) -> Sequence[JobRecord]:
        ids = tuple(job_ids)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for job_id in ids:
                pipe.hgetall(_record_key(job_id))
            clock, *hashes = self._replies(pipe)
        return [
            self._record(job_id, fields, clock)
            for job_id, fields in zip(ids, hashes, strict=True)
            if fields is None or "state" in fields  # the record may have expired meanwhile
        ]

    def _replies(self, pipe: Pipeline) -> Sequence[Any]:
        """The replies to reads of keys; None for a key of another type, which must not hide the others."""
        with queue.errors_translated(self.address):
            return [None if _is_of_another_type(reply) else reply for reply in pipe.execute(raise_on_error=False)]

    def _record(self, job_id: str, fields: Mapping[str, str] | None, clock: tuple[int, int]) -> JobRecord:
        if fields is None:
            return JobRecord.unreadable(job_id)
        try:
            return JobRecord.from_hash(job_id, fields, now=_milliseconds(clock), lost_after=self._lost_after)
        except UnreadableRecord:  # it must not hide the others
            return JobRecord.unreadable(job_id)

    def _entries_after(self, job_id: str, position: str, seconds: float) -> Sequence[tuple[str, dict[str, str]]]:
        streams = cast(
            "list[tuple[str, list[tuple[str, dict[str, str]]]]]",
            self._redis.xread({_events_key(job_id): position}, block=max(1, int(seconds * 1000))),
        )
        return [entry for _, entries in streams for entry in entries]


class JobStore(JobReader):
    """Read and write side of the job store.

    All intervals derive from `lost_after`: heartbeats are six times as frequent, and a job without progress, worker
    or message is failed after twice that time.

    Args:
        redis_url: `redis://[:password@]host:port/db`.
        ttl: seconds until the record of a finished job expires.
        lost_after: seconds without a heartbeat after which a running job reads as lost.

    Raises:
        SettingsError: the URL is not valid. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str, *, ttl: int, lost_after: float = LOST_AFTER_SECONDS) -> None:
        super().__init__(redis_url, lost_after=lost_after)
        self._ttl = ttl
        self._keys = [_INDEX_KEY, _ENDING_KEY, OPEN_KEY, METRICS_KEY]
        script = self._redis.register_script
        self._create = script(scripts.CREATE)
        self._mark_sent = script(scripts.MARK_SENT)
        self._remove = script(scripts.REMOVE)
        self._start = script(scripts.START)
        self._progress = script(scripts.PROGRESS)
        self._heartbeat = script(scripts.HEARTBEAT)
        self._mark_lost = script(scripts.MARK_LOST)
        self._end_attempt = script(scripts.END_ATTEMPT)
        self._fail_orphaned = script(scripts.FAIL_ORPHANED)
        self._request_cancel = script(scripts.REQUEST_CANCEL)

    @property
    def heartbeat_seconds(self) -> float:
        """Seconds between two heartbeats of a running job."""
        return self._lost_after / 6

    @property
    def stuck_after(self) -> float:
        """Seconds without any activity after which the reaper handles an unfinished job or its message."""
        return self._lost_after * 2

    # Producer side

    def create(
        self,
        job_id: str,
        *,
        action: str,
        solution: str = "",
        domain: str = "",
        queue_name: str = "",
        deduplication_key: str = "",
        commands: Sequence[tuple[str, str, str]] = (),
        variant: str = "",
        request: Mapping[str, Any] | None = None,
    ) -> str:
        """Create the record of a job to enqueue, unless an unfinished job has the same deduplication key.

        Args:
            job_id: a unique id; the Celery task's id.
            action: the task's name without `fbs.`, e.g. `discover`.
            solution: the solution that the job is for, if any.
            domain: the domain that the job is for, if any.
            queue_name: the queue that the message is sent to.
            deduplication_key: see `fbs_worker.jobs.deduplication`; empty to always create a job.
            commands: Redis commands (name, key, content) that send the message, executed atomically with the
                creation of the record; empty if the caller sends the message and then calls `mark_sent`.
            variant: what kind of that action, e.g. `plan`; see `fbs_worker.jobs.model.variant_of`.
            request: the task's arguments, JSON-ready, without a plain secret; kept for a retry. None to keep none.

        Returns:
            The id of the active job: the new one, or the existing one with the same key.
        """
        milliseconds = (int(self._lost_after * 1000), int(self.stuck_after * 1000))
        flat = [part for command in commands for part in command]
        active_id = self._run_script(
            self._create,
            job_id,
            None,
            *(action, solution, domain, queue_name, deduplication_key),
            *milliseconds,
            *(variant, orjson.dumps(request or {}).decode()),
            *flat,
        )
        return cast("str", active_id)

    def mark_sent(self, job_id: str) -> None:
        """Record that the job's message was sent. A job never marked does not deduplicate, and fails in the end."""
        self._run_script(self._mark_sent, job_id, None)

    def remove(self, job_id: str) -> None:
        """Delete the record of a job that could not be enqueued."""
        self._run_script(self._remove, job_id, None)

    def request_cancel(self, job_id: str) -> JobState:
        """Request cancellation: a waiting or lost job is cancelled at once, a running one at its next step.

        Returns:
            The state after the request; a finished job keeps its state.

        Raises:
            JobNotFound: no job has that id.
        """
        state = self._run_script(self._request_cancel, job_id, None, int(self._lost_after * 1000))
        if state is None:
            raise _not_found(job_id)
        return JobState(state)

    # Worker side

    def start(
        self,
        job_id: str,
        *,
        action: str,
        solution: str = "",
        domain: str = "",
        queue_name: str = "",
        worker: str = "",
        process: int = 0,
        token: str = "",
        variant: str = "",
    ) -> Claim:
        """Claim a job for a new attempt. A job without a record (enqueued by another program) gets one.

        Args:
            job_id: the job's id.
            action: for a new record, as in `create`.
            solution: for a new record, as in `create`.
            domain: for a new record, as in `create`.
            queue_name: for a new record, as in `create`.
            worker: the name of the worker.
            process: the process id that runs the job.
            token: identifies this claim, so that a repeated call (its reply was lost) returns the same claim.
            variant: for a new record, as in `create`.

        Returns:
            The claim; run the job only if it is `granted`.
        """
        error = JobError(
            f"The job lost its worker {MAX_LOSSES} times and is not started again.",
            hint="Check the worker's log for what killed it (often: too little memory).",
        )
        state, attempt, waits, held_elsewhere, *earlier_step = self._run_script(
            self._start,
            job_id,
            None,
            *(action, solution, domain, queue_name),
            *(worker, process, token),
            *(int(self._lost_after * 1000), MAX_LOSSES),
            *(orjson.dumps(error.to_dict()).decode(), error.message, variant),
        )
        return Claim(
            state=JobState(state),
            attempt=attempt,
            waits=waits,
            held_elsewhere=bool(held_elsewhere),
            earlier_step=earlier_step[0] if earlier_step and attempt > 1 else None,
        )

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
    ) -> LeaseStatus:
        """Record the progress of a running job and emit an event; counts as a heartbeat.

        Args:
            job_id: the job's id.
            attempt: the number of the claimed attempt.
            kind: `step` for a new step, `progress` within one, or `message`.
            step: the step's name.
            current: the number of units done.
            total: the number of units of the step, if known.
            message: one line for a person.

        Returns:
            Whether the attempt may continue.
        """
        return LeaseStatus(
            self._run_script(
                self._progress, job_id, attempt, kind, step, current, "" if total is None else total, message
            )
        )

    def add_log_line(self, job_id: str, level: str, text: str) -> None:
        """Keep a line that was logged during a job, as long as a finished job's record.

        Args:
            job_id: the job's id.
            level: the level's name, e.g. `WARNING`.
            text: the line, without secrets.
        """
        key = _log_key(job_id)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(key, {"level": level, "text": text[:MAX_LOG_CHARS]}, maxlen=MAX_LOG_LINES, approximate=True)
            pipe.expire(key, self._ttl)
            pipe.execute()

    def heartbeat(self, job_id: str, attempt: int) -> LeaseStatus:
        """Renew the lease of a running job.

        Returns:
            Whether the attempt may continue.
        """
        return LeaseStatus(self._run_script(self._heartbeat, job_id, attempt))

    def cancel_requested(self, job_id: str) -> bool:
        """Return whether cancellation was requested, or the job is cancelled."""
        state, stop = cast("list[str | None]", self._redis.hmget(_record_key(job_id), "state", "stop"))
        return stop is not None or state == JobState.CANCELLED

    def mark_retrying(
        self, job_id: str, attempt: int, *, error: Mapping[str, Any], message: str, waits: bool = False
    ) -> JobState:
        """Record that an attempt failed and the job is going to be retried.

        Args:
            job_id: the job's id.
            attempt: the number of the attempt.
            error: `FBSError.to_dict()` of the failure.
            message: one line for a person: when the job is retried, and why.
            waits: the attempt only waited for a server to recover, and does not count as failed.

        Returns:
            The state afterwards: RETRYING, unless the job was cancelled or another attempt has claimed it.
        """
        return self._end(job_id, attempt, JobState.RETRYING, field="error", value=error, message=message, waits=waits)

    def mark_succeeded(
        self,
        job_id: str,
        attempt: int,
        result: Mapping[str, Any],
        *,
        rows: int = 0,
        fresh: Freshness = "",
        gauges: Mapping[str, float] | None = None,
    ) -> JobState:
        """Record that a job succeeded.

        Args:
            job_id: the job's id.
            attempt: the number of the attempt.
            result: JSON-ready.
            rows: the number of rows written, for the metrics.
            fresh: what the job says about the freshness of its solution, for the metrics.
            gauges: fields of `fbs:metrics` that it sets.

        Returns:
            The state afterwards: SUCCEEDED, unless another attempt has claimed the job.

        Raises:
            TypeError: the result is not JSON-ready.
        """
        return self._end(
            job_id,
            attempt,
            JobState.SUCCEEDED,
            field="result",
            value=result,
            message="",
            rows=rows,
            fresh=fresh,
            gauges=gauges,
        )

    def mark_failed(self, job_id: str, attempt: int | None, error: Mapping[str, Any]) -> JobState:
        """Record that a job failed and is not retried.

        Args:
            job_id: the job's id.
            attempt: the number of the attempt; None for the current one, if its process was killed.
            error: `FBSError.to_dict()` of the failure.

        Returns:
            The state afterwards: FAILED, unless another attempt has claimed the job.
        """
        message = str(error.get("message", ""))
        return self._end(job_id, attempt, JobState.FAILED, field="error", value=error, message=message)

    def mark_cancelled(self, job_id: str, attempt: int) -> JobState:
        """Record that a running job stopped on request.

        Returns:
            The state afterwards: CANCELLED, unless another attempt has claimed the job.
        """
        return self._end(job_id, attempt, JobState.CANCELLED, message="stopped on request")

    # Reaper side

    def mark_lost(self, job_id: str, *, worker: str, process: int) -> bool:
        """Mark a job as lost because its process died, without waiting for the heartbeat to expire.

        Args:
            job_id: the job's id.
            worker: the name of the worker.
            process: the id of the dead process.

        Returns:
            Whether that process ran the job.
        """
        return bool(self._run_script(self._mark_lost, job_id, None, worker, process))

    def fail_orphaned(self, record: JobRecord, error: Mapping[str, Any]) -> bool:
        """Fail a job that has neither a worker nor a message.

        Args:
            record: the job as it was read.
            error: `FBSError.to_dict()` of the reason.

        Returns:
            Whether the job was failed; False if it was active since.
        """
        silent = int(self.stuck_after * 1000)
        payload = orjson.dumps(error).decode()
        message = str(error.get("message", ""))
        return bool(self._run_script(self._fail_orphaned, record.id, None, silent, record.attempts, payload, message))

    def acquire_reaper_lease(self, seconds: float) -> bool:
        """Acquire the lease that makes one worker the reaper.

        Args:
            seconds: how long the lease lasts.

        Returns:
            Whether the caller holds it; False while another worker does.
        """
        return bool(self._redis.set(_REAPER_LEASE_KEY, "1", nx=True, px=max(1, int(seconds * 1000))))

    def _end(
        self,
        job_id: str,
        attempt: int | None,
        state: JobState,
        *,
        message: str,
        field: str = "",
        value: Mapping[str, Any] | None = None,
        waits: bool = False,
        rows: int = 0,
        fresh: Freshness = "",
        gauges: Mapping[str, float] | None = None,
    ) -> JobState:
        payload = orjson.dumps(value or {}).decode()
        arguments: list[str | float] = [str(state), field, payload, message, int(waits), rows, fresh]
        for name, number in (gauges or {}).items():
            arguments += [name, number]
        state_now = self._run_script(self._end_attempt, job_id, attempt, *arguments)
        if state_now is None:
            raise _not_found(job_id)
        return JobState(state_now)

    def count_rejected(self) -> None:
        """Count a message that a worker could not read, for the metrics."""
        self._redis.hincrby(METRICS_KEY, "rejected", 1)

    def _run_script(self, script: Any, job_id: str, attempt: int | None, *arguments: str | float) -> Any:
        fencing = "" if attempt is None else attempt
        return script(
            keys=[_record_key(job_id), _events_key(job_id), *self._keys],
            args=[job_id, self._ttl, fencing, *arguments],
        )


def _is_of_another_type(reply: object) -> bool:
    if isinstance(reply, ResponseError):
        if str(reply).startswith("WRONGTYPE"):
            return True
        raise reply
    return False


def _record_key(job_id: str) -> str:
    return f"fbs:job:{job_id}"


def _events_key(job_id: str) -> str:
    return f"fbs:job:{job_id}:events"


def _log_key(job_id: str) -> str:
    return f"fbs:job:{job_id}:log"


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound(
        f"There is no job {job_id!r}.", hint="`fbs jobs list` lists the jobs; records of finished jobs expire."
    )


def _milliseconds(clock: tuple[int, int]) -> int:
    return clock[0] * 1000 + clock[1] // 1000
