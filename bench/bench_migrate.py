"""Planning a migration of 500 tables, against Alembic's own comparison of the same tables.

Both get the same SQLAlchemy tables and a connection to the same PostgreSQL; both compare types, NOT NULL, indexes,
unique and foreign keys. Ours also compares defaults; for Alembic this is off, because it needs a query per default.
Alembic's `compare_metadata` returns a list of differences; ours also each statement, its operation, its lock and its
hazards, for which it checks whether tables hold rows. Alembic identifies indexes by name, so it gets tables whose
indexes are named as PostgreSQL named them. They take turns; medians are compared.

`same`: nothing has changed. `changed`: every tenth table gets one column more, loses one, gets one retyped and one
required, and holds rows.

    python -m bench.bench_migrate
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.sql.elements import quoted_name

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.domains import Domain
from fbs_worker.migration.plan.planner import applied_schema, make_plan
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.schema import create
from fbs_worker.schema.definition import Definition, define

TABLES: Final = 500
ROUNDS: Final = 5
MOST_OF_ALEMBIC: Final = 0.3

_EVERY: Final = 10


def _field(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "stored": True, **more}


def _fields(number: int, *, changed: bool) -> dict[str, Any]:
    """Of one model: 14 fields of common types, one of which refers to the next model."""
    fields: dict[str, Any] = {
        "name": _field("char", required=True),
        "code": _field("char", size=20),
        "note": _field("text"),
        "amount": _field("monetary"),
        "quantity": _field("integer"),
        "active": _field("boolean"),
        "day": _field("date"),
        "state": _field("selection"),
        "data": _field("json"),
        "write_date": _field("datetime"),
        "create_date": _field("datetime"),
        "partner_id": _field("many2one", relation=f"bench.model{number + 1}", on_delete="set null"),
        "user_id": _field("many2one", relation="res.users"),
    }
    if changed and number % _EVERY == 0:
        del fields["note"]
        fields |= {"code": _field("char", size=40), "quantity": _field("char"), "extra": _field("text")}
        fields["state"] = _field("selection", required=True)
    return fields


def definition(*, changed: bool) -> Definition:
    """So many tables of mirrored models."""
    models = {f"bench.model{number}": {"fields": _fields(number, changed=changed)} for number in range(TABLES)}
    domain = Domain(name="bench", title="Bench")
    return define(domain, table_prefix="fbs_", business_prefix="b_", mirrored=models)


def _with_names(desired: Definition) -> Definition:
    """Its indexes called as PostgreSQL calls them."""
    for table in desired.tables:
        for index in table.indexes:
            parts = [str(table.name), *(str(column.name) for column in index.columns), "idx"]
            index.name = quoted_name("_".join(parts), quote=None)
    return desired


class _Bench:
    """A database with the tables in it, some of them with a row."""

    def __init__(self, database: DatabaseConfig, connection: Connection) -> None:
        first = definition(changed=False)
        with connection, connection.cursor() as cursor:
            create.create(connection, first, owned=())
            for number in range(0, TABLES, _EVERY):
                cursor.execute(f"INSERT INTO b_bench_model{number} (odoo_id, name) VALUES (1, 'one')")
        with connection, connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        self._connection = connection
        self._made, self._owned = applied_schema(connection, first), first.table_names
        self._engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: connect(database))

    def close(self) -> None:
        self._engine.dispose()

    def plan(self, desired: Definition) -> int:
        """Ours; the number of statements."""
        with self._connection:
            planned = make_plan(
                self._connection, solution="bench", definition=desired, last_applied=self._made, owned=self._owned
            )
        return len(planned.steps)

    def alembic(self, desired: Definition) -> int:
        """Alembic's; the number of differences."""
        system = {table.name for table in desired.system}
        with self._engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "compare_type": True,
                    "include_name": lambda name, kind, _: kind != "table" or name not in system,
                },
            )
            return len(compare_metadata(context, desired.business))

    def compare(self, *, changed: bool) -> dict[str, float]:
        """Medians in seconds, and what was found."""
        tables = {"plan": definition(changed=changed), "alembic": _with_names(definition(changed=changed))}
        operations: dict[str, Callable[[Definition], int]] = {"plan": self.plan, "alembic": self.alembic}
        times: dict[str, list[float]] = {name: [] for name in operations}
        result: dict[str, float] = {}
        for _ in range(ROUNDS + 1):
            for name, operation in operations.items():
                begun = time.perf_counter()
                result[f"{name}_found"] = operation(tables[name])
                times[name].append(time.perf_counter() - begun)
        medians = {f"{name}_seconds": statistics.median(found[1:]) for name, found in times.items()}
        return {**result, **medians, "ratio": medians["plan_seconds"] / medians["alembic_seconds"]}


def run() -> dict[str, dict[str, float]]:
    """Measure on a PostgreSQL that is started for it, and removed.

    Returns:
        Under `same` and `changed`: `plan_seconds`, `alembic_seconds`, `ratio` (of Alembic), `plan_found` (statements)
        and `alembic_found` (differences).
    """
    with (
        tempfile.TemporaryDirectory(prefix="fbs-bench-") as folder,
        EmbeddedPostgres.start(Path(folder) / "postgres") as server,
    ):
        server.create_database("bench")
        database = server.config("bench")
        with closing(connect(database)) as connection, closing(_Bench(database, connection)) as bench:
            return {"same": bench.compare(changed=False), "changed": bench.compare(changed=True)}


def misses(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The targets that were missed, one line each."""
    return [
        f"planning {TABLES} tables ({name}): {found['ratio']:.2f} times Alembic (at most {MOST_OF_ALEMBIC})"
        for name, found in figures.items()
        if found["ratio"] > MOST_OF_ALEMBIC
    ]


if __name__ == "__main__":
    measured = run()
    print(json.dumps({name: {k: round(v, 4) for k, v in found.items()} for name, found in measured.items()}, indent=2))
    missed = misses(measured)
    print("\n".join(missed) or "every target is met")
    sys.exit(bool(missed))
