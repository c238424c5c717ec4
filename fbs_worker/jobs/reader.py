"""Who looks on: the records of jobs and their events, read from Redis and never changed.

fbs:job:<id>          a hash: the record
fbs:job:<id>:events   a stream: what happened, at most about 1,000 entries
fbs:jobs              a sorted set: the ids by the time of their creation
fbs:jobs:open         a set: the ids of jobs that have not ended
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Final, Self, cast

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import JobNotFound
from fbs_worker.jobs.model import JobEvent, JobRecord, JobState, state_of

LOST_AFTER_SECONDS: Final = 30.0
"""A running job without a sign of life for this long reads as lost."""

INDEX: Final = "fbs:jobs"
OPEN: Final = "fbs:jobs:open"
FIGURES: Final = "fbs:metrics"

_LIST_CHUNK: Final = 100
_FOLLOW_SECONDS: Final = 1.0


class JobReader:
    """The records of jobs, to look at.

    Args:
        redis_url: `redis://[:password@]host:port/db`.
        lost_after: seconds without a heartbeat after which a running job reads as lost.

    Raises:
        SettingsError: the URL is not one. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str, *, lost_after: float = LOST_AFTER_SECONDS) -> None:
        self._redis = queue.connect(redis_url)
        self._address = queue.address(redis_url)
        self._lost_after = lost_after

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back. It may be used again afterwards."""
        self._redis.close()

    @property
    def lost_after(self) -> float:
        """Seconds without a heartbeat after which a running job reads as lost."""
        return self._lost_after

    @property
    def address(self) -> str:
        """`host:port` of its Redis."""
        return self._address

    def ping(self) -> None:
        """See whether Redis answers.

        Raises:
            QueueUnreachable: it does not.
        """
        with queue.errors_of(self._address):
            self._redis.ping()

    def get(self, job_id: str) -> JobRecord:
        """The job of that id.

        Raises:
            JobNotFound: there is none, or its record has expired.
        """
        with queue.errors_of(self._address), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(key_of(job_id))
            clock, kept = pipe.execute()
        if "state" not in kept:
            raise not_found(job_id)
        return self._record(job_id, kept, clock)

    def changes(self) -> str:
        """A mark that is another one whenever a job has come into another state. Becoming lost with time is none."""
        with queue.errors_of(self._address):
            return cast("str | None", self._redis.hget(FIGURES, "changes")) or ""

    def list(
        self, limit: int = 50, state: JobState | None = None, *, solution: str = "", action: str = ""
    ) -> Sequence[JobRecord]:
        """Jobs, the newest first.

        Args:
            limit: at most so many.
            state: only those that are in this state.
            solution: only those that are for this solution; empty for all.
            action: only those that do this, e.g. `refresh`; empty for all.
        """
        found: list[JobRecord] = []
        offset = 0
        while len(found) < limit:
            with queue.errors_of(self._address):
                ids = cast("list[str]", self._redis.zrevrange(INDEX, offset, offset + _LIST_CHUNK - 1))
            found += [
                record
                for record in self._records(ids)
                if (state is None or record.state is state)
                and solution in {"", record.solution}
                and action in {"", record.action}
            ]
            if len(ids) < _LIST_CHUNK:
                break
            offset += _LIST_CHUNK
        return found[:limit]

    def open(self) -> Sequence[JobRecord]:
        """The jobs that have not ended, in no order."""
        with queue.errors_of(self._address):
            ids = cast("set[str]", self._redis.smembers(OPEN))
        return self._records(ids)

    def states(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """The states of jobs, cheaply; those without a record are left out.

        Args:
            job_ids: which.
        """
        ids = tuple(dict.fromkeys(job_ids))
        with queue.errors_of(self._address), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for job_id in ids:
                pipe.hmget(key_of(job_id), "state", "heartbeat_at")
            clock, *kept = pipe.execute()
        return {
            job_id: state_of(state, heartbeat_at, now=_milliseconds(clock), lost_after=self._lost_after)
            for job_id, (state, heartbeat_at) in zip(ids, kept, strict=True)
            if state is not None
        }

    def newest_event(self, job_id: str) -> str:
        """The id of a job's newest event; `0-0` where none is kept."""
        with queue.errors_of(self._address):
            newest = cast("list[tuple[str, object]]", self._redis.xrevrange(events_key_of(job_id), count=1))
        return newest[0][0] if newest else "0-0"

    def follow(self, job_id: str, *, from_start: bool = True, timeout: float | None = None) -> Iterator[JobEvent]:
        """The events of a job as they come.

        The last event is the job's final state, or that it is lost and no other worker has taken it up for a while;
        follow it again then to see whether one does.

        Args:
            job_id: the job's id.
            from_start: begin with what is kept of the past; else with what happens from now on.
            timeout: seconds after which to stop without a last event; None to follow for as long as it takes.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
        """
        for event in self.watch(job_id, after=None if from_start else "", timeout=timeout):
            if event is not None:
                yield event

    def watch(
        self, job_id: str, *, after: str | None = None, timeout: float | None = None
    ) -> Generator[JobEvent | None]:
        """The events of a job as they come, and None for each second without one: the caller can look around then.

        Args:
            job_id: the job's id.
            after: begin with what happened after the event of this id; None for the first of those that are kept,
                empty for what happens from now on.
            timeout: as for `follow`, whose last event this one has, too.

        Raises:
            JobNotFound: no job has that id, or its record has expired.
        """
        until = None if timeout is None else time.monotonic() + timeout
        place = self.newest_event(job_id) if after == "" else after or "0-0"
        record = self.get(job_id)
        if after == "" and record.state.finished:
            yield JobEvent.from_record(record, event_id=place)
            return
        lost_since: float | None = None
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
            if fresh:
                continue
            record = self.get(job_id)
            now = time.monotonic()
            lost_since = (lost_since or now) if record.state is JobState.LOST else None
            if record.state.finished or (lost_since and now - lost_since >= self._lost_after / 2):
                yield JobEvent.from_record(record, event_id=place)
                return
            yield None

    # --------------------------------------------------------------------------------------------------- innards

    def _records(self, job_ids: Iterable[str]) -> Sequence[JobRecord]:
        ids = tuple(job_ids)
        with queue.errors_of(self._address), self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for job_id in ids:
                pipe.hgetall(key_of(job_id))
            clock, *hashes = pipe.execute()
        return [
            self._record(job_id, kept, clock)
            for job_id, kept in zip(ids, hashes, strict=True)
            if "state" in kept  # it may have expired since
        ]

    def _record(self, job_id: str, kept: Mapping[str, str], clock: tuple[int, int]) -> JobRecord:
        return JobRecord.from_hash(job_id, kept, now=_milliseconds(clock), lost_after=self._lost_after)

    def _events_after(self, job_id: str, place: str, seconds: float) -> Sequence[JobEvent]:
        with queue.errors_of(self._address):
            answer = cast(
                "list[tuple[str, list[tuple[str, dict[str, str]]]]]",
                self._redis.xread({events_key_of(job_id): place}, block=max(1, int(seconds * 1000))),
            )
        return [JobEvent.from_entry(job_id, entry_id, kept) for _, entries in answer for entry_id, kept in entries]


def key_of(job_id: str) -> str:
    """The key of a job's record."""
    return f"fbs:job:{job_id}"


def events_key_of(job_id: str) -> str:
    """The key of a job's stream of events."""
    return f"fbs:job:{job_id}:events"


def not_found(job_id: str) -> JobNotFound:
    """What is said when no job has that id."""
    return JobNotFound(
        f"There is no job {job_id!r}.", hint="`fbs jobs list` shows the jobs; the records of finished ones expire."
    )


def _milliseconds(clock: tuple[int, int]) -> int:
    return clock[0] * 1000 + clock[1] // 1000
