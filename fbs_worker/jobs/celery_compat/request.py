"""Hooks of the object that a worker's main process keeps for each message of a task.

Celery documents custom requests (https://docs.celeryq.dev/en/stable/userguide/tasks.html#requests-and-custom-requests),
but of what happens outside of the task's own process it offers `on_failure` and `on_timeout` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from celery.exceptions import WorkerLostError
from celery.worker.request import Request

TRIED: Final = ("celery>=5.5,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.worker.request:Request.on_failure": "overridden: the run ended in an error, or its process died",
    "celery.worker.request:Request._announce_cancelled": "overridden: the run was cut off because its worker stops",
    "celery.worker.request:Request._announce_revoked": "overridden: the task was revoked, its message is dropped",
    "celery.worker.request:Request.worker_pid": "the process of the run; None before it is accepted",
    "celery.worker.request:Request.hostname": "the worker's name",
    "celery.worker.request:Request.app": "the Celery application",
}


class HookedRequest(Request):  # type: ignore[misc]  # Celery has no types
    """A request with hooks for the events that the task's own process cannot report."""

    def process_lost(self, *, worker: str, process: int) -> None:
        """The process of the run has died, or was ended because its worker stops.

        Args:
            worker: the worker's name.
            process: the process id; 0 if the run was not accepted yet.
        """

    def task_revoked(self) -> None:
        """The task was revoked with Celery's own means, and its message is going to be dropped."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Call the hook before the message is requeued."""
        raised = exc_info.exception
        if isinstance(getattr(raised, "exc", raised), (WorkerLostError, SystemExit, KeyboardInterrupt)):
            self._call_process_lost()
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def _call_process_lost(self) -> None:
        self.process_lost(worker=self.hostname, process=self.worker_pid or 0)

    def _announce_cancelled(self, *args: Any, **kwargs: Any) -> None:  # none before Celery 5.6
        self._call_process_lost()
        super()._announce_cancelled(*args, **kwargs)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        if terminated:
            self._call_process_lost()
        self.task_revoked()
        super()._announce_revoked(reason, terminated, signum, expired)
