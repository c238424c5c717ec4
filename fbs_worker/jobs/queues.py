"""Queue lengths and messages of the broker: Redis, Redis behind Sentinel, or RabbitMQ."""

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
    """The messages that wait in a queue.

    Attributes:
        waiting: the number of messages.
        next_id: the task id of the next message; None if the queue is empty or the broker is RabbitMQ.
    """

    waiting: int
    next_id: str | None = None


class Queues:
    """The queues of an application's broker, with a connection of its own.

    Args:
        app: the application.

    Raises:
        QueueUnreachable: raised by every method when the broker does not answer.
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
        """Close the connection."""
        self._connection.release()

    def connect(self) -> None:
        """Check that the broker answers."""
        with self._errors_translated():
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=self._seconds)

    def backlog(self, name: str) -> Backlog:
        """Return the messages that wait in a queue.

        Args:
            name: the queue's name.
        """
        with self._errors_translated(), self._connection.channel() as channel:
            try:
                # RabbitMQ raises 404 for a missing queue, kombu's Redis transport for an empty one
                waiting = channel.queue_declare(name, passive=True).message_count
            except self._connection.channel_errors as exc:
                if str(getattr(exc, "reply_code", "")) != _NOT_FOUND:
                    raise
                return Backlog(waiting=0)
            if self._broker.kind == _RABBITMQ:
                return Backlog(waiting=waiting)
            return Backlog(waiting=waiting, next_id=_task_id(next_message(channel, name)))

    def withdraw(self, name: str, task_id: str) -> None:
        """Remove an undelivered message, if it is among the newest 1,000 of the queue.

        RabbitMQ cannot remove a message: there it stays until its expiration.

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
            # kombu does not wrap the errors of a channel
            except (*self._connection.connection_errors, *self._connection.channel_errors) as exc:
                raise OperationalError(str(exc)) from exc


def _task_id(message: Any) -> str | None:
    try:
        task_id = orjson.loads(message)["headers"]["id"]
    except (TypeError, KeyError, orjson.JSONDecodeError):  # no message, or not Celery's
        return None
    return task_id if isinstance(task_id, str) else None
