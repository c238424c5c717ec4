"""A table of 1,000,000 rows is migrated while applications read and write it: none waits for more than a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.migration.apply.executor import apply
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Lock, Mode, Plan, Step
from fbs_worker.migration.undo import plan_undo
from tests.support.migrating import EVERY_HAZARD, PREFIX, SOLUTION, plan_of, step
from tests.support.solutions import rows, run

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


def batches(column: str) -> str:
    return (
        f'UPDATE "r_event" SET "{column}" = DEFAULT WHERE "id" = ANY (ARRAY('
        f'SELECT "id" FROM "r_event" WHERE "{column}" IS NULL LIMIT 5000)) AND "{column}" IS NULL'
    )


def one(sql: str, **more: object) -> Step:
    return step(sql, "r_event", **more)


def plan() -> Plan:
    concurrent_lock = {"lock": Lock.SHARE_UPDATE_EXCLUSIVE, "mode": Mode.ALONE}
    drop = {"hazards": frozenset({Hazard.DELETES_DATA})}
    return plan_of(
        one('ALTER TABLE "r_event" ADD COLUMN "state" varchar(20)', undo='ALTER TABLE "r_event" DROP COLUMN "state"'),
        one("""ALTER TABLE "r_event" ALTER COLUMN "state" SET DEFAULT 'open'"""),
        one(batches("state"), lock=Lock.ROW_EXCLUSIVE, mode=Mode.BATCHES),
        one('ALTER TABLE "r_event" ADD CONSTRAINT "state_check" CHECK ("state" IS NOT NULL) NOT VALID'),
        one(
            'ALTER TABLE "r_event" ADD CONSTRAINT "tenant_fkey" FOREIGN KEY ("tenant_id") REFERENCES "r_tenant" NOT VALID',
            lock=Lock.SHARE_ROW_EXCLUSIVE,
            undo='ALTER TABLE "r_event" DROP CONSTRAINT "tenant_fkey"',
        ),
        one('ALTER TABLE "r_event" VALIDATE CONSTRAINT "state_check"', **concurrent_lock),
        one('ALTER TABLE "r_event" VALIDATE CONSTRAINT "tenant_fkey"', **concurrent_lock),
        one(
            'CREATE INDEX CONCURRENTLY "by_state" ON "r_event" ("state")',
            undo='DROP INDEX "by_state"',
            **concurrent_lock,
        ),
        one(
            'ALTER TABLE "r_event" ALTER COLUMN "state" SET NOT NULL',
            undo='ALTER TABLE "r_event" ALTER COLUMN "state" DROP NOT NULL',
        ),
        one('ALTER TABLE "r_event" DROP CONSTRAINT "state_check"'),
        one(
            'ALTER TABLE "r_event" DROP COLUMN "note"',
            archive=ArchiveTarget(table="r_event", column="note", archive_table="fbs_retired_r_event__note"),
            **drop,
        ),
    )


def under_traffic(database: DatabaseConfig, work: Callable[[], None]) -> int:
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
    run(
        database,
        "CREATE TABLE r_tenant (id SERIAL PRIMARY KEY)",
        "INSERT INTO r_tenant DEFAULT VALUES",
        "CREATE TABLE r_event (id SERIAL PRIMARY KEY, name TEXT NOT NULL, note TEXT, tenant_id INTEGER)",
        "INSERT INTO r_event (name, note, tenant_id)"
        f" SELECT 'event ' || i, 'a note about ' || i, 1 FROM generate_series(1, {ROWS}) i",
        "ANALYZE r_event",
    )

    def migrate() -> None:
        with closing(connect(database)) as connection:
            apply(connection, plan(), table_prefix=PREFIX, allowed=EVERY_HAZARD)

    def undo() -> None:
        with closing(connect(database)) as connection:
            found = plan_undo(connection, solution=SOLUTION, table_prefix=PREFIX)
            assert found.not_reverted == ()
            apply(connection, found.plan, table_prefix=PREFIX, allowed=EVERY_HAZARD, reversals=found.reversals)

    inserted = under_traffic(database, migrate)
    counts = "SELECT count(*), count(*) FILTER (WHERE state = 'open') FROM r_event"
    assert rows(database, counts) == [(ROWS + inserted, ROWS + inserted)]
    kept = "SELECT count(*) FROM fbs_retired_r_event__note WHERE note = 'a note about ' || id"
    assert rows(database, kept) == [(ROWS,)]

    inserted += under_traffic(database, undo)
    assert rows(database, "SELECT count(*) FROM r_event") == [(ROWS + inserted,)]
    assert rows(database, "SELECT count(*) FROM r_event WHERE note = 'a note about ' || id") == [(ROWS,)]
