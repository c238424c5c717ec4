"""What routes share on the way out: serialised JSON, jobs with their links, and enqueuing a job for a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import orjson
from anyio import to_thread
from fastapi import Header, Query
from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.client.handle import JobHandle
from fbs_worker.core import errors as core
from fbs_worker.core.errors import FBSError, JobCancelled
from fbs_worker.jobs.model import JobRecord, JobState
from fbs_worker.solutions.requests import Request as JobRequest
from fbs_worker.web.api.auth import principal_of
from fbs_worker.web.api.dependencies import client_of, databases_of, settings_of
from fbs_worker.web.api.errors import IdempotencyInProgress, IdempotencyMismatch, TooBusy
from fbs_worker.web.api.idempotency import HEADER, REPLAYED
from fbs_worker.web.api.problems import error_from_dict, problem_response, problem_responses
from fbs_worker.web.api.response_models import JobAnswer
from fbs_worker.web.prefix import requested_path

MAX_WAIT: Final = 60
"""Maximum time that a request may wait for a job, in seconds."""

Wait = Annotated[
    int,
    Query(
        ge=0,
        le=MAX_WAIT,
        description="seconds to wait for the job; if it finishes in time, `200` has the result, or a problem document"
        " the job's error",
        examples=[5],
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=HEADER,
        min_length=1,
        max_length=255,
        pattern="^[!-~]+$",
        description="1 to 255 visible ASCII characters. A repeated request with the same key within a day returns the"
        " same job",
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]

_JOB_ERRORS: Final = (
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
"""Errors of enqueuing a job, and of a job that a request waited for."""

_REPLAYED_HEADER: Final = {
    REPLAYED: {"description": "`true` if an earlier request enqueued the job", "schema": {"type": "string"}}
}
_LOCATION: Final = {"Location": {"description": "the job", "schema": {"type": "string"}}}


def job_route(summary: str, *errors: type[FBSError], **options: Any) -> dict[str, Any]:
    """Return the options of `route` for an operation that enqueues a job.

    Args:
        summary: the operation's summary.
        *errors: errors besides those of every job.
        **options: further options.
    """
    headers = {**_LOCATION, **_REPLAYED_HEADER}
    return {
        "summary": summary,
        "status_code": 202,
        "response_model": JobAnswer,
        "response_description": "The job is queued or running",
        "responses": {
            200: {"model": JobAnswer, "description": "The job has succeeded (with `wait`)", "headers": headers},
            202: {"headers": headers},
            **problem_responses(*_JOB_ERRORS, *errors),
        },
        "write": True,
        **options,
    }


def json_answer(content: bytes | str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return serialised JSON as a response.

    Args:
        content: the JSON.
        status: the HTTP status.
        headers: further headers.
    """
    return Response(
        content,
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


async def shared_answer(request: Request, read: Callable[[], bytes]) -> Response:
    """Return JSON as a response to all that send the same request at the same time.

    Args:
        request: the request; the answer depends on its path and query alone.
        read: returns the JSON; it runs in a thread.

    Raises:
        FBSError: whatever `read` raises.
    """
    url = request.url
    return json_answer(await databases_of(request).flights.get((url.path, url.query), read))


def job_answer(
    request: Request, record: JobRecord, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a job and its links as a response.

    Args:
        request: the request.
        record: the job.
        status: the HTTP status.
        headers: further headers.
    """
    body = {"job": record.to_dict(), "links": links(request, record.id)}
    return json_answer(orjson.dumps(body), status=status, headers=headers)


def links(request: Request, job_id: str) -> dict[str, str]:
    """Return a job's links, as paths.

    Args:
        request: the request; its `root_path` is the prefix.
        job_id: the job's id.
    """
    job = f"{request.scope.get('root_path', '')}/api/v1/jobs/{job_id}/"
    return {"self": job, "events": f"{job}events/", "cancel": job, "log": f"{job}log/", "retry": f"{job}retry/"}


async def enqueue_job(request: Request, enqueue: Callable[[], JobHandle], *, key: str | None, wait: int) -> Response:
    """Enqueue a job, wait for it if requested, and return it.

    Args:
        request: the request.
        enqueue: enqueues the job; it runs in a thread.
        key: the `Idempotency-Key`, if any.
        wait: maximum time to wait for the job, in seconds.

    Returns:
        202 with the job; 200 if it succeeded within `wait`; its error as a problem document if it failed within `wait`.

    Raises:
        IdempotencyMismatch: the key was used for another request.
        IdempotencyInProgress: the first request with the key is still in progress.
        TooBusy: too many requests wait for jobs.
        QueueUnreachable: Redis does not respond.
        FBSError: whatever `enqueue` raises.
    """
    databases = databases_of(request)
    job = await request.app.state.idempotency.enqueue_once(
        principal_of(request), key, await _canonical(request), lambda: enqueue().id
    )
    headers = {"Location": links(request, job.job_id)["self"]}
    if job.replayed:
        headers[REPLAYED] = "true"
    record = await to_thread.run_sync(databases.jobs.get, job.job_id)
    if wait and not record.state.finished:
        with databases.waiters.slot(principal_of(request).name):
            await databases.waiters.wait_until_finished(request, job.job_id, wait)
        record = await to_thread.run_sync(databases.jobs.get, job.job_id)
    if not wait or not record.state.finished:
        return job_answer(request, record, status=202, headers=headers)
    if record.state is JobState.SUCCEEDED:
        return job_answer(request, record, headers=headers)
    return problem_response(
        _failure(record), instance=requested_path(request.scope), job=record.to_dict(), headers=headers
    )


async def enqueue_for_solution(
    request: Request, job: type[JobRequest], name: str, values: Mapping[str, Any], *, key: str | None, wait: int
) -> Response:
    """Enqueue a job of a solution that exists; see `enqueue_job`.

    Args:
        request: the request.
        job: the job's request class.
        name: the solution's name.
        values: the job's other parameters.
        key: the `Idempotency-Key`, if any.
        wait: maximum time to wait for the job, in seconds.

    Raises:
        SolutionNotFound: there is no such solution.
        FBSError: as for `enqueue_job`.
    """

    def enqueue() -> JobHandle:
        databases_of(request).solution(name)
        return client_of(request).enqueue(job.parse(values, settings=settings_of(request), solution_name=name))

    return await enqueue_job(request, enqueue, key=key, wait=wait)


async def _canonical(request: Request) -> bytes:
    """Method, path, query and body; `wait` is left out, for it does not change which job is enqueued."""
    query = sorted((name, value) for name, value in request.query_params.multi_items() if name != "wait")
    head = f"{request.method} {request.url.path.rstrip('/')}?{urlencode(query)}\n"
    return head.encode() + await request.body()


def _failure(record: JobRecord) -> FBSError:
    if record.state is JobState.CANCELLED:
        return JobCancelled("The job was cancelled.", hint="Enqueue it again if it is still needed.")
    return error_from_dict(record.error or {})
