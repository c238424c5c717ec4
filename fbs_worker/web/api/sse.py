"""A job's events over HTTP, as server-sent events (HTML standard, section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final

import orjson
from anyio import to_thread
from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fbs_worker.jobs.model import JobEvent
from fbs_worker.web.api.long_poll import Waiting
from fbs_worker.web.api.response_models import EventBody
from fbs_worker.web.api.responses import places_of

EVERY_SECONDS: Final = 15
"""How often something is sent though nothing happens: proxies end connections that are silent."""

_STILL_THERE: Final = b": still here\n\n"
_RETRY: Final = b"retry: 2000\n\n"
"""Milliseconds after which a client that lost its connection comes back."""

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern="^[0-9]{1,15}-[0-9]{1,15}$",
        description="go on after the event of this `id`",
        examples=["1767225600000-0"],
    ),
]

EVENTS_TOLD: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The events; `data` of each is JSON: "
        + ", ".join(f"`{name}`" for name in EventBody.model_fields),
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "description": "one event of the stream",
                    "properties": {
                        "id": {"type": "string", "description": "for `Last-Event-ID`"},
                        "event": {"type": "string", "description": "its kind, as in `data`"},
                        "data": {"type": "string", "contentMediaType": "application/json", "description": "as JSON"},
                    },
                },
                "example": "id: 1767225600000-0\nevent: step\n"
                'data: {"id":"1767225600000-0","job_id":"0b9f3c5e","kind":"step","state":"running","step":"fields",'
                '"current":0,"total":20000,"percent":0,"message":"","at":"2026-01-01T00:00:00.000+00:00"}\n\n',
            }
        },
    },
    204: {"description": "The job has ended, and nothing follows after `Last-Event-ID`"},
}


async def event_stream(request: Request, job_id: str, after: str | None) -> Response:
    """The events of a job as an answer.

    Args:
        request: who asks.
        job_id: the job's id.
        after: begin after the event of this id; None for the first that is kept.

    Raises:
        JobNotFound: no job has that id.
        TooBusy: too many follow jobs already.
        QueueUnreachable: Redis does not answer.
    """
    places = places_of(request)
    record = await to_thread.run_sync(places.jobs.get, job_id)
    if after is not None and record.state.finished:
        newest = await to_thread.run_sync(places.jobs.newest_event, job_id)
        if _number(newest) <= _number(after):
            return Response(status_code=204)
    places.waiting.enter()
    return _Stream(places.waiting, _told(places.waiting, request, job_id, after))


class _Stream(StreamingResponse):
    """A stream that gives its place back, however it ends."""

    def __init__(self, waiting: Waiting, told: AsyncIterator[bytes]) -> None:
        super().__init__(
            told, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        self._waiting = waiting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._waiting.leave()


async def _told(waiting: Waiting, request: Request, job_id: str, after: str | None) -> AsyncIterator[bytes]:
    yield _RETRY
    silent = 0
    async with aclosing(waiting.events(request, job_id, after=after)) as events:
        async for event in events:
            if event is not None:
                silent = 0
                yield _as_text(event)
                continue
            silent += 1
            if silent % EVERY_SECONDS == 0:
                yield _STILL_THERE


def _as_text(event: JobEvent) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.id.encode(), event.kind.encode(), orjson.dumps(event.to_dict()))


def _number(event_id: str) -> tuple[int, int]:
    """Ids are numbers, and compare as such."""
    at, _, count = event_id.partition("-")
    return int(at), int(count)
