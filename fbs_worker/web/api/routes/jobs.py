"""Routes of the API: jobs."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from anyio import to_thread
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from fbs_worker.core.errors import JobNotFound, QueueUnreachable
from fbs_worker.web.api.errors import TooBusy
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.query_params import query_of, query_told
from fbs_worker.web.api.request_models import JOB_ID, JobsQuery
from fbs_worker.web.api.response_models import JobAnswer, JobsAnswer
from fbs_worker.web.api.responses import at, client_of, job_answer, json_answer, places_of
from fbs_worker.web.api.sse import EVENTS_TOLD, LastEventId, event_stream

router = APIRouter(tags=["jobs"])

JobId = Annotated[
    str,
    Path(pattern=JOB_ID, max_length=200, description="the job's id", examples=["0b9f3c5e-8a53-4c7d-9f0e-6a3b8f3a2c11"]),
]

_ONE: Final = problem_responses(JobNotFound, QueueUnreachable)


@at(
    router.get,
    "/api/v1/jobs/",
    summary="Jobs, the newest first",
    openapi_extra=query_told(JobsQuery),
    response_model=JobsAnswer,
    responses=problem_responses(QueueUnreachable),
)
async def list_jobs(request: Request) -> Any:
    """Those that wait and run, and those that have ended, for as long as their records are kept."""
    query, jobs = query_of(request, JobsQuery), places_of(request).jobs

    def look() -> bytes:
        found = jobs.list(query.limit, query.state, solution=query.solution, action=query.action)
        return orjson.dumps({"jobs": [record.to_dict() for record in found]})

    return json_answer(await to_thread.run_sync(look))


@at(router.get, "/api/v1/jobs/{job_id}/", summary="A job", response_model=JobAnswer, responses=_ONE)
async def read_job(request: Request, job_id: JobId) -> Any:
    """Where it stands, and its result or its error once it has ended."""
    return job_answer(request, await to_thread.run_sync(places_of(request).jobs.get, job_id))


@at(
    router.delete,
    "/api/v1/jobs/{job_id}/",
    write=True,
    summary="Ask for a job to stop",
    response_model=JobAnswer,
    responses={
        200: {"description": "The job has ended: it is cancelled, or had ended before"},
        202: {"model": JobAnswer, "description": "It runs, and stops at its next step"},
        **_ONE,
    },
)
async def cancel_job(request: Request, job_id: JobId) -> Any:
    """One that waits is cancelled at once, one that runs at its next step; what it has done so far stays whole."""
    client, jobs = client_of(request), places_of(request).jobs
    await to_thread.run_sync(lambda: client.job(job_id).cancel())
    record = await to_thread.run_sync(jobs.get, job_id)
    return job_answer(request, record, status=200 if record.state.finished else 202)


@at(
    router.get,
    "/api/v1/jobs/{job_id}/events/",
    summary="A job's events as they come",
    response_class=Response,
    responses={**EVENTS_TOLD, **problem_responses(JobNotFound, QueueUnreachable, TooBusy)},
)
async def read_events(request: Request, job_id: JobId, last_event_id: LastEventId = None) -> Any:
    """Server-sent events, from the first that is kept: new states, steps, progress within a step, and words.

    The stream ends with the job. An `EventSource` that connects again goes on where it was, and is told by `204` that
    nothing follows any more.
    """
    return await event_stream(request, job_id, last_event_id)
