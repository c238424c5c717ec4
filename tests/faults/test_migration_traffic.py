"""A table of 1,000,000 rows is migrated while applications read and write it: none waits for more than a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, String, Text, text

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.migration.apply.lock_retry import LockPolicy
from fbs_worker.schema.definition import Definition
from tests.support.planned import Tables, defined, table

pytestmark = pytest.mark.faults

ROWS = 1_000_000
LONGEST = 1.0


class Application(threading.Thread):
    """Inserts, changes and reads, one after the other, and remembers how long each took."""

    def __init__(self, database: DatabaseConfig, number: int) -> None:
        super().__init__()
        self._database = database
        self._number = number
        self._stopped = threading.Event()
        self.longest = 0.0
        self.slowest = ""
        self.inserted = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with closing(connect(self._database, application_name="an-application")) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    while not self._stopped.is_set():
                        for statement in (
                            f"INSERT INTO r_event (name, tenant_id) VALUES ('new {self._number}', 1)",
                            f"UPDATE r_event SET name = name || '!' WHERE id = {1 + self.inserted * 37 % ROWS}",
                            f"SELECT * FROM r_event WHERE id = {1 + self.inserted * 91 % ROWS}",
                        ):
                            began = time.monotonic()
                            cursor.execute(statement)
                            took = time.monotonic() - began
                            if took > self.longest:
                                self.longest, self.slowest = took, statement
                        self.inserted += 1
        except Exception as exc:  # noqa: BLE001 -- reported by the test
            self.error = exc

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def event(*columns: Callable[[], Any]) -> Definition:
    """Events of a tenant, with these columns."""
    name = lambda: Column("name", Text, nullable=False)  # noqa: E731
    return defined(table("tenant"), table("event", name, *columns))


BEFORE = event(lambda: Column("note", Text), lambda: Column("tenant_id", Integer))
AFTER = event(
    lambda: Column("tenant_id", Integer, ForeignKey("tenant.id")),
    lambda: Column("state", String(40), nullable=False, index=True, server_default=text("left('open' || random(), 4)")),
)
"""A column that is filled in batches and required, a foreign key, an index, and a column that goes."""


def under_traffic(database: DatabaseConfig, work: Callable[[], object]) -> int:
    """Do some work while applications run.

    Returns:
        How many rows came meanwhile.
    """
    applications = [Application(database, number) for number in range(2)]
    for application in applications:
        application.start()
    try:
        work()
    finally:
        for application in applications:
            application.stop()
    for application in applications:
        assert application.error is None
        assert application.longest < LONGEST, application.slowest
        assert application.inserted > 100
    return sum(application.inserted for application in applications)


def test_traffic_is_not_blocked(database: DatabaseConfig) -> None:
    with closing(connect(database)) as connection:
        tables = Tables(connection, BEFORE)
        tables.run(
            "INSERT INTO r_tenant DEFAULT VALUES",
            "INSERT INTO r_event (name, note, tenant_id)"
            f" SELECT 'event ' || i, 'a note about ' || i, 1 FROM generate_series(1, {ROWS}) i",
            "ANALYZE r_event",
        )
        plan = tables.plan(AFTER)
        assert "fill_column" in {step.kind for step in plan.steps}
        inserted = under_traffic(database, lambda: tables.carry_out(plan, policy=LockPolicy()))
        counts = "SELECT count(*), count(*) FILTER (WHERE state = 'open') FROM r_event"
        assert tables.run(counts) == [(ROWS + inserted, ROWS + inserted)]
        kept = "SELECT count(*) FROM fbs_retired_r_event__note WHERE note = 'a note about ' || id"
        assert tables.run(kept) == [(ROWS,)]

        undo = tables.planned_undo()
        assert undo.not_reverted == ()
        inserted += under_traffic(database, lambda: tables.undo(undo, policy=LockPolicy()))
        assert tables.run("SELECT count(*) FROM r_event") == [(ROWS + inserted,)]
        assert tables.run("SELECT count(*) FROM r_event WHERE note = 'a note about ' || id") == [(ROWS,)]
