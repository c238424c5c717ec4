"""The records of jobs in Redis: their states, their progress, their events, and the wish to stop them.

Beside what `JobReader` looks at:

    fbs:jobs:ending       a sorted set: the ids of finished jobs by the time at which their record goes
    fbs:same:<hash>       a string: the id of the job that has not ended and stands for all that ask for the same
    fbs:metrics           a hash: what was counted (see `fbs_worker.ops.metrics`)

A finished job's record is kept for a time and then goes by itself; one that waits or runs stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import orjson

from fbs_worker.core import redis as queue
from fbs_worker.core.errors import JobError
from fbs_worker.jobs import scripts
from fbs_worker.jobs.model import FINISHED, Claim, JobEvent, JobRecord, JobState, Standing
from fbs_worker.jobs.reader import FIGURES, INDEX, LOST_AFTER_SECONDS, OPEN, JobReader, events_key_of, key_of, not_found

__all__ = ["FIGURES", "FINISHED", "Claim", "JobEvent", "JobRecord", "JobState", "JobStore", "Standing"]

MOST_LOSSES: Final = 3
"""A job that lost its worker this often is not started again: it may be what kills the worker."""

_ENDING: Final = "fbs:jobs:ending"
_LOOKING: Final = "fbs:redelivery"


class JobStore(JobReader):
    """The records of jobs.

    Every length of time follows from when a job is lost: a sign of life comes six times as often, and what stands
    still without anybody working on it is looked after once it does so for twice as long.

    Args:
        redis_url: `redis://[:password@]host:port/db`.
        ttl: seconds that the record of a finished job is kept.
        lost_after: seconds without a heartbeat after which a running job reads as lost.

    Raises:
        SettingsError: the URL is not one. Every method raises QueueUnreachable when Redis does not answer.
    """

    def __init__(self, redis_url: str, *, ttl: int, lost_after: float = LOST_AFTER_SECONDS) -> None:
        super().__init__(redis_url, lost_after=lost_after)
        self._ttl = ttl
        self._keys = [INDEX, _ENDING, OPEN, FIGURES]
        script = self._redis.register_script
        self._create = script(scripts.CREATE)
        self._sent = script(scripts.SENT)
        self._remove = script(scripts.REMOVE)
        self._start = script(scripts.START)
        self._progress = script(scripts.PROGRESS)
        self._heartbeat = script(scripts.HEARTBEAT)
        self._lose = script(scripts.LOSE)
        self._leave = script(scripts.LEAVE)
        self._give_up = script(scripts.GIVE_UP)
        self._request_cancel = script(scripts.REQUEST_CANCEL)

    @property
    def heartbeat_seconds(self) -> float:
        """How often a worker gives a sign of life for a job."""
        return self._lost_after / 6

    @property
    def stuck_after(self) -> float:
        """Seconds after which what should have gone on, and did not, is looked after."""
        return self._lost_after * 2

    # ------------------------------------------------------------------------------------------- who enqueues

    def create(
        self,
        job_id: str,
        *,
        action: str,
        solution: str = "",
        domain: str = "",
        queue_name: str = "",
        same: str = "",
        sending: Sequence[tuple[str, str, str]] = (),
    ) -> str:
        """Make the record of a job that is about to be enqueued, unless the same one waits or runs already.

        Args:
            job_id: an id that no other job has; the Celery task's id.
            action: what it does, e.g. `discover`.
            solution: the solution that it is for, if any.
            domain: the domain that it is for, if any.
            queue_name: the queue where it is going to wait.
            same: what all jobs have in common that ask for the same; see `identity`. Empty: like no other.
            sending: Redis's commands (name, key, content) that send its message, done together with the record or
                not at all; nothing if the caller sends it and then says so by `sent`.

        Returns:
            The id of the job that does it: this one's, or that of the same one.
        """
        milliseconds = (int(self._lost_after * 1000), int(self.stuck_after * 1000))
        commands = [part for command in sending for part in command]
        answer = self._run(
            self._create, job_id, None, action, solution, domain, queue_name, same, *milliseconds, *commands
        )
        return cast("str", answer)

    def sent(self, job_id: str) -> None:
        """The message of a job has been sent. One that is never sent stands for no other, and has failed in the end."""
        self._run(self._sent, job_id, None)

    def remove(self, job_id: str) -> None:
        """Take back the record of a job that could not be enqueued."""
        self._run(self._remove, job_id, None)

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
            raise not_found(job_id)
        return JobState(state)

    # -------------------------------------------------------------------------------------------- who does the work

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
    ) -> Claim:
        """Take a job up. One that has no record yet (enqueued by another program) gets it now.

        Args:
            job_id: the job's id.
            action: see `create`, and the same for the others.
            solution: see `create`.
            domain: see `create`.
            queue_name: see `create`.
            worker: the name of the worker that asks.
            process: the number of the process that would run it.
            token: this claim's own, the same when it is asked again because the answer was lost.

        Returns:
            A claim; unless it is `ours`, do not run the job.
        """
        error = JobError(
            f"The job lost its worker {MOST_LOSSES} times and is not started again.",
            hint="Look into the worker's log for what killed it (often: too little memory).",
        )
        state, attempt, waits, held = self._run(
            self._start,
            job_id,
            None,
            *(action, solution, domain, queue_name),
            *(worker, process, token),
            *(int(self._lost_after * 1000), MOST_LOSSES),
            *(orjson.dumps(error.to_dict()).decode(), error.message),
        )
        return Claim(state=JobState(state), attempt=attempt, waits=waits, held=bool(held))

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
            state, stop = cast("list[str | None]", self._redis.hmget(key_of(job_id), "state", "stop"))
        return stop is not None or state == JobState.CANCELLED

    def retrying(
        self, job_id: str, attempt: int, *, error: Mapping[str, Any], message: str, waits: bool = False
    ) -> JobState:
        """A running job failed and is going to be run again.

        Args:
            job_id: the job's id.
            attempt: the claim's number.
            error: `FBSError.to_dict()` of what went wrong.
            message: one line for a person: when it is run again, and why.
            waits: it only waits for a server to recover; the attempt is not counted as one that failed.

        Returns:
            The state that the job is in now: RETRYING, unless someone asked it to stop or another attempt took over.
        """
        return self._left(job_id, attempt, JobState.RETRYING, field="error", value=error, message=message, waits=waits)

    def succeed(self, job_id: str, attempt: int, result: Mapping[str, Any], *, rows: int = 0) -> JobState:
        """A running job has done its work.

        Args:
            job_id: the job's id.
            attempt: the claim's number.
            result: JSON-ready.
            rows: how many rows it wrote, for the figures.

        Returns:
            The state that the job is in now: SUCCEEDED, unless another attempt has taken over.

        Raises:
            TypeError: the result is not JSON-ready.
        """
        return self._left(job_id, attempt, JobState.SUCCEEDED, field="result", value=result, message="", rows=rows)

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

    # ----------------------------------------------------------------------------------------- who looks after them

    def lose(self, job_id: str, *, worker: str, process: int) -> bool:
        """The process that ran a job is dead: the job is lost from now on, no heartbeat needs to be waited for.

        Args:
            job_id: the job's id.
            worker: the name of the worker.
            process: the number of its process.

        Returns:
            Whether it was that process that ran it.
        """
        return bool(self._run(self._lose, job_id, None, worker, process))

    def give_up(self, record: JobRecord, error: Mapping[str, Any]) -> bool:
        """A job that nobody works on, and whose message nobody holds, has failed.

        Args:
            record: the job, as it was seen.
            error: `FBSError.to_dict()` of what went wrong.

        Returns:
            Whether it has; not if it has been heard of since.
        """
        silent = int(self.stuck_after * 1000)
        told = orjson.dumps(error).decode()
        message = str(error.get("message", ""))
        return bool(self._run(self._give_up, record.id, None, silent, record.attempts, told, message))

    def turn_to_look(self, seconds: float) -> bool:
        """Whether it is the caller's turn to look after all jobs: one of all workers has it within that many seconds.

        Args:
            seconds: how long the turn lasts.
        """
        with queue.errors_of(self._address):
            return bool(self._redis.set(_LOOKING, "1", nx=True, px=max(1, int(seconds * 1000))))

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
        waits: bool = False,
        rows: int = 0,
    ) -> JobState:
        kept = orjson.dumps(value or {}).decode()
        now_in = self._run(self._leave, job_id, attempt, str(state), field, kept, message, int(waits), rows)
        if now_in is None:
            raise not_found(job_id)
        return JobState(now_in)

    def _run(self, script: Any, job_id: str, attempt: int | None, *arguments: str | int) -> Any:
        spoken = "" if attempt is None else attempt
        with queue.errors_of(self._address):
            return script(
                keys=[key_of(job_id), events_key_of(job_id), *self._keys], args=[job_id, self._ttl, spoken, *arguments]
            )
