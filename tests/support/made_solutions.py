"""Solutions made by hand, as a set-up leaves them, for tests of the registry and of status."""

from __future__ import annotations

import json
import secrets
from contextlib import closing
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.domains import load_domain
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.schema import create
from fbs_worker.schema.definition import define
from fbs_worker.solutions.registry import Manifest, Registry, SolutionRecord
from tests.support.servers import create_database
from tests.support.snapshots import MODULE, MadeSnapshot, model, thing

PASSWORD = "s3cr3t'\" pässwörd"
REFRESH = {"at": "2026-01-02T03:04:05+00:00", "report": {"added": 3, "changed": 0}}
TABLES = {"version": 1, "tables": ["rental_property"], "mirrored": {"sale.order": "rental_sale_order"}, "odoo": "erp"}


def record(name: str = "fayvad", **given: Any) -> SolutionRecord:
    """A record of a solution that is not there."""
    values: dict[str, Any] = {
        "domain": "rental",
        "database": DatabaseConfig(
            name="elsewhere", user="me", password=SecretStr(PASSWORD), host="db.example.com", port=5433
        ),
        "business_prefix": "rental_",
        "schema_definition": TABLES,
    }
    return SolutionRecord(solution_name=name, **{**values, **given})


def run(database: DatabaseConfig, statement: str, *values: Any) -> None:
    """Run a statement in a transaction of its own."""
    with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def check_no_secret(payload: dict[str, Any]) -> None:
    """Assert that a payload is JSON-ready and has no password, encrypted or not."""
    text = json.dumps(payload)
    assert "s3cr3t" not in text
    assert "sealed:" not in text


class MadeSolutions:
    """Makes databases, and solutions in them.

    Attributes:
        settings: they lead to the home database.
        home: the home database.
        vault: has the settings' keys.
    """

    def __init__(self, settings: Settings, postgres: EmbeddedPostgres) -> None:
        self.settings = settings
        self.home = DatabaseConfig.from_url(settings.fbs_database_url)
        self.vault = Vault.from_text(settings.fbs_secret_keys.get_secret_value())
        self._postgres = postgres
        self._databases: list[str] = []

    def close(self) -> None:
        """Drop the databases."""
        for name in self._databases:
            self._postgres.drop_database(name)

    def database(self) -> DatabaseConfig:
        """A further, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        self._databases.append(name)
        create_database(self._postgres, name)
        return self._postgres.config(name)

    def solution(
        self,
        name: str = "fayvad",
        *,
        domain: str = "rental",
        place: DatabaseConfig | None = None,
        prefix: str = "fbs_",
        business: str = "rental_",
        mirror: tuple[str, ...] = (),
        **snapshot: Any,
    ) -> SolutionRecord:
        """A solution as a set-up leaves it, in the home database if no other is given."""
        where = (place or self.home).model_copy(update={"password": SecretStr(PASSWORD)})
        fields = {one: {"fields": {"name": {"type": "char", "stored": True}}} for one in mirror}
        definition = define(load_domain(domain), table_prefix=prefix, business_prefix=business, mirrored=fields)
        tables = {"tables": list(definition.table_names), "mirrored": dict(definition.mirrored)}
        made = record(
            name,
            domain=domain,
            database=where,
            table_prefix=prefix,
            business_prefix=business,
            schema_definition={"version": 1, **tables, "odoo": "default"},
        )
        found = [*(model("name", "note", name=one) for one in (*mirror, "other")), thing(MODULE, "sale")]
        with closing(connect(where)) as connection:
            discoveries = (replace(one, domain=domain) for one in found)
            Catalogue(connection, table_prefix=prefix).save(MadeSnapshot(*discoveries, domain=domain, **snapshot))
            with connection:
                create.create(connection, definition, owned=())
                refreshed = {**made.schema_definition, "last_refresh": REFRESH}
                Manifest.write(connection, replace(made, schema_definition=refreshed), self.vault)
        self.put(made)
        return made

    def put(self, made: SolutionRecord) -> None:
        """Write an entry of the registry."""
        with closing(connect(self.home)) as connection:
            Registry(connection, vault=self.vault).put(made)

    def at_once(self) -> dict[str, dict[str, Any]]:
        """Return the entry of each solution in `fbs list`."""
        from fbs_worker.ops.status import list_solutions

        return {one["solution"]: one for one in list_solutions(self.settings)["solutions"]}
