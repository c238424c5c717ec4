"""Shared steps of set-up, refresh, migration and drop: look up a solution, lock it, maintain its registry entry."""

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
from fbs_worker.solutions.registry import DamagedRow, Manifest, Registry, SolutionRecord, home_database

_log = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 5.0
"""A connection that was idle for longer is replaced."""

_VOLATILE: Final = ("last_refresh", "schedule")
"""Keys of `schema_definition` that change without a set-up."""

_IDENTITY: Final = ("domain", "table_prefix", "business_prefix")


def vault_of(settings: Settings) -> Vault:
    """Return the vault with the keys of FBS_SECRET_KEYS.

    Raises:
        SecretError: a key is not valid.
    """
    return Vault.from_text(settings.fbs_secret_keys.get_secret_value())


class Home:
    """Access to the registry in the home database; close it at the end of the job.

    Calls that follow each other closely share a connection. A job may run long between two calls: a connection that was
    idle for more than 5 s is replaced, so that a restart of the home database does not fail the job.

    Args:
        settings: the home database and its table prefix.
        vault: decrypts the home database's password, and encrypts those of solutions.

    Raises:
        SettingsError: no home database is set.
        SecretError: its password cannot be decrypted.
    """

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self.database = home_database(settings).resolved(vault, allow_plain=True)
        self.table_prefix = settings.fbs_table_prefix
        self._vault = vault
        self._connection: Connection | None = None
        self._used_at = 0.0

    def close(self) -> None:
        """Close the connection. The next call opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def registry(self) -> Iterator[Registry]:
        """Yield the registry on an open connection."""
        with self._connected() as connection:
            yield Registry(connection, table_prefix=self.table_prefix, vault=self._vault)

    def lookup(self, name: str) -> tuple[SolutionRecord | None, list[SolutionRecord]]:
        """Return a solution's entry, None without one, and the undamaged entries of all other solutions.

        Raises:
            DatabaseError: the solution's own entry is damaged, or a statement failed.
            DatabaseUnreachable: the home database does not answer.
        """
        entry, others = None, []
        with self.registry() as registry:
            rows = registry.entries()
        for row in rows:
            if row.solution_name != name:
                others += [] if isinstance(row, DamagedRow) else [row]
            elif isinstance(row, DamagedRow):
                raise row.error
            else:
                entry = row
        return entry, others

    def put(self, record: SolutionRecord, *, unless: Callable[[SolutionRecord | None], None] | None = None) -> bool:
        """Insert or update a solution's entry; see `Registry.put`.

        Args:
            record: the entry.
            unless: called with the existing entry; raises to prevent the write.

        Returns:
            Whether the entry was written.
        """
        with self.registry() as registry:
            return registry.put(record, unless=unless)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        if self._connection is None or self._connection.closed or time.monotonic() - self._used_at > _IDLE_SECONDS:
            self.close()
            self._connection = connect(self.database, application_name="fbs-worker registry")
        try:
            yield self._connection
        except BaseException:
            self.close()  # its state is unknown
            raise
        self._used_at = time.monotonic()


class Entry:
    """A solution's registry entry during a job that changes the solution.

    The entry is inactive from before the change until after it, so that an interrupted job is visible; the next run
    repairs it.

    Args:
        home: access to the registry.
        before: the entry at the start of the job; None without an entry.
    """

    def __init__(self, home: Home, before: SolutionRecord | None) -> None:
        self._home = home
        self._before = before
        self._written = False

    @property
    def before(self) -> SolutionRecord | None:
        """The entry at the start of the job; None without an entry."""
        return self._before

    def mark_inactive(self, record: SolutionRecord, *, manifest: SolutionRecord | None) -> None:
        """Write the entry as inactive, before the solution is changed.

        Args:
            record: the entry to write if the registry has none yet.
            manifest: the solution's manifest; None without one.

        Raises:
            SolutionConflict: another solution has taken the name in the meantime.
        """
        entry = replace(self._before or record, is_active=False)
        self._home.put(entry, unless=lambda existing: check_same_solution(existing, record, manifest=manifest))
        self._written = True

    def mark_active(self, record: SolutionRecord) -> bool:
        """Write the entry as active, after the change.

        Args:
            record: the solution after the change.

        Returns:
            Whether the entry was written; False if it was equal already.
        """
        return self._home.put(replace(record, is_active=True))

    def remove(self, name: str) -> None:
        """Delete the entry, after the solution was dropped."""
        with self._home.registry() as registry:
            registry.remove(name)

    def restore(self, name: str) -> None:
        """Write the entry of the start of the job again, after the change was rolled back."""
        if not self._written:
            return
        if self._before is None:
            self.remove(name)
        else:
            self._home.put(self._before)


@contextmanager
def restored_on_failure(
    entry: Entry, connection: Connection, *, name: str, table_prefix: str, manifest: SolutionRecord | None
) -> Iterator[None]:
    """Restore a registry entry when the `with` block fails and its transaction was rolled back.

    Args:
        entry: the solution's entry.
        connection: to the solution's database; the block makes its changes there, in one transaction.
        name: the solution's name.
        table_prefix: the solution's prefix of system tables.
        manifest: the solution's manifest before the change.
    """
    try:
        yield
    except BaseException:
        try:
            with transaction(connection):  # after a lost connection, only the manifest shows whether it was committed
                current = Manifest.read(connection, table_prefix, name)
                rolled_back = comparable_content(current) == comparable_content(manifest)
            if rolled_back:
                entry.restore(name)
        except FBSError as exc:
            _log.warning("the solution %s may remain inactive in the registry: %s", name, exc.message)
        raise


@contextmanager
def locked_connection(database: DatabaseConfig, name: str, *, action: str, progress: Progress) -> Iterator[Connection]:
    """Yield a connection to a solution's database that holds the solution's advisory lock.

    Args:
        database: the solution's database, its password decrypted.
        name: the solution's name.
        action: the job's action; shown to other jobs that wait for the lock.
        progress: receives the holder of the lock while this job waits; may cancel the wait.
    """
    with (
        closing(connect(database, application_name=f"fbs-worker {action} {name}")) as connection,
        solution_lock(
            connection,
            name,
            on_wait=lambda holder: progress.step("wait", message=f"waiting for {holder}"),
            check_cancelled=lambda: progress.advance(0),
        ),
    ):
        yield connection


def check_same_solution(
    entry: SolutionRecord | None, record: SolutionRecord, *, manifest: SolutionRecord | None
) -> None:
    """Check that a name still refers to the same solution; the tables of another one would be orphaned.

    Args:
        entry: the stored solution of this name; None without one.
        record: the requested solution.
        manifest: the manifest in the requested database. A server can have several addresses: host and port may differ
            from the entry's as long as the manifest exists.

    Raises:
        SolutionConflict: the name refers to another solution.
    """
    if entry is None:
        return
    differing = [name for name in _IDENTITY if getattr(entry, name) != getattr(record, name)]
    if entry.database.name != record.database.name:
        differing.append("database_name")
    elif manifest is None and (entry.database.host, entry.database.port) != (
        record.database.host,
        record.database.port,
    ):
        differing.append("database_host")
    if differing:
        raise SolutionConflict(
            f"The solution {record.solution_name!r} already exists with another {', '.join(differing)}.",
            hint=f"Choose another solution name, or drop the existing one first: fbs drop {record.solution_name}",
            solution=entry.redacted(),
        )


def check_no_shared_tables(
    connection: Connection, record: SolutionRecord, names: Collection[str], others: Sequence[SolutionRecord]
) -> None:
    """Check that no other solution owns a table of the given names.

    Args:
        connection: to the solution's database, in a transaction.
        record: the solution.
        names: tables that the solution owns or will own.
        others: the registry's entries of other solutions.

    Raises:
        SolutionConflict: another solution owns one of the tables.
    """
    known = {other.solution_name: other for other in others if _server(other) == _server(record)}
    for other in Manifest.others(connection, record.table_prefix, record.solution_name):
        known[other.solution_name] = other
    shared = {name: sorted(set(names) & other.owned) for name, other in known.items() if set(names) & other.owned}
    if shared:
        listed = "; ".join(f"{', '.join(tables)} of {name!r}" for name, tables in sorted(shared.items()))
        raise SolutionConflict(
            f"Tables would be shared with another solution: {listed}.",
            hint="Give this solution its own --business-prefix.",
            shared=shared,
        )


def comparable_content(record: SolutionRecord | None) -> object:
    """Return what a set-up determines of a record: neither `is_active` nor `last_refresh` and `schedule`."""
    if record is None:
        return None
    definition = {key: value for key, value in record.schema_definition.items() if key not in _VOLATILE}
    return (record.domain, record.table_prefix, record.business_prefix, record.database, definition)


def find_solution(home: Home, name: str) -> SolutionRecord:
    """Return a solution's registry entry.

    Raises:
        SolutionNotFound: the registry has no such solution.
    """
    with home.registry() as registry:
        return registry.get(name)


def read_manifest(connection: Connection, entry: SolutionRecord) -> SolutionRecord:
    """Return a solution's manifest, read in its own transaction.

    Args:
        connection: to the solution's database, outside of a transaction.
        entry: the solution's registry entry.

    Raises:
        SolutionNotFound: the database has no manifest of the solution.
        DatabaseError: the manifest is damaged, or a statement failed.
        DatabaseUnreachable: the connection was lost.
    """
    with transaction(connection):
        manifest = Manifest.read(connection, entry.table_prefix, entry.solution_name)
    if manifest is None:
        raise SolutionNotFound(
            f"The database {entry.database.name!r} does not hold the solution {entry.solution_name!r}.",
            hint="Run `fbs setup` again: the set-up was not completed, or the tables were removed.",
        )
    return manifest


def _server(record: SolutionRecord) -> tuple[str, int, str]:
    database = record.database
    return database.host, database.port, database.name
