"""What set-up, refresh, migration and drop share: find a solution, have it to oneself, keep the address book true."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Final

from fbs_worker.core.advisory_locks import solution_lock, transaction
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, SolutionConflict, SolutionNotFound
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.solutions.registry import AddressBook, DamagedRow, OwnRow, SolutionRecord, home_database

_log = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 5.0
"""A connection that was idle for longer is not trusted to be alive."""

_BESIDES: Final = ("last_refresh", "schedule")
"""What of a solution's definition changes without a set-up."""

_PLACE: Final = ("domain", "table_prefix", "business_prefix")


def vault_of(settings: Settings) -> Vault:
    """The vault with the keys of the settings.

    Raises:
        SecretError: one of them is not a key.
    """
    return Vault.from_text(settings.fbs_secret_keys.get_secret_value())


class Home:
    """The home database's address book; close it when the job is done.

    One connection serves looks that follow each other closely. A job may take long in between: one that has been idle
    is given back and made anew, so that a home database which restarted meanwhile is no trouble.

    Args:
        settings: which database it is, and the book's prefix.
        vault: opens its password, and seals those of solutions.

    Raises:
        SettingsError: no home database is set.
        SecretError: its password cannot be opened.
    """

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self.database = home_database(settings).resolved(vault, allow_plain=True)
        self.table_prefix = settings.fbs_table_prefix
        self._vault = vault
        self._kept: Connection | None = None
        self._used_at = 0.0

    def close(self) -> None:
        """Give the connection back. The home may be used again afterwards."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    @contextmanager
    def book(self) -> Iterator[AddressBook]:
        """The address book, as long as the `with` block lasts."""
        with self._connected() as connection:
            yield self._book(connection)

    def look(self, name: str) -> tuple[SolutionRecord | None, list[SolutionRecord]]:
        """The entry of a solution, if there is one, and those of all others that can be read.

        Raises:
            DatabaseError: also when the solution's own entry was damaged.
            DatabaseUnreachable: as its name says.
        """
        entry, others = None, []
        with self.book() as book:
            entries = book.entries()
        for found in entries:
            if found.solution_name != name:
                others += [] if isinstance(found, DamagedRow) else [found]
            elif isinstance(found, DamagedRow):
                raise found.error
            else:
                entry = found
        return entry, others

    def put(self, record: SolutionRecord, *, unless: Callable[[SolutionRecord | None], None] | None = None) -> bool:
        """Write the entry of a solution; what is so already is not written again.

        Args:
            record: the entry.
            unless: is given the entry that is there, which cannot change meanwhile, and raises to keep it.

        Returns:
            Whether anything was written.
        """
        with self.book() as book:
            return book.put(record, unless=unless)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        if self._kept is None or self._kept.closed or time.monotonic() - self._used_at > _IDLE_SECONDS:
            self.close()
            self._kept = connect(self.database, application_name="fbs-worker address book")
        try:
            yield self._kept
        except BaseException:
            self.close()  # whatever state it is in
            raise
        self._used_at = time.monotonic()

    def _book(self, connection: Connection) -> AddressBook:
        return AddressBook(connection, table_prefix=self.table_prefix, vault=self._vault)


class Entry:
    """A solution's entry in the address book while a job changes the solution.

    It is inactive from before the change until after it, so that a job which was cut off shows; the next run heals it.

    Args:
        home: where the book is.
        before: what the book says now; None where there is no entry.
    """

    def __init__(self, home: Home, before: SolutionRecord | None) -> None:
        self._home = home
        self._before = before
        self._touched = False

    @property
    def before(self) -> SolutionRecord | None:
        """What the book said when the job began."""
        return self._before

    def under_way(self, record: SolutionRecord, *, own: SolutionRecord | None) -> None:
        """The solution is about to change.

        Args:
            record: what it is, where the book has no entry yet.
            own: its own row as it is.

        Raises:
            SolutionConflict: somebody else has taken the name meanwhile.
        """
        entry = replace(self._before or record, is_active=False)
        self._home.put(entry, unless=lambda there: refuse_another(there, record, own=own))
        self._touched = True

    def done(self, record: SolutionRecord) -> bool:
        """The solution is what the record says.

        Returns:
            Whether the book did not say so yet.
        """
        return self._home.put(replace(record, is_active=True))

    def gone(self, name: str) -> None:
        """The solution is no more."""
        with self._home.book() as book:
            book.remove(name)

    def undo(self, name: str) -> None:
        """The change did not come about: say again what was said before."""
        if not self._touched:
            return
        if self._before is None:
            self.gone(name)
        else:
            self._home.put(self._before)


@contextmanager
def undone_on_failure(
    entry: Entry, connection: Connection, *, name: str, table_prefix: str, own: SolutionRecord | None
) -> Iterator[None]:
    """Keep the book true when a change fails: the entry is as before, unless something of the change has come about.

    Args:
        entry: the solution's.
        connection: where the change is made, in one transaction.
        name: the solution's name.
        table_prefix: the solution's.
        own: the solution's own row before the change.
    """
    try:
        yield
    except BaseException:
        try:
            with transaction(connection):  # a connection that was lost does not tell whether its last one was committed
                nothing_came_of_it = essence(OwnRow.read(connection, table_prefix, name)) == essence(own)
            if nothing_came_of_it:
                entry.undo(name)
        except FBSError as exc:
            _log.warning("the solution %s may stay inactive in the address book: %s", name, exc.message)
        raise


@contextmanager
def to_oneself(database: DatabaseConfig, name: str, *, action: str, progress: Progress) -> Iterator[Connection]:
    """A connection to a solution's database that holds the solution's lock.

    Args:
        database: which one, its password opened.
        name: the solution's name.
        action: what the job does; other jobs that wait for it show it.
        progress: told for whom it waits; may end the waiting.
    """
    with (
        closing(connect(database, application_name=f"fbs-worker {action} {name}")) as connection,
        solution_lock(
            connection,
            name,
            on_wait=lambda who: progress.step("wait", message=f"waiting for {who}"),
            check_cancelled=lambda: progress.advance(0),
        ),
    ):
        yield connection


def refuse_another(entry: SolutionRecord | None, record: SolutionRecord, *, own: SolutionRecord | None) -> None:
    """See that a name still means the same solution: what was made for the other would be nobody's.

    Args:
        entry: what is known under the name.
        record: what is meant by it now.
        own: the own row in the database that is meant. One server has many addresses: host and port may change as long
            as the solution is found there.

    Raises:
        SolutionConflict: it means another.
    """
    if entry is None:
        return
    differing = [name for name in _PLACE if getattr(entry, name) != getattr(record, name)]
    if entry.database.name != record.database.name:
        differing.append("database_name")
    elif own is None and (entry.database.host, entry.database.port) != (record.database.host, record.database.port):
        differing.append("database_host")
    if differing:
        raise SolutionConflict(
            f"The solution {record.solution_name!r} is there already, with another {', '.join(differing)}.",
            hint=f"Give the new one another name, or take that one away first: fbs drop {record.solution_name}",
            solution=entry.redacted(),
        )


def refuse_sharing(
    connection: Connection, record: SolutionRecord, names: Collection[str], others: Sequence[SolutionRecord]
) -> None:
    """See that no other solution owns a table of one of these names.

    Args:
        connection: to the solution's database, in whose transaction it is read.
        record: the solution.
        names: tables that are its own, or are to be.
        others: the other entries of the address book.

    Raises:
        SolutionConflict: another one does.
    """
    known = {other.solution_name: other for other in others if _server(other) == _server(record)}
    for other in OwnRow.others(connection, record.table_prefix, record.solution_name):
        known[other.solution_name] = other
    shared = {name: sorted(set(names) & other.owned) for name, other in known.items() if set(names) & other.owned}
    if shared:
        told = "; ".join(f"{', '.join(tables)} of {name!r}" for name, tables in sorted(shared.items()))
        raise SolutionConflict(
            f"Tables would be shared with another solution: {told}.",
            hint="Give this one a --business-prefix of its own.",
            shared=shared,
        )


def essence(record: SolutionRecord | None) -> object:
    """What counts of a solution's row: not whether a job is under way, nor when Odoo was or is to be read."""
    if record is None:
        return None
    definition = {key: value for key, value in record.schema_definition.items() if key not in _BESIDES}
    return (record.domain, record.table_prefix, record.business_prefix, record.database, definition)


def find_solution(home: Home, name: str) -> SolutionRecord:
    """The entry of a solution in the address book.

    Raises:
        SolutionNotFound: there is none of that name.
    """
    with home.book() as book:
        return book.get(name)


def own_row(connection: Connection, entry: SolutionRecord) -> SolutionRecord:
    """A solution's own row, in a transaction of its own.

    Args:
        connection: to the solution's database, outside of a transaction.
        entry: its entry in the address book.

    Raises:
        SolutionNotFound: there is none.
        DatabaseError: also when the row was damaged.
        DatabaseUnreachable: as its name says.
    """
    with transaction(connection):
        own = OwnRow.read(connection, entry.table_prefix, entry.solution_name)
    if own is None:
        raise SolutionNotFound(
            f"The database {entry.database.name!r} does not hold the solution {entry.solution_name!r}.",
            hint="Run `fbs setup` again: its set-up was not completed, or its tables were taken away.",
        )
    return own


def _server(record: SolutionRecord) -> tuple[str, int, str]:
    database = record.database
    return database.host, database.port, database.name
