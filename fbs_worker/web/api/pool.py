"""Connection pools, a few connections per database: connecting takes longer than most queries.

Connections are read-only, and each query has a deadline: PostgreSQL cancels a statement after `statement_timeout`, and
a watchdog shuts the socket down if the server stops responding, as `fbs_worker.core.fanout` does for single queries.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseBusy, DatabaseUnreachable
from fbs_worker.core.fanout import database_timeout, limit_transactions
from fbs_worker.core.postgres import Connection, connect

MAX_CONNECTIONS: Final = 8
"""Maximum number of connections to one database."""

QUERY_SECONDS: Final = 20.0
"""Deadline of one query, and maximum time to wait for a free connection."""

_IDLE_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 3
_WATCHDOG_SECONDS: Final = 1.0


@dataclass(kw_only=True)
class _PooledConnection:
    """An open connection.

    Attributes:
        connection: the connection.
        handle: a duplicate of its socket, which another thread can shut down.
        since: when it was last borrowed or returned (monotonic seconds).
        limits: the deadline of its queries, and whether they only read.
        aborted: it exceeded the deadline and was shut down.
    """

    connection: Connection
    handle: socket.socket
    since: float
    limits: tuple[float, bool] = (0.0, True)
    aborted: bool = False

    def close(self) -> None:
        self.handle.close()
        self.connection.close()

    def limit(self, seconds: float, *, read_only: bool) -> None:
        """Set the deadline of the queries that follow, and whether they only read."""
        if (seconds, read_only) != self.limits:
            limit_transactions(self.connection, seconds, read_only=read_only)
            self.limits = seconds, read_only

    def is_alive(self) -> bool:
        """An idle connection is readable only if the server has closed it."""
        if self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        return not poll.poll(0)

    def abort(self) -> None:
        self.aborted = True
        with suppress(OSError):  # closed already
            self.handle.shutdown(socket.SHUT_RDWR)


@dataclass(kw_only=True)
class _Pool:
    """The connections to one database.

    Attributes:
        slots: how many further connections may be borrowed.
        idle: idle connections, the most recently used one last.
        busy: borrowed connections.
    """

    slots: threading.BoundedSemaphore
    idle: list[_PooledConnection] = field(default_factory=list)
    busy: list[_PooledConnection] = field(default_factory=list)


class ConnectionPools:
    """A pool of connections per database. Thread-safe.

    Args:
        max_connections: maximum number of connections to one database.
        seconds: deadline of one query.
        idle_seconds: how long an idle connection stays open.
    """

    def __init__(
        self,
        *,
        max_connections: int = MAX_CONNECTIONS,
        seconds: float = QUERY_SECONDS,
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._max_connections = max_connections
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._pools: dict[DatabaseConfig, _Pool] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watchdog: threading.Thread | None = None

    @contextmanager
    def use(
        self, database: DatabaseConfig, *, seconds: float | None = None, read_only: bool = True
    ) -> Iterator[Connection]:
        """Borrow a connection for a few queries, in autocommit: each statement sees the data as of its start.

        Args:
            database: the database, with its password decrypted.
            seconds: deadline of the queries; default: that of the pools.
            read_only: the queries only read.

        Raises:
            DatabaseBusy: no connection became free before the deadline.
            DatabaseUnreachable: the server does not respond, or not before the deadline.
            DatabaseError: the server rejects the connection or the query.
        """
        pool, seconds = self._pool(database), seconds or self._seconds
        if not pool.slots.acquire(timeout=seconds):
            raise DatabaseBusy(
                f"All {self._max_connections} connections to {database.address()} are in use.",
                hint="Try again in a few seconds.",
            )
        try:
            pooled = self._borrow(pool) or self._connect(pool, database)
            try:
                pooled.limit(seconds, read_only=read_only)
                yield pooled.connection
            except DatabaseUnreachable as exc:
                if pooled.aborted:
                    raise database_timeout(database, seconds) from exc
                raise
            finally:
                self._return(pool, pooled)
        finally:
            pool.slots.release()

    def close(self) -> None:
        """Close the idle connections now, and the others when they are returned."""
        self._closed.set()
        with self._lock:
            idle = [pooled for pool in self._pools.values() for pooled in pool.idle]
            for pool in self._pools.values():
                pool.idle.clear()
        for pooled in idle:
            pooled.close()
        if self._watchdog is not None:
            self._watchdog.join()

    def _pool(self, database: DatabaseConfig) -> _Pool:
        with self._lock:
            if self._watchdog is None and not self._closed.is_set():
                self._watchdog = threading.Thread(target=self._watch, name="fbs-connections", daemon=True)
                self._watchdog.start()
            pool = self._pools.get(database)
            if pool is None:
                pool = self._pools[database] = _Pool(slots=threading.BoundedSemaphore(self._max_connections))
            return pool

    def _borrow(self, pool: _Pool) -> _PooledConnection | None:
        while True:
            with self._lock:
                if not pool.idle:
                    return None
                pooled = pool.idle.pop()
                pooled.since = time.monotonic()
                pool.busy.append(pooled)
            if pooled.is_alive():
                return pooled
            with self._lock:
                pool.busy.remove(pooled)
            pooled.close()

    def _connect(self, pool: _Pool, database: DatabaseConfig) -> _PooledConnection:
        connection = connect(database, application_name="fbs-worker api", connect_timeout=_CONNECT_SECONDS)
        pooled = _PooledConnection(
            connection=connection,
            handle=socket.socket(fileno=os.dup(connection.fileno())),
            since=time.monotonic(),
        )
        connection.autocommit = True
        with self._lock:
            pool.busy.append(pooled)
        return pooled

    def _return(self, pool: _Pool, pooled: _PooledConnection) -> None:
        connection = pooled.connection
        reusable = (
            not pooled.aborted
            and not connection.closed
            and connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        )
        with self._lock:
            pool.busy.remove(pooled)
            if reusable and not self._closed.is_set():
                pooled.since = time.monotonic()
                pool.idle.append(pooled)
                return
        pooled.close()

    def _watch(self) -> None:
        """Watchdog: abort queries past the deadline, close connections that are idle for too long."""
        while not self._closed.wait(min(_WATCHDOG_SECONDS, self._seconds / 4)):
            now = time.monotonic()
            with self._lock:
                for pool in self._pools.values():
                    for pooled in pool.busy:
                        if now - pooled.since > (pooled.limits[0] or self._seconds):
                            pooled.abort()
                    expired = [pooled for pooled in pool.idle if now - pooled.since > self._idle_seconds]
                    pool.idle = [pooled for pooled in pool.idle if pooled not in expired]
                    for pooled in expired:
                        pooled.close()
