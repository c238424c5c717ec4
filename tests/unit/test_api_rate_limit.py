"""How much one caller may ask for."""

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


def test_a_minutes_worth_passes_at_once_then_as_much_as_time_brings() -> None:
    clock = Clock()
    limiter = RateLimiter(60, clock=clock)
    assert passed(limiter, "ci", 100) == 60
    clock.now += 5
    assert passed(limiter, "ci", 100) == 5
    clock.now += 3_600
    assert passed(limiter, "ci", 100) == 60


def test_callers_do_not_use_up_each_others() -> None:
    limiter = RateLimiter(2, clock=Clock())
    assert passed(limiter, "a", 9) == 2
    assert passed(limiter, "b", 9) == 2


def test_what_is_too_much_tells_when_to_come_again() -> None:
    clock = Clock()
    limiter = RateLimiter(30, clock=clock)
    passed(limiter, "ci", 30)
    with pytest.raises(TooManyRequests) as told:
        limiter.take("ci")
    assert told.value.context["retry_after"] == 2
    clock.now += told.value.context["retry_after"]
    limiter.take("ci")


def test_no_limit_is_none() -> None:
    assert passed(RateLimiter(0), "ci", 10_000) == 10_000


def test_memory_does_not_grow_with_addresses() -> None:
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


def test_a_body_may_have_so_many_bytes() -> None:
    assert asyncio.run(read([60, 40, 0], 100)) == 100


def test_a_body_that_grows_too_large_ends_there() -> None:
    with pytest.raises(BodyTooLong) as told:
        asyncio.run(read([60, 41], 100))
    assert told.value.status_code == 413
    assert "100 bytes" in told.value.error.message


@pytest.mark.parametrize(("header", "length"), [(b"12", 12), (b"", 0), (b"-1", 0), (b"x", 0)])
def test_what_a_request_announces(header: bytes, length: int) -> None:
    assert content_length({b"content-length": header}) == length
