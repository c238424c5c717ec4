"""Steps of a worker's consumer: heartbeats to the worker registry, the reaper, and a fix for lost connections.

`FBSCelery` adds them to each of its workers. Celery starts them once the worker consumes, stops them when the
connection to the broker is lost, and starts them again with the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from fbs_worker.core.errors import FBSError
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.celery_compat.consumer import (
    ConsumerStep,
    call_every,
    channel_of,
    consume_also,
    consumed_queues,
    name_of,
    received,
    running,
    slots,
)
from fbs_worker.jobs.celery_compat.redis_channel import close_after_loss, is_redis
from fbs_worker.jobs.probes import PROBE_TASK, worker_queue
from fbs_worker.jobs.worker.reaper import Reaper
from fbs_worker.jobs.worker.request import JOB_REQUEST
from fbs_worker.jobs.workers import HEARTBEAT_SECONDS, WorkerHeartbeat, WorkerRegistry

_log = logging.getLogger(__name__)


class WorkerRegistryStep(ConsumerStep):
    """Sends the worker's heartbeats from its main loop while it consumes, and consumes its own queue for probes.

    A blocked main loop, or a worker that has lost its broker, sends none.
    """

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._queues = consumed_queues(consumer)
        consume_also(consumer, worker_queue(name_of(consumer)))
        self._registry = WorkerRegistry(consumer.app.settings.fbs_redis_url)
        self._timer: Any = None
        self._failing = False

    def start(self, consumer: Any) -> None:
        """Send the first heartbeat and start the timer."""
        self._beat(consumer)
        self._timer = call_every(consumer, HEARTBEAT_SECONDS, self._beat, consumer)

    def stop(self, consumer: Any) -> None:
        """Stop the timer and delete the registry entry."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._registry.remove(name_of(consumer))
        except FBSError as exc:
            _log.warning("the worker's registry entry was not deleted and expires: %s", exc.message)
        self._registry.close()

    def _beat(self, consumer: Any) -> None:
        heartbeat = WorkerHeartbeat(
            name=name_of(consumer),
            queues=self._queues,
            slots=slots(consumer),
            running=running(),
            taken=received(without=PROBE_TASK),
        )
        try:
            self._registry.beat(heartbeat)
        except FBSError as exc:
            if not self._failing:  # log the first failure of a series only
                _log.warning("the worker's heartbeat was not sent: %s", exc.message)
            self._failing = True
        else:
            self._failing = False


class ReaperStep(ConsumerStep):
    """Runs the reaper from the worker's main loop."""

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._timer: Any = None
        super().__init__(consumer, **options)

    def start(self, consumer: Any) -> None:
        """Create the reaper and start its timer."""
        app = consumer.app
        if isinstance(app, FBSCelery):
            reaper = Reaper(
                app.jobs,
                channel_of(consumer),
                queues=tuple(app.amqp.queues),
                is_job=lambda name: _is_job(app.tasks, name),
            )
            self._timer = call_every(consumer, reaper.interval, _scan, reaper)

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 -- Celery's signature
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ReconnectStep(ConsumerStep):
    """Lets the worker consume again after a lost connection to Redis; see `close_after_loss`."""

    def start(self, consumer: Any) -> None:
        """Patch the channel of the new connection."""
        channel = channel_of(consumer)
        if is_redis(channel):
            close_after_loss(channel)


def _scan(reaper: Reaper) -> None:
    try:
        reaper.scan()
    except (FBSError, RedisError) as exc:  # the worker handles the lost connection itself
        _log.warning("the reaper's scan failed: %s", exc)


def _is_job(tasks: Mapping[str, Any], name: str) -> bool:
    return name in tasks and tasks[name].Request == JOB_REQUEST
