"""What a job's record and its events are: plain values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self, cast

import orjson

EventKind = Literal["state", "step", "progress", "message"]


class JobState(StrEnum):
    """Where a job stands.

    LOST is never stored: a running job whose heartbeat is old reads so, until a worker takes it up again.
    """

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def finished(self) -> bool:
        """It will not change any more."""
        return self in FINISHED


FINISHED: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

BUCKETS: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
"""Upper bounds, in seconds, of the buckets in which waits and durations of jobs are counted; one more has no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job, as it was when it was read.

    Attributes:
        id: the job's id, the Celery task's too.
        action: what it does: the task's name without `fbs.`, e.g. `discover`.
        solution: the solution that it is for; empty if none.
        domain: the domain that it is for; empty if none.
        state: where it stands.
        step: the step that it is in, e.g. `fields`.
        current: how many units of that step are done.
        total: how many units the step has, if known.
        message: one line for a person on what happens now.
        created_at: when it was enqueued, UTC.
        started_at: when a worker first took it up.
        finished_at: when it ended.
        heartbeat_at: when the worker last gave a sign of life.
        attempts: how often a worker took it up.
        result: what it yielded, once it has succeeded.
        error: `FBSError.to_dict()` of what went wrong, while it waits for a retry and once it has failed.
        queue: the name of the queue where it waits, or waited.
        sent_at: when its message was sent.
        worker: the name of the worker that runs it, or ran it last; empty before that.
        waited_seconds: how long it was queued before a worker first took it up.
    """

    id: str
    action: str
    solution: str
    domain: str
    state: JobState
    step: str
    current: int
    total: int | None
    message: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    heartbeat_at: datetime | None
    attempts: int
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    queue: str = ""
    sent_at: datetime | None = None
    worker: str = ""
    waited_seconds: float | None = None

    @property
    def percent(self) -> int | None:
        """How much of the current step is done, 0 to 100; None where that is not known."""
        if self.state is JobState.SUCCEEDED:
            return 100
        return percentage(self.current, self.total)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; times as UTC in ISO 8601."""
        return {
            "id": self.id,
            "action": self.action,
            "solution": self.solution,
            "domain": self.domain,
            "state": str(self.state),
            "step": self.step,
            "current": self.current,
            "total": self.total,
            "percent": self.percent,
            "message": self.message,
            "created_at": _iso(self.created_at),
            "started_at": _iso(self.started_at),
            "finished_at": _iso(self.finished_at),
            "heartbeat_at": _iso(self.heartbeat_at),
            "attempts": self.attempts,
            "queue": self.queue,
            "worker": self.worker,
            "waited_seconds": self.waited_seconds,
            "result": self.result,
            "error": self.error,
        }

    @classmethod
    def from_hash(cls, job_id: str, kept: Mapping[str, str], *, now: int, lost_after: float) -> Self:
        """Read what the job scripts keep.

        Args:
            job_id: the job's id.
            kept: the fields of the Redis hash.
            now: Redis's clock, milliseconds since 1970.
            lost_after: seconds without a heartbeat after which a running job reads as lost.
        """
        waited = _number(kept.get("waited"))
        return cls(
            id=job_id,
            action=kept.get("action", ""),
            solution=kept.get("solution", ""),
            domain=kept.get("domain", ""),
            state=state_of(kept["state"], kept.get("heartbeat_at"), now=now, lost_after=lost_after),
            step=kept.get("step", ""),
            current=int(kept.get("current") or 0),
            total=_number(kept.get("total")),
            message=kept.get("message", ""),
            created_at=timestamp(int(kept["created_at"])),
            started_at=_timestamp(kept.get("started_at")),
            finished_at=_timestamp(kept.get("finished_at")),
            heartbeat_at=_timestamp(kept.get("heartbeat_at")),
            attempts=int(kept.get("attempts") or 0),
            result=_json(kept.get("result")),
            error=_json(kept.get("error")),
            queue=kept.get("queue", ""),
            sent_at=_timestamp(kept.get("sent_at")),
            worker=kept.get("worker", ""),
            waited_seconds=None if waited is None else waited / 1000,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """Something that happened to a job; state, step, current and total are those right after it.

    Attributes:
        id: the event's place in the stream; ids of one job grow.
        job_id: the job's id.
        kind: a new state, a new step, progress within a step, or words alone.
        state: where the job stood.
        step: the step that it was in.
        current: how many units of that step were done.
        total: how many units the step has, if known.
        message: one line for a person.
        at: when it happened, UTC.
    """

    id: str
    job_id: str
    kind: EventKind
    state: JobState
    step: str
    current: int
    total: int | None
    message: str
    at: datetime

    @property
    def percent(self) -> int | None:
        """How much of the step was done, 0 to 100; None where that is not known."""
        return percentage(self.current, self.total)

    @property
    def last(self) -> bool:
        """Nothing follows: the job has ended, or is lost."""
        return self.state.finished or self.state is JobState.LOST

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the time as UTC in ISO 8601."""
        return {
            "id": self.id,
            "job_id": self.job_id,
            "kind": self.kind,
            "state": str(self.state),
            "step": self.step,
            "current": self.current,
            "total": self.total,
            "percent": self.percent,
            "message": self.message,
            "at": _iso(self.at),
        }

    @classmethod
    def from_entry(cls, job_id: str, entry_id: str, kept: Mapping[str, str]) -> Self:
        """Read an entry of a job's stream; its id begins with Redis's clock in milliseconds."""
        return cls(
            id=entry_id,
            job_id=job_id,
            kind=cast("EventKind", kept["kind"]),
            state=JobState(kept["state"]),
            step=kept.get("step", ""),
            current=int(kept.get("current") or 0),
            total=_number(kept.get("total")),
            message=kept.get("message", ""),
            at=timestamp(int(entry_id.partition("-")[0])),
        )

    @classmethod
    def from_record(cls, record: JobRecord, *, event_id: str) -> Self:
        """The state of a record as an event, where the stream itself does not tell it."""
        return cls(
            id=event_id,
            job_id=record.id,
            kind="state",
            state=record.state,
            step=record.step,
            current=record.current,
            total=record.total,
            message=record.message,
            at=record.finished_at or record.heartbeat_at or record.created_at,
        )


class LeaseStatus(StrEnum):
    """What Redis says to the attempt that speaks for a job."""

    OURS = "ours"
    STOP = "stop"
    STALE = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The answer to a worker that wants to start a job.

    Attributes:
        state: RUNNING, or the state in which the job has ended already.
        attempt: the number of this attempt, from 1.
        waits: how many attempts before it only waited for a server to recover.
        held_elsewhere: another attempt holds a valid lease.
    """

    state: JobState
    attempt: int
    waits: int = 0
    held_elsewhere: bool = False

    @property
    def granted(self) -> bool:
        """The job is the caller's to run."""
        return self.state is JobState.RUNNING and not self.held_elsewhere


def state_of(kept: str, heartbeat_at: str | None, *, now: int, lost_after: float) -> JobState:
    """The state that a job reads as.

    Args:
        kept: the state in its record.
        heartbeat_at: the time of its last sign of life there.
        now: Redis's clock, milliseconds since 1970, as that is.
        lost_after: seconds without a sign of life after which a running job reads as lost.
    """
    state = JobState(kept)
    if state is JobState.RUNNING and now - int(heartbeat_at or 0) > lost_after * 1000:
        return JobState.LOST
    return state


def percentage(current: int, total: int | None) -> int | None:
    """Percent, rounded down, at most 100; None without a total."""
    return min(100, 100 * current // total) if total else None


def timestamp(milliseconds: int) -> datetime:
    """A time of Redis's clock."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _timestamp(kept: str | None) -> datetime | None:
    return timestamp(int(kept)) if kept and kept != "0" else None  # 0: known to be gone


def _number(kept: str | None) -> int | None:
    return int(kept) if kept else None


def _json(kept: str | None) -> dict[str, Any] | None:
    return orjson.loads(kept) if kept else None


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="milliseconds") if time else None
