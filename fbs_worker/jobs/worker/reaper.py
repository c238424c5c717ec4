"""What a dead worker held is handed on within seconds, and a job that nobody will ever run says so.

Kombu keeps the messages that workers took and have not acknowledged in Redis, and hands one on once it is older than
the visibility timeout, an hour (`kombu.transport.redis.QoS`). The jobs' records know better: a job whose heartbeat is
old is lost now. So one worker at a time looks at what is held, every few seconds, and gives the messages of lost jobs
back as kombu itself does. Giving one back that its worker still holds does no harm: a job is run by one attempt at a
time, whatever is delivered. (A broker that is not Redis hands on by itself when a connection breaks.)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from redis.exceptions import RedisError

from fbs_worker.core.errors import FBSError, JobError
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.celery_compat.consumer import ConsumerStep, call_every, channel_of
from fbs_worker.jobs.celery_compat.redis_channel import (
    delivery_times,
    is_redis,
    queue_length,
    requeue,
    unacknowledged,
)
from fbs_worker.jobs.model import JobRecord, JobState
from fbs_worker.jobs.store import JobStore
from fbs_worker.jobs.worker.request import JOB_REQUEST

_log = logging.getLogger(__name__)

_AGAIN: Final = "Enqueue it again."
_NEVER_SENT: Final = JobError("The job was never sent: what enqueued it ended too early.", hint=_AGAIN)
_GONE: Final = JobError("The job's message is gone from the queue: nobody would ever run it.", hint=_AGAIN)

_WAITING: Final = frozenset({JobState.QUEUED, JobState.RETRYING, JobState.LOST})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnackedMessage:
    """A message that a worker took and has not acknowledged.

    Attributes:
        tag: its delivery tag.
        job_id: the job that it is of.
        taken_at: when it was taken, seconds since 1970, by the clock of the worker that did.
        due_at: the time before which the job is not to be run, if any; else 0.
    """

    tag: str
    job_id: str
    taken_at: float
    due_at: float = 0.0

    @classmethod
    def read(
        cls, tag: str, headers: Mapping[str, Any], *, taken_at: float, is_job: Callable[[str], bool]
    ) -> UnackedMessage | None:
        """An unacknowledged message; None where it is not a job's.

        Args:
            tag: its delivery tag.
            headers: its headers, as Celery's message protocol 2 names them.
            taken_at: see the attribute.
            is_job: whether the task of that name is a job.
        """
        if not is_job(headers.get("task", "")):
            return None
        eta = headers.get("eta")
        due_at = datetime.fromisoformat(eta).timestamp() if eta else 0.0
        return cls(tag=tag, job_id=headers["id"], taken_at=taken_at, due_at=due_at)

    def orphaned(self, state: JobState | None, *, now: float, at_once: float, stuck_after: float) -> bool:
        """Whether it should be given back: its job is not run, and its time has come.

        Args:
            state: the job's state; None where it has no record (yet).
            now: seconds since 1970.
            at_once: seconds after which the message of a lost job is given back; whoever has just taken it is
                given the time to take the job over.
            stuck_after: seconds after which that of any other job is.
        """
        waited = now - max(self.taken_at, self.due_at)
        return state is not JobState.RUNNING and waited > (at_once if state is JobState.LOST else stuck_after)


class Reaper:
    """Looks after jobs that no worker does anything about.

    Args:
        jobs: their records.
        channel: the worker's to its broker.
        queues: the names of the queues where jobs wait.
        is_job: whether the task of that name is a job.
    """

    def __init__(self, jobs: JobStore, channel: Any, *, queues: Sequence[str], is_job: Callable[[str], bool]) -> None:
        self._jobs = jobs
        self._channel = channel
        self._queues = queues
        self._is_job = is_job
        self._read: dict[str, UnackedMessage | None] = {}
        self._suspects: frozenset[tuple[str, int]] = frozenset()
        self._open_seen_at = 0.0

    @property
    def seconds(self) -> float:
        """How often to look: as often as a job gives a sign of life."""
        return self._jobs.heartbeat_seconds

    def look(self) -> None:
        """Look once, if it is this worker's turn. Two at once would do no harm: giving back is a transaction.

        Raises:
            QueueUnreachable: Redis does not answer.
        """
        if not self._jobs.acquire_reaper_lease(self.seconds * 0.8):
            return
        if is_redis(self._channel):
            # the queues first: what leaves one in the meantime is seen among what is held
            idle = self._empty(self._queues)
            held = self._held()
            self._give_back(held)
            if idle:
                self._find_orphans({message.job_id for message in held})
        elif time.monotonic() - self._open_seen_at > self._jobs.stuck_after:
            self._open_seen_at = time.monotonic()
            self._end([record for record in self._jobs.open() if _unsent(record)])

    def _give_back(self, held: Iterable[UnackedMessage]) -> None:
        held = tuple(held)
        states = self._jobs.states(message.job_id for message in held)
        now = time.time()
        for message in held:
            state = states.get(message.job_id)
            if message.orphaned(state, now=now, at_once=self.seconds, stuck_after=self._jobs.stuck_after):
                _log.warning("job %s: nobody works on it (%s); it is handed on", message.job_id, state or "new")
                requeue(self._channel, message.tag)

    def _find_orphans(self, held: set[str]) -> None:
        """End the jobs that wait for ever: the queues are empty and nobody holds their messages, twice in a row.

        A message may be on its way from a queue to its worker when it is looked for the first time.
        """
        lonely = [record for record in self._jobs.open() if record.state in _WAITING and record.id not in held]
        again = [record for record in lonely if (record.id, record.attempts) in self._suspects]
        self._end([record for record in again if self._empty([record.queue] if record.queue else [])])
        self._suspects = frozenset((record.id, record.attempts) for record in lonely)

    def _end(self, records: Iterable[JobRecord]) -> None:
        for record in records:
            error = _NEVER_SENT if _unsent(record) else _GONE
            if self._jobs.fail_orphaned(record, error.to_dict()):
                _log.warning("job %s: %s", record.id, error.message)

    def _held(self) -> list[UnackedMessage]:
        taken = delivery_times(self._channel)
        unknown = [tag for tag in taken if tag not in self._read]
        read = {tag: held for tag, held in self._read.items() if tag in taken}
        for tag, headers in unacknowledged(self._channel, unknown).items():
            read[tag] = UnackedMessage.read(tag, headers, taken_at=taken[tag], is_job=self._is_job)
        self._read = read
        found = ((held, taken[tag]) for tag, held in read.items() if held is not None)
        return [UnackedMessage(tag=h.tag, job_id=h.job_id, taken_at=at, due_at=h.due_at) for h, at in found]

    def _empty(self, queues: Iterable[str]) -> bool:
        return all(queue_length(self._channel, name) == 0 for name in queues)


class ReaperStep(ConsumerStep):
    """The keeper, as a part of each worker's main process."""

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._entry: Any = None
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        """The worker is connected and takes jobs; Celery calls it, again after each loss of the connection."""
        app = consumer.app
        if isinstance(app, FBSCelery):
            keeper = Reaper(
                app.jobs,
                channel_of(consumer),
                queues=tuple(app.amqp.queues),
                is_job=lambda name: _is_job(app.tasks, name),
            )
            self._entry = call_every(consumer, keeper.seconds, _quietly, keeper)

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 -- Celery's signature
        """The connection is lost, or the worker ends; Celery calls it."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None


def _quietly(keeper: Reaper) -> None:
    """Look; a Redis that is away is the worker's own concern, and it looks again soon."""
    try:
        keeper.look()
    except (FBSError, RedisError) as exc:
        _log.warning("What dead workers held could not be looked for: %s", exc)


def _is_job(tasks: Mapping[str, Any], name: str) -> bool:
    return name in tasks and tasks[name].Request == JOB_REQUEST


def _unsent(record: JobRecord) -> bool:
    return record.state is JobState.QUEUED and record.sent_at is None
