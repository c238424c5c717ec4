"""Locks in PostgreSQL that keep a job where it is."""

from __future__ import annotations

from contextlib import closing
from typing import Final, Self

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from tests.support.waiting import until

_WAITING: Final = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


class PostgresLock:
    """A lock that is held from now on until it is released, which the end of a `with` block does, too.

    Args:
        database: where.
        statement: takes it, e.g. `LOCK TABLE x IN SHARE MODE`.
    """

    def __init__(self, database: DatabaseConfig, statement: str) -> None:
        self._connection = connect(database, application_name="the-test")
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(statement)

    def wait_until_reached(self) -> None:
        """Wait until another session waits for it."""
        until(self._has_waiter, lambda: "no session waits for the lock")

    def release(self) -> None:
        """Give it back."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _has_waiter(self) -> bool:
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(_WAITING)
            row = cursor.fetchone()
        return row is not None and row[0] > 0
