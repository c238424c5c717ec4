"""Migrations by hand: a plan whose steps know whether they are done, and ways to cut one off at any point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 -- a class in all but spelling
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.migration.apply.executor import Applied, apply
from fbs_worker.migration.apply.journal import JournalRow, history
from fbs_worker.migration.apply.lock_retry import LockPolicy
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Lock, Mode, Plan, Step
from tests.support.solutions import contents

SOLUTION = "shop"
PREFIX = "fbs_"
EVERY_HAZARD = frozenset(Hazard)

QUICK = LockPolicy(
    lock=0.1, nonblocking_lock=5.0, concurrent_lock=2.0, attempts=4, backoff=0.01, max_backoff=0.05, cooldown=0.0
)
"""Tests do not wait longer than they have to."""

COLUMN = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('{}') AND attname = '{}')"
CONSTRAINT = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = '{}')"
VALID = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conname = '{}' AND convalidated)"
NOT_NULL = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('{}') AND attname = '{}' AND attnotnull)"
)
INDEX = "SELECT EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = to_regclass('{}') AND i.indisvalid)"
TABLE = "SELECT to_regclass('{}') IS NOT NULL"
NEVER = "SELECT FALSE"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A step, and a query for whether it is done."""

    step: Step
    done: str


def step(sql: str, table: str = "r_tenant", **more: Any) -> Step:
    """One statement, on a table with rows by default."""
    return Step(**{"sql": sql, "kind": "change", "table": table, "reason": "a test", "has_rows": True, **more})


def wish(sql: str, table: str = "r_tenant", *, done: str, **more: Any) -> Wish:
    """A step that is done when the query says so."""
    return Wish(step=step(sql, table, **more), done=done)


def plan_of(*steps: Step) -> Plan:
    """A plan of these steps."""
    return Plan(solution=SOLUTION, steps=steps)


TABLES = (
    """
    CREATE TABLE r_tenant (id SERIAL PRIMARY KEY, name VARCHAR(100) NOT NULL, note TEXT, code VARCHAR(50),
        created_at TIMESTAMP DEFAULT NOW())
    """,
    "CREATE INDEX r_tenant_note_idx ON r_tenant (note)",
    "CREATE TABLE r_lease (id SERIAL PRIMARY KEY, tenant_id INTEGER NOT NULL)",
    "CREATE TABLE r_old (id SERIAL PRIMARY KEY, tenant_id INTEGER REFERENCES r_tenant, said TEXT UNIQUE)",
    "INSERT INTO r_tenant (name, note, code) SELECT 'n' || i, 'note ' || i, 'c' || i FROM generate_series(1, 120) i",
    "INSERT INTO r_lease (tenant_id) SELECT i FROM generate_series(1, 120) i",
    "INSERT INTO r_old (tenant_id, said) SELECT i, 's' || i FROM generate_series(1, 30) i",
)
"""Three tables with rows."""

WISHES = (
    wish(
        'ALTER TABLE "r_tenant" ADD COLUMN "phone" text',
        kind="add_column",
        done=COLUMN.format("r_tenant", "phone"),
    ),
    wish(
        'ALTER TABLE "r_tenant" DROP COLUMN "note"',
        kind="drop_column",
        hazards=frozenset({Hazard.DELETES_DATA}),
        archive=ArchiveTarget(table="r_tenant", column="note", archive_table="fbs_retired_r_tenant_note"),
        done=f"SELECT NOT ({COLUMN.format('r_tenant', 'note')})",
    ),
    wish(
        'ALTER TABLE "r_tenant" ADD COLUMN "state" varchar(20)',
        kind="add_column",
        done=COLUMN.format("r_tenant", "state"),
    ),
    wish(
        """ALTER TABLE "r_tenant" ALTER COLUMN "state" SET DEFAULT 'open'""",
        kind="set_default",
        done="SELECT EXISTS (SELECT FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum"
        " WHERE a.attrelid = 'r_tenant'::regclass AND a.attname = 'state')",
    ),
    wish(
        """UPDATE "r_tenant" SET "state" = 'open' WHERE ctid = ANY (ARRAY("""
        """SELECT ctid FROM "r_tenant" WHERE "state" IS NULL LIMIT 50))""",
        kind="backfill",
        lock=Lock.ROW_EXCLUSIVE,
        mode=Mode.BATCHES,
        done=NOT_NULL.format("r_tenant", "state"),
    ),
    wish(
        'ALTER TABLE "r_tenant" ADD CONSTRAINT "state_check" CHECK ("state" IS NOT NULL) NOT VALID',
        kind="add_check",
        done=f"SELECT ({CONSTRAINT.format('state_check')}) OR ({NOT_NULL.format('r_tenant', 'state')})",
    ),
    wish(
        'ALTER TABLE "r_tenant" VALIDATE CONSTRAINT "state_check"',
        kind="validate",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
        done=f"SELECT ({VALID.format('state_check')}) OR ({NOT_NULL.format('r_tenant', 'state')})",
    ),
    wish(
        'ALTER TABLE "r_tenant" ALTER COLUMN "state" SET NOT NULL',
        kind="set_not_null",
        done=NOT_NULL.format("r_tenant", "state"),
    ),
    wish(
        'ALTER TABLE "r_tenant" DROP CONSTRAINT "state_check"',
        kind="drop_check",
        done=f"SELECT NOT ({CONSTRAINT.format('state_check')}) AND ({NOT_NULL.format('r_tenant', 'state')})",
    ),
    wish(
        'CREATE INDEX CONCURRENTLY "r_tenant_state_idx" ON "r_tenant" ("state")',
        kind="create_index",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        hazards=frozenset({Hazard.INDEX_BUILD}),
        mode=Mode.ALONE,
        cleanup='DROP INDEX CONCURRENTLY IF EXISTS "r_tenant_state_idx"',
        done=INDEX.format("r_tenant_state_idx"),
    ),
    wish(
        'DROP TABLE "r_old"',
        "r_old",
        kind="drop_table",
        hazards=frozenset({Hazard.DELETES_DATA}),
        archive=ArchiveTarget(table="r_old", column=None, archive_table="fbs_retired_r_old"),
        done=f"SELECT NOT ({TABLE.format('r_old')})",
    ),
    wish(
        'ALTER TABLE "r_lease" ADD CONSTRAINT "r_lease_tenant_id_fkey"'
        ' FOREIGN KEY ("tenant_id") REFERENCES "r_tenant" ("id") NOT VALID',
        "r_lease",
        kind="add_key",
        lock=Lock.SHARE_ROW_EXCLUSIVE,
        done=CONSTRAINT.format("r_lease_tenant_id_fkey"),
    ),
    wish(
        'ALTER TABLE "r_lease" VALIDATE CONSTRAINT "r_lease_tenant_id_fkey"',
        "r_lease",
        kind="validate",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
        done=VALID.format("r_lease_tenant_id_fkey"),
    ),
    wish(
        'CREATE TABLE "r_new" (id SERIAL PRIMARY KEY, said TEXT)',
        "r_new",
        kind="create_table",
        has_rows=False,
        done=TABLE.format("r_new"),
    ),
)
"""One of each kind: what a migration of these tables is to do."""


def plan_by_hand(connection: Connection, wishes: Sequence[Wish] = WISHES) -> Plan:
    """What is left to do, from the database as it is."""
    with connection, connection.cursor() as cursor:
        steps = []
        for wish in wishes:
            cursor.execute(wish.done)
            if not (cursor.fetchone() or (False,))[0]:
                steps.append(wish.step)
    return plan_of(*steps)


def migrate(database: DatabaseConfig, plan: Plan | None = None, **more: Any) -> Applied:
    """Apply a plan, or what is left to do, over a connection of its own; everything is allowed."""
    with closing(connect(database, application_name="the-migration")) as connection:
        planned = plan or plan_by_hand(connection)
        given = {"table_prefix": PREFIX, "allowed": EVERY_HAZARD, "policy": QUICK, **more}
        return apply(connection, planned, **given)


def record_of(database: DatabaseConfig) -> list[JournalRow]:
    """The rows of the solution."""
    with closing(connect(database)) as connection, connection, connection.cursor() as cursor:
        return history(cursor, PREFIX, SOLUTION)


def all_but_record(database: DatabaseConfig) -> Any:
    """All that a database holds, but for the rows of migrations."""
    found = contents(database)
    del found["rows"]["fbs_schema_migrations"]
    return found


def cut_off_at(number: int, strike: Callable[[], None]) -> type[Cursor]:
    """A kind of cursor that strikes before the statement of that number, counted over all of them from 0."""
    count = 0

    class Striking(Cursor):
        def execute(self, query: Any, arguments: Any = None) -> None:
            nonlocal count
            count += 1
            if count - 1 == number:
                strike()
            super().execute(query, arguments)

    return Striking


def migrate_over(database: DatabaseConfig, kind: type[Cursor], plan: Plan | None = None) -> Applied:
    """As `migrate`, with cursors of that kind once the plan is made."""
    with closing(connect(database, application_name="the-migration")) as connection:
        planned = plan or plan_by_hand(connection)
        connection.cursor_factory = kind
        return apply(connection, planned, table_prefix=PREFIX, allowed=EVERY_HAZARD, policy=QUICK)
