"""The part of a Celery worker that says that the worker is there, and makes it take from a queue of its own, too."""

from __future__ import annotations

import logging
from typing import Any

from fbs_worker.core.errors import FBSError
from fbs_worker.jobs.celery_compat.consumer import (
    ConsumerStep,
    call_every,
    consume_also,
    consumed_queues,
    name_of,
    received,
    running,
    slots,
)
from fbs_worker.jobs.probes import PROBE_TASK, worker_queue
from fbs_worker.jobs.workers import HEARTBEAT_SECONDS, WorkerHeartbeat, WorkerRegistry

_log = logging.getLogger(__name__)


class WorkerRegistryStep(ConsumerStep):
    """Gives the worker's signs of life from its main loop, as long as it takes jobs.

    A loop that stands still gives none; nor does one that has lost its broker (Celery stops the steps of its consumer
    then and starts them again with the next connection).
    """

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._queues = consumed_queues(consumer)
        consume_also(consumer, worker_queue(name_of(consumer)))
        self._presence = WorkerRegistry(consumer.app.settings.fbs_redis_url)
        self._timer: Any = None
        self._told = True

    def start(self, consumer: Any) -> None:
        """The worker takes jobs from now on; Celery calls it."""
        self._tell(consumer)
        self._timer = call_every(consumer, HEARTBEAT_SECONDS, self._tell, consumer)

    def stop(self, consumer: Any) -> None:
        """The worker takes no more jobs; Celery calls it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._presence.remove(name_of(consumer))
        except FBSError as exc:
            _log.warning("The worker's sign of life could not be taken away, it expires: %s", exc.message)
        self._presence.close()

    def _tell(self, consumer: Any) -> None:
        sign = WorkerHeartbeat(
            name=name_of(consumer),
            queues=self._queues,
            slots=slots(consumer),
            running=running(),
            taken=received(without=PROBE_TASK),
        )
        try:
            self._presence.beat(sign)
        except FBSError as exc:
            if self._told:
                _log.warning("The worker's sign of life could not be given: %s", exc.message)
            self._told = False
        else:
            self._told = True
