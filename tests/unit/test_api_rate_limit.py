"""Rate limits and body size limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message

from fbs_worker.web.api.errors import TooManyRequests
from fbs_worker.web.api.rate_limit import BodyTooLong, RateLimiter, content_length, limited_body


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def passed(limiter: RateLimiter, key: str, times: int) -> int:
    count = 0
    for _ in range(times):
        try:
            limiter.take(key)
        except TooManyRequests:
            break
        count += 1
    return count


def test_a_burst_passes_then_the_bucket_refills() -> None:
    clock = Clock()
    limiter = RateLimiter(60, clock=clock)
    assert passed(limiter, "ci", 100) == 60
    clock.now += 5
    assert passed(limiter, "ci", 100) == 5
    clock.now += 3_600
    assert passed(limiter, "ci", 100) == 60


def test_buckets_are_separate_per_key() -> None:
    limiter = RateLimiter(2, clock=Clock())
    assert passed(limiter, "a", 9) == 2
    assert passed(limiter, "b", 9) == 2


def test_the_error_has_the_delay_until_the_next_request() -> None:
    clock = Clock()
    limiter = RateLimiter(30, clock=clock)
    passed(limiter, "ci", 30)
    with pytest.raises(TooManyRequests) as raised:
        limiter.take("ci")
    assert raised.value.context["retry_after"] == 2
    clock.now += raised.value.context["retry_after"]
    limiter.take("ci")


def test_zero_means_no_limit() -> None:
    assert passed(RateLimiter(0), "ci", 10_000) == 10_000


def test_the_number_of_buckets_is_bounded() -> None:
    limiter = RateLimiter(1, clock=Clock())
    for number in range(12_000):
        limiter.take(str(number))
    assert len(limiter._buckets) == 10_000
    assert passed(limiter, "11999", 1) == 0


async def read(parts: Sequence[int], most: int) -> int:
    messages: list[Message] = [{"type": "http.request", "body": b"x" * part, "more_body": True} for part in parts]

    async def receive() -> Message:
        return messages.pop(0)

    receiving = limited_body(receive, most)
    return sum([len((await receiving())["body"]) for _ in parts])


def test_a_body_at_the_limit_passes() -> None:
    assert asyncio.run(read([60, 40, 0], 100)) == 100


def test_a_body_beyond_the_limit_raises() -> None:
    with pytest.raises(BodyTooLong) as raised:
        asyncio.run(read([60, 41], 100))
    assert raised.value.status_code == 413
    assert "100 bytes" in raised.value.error.message


@pytest.mark.parametrize(("header", "length"), [(b"12", 12), (b"", 0), (b"-1", 0), (b"x", 0)])
def test_content_length(header: bytes, length: int) -> None:
    assert content_length({b"content-length": header}) == length
