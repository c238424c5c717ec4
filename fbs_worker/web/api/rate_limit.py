"""Rate limits per principal or address, and the size limit of bodies.

Token bucket per key, in this process: a bucket holds a minute's worth, so bursts pass.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from fbs_worker.web.api.errors import BodyTooLarge, TooManyRequests

WRONG_TOKENS_PER_MINUTE: Final = 20
"""Limit of wrong tokens per address; right ones are accepted even after that."""

_MAX_BUCKETS: Final = 10_000
_MINUTE: Final = 60.0


class RateLimiter:
    """Limit requests per key and minute.

    Args:
        per_minute: the limit; 0 for none.
        clock: monotonic seconds.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count one request.

        Args:
            key: the bucket.

        Raises:
            TooManyRequests: the limit is exceeded; `context["retry_after"]` has the seconds until the next is allowed.
        """
        if not self._capacity:
            return
        now = self._clock()
        left, at = self._buckets.pop(key, (self._capacity, now))
        left = min(self._capacity, left + (now - at) * self._capacity / _MINUTE)
        if left >= 1:
            self._store(key, left - 1, now)
            return
        self._store(key, left, now)
        raise TooManyRequests(
            f"More than {self._capacity:.0f} requests within a minute.",
            hint="Wait as long as Retry-After says; FBS_API_RATE is the limit.",
            retry_after=round((1 - left) * _MINUTE / self._capacity, 3),
        )

    def _store(self, key: str, left: float, now: float) -> None:
        self._buckets[key] = (left, now)
        if len(self._buckets) > _MAX_BUCKETS:  # bounds the memory: addresses are many
            self._buckets.popitem(last=False)


class BodyTooLong(HTTPException):
    """A body exceeded the size limit while it was read; an HTTPException, which FastAPI passes to its handler.

    Args:
        limit: the size limit in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(413)
        self.error = body_too_large(limit)


def body_too_large(limit: int) -> BodyTooLarge:
    """The error for a body that exceeds the size limit, in bytes."""
    return BodyTooLarge(f"The body has more than {limit} bytes.", hint="Send less; FBS_API_MAX_BODY is the limit.")


def content_length(headers: Mapping[bytes, bytes]) -> int:
    """The value of Content-Length; 0 if it is missing or not a number."""
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def limited_body(receive: Receive, limit: int) -> Receive:
    """Wrap the ASGI `receive` so that reading a body beyond the size limit raises.

    Args:
        receive: yields the chunks.
        limit: the size limit in bytes.

    Raises:
        BodyTooLong: while reading, when the limit is exceeded.
    """
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > limit:
                raise BodyTooLong(limit)
        return message

    return receive_limited
