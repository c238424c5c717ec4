"""A running job's own voice: its progress, told to its record, and its signs of life."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal, Self

from fbs_worker.errors import JobCancelled, QueueUnreachable
from fbs_worker.jobs import HEARTBEAT_SECONDS, JobStore, Standing

_log = logging.getLogger(__name__)

TELL_SECONDS: Final = 0.2
"""Progress within a step is told at most so often."""

ASK_SECONDS: Final = 1.0
"""While there is nothing to tell, a job asks so often whether it should go on."""


class JobSuperseded(JobCancelled):
    """The job was taken up by another worker, while this one was thought to be dead."""

    code = "job_superseded"


class JobProgress:
    """Progress that is told to a job's record, and learns there whether the job should stop.

    A Redis that is away does not stop a job: what could not be told is left out, and the job goes on.

    Args:
        store: where the record is.
        job_id: the job's id.
        attempt: the claim's number.
        publish: told `{"step": …, "current": …, "total": …, "message": …}` each time something was told.
    """

    def __init__(
        self, store: JobStore, job_id: str, attempt: int, *, publish: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self._publish = publish
        self._step = ""
        self._current = 0
        self._total: int | None = None
        self._message = ""
        self._untold = False
        self._told_at = 0.0
        self._asked_at = 0.0

    def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
        """A new step begins; see `Progress.step`."""
        if self._untold:
            self._tell("progress")
        self._step, self._current, self._total, self._message = name, 0, total, message
        self._tell("step")

    def advance(self, units: int = 1, *, message: str = "") -> None:
        """Some units of the current step are done; see `Progress.advance`."""
        if units or message:
            self._current += units
            self._message = message or self._message
            self._untold = True
        now = time.monotonic()
        if self._untold and now - self._told_at >= TELL_SECONDS:
            self._tell("progress")
        elif now - self._asked_at >= ASK_SECONDS:
            self._ask()

    def _tell(self, kind: Literal["step", "progress"]) -> None:
        self._untold = False
        told = self._spoken(
            lambda: self._store.progress(
                self._job_id,
                self._attempt,
                kind=kind,
                step=self._step,
                current=self._current,
                total=self._total,
                message=self._message,
            )
        )
        self._told_at = self._asked_at
        if told and self._publish is not None:
            self._publish(
                {"step": self._step, "current": self._current, "total": self._total, "message": self._message}
            )

    def _ask(self) -> None:
        self._spoken(lambda: self._store.heartbeat(self._job_id, self._attempt))

    def _spoken(self, speak: Callable[[], Standing]) -> bool:
        try:
            standing = speak()
            if standing is Standing.SUPERSEDED and not self._store.cancel_requested(self._job_id):
                raise JobSuperseded("Another worker has taken up the job.")
        except QueueUnreachable as exc:
            _log.warning("job %s: its progress could not be told: %s", self._job_id, exc.message)
            return False
        finally:
            self._asked_at = time.monotonic()
        if standing is not Standing.OURS:
            raise JobCancelled("The job was cancelled.")
        return True


class Heartbeat:
    """Gives a job's signs of life from a thread of its own, as long as the `with` block lasts.

    Args:
        store: where the record is.
        job_id: the job's id.
        attempt: the claim's number.
        seconds: how often.
    """

    def __init__(self, store: JobStore, job_id: str, attempt: int, *, seconds: float = HEARTBEAT_SECONDS) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{job_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        self._thread.join()  # a beat under way ends within the time-outs of the connection

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self._store.heartbeat(self._job_id, self._attempt)
            except QueueUnreachable as exc:
                _log.warning("job %s: its heartbeat was not heard: %s", self._job_id, exc.message)
