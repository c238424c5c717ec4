"""A running job's own voice: its progress, told to its record, and its signs of life."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import lru_cache
from typing import Any, Final, Literal, Self

from fbs_worker.core.errors import FBSError, JobCancelled, QueueUnreachable
from fbs_worker.jobs.store import JobStore, LeaseStatus
from fbs_worker.jobs.worker.logging import set_step

_log = logging.getLogger(__name__)

TELL_SECONDS: Final = 0.2
"""Progress within a step is told at most so often."""

ASK_SECONDS: Final = 1.0
"""While there is nothing to tell, a job asks so often whether it should go on."""


class StaleAttempt(JobCancelled):
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
        set_step(name)
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

    def _spoken(self, speak: Callable[[], LeaseStatus]) -> bool:
        try:
            standing = speak()
            if standing is LeaseStatus.STALE and not self._store.cancel_requested(self._job_id):
                raise StaleAttempt("Another worker has taken up the job.")
        except QueueUnreachable as exc:
            _log.warning("job %s: its progress could not be told: %s", self._job_id, exc.message)
            return False
        finally:
            self._asked_at = time.monotonic()
        if standing is not LeaseStatus.OURS:
            raise JobCancelled("The job was cancelled.")
        return True


class Heartbeat:
    """Gives a job's signs of life as long as the `with` block lasts, from a thread that all jobs of a process share.

    Starting a thread for each job would cost more than all else that a short job needs.

    Args:
        store: where the record is.
        job_id: the job's id.
        attempt: the claim's number.
        seconds: how often; as often as the store wants it if None.
    """

    def __init__(self, store: JobStore, job_id: str, attempt: int, *, seconds: float | None = None) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self.seconds = store.heartbeat_seconds if seconds is None else seconds
        self.due_at = time.monotonic() + self.seconds
        self._context = copy_context()  # what it logs is told to be this job's

    def __enter__(self) -> Self:
        _pacemaker().add(self)
        return self

    def __exit__(self, *_exc: object) -> None:
        _pacemaker().remove(self)  # one that is under way still is heard by nobody: the job has ended by then

    def beat(self) -> None:
        """Give a sign of life now, and say when the next one is due."""
        self._context.run(self._beat)
        self.due_at = time.monotonic() + self.seconds

    def _beat(self) -> None:
        try:
            self._store.heartbeat(self._job_id, self._attempt)
        except FBSError as exc:
            _log.warning("job %s: its heartbeat was not heard: %s", self._job_id, exc.message)


class _Pacemaker:
    """The thread of a process that gives the signs of life of its jobs; it begins with the first of them."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._beating: set[Heartbeat] = set()
        self._lock = threading.Lock()
        self._sooner = threading.Event()
        self._tick = math.inf
        self._thread: threading.Thread | None = None

    def add(self, heartbeat: Heartbeat) -> None:
        """Begin a job's."""
        with self._lock:
            self._beating.add(heartbeat)
            if heartbeat.seconds < self._tick:
                self._tick = heartbeat.seconds
                self._sooner.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)
                self._thread.start()

    def remove(self, heartbeat: Heartbeat) -> None:
        """End a job's."""
        with self._lock:
            self._beating.discard(heartbeat)

    def _run(self) -> None:
        while True:
            # a job that begins does not wake this thread: it looks often enough to see it in time
            self._sooner.wait(self._tick / 5)
            self._sooner.clear()
            with self._lock:
                due = [each for each in self._beating if each.due_at <= time.monotonic()]
            for heartbeat in due:
                heartbeat.beat()


@lru_cache(maxsize=1)
def _pacemaker_of(_process: int) -> _Pacemaker:
    return _Pacemaker()


def _pacemaker() -> _Pacemaker:
    """This process's own: threads do not come along in a fork."""
    return _pacemaker_of(os.getpid())
