"""Routes: records of the mirrored models of a solution."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Request

from fbs_worker.client.handle import JobHandle
from fbs_worker.core.errors import SolutionNotFound
from fbs_worker.solutions.requests import SyncRequest
from fbs_worker.web.api.dependencies import SolutionPath, client_of, databases_of, route, settings_of
from fbs_worker.web.api.request_models import SyncBody
from fbs_worker.web.api.responses import IdempotencyKey, Wait, enqueue_job, job_route

router = APIRouter(tags=["records"])

_DEFAULTS: Final = SyncBody()


@route(
    router.post,
    "/api/v1/solutions/{name}/records/",
    **job_route("Copy records from Odoo", SolutionNotFound),
)
async def sync(
    request: Request,
    name: SolutionPath,
    *,
    body: Annotated[SyncBody, Body()] = _DEFAULTS,
    key: IdempotencyKey = None,
    wait: Wait = 0,
) -> Any:
    """Enqueues a sync, which makes the tables of mirrored models equal to Odoo."""
    client, databases = client_of(request), databases_of(request)

    def enqueue() -> JobHandle:
        databases.solution(name)
        return client.enqueue(SyncRequest.parse(body.values(), settings=settings_of(request), solution_name=name))

    return await enqueue_job(request, enqueue, key=key, wait=wait)
