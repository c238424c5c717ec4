"""Configuration of a solution: a validated value object."""

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
    """A named use of a domain in one database, as CLI, client, HTTP API, Django and Celery accept it.

    Attributes:
        solution_name: e.g. `fayvad_rentals`.
        domain: e.g. `rental`.
        database_config: the target database.
        table_prefix: prefix of the system tables, at most 20 characters.
        business_prefix: prefix of the business tables, at most 20 characters; may be empty.
        refresh_discoveries: read Odoo again when the solution is set up or migrated.
        mirror: Odoo models to mirror as business tables, e.g. `sale.order`; sorted, without duplicates.
        odoo: name of the Odoo connection to read; None for the connection of an earlier set-up, else `default`.

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
        """Build a configuration from a dictionary.

        Args:
            values: the input.
            database_defaults: values for fields of `database_config` that are absent.
            defaults: values for other fields that are absent or None, e.g. the prefixes of the settings.

        Raises:
            UsageError: a field is missing, unknown or not valid.
        """
        if not isinstance(values, Mapping):
            raise UsageError(
                "A solution's configuration is not a dictionary.",
                hint="Give it solution_name, domain and database_config.",
            )
        fields = dict(values)
        for name, default in (defaults or {}).items():
            if fields.get(name) is None:
                fields[name] = default
        database = fields.get("database_config")
        if database is not None and not isinstance(database, DatabaseConfig):
            fields["database_config"] = DatabaseConfig.parse(database, defaults=database_defaults)
        return cls.model_validate(fields)

    def redacted(self) -> dict[str, Any]:
        """Return a JSON-ready form for display, without the password."""
        return {
            **self.model_dump(mode="json", exclude={"database_config"}),
            "database_config": self.database_config.redacted(),
        }

    def to_message(self, vault: Vault) -> dict[str, Any]:
        """Return a JSON-ready form for a queue message, with the password encrypted.

        Args:
            vault: encrypts a plain password.

        Raises:
            SecretError: the password is plain and no key is set to encrypt it with.
        """
        return {**self.redacted(), "database_config": self.database_config.to_message(vault)}
