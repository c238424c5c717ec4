"""Wait briefly, and ask again: a busy table delays a migration, not the applications that use it.

Whoever waits for a strong lock makes all who come later queue behind it, readers included (PostgreSQL's documentation
of explicit locking). So such a wait is short, and between two tries those that queued get their turn.
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

T = TypeVar("T")

_RETRYABLE: Final = frozenset({"40001", "40P01", "55P03"})
"""Serialisation failure, deadlock, lock not available: over at the next try. A statement time-out (57014) is not."""

_STRENGTH: Final = (
    Lock.NONE,
    Lock.ROW_EXCLUSIVE,
    Lock.SHARE_UPDATE_EXCLUSIVE,
    Lock.SHARE_ROW_EXCLUSIVE,
    Lock.ACCESS_EXCLUSIVE,
)

BLOCKS_WRITERS: Final = frozenset({Lock.SHARE_ROW_EXCLUSIVE, Lock.ACCESS_EXCLUSIVE})
"""The locks that those who write queue behind, granted or not."""

_MIN_LOCK_TIMEOUT: Final = 0.05
"""Seconds that each lock is waited for when the time for all of them is over: a free one is got at once anyway."""

_POLL_SECONDS: Final = 0.5
"""Seconds between two looks whether the job was cancelled."""

_BLOCKERS: Final = """
SELECT DISTINCT coalesce(nullif(a.application_name, ''), 'a session') || ' (process ' || l.pid
    || coalesce(', ' || a.state, '') || coalesce(' for ' || round(extract(epoch FROM now() - a.xact_start)) || ' s', '')
    || ')'
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)
ORDER BY 1
"""

_DETECT_DEAD_CLIENT: Final = """
SELECT set_config(name, '2s', FALSE) FROM pg_settings
WHERE name = 'client_connection_check_interval' AND version() !~* 'windows|mingw|msvc|visual'
"""
"""From PostgreSQL 14 on, and not on Windows: what a killed worker was waiting for ends, and gives its locks back."""

_EXISTS: Final = (
    "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
)


_SET_BOTH: Final = "SELECT set_config('lock_timeout', %s, TRUE), set_config('statement_timeout', %s, TRUE)"

_SET_SESSION: Final = "SELECT set_config('lock_timeout', %s, FALSE), set_config('statement_timeout', %s, FALSE)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockPolicy:
    """How long a migration waits and works at a time; all times in seconds.

    Attributes:
        lock: what one try may wait for all locks together that others queue behind.
        patience: what it may wait for a lock that nobody queues behind.
        alone: what a statement outside of a transaction may: CONCURRENTLY waits for all transactions that began before
            it, nobody queues behind it, and what it has built is lost when it gives up.
        quick: what a statement may take that is not known to take long: it holds such a lock.
        long: what one may take that is: it builds, checks, copies, or was allowed to hold a lock for long.
        tries: how often locks are asked for before it gives up.
        pause: between the first two tries; it doubles from one to the next, and is spread.
        longest_pause: what it grows to.
        rest: after a batch, as a share of the time that it took.
        copy_above: bytes of a table from which on what is to be kept is copied before anything is locked.
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
    """Does what needs locks, again and again until nobody else holds them.

    Args:
        connection: does the work, each try in a transaction of its own.
        pace: how often, with what pauses.
        progress: told of each try that was in vain; raises JobCancelled to give up.
    """

    def __init__(self, connection: Connection, policy: LockPolicy, progress: Progress) -> None:
        self._connection = connection
        self._policy = policy
        self._progress = progress

    def __call__(self, work: Callable[[], T], *, tables: Collection[str], what: str = "") -> T:
        """Try.

        Args:
            work: is done anew at each try; what it began is rolled back when it raises.
            tables: whose locks it needs.
            what: they are called, where it needs none.

        Raises:
            DatabaseBusy: they were in use at each try; the message names by whom.
            DatabaseError: a statement took too long.
            JobCancelled: raised by the progress.
            FBSError: whatever else `work` raises.
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
            self._progress.advance(0, message=f"{names} is in use; try {number} of {self._policy.attempts}")
            backoff = min(self._policy.backoff * 2 ** (number - 1), self._policy.max_backoff)
            cool_down(random.uniform(0.5, 1.5) * backoff, self._progress)  # noqa: S311 -- spreads tries, keeps no secret

    def _in_use(self, names: str, tables: Collection[str], exc: DatabaseBusy) -> DatabaseBusy:
        in_use_by = blockers(self._connection, tables)
        by_whom = f" by {'; '.join(in_use_by)}" if in_use_by else ""
        return DatabaseBusy(
            f"{names} is in use{by_whom}, at each of {self._policy.attempts} tries.",
            hint="Run it again once they are done; what has run until now stays.",
            **{**exc.context, "holders": in_use_by},
        )


def _too_long(exc: DatabaseBusy) -> DatabaseError:
    return DatabaseError(
        f"A statement was stopped, or took longer than it may: {exc.message}",
        hint="Run it again when the table is less used.",
        **exc.context,
    )


def cool_down(seconds: float, progress: Progress) -> None:
    """Let others have their turn.

    Args:
        seconds: for how long.
        progress: asked at the beginning and at least each half second; raises JobCancelled to end it.
    """
    end = time.monotonic() + seconds
    while True:
        progress.advance(0)
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _POLL_SECONDS))


def blockers(connection: Connection, tables: Collection[str]) -> list[str]:
    """Who uses tables just now, in words for a person.

    Args:
        connection: outside of a transaction.
        tables: unquoted names.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with transaction(connection) as cursor:
        cursor.execute(_BLOCKERS, (list(tables),))
        return [str(blocker) for (blocker,) in cursor.fetchall()]


def detect_dead_client(connection: Connection) -> None:
    """Let the server end what this session does when its client is gone.

    Args:
        connection: outside of a transaction.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with errors_translated(connection), connection, connection.cursor() as cursor:
        cursor.execute(_DETECT_DEAD_CLIENT)


def existing_tables(cursor: Cursor, tables: Collection[str]) -> set[str]:
    """Those tables that are there.

    Args:
        cursor: in a transaction.
        tables: unquoted names.
    """
    cursor.execute(_EXISTS, (list(tables),))
    return {name for (name,) in cursor.fetchall()}


class LockBudget:
    """The time that one try may still wait for locks that others queue behind.

    Args:
        cursor: in the try's transaction.
        pace: how long it is in all.
    """

    def __init__(self, cursor: Cursor, policy: LockPolicy) -> None:
        self._cursor = cursor
        self._policy = policy
        self._end = time.monotonic() + policy.lock

    def lock(self, tables: Mapping[str, Lock]) -> None:
        """Lock tables before anything is done, in the order of their names; those that are not there are passed over.

        Args:
            tables: unquoted name → how.
        """
        existing = existing_tables(self._cursor, [name for name, lock in tables.items() if lock is not Lock.NONE])
        for name in sorted(existing):
            mode = sql.SQL(f"LOCK TABLE {{}} IN {tables[name]} MODE")
            self._execute(mode.format(sql.Identifier(name)), self._policy.short_statement)

    def execute(self, statement: str, *, takes_long: bool) -> None:
        """Run a statement, which may need one more lock.

        Args:
            statement: it.
            takes_long: it is known to; its own time does not count as waiting.
        """
        began = time.monotonic()
        self._execute(statement, self._policy.long_statement if takes_long else self._policy.short_statement)
        if takes_long:
            self._end += time.monotonic() - began

    @contextmanager
    def long_running(self) -> Iterator[None]:
        """What is done meanwhile may take long, and does not count as waiting."""
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
    """A transaction with time-outs for locks and for statements.

    Args:
        connection: outside of a transaction.
        lock: seconds to wait for each lock.
        statement: seconds that each statement may take.

    Raises:
        DatabaseBusy: a time-out.
        DatabaseUnreachable, DatabaseError: as their names say.
    """
    with transaction(connection, lock_timeout=lock) as cursor:
        cursor.execute(_SET_BOTH, (_ms(lock), _ms(statement)))
        yield cursor


@contextmanager
def autocommit_cursor(connection: Connection, *, lock: float, statement: float) -> Iterator[Cursor]:
    """Each statement by itself, for those that PostgreSQL does not run in a transaction.

    Args:
        connection: outside of a transaction; afterwards it is as before.
        lock: seconds to wait for each lock.
        statement: seconds that each statement may take.

    Raises:
        DatabaseBusy: a time-out.
        DatabaseUnreachable, DatabaseError: as their names say.
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
    """The strongest of some locks; NONE of none."""
    return max(locks, key=_STRENGTH.index, default=Lock.NONE)


def _ms(seconds: float) -> str:
    return f"{max(round(seconds * 1000), 1)}ms"
