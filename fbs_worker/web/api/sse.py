"""Stream a job's events as server-sent events (HTML standard, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Final

import orjson
from anyio import to_thread
from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fbs_worker.jobs.model import JobEvent
from fbs_worker.web.api.auth import principal_of
from fbs_worker.web.api.dependencies import databases_of
from fbs_worker.web.api.long_poll import JobWaiters
from fbs_worker.web.api.response_models import EventBody

KEEPALIVE_SECONDS: Final = 15
"""Interval of keep-alive comments: proxies close connections without traffic."""

_KEEPALIVE: Final = b": keep-alive\n\n"
_RETRY: Final = b"retry: 2000\n\n"
"""Delay in milliseconds before a client reconnects."""

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern="^[0-9]{1,15}-[0-9]{1,15}$",
        description="resume after the event with this `id`",
        examples=["1767225600000-0"],
    ),
]

EVENT_STREAM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The events; the `data` of each is JSON: "
        + ", ".join(f"`{name}`" for name in EventBody.model_fields),
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "description": "an event of the stream",
                    "properties": {
                        "id": {"type": "string", "description": "value for `Last-Event-ID`"},
                        "event": {"type": "string", "description": "`kind` of the data"},
                        "data": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "the event as JSON",
                        },
                    },
                },
                "example": "id: 1767225600000-0\nevent: step\n"
                'data: {"id":"1767225600000-0","job_id":"0b9f3c5e","kind":"step","state":"running","step":"fields",'
                '"current":0,"total":20000,"percent":0,"message":"","at":"2026-01-01T00:00:00.000+00:00"}\n\n',
            }
        },
    },
    204: {"description": "The job has finished, and `Last-Event-ID` was its last event"},
}


async def event_stream(request: Request, job_id: str, after: str | None) -> Response:
    """Stream a job's events.

    Args:
        request: the request.
        job_id: the job's id.
        after: resume after the event with this id; None starts at the first stored event.

    Returns:
        The stream; 204 if the job has finished and `after` was its last event.

    Raises:
        JobNotFound: no job has that id.
        TooBusy: too many requests wait for jobs.
        QueueUnreachable: Redis does not respond.
    """
    databases = databases_of(request)
    record = await to_thread.run_sync(databases.jobs.get, job_id)
    if after is not None and record.state.finished:
        newest = await to_thread.run_sync(databases.jobs.newest_event, job_id)
        if _number(newest) <= _number(after):
            return Response(status_code=204)
    caller = principal_of(request).name
    databases.waiters.acquire(caller)
    return _Stream(partial(databases.waiters.release, caller), _chunks(databases.waiters, request, job_id, after))


class _Stream(StreamingResponse):
    """A stream that releases its slot, even if the client disconnects before the first chunk."""

    def __init__(self, release: Callable[[], None], chunks: AsyncIterator[bytes]) -> None:
        super().__init__(
            chunks, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


async def _chunks(waiters: JobWaiters, request: Request, job_id: str, after: str | None) -> AsyncIterator[bytes]:
    yield _RETRY
    silent = 0
    async with aclosing(waiters.events(request, job_id, after=after)) as events:
        async for event in events:
            if event is not None:
                silent = 0
                yield _serialise(event)
                continue
            silent += 1
            if silent % KEEPALIVE_SECONDS == 0:
                yield _KEEPALIVE


def _serialise(event: JobEvent) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), event.kind.encode(), orjson.dumps(event.to_dict()))


def _number(event_id: str) -> tuple[int, int]:
    """Parse an id of a Redis stream, to compare it numerically."""
    at, _, count = event_id.partition("-")
    return int(at), int(count)
