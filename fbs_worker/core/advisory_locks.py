"""Advisory locks and bounded lock waits: one job at a time per solution.

The solution lock is a session-level advisory lock in the solution's database, so PostgreSQL releases it when the worker
dies. The connection that holds it also does the work: if the connection is lost, lock and transaction end together.
Pooling in transaction mode breaks session-level locks, and is refused; PgBouncer needs `pool_mode=session`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.errors import DatabaseUnreachable
from fbs_worker.core.poolers import refuse_transaction_pooler
from fbs_worker.core.postgres import Connection, errors_translated

POLL_SECONDS: Final = 0.1
"""Interval at which a waiting job tries the lock and checks for cancellation."""

LOCK_TIMEOUT: Final = 60.0
"""Seconds to wait for a table, row or transaction lock of another session."""

TRANSACTION_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

ALL_ROWS: Final = "set_config('row_security', 'off', TRUE)"
"""For the transaction: a query whose rows row-level security would hide is an error (documentation of row_security)."""

TRANSACTION_SETTINGS: Final = (
    f"SELECT set_config('lock_timeout', %s, TRUE), set_config('TimeZone', 'UTC', TRUE), {ALL_ROWS}"
)
"""For the transaction: lock_timeout, UTC so that NOW() does not depend on the client, and no hidden rows."""

_TRY: Final = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"

# pg_locks shows a 64-bit key as its two halves, with objsubid 1 (PostgreSQL's documentation of pg_locks)
_HOLDER: Final = """
SELECT coalesce(nullif(a.application_name, ''), 'another session') || ' (process ' || l.pid || ')'
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%s, 0)
"""


@contextmanager
def solution_lock(
    connection: Connection,
    solution_name: str,
    *,
    on_wait: Callable[[str], None],
    check_cancelled: Callable[[], None],
) -> Iterator[None]:
    """Hold the lock of a solution for the `with` block, across transactions.

    The lock is polled rather than awaited in the server: cancelling a wait there would log an error in the server's
    log.

    Args:
        connection: to the solution's database, outside of a transaction; the same one that does the work.
        solution_name: the solution to lock.
        on_wait: called with a description of the session that holds the lock, once and after each change of holder.
        check_cancelled: called while waiting; raises JobCancelled to stop.

    Raises:
        DatabaseUnreachable: the connection failed.
        DatabaseError: PostgreSQL rejected a statement, or a pooler in transaction mode is in between.
        JobCancelled: raised by `check_cancelled`.
    """
    refuse_transaction_pooler(connection)
    key = f"fbs:solution:{solution_name}"
    reported = ""
    while not _query_value(connection, _TRY, key):
        holder = _query_value(connection, _HOLDER, key)
        if isinstance(holder, str) and holder != reported:  # None: released in between
            reported = holder
            on_wait(holder)
        check_cancelled()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        _release(connection, key)


@contextmanager
def free_lock(connection: Connection, name: str) -> Iterator[bool]:
    """Hold a lock for the `with` block if it is free, across transactions.

    Args:
        connection: outside of a transaction; the same one that does the work.
        name: the name of the lock, unique within the database.

    Yields:
        Whether it was free.

    Raises:
        DatabaseError, DatabaseUnreachable: a statement failed.
    """
    key = f"fbs:{name}"
    is_free = bool(_query_value(connection, _TRY, key))
    try:
        yield is_free
    finally:
        if is_free:
            _release(connection, key)


@contextmanager
def transaction(connection: Connection, *, lock_timeout: float = LOCK_TIMEOUT) -> Iterator[Cursor]:
    """Run a transaction with a lock_timeout and the time zone UTC, as the catalogue does.

    Args:
        connection: outside of a transaction.
        lock_timeout: seconds to wait for each lock.

    Raises:
        DatabaseBusy: another session held a lock for longer than the time-out.
        DatabaseUnreachable: the connection failed.
        DatabaseError: PostgreSQL rejected a statement.
    """
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(TRANSACTION_SETTINGS, (f"{round(lock_timeout * 1000)}ms",))
        yield cursor


def transaction_lock(connection: Connection, name: str) -> None:
    """Acquire an advisory lock until the end of the caller's transaction.

    Args:
        connection: in the transaction.
        name: the name of the lock, unique within the database.

    Raises:
        DatabaseBusy: another session held it for longer than the transaction's lock_timeout.
        DatabaseUnreachable: the connection failed.
        DatabaseError: PostgreSQL rejected the statement.
    """
    with errors_translated(connection), connection.cursor() as cursor:
        cursor.execute(TRANSACTION_LOCK, (f"fbs:{name}",))


def lock_tables(connection: Connection, tables: Iterable[str]) -> None:
    """Lock tables exclusively until the caller's transaction ends, so that the rows counted are the rows dropped.

    Args:
        connection: in the transaction.
        tables: names, locked in this order; missing names and other relations are skipped.

    Raises:
        DatabaseBusy: another session used a table for longer than lock_timeout.
        DatabaseRightsMissing: the user may not lock a table.
        DatabaseUnreachable: the connection failed.
        DatabaseError: PostgreSQL rejected a statement.
    """
    with errors_translated(connection), connection.cursor() as cursor:
        for name in map(sql.Identifier, tables):
            quoted = name.as_string(connection)
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relkind IN ('r', 'p'))", (quoted,)
            )
            row = cursor.fetchone()
            if row and row[0]:
                cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))


def _release(connection: Connection, key: str) -> None:
    """Release a lock; a lost connection has released it already."""
    with suppress(DatabaseUnreachable):
        if not connection.closed:
            with errors_translated(connection):
                connection.rollback()
            _query_value(connection, _UNLOCK, key)


def _query_value(connection: Connection, statement: str, key: str) -> object:
    """Run a query in a transaction of its own, so that none stays open while waiting."""
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement, (key,))
        row = cursor.fetchone()
    return row[0] if row else None
