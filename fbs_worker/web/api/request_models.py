"""Request models: bodies and query strings, with what a schema can validate.

`fbs_worker.solutions.requests` validates the combinations, as for the other interfaces.
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


class _RequestModel(BaseModel):
    """Base of the request models: unknown fields are errors, and values never appear in errors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class DatabaseBody(_RequestModel):
    """A PostgreSQL database and its role. The server's settings supply omitted values."""

    name: str = Field(pattern=_PLAIN, max_length=63, description="the database's name", examples=["rental_db"])
    user: str | None = Field(
        default=None, pattern=_PLAIN, max_length=63, description="the role", examples=["rental_user"]
    )
    password: SecretStr | None = Field(
        default=None,
        max_length=500,
        description="the role's password; encrypted before it is stored. `env:NAME` and `file:PATH` are references that"
        " the worker resolves",
        examples=["env:RENTAL_PASSWORD"],
    )
    host: str | None = Field(
        default=None,
        pattern=r"^[^\s,@\x00-\x1f\x7f]+$",
        max_length=255,
        description="a name, an address, or the folder of a Unix socket; FBS_ALLOWED_HOSTS has to allow it",
        examples=["localhost"],
    )
    port: (
        Annotated[int, Field(strict=True, ge=1, le=65535)]
        | Annotated[str, Field(pattern=r"^[0-9]{1,5}$", description="the same as text")]
        | None
    ) = Field(default=None, description="the port", examples=[5432])


class SetupBody(_RequestModel):
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
    domain: DomainText = Field(description="a domain's name: rental, ecommerce, hr, generic, or a custom one")
    database_config: DatabaseBody = Field(description="the solution's database")
    table_prefix: TablePrefix | None = Field(default=None, description="prefix of the system tables")
    business_prefix: str | None = Field(
        default=None,
        pattern=r"^([a-z_][a-z0-9_]*)?$",
        max_length=20,
        description="prefix of the business tables; may be empty",
        examples=["rental_"],
    )
    refresh_discoveries: StrictBool = Field(default=True, description="discover Odoo as well")
    mirror: list[ModelText] = Field(default=[], max_length=500, description="Odoo models that get a business table")
    odoo: OdooText | None = Field(default=None, description="the name of an Odoo connection in the worker's settings")
    odoo_moved: StrictBool = Field(
        default=False, description="the catalogue was read from the same Odoo, at another address"
    )


class RefreshBody(_RequestModel):
    """An action on a solution's discoveries."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"action": "refresh"}]})

    action: Literal["refresh"] = Field(description="read Odoo again and record what changed")
    full: StrictBool = Field(default=False, description="read everything, even if the fingerprint is unchanged")
    odoo_moved: StrictBool = Field(
        default=False, description="the catalogue was read from the same Odoo, at another address"
    )


class MigrateBody(_RequestModel):
    """Options of a migration. By default it brings the tables to the desired schema."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"plan": True}, {"apply": "0123456789abcdef"}]})

    plan: StrictBool = Field(default=False, description="only plan the migration, and return its fingerprint")
    apply: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{16}$",
        description="the fingerprint of the plan to apply",
        examples=["0123456789abcdef"],
    )
    allow: list[Hazard] = Field(default=[], max_length=50, description="hazards to allow")
    rename: list[Rename] = Field(default=[], max_length=500, description="renamed columns: `table.old=new`")
    restore: StrictBool = Field(default=False, description="revert changes made by hand (drift)")
    mirror: list[ModelText] = Field(default=[], max_length=500, description="further Odoo models to mirror")
    no_mirror: list[ModelText] = Field(default=[], max_length=500, description="mirrored models whose tables to drop")
    undo: StrictBool = Field(default=False, description="revert the last migration; requires `plan` or `apply`")


class DiscoverBody(_RequestModel):
    """Options of a discovery."""

    database_config: DatabaseBody | None = Field(
        default=None, description="the database to write to; if omitted, discoveries are counted and not stored"
    )
    table_prefix: TablePrefix | None = Field(default=None, description="prefix of the system tables")
    full: StrictBool = Field(default=False, description="read everything, even if the fingerprint is unchanged")
    odoo: OdooText = Field(default="default", description="the name of an Odoo connection in the worker's settings")
    odoo_moved: StrictBool = Field(
        default=False, description="the catalogue was read from the same Odoo, at another address"
    )


class PageQuery(_RequestModel):
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

    solution: str | None = Field(
        default=None,
        pattern=SOLUTION_NAME,
        max_length=100,
        description="the solution whose catalogue is read, which must have that domain; default: the home database's",
        examples=["fayvad_rentals"],
    )


class SearchQuery(_RequestModel):
    """Filters and pagination of a search."""

    text: str = Field(
        min_length=1, max_length=200, description="words, each a prefix of a word of the hit", examples=["sale ord"]
    )
    kind: list[Kind] = Field(default=[], max_length=10, description="only of these kinds", examples=[["field"]])
    cursor: str = Field(default="", max_length=1_000, description="`next` of the previous page")
    limit: int = Field(default=100, ge=1, le=1_000, description="maximum number of hits")


class JobsQuery(_RequestModel):
    """Filters of the list of jobs."""

    state: JobState | None = Field(default=None, description="only jobs in this state")
    solution: str = Field(default="", max_length=100, description="only jobs of this solution")
    action: str = Field(default="", max_length=100, description="only jobs with this action", examples=["refresh"])
    limit: int = Field(default=50, ge=1, le=1_000, description="maximum number of jobs")
