"""Routes: solutions."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Query, Request

from fbs_worker.client.handle import JobHandle
from fbs_worker.core.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseMissing,
    DatabaseUnreachable,
    HostRefused,
    SolutionConflict,
    SolutionNotFound,
    TablesNotEmpty,
)
from fbs_worker.solutions.requests import DropRequest, MigrateRequest, SetupRequest
from fbs_worker.web.api.dependencies import (
    SolutionPath,
    client_of,
    databases_of,
    route,
    settings_of,
)
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.request_models import MigrateBody, SetupBody
from fbs_worker.web.api.response_models import SolutionsAnswer, StatusAnswer
from fbs_worker.web.api.responses import (
    IdempotencyKey,
    Wait,
    enqueue_for_solution,
    enqueue_job,
    job_route,
    shared_answer,
)

router = APIRouter(tags=["solutions"])

_HOME: Final = (DatabaseError, DatabaseMissing, DatabaseBusy, DatabaseUnreachable)
_DEFAULTS: Final = MigrateBody()
_DROP: Final = DropRequest.model_fields


@route(
    router.get,
    "/api/v1/solutions/",
    summary="All solutions and their status",
    response_model=SolutionsAnswer,
    responses=problem_responses(*_HOME),
)
async def list_solutions(request: Request) -> Any:
    """Lists all solutions; a database that is down or unresponsive does not delay the others."""
    databases = databases_of(request)
    return await shared_answer(request, lambda: orjson.dumps(databases.overview()))


@route(
    router.post,
    "/api/v1/solutions/setup/",
    **job_route("Set up a solution", HostRefused, SolutionConflict),
)
async def set_up(request: Request, *, body: SetupBody, key: IdempotencyKey = None, wait: Wait = 0) -> Any:
    """Enqueues a set-up, which creates the tables and discovers Odoo. It is idempotent."""
    client, settings = client_of(request), settings_of(request)

    def enqueue() -> JobHandle:
        job = SetupRequest.parse(body.values(), settings=settings)
        return client.enqueue(job.checked(settings))

    return await enqueue_job(request, enqueue, key=key, wait=wait)


@route(
    router.get,
    "/api/v1/solutions/{name}/status/",
    summary="A solution's status",
    response_model=StatusAnswer,
    responses=problem_responses(SolutionNotFound, *_HOME),
)
async def read_status(request: Request, name: SolutionPath) -> Any:
    """Returns tables with rows and sizes, discoveries, pending changes, drift, schedule and active jobs."""
    databases = databases_of(request)
    return await shared_answer(request, lambda: orjson.dumps(databases.status(name)))


@route(
    router.post,
    "/api/v1/solutions/{name}/migrate/",
    **job_route("Migrate a solution's tables", SolutionNotFound),
)
async def migrate(
    request: Request,
    name: SolutionPath,
    *,
    body: Annotated[MigrateBody, Body()] = _DEFAULTS,
    key: IdempotencyKey = None,
    wait: Wait = 0,
) -> Any:
    """Enqueues a migration. `plan` only returns the statements; `apply` executes a plan unless it is stale."""
    return await enqueue_for_solution(request, MigrateRequest, name, body.values(), key=key, wait=wait)


@route(
    router.delete,
    "/api/v1/solutions/{name}/",
    **job_route("Remove a solution", SolutionNotFound, TablesNotEmpty),
)
async def drop(
    request: Request,
    name: SolutionPath,
    *,
    with_data: Annotated[bool, Query(description=_DROP["with_data"].description)] = False,
    dry_run: Annotated[bool, Query(description=_DROP["dry_run"].description)] = False,
    key: IdempotencyKey = None,
    wait: Wait = 0,
) -> Any:
    """Enqueues a removal, which drops the solution's tables only. Business tables with rows need `with_data`."""
    return await enqueue_for_solution(
        request, DropRequest, name, {"with_data": with_data, "dry_run": dry_run}, key=key, wait=wait
    )
