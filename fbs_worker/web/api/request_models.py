"""What callers send, as the OpenAPI document describes it, and as far as a schema can check it.

What goes together is checked by `fbs_worker.solutions.requests`, as for every face.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StrictBool

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.search import Kind
from fbs_worker.jobs.model import JobState
from fbs_worker.migration.model.plan import Hazard

SOLUTION_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
DOMAIN_NAME: Final = r"^[a-z][a-z0-9_-]*$"
JOB_ID: Final = r"^[A-Za-z0-9_.:-]+$"
_PREFIX: Final = r"^[a-z_][a-z0-9_]*$"
_MODEL: Final = r"^[a-z_][a-z0-9_]*(\.[a-z0-9_]+)*$"
_ODOO: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_PLAIN: Final = r"^[^\x00-\x1f\x7f]+$"

SolutionText = Annotated[str, Field(pattern=SOLUTION_NAME, max_length=100, examples=["fayvad_rentals"])]
DomainText = Annotated[str, Field(pattern=DOMAIN_NAME, max_length=100, examples=["rental"])]
ModelText = Annotated[str, Field(pattern=_MODEL, max_length=100, examples=["sale.order"])]
OdooText = Annotated[str, Field(pattern=_ODOO, max_length=100, examples=["default"])]
TablePrefix = Annotated[str, Field(pattern=_PREFIX, max_length=20, examples=["fbs_"])]
Rename = Annotated[str, Field(pattern=r"^[^=]+\.[^=.]+=[^=]+$", max_length=200, examples=["lease.notes=remarks"])]


class _Given(BaseModel):
    """What callers send."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class DatabaseBody(_Given):
    """One PostgreSQL database, as one user. What is left out comes from the server's settings."""

    name: str = Field(pattern=_PLAIN, max_length=63, description="the database's name", examples=["rental_db"])
    user: str | None = Field(
        default=None, pattern=_PLAIN, max_length=63, description="the role", examples=["rental_user"]
    )
    password: SecretStr | None = Field(
        default=None,
        max_length=500,
        description="that role's password; sealed before it travels on. `env:NAME` and `file:PATH` are references that"
        " are read where the job runs",
        examples=["env:RENTAL_PASSWORD"],
    )
    host: str | None = Field(
        default=None,
        pattern=r"^[^\s,@\x00-\x1f\x7f]+$",
        max_length=255,
        description="a name, an address, or the folder of a Unix socket; one that FBS_ALLOWED_HOSTS allows",
        examples=["localhost"],
    )
    port: (
        Annotated[int, Field(strict=True, ge=1, le=65535)]
        | Annotated[str, Field(pattern=r"^[0-9]{1,5}$", description="the same as text")]
        | None
    ) = Field(default=None, description="the port", examples=[5432])


class SetupBody(_Given):
    """A solution's configuration."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "solution_name": "fayvad_rentals",
                    "domain": "rental",
                    "database_config": {
                        "name": "rental_db",
                        "user": "rental_user",
                        "password": "env:RENTAL_PASSWORD",
                        "host": "localhost",
                        "port": "5432",
                    },
                    "table_prefix": "fbs_",
                    "business_prefix": "rental_",
                    "refresh_discoveries": True,
                }
            ]
        }
    )

    solution_name: SolutionText = Field(description="the solution's name")
    domain: DomainText = Field(description="a domain's name: rental, ecommerce, hr, generic, or one that was added")
    database_config: DatabaseBody = Field(description="where it lives")
    table_prefix: TablePrefix | None = Field(default=None, description="prefix of the system tables")
    business_prefix: str | None = Field(
        default=None,
        pattern=r"^([a-z_][a-z0-9_]*)?$",
        max_length=20,
        description="prefix of the business tables; may be empty",
        examples=["rental_"],
    )
    refresh_discoveries: StrictBool = Field(default=True, description="read Odoo, too")
    mirror: list[ModelText] = Field(default=[], max_length=500, description="Odoo models that get a business table")
    odoo: OdooText | None = Field(default=None, description="the name of an Odoo connection of the worker's")
    odoo_moved: StrictBool = Field(
        default=False, description="what is kept was read from this same Odoo, at another address"
    )


class RefreshBody(_Given):
    """What is to be done with a solution's discoveries."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"action": "refresh"}]})

    action: Literal["refresh"] = Field(description="read Odoo again and record what changed")
    full: StrictBool = Field(default=False, description="read everything, even though nothing seems changed")
    odoo_moved: StrictBool = Field(
        default=False, description="what is kept was read from this same Odoo, at another address"
    )


class MigrateBody(_Given):
    """What a migration is to do. Nothing given: whatever makes the tables what they are to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan": True}, {"apply": "0123456789abcdef"}]})

    plan: StrictBool = Field(default=False, description="only tell what would be done, with its fingerprint")
    apply: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{16}$",
        description="the fingerprint of a plan: apply that one and no other",
        examples=["0123456789abcdef"],
    )
    allow: list[Hazard] = Field(default=[], max_length=50, description="hazards that may be")
    rename: list[Rename] = Field(default=[], max_length=500, description="columns that were renamed: `table.old=new`")
    restore: StrictBool = Field(default=False, description="what was changed by hand becomes as it was made")
    mirror: list[ModelText] = Field(default=[], max_length=500, description="further Odoo models that get a table")
    no_mirror: list[ModelText] = Field(default=[], max_length=500, description="mirrored models whose tables go")
    undo: StrictBool = Field(default=False, description="revert the last migration; wants `plan`, then `apply`")


class DiscoverBody(_Given):
    """What a discovery is to do."""

    database_config: DatabaseBody | None = Field(
        default=None, description="where the discoveries go; left out: they are counted and kept nowhere"
    )
    table_prefix: TablePrefix | None = Field(default=None, description="prefix of the system tables")
    full: StrictBool = Field(default=False, description="read everything, even though nothing seems changed")
    odoo: OdooText = Field(default="default", description="the name of an Odoo connection of the worker's")
    odoo_moved: StrictBool = Field(
        default=False, description="what is kept was read from this same Odoo, at another address"
    )


class PageQuery(_Given):
    """Which discoveries, and how many."""

    text: str = Field(
        default="",
        max_length=200,
        description="only those of which each word begins a word of name or title, or of a model's fields",
        examples=["sale ord"],
    )
    active: Literal["true", "false", "all"] = Field(
        default="true", description="`false`: those that Odoo has no longer, and former versions"
    )
    full: Literal["true", "false"] = Field(default="true", description="with `schema_definition`")
    cursor: str = Field(default="", max_length=500, description="`next` of the page before")
    limit: int = Field(default=100, ge=1, le=1_000, description="rows at most")


class TypedPageQuery(PageQuery):
    """Which discoveries of a solution, and how many."""

    type: DiscoveryType | None = Field(default=None, description="only of this type", examples=["model"])


class DomainPageQuery(PageQuery):
    """Which discoveries of a domain and type, and how many."""

    solution: str | None = Field(
        default=None,
        pattern=SOLUTION_NAME,
        max_length=100,
        description="the solution whose catalogue is read; it must be of that domain. Left out: the home database's",
        examples=["fayvad_rentals"],
    )


class SearchQuery(_Given):
    """What to look for."""

    text: str = Field(
        min_length=1, max_length=200, description="each word must begin a word of what is found", examples=["sale ord"]
    )
    kind: list[Kind] = Field(default=[], max_length=10, description="only of these kinds", examples=[["field"]])
    cursor: str = Field(default="", max_length=1_000, description="`next` of the page before")
    limit: int = Field(default=100, ge=1, le=1_000, description="hits at most")


class JobsQuery(_Given):
    """Which jobs, and how many."""

    state: JobState | None = Field(default=None, description="only those in this state")
    solution: str = Field(default="", max_length=100, description="only those of this solution")
    action: str = Field(default="", max_length=100, description="only those that do this", examples=["refresh"])
    limit: int = Field(default=50, ge=1, le=1_000, description="jobs at most")
