"""kombu's Redis transport: unacknowledged messages, the next message of a queue, closing after a lost connection.

kombu keeps a queue as a Redis list (messages are pushed on the left and popped on the right) and a delivered message in
a hash until it is acknowledged, with a sorted set of the delivery times beside it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

from kombu.exceptions import ChannelError
from kombu.transport.redis import Channel

TRIED: Final = ("kombu>=5.5.2,<5.8",)

UPSTREAM: Final[Mapping[str, str]] = {
    "kombu.transport.redis:Channel.conn_or_acquire": "a client of the channel's own connection",
    "kombu.transport.redis:Channel.unacked_key": "the hash of unacknowledged messages by delivery tag",
    "kombu.transport.redis:Channel.unacked_index_key": "the sorted set of delivery tags by delivery time",
    "kombu.transport.redis:QoS.append": "writes both: [message, exchange, routing key] as JSON, scored by time.time()",
    "kombu.transport.redis:QoS.restore_by_tag": "pushes an unacknowledged message back to its queue, in a transaction",
    "kombu.transport.redis:Channel._put": "a queue is the Redis list of its name, pushed to on the left",
    "kombu.transport.redis:Channel.close": "raises before the channel counts as closed where its connection is lost",
    "kombu.transport.redis:Channel.connection_errors": "the errors of a lost connection",
}

_REMOVE: Final = """
for _, message in ipairs(redis.call('LRANGE', KEYS[1], 0, ARGV[2] - 1)) do
  if string.find(message, ARGV[1], 1, true) then return redis.call('LREM', KEYS[1], 1, message) end
end
return 0
"""


def is_redis(channel: object) -> bool:
    """Whether a channel is one of the Redis transport, or of its subclass for Sentinel."""
    return isinstance(channel, Channel)


def delivery_times(channel: Any) -> dict[str, float]:
    """The delivery time of each unacknowledged message of the broker.

    Args:
        channel: a channel of the Redis transport.

    Returns:
        Seconds since 1970 by delivery tag, by the clock of the worker that received the message.
    """
    with channel.conn_or_acquire() as client:
        index = client.zrange(channel.unacked_index_key, 0, -1, withscores=True)
    return {tag.decode(): score for tag, score in index}


def unacknowledged(channel: Any, tags: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Read the headers of unacknowledged messages.

    Args:
        channel: a channel of the Redis transport.
        tags: their delivery tags.

    Returns:
        Headers by delivery tag, without the messages acknowledged meanwhile.
    """
    if not tags:
        return {}
    with channel.conn_or_acquire() as client:
        contents = client.hmget(channel.unacked_key, list(tags))
    return {tag: headers_of(stored) for tag, stored in zip(tags, contents, strict=True) if stored is not None}


def headers_of(stored: bytes) -> Mapping[str, Any]:
    """The headers of a message.

    Args:
        stored: an entry of the hash, JSON: the message, its exchange and its routing key.

    Returns:
        The headers; none where the entry is damaged.
    """
    try:
        headers = json.loads(stored)[0]["headers"]
    except (LookupError, TypeError, ValueError, RecursionError):  # not kombu's
        return {}
    return headers if isinstance(headers, dict) else {}


def requeue(channel: Any, tag: str) -> None:
    """Push an unacknowledged message back to its queue; do nothing if it was acknowledged meanwhile."""
    channel.qos.restore_by_tag(tag)


def queue_length(channel: Any, queue: str) -> int:
    """How many messages wait in a queue; 0 where it does not exist."""
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except ChannelError:  # Redis has no empty lists
        return 0


def next_message(channel: Any, queue: str) -> bytes | None:
    """The message that is delivered next, as JSON; None where the queue is empty."""
    with channel.conn_or_acquire() as client:
        message: bytes | None = client.lindex(queue, -1)
    return message


def remove_message(channel: Any, queue: str, containing: str, *, newest: int) -> None:
    """Remove the first message that contains a text.

    Args:
        channel: a channel of the Redis transport.
        queue: the queue's name.
        containing: the text.
        newest: how many of the newest messages are searched.
    """
    with channel.conn_or_acquire() as client:
        client.eval(_REMOVE, 1, queue, containing, newest)


def close_after_loss(channel: Any) -> None:
    """Make a channel close properly after its connection was lost.

    `Channel.close` first reads the reply to the pending BRPOP. Where the connection is lost that raises, before the
    channel counts as closed. Celery closes it once more, but by then the transport has no client any more: an
    AttributeError ends the worker's consumer, and the process stays alive without consuming. A second call at once,
    while the client exists, completes the close: the first call has cleared the pending BRPOP.
    """
    close = channel.close

    def close_completely() -> None:
        try:
            close()
        except channel.connection_errors:
            close()

    channel.close = close_completely
