"""Routes: discoveries of a solution, and of a domain by type."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Body, Path, Query, Request

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.pagination import Page
from fbs_worker.catalogue.queries import page
from fbs_worker.catalogue.search import KINDS, search
from fbs_worker.client.handle import JobHandle
from fbs_worker.core.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseMissing,
    DatabaseUnreachable,
    HostRefused,
    SolutionNotFound,
    UsageError,
)
from fbs_worker.core.identifiers import DomainName
from fbs_worker.domains import load_domain
from fbs_worker.solutions.config import DOMAIN
from fbs_worker.solutions.requests import DiscoverRequest, RefreshRequest
from fbs_worker.web.api.dependencies import (
    SolutionPath,
    client_of,
    databases_of,
    route,
    settings_of,
)
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.request_models import (
    DiscoverBody,
    DomainPageQuery,
    PageQuery,
    RefreshBody,
    SearchQuery,
    TypedPageQuery,
)
from fbs_worker.web.api.response_models import DiscoveriesAnswer, HitsAnswer
from fbs_worker.web.api.responses import (
    IdempotencyKey,
    Wait,
    enqueue_for_solution,
    enqueue_job,
    job_route,
    shared_answer,
)

router = APIRouter(tags=["discoveries"])

_ACTIVE: Final = {"true": True, "false": False, "all": None}
_DEFAULTS: Final = DiscoverBody()

_READ: Final = problem_responses(
    SolutionNotFound, UsageError, DatabaseError, DatabaseMissing, DatabaseBusy, DatabaseUnreachable
)

DomainPath = Annotated[DomainName, Path(description=DOMAIN)]
TypePath = Annotated[DiscoveryType, Path(description="a discovery type", examples=["model"])]


@route(
    router.get,
    "/api/v1/solutions/{name}/discoveries/",
    summary="A solution's discoveries",
    response_model=DiscoveriesAnswer,
    responses=_READ,
)
async def read_discoveries(request: Request, name: SolutionPath, query: Annotated[TypedPageQuery, Query()]) -> Any:
    """Lists the modules, models, workflows and BI features of its domain, by pages."""
    return await shared_answer(request, lambda: _page(request, query, solution=name, discovery_type=query.type))


@route(
    router.post,
    "/api/v1/solutions/{name}/discoveries/",
    **job_route("Read a solution's Odoo again", SolutionNotFound),
)
async def refresh(
    request: Request, name: SolutionPath, *, body: RefreshBody, key: IdempotencyKey = None, wait: Wait = 0
) -> Any:
    """Enqueues a refresh, which records what changed in Odoo; an unchanged fingerprint ends it early."""
    return await enqueue_for_solution(request, RefreshRequest, name, body.values(), key=key, wait=wait)


@route(
    router.get,
    "/api/v1/solutions/{name}/search/",
    summary="Search a solution's catalogue",
    response_model=HitsAnswer,
    responses=_READ,
)
async def read_hits(request: Request, name: SolutionPath, query: Annotated[SearchQuery, Query()]) -> Any:
    """Searches modules, models, their fields, workflows and BI features by words of names, titles and labels.

    Exact matches of a name come first, then other discoveries by name, then fields by model and name.
    """
    databases = databases_of(request)

    def read() -> bytes:
        record = databases.solution(name)
        with databases.connection(record.database) as connection:
            hits = search(
                connection,
                record.table_prefix,
                domain=record.domain,
                text=query.text,
                kinds=query.kind or KINDS,
                cursor=query.cursor,
                limit=query.limit,
            )
        return _serialise(hits, "hits", solution=name, domain=record.domain)

    return await shared_answer(request, read)


@route(
    router.get,
    "/api/v1/discoveries/{domain}/{discovery_type}/",
    summary="The discoveries of a domain and type",
    response_model=DiscoveriesAnswer,
    responses=_READ,
)
async def read_domain(
    request: Request, domain: DomainPath, discovery_type: TypePath, query: Annotated[DomainPageQuery, Query()]
) -> Any:
    """Of the catalogue of a solution of that domain (`solution`), else of the one in the home database.

    A discovery with the home database as its `database_config` fills the latter.
    """

    def read() -> bytes:
        load_domain(domain)
        return _page(request, query, solution=query.solution, domain=domain, discovery_type=discovery_type)

    return await shared_answer(request, read)


@route(
    router.post,
    "/api/v1/discoveries/{domain}/{discovery_type}/",
    **job_route("Discover a domain", HostRefused),
)
async def discover(
    request: Request,
    domain: DomainPath,
    discovery_type: TypePath,
    *,
    body: Annotated[DiscoverBody, Body()] = _DEFAULTS,
    key: IdempotencyKey = None,
    wait: Wait = 0,
) -> Any:
    """Enqueues a discovery of that type, which stores its results if a database is given."""
    client, settings = client_of(request), settings_of(request)

    def enqueue() -> JobHandle:
        job = DiscoverRequest.parse(body.values(), settings=settings, domain=domain, discovery_types=discovery_type)
        return client.enqueue(job.checked(settings))

    return await enqueue_job(request, enqueue, key=key, wait=wait)


def _page(
    request: Request,
    query: PageQuery,
    *,
    solution: str | None,
    discovery_type: DiscoveryType | None,
    domain: str | None = None,
) -> bytes:
    """A page of a solution's catalogue, which has to be of the domain if one is given; else of the home database's."""
    databases = databases_of(request)
    if solution is None:
        database, table_prefix, found = databases.home, settings_of(request).fbs_table_prefix, domain or ""
    else:
        record = databases.solution(solution)
        database, table_prefix, found = record.database, record.table_prefix, record.domain
    if domain not in {None, found}:
        raise UsageError(
            f"The solution {solution!r} is of the domain {found!r}, not {domain!r}.",
            hint="Name a solution of that domain, or that domain.",
        )
    with databases.connection(database) as connection:
        discoveries = page(
            connection,
            table_prefix,
            domain=found,
            discovery_type=discovery_type,
            text=query.text,
            active=_ACTIVE[query.active],
            cursor=query.cursor,
            limit=query.limit,
            full=query.full == "true",
        )
    return _serialise(discoveries, "discoveries", solution=solution, domain=found)


def _serialise(rows: Page, name: str, **fields: str | None) -> bytes:
    """Splice the rows in as the JSON that PostgreSQL rendered, without parsing it."""
    head, following = orjson.dumps(fields)[:-1], orjson.dumps(rows.next)
    return b'%s,"%s":%s,"next":%s}' % (head, name.encode(), rows.json().encode(), following)
