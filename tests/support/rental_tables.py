"""A rental solution's tables, and a look at everything that a database holds."""

from __future__ import annotations

from typing import Any

from fbs_worker.core.postgres import Connection
from fbs_worker.domains import load_domain
from fbs_worker.schema.definition import Definition, define

SYSTEM = [
    "fbs_discoveries",
    "fbs_snapshots",
    "fbs_solution_schemas",
    "fbs_schema_migrations",
    "fbs_workflow_definitions",
    "fbs_bi_dashboards",
    "fbs_replication",
    "fbs_rejected_records",
    "fbs_deleted_records",
    "fbs_file_checksums",
]
RENTAL = ["r_property", "r_tenant", "r_lease", "r_maintenance", "r_payment"]


def rental(prefix: str = "r_", **mirrored: Any) -> Definition:
    models = {name.replace("__", "."): {"fields": fields} for name, fields in mirrored.items()}
    return define(load_domain("rental"), table_prefix="fbs_", business_prefix=prefix, mirrored=models)


def run(connection: Connection, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall()) if cursor.description else []


def everything(connection: Connection) -> list[tuple[Any, ...]]:
    """All that is in the schemas of users, as a list that compares."""
    return run(
        connection,
        """
        SELECT 'relation', c.relname::text, c.relkind::text, c.oid::text, (
            SELECT jsonb_agg(jsonb_build_array(attname, format_type(atttypid, atttypmod), attnotnull) ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)::text
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        UNION ALL SELECT 'constraint', conname, contype::text, oid::text, pg_get_constraintdef(oid) FROM pg_constraint
        UNION ALL SELECT 'type', typname, typtype::text, oid::text, '' FROM pg_type
        ORDER BY 1, 2, 4
        """,
    )
