"""The consumer of a worker's main process: a base of steps, the channel, a queue of the worker's own, and its figures.

Celery documents steps (https://docs.celeryq.dev/en/stable/userguide/extending.html), but not all that a step needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from celery import bootsteps
from celery.worker import state
from kombu.entity import Queue

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


class ConsumerStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step that starts once the worker consumes, again after each loss of the connection."""

    requires = ("celery.worker.consumer.tasks:Tasks",)


def channel_of(consumer: Any) -> Any:
    """The channel on which the worker receives tasks."""
    return consumer.task_consumer.channel


def name_of(consumer: Any) -> str:
    """The worker's name, `NAME@host`."""
    name: str = consumer.hostname
    return name


def call_every(consumer: Any, seconds: float, function: Callable[..., object], *args: Any) -> Any:
    """Call a function from the worker's main loop again and again.

    Returns:
        An entry with `cancel()`.
    """
    return consumer.timer.call_repeatedly(seconds, function, args)


def consumed_queues(consumer: Any) -> tuple[str, ...]:
    """The names of the queues that the worker consumes, sorted."""
    return tuple(sorted(consumer.app.amqp.queues.consume_from))


def consume_also(consumer: Any, queue: Queue) -> None:
    """Consume from a further queue; to be called before the worker consumes.

    Args:
        consumer: the worker's.
        queue: its exchange stays as it is: Celery replaces an exchange without a name with its default one.
    """
    exchange = queue.exchange
    consumer.app.amqp.queues.select_add(queue)
    queue.exchange = exchange


def slots(consumer: Any) -> int:
    """How many tasks the worker runs at a time."""
    return int(consumer.pool.num_processes)


def running() -> int:
    """How many tasks the worker runs now."""
    return len(state.active_requests)


def received(*, without: str) -> int:
    """How many tasks the worker has received since its start.

    Args:
        without: the name of a task that does not count.
    """
    return int(state.all_total_count[0] - state.total_count[without])
