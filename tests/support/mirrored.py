"""A solution with a mirrored model, whose Odoo seems to change: what its catalogue says of the model is rewritten."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import Any

from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.core.settings import Settings
from tests.support.snapshots import MadeSnapshot, thing
from tests.support.solutions import Steps, config_of, inline, run, tables_of

MODEL = "hr.job"
TABLE = "hr_hr_job"


MODELS: dict[str, dict[str, Any]] = {
    MODEL: {
        "name": {"type": "char", "stored": True, "required": True},
        "description": {"type": "html", "stored": True},
        "user_id": {"type": "many2one", "stored": True, "relation": "res.users", "on_delete": "set null"},
    },
    "res.users": {"login": {"type": "char", "stored": True, "required": True}},
}


def discovered(target: DatabaseConfig) -> None:
    """Let the catalogue have the two models, as if Odoo had been read."""
    found = [replace(thing(name=name, fields=fields), domain="hr") for name, fields in MODELS.items()]
    with closing(connect(target)) as connection:
        Catalogue(connection).save(MadeSnapshot(*found, domain="hr"))


def set_up(target: DatabaseConfig, settings: Settings, name: str = "shop", **more: Any) -> dict[str, Any]:
    """A solution that mirrors the model; no Odoo is read unless that is asked for."""
    asked = {"mirror": [MODEL], "refresh_discoveries": False, **more}
    if not (asked["refresh_discoveries"] or "fbs_discoveries" in tables_of(target)):
        discovered(target)
    return inline("setup", config_of(target, name, **asked), settings)


def migrate(settings: Settings, progress: Steps | None = None, *, name: str = "shop", **more: Any) -> dict[str, Any]:
    """Run the job in this process."""
    return inline("migrate", {"solution_name": name, **more}, settings, progress)


def plan(settings: Settings, **more: Any) -> dict[str, Any]:
    """Only plan."""
    return migrate(settings, plan_only=True, **more)


def odoo_changes(target: DatabaseConfig, *, model: str = MODEL, **fields: dict[str, Any] | None) -> None:
    """Fields come (or become others), or go (None)."""
    with closing(connect(target)) as connection, connection, connection.cursor() as cursor:
        for name, field in fields.items():
            change = (
                "schema_definition #- %(path)s" if field is None else "jsonb_set(schema_definition, %(path)s, %(to)s)"
            )
            cursor.execute(
                f"UPDATE fbs_discoveries SET schema_definition = {change}"
                " WHERE discovery_type = 'model' AND name = %(model)s AND is_active",
                {
                    "path": ["fields", name],
                    "to": json.dumps({"type": "char", "stored": True, **(field or {})}),
                    "model": model,
                },
            )


def model_is_there(target: DatabaseConfig, *, there: bool, model: str = MODEL) -> None:
    """The model's module is installed, or removed."""
    active = "TRUE" if there else "FALSE"
    run(
        target,
        f"UPDATE fbs_discoveries SET is_active = {active} WHERE discovery_type = 'model' AND name = '{model}'",
    )


def fill(target: DatabaseConfig, count: int = 3, *, table: str = TABLE) -> None:
    """Rows for a model's table; its columns that have no default and must have a value get one of any kind."""
    with closing(connect(target)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND attnotnull AND NOT atthasdef AND NOT attisdropped AND attname <> 'odoo_id'",
            (table,),
        )
        some = {"integer": "7", "boolean": "TRUE", "date": "'2026-01-01'", "timestamp without time zone": "NOW()"}
        needed = {name: some.get(kind, "'some'") for name, kind in cursor.fetchall()}
        names = ", ".join(f'"{name}"' for name in ("odoo_id", *needed))
        values = ", ".join(("i", *needed.values()))
        cursor.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM generate_series(1, {count}) i")
