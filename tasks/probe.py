"""The task `fbs.probe`: says that somebody takes jobs from the queue that it came through. It is not a job."""

from __future__ import annotations

from celery import Task, shared_task

from fbs_worker.core.errors import UsageError
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.probes import PROBE_TASK, send_reply


@shared_task(  # type: ignore[untyped-decorator]  # Celery has no types
    name=PROBE_TASK, bind=True, ignore_result=True, send_events=False, acks_late=False
)
def probe(self: Task) -> None:
    """Answer whoever sent it.

    Raises:
        UsageError: it does not run in a worker of fbs-worker's.
        QueueUnreachable: Redis does not answer.
    """
    if not isinstance(self.app, FBSCelery) or self.app.in_process is not None:
        raise UsageError("A probe is answered by a worker alone.", hint="`fbs health` sends probes.")
    send_reply(self.app.settings, self.request.id, self.request.hostname)
