"""A worker consumes again after it lost Redis."""

from __future__ import annotations

from typing import Any

from fbs_worker.jobs.celery_compat.consumer import ConsumerStep, channel_of
from fbs_worker.jobs.celery_compat.redis_channel import close_after_loss, is_redis


class ReconnectStep(ConsumerStep):
    """Lets each worker close a channel whose connection is lost; see `close_after_loss`."""

    def start(self, consumer: Any) -> None:
        """Celery calls it once the worker is connected and consumes, again after each loss of the connection."""
        channel = channel_of(consumer)
        if is_redis(channel):
            close_after_loss(channel)
