"""New keys for old: seal every stored password anew with the first of FBS_SECRET_KEYS.

    1. Put a new key before the others (`fbs new-key`), everywhere, and restart the workers.
    2. `fbs rotate-keys`
    3. Once it says that nothing is left, and no job that was enqueued before waits, take the old keys away.

Each database is a transaction of its own, and what has been sealed with the first key already is left alone: however
often it is run, and wherever it was cut off, it ends the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from psycopg2 import sql

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, SecretError
from fbs_worker.core.fanout import bounded_connection, fan_out
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import ENCRYPTED, Vault
from fbs_worker.schema.system_tables import table_exists
from fbs_worker.solutions.records import OWN_MARK, table_name
from fbs_worker.solutions.registry import AddressBook, DamagedRow, SolutionRecord, home_database

_CONNECT_SECONDS: Final = 5
_SECONDS: Final = 30.0
"""How long one database may take; it is a row or a few."""


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What became of rows.

    Attributes:
        resealed: sealed anew.
        current: sealed with the first key already.
        references: a reference, or no password.
        unopened: left as they were: no key opens them, or they are plain.
        own: the solutions whose own rows were among them.
    """

    resealed: int = 0
    current: int = 0
    references: int = 0
    unopened: list[dict[str, str]] = field(default_factory=list)
    own: set[str] = field(default_factory=set)

    def add(self, other: _Tally) -> None:
        """Count another's rows, too."""
        self.resealed += other.resealed
        self.current += other.current
        self.references += other.references
        self.unopened += other.unopened
        self.own |= other.own


def rotate_keys(settings: Settings) -> dict[str, Any]:
    """Seal every password anew: those of the address book, and that of each solution's own row.

    Args:
        settings: the home database and the keys, the new one first; after `effective_settings`.

    Returns:
        JSON-ready, without a secret: how many rows were `resealed`, are `current`, or hold `references`; `unopened`
        (rows left as they were: `solution`, `database`, `reason`, `hint`), `unreachable` (solutions whose own rows
        could not be looked at: the same four) and `complete`: whether nothing needs an older key any more.

    Raises:
        SecretError: no key is set, or one is not a key.
        SettingsError: no home database is set.
        DatabaseError, DatabaseUnreachable: of the home database.
    """
    keys = [key for key in settings.fbs_secret_keys.get_secret_value().split(",") if key.strip()]
    ring = _Ring(vault=Vault(keys), newest=Vault(keys[:1]))
    ring.newest.encrypt("")  # says so where no key is set
    home = home_database(settings).resolved(ring.vault, allow_plain=True)
    with _opened(home) as connection:
        entries = AddressBook(connection, table_prefix=settings.fbs_table_prefix, vault=ring.vault).entries()
        tally = _reseal(connection, home, settings.fbs_table_prefix, None, ring)
    elsewhere = [entry for entry in entries if entry.solution_name not in tally.own]
    unreachable = _own_rows(elsewhere, ring, tally)
    return {
        "resealed": tally.resealed,
        "current": tally.current,
        "references": tally.references,
        "unopened": sorted(tally.unopened, key=_by_solution),
        "unreachable": sorted(unreachable, key=_by_solution),
        "complete": not (tally.unopened or unreachable),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ring:
    """The keys: all of them, and the first alone."""

    vault: Vault
    newest: Vault

    def seals(self, text: str) -> bool:
        """Whether the first key has sealed this."""
        try:
            self.newest.resolve(text)
        except SecretError:
            return False
        return True


def _opened(database: DatabaseConfig) -> AbstractContextManager[Connection]:
    return bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_SECONDS, read_only=False)


def _own_rows(entries: Sequence[SolutionRecord | DamagedRow], ring: _Ring, tally: _Tally) -> list[dict[str, str]]:
    """Seal own rows anew, several databases at once; tells those that could not be reached."""
    together: dict[DatabaseConfig, list[SolutionRecord]] = {}
    unreachable = []
    for entry in entries:
        if isinstance(entry, DamagedRow):
            unreachable.append(_trouble(entry.solution_name, "", entry.error))
            continue
        try:
            together.setdefault(entry.database.resolved(ring.vault), []).append(entry)
        except SecretError as exc:
            unreachable.append(_trouble(entry.solution_name, entry.database.address(), exc))
    asks: list[tuple[Hashable, Callable[[], _Tally | FBSError]]] = [
        ((database.host, database.port), partial(_own_rows_in, database, records, ring))
        for database, records in together.items()
    ]
    for (database, records), outcome in zip(together.items(), fan_out(asks), strict=True):
        if isinstance(outcome, _Tally):
            tally.add(outcome)
        elif outcome is not None:
            unreachable += [_trouble(record.solution_name, database.address(), outcome) for record in records]
    return unreachable


def _own_rows_in(database: DatabaseConfig, records: Sequence[SolutionRecord], ring: _Ring) -> _Tally | FBSError:
    tally = _Tally()
    try:
        with _opened(database) as connection:
            for prefix in sorted({record.table_prefix for record in records}):
                names = [record.solution_name for record in records if record.table_prefix == prefix]
                tally.add(_reseal(connection, database, prefix, names, ring))
    except FBSError as exc:
        return exc
    return tally


def _reseal(
    connection: Connection, database: DatabaseConfig, prefix: str, names: Sequence[str] | None, ring: _Ring
) -> _Tally:
    """Seal the rows of a table anew, in one transaction: all of them, or the own rows of some solutions."""
    tally = _Tally()
    table = sql.Identifier(table_name(prefix))
    with errors_translated(connection), connection, connection.cursor() as cursor:
        if not table_exists(connection, table_name(prefix)):
            return tally
        cursor.execute(
            sql.SQL(
                "SELECT id, solution_name, database_password, coalesce(schema_definition @> %(mark)s, FALSE) FROM {}"
                " WHERE %(names)s::text[] IS NULL"
                " OR (solution_name = ANY(%(names)s) AND schema_definition @> %(mark)s) ORDER BY id FOR UPDATE"
            ).format(table),
            {"names": names, "mark": OWN_MARK},
        )
        for number, name, password, own in cursor.fetchall():
            if own:
                tally.own.add(name)
            if not password or (Vault.is_reference(password) and not password.startswith(ENCRYPTED)):
                tally.references += 1
            elif ring.seals(password):
                tally.current += 1
            else:
                try:
                    fresh = ring.vault.reencrypt(password)
                except SecretError as exc:
                    tally.unopened.append(_trouble(name, database.address(), exc))
                    continue
                cursor.execute(
                    sql.SQL(
                        "UPDATE {} SET database_password = %s, updated_at = NOW() AT TIME ZONE 'UTC' WHERE id = %s"
                    ).format(table),
                    (fresh, number),
                )
                tally.resealed += 1
    return tally


def _trouble(solution: str, database: str, error: FBSError) -> dict[str, str]:
    return {"solution": solution, "database": database, "reason": error.message, "hint": error.hint}


def _by_solution(told: dict[str, str]) -> tuple[str, str]:
    return told["solution"], told["database"]
