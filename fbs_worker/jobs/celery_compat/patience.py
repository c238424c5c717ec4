"""A worker whose broker rejects commands for now waits, says why, and goes on.

Celery reconnects after a lost connection, with pauses of up to half a minute. An error reply ends the worker: the
broker was demoted to a replica, its memory or its disk is full, or the user's rights were changed. Here such replies
count as lost connections, and the pauses are short.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.exceptions import OperationalError
from kombu.transport.redis import QoS, Transport
from redis.exceptions import ResponseError

from fbs_worker.core.redis import ROOM

TRIED: Final = ("celery>=5.5,<5.8", "kombu>=5.5.2,<5.8")

UPSTREAM: Final[Mapping[str, str]] = {
    "kombu.transport.redis:Transport.connection_errors": "the errors after which Celery's worker connects again",
    "celery.worker.consumer.consumer:Consumer.ensure_connected": "overridden: connects, with pauses between attempts",
    "celery.worker.consumer.consumer:Consumer.on_connection_error_before_connected": "overridden: is passed a failure",
    "celery.worker.consumer.consumer:Consumer.on_connection_error_after_connected": "overridden: called with a loss",
    "celery.worker.consumer.consumer:Consumer.conninfo": "the connection whose errors are recoverable",
    "celery.worker.consumer.consumer:Consumer.first_connection_attempt": "false once it was connected",
    "celery.worker.state:should_stop": "the exit code of a warm shutdown that was requested; None without one",
    "celery.worker.state:should_terminate": "the same of a cold shutdown",
    "celery.worker.state:maybe_shutdown": "raises where a shutdown was requested",
    "kombu.transport.redis:QoS.append": "stores a message that was popped from its queue",
    "kombu.transport.redis:Channel._brpop_start": "asks for the next message",
}

Transport.connection_errors = (*Transport.connection_errors, ResponseError)

PAUSE_SECONDS: Final = 2.0
"""Between two attempts to connect, or to store a message that was received."""

_REPEAT_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


class PatientConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, which waits while its broker refuses; its application is an `FBSCelery`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._report = Report(kwargs["app"].broker.translated)
        super().__init__(*args, **kwargs)
        self.connection_errors: tuple[type[Exception], ...] = (
            *self.conninfo.connection_errors,
            OperationalError,  # what kombu wraps
        )

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes, and return the connection."""
        conn.ensure_connection(
            lambda exc, _seconds: self._report(exc),
            interval_start=PAUSE_SECONDS,
            interval_step=0,
            callback=state.maybe_shutdown,
        )
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Say why there is no connection, and wait."""
        self._report(exc)
        time.sleep(PAUSE_SECONDS)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Say why the connection is of no use any more, close it, and wait."""
        self._report(exc)
        super().on_connection_error_after_connected(exc)
        time.sleep(PAUSE_SECONDS)


class Report:
    """Logs why the broker is of no use: once, and again each minute.

    Args:
        translated: returns the FBSError of an error.
    """

    def __init__(self, translated: Callable[[Exception], Any]) -> None:
        self._translated = translated
        self._last = ("", 0.0)

    def __call__(self, exc: Exception) -> None:
        """Log an error."""
        error = self._translated(exc)
        message, since = self._last
        if error.message != message or time.monotonic() - since > _REPEAT_SECONDS:
            _log.error("%s %s The worker waits and tries again every %.0f s.", error.message, error.hint, PAUSE_SECONDS)
            self._last = (error.message, time.monotonic())


class PatientQoS(QoS):
    """kombu's store of unacknowledged messages, which keeps a received message until it is stored."""

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Store a message; without that it would be lost, because it is in its queue no more."""
        while True:
            try:
                super().append(message, delivery_tag)  # type: ignore[no-untyped-call]  # kombu has half its types
            except self.channel.connection_errors as exc:
                if state.should_stop is not None or state.should_terminate is not None:
                    raise
                _log.warning("a received message cannot be stored yet: %s", type(exc).__name__)
                time.sleep(PAUSE_SECONDS)
            else:
                return


def ask_for_room(channel: Any) -> None:
    """Let a channel of the Redis transport take messages only while Redis accepts changes.

    A full Redis hands messages out, but refuses to store them as unacknowledged.

    Args:
        channel: the worker's channel; each connection has another.
    """
    start = channel._brpop_start  # noqa: SLF001 -- declared in UPSTREAM

    def start_with_room(*args: Any, **kwargs: Any) -> None:
        with channel.conn_or_acquire() as client:
            client.setrange(ROOM, 0, "")  # changes nothing, and is refused as a change would be
        start(*args, **kwargs)

    channel._brpop_start = start_with_room  # noqa: SLF001 -- the same
