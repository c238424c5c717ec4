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
from tests.support.migrating import QUICK, WISHES, migrate, plan_of, record_of, step
from tests.support.solutions import rows, run

pytestmark = pytest.mark.faults

ADD = WISHES[0].step
LEASE = step('ALTER TABLE "r_lease" ADD COLUMN "rent" numeric', "r_lease")
INDEX = WISHES[9].step
PATIENT = LockPolicy(lock=0.1, nonblocking_lock=10.0, attempts=400, backoff=0.02, max_backoff=0.05)
WAIT = 30.0


@contextmanager
def using(database: DatabaseConfig, statement: str) -> Iterator[psycopg2.extensions.connection]:
    """A session with an open transaction."""
    with closing(connect(database, application_name="a-reader")) as connection:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        yield connection


class RecordingProgress(NullProgress):
    """Records messages, and acts at the third one that contains a text."""

    def __init__(self, act: Callable[[], None] = lambda: None, *, at: str = "lock not available") -> None:
        self.messages: list[str] = []
        self._act, self._at = act, at

    def advance(self, units: int = 1, *, message: str = "") -> None:
        if message:
            self.messages.append(message)
            if self._at in message and sum(self._at in line for line in self.messages) == 3:
                self._act()


def test_retries_until_the_table_is_free(filled: DatabaseConfig) -> None:
    with using(filled, "SELECT * FROM r_tenant") as reader:
        progress = RecordingProgress(reader.rollback)
        applied = migrate(filled, plan_of(LEASE, ADD), policy=PATIENT, progress=progress)
    assert applied.executed == 2
    assert "r_lease, r_tenant: lock not available; attempt 2 of 400" in progress.messages
    assert [row.status for row in record_of(filled)] == ["executed", "executed"]


def test_concurrent_readers_are_not_blocked(filled: DatabaseConfig) -> None:
    """Others queue behind the lock that is asked for, for as long as one try lasts."""
    longest = 0.0
    with using(filled, "SELECT * FROM r_tenant") as reader, closing(connect(filled)) as other:
        progress = RecordingProgress(at="nothing")
        thread = threading.Thread(
            target=migrate, args=[filled, plan_of(LEASE, ADD)], kwargs={"policy": PATIENT, "progress": progress}
        )
        thread.start()
        end = time.monotonic() + WAIT
        while sum("lock not available" in message for message in progress.messages) < 5:
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


def test_exhausted_attempts_name_the_blockers_and_mark_nothing_failed(filled: DatabaseConfig) -> None:
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
        migrate(filled, plan_of(ADD), policy=PATIENT, progress=RecordingProgress(cancel))
    assert [row.status for row in record_of(filled)] == ["pending"]


def test_an_index_that_waits_for_an_old_transaction(filled: DatabaseConfig) -> None:
    run(filled, "ALTER TABLE r_tenant ADD COLUMN state TEXT")
    with using(filled, "UPDATE r_tenant SET name = 'x' WHERE id = 1") as writer:
        policy = LockPolicy(concurrent_lock=0.1, attempts=400, backoff=0.02, max_backoff=0.05)
        migrate(filled, plan_of(INDEX), policy=policy, progress=RecordingProgress(writer.rollback))
    assert rows(filled, "SELECT count(*) FILTER (WHERE indisvalid), count(*) FROM pg_index"
                " WHERE indrelid = 'r_tenant'::regclass") == [(3, 3)]  # fmt: skip


def test_a_timeout_leaves_no_invalid_index(filled: DatabaseConfig) -> None:
    run(filled, "ALTER TABLE r_tenant ADD COLUMN state TEXT")
    with using(filled, "UPDATE r_tenant SET name = 'x' WHERE id = 1"), pytest.raises(DatabaseBusy):
        migrate(filled, plan_of(INDEX), policy=LockPolicy(concurrent_lock=0.1, attempts=2, backoff=0.01))
    migrate(filled, plan_of(INDEX))
    assert rows(filled, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]
    assert [row.status for row in record_of(filled)] == ["executed"]


def test_a_batch_waits_for_a_locked_row(filled: DatabaseConfig) -> None:
    fill = step(
        "UPDATE r_tenant SET code = NULL WHERE id = ANY (ARRAY(SELECT id FROM r_tenant WHERE code IS NOT NULL LIMIT 50))",
        lock=Lock.ROW_EXCLUSIVE,
        mode=Mode.BATCHES,
    )
    with using(filled, "UPDATE r_tenant SET name = 'x' WHERE id = 70") as writer:
        progress = RecordingProgress(writer.commit)
        migrate(filled, plan_of(fill), policy=PATIENT, progress=progress)
    assert "r_tenant: 50 rows" in progress.messages
    assert rows(filled, "SELECT count(code), count(*) FILTER (WHERE name = 'x') FROM r_tenant") == [(0, 1)]


def test_a_deadlock_is_retried(filled: DatabaseConfig) -> None:
    """The other one has a table and wants the one that the migration has: one of the two has to give way."""
    other = connect(filled, application_name="the-other")
    with other.cursor() as cursor:
        cursor.execute("LOCK TABLE r_tenant IN ACCESS SHARE MODE")
        cursor.execute("SET lock_timeout = '20s'")
    began = threading.Event()
    first = step("ALTER TABLE r_lease ADD COLUMN a1 INTEGER", "r_lease")
    hidden = step("ALTER TABLE r_tenant ADD COLUMN a2 INTEGER", "r_lease")  # a lock that the plan does not declare

    def want() -> None:
        began.wait(WAIT)
        with other, other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM r_lease")

    thread = threading.Thread(target=want)
    thread.start()
    progress = RecordingProgress(at="nothing")
    advance = progress.advance

    def noticed(units: int = 1, *, message: str = "") -> None:
        advance(units, message=message)
        began.set()

    progress.advance = noticed  # type: ignore[method-assign]
    migrate(filled, plan_of(first, hidden), policy=PATIENT, progress=progress)
    thread.join()
    other.close()
    assert [row.status for row in record_of(filled)] == ["executed", "executed"]


def test_other_errors_are_not_retried(filled: DatabaseConfig) -> None:
    progress = RecordingProgress()
    with pytest.raises(DatabaseError, match="division"):
        migrate(filled, plan_of(step("SELECT 1 / 0")), progress=progress)
    assert not any("lock not available" in message for message in progress.messages)
