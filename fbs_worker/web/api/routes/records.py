"""Routes: records of the mirrored models of a solution."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Path, Query, Request

from fbs_worker.core.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseMissing,
    DatabaseUnreachable,
    SolutionNotFound,
    TableNotFound,
    UsageError,
)
from fbs_worker.ops.records import DELETED, REJECTED, Filter, find_table, read_rows, record_states, side_table
from fbs_worker.solutions.requests import SyncRequest
from fbs_worker.web.api.dependencies import SolutionPath, databases_of, route
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.request_models import RecordsQuery, SyncBody
from fbs_worker.web.api.response_models import RecordsAnswer, RowsAnswer
from fbs_worker.web.api.responses import IdempotencyKey, Wait, enqueue_for_solution, job_route, shared_answer

router = APIRouter(tags=["records"])

_DEFAULTS: Final = SyncBody()
_DATABASE: Final = (DatabaseError, DatabaseMissing, DatabaseBusy, DatabaseUnreachable)
_ROWS: Final = problem_responses(SolutionNotFound, TableNotFound, UsageError, *_DATABASE)

TablePath = Annotated[
    str,
    Path(min_length=1, max_length=63, description="a mirrored table, or a link table", examples=["rental_res_partner"]),
]


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
    return await enqueue_for_solution(request, SyncRequest, name, body.values(), key=key, wait=wait)


@route(
    router.get,
    "/api/v1/solutions/{name}/records/",
    summary="The copies of a solution's mirrored models",
    response_model=RecordsAnswer,
    responses=problem_responses(SolutionNotFound, *_DATABASE),
)
async def read_states(request: Request, name: SolutionPath) -> Any:
    """Returns the state of each mirrored table; one that was never copied is `pending`."""
    databases = databases_of(request)

    def read() -> bytes:
        record = databases.solution(name)
        with databases.connection(record.database) as connection:
            return orjson.dumps({"solution": name, "tables": record_states(connection, record)})

    return await shared_answer(request, read)


@route(
    router.get,
    "/api/v1/solutions/{name}/records/{table}/",
    summary="The rows of a mirrored table",
    response_model=RowsAnswer,
    responses=_ROWS,
)
async def read_records(
    request: Request, name: SolutionPath, table: TablePath, query: Annotated[RecordsQuery, Query()]
) -> Any:
    """Lists rows by pages, in the order of `odoo_id`; of a link table in that of `from_id` and `to_id`.

    Any other parameter is a filter: `?state=draft&partner_id=7` returns the rows with these values, `?note=` those
    without one. Times are in UTC. Binary values are left out.
    """
    return await shared_answer(request, lambda: _rows(request, query, name, table))


@route(
    router.get,
    "/api/v1/solutions/{name}/records/{table}/rejected/",
    summary="The records that a mirrored table cannot hold",
    response_model=RowsAnswer,
    responses=_ROWS,
)
async def read_rejected(
    request: Request, name: SolutionPath, table: TablePath, query: Annotated[RecordsQuery, Query()]
) -> Any:
    """Lists them by pages, each with the reason; filters as for the rows."""
    return await shared_answer(request, lambda: _rows(request, query, name, table, side=REJECTED))


@route(
    router.get,
    "/api/v1/solutions/{name}/records/{table}/deleted/",
    summary="The records of a mirrored table that were deleted in Odoo",
    response_model=RowsAnswer,
    responses=_ROWS,
)
async def read_deleted(
    request: Request, name: SolutionPath, table: TablePath, query: Annotated[RecordsQuery, Query()]
) -> Any:
    """Lists them by pages, each with when that was seen; filters as for the rows."""
    return await shared_answer(request, lambda: _rows(request, query, name, table, side=DELETED))


def _rows(request: Request, query: RecordsQuery, name: str, table: str, *, side: str = "") -> bytes:
    """A page of a table, with the JSON that PostgreSQL rendered."""
    given = [(key, value) for key, value in request.query_params.multi_items() if key not in RecordsQuery.model_fields]
    databases = databases_of(request)
    record = databases.solution(name)
    with databases.connection(record.database) as connection:
        found = find_table(connection, record, table)
        read = side_table(connection, record, found, side) if side else found
        filters = [Filter(column=key, value=value) for key, value in given]
        rows = read_rows(connection, read, filters=filters, cursor=query.cursor, limit=query.limit)
    head = orjson.dumps({"solution": name, "table": table, "model": found.model})[:-1]
    return b'%s,"rows":%s,"next":%s}' % (head, rows.json().encode(), orjson.dumps(rows.next))
