"""Record the messages of a task instead of sending them: a kombu channel in memory.

Celery and kombu build the message as usual. The channel keeps what `kombu.transport.redis.Channel` would write: a task
is pushed to the list of its queue, an event is published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

_TOPIC: Final = "/{database}.{exchange}/{routing_key}"


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


class MessageCapture:
    """Records messages. Not safe for use by several threads.

    Args:
        database: the number of the Redis database that is the broker.
    """

    def __init__(self, *, database: int) -> None:
        self._database = database
        self._connection: Any = Connection(transport=_Transport)  # type: ignore[no-untyped-call]
        self._channel = cast("_Channel", self._connection.default_channel)
        self._producer: Any = Producer(self._channel, auto_declare=False)  # type: ignore[no-untyped-call]

    def task(self, app: Celery, name: str, kwargs: Mapping[str, Any], *, task_id: str) -> list[tuple[str, str, str]]:
        """The Redis commands that send a task.

        Args:
            app: the application that builds the message.
            name: the task's name.
            kwargs: its keyword arguments, JSON-ready.
            task_id: its id.

        Returns:
            Command, key and content of each: LPUSH for the task, PUBLISH for its task-sent event.
        """
        try:
            app.send_task(name, kwargs=dict(kwargs), task_id=task_id, producer=self._producer, retry=False, declare=())
            return list(self._commands())
        finally:
            self._channel.tasks.clear()
            self._channel.events.clear()

    def _commands(self) -> Iterator[tuple[str, str, str]]:
        for queue, message in self._channel.tasks:
            yield "LPUSH", queue, message
        for exchange, routing_key, message in self._channel.events:
            topic = _TOPIC.format(database=self._database, exchange=exchange, routing_key=routing_key)
            yield "PUBLISH", topic, message
