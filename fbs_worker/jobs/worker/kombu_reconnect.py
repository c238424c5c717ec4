"""A worker takes jobs again after it lost Redis.

`Channel.close` of kombu 5.7's Redis transport first reads the answer to the BRPOP that is under way. Where the
connection is lost that raises, before the channel counts as closed. Celery closes it once more, but by then the
transport has no client any more: an AttributeError that nobody expects ends the worker's consumer, and what stays is a
process that is alive and takes no job. Closing it a second time at once, while the client is there, does what the first
was to do.
"""

from __future__ import annotations

from typing import Any

from celery import bootsteps
from kombu.transport.redis import Channel


class ReconnectStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """Lets each worker close a channel whose connection is lost; see the module."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """The worker is connected and takes jobs; Celery calls it, again after each loss of the connection."""
        channel = consumer.task_consumer.channel
        if isinstance(channel, Channel):
            _close_even_so(channel)


def _close_even_so(channel: Any) -> None:
    close = channel.close

    def close_twice() -> None:
        try:
            close()
        except channel.connection_errors:
            close()  # what it waited for is forgotten now

    channel.close = close_twice
