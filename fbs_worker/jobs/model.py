"""Job records, events, states and claims: value objects without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self, cast

import orjson

from fbs_worker.core.errors import JobError

SHORT_ID: Final = 8
"""Characters of an id that are shown, and that suffice to name a job on the command line."""

_MAX_VARIANT: Final = 100

EventKind = Literal["state", "step", "progress", "message"]


class JobState(StrEnum):
    """The state of a job.

    LOST is never stored: a running job reads as LOST while its heartbeat is too old, until a worker restarts it.
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
        """Whether the state is final."""
        return self in FINISHED


FINISHED: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

Freshness = Literal["", "checked", "changed", "dropped"]
"""What a finished job says of its solution: refreshed without a change, with changes, gone; empty: nothing."""

TABLE_STATUSES: Final = ("pending", "ok", "needs review", "failed", "stopped")
"""The statuses of a mirrored table (`replication.state.Status`), for the metrics."""

BUCKETS: Final = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
"""Upper bounds, in seconds, of the histogram buckets of waits and durations; one more bucket is unbounded."""


class UnreadableRecord(JobError):
    """A job's record in Redis is damaged, or written by a newer version."""

    code = "job_unreadable"

    @classmethod
    def of(cls, job_id: str) -> Self:
        """The error of the job with this id."""
        return cls(
            f"The record of the job {job_id!r} cannot be read: it is damaged, or written by a newer version.",
            hint="Use the version that wrote it, or wait until it expires.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as it was when it was read.

    Attributes:
        id: the job's id, which is also the Celery task's id.
        action: the task's name without `fbs.`, e.g. `discover`.
        solution: the solution that the job is for; empty if none.
        domain: the domain that the job is for; empty if none.
        state: the job's state.
        step: the current step, e.g. `fields`.
        current: the number of units of the step that are done.
        total: the number of units of the step, if known.
        message: one line for a person on the current activity.
        created_at: when the job was enqueued, UTC.
        started_at: when its first attempt began.
        finished_at: when the job finished.
        heartbeat_at: the last heartbeat.
        attempts: the number of attempts that have begun.
        result: the result of a job that succeeded.
        error: `FBSError.to_dict()` of the failure, while the job waits for a retry and once it has failed.
        queue: the name of the queue of its message.
        sent_at: when its message was sent.
        worker: the name of the worker of the last attempt; empty before the first.
        waited_seconds: time from creation to the first attempt.
        variant: what kind of the action: `plan`, `apply`, `undo`, `undo plan`, `full`, `dry run`, `verify`; of
            `sync_table` the model; empty: no other kind.
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
    variant: str = ""

    @property
    def percent(self) -> int | None:
        """Completion of the current step, 0 to 100; None if unknown."""
        if self.state is JobState.SUCCEEDED:
            return 100
        return percentage(self.current, self.total)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, with times as UTC in ISO 8601."""
        values = _json_ready(self)
        del values["sent_at"]
        return values

    @classmethod
    def from_hash(cls, job_id: str, fields: Mapping[str, str], *, now: int, lost_after: float) -> Self:
        """Parse the Redis hash of a job.

        Args:
            job_id: the job's id.
            fields: the fields of the hash.
            now: Redis's clock, in milliseconds since 1970.
            lost_after: seconds without a heartbeat after which a running job reads as lost.

        Raises:
            UnreadableRecord: a field is missing or not valid.
        """
        try:
            return cls._parse(job_id, fields, now=now, lost_after=lost_after)
        except (KeyError, OSError, OverflowError, TypeError, ValueError) as exc:
            raise UnreadableRecord.of(job_id) from exc

    @classmethod
    def unreadable(cls, job_id: str) -> Self:
        """The record of a job whose hash cannot be parsed: failed, with an error that says so."""
        error = UnreadableRecord.of(job_id)
        return cls(
            id=job_id,
            action="",
            solution="",
            domain="",
            state=JobState.FAILED,
            step="",
            current=0,
            total=None,
            message=error.message,
            created_at=timestamp(0),
            started_at=None,
            finished_at=None,
            heartbeat_at=None,
            attempts=0,
            result=None,
            error=error.to_dict(),
        )

    @classmethod
    def _parse(cls, job_id: str, fields: Mapping[str, str], *, now: int, lost_after: float) -> Self:
        waited = _number(fields.get("waited"))
        return cls(
            id=job_id,
            action=fields.get("action", ""),
            solution=fields.get("solution", ""),
            domain=fields.get("domain", ""),
            state=state_of(fields["state"], fields.get("heartbeat_at"), now=now, lost_after=lost_after),
            step=fields.get("step", ""),
            current=int(fields.get("current") or 0),
            total=_number(fields.get("total")),
            message=fields.get("message", ""),
            created_at=timestamp(int(fields["created_at"])),
            started_at=_timestamp(fields.get("started_at")),
            finished_at=_timestamp(fields.get("finished_at")),
            heartbeat_at=_timestamp(fields.get("heartbeat_at")),
            attempts=int(fields.get("attempts") or 0),
            result=_json(fields.get("result")),
            error=_json(fields.get("error")),
            queue=fields.get("queue", ""),
            sent_at=_timestamp(fields.get("sent_at")),
            worker=fields.get("worker", ""),
            waited_seconds=None if waited is None else waited / 1000,
            variant=fields.get("variant", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """An event of a job, with the job's state and progress right after it.

    Attributes:
        id: the id in the Redis stream; ids of one job increase.
        job_id: the job's id.
        kind: a new state, a new step, progress within a step, or a message.
        state: the job's state.
        step: the job's step.
        current: the number of units of the step that were done.
        total: the number of units of the step, if known.
        message: one line for a person.
        at: when the event occurred, UTC.
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
        """Completion of the step, 0 to 100; None if unknown."""
        return percentage(self.current, self.total)

    @property
    def last(self) -> bool:
        """Whether it is the last event for now: the job has finished, or is lost."""
        return self.state.finished or self.state is JobState.LOST

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, with the time as UTC in ISO 8601."""
        return _json_ready(self)

    @classmethod
    def from_entry(cls, job_id: str, entry_id: str, fields: Mapping[str, str]) -> Self:
        """Parse an entry of a job's stream; its id begins with Redis's clock in milliseconds."""
        return cls(
            id=entry_id,
            job_id=job_id,
            kind=cast("EventKind", fields["kind"]),
            state=JobState(fields["state"]),
            step=fields.get("step", ""),
            current=int(fields.get("current") or 0),
            total=_number(fields.get("total")),
            message=fields.get("message", ""),
            at=timestamp(int(entry_id.partition("-")[0])),
        )

    @classmethod
    def from_record(cls, record: JobRecord, *, event_id: str) -> Self:
        """Build a state event from a record, for a state that the stream does not contain."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of a job's log.

    Attributes:
        at: when, UTC.
        level: of a logged line its level, e.g. `WARNING`; of an event its kind: `state`, `step` or `message`.
        text: one or more lines of text, without secrets.
    """

    at: datetime
    level: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, with the time as UTC in ISO 8601."""
        return {"at": self.at.isoformat(timespec="milliseconds"), "level": self.level, "text": self.text}

    @classmethod
    def from_entry(cls, entry_id: str, fields: Mapping[str, str]) -> Self | None:
        """Parse an entry of a job's log or events; None for progress within a step."""
        at = timestamp(int(entry_id.partition("-")[0]))
        if "text" in fields:
            return cls(at=at, level=fields.get("level", ""), text=fields["text"])
        match fields.get("kind"):
            case "state":
                parts = (fields.get("state", ""), fields.get("message", ""))
            case "step":
                total = fields.get("total")
                parts = (f"{fields.get('step', '')}{f' ({total})' if total else ''}", fields.get("message", ""))
            case "message":
                parts = (fields.get("message", ""), "")
            case _:
                return None
        return cls(at=at, level=fields["kind"], text=": ".join(filter(None, parts)))


class LeaseStatus(StrEnum):
    """Whether an attempt still owns its job.

    OURS: it does. STOP: it does, and cancellation is requested. STALE: another attempt has claimed the job, or the job
    has finished.
    """

    OURS = "ours"
    STOP = "stop"
    STALE = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The reply to a worker that starts a job.

    Attributes:
        state: RUNNING, or the final state of a job that has finished.
        attempt: the number of this attempt, from 1; the fencing token of its later calls.
        waits: the number of earlier attempts that only waited for a server to recover.
        held_elsewhere: another attempt holds a valid lease.
        earlier_step: the last step that an earlier attempt reported, empty if none; None for the first attempt.
    """

    state: JobState
    attempt: int
    waits: int = 0
    held_elsewhere: bool = False
    earlier_step: str | None = None

    @property
    def granted(self) -> bool:
        """Whether the caller is to run the job."""
        return self.state is JobState.RUNNING and not self.held_elsewhere


def variant_of(action: str, arguments: Mapping[str, Any]) -> str:
    """Which kind of an action a task's arguments ask for; empty where there is only one.

    Args:
        action: e.g. `migrate`.
        arguments: the task's keyword arguments.
    """
    match action:
        case "migrate":
            kinds = ("undo", "undo plan") if arguments.get("undo") else ("apply", "plan")
            return kinds[bool(arguments.get("plan_only"))]
        case "drop" if arguments.get("dry_run"):
            return "dry run"
        case "discover" | "refresh" if arguments.get("full"):
            return "full"
        case "sync":
            return " ".join(kind for kind in ("full", "verify") if arguments.get(kind))
        case "sync_table":
            return str(arguments.get("model") or "")[:_MAX_VARIANT]
    return ""


def state_of(stored: str, heartbeat_at: str | None, *, now: int, lost_after: float) -> JobState:
    """Return the state that a job reads as.

    Args:
        stored: the state in the record.
        heartbeat_at: the last heartbeat in the record, in milliseconds since 1970.
        now: Redis's clock, in milliseconds since 1970.
        lost_after: seconds without a heartbeat after which a running job reads as lost.
    """
    state = JobState(stored)
    if state is JobState.RUNNING and now - int(heartbeat_at or 0) > lost_after * 1000:
        return JobState.LOST
    return state


def percentage(current: int, total: int | None) -> int | None:
    """Return the percentage, rounded down, at most 100; None without a total."""
    return min(100, 100 * current // total) if total else None


def timestamp(milliseconds: int) -> datetime:
    """Convert a time of Redis's clock."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _timestamp(value: str | None) -> datetime | None:
    return timestamp(int(value)) if value and value != "0" else None  # 0: set by mark_lost


def _number(value: str | None) -> int | None:
    return int(value) if value else None


def _json(value: str | None) -> dict[str, Any] | None:
    content = orjson.loads(value) if value else None
    if not isinstance(content, dict | None):
        raise TypeError("It is no JSON object.")
    return content


def _json_ready(report: JobRecord | JobEvent) -> dict[str, Any]:
    """The fields by their names, and the percentage after the total."""
    values: dict[str, Any] = {}
    for name in report.__slots__:
        value = getattr(report, name)
        values[name] = value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value
        if name == "total":
            values["percent"] = report.percent
    values["state"] = str(report.state)
    return values
