"""Request models: bodies, which are made from the requests, and query strings."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.search import Kind
from fbs_worker.core.characters import check_characters
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.fields import nested, option_of
from fbs_worker.core.identifiers import SolutionName
from fbs_worker.jobs.model import JobState
from fbs_worker.solutions.odoo_requests import OdooAddRequest, OdooEditRequest
from fbs_worker.solutions.requests import DiscoverRequest, MigrateRequest, RefreshRequest, SetupRequest, SyncRequest

JOB_ID: Final = r"^[A-Za-z0-9_.:-]+$"


class RequestModel(BaseModel):
    """Base of the request models: unknown fields are errors, and values never appear in errors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _check_characters(cls, values: Any) -> Any:
        """Refuse what neither PostgreSQL nor UTF-8 can hold, in texts at any depth."""
        check_characters(values)
        return values


class RequestBody(RequestModel):
    """Base of the bodies that are made from the requests of `fbs_worker.solutions.requests`."""

    def values(self) -> dict[str, Any]:
        """What was given, by the names of the request's fields."""
        return self.model_dump(exclude_unset=True)


def _made_from(
    declared: type[BaseModel], name: str, *, without: Collection[str] = (), example: Any = None, **more: Any
) -> Any:
    """Make a body from the fields of a request.

    Args:
        declared: the request.
        name: the body's name in the OpenAPI document.
        without: fields that are given by the path.
        example: an example of the body.
        **more: further fields.
    """
    fields = dict(more)
    for field_name, field in declared.model_fields.items():
        option = option_of(field)
        if option.internal or field_name in without:
            continue
        limit = Field(max_length=option.limit)
        kind: Any = Annotated[(field.annotation, limit, *field.metadata)]
        if nested(field):
            kind = DatabaseBody if field.is_required() else DatabaseBody | None
        default = ... if field.is_required() else field.default
        if option.setting:
            kind, default = kind | None, None
        alias = option.name or None
        made = Field(default, alias=alias, description=field.description, examples=field.examples)
        fields[field_name] = (kind, made)
    about = inspect.cleandoc(declared.__doc__ or "").partition("\n")[0]
    extra = {"json_schema_extra": {"examples": [example]}} if example else {}
    return create_model(name, __base__=RequestBody, __doc__=about, __module__=__name__, __cls_kwargs__=extra, **fields)


if TYPE_CHECKING:
    DatabaseBody: TypeAlias = RequestBody
    DiscoverBody: TypeAlias = RequestBody
    SetupBody: TypeAlias = RequestBody
    RefreshBody: TypeAlias = RequestBody
    MigrateBody: TypeAlias = RequestBody
    SyncBody: TypeAlias = RequestBody
    OdooBody: TypeAlias = RequestBody
    OdooChangesBody: TypeAlias = RequestBody
else:
    DatabaseBody = _made_from(DatabaseConfig, "DatabaseBody")
    DiscoverBody = _made_from(DiscoverRequest, "DiscoverBody", without=("domain", "discovery_types"))
    SetupBody = _made_from(
        SetupRequest,
        "SetupBody",
        example={
            "solution_name": "fayvad_rentals",
            "domain": "rental",
            "database_config": {"name": "fbs", "host": "localhost", "port": "5432"},
            "table_prefix": "fbs_",
            "business_prefix": "rental_",
            "refresh_discoveries": True,
        },
    )
    RefreshBody = _made_from(
        RefreshRequest,
        "RefreshBody",
        without=("solution_name",),
        example={"action": "refresh"},
        action=(Literal["refresh"], Field(exclude=True, description="read Odoo again and record what changed")),
    )
    MigrateBody = _made_from(MigrateRequest, "MigrateBody", without=("solution_name",), example={"plan": True})
    SyncBody = _made_from(SyncRequest, "SyncBody", without=("solution_name",), example={"model": ["res.partner"]})

    OdooBody = _made_from(
        OdooAddRequest,
        "OdooBody",
        example={
            "name": "shop",
            "url": "https://odoo.example.com",
            "db": "production",
            "user": "reader",
            "password": "env:SHOP_ODOO_PASSWORD",
        },
    )
    OdooChangesBody = _made_from(
        OdooEditRequest,
        "OdooChangesBody",
        without=("name",),
        example={"url": "https://odoo.example.com", "timeout": 60},
    )


class PageQuery(RequestModel):
    """Filters and pagination of discoveries."""

    text: str = Field(
        default="",
        max_length=200,
        description="words, each a prefix of a word in the name, the title or a model's fields",
        examples=["sale ord"],
    )
    active: Literal["true", "false", "all"] = Field(
        default="true", description="`false`: discoveries that are gone from Odoo, and superseded versions"
    )
    full: Literal["true", "false"] = Field(default="true", description="include `schema_definition`")
    cursor: str = Field(default="", max_length=500, description="`next` of the previous page")
    limit: int = Field(default=100, ge=1, le=1_000, description="maximum number of rows")


class TypedPageQuery(PageQuery):
    """Filters and pagination of a solution's discoveries."""

    type: DiscoveryType | None = Field(default=None, description="only of this type", examples=["model"])


class DomainPageQuery(PageQuery):
    """Filters and pagination of a domain's discoveries of one type."""

    solution: SolutionName | None = Field(
        default=None,
        description="the solution whose catalogue is read, which must have that domain; default: the home database's",
    )


class SearchQuery(RequestModel):
    """Filters and pagination of a search."""

    text: str = Field(
        min_length=1, max_length=200, description="words, each a prefix of a word of the hit", examples=["sale ord"]
    )
    kind: list[Kind] = Field(default=[], max_length=10, description="only of these kinds", examples=[["field"]])
    cursor: str = Field(default="", max_length=1_000, description="`next` of the previous page")
    limit: int = Field(default=100, ge=1, le=1_000, description="maximum number of hits")


class RecordsQuery(RequestModel):
    """Pagination of rows; any other parameter is a column to filter by."""

    model_config = ConfigDict(extra="allow")

    cursor: str = Field(default="", max_length=500, description="`next` of the previous page")
    limit: int = Field(default=100, ge=1, le=1_000, description="maximum number of rows")


class JobsQuery(RequestModel):
    """Filters of the list of jobs."""

    state: JobState | None = Field(default=None, description="only jobs in this state")
    solution: str = Field(default="", max_length=100, description="only jobs of this solution")
    action: str = Field(default="", max_length=100, description="only jobs with this action", examples=["refresh"])
    limit: int = Field(default=50, ge=1, le=1_000, description="maximum number of jobs")
