"""Advisory locks of solutions: one job at a time, waiters see the holder, a dead worker releases its lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from fbs_worker.core.advisory_locks import lock_tables, solution_lock, transaction, transaction_lock
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseBusy, DatabaseUnreachable, JobCancelled
from fbs_worker.core.postgres import Connection, connect
from tests.support.waiting import PATIENCE


@pytest.fixture
def connection(database: DatabaseConfig) -> Iterator[Connection]:
    with closing(connect(database, application_name="the-holder")) as opened:
        yield opened


@pytest.fixture
def other(database: DatabaseConfig) -> Iterator[Connection]:
    with closing(connect(database, application_name="the-other")) as opened:
        yield opened


def ignore(holder: str) -> None:
    raise AssertionError(f"{holder} holds the lock")


def never() -> None:
    """Not cancelled."""


class Impatient:
    """Cancels after some checks, and records the reported holders."""

    def __init__(self, looks: int) -> None:
        self.reported: list[str] = []
        self._looks = looks

    def cancelled(self) -> None:
        self._looks -= 1
        if not self._looks:
            raise JobCancelled("Enough.")


def free(connection: Connection, name: str) -> bool:
    impatient = Impatient(1)
    with (
        suppress(JobCancelled),
        solution_lock(connection, name, on_wait=ignore_holder, check_cancelled=impatient.cancelled),
    ):
        return True
    return False


def ignore_holder(holder: str) -> None:
    """Do nothing."""


def test_one_session_at_a_time_holds_the_lock_and_waiters_see_the_holder(
    connection: Connection, other: Connection
) -> None:
    impatient = Impatient(3)
    with solution_lock(connection, "shop", on_wait=ignore, check_cancelled=never):
        assert connection.get_transaction_status() == TRANSACTION_STATUS_IDLE
        with (
            pytest.raises(JobCancelled),
            solution_lock(other, "shop", on_wait=impatient.reported.append, check_cancelled=impatient.cancelled),
        ):
            raise AssertionError("two hold it")
        assert impatient.reported == [f"the-holder (process {connection.info.backend_pid})"]
        assert free(other, "another shop")
        with transaction(connection):
            pass
        assert not free(other, "shop")  # transactions come and go, the lock stays
    assert free(other, "shop")


def test_the_lock_passes_to_a_waiter(connection: Connection, other: Connection) -> None:
    waits, got = threading.Event(), threading.Event()

    def wait() -> None:
        with solution_lock(other, "shop", on_wait=lambda _: waits.set(), check_cancelled=never):
            got.set()

    thread = threading.Thread(target=wait)
    with solution_lock(connection, "shop", on_wait=ignore, check_cancelled=never):
        thread.start()
        assert waits.wait(PATIENCE)
        assert not got.is_set()
    thread.join(PATIENCE)
    assert got.is_set()


def test_a_failure_releases_the_lock(connection: Connection, other: Connection) -> None:
    def fail_halfway() -> None:
        with (
            solution_lock(connection, "shop", on_wait=ignore, check_cancelled=never),
            transaction(connection) as cursor,
        ):
            cursor.execute("CREATE TABLE half (id integer)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert free(other, "shop")
    with transaction(other) as cursor:
        cursor.execute("SELECT to_regclass('half')")
        assert cursor.fetchone() == (None,)


def test_a_lost_connection_releases_the_lock(connection: Connection, other: Connection) -> None:
    def lose_it() -> None:
        with solution_lock(connection, "shop", on_wait=ignore, check_cancelled=never):
            with transaction(other) as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 10000)", (connection.info.backend_pid,))
            with transaction(connection) as cursor:
                cursor.execute("SELECT 1")

    with pytest.raises(DatabaseUnreachable):
        lose_it()
    assert free(other, "shop")
    with solution_lock(other, "shop", on_wait=ignore, check_cancelled=never):
        other.close()  # closing the connection in the block releases the lock


HOLDER = """
import sys
from fbs_worker.core.postgres import connect
from fbs_worker.core.advisory_locks import solution_lock
from fbs_worker.core.database_config import DatabaseConfig
config = DatabaseConfig.model_validate_json(sys.argv[1])
with solution_lock(connect(config, application_name="doomed"), "shop", on_wait=print, check_cancelled=lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.faults
def test_a_killed_worker_releases_the_lock(database: DatabaseConfig, other: Connection) -> None:
    reported: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, database.model_dump_json(exclude={"password"})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"

        def waiting(who: str) -> None:
            reported.append(who)
            os.kill(holder.pid, signal.SIGKILL)

        with solution_lock(other, "shop", on_wait=waiting, check_cancelled=never):
            assert len(reported) == 1
            assert reported[0].startswith("doomed (process ")


def test_the_lock_of_a_transaction_has_a_time_out(connection: Connection, other: Connection) -> None:
    with transaction(connection):
        transaction_lock(connection, "tables")
        with pytest.raises(DatabaseBusy), transaction(other, lock_timeout=0.1):
            transaction_lock(other, "tables")
    with transaction(other, lock_timeout=0.1) as cursor:
        transaction_lock(other, "tables")
        cursor.execute("SHOW TimeZone")
        assert cursor.fetchone() == ("UTC",)


def test_tables_are_locked_and_missing_ones_are_skipped(connection: Connection, other: Connection) -> None:
    with transaction(connection) as cursor:
        cursor.execute('CREATE TABLE "order" (id integer)')
    with transaction(connection):
        lock_tables(connection, {"order", "nowhere", 'x"; DROP TABLE "order'})
        with pytest.raises(DatabaseBusy), transaction(other, lock_timeout=0.1) as cursor:
            cursor.execute('INSERT INTO "order" VALUES (1)')
    with transaction(other) as cursor:
        cursor.execute('INSERT INTO "order" VALUES (1)')
