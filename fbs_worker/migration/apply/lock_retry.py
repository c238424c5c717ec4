"""Acquire table locks with a short lock_timeout and retry with backoff.

A session that waits for a strong lock blocks all later requests, readers included (PostgreSQL's documentation of
explicit locking). Waits are therefore short, and queued sessions proceed between two attempts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import DatabaseBusy, DatabaseError
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.progress import Progress
from fbs_worker.migration.model.plan import Lock
from fbs_worker.schema.inspector import existing_tables

T = TypeVar("T")

_RETRYABLE: Final = frozenset({"40001", "40P01", "55P03"})
"""Serialisation failure, deadlock, lock not available: retried. A statement timeout (57014) is not."""

_STRENGTH: Final = (
    Lock.NONE,
    Lock.ROW_EXCLUSIVE,
    Lock.SHARE_UPDATE_EXCLUSIVE,
    Lock.SHARE_ROW_EXCLUSIVE,
    Lock.ACCESS_EXCLUSIVE,
)

BLOCKS_WRITERS: Final = frozenset({Lock.SHARE_ROW_EXCLUSIVE, Lock.ACCESS_EXCLUSIVE})
"""Locks that block writers, granted or requested."""

_MIN_LOCK_TIMEOUT: Final = 0.05
"""lock_timeout in seconds after the lock budget is used up; a free lock is granted immediately."""

_POLL_SECONDS: Final = 0.5
"""Interval in seconds of checks for cancellation."""

_HELD_BY_OTHERS: Final = """
pg_locks l JOIN pg_class c ON c.oid = l.relation AND l.locktype = 'relation' AND l.granted
    AND l.pid <> pg_backend_pid() AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)
"""

_BLOCKERS: Final = f"""
SELECT DISTINCT coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), 'a session')
    || ' (process ' || l.pid
    || coalesce(', ' || a.state, '') || coalesce(' for ' || round(extract(epoch FROM now() - a.xact_start)) || ' s', '')
    || ')'
FROM {_HELD_BY_OTHERS} LEFT JOIN pg_stat_activity a ON a.pid = l.pid
ORDER BY 1
"""  # noqa: S608 -- constants

_VACUUMED: Final = f"""
SELECT DISTINCT c.relname FROM {_HELD_BY_OTHERS}
WHERE l.mode = 'ShareUpdateExclusiveLock' AND c.relkind IN ('r', 'p') ORDER BY 1
"""  # noqa: S608 -- constants

_LONGER_THAN_VACUUM: Final = """
SELECT set_config(
    'lock_timeout', 2000 + 1000 * extract(epoch FROM current_setting('deadlock_timeout')::interval)::int || 'ms', TRUE
)
"""

_DETECT_DEAD_CLIENT: Final = """
SELECT set_config(name, '2s', FALSE) FROM pg_settings
WHERE name = 'client_connection_check_interval' AND version() !~* 'windows|mingw|msvc|visual'
"""
"""PostgreSQL 14 and later, not on Windows: a query of a killed client is cancelled and releases its locks."""

_SET_BOTH: Final = "SELECT set_config('lock_timeout', %s, TRUE), set_config('statement_timeout', %s, TRUE)"

_SET_SESSION: Final = "SELECT set_config('lock_timeout', %s, FALSE), set_config('statement_timeout', %s, FALSE)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockPolicy:
    """Lock and statement timeouts, retry and batch pauses of a migration; all times in seconds.

    Attributes:
        lock: lock budget: total wait of one attempt for locks that block writers.
        nonblocking_lock: lock_timeout for locks that do not block writers.
        concurrent_lock: lock_timeout of CONCURRENTLY outside of a transaction: it waits for all older transactions,
            blocks no one, and an interrupted build is lost.
        short_statement: statement_timeout under a lock that blocks writers.
        long_statement: statement_timeout of builds, validations and copies, and of steps with an allowed long lock.
        attempts: number of attempts to acquire locks.
        backoff: pause after the first attempt; doubled after each further one, with jitter.
        max_backoff: upper limit of the pause.
        cooldown: pause after a batch, as a fraction of its duration.
        precopy_above: table size in bytes from which archived values are copied before the table is locked.
    """

    lock: float = 0.4
    nonblocking_lock: float = 30.0
    concurrent_lock: float = 300.0
    short_statement: float = 10.0
    long_statement: float = 2_700.0
    attempts: int = 12
    backoff: float = 0.1
    max_backoff: float = 10.0
    cooldown: float = 0.5
    precopy_above: int = 8_000_000


class LockRetry:
    """Retry work that needs locks, with exponential backoff.

    Args:
        connection: the connection used by the work; each attempt is a transaction of its own.
        policy: number of attempts and pauses.
        progress: receives a message for each failed attempt; raises JobCancelled to stop.
    """

    def __init__(self, connection: Connection, policy: LockPolicy, progress: Progress) -> None:
        self._connection = connection
        self._policy = policy
        self._progress = progress

    def __call__(self, work: Callable[[], T], *, tables: Collection[str], what: str = "") -> T:
        """Run the work until its locks are granted.

        Args:
            work: called once per attempt; rolls back when it raises.
            tables: tables that it locks, for messages.
            what: name for messages if it locks none.

        Raises:
            DatabaseBusy: no attempt got its locks; the message names the sessions that hold them.
            DatabaseError: a statement timed out or was cancelled.
            JobCancelled: raised by the progress.
            FBSError: any other error of the work.
        """
        names = ", ".join(sorted(tables)) or what
        number = 0
        while True:
            number += 1
            try:
                return work()
            except DatabaseBusy as exc:
                if exc.context.get("sqlstate") not in _RETRYABLE:
                    raise _too_long(exc) from exc
                if number >= self._policy.attempts:
                    raise self._in_use(names, tables, exc) from exc
            attempt = f"attempt {number} of {self._policy.attempts}"
            self._progress.advance(0, message=f"{names}: lock not available; {attempt}")
            backoff = min(self._policy.backoff * 2 ** (number - 1), self._policy.max_backoff)
            cool_down(random.uniform(0.5, 1.5) * backoff, self._progress)  # noqa: S311 -- jitter

    def _in_use(self, names: str, tables: Collection[str], exc: DatabaseBusy) -> DatabaseBusy:
        in_use_by = blockers(self._connection, tables)
        sessions = f"; held by {'; '.join(in_use_by)}" if in_use_by else ""
        return DatabaseBusy(
            f"{names}: lock not available after {self._policy.attempts} attempts{sessions}.",
            hint="Run the migration again after these transactions have ended; applied statements stay.",
            **{**exc.context, "holders": in_use_by},
        )


def _too_long(exc: DatabaseBusy) -> DatabaseError:
    return DatabaseError(
        f"A statement was cancelled or timed out: {exc.message}",
        hint="Run the migration again when the table is less busy.",
        **exc.context,
    )


def cool_down(seconds: float, progress: Progress) -> None:
    """Pause without locks, so that queued sessions proceed.

    Args:
        seconds: duration.
        progress: checked for cancellation at the beginning and every half second; raises JobCancelled.
    """
    end = time.monotonic() + seconds
    while True:
        progress.advance(0)
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _POLL_SECONDS))


def blockers(connection: Connection, tables: Collection[str]) -> list[str]:
    """Describe the sessions that hold locks on tables.

    Args:
        connection: outside of a transaction.
        tables: unquoted names.

    Raises:
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with transaction(connection) as cursor:
        cursor.execute(_BLOCKERS, (list(tables),))
        return [str(blocker) for (blocker,) in cursor.fetchall()]


def detect_dead_client(connection: Connection) -> None:
    """Make the server cancel this session's queries when the client is dead.

    Args:
        connection: outside of a transaction.

    Raises:
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(_DETECT_DEAD_CLIENT)


class LockBudget:
    """Lock budget: the remaining wait of one attempt for locks that block writers.

    Args:
        cursor: cursor of the attempt's transaction.
        policy: the total budget and statement timeouts.
    """

    def __init__(self, cursor: Cursor, policy: LockPolicy) -> None:
        self._cursor = cursor
        self._policy = policy
        self._end = time.monotonic() + policy.lock

    def lock(self, tables: Mapping[str, Lock], *, referred: Collection[str] = ()) -> None:
        """Lock existing tables, ordered by name.

        Args:
            tables: unquoted name → lock mode.
            referred: tables that statements lock as well, for a foreign key.
        """
        strong = [name for name, lock in tables.items() if lock in BLOCKS_WRITERS]
        self._wait_for_vacuum([*strong, *referred])
        existing = existing_tables(
            self._cursor.connection, [name for name, lock in tables.items() if lock is not Lock.NONE]
        )
        for name in sorted(existing):
            mode = sql.SQL(f"LOCK TABLE {{}} IN {tables[name]} MODE")
            self._execute(mode.format(sql.Identifier(name)), self._policy.short_statement)

    def _wait_for_vacuum(self, tables: list[str]) -> None:
        """Lock tables against VACUUM alone, where it runs; this blocks neither readers nor writers, and does not count.

        PostgreSQL cancels autovacuum for a session that has waited for `deadlock_timeout`; the budget is shorter, so
        that the vacuum of a large table would outlast all attempts.
        """
        self._cursor.execute(_VACUUMED, (tables,))
        vacuumed = [str(name) for (name,) in self._cursor.fetchall()]
        for name in vacuumed:
            self._cursor.execute(_LONGER_THAN_VACUUM)
            self._cursor.execute(sql.SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE").format(sql.Identifier(name)))
        if vacuumed:
            self._end = time.monotonic() + self._policy.lock

    def execute(self, statement: str, *, takes_long: bool) -> None:
        """Run a statement, which may acquire a further lock.

        Args:
            statement: the SQL.
            takes_long: use the long statement timeout, and do not count its duration as waiting.
        """
        began = time.monotonic()
        self._execute(statement, self._policy.long_statement if takes_long else self._policy.short_statement)
        if takes_long:
            self._end += time.monotonic() - began

    @contextmanager
    def long_running(self) -> Iterator[None]:
        """Use the long statement timeout, and do not count the duration as waiting."""
        began = time.monotonic()
        self._cursor.execute(_SET_BOTH, (_ms(_MIN_LOCK_TIMEOUT), _ms(self._policy.long_statement)))
        yield
        self._end += time.monotonic() - began

    def _execute(self, statement: str | sql.Composed, statement_timeout: float) -> None:
        lock_timeout = max(self._end - time.monotonic(), _MIN_LOCK_TIMEOUT)
        self._cursor.execute(_SET_BOTH, (_ms(lock_timeout), _ms(statement_timeout)))
        self._cursor.execute(statement)


@contextmanager
def bounded_transaction(connection: Connection, *, lock: float, statement: float) -> Iterator[Cursor]:
    """Open a transaction with lock_timeout and statement_timeout.

    Args:
        connection: outside of a transaction.
        lock: lock_timeout in seconds.
        statement: statement_timeout in seconds.

    Raises:
        DatabaseBusy: a timeout.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with transaction(connection, lock_timeout=lock) as cursor:
        cursor.execute(_SET_BOTH, (_ms(lock), _ms(statement)))
        yield cursor


@contextmanager
def autocommit_cursor(connection: Connection, *, lock: float, statement: float) -> Iterator[Cursor]:
    """Switch to autocommit, for statements that PostgreSQL does not run in a transaction.

    Args:
        connection: outside of a transaction; its settings are restored afterwards.
        lock: lock_timeout in seconds.
        statement: statement_timeout in seconds.

    Raises:
        DatabaseBusy: a timeout.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with errors_translated(connection):
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
                before = cursor.fetchone()
                cursor.execute(_SET_SESSION, (_ms(lock), _ms(statement)))
                try:
                    yield cursor
                finally:
                    if not connection.closed:
                        cursor.execute(_SET_SESSION, before)
        finally:
            if not connection.closed:
                connection.autocommit = False


def strongest(locks: Collection[Lock]) -> Lock:
    """Return the strongest lock; NONE for an empty collection."""
    return max(locks, key=_STRENGTH.index, default=Lock.NONE)


def _ms(seconds: float) -> str:
    return f"{max(round(seconds * 1000), 1)}ms"
