"""PostgreSQL behind PgBouncer: nothing of ours stays in a session that others use, and a lock needs a session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from fbs_worker.core.advisory_locks import solution_lock
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, FBSError
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.local.state import database_url
from fbs_worker.ops.status import list_solutions
from fbs_worker.web.api.pool import ConnectionPools
from tests.conftest import MakeSettings
from tests.support.made_solutions import MadeSolutions, run
from tests.support.pgbouncer import PROGRAM, pgbouncer
from tests.support.solutions import config_of, entries, few_models, inline, rows, tables_of
from tests.support.together import Meet, together

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")

LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
MOVE = "UPDATE fbs_solution_schemas SET schema_definition = schema_definition || %s::jsonb"
STATE = "SELECT name, setting FROM pg_settings WHERE source = 'session' AND name <> 'client_encoding' ORDER BY name"


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    with closing(MadeSolutions(settings(), postgres)) as solutions:
        yield solutions


@pytest.fixture
def pooled(database: DatabaseConfig) -> Iterator[DatabaseConfig]:
    with pgbouncer(database, mode="transaction") as through:
        yield through


@pytest.fixture
def application(pooled: DatabaseConfig) -> Iterator[Connection]:
    """Another application's connection to the pool."""
    with closing(psycopg2.connect(host=pooled.host, port=pooled.port, user=pooled.user, dbname=pooled.name)) as opened:
        yield opened


def test_what_reads_leaves_no_state_to_other_applications(
    made: MadeSolutions, pooled: DatabaseConfig, application: Connection
) -> None:
    made.solution()
    with application, application.cursor() as cursor:
        cursor.execute("CREATE TABLE theirs (id int)")
    pools = ConnectionPools()
    list_solutions(made.settings.model_copy(update={"fbs_database_url": database_url(pooled)}))
    with pools.use(pooled) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only'), current_setting('statement_timeout')")
        assert cursor.fetchall() == [("on", "18s")]
    with bounded_connection(pooled, connect_seconds=3, seconds=5) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only'), current_setting('TimeZone')")
        assert cursor.fetchall() == [("on", "UTC")]
    pools.close()
    with application, application.cursor() as cursor:
        cursor.execute("INSERT INTO theirs VALUES (1)")
        cursor.execute(STATE)
        assert cursor.fetchall() == []


def test_a_lock_over_transactions_is_refused_before_anything_is_done(pooled: DatabaseConfig) -> None:
    with (
        closing(connect(pooled)) as connection,
        pytest.raises(DatabaseError, match="gives each transaction") as caught,
        solution_lock(connection, "shop", on_wait=print, check_cancelled=lambda: None),
    ):
        pass
    assert "pool_mode=session" in caught.value.hint
    assert rows(pooled, LOCKS) == [(0,)]


def test_a_pool_of_sessions_serves(database: DatabaseConfig) -> None:
    with (
        pgbouncer(database, mode="session") as pooled,
        closing(connect(pooled)) as connection,
        solution_lock(connection, "shop", on_wait=print, check_cancelled=lambda: None),
    ):
        run(pooled, "CREATE TABLE theirs (id int)")


def test_two_refreshes_at_once_are_refused_and_leave_no_lock(
    settings: MakeSettings, database: DatabaseConfig, pooled: DatabaseConfig
) -> None:
    own = settings(fbs_database_url=database_url(database), odoo_url=f"recording:{few_models()}")
    inline("setup", config_of(database), own)

    def move(place: DatabaseConfig) -> None:
        run(database, MOVE, json.dumps({"server": {"host": place.host, "port": place.port}}))

    def refresh(_: int, meet: Meet) -> Any:
        meet()
        return inline("refresh", {"solution_name": "shop"}, own)

    move(pooled)
    for outcome in together(refresh, range(2)):
        assert isinstance(outcome, DatabaseError)
        assert "gives each transaction" in outcome.message
    assert rows(database, LOCKS) == [(0,)]
    move(database)
    assert not [one for one in together(refresh, range(2)) if isinstance(one, FBSError)], "none waits for ever"


def test_a_home_database_may_be_behind_a_pool_of_transactions_a_solution_may_not(
    settings: MakeSettings, database: DatabaseConfig, pooled: DatabaseConfig
) -> None:
    behind = settings(fbs_database_url=database_url(pooled), odoo_url=f"recording:{few_models()}")
    with pytest.raises(DatabaseError, match="gives each transaction"):
        inline("setup", config_of(pooled, password=""), behind)
    assert tables_of(database) == []
    inline("setup", config_of(database), behind)
    assert entries(database) == {"shop": True}
    assert [each["overall_status"] for each in list_solutions(behind)["solutions"]] == ["active"]
    with pgbouncer(database) as session:
        inline("setup", config_of(session, "other", business_prefix="other_", password=""), behind)
    assert entries(database) == {"other": True, "shop": True}
