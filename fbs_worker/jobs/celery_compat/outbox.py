"""Outbox: build a job's message without sending it, so that Redis stores it atomically with the job's record.

Celery and kombu build the message as usual. A kombu channel in memory keeps what
`kombu.transport.redis.Channel` would write: a task is pushed to the list of its queue, an event is published.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, cast

from celery import Celery
from kombu.connection import Connection
from kombu.messaging import Producer
from kombu.transport import virtual
from kombu.utils.json import dumps

TRIED: Final = ("celery>=5.5,<5.8", "kombu>=5.5.2,<5.8")

UPSTREAM: Final[Mapping[str, str]] = {
    "kombu.transport.virtual:Channel._put": "overridden: receives a message for a queue",
    "kombu.transport.virtual:Channel.supports_fanout": "set: messages for a fanout exchange go to `_put_fanout`",
    "kombu.transport.virtual.exchange:FanoutExchange.deliver": "calls `_put_fanout(exchange, message, routing_key)`",
    "kombu.transport.virtual:Transport.Channel": "set: the class of the transport's channels",
    "kombu.transport.virtual:Transport.driver_type": "set to redis: `celery.events.event:get_exchange` asks for it",
    "celery.events.event:get_exchange": "events go to a fanout exchange where the driver is redis",
    "kombu.transport.redis:Channel._put": "LPUSH of the JSON to the list named like the queue",
    "kombu.transport.redis:Channel._put_fanout": "PUBLISH of the JSON to keyprefix_fanout + exchange/routing key",
    "kombu.transport.redis:Channel.keyprefix_fanout": "the prefix of the topic, with the database's number",
}

Command = tuple[str, str, str]
"""Name, key and content of a Redis command."""


class _Channel(virtual.Channel):
    supports_fanout = True

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)  # type: ignore[no-untyped-call]  # kombu has half its types
        self.tasks: list[tuple[str, str]] = []
        self.events: list[tuple[str, str, str]] = []

    def _put(self, queue: str, message: Any, **_options: Any) -> None:
        self.tasks.append((queue, dumps(message)))  # type: ignore[no-untyped-call]

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **_options: Any) -> None:
        self.events.append((exchange, routing_key, dumps(message)))  # type: ignore[no-untyped-call]


class _Transport(virtual.Transport):
    Channel = _Channel
    driver_type = "redis"


class Outbox(threading.local):
    """Builds the messages of an application whose broker is the Redis of the job store; each thread has its own.

    Args:
        app: the application.
        database: the number of the broker's Redis database.
    """

    def __init__(self, app: Celery, *, database: int) -> None:
        self._app = app
        self._database = database
        self._connection: Any = Connection(transport=_Transport)  # type: ignore[no-untyped-call]
        self._channel = cast("_Channel", self._connection.default_channel)
        self._producer: Any = Producer(self._channel, auto_declare=False)  # type: ignore[no-untyped-call]

    def commands(self, name: str, kwargs: Mapping[str, Any], *, job_id: str) -> list[Command]:
        """Return the Redis commands that send a task: PUBLISH for its task-sent event, and at last LPUSH for itself.

        In this order nothing is enqueued where the user may not publish.

        Args:
            name: the task's name.
            kwargs: its keyword arguments, JSON-ready.
            job_id: the task's id.
        """
        tasks, events = self._channel.tasks, self._channel.events
        try:
            self._app.send_task(
                name, kwargs=dict(kwargs), task_id=job_id, producer=self._producer, retry=False, declare=()
            )
            return [
                *(("PUBLISH", f"/{self._database}.{exchange}/{key}", message) for exchange, key, message in events),
                *(("LPUSH", queue, message) for queue, message in tasks),
            ]
        finally:
            tasks.clear()
            events.clear()
