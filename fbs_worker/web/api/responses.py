"""How the API answers: JSON that is ready, jobs with their links, and the way from a request to a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Protocol, TypeVar
from urllib.parse import urlencode

import orjson
from anyio import to_thread
from fastapi import Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.client.client import Client
from fbs_worker.client.handle import JobHandle
from fbs_worker.core import errors as core
from fbs_worker.core.errors import FBSError, JobCancelled
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.model import JobRecord, JobState
from fbs_worker.web.api.auth import caller_of, require_read, require_write
from fbs_worker.web.api.databases import Places
from fbs_worker.web.api.errors import IdempotencyInProgress, IdempotencyMismatch, TooBusy
from fbs_worker.web.api.idempotency import HEADER, REPLAYED
from fbs_worker.web.api.problems import error_of, problem_response, problem_responses
from fbs_worker.web.api.response_models import JobAnswer

LONGEST_WAIT: Final = 60
"""Seconds that a request may wait for a job."""

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])

Wait = Annotated[
    int,
    Query(
        ge=0,
        le=LONGEST_WAIT,
        description="seconds to wait for the job's end; if it ends within them, `200` has the result, or the problem"
        " says what it failed with",
        examples=[30],
    ),
]
Key = Annotated[
    str | None,
    Header(
        alias=HEADER,
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="1 to 255 visible ASCII characters. A request that is sent again with the same key within a day"
        " gives the same job",
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]

_WORK_ERRORS: Final = (
    IdempotencyInProgress,
    IdempotencyMismatch,
    TooBusy,
    core.DatabaseBusy,
    core.DatabaseError,
    core.DatabaseMissing,
    core.DatabaseUnreachable,
    core.InternalError,
    core.JobCancelled,
    core.JobNotFound,
    core.OdooAccessDenied,
    core.OdooError,
    core.OdooUnreachable,
    core.QueueUnreachable,
    core.SecretError,
    core.UsageError,
)
"""What enqueuing a job, or one that is waited for, can fail with."""

_REPLAYED_HEADER: Final = {
    REPLAYED: {"description": "`true` if an earlier request made the job", "schema": {"type": "string"}}
}
_LOCATION: Final = {"Location": {"description": "the job", "schema": {"type": "string"}}}


class _Put(Protocol):
    """A decorator that gives back what it was given."""

    def __call__(self, endpoint: _Endpoint, /) -> _Endpoint: ...


def at(register: Callable[..., Callable[[Any], Any]], path: str, *, write: bool = False, **told: Any) -> _Put:
    """Put a route at a path with a slash at its end, and at the same without: a redirect would lose a POST's body.

    Args:
        register: the router's method, e.g. `router.get`.
        path: with the slash at its end; the OpenAPI document has this one.
        write: it needs a token that may write.
        **told: what else the router is to know of it.
    """
    needs = [Depends(require_write if write else require_read)]

    def put(endpoint: _Endpoint) -> _Endpoint:
        register(path, dependencies=needs, **told)(endpoint)
        register(path.rstrip("/"), dependencies=needs, include_in_schema=False, response_model=None)(endpoint)
        return endpoint

    return put


def work_told(summary: str, *errors: type[FBSError], **told: Any) -> dict[str, Any]:
    """What `at` is to be told of a route that enqueues a job.

    Args:
        summary: what the job does.
        *errors: what it can meet besides what every job can.
        **told: what else.
    """
    headers = {**_LOCATION, **_REPLAYED_HEADER}
    return {
        "summary": summary,
        "status_code": 202,
        "response_model": JobAnswer,
        "response_description": "The job waits or runs",
        "responses": {
            200: {"model": JobAnswer, "description": "The job has done its work (with `wait`)", "headers": headers},
            202: {"headers": headers},
            **problem_responses(*_WORK_ERRORS, *errors),
        },
        "write": True,
        **told,
    }


def places_of(request: Request) -> Places:
    """What the application knows its solutions by."""
    found: Places = request.app.state.places
    return found


def client_of(request: Request) -> Client:
    """What enqueues the application's jobs."""
    found: Client = request.app.state.client
    return found


def settings_of(request: Request) -> Settings:
    """What the application works with."""
    found: Settings = request.app.state.settings
    return found


def json_answer(content: bytes | str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer whose JSON is ready.

    Args:
        content: the JSON.
        status: the HTTP status.
        headers: further ones.
    """
    return Response(
        content,
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def job_answer(
    request: Request, record: JobRecord, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A job and where to go on from it.

    Args:
        request: what is answered.
        record: the job.
        status: the HTTP status.
        headers: further ones.
    """
    told = {"job": record.to_dict(), "links": links(request, record.id)}
    return json_answer(orjson.dumps(told), status=status, headers=headers)


def links(request: Request, job_id: str) -> dict[str, str]:
    """Where to go on from a job, as paths.

    Args:
        request: what is answered.
        job_id: the job's id.
    """
    job = f"{request.scope.get('root_path', '')}/api/v1/jobs/{job_id}/"
    return {"self": job, "events": f"{job}events/", "cancel": job}


async def work(request: Request, enqueue: Callable[[], JobHandle], *, key: str | None, wait: int) -> Response:
    """Enqueue a job, wait for it if that was asked for, and tell how it stands.

    Args:
        request: what asks for it.
        enqueue: does it; it runs in a thread.
        key: the `Idempotency-Key`.
        wait: seconds to wait for its end.

    Raises:
        FBSError: what `enqueue` raises, and whatever refuses the key.
    """
    places = places_of(request)
    made = await request.app.state.idempotency.once(caller_of(request), key, await _mark(request), lambda: enqueue().id)
    headers = {"Location": links(request, made.job_id)["self"]}
    if made.replayed:
        headers[REPLAYED] = "true"
    record = await to_thread.run_sync(places.jobs.get, made.job_id)
    if wait and not record.state.finished:
        with places.waiting.place():
            await places.waiting.until_ended(request, made.job_id, wait)
        record = await to_thread.run_sync(places.jobs.get, made.job_id)
    if not wait or not record.state.finished:
        return job_answer(request, record, status=202, headers=headers)
    if record.state is JobState.SUCCEEDED:
        return job_answer(request, record, headers=headers)
    return problem_response(_failure(record), instance=request.url.path, job=record.to_dict(), headers=headers)


async def _mark(request: Request) -> bytes:
    """What is asked for: how long the caller waits for it makes no other request of it."""
    query = sorted((name, value) for name, value in request.query_params.multi_items() if name != "wait")
    asked = f"{request.method} {request.url.path.rstrip('/')}?{urlencode(query)}\n"
    return asked.encode() + await request.body()


def _failure(record: JobRecord) -> FBSError:
    if record.state is JobState.CANCELLED:
        return JobCancelled("The job was cancelled.", hint="Ask for it again if it is still wanted.")
    return error_of(record.error or {})
