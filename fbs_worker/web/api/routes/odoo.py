"""Routes: connections to Odoo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import orjson
from anyio import to_thread
from fastapi import APIRouter, Path, Request

from fbs_worker.client.handle import JobHandle
from fbs_worker.core.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseMissing,
    DatabaseUnreachable,
    HostRefused,
    OdooConnectionConflict,
    OdooConnectionNotFound,
    SecretError,
    SettingsError,
    UsageError,
)
from fbs_worker.core.identifiers import OdooName
from fbs_worker.solutions.odoo_connections import add_odoo, edit_odoo, list_odoo, remove_odoo, show_odoo
from fbs_worker.solutions.odoo_requests import OdooAddRequest, OdooEditRequest, OdooTestRequest
from fbs_worker.web.api.dependencies import client_of, databases_of, route, settings_of
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.request_models import OdooBody, OdooChangesBody
from fbs_worker.web.api.response_models import OdooConnectionAnswer, OdooConnectionsAnswer, OdooRemovedAnswer
from fbs_worker.web.api.responses import IdempotencyKey, Wait, enqueue_job, job_route, json_answer, shared_answer

router = APIRouter(tags=["odoo"])

ConnectionPath = Annotated[OdooName, Path(description="the connection's name")]

_HOME: Final = (DatabaseError, DatabaseMissing, DatabaseBusy, DatabaseUnreachable, SettingsError)
_WRITE: Final = (*_HOME, HostRefused, OdooConnectionConflict, SecretError, UsageError)


@route(
    router.get,
    "/api/v1/odoo/",
    summary="All connections to Odoo",
    response_model=OdooConnectionsAnswer,
    responses=problem_responses(*_HOME),
)
async def list_connections(request: Request) -> Any:
    """Lists those of the server's environment and those of the home database, without secrets."""
    databases = databases_of(request)
    return await shared_answer(request, lambda: orjson.dumps(list_odoo(databases.settings, databases=databases)))


@route(
    router.post,
    "/api/v1/odoo/",
    write=True,
    summary="Add a connection to Odoo",
    status_code=201,
    response_model=OdooConnectionAnswer,
    responses=problem_responses(*_WRITE),
)
async def add_connection(request: Request, *, body: OdooBody) -> Any:
    """Keeps it in the home database; workers use it from their next job on. Odoo is not asked: test it afterwards."""
    settings = settings_of(request)
    return await _answer(lambda: add_odoo(settings, OdooAddRequest(**body.values()), by_caller=True), status=201)


@route(
    router.get,
    "/api/v1/odoo/{name}/",
    summary="A connection to Odoo",
    response_model=OdooConnectionAnswer,
    responses=problem_responses(OdooConnectionNotFound, *_HOME),
)
async def read_connection(request: Request, name: ConnectionPath) -> Any:
    """Returns the connection that counts, without its secret."""
    databases = databases_of(request)
    return await _answer(lambda: show_odoo(databases.settings, name, databases=databases))


@route(
    router.patch,
    "/api/v1/odoo/{name}/",
    write=True,
    summary="Change a connection to Odoo",
    response_model=OdooConnectionAnswer,
    responses=problem_responses(OdooConnectionNotFound, *_WRITE),
)
async def edit_connection(request: Request, name: ConnectionPath, *, body: OdooChangesBody) -> Any:
    """Changes what is given. Another URL needs the secret again: a stored one is not sent to another server."""
    settings = settings_of(request)
    return await _answer(lambda: edit_odoo(settings, OdooEditRequest(name=name, **body.values()), by_caller=True))


@route(
    router.delete,
    "/api/v1/odoo/{name}/",
    write=True,
    summary="Remove a connection to Odoo",
    response_model=OdooRemovedAnswer,
    responses=problem_responses(OdooConnectionNotFound, OdooConnectionConflict, *_HOME),
)
async def remove_connection(request: Request, name: ConnectionPath) -> Any:
    """Removes it from the home database, unless solutions use it."""
    settings = settings_of(request)
    return await _answer(lambda: remove_odoo(settings, name))


@route(
    router.post,
    "/api/v1/odoo/{name}/test/",
    **job_route("Test a connection to Odoo", OdooConnectionNotFound),
)
async def check_connection(
    request: Request, name: ConnectionPath, *, key: IdempotencyKey = None, wait: Wait = 0
) -> Any:
    """Enqueues a test: a worker logs in; the result has version, protocol, rights and the duration of a call."""
    client = client_of(request)

    def enqueue() -> JobHandle:
        return client.enqueue(OdooTestRequest(name=name))

    return await enqueue_job(request, enqueue, key=key, wait=wait)


async def _answer(work: Callable[[], dict[str, Any]], *, status: int = 200) -> Any:
    result = await to_thread.run_sync(work)
    return json_answer(orjson.dumps(result), status=status)
