"""A busy table delays the migration, and not those who use it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseBusy, DatabaseError, JobCancelled
from fbs_worker.core.postgres import connect
from fbs_worker.core.progress import NullProgress
from fbs_worker.migration.apply.lock_retry import LockPolicy
from fbs_worker.migration.model.plan import Lock, Mode
from tests.support.migrating import QUICK, TABLES, WISHES, migrate, plan_of, record_of, step
from tests.support.solutions import rows, run

ADD = WISHES[0].step
LEASE = step('ALTER TABLE "r_lease" ADD COLUMN "rent" numeric', "r_lease")
INDEX = WISHES[9].step
PATIENT = LockPolicy(lock=0.1, nonblocking_lock=10.0, attempts=400, backoff=0.02, max_backoff=0.05)
WAIT = 30.0


@pytest.fixture
def filled(database: DatabaseConfig) -> DatabaseConfig:
    run(database, *TABLES)
    return database


@contextmanager
def using(database: DatabaseConfig, statement: str) -> Iterator[psycopg2.extensions.connection]:
    """Somebody who has not ended their transaction."""
    with closing(connect(database, application_name="a-reader")) as connection:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield connection


class Told(NullProgress):
    """Remembers what it was told, and acts at the first line of some kind."""

    def __init__(self, act: Callable[[], None] = lambda: None, *, at: str = "lock not available") -> None:
        self.messages: list[str] = []
        self._act, self._at = act, at

    def advance(self, units: int = 1, *, message: str = "") -> None:
        if message:
            self.messages.append(message)
            if self._at in message and sum(self._at in told for told in self.messages) == 3:
                self._act()


def test_it_tries_again_until_the_table_is_free(filled: DatabaseConfig) -> None:
    with using(filled, "SELECT * FROM r_tenant") as reader:
        told = Told(reader.rollback)
        applied = migrate(filled, plan_of(LEASE, ADD), policy=PATIENT, progress=told)
    assert applied.executed == 2
    assert "r_lease, r_tenant: lock not available; attempt 2 of 400" in told.messages
    assert [row.status for row in record_of(filled)] == ["executed", "executed"]


def test_who_comes_meanwhile_is_not_held_up(filled: DatabaseConfig) -> None:
    """Others queue behind the lock that is asked for, for as long as one try lasts."""
    longest = 0.0
    with using(filled, "SELECT * FROM r_tenant") as reader, closing(connect(filled)) as other:
        told = Told(at="nothing")
        thread = threading.Thread(
            target=migrate, args=[filled, plan_of(LEASE, ADD)], kwargs={"policy": PATIENT, "progress": told}
        )
        thread.start()
        end = time.monotonic() + WAIT
        while sum("lock not available" in message for message in told.messages) < 5:
            assert time.monotonic() < end
            for table in ("r_tenant", "r_lease"):
                began = time.monotonic()
                with other, other.cursor() as cursor:
                    cursor.execute(f"SELECT count(*) FROM {table}")
                longest = max(longest, time.monotonic() - began)
        reader.rollback()
        thread.join()
    assert longest < 1.0
    assert [row.status for row in record_of(filled)] == ["executed", "executed"]


def test_it_gives_up_says_who_is_there_and_has_not_failed(filled: DatabaseConfig) -> None:
    with using(filled, "SELECT * FROM r_tenant"):
        with pytest.raises(
            DatabaseBusy,
            match=r"r_tenant: lock not available after \d+ attempts; held by a-reader \(process \d+, idle in tran",
        ) as raised:
            migrate(filled, plan_of(ADD), policy=QUICK)
        assert raised.value.retryable
        assert len(raised.value.context["holders"]) == 1
    assert [row.status for row in record_of(filled)] == ["pending"]
    migrate(filled, plan_of(ADD))
    assert [row.status for row in record_of(filled)] == ["executed"]


def test_it_can_be_cancelled_while_it_waits(filled: DatabaseConfig) -> None:
    def cancel() -> None:
        raise JobCancelled("Enough.")

    with using(filled, "SELECT * FROM r_tenant"), pytest.raises(JobCancelled):
        migrate(filled, plan_of(ADD), policy=PATIENT, progress=Told(cancel))
    assert [row.status for row in record_of(filled)] == ["pending"]


def test_an_index_that_waits_for_an_old_transaction(filled: DatabaseConfig) -> None:
    run(filled, "ALTER TABLE r_tenant ADD COLUMN state TEXT")
    with using(filled, "UPDATE r_tenant SET name = 'x' WHERE id = 1") as writer:
        policy = LockPolicy(concurrent_lock=0.1, attempts=400, backoff=0.02, max_backoff=0.05)
        migrate(filled, plan_of(INDEX), policy=policy, progress=Told(writer.rollback))
    assert rows(filled, "SELECT count(*) FILTER (WHERE indisvalid), count(*) FROM pg_index"
                " WHERE indrelid = 'r_tenant'::regclass") == [(3, 3)]  # fmt: skip


def test_it_does_not_leave_half_an_index_when_it_gives_up(filled: DatabaseConfig) -> None:
    run(filled, "ALTER TABLE r_tenant ADD COLUMN state TEXT")
    with using(filled, "UPDATE r_tenant SET name = 'x' WHERE id = 1"), pytest.raises(DatabaseBusy):
        migrate(filled, plan_of(INDEX), policy=LockPolicy(concurrent_lock=0.1, attempts=2, backoff=0.01))
    migrate(filled, plan_of(INDEX))
    assert rows(filled, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert [row.status for row in record_of(filled)] == ["executed"]


def test_a_batch_waits_for_a_row_that_somebody_writes_to(filled: DatabaseConfig) -> None:
    fill = step(
        "UPDATE r_tenant SET code = NULL WHERE id = ANY (ARRAY(SELECT id FROM r_tenant WHERE code IS NOT NULL LIMIT 50))",
        lock=Lock.ROW_EXCLUSIVE,
        mode=Mode.BATCHES,
    )
    with using(filled, "UPDATE r_tenant SET name = 'x' WHERE id = 70") as writer:
        told = Told(writer.commit)
        migrate(filled, plan_of(fill), policy=PATIENT, progress=told)
    assert "r_tenant: 50 rows" in told.messages
    assert rows(filled, "SELECT count(code), count(*) FILTER (WHERE name = 'x') FROM r_tenant") == [(0, 1)]


def test_a_deadlock_is_tried_again(filled: DatabaseConfig) -> None:
    """The other one has a table and wants the one that the migration has: one of the two has to give way."""
    other = connect(filled, application_name="the-other")
    with other.cursor() as cursor:
        cursor.execute("LOCK TABLE r_tenant IN ACCESS SHARE MODE")
        cursor.execute("SET lock_timeout = '20s'")
    began = threading.Event()
    first = step("ALTER TABLE r_lease ADD COLUMN a1 INTEGER", "r_lease")
    hidden = step("ALTER TABLE r_tenant ADD COLUMN a2 INTEGER", "r_lease")  # a lock that the plan does not tell of

    def want() -> None:
        began.wait(WAIT)
        with other, other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM r_lease")

    thread = threading.Thread(target=want)
    thread.start()
    told = Told(at="nothing")
    advance = told.advance

    def noticed(units: int = 1, *, message: str = "") -> None:
        advance(units, message=message)
        began.set()

    told.advance = noticed  # type: ignore[method-assign]
    migrate(filled, plan_of(first, hidden), policy=PATIENT, progress=told)
    thread.join()
    other.close()
    assert [row.status for row in record_of(filled)] == ["executed", "executed"]


def test_another_error_is_not_tried_again(filled: DatabaseConfig) -> None:
    told = Told()
    with pytest.raises(DatabaseError, match="division"):
        migrate(filled, plan_of(step("SELECT 1 / 0")), progress=told)
    assert not any("in use" in message for message in told.messages)
