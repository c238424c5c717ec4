"""One job at a time on a solution: an advisory lock in its database.

The lock belongs to the session, so the server gives it back when the worker dies, whatever it was doing. It is held by
the very connection that does the work: should that be lost, lock and transaction end together. (A pooler that hands
one connection to several sessions in turn breaks such locks; PgBouncer's `pool_mode=session` does not.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.errors import DatabaseUnreachable
from fbs_worker.core.postgres import Connection, errors_translated

POLL_SECONDS: Final = 0.1
"""How often a waiting job asks for the lock, and whether it was cancelled meanwhile."""

LOCK_TIMEOUT: Final = 60.0
"""Seconds to wait for a lock of a table, a row or a transaction of another session."""

TRANSACTION_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"

TRANSACTION_SETTINGS: Final = "SELECT set_config('lock_timeout', %s, TRUE), set_config('TimeZone', 'UTC', TRUE)"
"""For this transaction: how long to wait for a lock, and that NOW() means the same for every client."""

_TRY: Final = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
_UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"

# a key of 64 bits shows in pg_locks as its two halves, with objsubid 1 (PostgreSQL's documentation of pg_locks)
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
    waiting: Callable[[str], None],
    cancelled: Callable[[], None],
) -> Iterator[None]:
    """Hold the lock of a solution for the `with` block, whatever transactions begin and end in it.

    It asks again and again rather than waiting in the server: there each look at `cancelled` would end in an error in
    the server's log.

    Args:
        connection: to the solution's database, outside of a transaction; it does the work, too.
        solution_name: whose lock.
        waiting: told who holds the lock, in words for a person, once and again when that changes.
        cancelled: asked while waiting; raises JobCancelled to give up.

    Raises:
        DatabaseUnreachable, DatabaseError: as their names say.
        JobCancelled: raised by `cancelled`.
    """
    key = f"fbs:solution:{solution_name}"
    told = ""
    while not _ask(connection, _TRY, key):
        holder = _ask(connection, _HOLDER, key)
        if isinstance(holder, str) and holder != told:  # None: it was given back in between
            told = holder
            waiting(holder)
        cancelled()
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        # a connection that is gone has given the lock back already
        with suppress(DatabaseUnreachable):
            if not connection.closed:
                with errors_translated(connection):
                    connection.rollback()
                _ask(connection, _UNLOCK, key)


def set_lock_timeout(connection: Connection, *, lock_timeout: float = LOCK_TIMEOUT) -> None:
    """Let no transaction of a session wait for ever.

    Args:
        connection: the session, outside of a transaction.
        lock_timeout: seconds to wait for each lock.

    Raises:
        DatabaseUnreachable, DatabaseError: as their names say.
    """
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, FALSE)", (f"{round(lock_timeout * 1000)}ms",))


@contextmanager
def transaction(connection: Connection, *, lock_timeout: float = LOCK_TIMEOUT) -> Iterator[Cursor]:
    """A transaction that does not wait for ever and tells the time in UTC, as the catalogue's own ones.

    Args:
        connection: outside of a transaction.
        lock_timeout: seconds to wait for each lock.

    Raises:
        DatabaseBusy: another session holds a lock for longer than that.
        DatabaseUnreachable, DatabaseError: as their names say.
    """
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(TRANSACTION_SETTINGS, (f"{round(lock_timeout * 1000)}ms",))
        yield cursor


def transaction_lock(connection: Connection, name: str) -> None:
    """Wait for a lock that the caller's transaction holds to its end.

    Args:
        connection: whose transaction.
        name: what is locked, in this database.

    Raises:
        DatabaseBusy: another session holds it for longer than the transaction's lock time-out.
        DatabaseUnreachable, DatabaseError: as their names say.
    """
    with errors_translated(connection), connection.cursor() as cursor:
        cursor.execute(TRANSACTION_LOCK, (f"fbs:{name}",))


def lock_tables(connection: Connection, tables: Iterable[str]) -> None:
    """Keep everyone else from tables until the caller's transaction ends, so that what is counted is what is dropped.

    Args:
        connection: whose transaction.
        tables: their names, locked in this order; those that are not there, or are no tables, are passed over.

    Raises:
        DatabaseBusy: other sessions use one of them for longer than the lock time-out.
        DatabaseRightsMissing: the user may not.
        DatabaseUnreachable, DatabaseError: as their names say.
    """
    with errors_translated(connection), connection.cursor() as cursor:
        for name in map(sql.Identifier, tables):
            quoted = name.as_string(connection)
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(%s) AND relkind IN ('r', 'p'))", (quoted,)
            )
            found = cursor.fetchone()
            if found and found[0]:
                cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))


def _ask(connection: Connection, statement: str, key: str) -> object:
    """One value, in a transaction of its own: none is held open while waiting."""
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(statement, (key,))
        row = cursor.fetchone()
    return row[0] if row else None
