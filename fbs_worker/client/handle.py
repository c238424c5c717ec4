"""One job, as whoever enqueued it holds it. Importing it is light."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fbs_worker.core.errors import JobCancelled, JobError, JobFailed

if TYPE_CHECKING:
    from fbs_worker.jobs.model import JobEvent, JobRecord, JobState
    from fbs_worker.jobs.store import JobStore


class JobHandle:
    """One job, as whoever enqueued it holds it.

    Args:
        job_id: the job's id.
        jobs: where its record is.
    """

    def __init__(self, job_id: str, jobs: JobStore) -> None:
        self._id = job_id
        self._jobs = jobs

    def __repr__(self) -> str:
        return f"JobHandle({self._id!r})"

    @property
    def id(self) -> str:
        """The job's id; Celery's `AsyncResult` knows it, too."""
        return self._id

    def status(self) -> JobRecord:
        """The job as it is now.

        Raises:
            JobNotFound: its record has expired.
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.get(self._id)

    def follow(self, *, from_start: bool = True) -> Iterator[JobEvent]:
        """The job's events as they come; the last is its final state, or that it is lost.

        Args:
            from_start: begin with those of the past.

        Raises:
            JobNotFound: its record has expired.
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.follow(self._id, from_start=from_start)

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait until the job has ended.

        Args:
            timeout: seconds to wait at most; None to wait for as long as it takes.

        Returns:
            Its result.

        Raises:
            JobFailed: it failed; `context["error"]` holds the error.
            JobCancelled: it was cancelled.
            JobError: it has not ended within the time, or its worker is lost.
            JobNotFound: its record has expired.
            QueueUnreachable: Redis does not answer.
        """
        for _event in self._jobs.follow(self._id, from_start=False, timeout=timeout):
            pass
        return outcome(self.status())

    def cancel(self) -> JobState:
        """Ask for the job to stop: at once if it waits, at its next step if it runs.

        Returns:
            The state that it is in now.

        Raises:
            JobNotFound: its record has expired.
            QueueUnreachable: Redis does not answer.
        """
        return self._jobs.request_cancel(self._id)


def outcome(record: JobRecord) -> dict[str, Any]:
    """What a job that was waited for has yielded.

    Args:
        record: the job.

    Returns:
        Its result.

    Raises:
        JobFailed: it failed; `context["error"]` holds the error.
        JobCancelled: it was cancelled.
        JobError: it has not ended.
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
                "The job's worker gives no sign of life.",
                hint=f"The job is run again as soon as a worker is free: see that one runs. {watch}",
            )
        case _:
            raise JobError(f"The job has not ended yet: it is {record.state}.", hint=watch)
