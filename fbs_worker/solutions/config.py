"""Configuration of a solution: a validated value object."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, StrictBool

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.fields import Option, ValidatedConfig
from fbs_worker.core.identifiers import (
    DEFAULT_TABLE_PREFIX,
    DomainName,
    ModelNames,
    ModulePatterns,
    OdooName,
    OptionalPrefix,
    Prefix,
    SolutionName,
)

SOLUTION: Final = "the name of the solution; `fbs list` shows all"
DOMAIN: Final = "the business domain, e.g. rental; `fbs domains` lists them"
TABLE_PREFIX: Final = "prefix of the system tables"
MIRROR: Final = "Odoo models that get a business table, e.g. sale.order"
_KEPT: Final = "a set-up without it keeps those of an earlier one"
IncludeModules = Annotated[
    ModulePatterns,
    Option(name="include_module", metavar="PATTERN", limit=100),
    Field(description=f"names of modules to take as well, with * for any characters, e.g. x_*; {_KEPT}"),
]
ExcludeModules = Annotated[
    ModulePatterns,
    Option(name="exclude_module", metavar="PATTERN", limit=100),
    Field(description=f"names of modules to leave out, with * for any characters, whatever else selects them; {_KEPT}"),
]
ODOO: Final = (
    "the Odoo connection, one of `fbs odoo list`; `default` is ODOO_URL where that is set; a set-up without it keeps "
    "that of an earlier one"
)


class SolutionConfig(ValidatedConfig):
    """A named use of a domain in one database.

    Raises:
        UsageError: a field is missing, unknown or not valid; the message names it.
    """

    solution_name: SolutionName = Field(description=SOLUTION)
    domain: DomainName = Field(description=DOMAIN)
    database_config: DatabaseConfig = Field(description="the database of the solution")
    table_prefix: Annotated[Prefix, Option(setting="fbs_table_prefix")] = Field(
        default=DEFAULT_TABLE_PREFIX, description=TABLE_PREFIX
    )
    business_prefix: Annotated[OptionalPrefix, Option(setting="fbs_business_prefix")] = Field(
        default="", description="prefix of the business tables; may be empty"
    )
    refresh_discoveries: StrictBool = Field(default=True, description="discover Odoo as well")
    mirror: Annotated[ModelNames, Option(metavar="MODEL", limit=500)] = Field(default=(), description=MIRROR)
    include_modules: IncludeModules = ()
    exclude_modules: ExcludeModules = ()
    odoo: Annotated[OdooName | None, Option(envvar="FBS_ODOO_CONNECTION")] = Field(
        default=None,
        description=ODOO,
    )
