"""Response cache and request coalescing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fbs_worker.core.errors import QueueUnreachable, UsageError
from fbs_worker.web.api.cache import Coalescer, ResponseCache

PATIENCE = 30.0


class Changes:
    """What Redis counts."""

    def __init__(self) -> None:
        self.version = "0"
        self.asked = 0
        self.away = False

    def __call__(self) -> str:
        self.asked += 1
        if self.away:
            raise QueueUnreachable("No.", hint="Start it.")
        return self.version


def counting() -> Callable[[], int]:
    made = iter(range(1, 100))
    return lambda: next(made)


def run(work: Callable[[], Any]) -> Any:
    return asyncio.run(work())


def test_a_response_is_cached_until_the_version_changes() -> None:
    changes, make = Changes(), counting()
    cache = ResponseCache(changes, seconds=PATIENCE)

    async def work() -> list[int]:
        found = [await cache.get("a", make), await cache.get("a", make), await cache.get("b", make)]
        changes.version = "1"
        return [*found, await cache.get("a", make), await cache.get("a", make)]

    assert run(work) == [1, 1, 2, 3, 3]
    assert run(lambda: cache.get("a", make)) == 3, "in another event loop, too"


def test_a_response_expires() -> None:
    make = counting()
    cache = ResponseCache(Changes(), seconds=0.05)

    async def work() -> tuple[int, int]:
        first = await cache.get("a", make)
        until = time.monotonic() + PATIENCE
        while (again := await cache.get("a", make)) == first:
            assert time.monotonic() < until
        return first, again

    assert run(work) == (1, 2)


def test_concurrent_requests_share_one_computation() -> None:
    make, go = counting(), threading.Event()
    cache = ResponseCache(Changes(), seconds=0.0)

    def slow() -> int:
        assert go.wait(PATIENCE)
        return make()

    async def work() -> list[int]:
        asking = [asyncio.create_task(cache.get("a", slow)) for _ in range(5)]
        while not cache._entries:
            await asyncio.sleep(0)
        asking.append(asyncio.create_task(cache.get("a", slow)))
        asking[0].cancel()
        await asyncio.sleep(0.05)
        go.set()
        return list(await asyncio.gather(*asking[1:]))

    assert run(work) == [1] * 5, "a cancelled request does not cancel the others"


def test_a_computation_from_before_a_change_is_not_reused_after_it() -> None:
    changes, make, started, go = Changes(), counting(), threading.Event(), threading.Event()
    cache = ResponseCache(changes, seconds=PATIENCE)

    def slow() -> int:
        number = make()
        if number == 1:
            started.set()
            assert go.wait(PATIENCE)
        return number

    async def work() -> tuple[int, int]:
        before = asyncio.create_task(cache.get("a", slow))
        while not started.is_set():
            await asyncio.sleep(0)
        changes.version = "1"
        after = await cache.get("a", slow)
        go.set()
        return await before, after

    assert run(work) == (1, 2)


def test_an_error_is_not_cached() -> None:
    cache, tries = ResponseCache(Changes(), seconds=PATIENCE), counting()

    def fails_once() -> int:
        if tries() == 1:
            raise UsageError("No.")
        return 7

    async def work() -> int:
        with pytest.raises(UsageError):
            await cache.get("a", fails_once)
        return await cache.get("a", fails_once)

    assert run(work) == 7


def test_without_redis_only_age_expires_responses() -> None:
    changes, make = Changes(), counting()
    changes.away = True
    cache = ResponseCache(changes, seconds=PATIENCE)

    async def work() -> list[int]:
        return [await cache.get("a", make) for _ in range(5)]

    assert run(work) == [1] * 5
    assert changes.asked == 1, "a server that is away is not asked every time"


def test_entries_and_bytes_are_limited() -> None:
    cache = ResponseCache(Changes(), seconds=PATIENCE, max_entries=4, max_bytes=100)

    async def work(size: int) -> list[object]:
        for number in range(10):
            await cache.get(number, lambda: b"x" * size)
        await asyncio.sleep(0)
        return list(cache._entries)

    assert run(lambda: work(1)) == [6, 7, 8, 9]
    assert run(lambda: work(40)) == [8, 9]
    assert cache._bytes == 80
    assert run(lambda: work(200)) == []
    assert cache._bytes == 0


def test_stale_responses_are_evicted() -> None:
    cache = ResponseCache(Changes(), seconds=0.0)

    async def work() -> list[object]:
        for number in range(5):
            await cache.get(number, lambda: b"x")
        return list(cache._entries)

    assert run(work) in ([4], [])


def test_a_coalesced_call_starts_after_the_request() -> None:
    asked: list[int] = []

    async def ask() -> int:
        asked.append(len(asked))
        number = asked[-1]
        await asyncio.sleep(0.02)
        return number

    async def work() -> list[int]:
        shared = Coalescer(ask)
        first = asyncio.create_task(shared.get())
        while not asked:
            await asyncio.sleep(0)
        others = [asyncio.create_task(shared.get()) for _ in range(4)]
        return list(await asyncio.gather(first, *others))

    assert run(work) == [0, 1, 1, 1, 1]
