"""What waits in the broker's queues, whichever broker it is: Redis, a Redis behind Sentinel, or RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson
from kombu.exceptions import OperationalError

from fbs_worker.jobs.app import FBSCelery
from fbs_worker.jobs.celery_compat.redis_channel import next_message, remove_message

_RABBITMQ: Final = "amqp"
_NOT_FOUND: Final = "404"
_NEWEST: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits in a queue.

    Attributes:
        waiting: how many messages.
        next_id: the task's id of the one that is taken next; None where the queue is empty or the broker does not tell.
    """

    waiting: int
    next_id: str | None = None


class Queues:
    """The queues of an application's broker, over a connection of its own.

    Args:
        app: the application. Every method raises QueueUnreachable when the broker does not answer.
    """

    def __init__(self, app: FBSCelery) -> None:
        self._broker = app.broker
        self._connection = app.connection_for_write()
        self._seconds = app.conf.broker_connection_timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self._connection.release()

    def connect(self) -> None:
        """See that the broker answers."""
        with self._errors_translated():
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=self._seconds)

    def backlog(self, name: str) -> Backlog:
        """What waits in a queue.

        Args:
            name: the queue's name.
        """
        with self._errors_translated(), self._connection.channel() as channel:
            try:
                # of a queue that is not there RabbitMQ says so, and Redis of an empty one
                waiting = channel.queue_declare(name, passive=True).message_count
            except self._connection.channel_errors as exc:
                if str(getattr(exc, "reply_code", "")) != _NOT_FOUND:
                    raise
                return Backlog(waiting=0)
            if self._broker.kind == _RABBITMQ:
                return Backlog(waiting=waiting)
            return Backlog(waiting=waiting, next_id=_task_id(next_message(channel, name)))

    def withdraw(self, name: str, task_id: str) -> None:
        """Take a message back that nobody has fetched yet, if it is among the newest 1,000.

        RabbitMQ knows no such thing: there the message's own expiration ends it.

        Args:
            name: the queue's name.
            task_id: the task's id.
        """
        with self._errors_translated(), self._connection.channel() as channel:
            if self._broker.kind != _RABBITMQ:
                remove_message(channel, name, task_id, newest=_NEWEST)

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        with self._broker.errors_translated():
            try:
                yield
            # a channel's own, which kombu leaves as they are
            except (*self._connection.connection_errors, *self._connection.channel_errors) as exc:
                raise OperationalError(str(exc)) from exc


def _task_id(message: Any) -> str | None:
    try:
        found = orjson.loads(message)["headers"]["id"]
    except (TypeError, KeyError, orjson.JSONDecodeError):  # none there, or not Celery's
        return None
    return found if isinstance(found, str) else None
