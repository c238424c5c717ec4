"""Routes: jobs and their events."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from fbs_worker.core.errors import JobNotFound, QueueUnreachable, RefusedError
from fbs_worker.web.api.dependencies import client_of, databases_of, route
from fbs_worker.web.api.errors import TooBusy
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.request_models import JOB_ID, JobsQuery
from fbs_worker.web.api.response_models import JobAnswer, JobsAnswer, LogAnswer
from fbs_worker.web.api.responses import IdempotencyKey, Wait, enqueue_job, job_answer, job_route, json_answer
from fbs_worker.web.api.sse import EVENT_STREAM_RESPONSES, LastEventId, event_stream

router = APIRouter(tags=["jobs"])

JobId = Annotated[
    str,
    Path(pattern=JOB_ID, max_length=200, description="the job's id", examples=["0b9f3c5e-8a53-4c7d-9f0e-6a3b8f3a2c11"]),
]

_ONE: Final = problem_responses(JobNotFound, QueueUnreachable)


@route(
    router.get,
    "/api/v1/jobs/",
    summary="Jobs, the newest first",
    response_model=JobsAnswer,
    responses=problem_responses(QueueUnreachable),
)
async def list_jobs(request: Request, query: Annotated[JobsQuery, Query()]) -> Any:
    """Lists queued, running and finished jobs; records of finished jobs expire."""
    jobs = databases_of(request).jobs

    def read() -> bytes:
        records = jobs.list(query.limit, query.state, solution=query.solution, action=query.action)
        return orjson.dumps({"jobs": [record.to_dict() for record in records]})

    return json_answer(await to_thread.run_sync(read))


@route(router.get, "/api/v1/jobs/{job_id}/", summary="A job", response_model=JobAnswer, responses=_ONE)
async def read_job(request: Request, job_id: JobId) -> Any:
    """Returns its state and progress, and its result or error once it has finished."""
    return job_answer(request, await to_thread.run_sync(databases_of(request).jobs.get, job_id))


@route(
    router.delete,
    "/api/v1/jobs/{job_id}/",
    write=True,
    summary="Cancel a job",
    response_model=JobAnswer,
    responses={
        200: {"description": "The job is cancelled, or had finished before"},
        202: {"model": JobAnswer, "description": "The job is running, and stops at its next step"},
        **_ONE,
    },
)
async def cancel_job(request: Request, job_id: JobId) -> Any:
    """Cancels a queued job at once, a running one at its next step; completed steps stay consistent."""
    client, jobs = client_of(request), databases_of(request).jobs
    await to_thread.run_sync(lambda: client.job(job_id).cancel())
    record = await to_thread.run_sync(jobs.get, job_id)
    return job_answer(request, record, status=200 if record.state.finished else 202)


@route(router.get, "/api/v1/jobs/{job_id}/log/", summary="A job's log", response_model=LogAnswer, responses=_ONE)
async def read_log(request: Request, job_id: JobId) -> Any:
    """Returns its states, steps and messages, and what its worker logged meanwhile, oldest first."""
    jobs = databases_of(request).jobs

    def read() -> bytes:
        return orjson.dumps({"log": [line.to_dict() for line in jobs.log(job_id)]})

    return json_answer(await to_thread.run_sync(read))


@route(
    router.post,
    "/api/v1/jobs/{job_id}/retry/",
    **job_route("Enqueue a job again", RefusedError),
)
async def retry_job(request: Request, job_id: JobId, *, key: IdempotencyKey = None, wait: Wait = 0) -> Any:
    """Enqueues a finished job again, with the arguments it had."""
    client = client_of(request)
    return await enqueue_job(request, lambda: client.retry(job_id), key=key, wait=wait)


@route(
    router.get,
    "/api/v1/jobs/{job_id}/events/",
    summary="Stream a job's events",
    response_class=Response,
    responses={**EVENT_STREAM_RESPONSES, **problem_responses(JobNotFound, QueueUnreachable, TooBusy)},
)
async def read_events(request: Request, job_id: JobId, last_event_id: LastEventId = None) -> Any:
    """Streams server-sent events from the first stored one: states, steps, progress within a step, and messages.

    The stream ends with the job. A reconnecting `EventSource` resumes after `Last-Event-ID`, and gets `204` if that was
    the last event.
    """
    return await event_stream(request, job_id, last_event_id)
