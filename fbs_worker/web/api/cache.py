"""Short-lived response cache with request coalescing.

An overview queries many databases, and PostgreSQL renders long pages as JSON: both are expensive. A response is cached
for at most two seconds, concurrent requests for the same key share one computation, and a job that changes its state
invalidates everything at once: Redis keeps a counter of those changes, which each lookup reads.
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

TTL_SECONDS: Final = 2.0
"""Maximum age of a cached response, in seconds."""

MAX_ENTRIES: Final = 1_000
"""Maximum number of cached responses."""

MAX_BYTES: Final = 64 * 2**20
"""Maximum total size of the cached responses that are bytes."""

MAX_THREADS: Final = 16
"""Maximum number of responses computed at a time."""

_T = TypeVar("_T")


class Coalescer(Generic[_T]):
    """Coalesce concurrent calls: a caller gets the result of a call that started after its own request.

    Args:
        call: the coalesced call; at most one runs at a time.
    """

    def __init__(self, call: Callable[[], Awaitable[_T]]) -> None:
        self._call = call
        self._current: asyncio.Task[_T] | None = None
        self._next: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        """Return the result of the next call, shared by all that wait for it.

        Raises:
            Exception: whatever the call raises.
        """
        if self._next is None or self._next.done():
            self._next = asyncio.create_task(self._after(self._current))
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[_T] | None) -> _T:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._current, self._next = self._next, None
        return await self._call()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A response that is computed or being computed.

    Attributes:
        version: the change counter when the computation began.
        expires: when it expires (monotonic seconds).
        response: the computation.
    """

    version: str
    expires: float
    response: asyncio.Task[Any]

    @property
    def is_stale(self) -> bool:
        if not self.response.done():
            return False
        return self.response.cancelled() or self.response.exception() is not None or time.monotonic() > self.expires


class ResponseCache:
    """Cache responses by key, until they expire or the version changes.

    Args:
        read_version: returns a version that differs after every change; it may block on a server.
        seconds: maximum age of a response.
        threads: maximum number of computations at a time.
        max_entries: maximum number of responses.
        max_bytes: maximum total size of the responses that are bytes.
    """

    def __init__(
        self,
        read_version: Callable[[], str],
        *,
        seconds: float = TTL_SECONDS,
        threads: int = MAX_THREADS,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._read_version = read_version
        self._seconds = seconds
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._bytes = 0
        self._versions: Coalescer[str] = Coalescer(self._current_version)
        self._threads = CapacityLimiter(threads)
        self._one_thread = CapacityLimiter(1)
        self._version_unknown_until = 0.0

    async def version(self) -> str:
        """Return the current version; empty while it cannot be read, so that only age expires responses.

        A version that was read before a request's query and equals the one after it proves that nothing changed.
        """
        return await self._versions.get()

    async def get(self, key: Hashable, compute: Callable[[], _T], *, version: str | None = None) -> _T:
        """Return the cached response for a key, computing it if it is missing or stale.

        Args:
            key: identifies the request.
            compute: computes the response; it runs in a thread.
            version: the current version, if the caller has read it already.

        Raises:
            Exception: whatever `compute` raises; that is not cached.
        """
        current = await self.version() if version is None else version
        entry = self._entries.get(key)
        if entry is None or entry.version != current or entry.is_stale:
            entry = self._add(key, current, asyncio.create_task(self._run(compute)))
        response: _T = await asyncio.shield(entry.response)
        return response

    def _add(self, key: Hashable, version: str, response: asyncio.Task[Any]) -> _Entry:
        entry = _Entry(version=version, expires=time.monotonic() + self._seconds, response=response)
        if key in self._entries:
            self._remove(key)
        self._entries[key] = entry
        self._evict()
        response.add_done_callback(lambda _: self._completed(key, entry))
        return entry

    def _completed(self, key: Hashable, entry: _Entry) -> None:
        # reading the exception also marks it as retrieved: every request for it may have been cancelled
        if entry.response.cancelled() or entry.response.exception() is not None:
            return
        response = entry.response.result()
        if self._entries.get(key) is entry and isinstance(response, bytes):
            self._sizes[key] = len(response)
            self._bytes += len(response)
            self._evict()

    def _evict(self) -> None:
        while self._entries:
            key, oldest = next(iter(self._entries.items()))
            if not oldest.is_stale and len(self._entries) <= self._max_entries and self._bytes <= self._max_bytes:
                return
            self._remove(key)

    def _remove(self, key: Hashable) -> None:
        del self._entries[key]
        self._bytes -= self._sizes.pop(key, 0)

    async def _run(self, compute: Callable[[], _T]) -> _T:
        return await to_thread.run_sync(compute, limiter=self._threads)

    async def _current_version(self) -> str:
        if time.monotonic() < self._version_unknown_until:
            return ""
        try:
            return await to_thread.run_sync(self._read_version, limiter=self._one_thread)
        except QueueUnreachable:  # each further attempt would delay every request by its timeout
            self._version_unknown_until = time.monotonic() + self._seconds
            return ""
