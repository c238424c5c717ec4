"""Routes of the API: what Odoo servers can do, by solution, and by domain and type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

import orjson
from anyio import to_thread
from fastapi import APIRouter, Body, Path, Request
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
from fbs_worker.solutions.records import SolutionRecord
from fbs_worker.web.api.dependencies import SolutionPath, checked_database, solution_of
from fbs_worker.web.api.errors import HostRefused
from fbs_worker.web.api.problems import problem_responses
from fbs_worker.web.api.query_params import query_of, query_told
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
from fbs_worker.web.api.responses import Key, Wait, at, client_of, json_answer, places_of, settings_of, work, work_told

router = APIRouter(tags=["discoveries"])

_ACTIVE: Final = {"true": True, "false": False, "all": None}
_NOTHING_GIVEN: Final = DiscoverBody()

_READ: Final = problem_responses(
    SolutionNotFound, UsageError, DatabaseError, DatabaseMissing, DatabaseBusy, DatabaseUnreachable
)

DomainPath = Annotated[
    str, Path(pattern=DOMAIN_NAME, max_length=100, description="a domain's name", examples=["rental"])
]
TypePath = Annotated[DiscoveryType, Path(description="a discovery type", examples=["model"])]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Whose discoveries are asked for.

    Attributes:
        database: where the catalogue is.
        table_prefix: that of its tables.
        domain: the business area.
        discovery_type: only of this type; None for all.
        solution: the solution whose catalogue it is, if it is one's.
    """

    database: DatabaseConfig
    table_prefix: str
    domain: str
    discovery_type: DiscoveryType | None
    solution: str | None

    @classmethod
    def of(cls, record: SolutionRecord, discovery_type: DiscoveryType | None) -> Self:
        """Those of a solution."""
        return cls(
            database=record.database,
            table_prefix=record.table_prefix,
            domain=record.domain,
            discovery_type=discovery_type,
            solution=record.solution_name,
        )


@at(
    router.get,
    "/api/v1/solutions/{name}/discoveries/",
    summary="A solution's discoveries",
    openapi_extra=query_told(TypedPageQuery),
    response_model=DiscoveriesAnswer,
    responses=_READ,
)
async def read_discoveries(request: Request, name: SolutionPath) -> Any:
    """The modules, models, workflows and BI features of its domain that Odoo has, a page at a time."""
    query, places = query_of(request, TypedPageQuery), places_of(request)
    mark = await places.fresh.mark()
    return await _page(request, _Asked.of(await solution_of(places, name, mark=mark), query.type), query, mark)


@at(
    router.post,
    "/api/v1/solutions/{name}/discoveries/",
    **work_told("Read a solution's Odoo again", SolutionNotFound),
)
async def refresh(request: Request, name: SolutionPath, *, body: RefreshBody, key: Key = None, wait: Wait = 0) -> Any:
    """Records what changed since the last time; where nothing seems changed, only that is looked at."""
    client, places = client_of(request), places_of(request)

    def enqueue() -> JobHandle:
        places.solution(name)
        return client.refresh(name, full=body.full, odoo_moved=body.odoo_moved)

    return await work(request, enqueue, key=key, wait=wait)


@at(
    router.get,
    "/api/v1/solutions/{name}/search/",
    summary="Search a solution's catalogue",
    openapi_extra=query_told(SearchQuery),
    response_model=HitsAnswer,
    responses=_READ,
)
async def read_hits(request: Request, name: SolutionPath) -> Any:
    """Finds modules, models, their fields, workflows and BI features by the words of names, titles and labels.

    What bears exactly the name comes first, then the other things by their names, then fields by model and name.
    """
    query, places = query_of(request, SearchQuery), places_of(request)
    record = await solution_of(places, name)

    def look() -> Page:
        with places.connection(record.database) as connection:
            return search(
                connection,
                record.table_prefix,
                domain=record.domain,
                text=query.text,
                kinds=query.kind or KINDS,
                cursor=query.cursor,
                limit=query.limit,
            )

    return json_answer(_told(await to_thread.run_sync(look), "hits", solution=name, domain=record.domain))


@at(
    router.get,
    "/api/v1/discoveries/{domain}/{discovery_type}/",
    summary="The discoveries of a domain and type",
    openapi_extra=query_told(DomainPageQuery),
    response_model=DiscoveriesAnswer,
    responses=_READ,
)
async def read_domain(request: Request, domain: DomainPath, discovery_type: TypePath) -> Any:
    """Of the catalogue of a solution of that domain (`solution`), else of the one in the home database.

    A discovery with the home database as its `database_config` fills the latter.
    """
    query, places = query_of(request, DomainPageQuery), places_of(request)
    await to_thread.run_sync(load_domain, domain)
    mark = await places.fresh.mark()
    if query.solution is None:
        prefix = settings_of(request).fbs_table_prefix
        asked = _Asked(
            database=places.home, table_prefix=prefix, domain=domain, discovery_type=discovery_type, solution=None
        )
        return await _page(request, asked, query, mark)
    record = await solution_of(places, query.solution, mark=mark)
    if record.domain != domain:
        raise UsageError(
            f"The solution {query.solution!r} is of the domain {record.domain!r}, not {domain!r}.",
            hint="Name a solution of that domain, or that domain.",
        )
    return await _page(request, _Asked.of(record, discovery_type), query, mark)


@at(
    router.post,
    "/api/v1/discoveries/{domain}/{discovery_type}/",
    **work_told("Discover a domain", HostRefused),
)
async def discover(
    request: Request,
    domain: DomainPath,
    discovery_type: TypePath,
    *,
    body: Annotated[DiscoverBody, Body()] = _NOTHING_GIVEN,
    key: Key = None,
    wait: Wait = 0,
) -> Any:
    """Reads what Odoo has of that type in the domain, and keeps it in a database if one is given."""
    client, settings = client_of(request), settings_of(request)

    def enqueue() -> JobHandle:
        given = body.database_config
        return client.discover(
            domain=domain,
            database_config=None if given is None else checked_database(given, settings),
            table_prefix=body.table_prefix,
            discovery_types=[discovery_type],
            full=body.full,
            odoo=body.odoo,
            odoo_moved=body.odoo_moved,
        )

    return await work(request, enqueue, key=key, wait=wait)


async def _page(request: Request, asked: _Asked, query: PageQuery, mark: str) -> Response:
    """A page as bytes, kept for a moment."""
    places = places_of(request)

    def look() -> bytes:
        with places.connection(asked.database) as connection:
            found = page(
                connection,
                asked.table_prefix,
                domain=asked.domain,
                discovery_type=asked.discovery_type,
                text=query.text,
                active=_ACTIVE[query.active],
                cursor=query.cursor,
                limit=query.limit,
                full=query.full == "true",
            )
        return _told(found, "discoveries", solution=asked.solution, domain=asked.domain)

    key = (asked, query.text, query.active, query.cursor, query.limit, query.full)
    return json_answer(await places.fresh.get(key, look, mark=mark))


def _told(found: Page, rows: str, **about: str | None) -> bytes:
    """A page, its rows as PostgreSQL wrote them."""
    head, after = orjson.dumps(about)[:-1], orjson.dumps(found.next)
    return b'%s,"%s":%s,"next":%s}' % (head, rows.encode(), found.json().encode(), after)
