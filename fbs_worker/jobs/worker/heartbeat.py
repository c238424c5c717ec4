"""Heartbeats of running jobs, sent from one thread per process."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from contextvars import copy_context
from functools import lru_cache
from typing import Self

from fbs_worker.core.errors import FBSError
from fbs_worker.jobs.store import JobStore

_log = logging.getLogger(__name__)


class Heartbeat:
    """Sends a job's heartbeats during the `with` block, from a thread that all jobs of a process share.

    A thread per job would cost more than the rest of the overhead of a short job.

    Args:
        store: the job store.
        job_id: the job's id.
        attempt: the number of the claimed attempt.
        seconds: the interval; the store's `heartbeat_seconds` if None.
    """

    def __init__(self, store: JobStore, job_id: str, attempt: int, *, seconds: float | None = None) -> None:
        self._store = store
        self._job_id = job_id
        self._attempt = attempt
        self.seconds = store.heartbeat_seconds if seconds is None else seconds
        self.due_at = time.monotonic() + self.seconds
        self._context = copy_context()  # log records carry the job

    def __enter__(self) -> Self:
        _heartbeat_thread().add(self)
        return self

    def __exit__(self, *_exc: object) -> None:
        _heartbeat_thread().remove(self)  # a heartbeat in flight is rejected: the attempt has ended by then

    def beat(self) -> None:
        """Send a heartbeat and set the time of the next one."""
        self._context.run(self._beat)
        self.due_at = time.monotonic() + self.seconds

    def _beat(self) -> None:
        try:
            self._store.heartbeat(self._job_id, self._attempt)
        except FBSError as exc:
            _log.warning("job %s: its heartbeat was not recorded: %s", self._job_id, exc.message)


class _HeartbeatThread:
    """The thread of a process that sends the heartbeats of its jobs; it starts with the first of them."""

    def __init__(self) -> None:
        self._active: set[Heartbeat] = set()
        self._lock = threading.Lock()
        self._shorter = threading.Event()
        self._shortest = math.inf
        self._thread: threading.Thread | None = None

    def add(self, heartbeat: Heartbeat) -> None:
        with self._lock:
            self._active.add(heartbeat)
            if heartbeat.seconds < self._shortest:
                self._shortest = heartbeat.seconds
                self._shorter.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)
                self._thread.start()

    def remove(self, heartbeat: Heartbeat) -> None:
        with self._lock:
            self._active.discard(heartbeat)

    def _run(self) -> None:
        while True:
            # a new job does not wake the thread, which checks five times per shortest interval
            self._shorter.wait(self._shortest / 5)
            self._shorter.clear()
            with self._lock:
                due = [each for each in self._active if each.due_at <= time.monotonic()]
            for heartbeat in due:
                heartbeat.beat()


@lru_cache(maxsize=1)
def _heartbeat_thread_of(_process: int) -> _HeartbeatThread:
    return _HeartbeatThread()


def _heartbeat_thread() -> _HeartbeatThread:
    return _heartbeat_thread_of(os.getpid())  # per process: a fork does not copy threads
