"""Which solution in which database: a validated value object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field

from fbs_worker.core.database_config import DatabaseConfig, ValidatedConfig
from fbs_worker.core.errors import UsageError
from fbs_worker.core.identifiers import (
    DEFAULT_TABLE_PREFIX,
    DomainName,
    ModelName,
    OdooName,
    OptionalPrefix,
    Prefix,
    SolutionName,
    sorted_models,
)
from fbs_worker.core.vault import Vault


class SolutionConfig(ValidatedConfig):
    """One named use of a domain in one database: the dictionary that every face takes.

    Attributes:
        solution_name: e.g. `fayvad_rentals`.
        domain: e.g. `rental`.
        database_config: where it lives.
        table_prefix: prefix of the system tables, at most 20 characters.
        business_prefix: prefix of the business tables, at most 20 characters; may be empty.
        refresh_discoveries: read Odoo again when the solution is set up or migrated.
        mirror: Odoo models that become business tables, e.g. `sale.order`; sorted, each once.
        odoo: the name of the Odoo connection that it reads; None for the one that it has, or `default`.

    Raises:
        UsageError: a field is missing, unknown or not valid; the message names it.
    """

    solution_name: SolutionName
    domain: DomainName
    database_config: DatabaseConfig
    table_prefix: Prefix = DEFAULT_TABLE_PREFIX
    business_prefix: OptionalPrefix = ""
    refresh_discoveries: bool = Field(default=True, strict=True)
    mirror: Annotated[tuple[ModelName, ...], BeforeValidator(sorted_models)] = ()
    odoo: OdooName | None = None

    @classmethod
    def parse(
        cls,
        values: Mapping[str, Any],
        *,
        database_defaults: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> Self:
        """Build one from the dictionary of the design.

        Args:
            values: what was given.
            database_defaults: what to take for fields of `database_config` that were not given.
            defaults: what to take for other fields that were not given (absent or None), e.g. the prefixes of the
                settings.

        Raises:
            UsageError: a field is missing, unknown or not valid.
        """
        if not isinstance(values, Mapping):
            raise UsageError(
                "A solution's configuration is not a dictionary.",
                hint="Give it solution_name, domain and database_config.",
            )
        given = dict(values)
        for name, default in (defaults or {}).items():
            if given.get(name) is None:
                given[name] = default
        database = given.get("database_config")
        if database is not None and not isinstance(database, DatabaseConfig):
            given["database_config"] = DatabaseConfig.parse(database, defaults=database_defaults)
        return cls.model_validate(given)

    def redacted(self) -> dict[str, Any]:
        """JSON-ready for display, without the password."""
        return {
            **self.model_dump(mode="json", exclude={"database_config"}),
            "database_config": self.database_config.redacted(),
        }

    def to_message(self, vault: Vault) -> dict[str, Any]:
        """JSON-ready for a queue, the password sealed.

        Raises:
            SecretError: a plain password, and no key to seal it with.
        """
        return {**self.redacted(), "database_config": self.database_config.to_message(vault)}
