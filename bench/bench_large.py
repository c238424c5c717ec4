"""Migrating a table of 5,000,000 rows while it is read and written: seconds, and the longest wait of either.

The plans are the product's own, made and applied as a migration does. Beside them one session reads a row by its
number, another changes one, each over and over; the longest of their statements is what an application feels. The
floor of adding a column with a value of its own in each row is one UPDATE of all rows, on a copy of the table, with
nothing beside it.

    python -m bench.bench_large [ROWS]
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, UniqueConstraint, Uuid, text

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.domains import Domain
from fbs_worker.migration.apply.executor import apply
from fbs_worker.migration.model.plan import Hazard
from fbs_worker.migration.plan.planner import applied_schema, make_plan
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.schema import create
from fbs_worker.schema.definition import Definition, define

ROWS: Final = 5_000_000
MOST_OF_UPDATE: Final = 3.0
CHANGES: Final = ("NOT NULL", "index and key", "uuid column", "int to bigint", "dropped column")
FILL: Final = """
    INSERT INTO b_event (number, note, code, spare)
    SELECT i, 'note ' || i, 'code ' || i, repeat('x', 40) FROM generate_series(1, %s) i
"""


def definition(step: int) -> Definition:
    """The table after so many of the changes."""

    def tables() -> MetaData:
        metadata = MetaData()
        columns: list[Any] = [
            Column("number", BigInteger if step > CHANGES.index("int to bigint") else Integer, index=step > 1),
            Column("note", Text, nullable=step < 1),
            Column("code", Text),
        ]
        if step > CHANGES.index("uuid column"):
            columns.append(Column("token", Uuid, nullable=False, server_default=text("gen_random_uuid()")))
        if step < len(CHANGES):
            columns.append(Column("spare", Text))
        if step > 1:
            columns.append(UniqueConstraint("code"))
        Table("event", metadata, *columns)
        return metadata

    return define(Domain(name="bench", title="Bench", tables=tables), table_prefix="fbs_", business_prefix="b_")


class _Session:
    """A session that runs one short statement over and over, and keeps the longest time that one took."""

    def __init__(self, database: DatabaseConfig, sql: str, rows: int) -> None:
        self.longest = 0.0
        self._database, self._sql, self._rows = database, sql, rows
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        number = 0
        try:
            with closing(connect(self._database)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                while not self._ended.wait(0.002):
                    number = number * 31 % self._rows + 1
                    begun = time.perf_counter()
                    cursor.execute(self._sql, (number,))
                    self.longest = max(self.longest, time.perf_counter() - begun)
        except BaseException as exc:  # noqa: BLE001 -- raised again in the thread that measures
            self._error = exc


def _migrate(connection: Connection, before: int) -> None:
    applied, desired = definition(before), definition(before + 1)
    with connection:
        last = applied_schema(connection, applied)
        plan = make_plan(connection, solution="bench", definition=desired, last_applied=last, owned=applied.table_names)
    apply(connection, plan, table_prefix="fbs_", allowed=frozenset(Hazard))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def run(rows: int = ROWS) -> dict[str, dict[str, float]]:
    """Measure on a PostgreSQL that is started for it, and removed.

    Args:
        rows: how many rows the table has.

    Returns:
        By change: `seconds`, and the longest waits in seconds: `reader`, `writer`; and under `UPDATE` the floor.
    """
    found: dict[str, dict[str, float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="fbs-bench-") as folder,
        EmbeddedPostgres.start(Path(folder) / "postgres") as server,
    ):
        server.create_database("bench")
        database = server.config("bench")
        with closing(connect(database)) as connection:
            with connection, connection.cursor() as cursor:
                create.create(connection, definition(0), owned=())
                cursor.execute(FILL, (rows,))
            with connection, connection.cursor() as cursor:
                cursor.execute("ANALYZE b_event")
            for step, change in enumerate(CHANGES):
                if change == "uuid column":
                    found["UPDATE"] = {"seconds": _update(connection)}
                read = _Session(database, "SELECT note FROM b_event WHERE id = %s", rows)
                write = _Session(database, "UPDATE b_event SET note = note || '.' WHERE id = %s", rows)
                with read, write:
                    taken = _seconds(lambda step=step: _migrate(connection, step))  # type: ignore[misc]
                found[change] = {"seconds": taken, "reader": read.longest, "writer": write.longest}
    return found


def _update(connection: Connection) -> float:
    """One UPDATE of all rows of a copy that has a column for it, with the same indexes."""
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE copied (LIKE b_event INCLUDING ALL)")
        cursor.execute("INSERT INTO copied SELECT * FROM b_event")
        cursor.execute("ALTER TABLE copied ADD COLUMN token uuid")
    with connection, connection.cursor() as cursor:
        taken = _seconds(lambda: cursor.execute("UPDATE copied SET token = gen_random_uuid()"))
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE copied")
    return taken


def misses(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The targets that were missed, one line each."""
    ratio = figures["uuid column"]["seconds"] / figures["UPDATE"]["seconds"]
    return [f"a uuid column: {ratio:.2f} times an UPDATE (at most {MOST_OF_UPDATE})"] if ratio > MOST_OF_UPDATE else []


if __name__ == "__main__":
    measured = run(*(int(argument) for argument in sys.argv[1:2]))
    print(json.dumps({name: {k: round(v, 3) for k, v in each.items()} for name, each in measured.items()}, indent=2))
    missed = misses(measured)
    print("\n".join(missed) or "every target is met")
    sys.exit(bool(missed))
