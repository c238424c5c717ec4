"""How a job's message is written without being sent, so that Redis can take it together with the job's record.

Celery and kombu make the message as they always do; only the channel that would send it keeps it. What it keeps is
what `kombu.transport.redis.Channel` would have sent: a task is pushed to the list of its queue, an event is published.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, cast

from celery import Celery
from kombu.connection import Connection
from kombu.transport import virtual
from kombu.utils.json import dumps as _dumps

Command = tuple[str, str, str]

_BROKER: Final = "/{}."
"""Before the name of an exchange whose messages are published: the database's number."""


class _Channel(virtual.Channel):
    """Keeps what it is given to send."""

    supports_fanout = True

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)  # type: ignore[no-untyped-call]  # kombu has half its types
        self.tasks: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []

    def _put(self, queue: str, message: Any, **_options: Any) -> None:
        self.tasks.append((queue, _dumps(message)))  # type: ignore[no-untyped-call]

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **_options: Any) -> None:
        self.events.append((f"{exchange}/{routing_key}", _dumps(message)))  # type: ignore[no-untyped-call]


class _Transport(virtual.Transport):
    Channel = _Channel
    driver_type = "redis"  # Celery publishes events there


class Outbox(threading.local):
    """Writes the messages of an application whose broker is the Redis of the jobs' records; each thread has its own.

    Args:
        app: the application.
        database: the number of the Redis database that is its broker.
    """

    def __init__(self, app: Celery, *, database: int) -> None:
        self._app = app
        self._connection: Any = Connection(transport=_Transport)  # type: ignore[no-untyped-call]
        self._channel = cast("_Channel", self._connection.default_channel)
        self._producer = app.amqp.Producer(self._channel, auto_declare=False)
        self._published = _BROKER.format(database)

    def write(self, name: str, kwargs: Mapping[str, Any], *, job_id: str) -> list[Command]:
        """The commands for Redis that send a task: name, key, content.

        Args:
            name: the task's name.
            kwargs: its keyword arguments, JSON-ready.
            job_id: the task's id.
        """
        try:
            self._app.send_task(
                name, kwargs=dict(kwargs), task_id=job_id, producer=self._producer, retry=False, declare=()
            )
            pushed = [("LPUSH", queue, message) for queue, message in self._channel.tasks]
            return pushed + [("PUBLISH", self._published + to, event) for to, event in self._channel.events]
        finally:
            self._channel.tasks.clear()
            self._channel.events.clear()
