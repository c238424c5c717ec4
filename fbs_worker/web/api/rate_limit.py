"""How much one caller may ask for: requests a minute, wrong tokens a minute, bytes of a body.

The counts are this process's own. A bucket of tokens per caller: it holds a minute's worth, so a burst passes.
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
"""So many wrong tokens of one address are looked into; a right one is let in all the same."""

_MOST_BUCKETS: Final = 10_000
_MINUTE: Final = 60.0


class Limiter:
    """Counts requests per key.

    Args:
        per_minute: how many; 0 for any number.
        clock: seconds that only grow.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count one.

        Args:
            key: whose.

        Raises:
            TooManyRequests: it is one too many; `context["retry_after"]` has the seconds until the next.
        """
        if not self._most:
            return
        now = self._clock()
        left, at = self._buckets.pop(key, (self._most, now))
        left = min(self._most, left + (now - at) * self._most / _MINUTE)
        if left >= 1:
            self._keep(key, left - 1, now)
            return
        self._keep(key, left, now)
        raise TooManyRequests(
            f"More than {self._most:.0f} requests within a minute.",
            hint="Wait as long as Retry-After says; FBS_API_RATE is the limit.",
            retry_after=round((1 - left) * _MINUTE / self._most, 3),
        )

    def _keep(self, key: str, left: float, now: float) -> None:
        """The buckets of those who asked last stay: addresses are many, and memory is not."""
        self._buckets[key] = (left, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)


class BodyTooLong(HTTPException):
    """A body turned out to be too large while it was read; the framework lets this through to the error's answer.

    Args:
        most: the bytes that one may have.
    """

    def __init__(self, most: int) -> None:
        super().__init__(413)
        self.error = too_large(most)


def too_large(most: int) -> BodyTooLarge:
    """The refusal of a body with more bytes than that."""
    return BodyTooLarge(f"The body has more than {most} bytes.", hint="Send less; FBS_API_MAX_BODY is the limit.")


def announced_length(headers: Mapping[bytes, bytes]) -> int:
    """The bytes that a request says its body has; 0 where it says nothing."""
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def counted(receive: Receive, most: int) -> Receive:
    """A body's chunks as they come, and an end of it when they are too many.

    Args:
        receive: gives the chunks.
        most: bytes.

    Raises:
        BodyTooLong: (while it is read) there are more.
    """
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most:
                raise BodyTooLong(most)
        return message

    return receive_counted
