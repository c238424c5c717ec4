"""Which solutions exist, and where: the table `<prefix>solution_schemas`.

The home database keeps an address book with a row per solution; each target database keeps the solution's own row,
which says what FBS owns there. Where both are the same table, they are one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction, transaction_lock
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import SettingsError, SolutionNotFound, UsageError
from fbs_worker.core.identifiers import DEFAULT_TABLE_PREFIX, check_prefix
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from fbs_worker.schema.system_tables import ensure_tables, solution_schemas_table, table_exists
from fbs_worker.solutions.records import (
    LAST_REFRESH,
    SHAPE,
    DamagedRow,
    SolutionRecord,
    delete_row,
    read_row,
    read_rows,
    table_name,
    write_row,
)
from fbs_worker.solutions.schedule_column import write_schedule

__all__ = ["AddressBook", "DamagedRow", "OwnRow", "SolutionRecord", "home_database"]

_KNOWN_NAMES: Final = 20

_OWN_ALONE: Final = (LAST_REFRESH, SHAPE)
"""What only a solution's own row says."""


class AddressBook:
    """The solutions that the home database knows. Each method is a transaction of its own on the connection.

    Args:
        connection: to the home database; the caller closes it.
        table_prefix: the home database's (the settings'), whatever the solutions have.
        vault: seals passwords that were given plain.

    Raises:
        UsageError: that is not a valid prefix.
    """

    def __init__(self, connection: Connection, *, table_prefix: str = DEFAULT_TABLE_PREFIX, vault: Vault) -> None:
        try:
            self._table = table_name(check_prefix(table_prefix))
        except ValueError as exc:
            raise UsageError(f"table_prefix is not valid: {exc}.", hint="Correct FBS_TABLE_PREFIX.") from None
        self._prefix = table_prefix
        self._connection = connection
        self._vault = vault

    def ensure_table(self) -> bool:
        """Make the book's table where it is missing.

        Returns:
            Whether it was made.

        Raises:
            ForeignTableError: a table of that name is there, and is not ours.
            DatabaseRightsMissing: the user may not create it.
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with self._transaction():
            return ensure_tables(self._connection, self._prefix, (solution_schemas_table,))

    def get(self, name: str) -> SolutionRecord:
        """The solution of that name.

        Raises:
            SolutionNotFound: there is none; the hint lists the known ones.
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with self._transaction() as cursor:
            record = read_row(cursor, self._table, name)
            if record is None:
                raise SolutionNotFound(f"There is no solution {name!r}.", hint=_known(self._names(cursor)))
        return record

    def list(self) -> Sequence[SolutionRecord]:
        """All solutions in the order of their names.

        Raises:
            DatabaseError: also when a row was damaged.
            DatabaseUnreachable: as its name says.
        """
        records = []
        for entry in self.entries():
            if isinstance(entry, DamagedRow):
                raise entry.error
            records.append(entry)
        return records

    def entries(self) -> Sequence[SolutionRecord | DamagedRow]:
        """All rows in the order of their names, those that cannot be read among them.

        Raises:
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with self._transaction() as cursor:
            return read_rows(cursor, self._table)

    def put(self, record: SolutionRecord, *, unless: Callable[[SolutionRecord | None], None] | None = None) -> bool:
        """Write a solution's entry; what is so already is not written again.

        Its last refresh, and what FBS made, is not the book's to know. Where book and own row are one row, what is
        owned stays as it is.

        Args:
            record: the solution; a plain password is sealed.
            unless: is given the entry that is there, which cannot change meanwhile, and raises to keep it.

        Returns:
            Whether anything was written.

        Raises:
            SolutionConflict: a solution of that name is set up with another domain, database name or prefix.
            SecretError: the password cannot be sealed, or is too long then.
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        told = {key: value for key, value in record.schema_definition.items() if key not in _OWN_ALONE}
        with transaction(self._connection) as cursor:
            ensure_tables(self._connection, self._prefix, (solution_schemas_table,))
            if unless is not None:
                transaction_lock(self._connection, f"book:{record.solution_name}")
                unless(read_row(cursor, self._table, record.solution_name))
            return write_row(cursor, self._table, replace(record, schema_definition=told), self._vault, own=False)

    def put_schedule(self, name: str, schedule: Mapping[str, str] | None) -> bool:
        """Write a solution's schedule into its entry.

        Args:
            name: the solution's.
            schedule: `Schedule.to_dict`; None to end it.

        Returns:
            Whether there is an entry.

        Raises:
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with self._transaction() as cursor:
            return write_schedule(cursor, self._table, name, schedule)

    def remove(self, name: str) -> bool:
        """Take a solution's entry away.

        Returns:
            Whether there was one.

        Raises:
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with self._transaction() as cursor:
            return delete_row(cursor, self._table, name)

    def _names(self, cursor: Cursor) -> Sequence[str]:
        if not table_exists(self._connection, self._table):
            return []
        cursor.execute(
            sql.SQL("SELECT solution_name FROM {} ORDER BY 1 LIMIT %s").format(sql.Identifier(self._table)),
            (_KNOWN_NAMES + 1,),
        )
        return [name for (name,) in cursor.fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with errors_translated(self._connection), self._connection, self._connection.cursor() as cursor:
            yield cursor


class OwnRow:
    """A solution's own row, in the database that it lives in. Everything runs in the caller's transaction."""

    @staticmethod
    def read(connection: Connection, table_prefix: str, name: str) -> SolutionRecord | None:
        """The own row of a solution; None where there is none, or no table.

        Args:
            connection: to the target database.
            table_prefix: the solution's.
            name: the solution's.

        Raises:
            DatabaseError: also when the row was damaged.
            DatabaseUnreachable: as its name says.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            return read_row(cursor, table_name(table_prefix), name, own=True)

    @staticmethod
    def write(connection: Connection, record: SolutionRecord, vault: Vault) -> bool:
        """Write the own row of a solution, in the table of its prefix; what is so already is not written again.

        Args:
            connection: to the target database; the table is there.
            record: the solution, its `last_refresh` included; without one, that of the row stays.
            vault: seals a password that was given plain.

        Returns:
            Whether anything was written.

        Raises:
            SolutionConflict: a solution of that name is set up there with another domain or prefix.
            SecretError: the password cannot be sealed, or is too long then.
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            return write_row(cursor, table_name(record.table_prefix), record, vault, own=True)

    @staticmethod
    def put_schedule(connection: Connection, table_prefix: str, name: str, schedule: Mapping[str, str] | None) -> bool:
        """Write a solution's schedule into its own row; arguments as those of `read`.

        Args:
            connection: see `read`, and the same for the others.
            table_prefix: see `read`.
            name: see `read`.
            schedule: `Schedule.to_dict`; None to end it.

        Returns:
            Whether there is an own row.

        Raises:
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            return write_schedule(cursor, table_name(table_prefix), name, schedule, own=True)

    @staticmethod
    def delete(connection: Connection, table_prefix: str, name: str) -> bool:
        """Take the own row of a solution away; arguments as those of `read`.

        Returns:
            Whether there was one.

        Raises:
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            return delete_row(cursor, table_name(table_prefix), name, own=True)

    @staticmethod
    def others(connection: Connection, table_prefix: str, name: str = "") -> list[SolutionRecord]:
        """The own rows in a table, without `shape` and `last_refresh`: the solutions of that prefix in this database.

        Args:
            connection: to the target database.
            table_prefix: whose table.
            name: this solution is left out.

        Raises:
            DatabaseError: also when a row was damaged.
            DatabaseUnreachable: as its name says.
        """
        with errors_translated(connection), connection.cursor() as cursor:
            rows = read_rows(cursor, table_name(table_prefix), own=True, brief=True)
        found = []
        for row in rows:
            if isinstance(row, DamagedRow):
                raise row.error
            if row.solution_name != name:
                found.append(row)
        return found


def home_database(settings: Settings) -> DatabaseConfig:
    """The database that holds the address book.

    Args:
        settings: after `effective_settings`, so that a running `fbs up` counts.

    Raises:
        SettingsError: none is set, or the URL is not one.
    """
    hint = "Start one with `fbs up`, or set FBS_DATABASE_URL to postgresql://user:password@host:port/name."
    if not settings.fbs_database_url:
        raise SettingsError("No home database is set: it knows which solutions there are.", hint=hint)
    try:
        return DatabaseConfig.from_url(settings.fbs_database_url)
    except UsageError as exc:
        raise SettingsError(f"FBS_DATABASE_URL is not valid: {exc.message}", hint=hint) from None


def _known(names: Sequence[str]) -> str:
    if not names:
        return "None is set up yet: `fbs setup` makes one."
    more = ", …" if len(names) > _KNOWN_NAMES else ""
    return f"Known are: {', '.join(names[:_KNOWN_NAMES])}{more}."
