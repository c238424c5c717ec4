"""Answers that are dear to make, kept for a moment.

How solutions are is asked of many databases, and PostgreSQL writes long pages. So an answer is kept for two seconds at
most, everybody who asks the same at the same time gets the same one, and a job that comes into another state makes all
of them void at once: Redis counts those changes, and is asked for that count every time.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from anyio import CapacityLimiter, to_thread

from fbs_worker.core.errors import QueueUnreachable

SECONDS: Final = 2.0
"""How long an answer is kept at most."""

MOST: Final = 1_000
"""How many answers are kept."""

MOST_BYTES: Final = 64 * 2**20
"""How many bytes they may have together."""

THREADS: Final = 16
"""How many answers are made at a time."""

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """One question at a time for everybody who has it: whoever asks gets what was found after they asked.

    Args:
        ask: finds it.
    """

    def __init__(self, ask: Callable[[], Awaitable[_T]]) -> None:
        self._ask = ask
        self._now: asyncio.Task[_T] | None = None
        self._next: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        """What is so now."""
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._after(self._now))
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[_T] | None) -> _T:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._now, self._next = self._next, None
        return await self._ask()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """An answer that is there or on its way.

    Attributes:
        mark: how many changes there had been when it was begun.
        until: when it is too old (monotonic).
        answer: it.
    """

    mark: str
    until: float
    answer: asyncio.Task[Any]

    @property
    def is_stale(self) -> bool:
        """It is there and too old, or it will never be there."""
        if not self.answer.done():
            return False
        return self.answer.cancelled() or self.answer.exception() is not None or time.monotonic() > self.until


class Fresh:
    """Keeps answers for a moment.

    Args:
        changes: gives a mark that is another one whenever something has changed; it may wait for a server.
        seconds: how long an answer is kept at most.
        threads: how many answers are made at a time.
        most: how many answers are kept.
        most_bytes: how many bytes all answers that are bytes may have together.
    """

    def __init__(
        self,
        changes: Callable[[], str],
        *,
        seconds: float = SECONDS,
        threads: int = THREADS,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._changes = changes
        self._seconds = seconds
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._bytes = 0
        self._marks: Shared[str] = Shared(self._mark)
        self._threads = CapacityLimiter(threads)
        self._one_thread = CapacityLimiter(1)
        self._blind_until = 0.0

    async def mark(self) -> str:
        """What is so now: another one whenever something has changed, the same from before to after a request's look.

        Where the changes cannot be asked for it is empty, and time alone decides.
        """
        return await self._marks.get()

    async def get(self, key: Hashable, make: Callable[[], _T], *, mark: str | None = None) -> _T:
        """The answer to a question.

        Args:
            key: the question.
            make: finds the answer; it runs in a thread.
            mark: as it is now, where the caller has asked for it already.

        Raises:
            Exception: what `make` raises; that is not kept.
        """
        now = await self.mark() if mark is None else mark
        kept = self._kept.get(key)
        if kept is None or kept.mark != now or kept.is_stale:
            kept = self._begin(key, now, asyncio.create_task(self._made(make)))
        found: _T = await asyncio.shield(kept.answer)
        return found

    def _begin(self, key: Hashable, mark: str, answer: asyncio.Task[Any]) -> _Kept:
        kept = _Kept(mark=mark, until=time.monotonic() + self._seconds, answer=answer)
        if key in self._kept:
            self._forget(key)
        self._kept[key] = kept
        self._make_room()
        answer.add_done_callback(lambda _: self._arrived(key, kept))
        return kept

    def _arrived(self, key: Hashable, kept: _Kept) -> None:
        """Whoever waited for it may have gone: what went wrong is nobody's then."""
        if kept.answer.cancelled() or kept.answer.exception() is not None:
            return
        found = kept.answer.result()
        if self._kept.get(key) is kept and isinstance(found, bytes):
            self._sizes[key] = len(found)
            self._bytes += len(found)
            self._make_room()

    def _make_room(self) -> None:
        """The oldest go: those that are too old anyway, and those that are too many."""
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if not oldest.is_stale and len(self._kept) <= self._most and self._bytes <= self._most_bytes:
                return
            self._forget(key)

    def _forget(self, key: Hashable) -> None:
        del self._kept[key]
        self._bytes -= self._sizes.pop(key, 0)

    async def _made(self, make: Callable[[], _T]) -> _T:
        return await to_thread.run_sync(make, limiter=self._threads)

    async def _mark(self) -> str:
        if time.monotonic() < self._blind_until:
            return ""
        try:
            return await to_thread.run_sync(self._changes, limiter=self._one_thread)
        except QueueUnreachable:  # asking again and again would hold everybody up
            self._blind_until = time.monotonic() + self._seconds
            return ""
