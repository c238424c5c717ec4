"""Messages that a worker cannot read: each is rejected, and the worker goes on.

Celery rejects a message of a task that it does not know, or with a body that it cannot decode. Other damage raises in
the worker's main loop: text that is no JSON, JSON of another form, a task's name that is no text. That ends the worker,
and its message goes back to the queue, to the next worker. Any program that can write to the broker can send one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from kombu.exceptions import KombuError
from kombu.transport.redis import Channel
from kombu.transport.virtual.base import Message

from fbs_worker.jobs.celery_compat.patience import PatientConsumer, PatientQoS

TRIED: Final = ("celery>=5.5,<5.8", "kombu>=5.5.2,<5.8")

UPSTREAM: Final[Mapping[str, str]] = {
    "celery.worker.consumer.consumer:Consumer.create_task_handler": "overridden: the callback of each message",
    "celery.worker.consumer.consumer:Consumer.connection_errors": "the errors of a lost connection",
    "celery.worker.consumer.consumer:Consumer.on_unknown_message": "overridden: rejects a message that is no task",
    "celery.worker.consumer.consumer:Consumer.on_unknown_task": "overridden: rejects a task of another name",
    "celery.worker.consumer.consumer:Consumer.on_invalid_task": "overridden: rejects a task with invalid fields",
    "celery.worker.consumer.consumer:Consumer.on_decode_error": "overridden: rejects a body that cannot be decoded",
    "kombu.transport.redis:Channel.handlers": "by command, what reads its reply; BRPOP's parses the message as JSON",
    "kombu.transport.virtual.base:Transport._deliver": "hands a parsed message to the consumer of its queue",
    "kombu.transport.redis:Channel.QoS": "replaced by `TolerantQoS`",
    "kombu.transport.redis:QoS.restore_by_tag": "overridden: pushes an unacknowledged message back to its queue",
    "kombu.transport.redis:QoS.unacked_key": "the hash of unacknowledged messages by delivery tag",
    "kombu.transport.redis:QoS.unacked_index_key": "the sorted set of their delivery tags",
    "kombu.transport.virtual.base:Channel.Message": "replaced by `WholeMessage`",
    "kombu.transport.virtual.base:Message": "parses the fields of a message",
}

_MAX_TASK_NAME: Final = 200

_PROVOKED: Final = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a field of another type raises in Celery."""

_log = logging.getLogger(__name__)


class TolerantConsumer(PatientConsumer):
    """Celery's consumer, which rejects a message that cannot be read instead of ending the worker."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return the callback of each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> None:
            reason = _damage(message)
            if not reason:
                try:
                    handle(message)
                except OSError:  # the connection; its errors of TLS are ValueErrors too
                    raise
                except _PROVOKED as exc:
                    reason = f"it provokes a {type(exc).__name__}"
                else:
                    return
            self._count(reason)
            message.reject_log_error(_log, self.connection_errors)

        return on_task_received

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Count what Celery rejects as no task."""
        self._count("it is no task")
        super().on_unknown_message(body, message)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Count what Celery rejects as a task of another application."""
        self._count("the task is unknown")
        super().on_unknown_task(body, message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Count what Celery rejects as invalid."""
        self._count("the task's fields are invalid")
        super().on_invalid_task(body, message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Count what Celery rejects as undecodable."""
        self._count("its body cannot be decoded")
        super().on_decode_error(message, exc)

    def _count(self, reason: str) -> None:
        self.app.on_message_rejected(reason)


class TolerantQoS(PatientQoS):
    """kombu's store of unacknowledged messages, where a damaged one ends no worker."""

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Push a message back to its queue."""
        try:
            super().restore_by_tag(tag, client, leftmost)  # type: ignore[no-untyped-call]
        except _PROVOKED:
            _log.warning("An unacknowledged message was dropped: it is damaged.")
            with self.channel.conn_or_acquire(client) as connection:
                connection.hdel(self.unacked_key, tag)
                connection.zrem(self.unacked_index_key, tag)


class NoMessageError(ValueError):
    """What came is no message of Celery."""


class WholeMessage(Message):
    """kombu's message, with all fields that kombu uses later.

    Raises:
        NoMessageError: it has other fields.
    """

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **kwargs)  # type: ignore[no-untyped-call]
            whole = isinstance(self.delivery_tag, str) and {"exchange", "routing_key"} <= self.delivery_info.keys()
        except (AttributeError, LookupError, TypeError, ValueError) as exc:
            raise NoMessageError from exc
        if not whole:
            raise NoMessageError


Channel.QoS, Channel.Message = TolerantQoS, WholeMessage


def tolerate_unreadable(channel: Any, rejected: Callable[[str], None]) -> None:
    """Let a channel of the Redis transport drop what is no message.

    Args:
        channel: the worker's channel; each connection has another.
        rejected: called with the reason.
    """
    read, transport = channel.handlers["BRPOP"], channel.connection
    deliver = transport._deliver  # noqa: SLF001 -- declared in UPSTREAM

    def read_or_reject(**options: Any) -> Any:
        try:
            return read(**options)
        except (ValueError, RecursionError):
            rejected("it is no JSON")
            return True

    def deliver_or_reject(raw: Any, queue: str) -> None:
        try:
            deliver(raw, queue)
        except NoMessageError:
            rejected("it is no message of Celery")

    channel.handlers["BRPOP"] = read_or_reject
    transport._deliver = deliver_or_reject  # noqa: SLF001 -- the same


def _damage(message: Any) -> str:
    """Why Celery could not read a message; empty if it can."""
    if not isinstance(message.headers, Mapping):
        return "its headers are no object"
    name = message.headers.get("task", "")
    if not isinstance(name, str) or len(name) > _MAX_TASK_NAME:
        return "the task's name is no text of at most 200 characters"
    if name and not isinstance(message.headers.get("id"), str):
        return "the task has no id"
    if not name:  # the first version of Celery's protocol: its fields are in the body
        return ""
    try:
        match message.payload:
            case [list(), dict(), dict() | None]:
                return ""
    except (KombuError, *_PROVOKED):
        return "its body cannot be decoded"
    return "its body is not [arguments, keyword arguments, options]"
