"""Long polling: requests that wait for a job or stream its events, limited in number, on threads of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from fbs_worker.jobs.model import JobEvent
from fbs_worker.jobs.store import JobReader
from fbs_worker.web.api.errors import TooBusy

MAX_WAITERS: Final = 128
"""Maximum number of requests that wait at a time; a caller has a quarter of them."""

_END: Final = object()


class JobWaiters:
    """The requests that wait for jobs.

    Args:
        jobs: the read side of the job store.
        limit: maximum number of requests that wait at a time.
    """

    def __init__(self, jobs: JobReader, *, limit: int = MAX_WAITERS) -> None:
        self._jobs = jobs
        self._limit = limit
        self._threads = CapacityLimiter(limit)
        self._active: Counter[str] = Counter()

    def acquire(self, caller: str) -> None:
        """Take a slot, to be returned by `release`.

        Args:
            caller: the name of the caller's token.

        Raises:
            TooBusy: all slots are in use, or all that the caller may have.
        """
        share = max(1, self._limit // 4)
        if self._active[caller] >= share:
            raise TooBusy(
                f"{share} requests of {caller} wait for jobs already.", hint="Poll the job instead of waiting for it."
            )
        if self._active.total() >= self._limit:
            raise TooBusy(
                f"{self._limit} requests wait for jobs already.", hint="Poll the job instead of waiting for it."
            )
        self._active[caller] += 1

    def release(self, caller: str) -> None:
        """Return a slot of a caller."""
        self._active[caller] -= 1

    @contextmanager
    def slot(self, caller: str) -> Iterator[None]:
        """Hold a slot during the block; arguments and errors as for `acquire`."""
        self.acquire(caller)
        try:
            yield
        finally:
            self.release(caller)

    async def events(
        self, request: Request, job_id: str, *, after: str | None, timeout: float | None = None
    ) -> AsyncGenerator[JobEvent | None]:
        """Yield a job's events as `JobReader.watch` does, until the client disconnects or the server shuts down.

        Args:
            request: the waiting request.
            job_id: the job's id.
            after: the id of the last event to skip; see `JobReader.watch`.
            timeout: seconds after which the events end; None for no limit.
        """
        events = self._jobs.watch(job_id, after=after, timeout=timeout)
        try:
            while True:
                event = await to_thread.run_sync(next, events, _END, limiter=self._threads)
                if not isinstance(event, JobEvent | None):
                    return
                if event is None and (request.app.state.closing.is_set() or await request.is_disconnected()):
                    return
                yield event
        finally:
            events.close()

    async def wait_until_finished(self, request: Request, job_id: str, seconds: float) -> None:
        """Wait until a job has finished, the client disconnects or the server shuts down.

        Args:
            request: the waiting request.
            job_id: the job's id.
            seconds: maximum time to wait.
        """
        async with aclosing(self.events(request, job_id, after="", timeout=seconds)) as events:
            async for event in events:
                if event is not None and event.last:
                    return
