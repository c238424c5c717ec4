"""Routes: discoveries of a solution, and of a domain by type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Path, Query, Request
from starlette.responses import Response

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.pagination import Page
from fbs_worker.catalogue.queries import page
from fbs_worker.catalogue.search import KINDS, search
from fbs_worker.client.handle import JobHandle
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseMissing,
    DatabaseUnreachable,
    SolutionNotFound,
    UsageError,
)
from fbs_worker.domains import load_domain
from fbs_worker.solutions.registry import SolutionRecord
from fbs_worker.web.api.dependencies import (
    SolutionPath,
    cached_solution,
    checked_database,
    client_of,
    databases_of,
    route,
    settings_of,
)
from fbs_worker.web.api.errors import HostRefused
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.request_models import (
    DOMAIN_NAME,
    DiscoverBody,
    DomainPageQuery,
    PageQuery,
    RefreshBody,
    SearchQuery,
    TypedPageQuery,
)
from fbs_worker.web.api.response_models import DiscoveriesAnswer, HitsAnswer
from fbs_worker.web.api.responses import IdempotencyKey, Wait, enqueue_job, job_route, json_answer

router = APIRouter(tags=["discoveries"])

_ACTIVE: Final = {"true": True, "false": False, "all": None}
_DEFAULTS: Final = DiscoverBody()

_READ: Final = problem_responses(
    SolutionNotFound, UsageError, DatabaseError, DatabaseMissing, DatabaseBusy, DatabaseUnreachable
)

DomainPath = Annotated[
    str, Path(pattern=DOMAIN_NAME, max_length=100, description="a domain's name", examples=["rental"])
]
TypePath = Annotated[DiscoveryType, Path(description="a discovery type", examples=["model"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CatalogueQuery:
    """A catalogue, and the discoveries to read from it.

    Attributes:
        database: the catalogue's database.
        table_prefix: prefix of the catalogue's tables.
        domain: the domain.
        discovery_type: the discovery type; None for all.
        solution: the catalogue's solution; None for the home database's catalogue.
    """

    database: DatabaseConfig
    table_prefix: str
    domain: str
    discovery_type: DiscoveryType | None
    solution: str | None

    @classmethod
    def of(cls, record: SolutionRecord, discovery_type: DiscoveryType | None) -> Self:
        """The catalogue of a solution."""
        return cls(
            database=record.database,
            table_prefix=record.table_prefix,
            domain=record.domain,
            discovery_type=discovery_type,
            solution=record.solution_name,
        )


@route(
    router.get,
    "/api/v1/solutions/{name}/discoveries/",
    summary="A solution's discoveries",
    response_model=DiscoveriesAnswer,
    responses=_READ,
)
async def read_discoveries(request: Request, name: SolutionPath, query: Annotated[TypedPageQuery, Query()]) -> Any:
    """Lists the modules, models, workflows and BI features of its domain, by pages."""
    databases = databases_of(request)
    version = await databases.cache.version()
    return await _page(
        request, _CatalogueQuery.of(await cached_solution(databases, name, version=version), query.type), query, version
    )


@route(
    router.post,
    "/api/v1/solutions/{name}/discoveries/",
    **job_route("Read a solution's Odoo again", SolutionNotFound),
)
async def refresh(
    request: Request, name: SolutionPath, *, body: RefreshBody, key: IdempotencyKey = None, wait: Wait = 0
) -> Any:
    """Enqueues a refresh, which records what changed in Odoo; an unchanged fingerprint ends it early."""
    client, databases = client_of(request), databases_of(request)

    def enqueue() -> JobHandle:
        databases.solution(name)
        return client.refresh(name, full=body.full, odoo_moved=body.odoo_moved)

    return await enqueue_job(request, enqueue, key=key, wait=wait)


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
    record = await cached_solution(databases, name)

    def read() -> Page:
        with databases.connection(record.database) as connection:
            return search(
                connection,
                record.table_prefix,
                domain=record.domain,
                text=query.text,
                kinds=query.kind or KINDS,
                cursor=query.cursor,
                limit=query.limit,
            )

    page_of_hits = await to_thread.run_sync(read)
    return json_answer(_serialise(page_of_hits, "hits", solution=name, domain=record.domain))


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
    databases = databases_of(request)
    await to_thread.run_sync(load_domain, domain)
    version = await databases.cache.version()
    if query.solution is None:
        prefix = settings_of(request).fbs_table_prefix
        target = _CatalogueQuery(
            database=databases.home, table_prefix=prefix, domain=domain, discovery_type=discovery_type, solution=None
        )
        return await _page(request, target, query, version)
    record = await cached_solution(databases, query.solution, version=version)
    if record.domain != domain:
        raise UsageError(
            f"The solution {query.solution!r} is of the domain {record.domain!r}, not {domain!r}.",
            hint="Name a solution of that domain, or that domain.",
        )
    return await _page(request, _CatalogueQuery.of(record, discovery_type), query, version)


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
        database = body.database_config
        return client.discover(
            domain=domain,
            database_config=None if database is None else checked_database(database, settings),
            table_prefix=body.table_prefix,
            discovery_types=[discovery_type],
            full=body.full,
            odoo=body.odoo,
            odoo_moved=body.odoo_moved,
        )

    return await enqueue_job(request, enqueue, key=key, wait=wait)


async def _page(request: Request, target: _CatalogueQuery, query: PageQuery, version: str) -> Response:
    databases = databases_of(request)

    def read() -> bytes:
        with databases.connection(target.database) as connection:
            discoveries = page(
                connection,
                target.table_prefix,
                domain=target.domain,
                discovery_type=target.discovery_type,
                text=query.text,
                active=_ACTIVE[query.active],
                cursor=query.cursor,
                limit=query.limit,
                full=query.full == "true",
            )
        return _serialise(discoveries, "discoveries", solution=target.solution, domain=target.domain)

    key = (target, query.text, query.active, query.cursor, query.limit, query.full)
    return json_answer(await databases.cache.get(key, read, version=version))


def _serialise(rows: Page, name: str, **fields: str | None) -> bytes:
    """Splice the rows in as the JSON that PostgreSQL rendered, without parsing it."""
    head, following = orjson.dumps(fields)[:-1], orjson.dumps(rows.next)
    return b'%s,"%s":%s,"next":%s}' % (head, name.encode(), rows.json().encode(), following)
