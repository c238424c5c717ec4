"""Concurrent requests for the same answer share one computation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

from anyio import CapacityLimiter, to_thread

MAX_THREADS: Final = 16
"""Maximum number of answers computed at a time."""

_T = TypeVar("_T")


class SingleFlight:
    """Compute each answer once for all that wait for it; nothing is kept.

    An answer is never older than the request: a request that arrives during a computation gets the next one, which
    it shares with all that arrive meanwhile. The computations run in threads of their own, so that unresponsive
    databases do not hold up other requests.

    Args:
        threads: maximum number of computations at a time.
    """

    def __init__(self, threads: int = MAX_THREADS) -> None:
        self._threads = CapacityLimiter(threads)
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """Return the answer of a computation that began after this call.

        Args:
            key: identifies the answer.
            compute: computes it, in a thread.

        Raises:
            Exception: whatever `compute` raises.
        """
        waiting = self._waiting.get(key)
        if waiting is None or waiting.done():
            waiting = self._waiting[key] = asyncio.create_task(self._run(key, compute))
        answer: _T = await asyncio.shield(waiting)
        return answer

    async def _run(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        task = self._waiting[key]
        try:
            if key in self._running:
                await asyncio.wait([self._running[key]])
        finally:
            del self._waiting[key]
        self._running[key] = task
        try:
            return await to_thread.run_sync(compute, limiter=self._threads)
        finally:
            del self._running[key]
