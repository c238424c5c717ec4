"""A table is migrated while autovacuum works on it, which takes much longer than a migration waits for a lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import Column, ForeignKey, Integer, Text

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.migration.apply.lock_retry import LockPolicy
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.schema.definition import Definition
from tests.support.planned import Tables, defined, table
from tests.support.waiting import until

pytestmark = pytest.mark.faults

BEFORE = defined(table("tenant", lambda: Column("name", Text)), table("event", lambda: Column("note", Text)))
WITH_COLUMN = defined(
    table("tenant", lambda: Column("name", Text), lambda: Column("city", Text)),
    table("event", lambda: Column("note", Text)),
)
WITH_KEY = defined(
    table("tenant", lambda: Column("name", Text)),
    table("event", lambda: Column("note", Text), lambda: Column("tenant_id", Integer, ForeignKey("tenant.id"))),
)
SLOW = ("vacuum_threshold = 0", "vacuum_scale_factor = 0", "vacuum_cost_delay = 100", "vacuum_cost_limit = 1")
RUNNING = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'r_tenant'::regclass"


@pytest.fixture
def vacuumed(run_folder: Path) -> Iterator[DatabaseConfig]:
    """A database of a server with autovacuum."""
    with TemporaryDirectory(dir=run_folder) as folder, EmbeddedPostgres.start(Path(folder), durable=True) as server:
        server.create_database("vacuumed")
        config = server.config("vacuumed")
        with closing(connect(config)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
                cursor.execute("SELECT pg_reload_conf()")
        yield config


@pytest.mark.parametrize("desired", [WITH_COLUMN, WITH_KEY], ids=["the table itself", "one that a key refers to"])
def test_autovacuum_gives_way(vacuumed: DatabaseConfig, desired: Definition) -> None:
    with closing(connect(vacuumed)) as connection, closing(connect(vacuumed)) as watching:
        tables = Tables(connection, BEFORE)
        tables.run(
            "INSERT INTO r_tenant (name) SELECT 'tenant ' || i FROM generate_series(1, 50000) i",
            f"ALTER TABLE r_tenant SET ({', '.join(f'autovacuum_{each}' for each in SLOW)})",
            "UPDATE r_tenant SET name = name || '!'",
        )
        plan = tables.plan(desired)
        until(lambda: running(watching))
        first = running(watching)
        tables.carry_out(plan, policy=LockPolicy(attempts=2))
        assert running(watching) != first


def running(connection: Connection) -> list[int]:
    """The process that vacuums the table."""
    with connection, connection.cursor() as cursor:
        cursor.execute(RUNNING)
        return [pid for (pid,) in cursor.fetchall()]
