"""Look into several databases at once, in bounded time: one that hangs does not hold up the others.

libpq bounds how long connecting takes, PostgreSQL how long a statement takes. Neither helps against a server that has
stopped in mid-answer: there the connection is cut off. What nothing can end (a name server that does not answer) goes
on in a thread of its own, which is no longer waited for.
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
from fbs_worker.core.postgres import Connection, connect, errors_translated

PER_SERVER: Final = 4
"""How many connections to one server are opened at a time."""

_SESSION: Final = """
SELECT set_config('statement_timeout', %(limit)s, FALSE), set_config('lock_timeout', %(lock)s, FALSE),
    set_config('default_transaction_read_only', %(read_only)s, FALSE), set_config('TimeZone', 'UTC', FALSE)
"""

_T = TypeVar("_T")


def fan_out(asks: Sequence[tuple[Hashable, Callable[[], _T]]], *, seconds: float | None = None) -> list[_T | None]:
    """Run functions in threads, a few at a time for each server.

    Args:
        asks: each with the server that it is for.
        seconds: how long to wait for all of them together; None for as long as it takes.

    Returns:
        What they returned, in their order; None for those that have not returned in time.

    Raises:
        Exception: what one of them raised.
    """
    waiting: dict[Hashable, deque[int]] = {}
    for number, (server, _) in enumerate(asks):
        waiting.setdefault(server, deque()).append(number)
    crew = _ThreadPool(asks)
    for numbers in waiting.values():
        for _ in range(min(PER_SERVER, len(numbers))):
            threading.Thread(target=crew.work, args=(numbers,), daemon=True).start()
    return crew.results(None if seconds is None else time.monotonic() + seconds)


class _ThreadPool(Generic[_T]):
    """The threads of one `fan_out`."""

    def __init__(self, asks: Sequence[tuple[Hashable, Callable[[], _T]]]) -> None:
        self._asks = asks
        self._over = threading.Event()
        self._done: queue.SimpleQueue[tuple[int, _T | None, BaseException | None]] = queue.SimpleQueue()

    def work(self, numbers: deque[int]) -> None:
        while not self._over.is_set():
            try:
                number = numbers.popleft()
            except IndexError:
                return
            try:
                self._done.put((number, self._asks[number][1](), None))
            except BaseException as exc:  # noqa: BLE001 -- raised again by whoever waits
                self._done.put((number, None, exc))

    def results(self, until: float | None) -> list[_T | None]:
        found: list[_T | None] = [None] * len(self._asks)
        try:
            for _ in self._asks:
                left = None if until is None else max(0.0, until - time.monotonic())
                number, result, error = self._done.get(timeout=left)
                if error is not None:
                    raise error
                found[number] = result
        except queue.Empty:
            pass
        finally:
            self._over.set()
        return found


@contextmanager
def bounded_connection(
    database: DatabaseConfig, *, connect_seconds: int, seconds: float, read_only: bool = True
) -> Iterator[Connection]:
    """A connection that ends in time, whatever the server does.

    Args:
        database: which one, its password opened.
        connect_seconds: how long connecting may take; libpq takes 2 at least, and as long again for each further
            address of the host.
        seconds: how long everything after that may take, each statement as well.
        read_only: nothing can be written.

    Raises:
        DatabaseUnreachable: also when it did not answer in time.
        DatabaseError: as its name says; DatabaseBusy when a statement takes too long.
    """
    with (
        closing(connect(database, application_name="fbs-worker look", connect_timeout=connect_seconds)) as connection,
        _cut_off(connection, database, seconds),
    ):
        with errors_translated(database), connection, connection.cursor() as cursor:
            # the server gives up a little earlier: it can say for what it waited
            limit = max(1, round(seconds * 900))
            lock = limit // 3 if read_only else limit  # two looks at a locked table leave time for the rest
            given = {"limit": f"{limit}ms", "lock": f"{lock}ms", "read_only": "on" if read_only else "off"}
            cursor.execute(_SESSION, given)
        yield connection


@contextmanager
def _cut_off(connection: Connection, database: DatabaseConfig, seconds: float) -> Iterator[None]:
    """End a connection after a time: the thread that waits for its answer gets an error then."""
    fired = threading.Event()
    # a copy: should the connection be closed and its number be given to another, that one is not hit
    with socket.socket(fileno=os.dup(connection.fileno())) as handle:

        def cut() -> None:
            fired.set()
            with suppress(OSError):  # it has ended by itself
                handle.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, cut)
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
    """The error for a database that has not answered in time."""
    return DatabaseUnreachable(
        f"PostgreSQL at {database.address()} did not answer within {seconds:g} seconds.",
        hint="Check that it runs and can be reached from here, and whether it is overloaded.",
    )
