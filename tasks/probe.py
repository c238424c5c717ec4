"""`fbs.probe`: health probe of a queue; its answer proves that a worker consumes the queue. It is not a job."""

from __future__ import annotations

from celery import Task, shared_task

from fbs_worker.core.errors import UsageError
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.probes import PROBE_TASK, send_reply


@shared_task(  # type: ignore[untyped-decorator]  # Celery has no types
    name=PROBE_TASK, bind=True, ignore_result=True, send_events=False, acks_late=False
)
def probe(self: Task) -> None:
    """Answer the probe.

    Raises:
        UsageError: the task does not run in a worker of fbs-worker.
        QueueUnreachable: Redis does not answer.
    """
    if not isinstance(self.app, FBSCelery) or self.app.in_process is not None:
        raise UsageError("A probe can be answered only by a worker.", hint="`fbs health` sends probes.")
    send_reply(self.app.settings, self.request.id, self.request.hostname)
