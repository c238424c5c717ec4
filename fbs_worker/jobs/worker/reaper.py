"""Reaper: requeue messages held by dead workers within seconds, and fail jobs whose message is lost.

kombu keeps unacknowledged messages in Redis and redelivers one after the visibility timeout, by default an hour. The
job store detects a dead worker much earlier, by the job's heartbeat. So one worker at a time, elected by a lease,
compares the unacknowledged messages with the job states every few seconds and requeues those of lost jobs, as kombu
does. Requeueing a message that its worker still holds is harmless: only one attempt of a job runs, however often its
message is delivered. RabbitMQ redelivers by itself when a connection breaks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from fbs_worker.core.errors import JobError
from fbs_worker.jobs.celery_compat.redis_channel import (
    delivery_times,
    is_redis,
    queue_length,
    requeue,
    unacknowledged,
)
from fbs_worker.jobs.model import JobRecord, JobState
from fbs_worker.jobs.store import JobStore

_log = logging.getLogger(__name__)

_ENQUEUE_AGAIN: Final = "Enqueue it again."
_NEVER_SENT: Final = JobError("The job's message was never sent: the producer ended too early.", hint=_ENQUEUE_AGAIN)
_MESSAGE_LOST: Final = JobError("The job's message is lost: it is in no queue and with no worker.", hint=_ENQUEUE_AGAIN)

_WAITING: Final = frozenset({JobState.QUEUED, JobState.RETRYING, JobState.LOST})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnackedMessage:
    """A message that was delivered to a worker and is not acknowledged.

    Attributes:
        tag: the delivery tag.
        job_id: the job's id.
        delivered_at: the delivery time in seconds since 1970, by the worker's clock.
        due_at: the message's ETA in seconds since 1970; 0 if it has none.
    """

    tag: str
    job_id: str
    delivered_at: float
    due_at: float = 0.0

    @classmethod
    def parse(
        cls, tag: str, headers: Mapping[str, Any], *, delivered_at: float, is_job: Callable[[str], bool]
    ) -> UnackedMessage | None:
        """Parse the headers of a message (Celery's message protocol 2); None if it is not a job's.

        Args:
            tag: the delivery tag.
            headers: the headers.
            delivered_at: the delivery time in seconds since 1970.
            is_job: whether a task is a job, by its name.
        """
        if not is_job(headers.get("task", "")):
            return None
        eta = headers.get("eta")
        due_at = datetime.fromisoformat(eta).timestamp() if eta else 0.0
        return cls(tag=tag, job_id=headers["id"], delivered_at=delivered_at, due_at=due_at)

    def orphaned(self, state: JobState | None, *, now: float, grace: float, stuck_after: float) -> bool:
        """Return whether the message is to be requeued: its job does not run, and its time-out is over.

        Args:
            state: the job's state; None if it has no record (yet).
            now: seconds since 1970.
            grace: time-out in seconds for the message of a lost job, so that a worker that has just received it can
                claim the job.
            stuck_after: time-out in seconds for other messages.
        """
        waited = now - max(self.delivered_at, self.due_at)
        return state is not JobState.RUNNING and waited > (grace if state is JobState.LOST else stuck_after)


class Reaper:
    """Requeues orphaned messages and fails orphaned jobs.

    Args:
        jobs: the job store.
        channel: the worker's channel to its broker.
        queues: the names of the job queues.
        is_job: whether a task is a job, by its name.
    """

    def __init__(self, jobs: JobStore, channel: Any, *, queues: Sequence[str], is_job: Callable[[str], bool]) -> None:
        self._jobs = jobs
        self._channel = channel
        self._queues = queues
        self._is_job = is_job
        self._parsed: dict[str, UnackedMessage | None] = {}
        self._suspects: frozenset[tuple[str, int]] = frozenset()
        self._last_unsent_scan = 0.0

    @property
    def interval(self) -> float:
        """Seconds between two scans: the interval of the heartbeats."""
        return self._jobs.heartbeat_seconds

    def scan(self) -> None:
        """Scan once, if this worker acquires the lease. Concurrent scans are harmless: requeueing is transactional.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        if not self._jobs.acquire_reaper_lease(self.interval * 0.8):
            return
        if is_redis(self._channel):
            # queues before messages: a message delivered in between then shows among the unacknowledged ones
            idle = self._all_empty(self._queues)
            messages = self._unacked_messages()
            self._requeue_orphaned(messages)
            if idle:
                self._fail_jobs_without_message({message.job_id for message in messages})
        elif time.monotonic() - self._last_unsent_scan > self._jobs.stuck_after:
            self._last_unsent_scan = time.monotonic()
            self._fail([record for record in self._jobs.open() if _unsent(record)])

    def _requeue_orphaned(self, messages: Sequence[UnackedMessage]) -> None:
        states = self._jobs.states(message.job_id for message in messages)
        now = time.time()
        for message in messages:
            state = states.get(message.job_id)
            if message.orphaned(state, now=now, grace=self.interval, stuck_after=self._jobs.stuck_after):
                _log.warning("job %s: no worker runs it (%s); its message is requeued", message.job_id, state or "new")
                requeue(self._channel, message.tag)

    def _fail_jobs_without_message(self, with_message: set[str]) -> None:
        """Fail waiting jobs that have no message in two consecutive scans of empty queues.

        In a single scan a message may be on its way from the queue to the worker.
        """
        orphans = [record for record in self._jobs.open() if record.state in _WAITING and record.id not in with_message]
        confirmed = [record for record in orphans if (record.id, record.attempts) in self._suspects]
        self._fail([record for record in confirmed if self._all_empty([record.queue] if record.queue else [])])
        self._suspects = frozenset((record.id, record.attempts) for record in orphans)

    def _fail(self, records: Iterable[JobRecord]) -> None:
        for record in records:
            error = _NEVER_SENT if _unsent(record) else _MESSAGE_LOST
            if self._jobs.fail_orphaned(record, error.to_dict()):
                _log.warning("job %s: %s", record.id, error.message)

    def _unacked_messages(self) -> list[UnackedMessage]:
        delivered = delivery_times(self._channel)
        new = [tag for tag in delivered if tag not in self._parsed]
        parsed = {tag: message for tag, message in self._parsed.items() if tag in delivered}
        for tag, headers in unacknowledged(self._channel, new).items():
            parsed[tag] = UnackedMessage.parse(tag, headers, delivered_at=delivered[tag], is_job=self._is_job)
        self._parsed = parsed
        # a redelivered message keeps its tag and has a new delivery time
        return [replace(message, delivered_at=delivered[tag]) for tag, message in parsed.items() if message is not None]

    def _all_empty(self, queues: Iterable[str]) -> bool:
        return all(queue_length(self._channel, name) == 0 for name in queues)


def _unsent(record: JobRecord) -> bool:
    return record.state is JobState.QUEUED and record.sent_at is None
