"""Bounded fan-out: query several databases concurrently, so that an unresponsive one does not delay the others.

libpq bounds the time to connect (connect_timeout), PostgreSQL the time of a statement (statement_timeout). Neither
helps against a server that stops in the middle of a response: there the socket is shut down. A call that cannot be
interrupted (name resolution) continues in its daemon thread, and its result is dropped.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Final, Generic, TypeVar

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseUnreachable
from fbs_worker.core.postgres import Connection, connect, set_for_transactions

PER_SERVER: Final = 4
"""Maximum number of concurrent connections to one server."""

_T = TypeVar("_T")


def fan_out(calls: Sequence[tuple[Hashable, Callable[[], _T]]], *, seconds: float | None = None) -> list[_T | None]:
    """Call functions in threads, at most `PER_SERVER` at a time for each server.

    Args:
        calls: pairs of the server and the function.
        seconds: how long to wait for all results together; None for no limit.

    Returns:
        The results in the order of `calls`; None for a call that has not returned in time.

    Raises:
        Exception: the first exception that a call raised.
    """
    pending: dict[Hashable, deque[int]] = {}
    for number, (server, _) in enumerate(calls):
        pending.setdefault(server, deque()).append(number)
    pool = _ThreadPool(calls)
    for numbers in pending.values():
        for _ in range(min(PER_SERVER, len(numbers))):
            threading.Thread(target=pool.work, args=(numbers,), daemon=True).start()
    return pool.results(None if seconds is None else time.monotonic() + seconds)


class _ThreadPool(Generic[_T]):
    def __init__(self, calls: Sequence[tuple[Hashable, Callable[[], _T]]]) -> None:
        self._calls = calls
        self._stopped = threading.Event()
        self._done: queue.SimpleQueue[tuple[int, _T | None, BaseException | None]] = queue.SimpleQueue()

    def work(self, numbers: deque[int]) -> None:
        while not self._stopped.is_set():
            try:
                number = numbers.popleft()
            except IndexError:
                return
            try:
                self._done.put((number, self._calls[number][1](), None))
            except BaseException as exc:  # noqa: BLE001 -- re-raised by results()
                self._done.put((number, None, exc))

    def results(self, until: float | None) -> list[_T | None]:
        results: list[_T | None] = [None] * len(self._calls)
        try:
            for _ in self._calls:
                left = None if until is None else max(0.0, until - time.monotonic())
                number, result, error = self._done.get(timeout=left)
                if error is not None:
                    raise error
                results[number] = result
        except queue.Empty:
            pass
        finally:
            self._stopped.set()
        return results


@contextmanager
def bounded_connection(
    database: DatabaseConfig, *, connect_seconds: int, seconds: float, read_only: bool = True
) -> Iterator[Connection]:
    """Open a connection whose total lifetime is bounded, even if the server stops responding.

    Args:
        database: the database, with a resolved password.
        connect_seconds: time to connect; libpq waits at least 2, and as long for each further address of the host.
        seconds: time for everything after that, and for each statement.
        read_only: the transactions are read-only.

    Raises:
        DatabaseUnreachable: the connection failed, or the time is over.
        DatabaseBusy: a statement or a lock took too long.
        DatabaseError: PostgreSQL rejected a statement.
    """
    with (
        closing(connect(database, application_name="fbs-worker look", connect_timeout=connect_seconds)) as connection,
        shutdown_after(connection, database, seconds),
    ):
        limit_transactions(connection, seconds, read_only=read_only)
        yield connection


def limit_transactions(connection: Connection, seconds: float, *, read_only: bool = True) -> None:
    """Bound the statements of a connection, in the server.

    Args:
        connection: the connection.
        seconds: its deadline; the server's time-out ends a little earlier, because its error names what it waited for.
        read_only: the transactions are read-only.
    """
    limit = max(1, round(seconds * 900))
    lock = limit // 3  # leave time for other queries after two lock time-outs
    mode = {"transaction_read_only": "on"} if read_only else {}
    set_for_transactions(connection, statement_timeout=f"{limit}ms", lock_timeout=f"{max(1, lock)}ms", **mode)


@contextmanager
def shutdown_after(connection: Connection, database: DatabaseConfig, seconds: float) -> Iterator[None]:
    """Shut the connection's socket down after a time, so that the thread that waits on it gets an error."""
    fired = threading.Event()
    # duplicate the descriptor: if the connection is closed, its number may be reused by another socket
    with socket.socket(fileno=os.dup(connection.fileno())) as handle:

        def shut_down() -> None:
            fired.set()
            with suppress(OSError):  # disconnected already
                handle.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, shut_down)
        timer.daemon = True
        timer.start()
        try:
            yield
        except DatabaseUnreachable as exc:
            if not fired.is_set():
                raise
            raise database_timeout(database, seconds) from exc
        finally:
            timer.cancel()
            timer.join()


def database_timeout(database: DatabaseConfig, seconds: float) -> DatabaseUnreachable:
    """Build the error for a database that did not answer in time."""
    return DatabaseUnreachable(
        f"PostgreSQL at {database.address()} did not answer within {seconds:g} seconds.",
        hint="Check that it runs and can be reached from here, and whether it is overloaded.",
    )
