"""Connection pools: limits, liveness, deadlines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseBusy, DatabaseError, DatabaseMissing, DatabaseUnreachable
from fbs_worker.core.postgres import Connection, connect, errors_translated
from fbs_worker.web.api.pool import ConnectionPools
from tests.support.waiting import PATIENCE, until

COUNT = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fbs-worker api' AND datname = %s"


def ask(connections: ConnectionPools, database: DatabaseConfig, statement: str = "SELECT pg_backend_pid()") -> int:
    with (
        connections.use(database) as connection,
        errors_translated(connection),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        row = cursor.fetchone()
    return int(row[0]) if row else 0


@pytest.fixture
def onlooker(database: DatabaseConfig) -> Iterator[Connection]:
    with closing(connect(database, application_name="the-test")) as connection:
        connection.autocommit = True
        yield connection


@pytest.fixture
def make() -> Iterator[Callable[..., ConnectionPools]]:
    made: list[ConnectionPools] = []

    def new(**given: float) -> ConnectionPools:
        made.append(ConnectionPools(**given))  # type: ignore[arg-type]
        return made[-1]

    yield new
    for connections in made:
        connections.close()


def count(onlooker: Connection, database: DatabaseConfig) -> int:
    with onlooker.cursor() as cursor:
        cursor.execute(COUNT, (database.name,))
        row = cursor.fetchone()
    return row[0] if row else 0


def test_one_is_used_again_and_all_are_closed(
    make: Callable[..., ConnectionPools], database: DatabaseConfig, onlooker: Connection
) -> None:
    connections = make()
    assert ask(connections, database) == ask(connections, database)
    assert count(onlooker, database) == 1
    connections.close()
    until(lambda: count(onlooker, database) == 0)
    assert ask(connections, database), "one that is still asked for"
    until(lambda: count(onlooker, database) == 0)


def test_nothing_can_be_written_and_nothing_is_left_open(
    make: Callable[..., ConnectionPools], database: DatabaseConfig, onlooker: Connection
) -> None:
    connections = make()
    with pytest.raises(DatabaseError, match="read-only"):
        ask(connections, database, "CREATE TABLE t (a INT)")
    first = ask(connections, database)
    with connections.use(database) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
    assert ask(connections, database) != first, "one in the middle of a transaction is not given to the next"


def test_one_that_the_server_has_ended_is_replaced(
    make: Callable[..., ConnectionPools], database: DatabaseConfig, onlooker: Connection
) -> None:
    connections = make()
    first = ask(connections, database)
    with onlooker.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (first,))
    assert ask(connections, database) != first


def test_the_number_of_connections_is_limited(
    make: Callable[..., ConnectionPools], database: DatabaseConfig, onlooker: Connection
) -> None:
    connections = make(max_connections=2, seconds=0.5)
    with connections.use(database), connections.use(database):
        assert count(onlooker, database) == 2
        with pytest.raises(DatabaseBusy, match="All 2 connections"):
            ask(connections, database)
    assert ask(connections, database)


def test_a_waiting_request_gets_the_next_free_connection(
    make: Callable[..., ConnectionPools], database: DatabaseConfig
) -> None:
    connections, found = make(max_connections=1, seconds=PATIENCE), []
    with connections.use(database) as connection:
        pid = connection.info.backend_pid
        waiting = threading.Thread(target=lambda: found.append(ask(connections, database)))
        waiting.start()
    waiting.join(PATIENCE)
    assert found == [pid]


def test_a_statement_that_takes_too_long_ends(make: Callable[..., ConnectionPools], database: DatabaseConfig) -> None:
    connections = make(seconds=0.4)
    began = time.monotonic()
    with pytest.raises(DatabaseBusy):
        ask(connections, database, "SELECT pg_sleep(30)")
    assert time.monotonic() - began < 10


def test_a_server_that_stops_in_mid_answer_is_left(
    make: Callable[..., ConnectionPools], database: DatabaseConfig, onlooker: Connection
) -> None:
    """It does not even end its own statement: the connection is cut off."""
    connections = make(seconds=0.4)
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable, match=r"within 0.4 seconds"):
        ask(connections, database, "SET statement_timeout = 0; SELECT pg_sleep(60)")
    assert time.monotonic() - began < 10
    assert ask(connections, database)
    with onlooker.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%SET statement_timeout%pg_sleep(60)'"
        )


def test_an_idle_connection_is_closed(
    make: Callable[..., ConnectionPools], database: DatabaseConfig, onlooker: Connection
) -> None:
    connections = make(idle_seconds=0.1, seconds=1.0)
    ask(connections, database)
    until(lambda: count(onlooker, database) == 0)
    assert ask(connections, database)


def test_a_failed_connection_releases_its_slot(make: Callable[..., ConnectionPools], database: DatabaseConfig) -> None:
    connections = make(max_connections=1, seconds=1.0)
    for _ in range(3):
        with pytest.raises(DatabaseMissing):
            ask(connections, database.model_copy(update={"name": "no_such"}))
