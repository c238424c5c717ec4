"""Key rotation: re-encrypt every stored password and secret of Odoo with the first of FBS_SECRET_KEYS.

    1. Put a new key (`fbs new-key`) first in FBS_SECRET_KEYS on every machine, and restart the workers.
    2. Run `fbs rotate-keys`.
    3. When it reports that it is complete, and no job that was enqueued before step 1 is waiting, remove the old keys.

The rotation is idempotent: each database is one transaction, and passwords that are already
encrypted with the first key are not written again. Run it again after an interruption.
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
from fbs_worker.solutions.odoo_connections import SECRETS, connections_table
from fbs_worker.solutions.registry import MANIFEST_MARK, DamagedRow, Registry, SolutionRecord, home_database, table_name

_CONNECT_SECONDS: Final = 5
_SECONDS: Final = 30.0
"""Timeout per database; a database has few rows to write."""


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Counts of rows.

    Attributes:
        resealed: re-encrypted.
        current: encrypted with the first key before the rotation.
        references: rows with a reference or without a password.
        unopened: rows left unchanged, because no key decrypts the password or it is plain.
        manifests: the solutions whose manifests were among the rows.
    """

    resealed: int = 0
    current: int = 0
    references: int = 0
    unopened: list[dict[str, str]] = field(default_factory=list)
    manifests: set[str] = field(default_factory=set)

    def add(self, other: _Tally) -> None:
        self.resealed += other.resealed
        self.current += other.current
        self.references += other.references
        self.unopened += other.unopened
        self.manifests |= other.manifests


def rotate_keys(settings: Settings) -> dict[str, Any]:
    """Re-encrypt every password in the registry and in each solution's manifest, and the connections to Odoo.

    Args:
        settings: the home database and the keys, the new key first; the result of `effective_settings`.

    Returns:
        JSON-ready, without secrets. The numbers of secrets that were `resealed`, are `current`, or are `references`;
        `unopened` (unchanged rows: `solution`, or `odoo` with the name of a connection, `database`, `reason`, `hint`),
        `unreachable` (solutions whose manifests could not be read, with the same four fields) and `complete` (whether
        the older keys are no longer needed).

    Raises:
        SecretError: no key is set, or a key is not valid.
        SettingsError: no home database is set.
        DatabaseError: a statement failed in the home database.
        DatabaseUnreachable: the home database does not answer.
    """
    keys = [key for key in settings.fbs_secret_keys.get_secret_value().split(",") if key.strip()]
    ring = _Ring(vault=Vault(keys), newest=Vault(keys[:1]))
    ring.newest.encrypt("")  # raises SecretError if no key is set
    home = home_database(settings).resolved(ring.vault, allow_plain=True)
    with _opened(home) as connection:
        entries = Registry(connection, table_prefix=settings.fbs_table_prefix, vault=ring.vault).entries()
        tally = _reseal(connection, home, settings.fbs_table_prefix, None, ring)
        tally.add(_reseal_odoo(connection, home, settings.fbs_table_prefix, ring))
    remaining = [entry for entry in entries if entry.solution_name not in tally.manifests]
    unreachable = _reseal_manifests(remaining, ring, tally)
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
    """A vault with all keys, and one with the first key only."""

    vault: Vault
    newest: Vault

    def is_current(self, text: str) -> bool:
        try:
            self.newest.resolve(text)
        except SecretError:
            return False
        return True


def _opened(database: DatabaseConfig) -> AbstractContextManager[Connection]:
    return bounded_connection(database, connect_seconds=_CONNECT_SECONDS, seconds=_SECONDS, read_only=False)


def _reseal_manifests(
    entries: Sequence[SolutionRecord | DamagedRow], ring: _Ring, tally: _Tally
) -> list[dict[str, str]]:
    """Re-encrypt manifests, several databases at a time; return the unreachable ones."""
    by_database: dict[DatabaseConfig, list[SolutionRecord]] = {}
    unreachable = []
    for entry in entries:
        if isinstance(entry, DamagedRow):
            unreachable.append(_problem(entry.solution_name, "", entry.error))
            continue
        try:
            by_database.setdefault(entry.database.resolved(ring.vault), []).append(entry)
        except SecretError as exc:
            unreachable.append(_problem(entry.solution_name, entry.database.address(), exc))
    calls: list[tuple[Hashable, Callable[[], _Tally | FBSError]]] = [
        ((database.host, database.port), partial(_reseal_database, database, records, ring))
        for database, records in by_database.items()
    ]
    for (database, records), outcome in zip(by_database.items(), fan_out(calls), strict=True):
        if isinstance(outcome, _Tally):
            tally.add(outcome)
        elif outcome is not None:
            unreachable += [_problem(record.solution_name, database.address(), outcome) for record in records]
    return unreachable


def _reseal_database(database: DatabaseConfig, records: Sequence[SolutionRecord], ring: _Ring) -> _Tally | FBSError:
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
    """Re-encrypt rows of a table in one transaction: all rows, or the manifests of the named solutions."""
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
            {"names": names, "mark": MANIFEST_MARK},
        )
        for row_id, name, password, is_manifest in cursor.fetchall():
            if is_manifest:
                tally.manifests.add(name)
            resealed = _resealed(password, ring, tally, _problem(name, database.address()))
            if resealed:
                cursor.execute(
                    sql.SQL(
                        "UPDATE {} SET database_password = %s, updated_at = NOW() AT TIME ZONE 'UTC' WHERE id = %s"
                    ).format(table),
                    (resealed, row_id),
                )
    return tally


def _reseal_odoo(connection: Connection, home: DatabaseConfig, prefix: str, ring: _Ring) -> _Tally:
    """Re-encrypt the connections to Odoo of the home database, in one transaction."""
    tally, table = _Tally(), connections_table(prefix)
    with errors_translated(connection), connection, connection.cursor() as cursor:
        if not table_exists(connection, table):
            return tally
        columns = sql.SQL(", ").join(map(sql.Identifier, SECRETS))
        names = {"table": sql.Identifier(table), "columns": columns}
        cursor.execute(sql.SQL("SELECT name, {columns} FROM {table} ORDER BY id FOR UPDATE").format(**names))
        for name, secret, headers in cursor.fetchall():
            problem = {"odoo": name, **_problem("", home.address())}
            resealed = [_resealed(text, ring, tally, problem) if text else "" for text in (secret, headers)]
            if any(resealed):
                new = [after or before for after, before in zip(resealed, (secret, headers), strict=True)]
                statement = sql.SQL("UPDATE {table} SET ({columns}) = ROW(%s, %s) WHERE name = %s")
                cursor.execute(statement.format(**names), (*new, name))
    return tally


def _resealed(secret: str, ring: _Ring, tally: _Tally, problem: dict[str, str]) -> str:
    """Count a stored secret, and return it encrypted with the first key; empty if it stays as it is."""
    if not secret or (Vault.is_reference(secret) and not secret.startswith(ENCRYPTED)):
        tally.references += 1
    elif ring.is_current(secret):
        tally.current += 1
    else:
        try:
            resealed = ring.vault.reencrypt(secret)
        except SecretError as exc:
            tally.unopened.append({**problem, "reason": exc.message, "hint": exc.hint})
            return ""
        tally.resealed += 1
        return resealed
    return ""


def _problem(solution: str, database: str, error: FBSError | None = None) -> dict[str, str]:
    reason = {"reason": error.message, "hint": error.hint} if error is not None else {}
    return {"solution": solution, "database": database, **reason}


def _by_solution(problem: dict[str, str]) -> tuple[str, str, str]:
    return problem["solution"], problem["database"], problem.get("odoo", "")
