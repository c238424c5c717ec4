"""The catalogue: `fbs_discoveries` in a database. Saves a snapshot, reads it, says what changed.

A snapshot is saved in one transaction. It is streamed into a temporary table by COPY first (reading Odoo may take
long, and no lock is held meanwhile), then compared and written by set-based statements under an advisory lock on
table prefix and domain. Only what changed comes back to this process, in portions, to be compared by `versions`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue import sql as statements
from fbs_worker.catalogue.copy_rows import MAX_DOMAIN, RowStream, to_json
from fbs_worker.catalogue.model import ChangeReport, DiscoveryType, Section, SectionStatus, Snapshot
from fbs_worker.catalogue.writer import active_counts, compare_and_write
from fbs_worker.core.advisory_locks import TRANSACTION_LOCK, TRANSACTION_SETTINGS
from fbs_worker.core.errors import SolutionConflict, UsageError
from fbs_worker.core.identifiers import DEFAULT_TABLE_PREFIX, check_prefix
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.schema.system_tables import ensure_tables, missing_tables, table_exists

LOCK_TIMEOUT: Final = 60.0
"""Seconds to wait for another session that saves the same domain."""

_READ_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """What is remembered of a read of Odoo.

    Attributes:
        domain: the business area.
        types: the discovery types that it covered.
        source: the Odoo that was read.
        fingerprint: what the next refresh compares with; None where the rights allowed none.
        sections: how each part of the read ended.
        taken_at: when Odoo was last read so, in UTC.
    """

    domain: str
    types: frozenset[DiscoveryType]
    source: Mapping[str, str]
    fingerprint: Mapping[str, Any] | None
    sections: Sequence[Section]
    taken_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDiscovery:
    """A row of `fbs_discoveries`; times as PostgreSQL keeps them, without a zone."""

    id: int
    discovery_type: DiscoveryType
    domain: str
    name: str
    version: str
    metadata: Mapping[str, Any]
    schema_definition: Mapping[str, Any] | None
    is_active: bool
    created_at: datetime
    updated_at: datetime
    discovered_at: datetime


class Catalogue:
    """The discoveries in one database under one table prefix.

    Each method is a transaction of its own on the connection; one that is open is committed with it.

    Args:
        connection: from `database.connect`; the caller closes it.
        table_prefix: the solution's.
        lock_timeout: seconds to wait for a lock of another session.

    Raises:
        UsageError: that is not a valid prefix.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        table_prefix: str = DEFAULT_TABLE_PREFIX,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        try:
            self._prefix = check_prefix(table_prefix)
        except ValueError as exc:
            raise UsageError(f"table_prefix is not valid: {exc}.", hint="Correct --table-prefix.") from None
        self._connection = connection
        self._lock_timeout = lock_timeout

    def last_snapshot(self, domain: str, *, types: Collection[DiscoveryType] = frozenset()) -> SnapshotRecord | None:
        """The newest read of a domain; None where there is none, or no tables yet. Creates nothing.

        Args:
            domain: the business area.
            types: discovery types that it must have covered.

        Raises:
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        with self._transaction() as cursor:
            if not table_exists(self._connection, f"{self._prefix}snapshots"):
                return None
            given = {"domain": domain, "types": _types_json(types)}
            self._execute(cursor, statements.LAST_SNAPSHOT, given)
            row = cursor.fetchone()
        return _snapshot_record(row) if row else None

    def save(
        self,
        snapshot: Snapshot,
        *,
        progress: Progress | None = None,
        odoo_moved: bool = False,
        within: Callable[[Cursor, ChangeReport], None] | None = None,
    ) -> ChangeReport:
        """Save a snapshot in one transaction: all of it, or nothing.

        Args:
            snapshot: is iterated once, while its rows stream into the database.
            progress: receives the steps `compare` and `save`; when it raises JobCancelled, nothing is saved.
            odoo_moved: what is kept was read from this same Odoo, under another address or database name.
            within: called in the same transaction once everything is written; when it raises, nothing is saved.

        Returns:
            What changed, sorted by type and name.

        Raises:
            UsageError: the domain's name is too long.
            SolutionConflict: what is kept was read from another Odoo.
            ForeignTableError: a table of one of our names is there, and is not ours.
            DatabaseRightsMissing: the user may not create or write the tables.
            DatabaseBusy: another session saves the same domain for longer than the lock time-out.
            DatabaseError, DatabaseUnreachable: as their names say.
            FBSError: whatever reading the snapshot, or `within`, raises.
        """
        progress = progress or NullProgress()
        if len(snapshot.domain) > MAX_DOMAIN:
            raise UsageError(
                f"The domain's name has {len(snapshot.domain)} characters, {MAX_DOMAIN} are possible.",
                hint="Give the domain a shorter name.",
            )
        with self._transaction() as cursor:
            cursor.execute(TRANSACTION_SETTINGS, (f"{round(self._lock_timeout * 1000)}ms",))
            # what cannot work fails before the long read
            if not missing_tables(self._connection, self._prefix) and not odoo_moved:
                self._check_source(cursor, snapshot)
            stream = self._receive(cursor, snapshot)
            progress.step("compare", total=stream.rows)
            ensure_tables(self._connection, self._prefix)
            cursor.execute(TRANSACTION_LOCK, (f"fbs:catalogue:{self._prefix}:{snapshot.domain}",))
            if not odoo_moved:
                self._check_source(cursor, snapshot)  # somebody may have saved meanwhile
            report = compare_and_write(cursor, self._prefix, snapshot, stream, progress)
            self._remember(cursor, snapshot, report)
            if within is not None:
                within(cursor, report)
        return report

    def unchanged_report(
        self, domain: str, *, sections: Sequence[Section] = (), types: Collection[DiscoveryType] = tuple(DiscoveryType)
    ) -> ChangeReport:
        """The report of a refresh whose fingerprint said that there was nothing to read. Writes nothing.

        Args:
            domain: the business area.
            sections: how each part of the last read ended.
            types: the discovery types that were asked for.

        Raises:
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        counts: dict[str, int] = {}
        with self._transaction() as cursor:
            if table_exists(self._connection, f"{self._prefix}discoveries"):
                counts = active_counts(cursor, self._prefix, domain)
        unchanged = sum(counts.get(kind, 0) for kind in types)
        return ChangeReport(domain=domain, unchanged=unchanged, counts=counts, sections=tuple(sections), read=False)

    def discoveries(
        self,
        *,
        domain: str | None = None,
        discovery_type: DiscoveryType | None = None,
        active: bool | None = True,
        after: int = 0,
        limit: int | None = None,
    ) -> Iterator[StoredDiscovery]:
        """The catalogue's rows in the order of their ids, read in portions.

        Args:
            domain: only of this business area.
            discovery_type: only of this type.
            active: only active (True) or inactive (False) ones; None for both.
            after: only rows whose id is above this one.
            limit: at most so many rows.

        Raises:
            DatabaseError, DatabaseUnreachable: as their names say.
        """
        left = limit
        while left is None or left > 0:
            portion = _READ_ROWS if left is None else min(left, _READ_ROWS)
            given = {"domain": domain, "type": discovery_type, "active": active, "after": after, "limit": portion}
            with self._transaction() as cursor:
                if not table_exists(self._connection, f"{self._prefix}discoveries"):
                    return
                self._execute(cursor, statements.READ, given)
                rows = cursor.fetchall()
            yield from map(_stored_discovery, rows)
            if len(rows) < portion:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with errors_translated(self._connection), self._connection, closing(self._connection.cursor()) as cursor:
            yield cursor

    def _execute(self, cursor: Cursor, statement: sql.SQL, given: Mapping[str, Any]) -> None:
        cursor.execute(statements.prepare(statement, self._prefix), given)

    def _check_source(self, cursor: Cursor, snapshot: Snapshot) -> None:
        """Two Odoos in one catalogue would take each other's things away at every save."""
        self._execute(cursor, statements.LAST_SNAPSHOT, {"domain": snapshot.domain, "types": _types_json(())})
        row = cursor.fetchone()
        if row is None:
            return
        known, given = _odoo(_snapshot_record(row).source), _odoo(snapshot.source)
        if known != given:
            raise SolutionConflict(
                f"The catalogue of {snapshot.domain!r} in {self._prefix}discoveries is of {known}, not of {given}.",
                hint="Give this one a table prefix of its own (--table-prefix); if that Odoo has moved: --odoo-moved.",
            )

    def _receive(self, cursor: Cursor, snapshot: Snapshot) -> RowStream:
        cursor.execute(statements.CREATE_INCOMING)
        stream = RowStream(snapshot, domain=snapshot.domain, types=snapshot.types)
        try:
            cursor.copy_expert(statements.COPY_INCOMING, stream)
        finally:
            # what went wrong in the stream, not what PostgreSQL makes of a stream that breaks off
            stream.raise_error()
        return stream

    def _remember(self, cursor: Cursor, snapshot: Snapshot, report: ChangeReport) -> None:
        """One row per read that changed something; one that did not moves the last one's time and fingerprint."""
        fingerprint = snapshot.fingerprint
        given = {
            "domain": snapshot.domain,
            "source": _text(snapshot.source),
            "types": _types_json(snapshot.types),
            "fingerprint": None if fingerprint is None else _text(fingerprint),
            "sections": _text([section.to_dict() for section in snapshot.sections]),
        }
        if report.nothing_changed:
            self._execute(cursor, statements.SNAPSHOT_OF_TYPES, given)
            found = cursor.fetchone()
            if found:
                self._execute(cursor, statements.TOUCH_SNAPSHOT, {**given, "id": found[0]})
                return
        self._execute(cursor, statements.INSERT_SNAPSHOT, {**given, "changes": _text(report.to_dict())})


def model_definitions(
    cursor: Cursor, table_prefix: str, domain: str, models: Collection[str]
) -> dict[str, dict[str, Any]]:
    """The `schema_definition` of some active models; those that the catalogue does not have are left out.

    Args:
        cursor: in a transaction of the caller's.
        table_prefix: the solution's.
        domain: the business area.
        models: names, e.g. `sale.order`.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with errors_translated(cursor.connection):
        if not models or not table_exists(cursor.connection, f"{table_prefix}discoveries"):
            return {}
        given = {"domain": domain, "names": sorted(models)}
        cursor.execute(statements.prepare(statements.MODEL_DEFINITIONS, table_prefix), given)
        return {name: orjson.loads(definition or "{}") for name, definition in cursor.fetchall()}


def has_models(cursor: Cursor, table_prefix: str, domain: str) -> bool:
    """Whether the catalogue knows any active model of a domain; arguments as for `model_definitions`.

    Raises:
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with errors_translated(cursor.connection):
        if not table_exists(cursor.connection, f"{table_prefix}discoveries"):
            return False
        return bool(active_counts(cursor, table_prefix, domain).get(DiscoveryType.MODEL))


def _odoo(source: Mapping[str, str]) -> str:
    """Which Odoo it is: its series may change, it stays the same one."""
    return f"{source.get('url', '')} (database {source.get('database', '')})"


def _types_json(types: Collection[DiscoveryType]) -> str:
    return _text(sorted(types))


def _text(value: Any) -> str:
    return to_json(value).decode()


def _snapshot_record(row: tuple[Any, ...]) -> SnapshotRecord:
    domain, types, source, fingerprint, sections, taken_at = row
    return SnapshotRecord(
        domain=domain,
        types=frozenset(map(DiscoveryType, types)),
        source=orjson.loads(source),
        fingerprint=None if fingerprint is None else orjson.loads(fingerprint),
        sections=tuple(
            Section(**{**section, "status": SectionStatus(section["status"])}) for section in orjson.loads(sections)
        ),
        taken_at=taken_at.replace(tzinfo=UTC),
    )


def _stored_discovery(row: tuple[Any, ...]) -> StoredDiscovery:
    number, kind, domain, name, version, metadata, schema, is_active, created_at, updated_at, discovered_at = row
    return StoredDiscovery(
        id=number,
        discovery_type=DiscoveryType(kind),
        domain=domain,
        name=name,
        version=version,
        metadata=orjson.loads(metadata or "{}"),
        schema_definition=None if schema is None else orjson.loads(schema),
        is_active=is_active,
        created_at=created_at,
        updated_at=updated_at,
        discovered_at=discovered_at,
    )
