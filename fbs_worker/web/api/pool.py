"""Connections to databases that are kept open, a few for each: opening one takes longer than most questions.

They can only read, and each question ends in time: PostgreSQL gives up on a statement by itself, and where the server
has stopped in mid-answer the connection is cut off, as `fbs_worker.core.fanout` does it for single looks.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseBusy, DatabaseUnreachable
from fbs_worker.core.fanout import database_timeout
from fbs_worker.core.postgres import Connection, connect, errors_translated

MOST: Final = 8
"""Connections to one database."""

SECONDS: Final = 20.0
"""How long one question may take, and how long to wait for a connection that is free."""

_IDLE_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 3
_LOOK_SECONDS: Final = 1.0

_SESSION: Final = """
SELECT set_config('statement_timeout', %(limit)s, FALSE), set_config('lock_timeout', %(lock)s, FALSE),
    set_config('default_transaction_read_only', 'on', FALSE), set_config('TimeZone', 'UTC', FALSE)
"""


@dataclass(kw_only=True)
class _Kept:
    """A connection that is open.

    Attributes:
        connection: it.
        handle: a copy of its socket, to cut it off whatever it does.
        since: when it was given out, or came back (monotonic).
        cut: it took too long and was cut off.
    """

    connection: Connection
    handle: socket.socket
    since: float
    cut: bool = False

    def close(self) -> None:
        self.handle.close()
        self.connection.close()

    def is_alive(self) -> bool:
        """Nothing has come from the server that nobody asked for: that would be its farewell."""
        if self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        return not poll.poll(0)

    def cut_off(self) -> None:
        self.cut = True
        with suppress(OSError):  # it has ended by itself
            self.handle.shutdown(socket.SHUT_RDWR)


@dataclass(kw_only=True)
class _Pool:
    """The connections to one database.

    Attributes:
        places: how many more may be open.
        idle: those that wait to be used, the last one that was used at the end.
        used: those that are used now.
    """

    places: threading.BoundedSemaphore
    idle: list[_Kept] = field(default_factory=list)
    used: list[_Kept] = field(default_factory=list)


class Connections:
    """Connections to any number of databases. Threads may share it.

    Args:
        most: how many to one database.
        seconds: how long one question may take.
        idle_seconds: how long one is kept that nobody uses.
    """

    def __init__(self, *, most: int = MOST, seconds: float = SECONDS, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._pools: dict[DatabaseConfig, _Pool] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._watch: threading.Thread | None = None

    @contextmanager
    def use(self, database: DatabaseConfig, opened: Callable[[DatabaseConfig], DatabaseConfig]) -> Iterator[Connection]:
        """A connection for one question, in autocommit: a statement sees what is there when it begins.

        Args:
            database: which one.
            opened: gives it with its password opened; only asked when a connection has to be made.

        Raises:
            FBSError: what `opened` raises.
            DatabaseBusy: all of them are in use for longer than a question may take.
            DatabaseUnreachable: also when it did not answer in time.
            DatabaseError: as its name says.
        """
        pool = self._pool(database)
        if not pool.places.acquire(timeout=self._seconds):
            raise DatabaseBusy(
                f"All {self._most} connections to {database.address()} are in use.", hint="Try again in a moment."
            )
        try:
            kept = self._taken(pool) or self._opened(pool, opened(database))
            try:
                yield kept.connection
            except DatabaseUnreachable as exc:
                if kept.cut:
                    raise database_timeout(database, self._seconds) from exc
                raise
            finally:
                self._back(pool, kept)
        finally:
            pool.places.release()

    def close(self) -> None:
        """Close all that nobody uses, and the others as they come back."""
        self._over.set()
        with self._lock:
            idle = [kept for pool in self._pools.values() for kept in pool.idle]
            for pool in self._pools.values():
                pool.idle.clear()
        for kept in idle:
            kept.close()
        if self._watch is not None:
            self._watch.join()

    def _pool(self, database: DatabaseConfig) -> _Pool:
        with self._lock:
            if self._watch is None and not self._over.is_set():
                self._watch = threading.Thread(target=self._look, name="fbs-connections", daemon=True)
                self._watch.start()
            pool = self._pools.get(database)
            if pool is None:
                pool = self._pools[database] = _Pool(places=threading.BoundedSemaphore(self._most))
            return pool

    def _taken(self, pool: _Pool) -> _Kept | None:
        """One that waits, if it still lives."""
        while True:
            with self._lock:
                if not pool.idle:
                    return None
                kept = pool.idle.pop()
                kept.since = time.monotonic()
                pool.used.append(kept)
            if kept.is_alive():
                return kept
            with self._lock:
                pool.used.remove(kept)
            kept.close()

    def _opened(self, pool: _Pool, database: DatabaseConfig) -> _Kept:
        connection = connect(database, application_name="fbs-worker api", connect_timeout=_CONNECT_SECONDS)
        kept = _Kept(
            connection=connection,
            handle=socket.socket(fileno=os.dup(connection.fileno())),
            since=time.monotonic(),
        )
        with self._lock:
            pool.used.append(kept)
        try:
            connection.autocommit = True
            limit = round(self._seconds * 900)  # the server gives up a little earlier: it can say for what it waited
            with errors_translated(database), closing(connection.cursor()) as cursor:
                cursor.execute(_SESSION, {"limit": f"{limit}ms", "lock": f"{limit // 3}ms"})
        except BaseException:
            with self._lock:
                pool.used.remove(kept)
            kept.close()
            raise
        return kept

    def _back(self, pool: _Pool, kept: _Kept) -> None:
        connection = kept.connection
        fit = not kept.cut and not connection.closed and connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        with self._lock:
            pool.used.remove(kept)
            if fit and not self._over.is_set():
                kept.since = time.monotonic()
                pool.idle.append(kept)
                return
        kept.close()

    def _look(self) -> None:
        """Cut off what takes too long, close what nobody uses."""
        while not self._over.wait(min(_LOOK_SECONDS, self._seconds / 4)):
            now = time.monotonic()
            with self._lock:
                for pool in self._pools.values():
                    late = [kept for kept in pool.used if now - kept.since > self._seconds]
                    for kept in late:
                        kept.cut_off()
                    old = [kept for kept in pool.idle if now - kept.since > self._idle_seconds]
                    pool.idle = [kept for kept in pool.idle if kept not in old]
                    for kept in old:
                        kept.close()
