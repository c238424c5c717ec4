"""Requests that wait for a job, or tell of it as it goes. They have threads of their own: there are only so many."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request

from fbs_worker.jobs.model import JobEvent
from fbs_worker.jobs.store import JobReader
from fbs_worker.web.api.errors import TooBusy

MOST: Final = 64
"""Requests that wait at a time."""

_END: Final = object()


class Waiting:
    """Who waits for jobs.

    Args:
        jobs: their records.
        most: how many may wait at a time.
    """

    def __init__(self, jobs: JobReader, *, most: int = MOST) -> None:
        self._jobs = jobs
        self._most = most
        self._threads = CapacityLimiter(most)
        self._there = 0

    def enter(self) -> None:
        """Take a place; give it back with `leave`.

        Raises:
            TooBusy: there is none left.
        """
        if self._there >= self._most:
            raise TooBusy(
                f"{self._most} requests wait for jobs already.", hint="Ask for the job now and then instead of waiting."
            )
        self._there += 1

    def leave(self) -> None:
        """Give a place back."""
        self._there -= 1

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for as long as it lasts; see `enter`."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    async def events(
        self, request: Request, job_id: str, *, after: str | None, timeout: float | None = None
    ) -> AsyncGenerator[JobEvent | None]:
        """The events of a job; see `JobReader.watch`. They end, too, when whoever asked has gone or the server ends.

        Args:
            request: who asks.
            job_id: the job's id.
            after: as for `JobReader.watch`, and the same for the others.
            timeout: see `after`.
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

    async def until_ended(self, request: Request, job_id: str, seconds: float) -> None:
        """Wait for the end of a job; see `events`.

        Args:
            request: who asks.
            job_id: the job's id.
            seconds: how long at most.
        """
        async with aclosing(self.events(request, job_id, after="", timeout=seconds)) as events:
            async for event in events:
                if event is not None and event.last:
                    return
