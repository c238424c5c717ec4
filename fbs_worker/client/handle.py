"""Handle of an enqueued job: status, events, result and cancellation. Importing it is cheap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fbs_worker.core.errors import JobCancelled, JobError, JobFailed

if TYPE_CHECKING:
    from fbs_worker.jobs.model import JobEvent, JobRecord, JobState, LogLine
    from fbs_worker.jobs.store import JobStore


class JobHandle:
    """Handle of an enqueued job.

    Args:
        job_id: the job's id.
        jobs: the job store.
    """

    def __init__(self, job_id: str, jobs: JobStore) -> None:
        self._id = job_id
        self._jobs = jobs

    def __repr__(self) -> str:
        return f"JobHandle({self._id!r})"

    @property
    def id(self) -> str:
        """The job's id, which is also the id of Celery's `AsyncResult`."""
        return self._id

    def status(self) -> JobRecord:
        """Return the job's record.

        Raises:
            JobNotFound: the record has expired.
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.get(self._id)

    def follow(self, *, from_start: bool = True) -> Iterator[JobEvent]:
        """Yield the job's events as they occur; the last is its final state, or LOST.

        Args:
            from_start: begin with the recorded events; False to begin with new ones.

        Raises:
            JobNotFound: the record has expired.
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.follow(self._id, from_start=from_start)

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait until the job has finished, and return its result.

        Args:
            timeout: seconds to wait at most; None for no limit.

        Raises:
            JobFailed: the job failed; `context["error"]` holds its error.
            JobCancelled: the job was cancelled.
            JobError: the job has not finished in time, or its worker is lost.
            JobNotFound: the record has expired.
            QueueUnreachable: Redis does not answer.
        """
        for _event in self._jobs.follow(self._id, from_start=False, timeout=timeout):
            pass
        return outcome(self.status())

    def cancel(self) -> JobState:
        """Request cancellation: a waiting job is cancelled at once, a running one at its next step.

        Returns:
            The state after the request.

        Raises:
            JobNotFound: the record has expired.
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.request_cancel(self._id)

    def log(self) -> Sequence[LogLine]:
        """Return what happened in the job, oldest first: states, steps, messages, and what its worker logged.

        Raises:
            JobNotFound: the record has expired.
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.log(self._id)


def outcome(record: JobRecord) -> dict[str, Any]:
    """Return the result of a finished job, or raise its error.

    Args:
        record: the job.

    Raises:
        JobFailed: the job failed; `context["error"]` holds its error.
        JobCancelled: the job was cancelled.
        JobError: the job has not finished, or is lost.
    """
    from fbs_worker.jobs.model import JobState

    watch = f"`fbs jobs watch {record.id}` follows it."
    match record.state:
        case JobState.SUCCEEDED:
            return record.result or {}
        case JobState.FAILED:
            error = record.error or {}
            raise JobFailed(str(error.get("message", "The job failed.")), hint=str(error.get("hint", "")), error=error)
        case JobState.CANCELLED:
            raise JobCancelled("The job was cancelled.")
        case JobState.LOST:
            raise JobError(
                "The job is lost: its worker sends no heartbeats.",
                hint=f"The job restarts as soon as a worker is free: check that one runs. {watch}",
            )
        case _:
            raise JobError(f"The job has not finished: it is {record.state}.", hint=watch)
