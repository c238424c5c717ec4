"""Routes of the API: solutions."""

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
    SolutionConflict,
    SolutionNotFound,
    TablesNotEmpty,
)
from fbs_worker.web.api.dependencies import SolutionPath, checked_database
from fbs_worker.web.api.errors import HostRefused
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.request_models import MigrateBody, SetupBody
from fbs_worker.web.api.response_models import SolutionsAnswer, StatusAnswer
from fbs_worker.web.api.responses import Key, Wait, at, client_of, json_answer, places_of, settings_of, work, work_told

router = APIRouter(tags=["solutions"])

_HOME: Final = (DatabaseError, DatabaseMissing, DatabaseBusy, DatabaseUnreachable)
_NOTHING_GIVEN: Final = MigrateBody()


@at(
    router.get,
    "/api/v1/solutions/",
    summary="All solutions and how each is",
    response_model=SolutionsAnswer,
    responses=problem_responses(*_HOME),
)
async def list_solutions(request: Request) -> Any:
    """One whose database is down or hangs holds none of the others up."""
    client = client_of(request)
    return json_answer(await places_of(request).overviews.get("list", lambda: orjson.dumps(client.list())))


@at(
    router.post,
    "/api/v1/solutions/setup/",
    **work_told("Set a solution up", HostRefused, SolutionConflict),
)
async def set_up(request: Request, *, body: SetupBody, key: Key = None, wait: Wait = 0) -> Any:
    """Makes its tables, and reads what Odoo has. What is set up already stays as it is."""
    client, settings = client_of(request), settings_of(request)

    def enqueue() -> JobHandle:
        config = body.model_dump(exclude_none=True, exclude={"database_config", "odoo_moved"})
        config["database_config"] = checked_database(body.database_config, settings)
        return client.setup(config, odoo_moved=body.odoo_moved)

    return await work(request, enqueue, key=key, wait=wait)


@at(
    router.get,
    "/api/v1/solutions/{name}/status/",
    summary="A solution in every detail",
    response_model=StatusAnswer,
    responses=problem_responses(SolutionNotFound, *_HOME),
)
async def read_status(request: Request, name: SolutionPath) -> Any:
    """Its tables with rows and sizes, its discoveries, what is to change, its jobs, and whether both sides agree."""
    client = client_of(request)
    return json_answer(
        await places_of(request).overviews.get(("status", name), lambda: orjson.dumps(client.status(name)))
    )


@at(
    router.post,
    "/api/v1/solutions/{name}/migrate/",
    **work_told("Make a solution's tables what they are to be", SolutionNotFound),
)
async def migrate(
    request: Request,
    name: SolutionPath,
    *,
    body: Annotated[MigrateBody, Body()] = _NOTHING_GIVEN,
    key: Key = None,
    wait: Wait = 0,
) -> Any:
    """With `plan` it only tells what would be done; `apply` does exactly that, if it still fits."""
    client, places = client_of(request), places_of(request)

    def enqueue() -> JobHandle:
        places.solution(name)
        return client.migrate(
            name,
            plan_only=body.plan,
            fingerprint=body.apply,
            allow=[str(hazard) for hazard in body.allow],
            renames=body.rename,
            restore=body.restore,
            mirror=body.mirror,
            unmirror=body.no_mirror,
            undo=body.undo,
        )

    return await work(request, enqueue, key=key, wait=wait)


@at(
    router.delete,
    "/api/v1/solutions/{name}/",
    **work_told("Take a solution away", SolutionNotFound, TablesNotEmpty),
)
async def drop(
    request: Request,
    name: SolutionPath,
    *,
    with_data: Annotated[bool, Query(description="business tables go though they hold rows")] = False,
    dry_run: Annotated[bool, Query(description="only tell what would be done")] = False,
    key: Key = None,
    wait: Wait = 0,
) -> Any:
    """Drops the tables that were made for it, and nothing else. Business tables that hold rows stay, unless told so."""
    client, places = client_of(request), places_of(request)

    def enqueue() -> JobHandle:
        places.solution(name)
        return client.drop(name, with_data=with_data, dry_run=dry_run)

    return await work(request, enqueue, key=key, wait=wait)
