"""Concurrent requests for the same answer share one computation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from fbs_worker.core.errors import UsageError
from fbs_worker.web.api.single_flight import SingleFlight

PATIENCE = 30.0


class Slow:
    """Counts its calls; each waits until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = threading.Event()

    def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        assert self.go.wait(PATIENCE)
        return number


async def begun(slow: Slow) -> None:
    while not slow.calls:
        await asyncio.sleep(0)


def test_an_answer_is_shared_and_never_older_than_the_request() -> None:
    flights, slow, other = SingleFlight(), Slow(), Slow()
    other.go.set()

    async def work() -> list[int]:
        first = asyncio.create_task(flights.get("a", slow))
        await begun(slow)
        later = [asyncio.create_task(flights.get("a", slow)) for _ in range(5)]
        assert await flights.get("b", other) == 1, "another answer does not wait"
        later[0].cancel()
        await asyncio.sleep(0)
        slow.go.set()
        return list(await asyncio.gather(first, *later[1:]))

    assert asyncio.run(work()) == [1, 2, 2, 2, 2], "one that is cancelled does not cancel the others"
    assert asyncio.run(flights.get("a", slow)) == 3, "nothing is kept, and another event loop may ask"


@pytest.mark.parametrize("cancel", [True, False])
def test_what_fails_is_asked_again(cancel: bool) -> None:
    flights, slow = SingleFlight(), Slow()
    slow.go.set()

    def fails() -> int:
        raise UsageError("No.")

    async def work() -> int:
        asked: Callable[[], int] = slow if cancel else fails
        first = asyncio.create_task(flights.get("a", asked))
        if cancel:
            first.cancel()
        with pytest.raises(asyncio.CancelledError if cancel else UsageError):
            await first
        return await flights.get("a", slow)

    assert asyncio.run(work()) == 1
