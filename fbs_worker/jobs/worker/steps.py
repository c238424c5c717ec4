"""Adapter for Celery's consumer: steps that send heartbeats, run the reaper, and mend lost connections.

Celery documents steps (https://docs.celeryq.dev/en/stable/userguide/extending.html), but not all that a step needs.
`FBSCelery` adds them to each of its workers. Celery starts them once the worker consumes, stops them when the
connection to the broker is lost, and starts them again with the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from celery import bootsteps
from celery.worker import state
from redis.exceptions import RedisError

from fbs_worker.core.errors import FBSError
from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.celery_compat.patience import ask_for_room
from fbs_worker.jobs.celery_compat.redis_channel import close_after_loss, is_redis
from fbs_worker.jobs.celery_compat.unreadable import tolerate_unreadable
from fbs_worker.jobs.probes import PROBE_TASK, worker_queue
from fbs_worker.jobs.worker.reaper import Reaper
from fbs_worker.jobs.worker.request import JOB_REQUEST
from fbs_worker.jobs.workers import HEARTBEAT_SECONDS, WorkerHeartbeat, WorkerRegistry

TRIED: Final = ("celery>=5.5,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.worker.consumer.tasks:Tasks": "the step after which a worker consumes",
    "celery.worker.consumer.consumer:Consumer.task_consumer": "its channel is the one that tasks are received on",
    "celery.worker.consumer.consumer:Consumer.hostname": "the worker's name",
    "celery.worker.consumer.consumer:Consumer.timer": "calls functions from the worker's main loop",
    "celery.worker.consumer.consumer:Consumer.pool": "the pool; num_processes is its size",
    "celery.app.amqp:Queues.select_add": "adds a queue to those that are consumed; puts its default exchange in place",
    "celery.app.amqp:Queues.consume_from": "the queues that are consumed, by name",
    "celery.worker.state:active_requests": "the running requests",
    "celery.worker.state:all_total_count": "a list of one number: the tasks received",
    "celery.worker.state:total_count": "the tasks received, by name",
}

_log = logging.getLogger(__name__)


class _ConsumerStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step that starts once the worker consumes, again after each loss of the connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)


class WorkerRegistryStep(_ConsumerStep):
    """Sends the worker's heartbeats from its main loop while it consumes, and consumes its own queue for probes.

    A blocked main loop, or a worker that has lost its broker, sends none.
    """

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        queues = consumer.app.amqp.queues
        self._queues = tuple(sorted(queues.consume_from))
        own = worker_queue(consumer.hostname)
        exchange = own.exchange
        queues.select_add(own)
        own.exchange = exchange  # Celery replaces one without a name with its default exchange
        self._registry = WorkerRegistry(consumer.app.settings.fbs_redis_url)
        self._timer: Any = None
        self._failing = False

    def start(self, consumer: Any) -> None:
        """Send the first heartbeat and start the timer."""
        self._beat(consumer)
        self._timer = consumer.timer.call_repeatedly(HEARTBEAT_SECONDS, self._beat, (consumer,))

    def stop(self, consumer: Any) -> None:
        """Stop the timer and delete the registry entry."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            self._registry.remove(consumer.hostname)
        except FBSError as exc:
            _log.warning("the worker's registry entry was not deleted and expires: %s", exc.message)
        self._registry.close()

    def _beat(self, consumer: Any) -> None:
        heartbeat = WorkerHeartbeat(
            name=consumer.hostname,
            queues=self._queues,
            slots=consumer.pool.num_processes,
            running=len(state.active_requests),
            taken=state.all_total_count[0] - state.total_count[PROBE_TASK],
        )
        try:
            self._registry.beat(heartbeat)
        except FBSError as exc:
            if not self._failing:  # log the first failure of a series only
                _log.warning("the worker's heartbeat was not sent: %s", exc.message)
            self._failing = True
        else:
            self._failing = False


class ReaperStep(_ConsumerStep):
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
                consumer.task_consumer.channel,
                queues=tuple(app.amqp.queues),
                is_job=lambda name: _is_job(app.tasks, name),
            )
            self._timer = consumer.timer.call_repeatedly(reaper.interval, _scan, (reaper,))

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 -- Celery's signature
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class ReconnectStep(_ConsumerStep):
    """Lets the worker go on after a lost connection to Redis (`close_after_loss`) and after unreadable messages."""

    def start(self, consumer: Any) -> None:
        """Patch the channel of the new connection."""
        channel = consumer.task_consumer.channel
        if is_redis(channel):
            close_after_loss(channel)
            ask_for_room(channel)
            tolerate_unreadable(channel, consumer.app.on_message_rejected)


def _scan(reaper: Reaper) -> None:
    try:
        reaper.scan()
    except (FBSError, RedisError) as exc:  # the worker handles the lost connection itself
        _log.warning("the reaper's scan failed: %s", exc)


def _is_job(tasks: Mapping[str, Any], name: str) -> bool:
    return name in tasks and tasks[name].Request == JOB_REQUEST
