"""The catalogue of one database (`fbs_discoveries`): save snapshots, read discoveries, report changes.

A save is one transaction. COPY first streams the snapshot into a temporary table (reading Odoo may take long, so no
lock is held), then set-based statements compare and write under an advisory lock on table prefix and domain. Only
changed rows are fetched, in portions, for `versioning` to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.copy_rows import MAX_DOMAIN, to_json
from fbs_worker.catalogue.model import ChangeReport, DiscoveryType, Section, SectionStatus, Snapshot
from fbs_worker.catalogue.statements import prepare
from fbs_worker.catalogue.writer import Comparison, active_counts, receive
from fbs_worker.core.advisory_locks import TRANSACTION_LOCK, TRANSACTION_SETTINGS
from fbs_worker.core.errors import SolutionConflict, UsageError
from fbs_worker.core.identifiers import DEFAULT_TABLE_PREFIX, check_prefix
from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.core.progress import NullProgress, Progress
from fbs_worker.schema.system_tables import ensure_tables, missing_tables, table_exists

LOCK_TIMEOUT: Final = 60.0
"""Seconds to wait for another session that saves the same domain."""

_LAST_SNAPSHOT: Final = """
SELECT domain, types, source, fingerprint, sections, taken_at FROM {snapshots}
WHERE domain = %(domain)s AND types @> %(types)s::jsonb
ORDER BY taken_at DESC, id DESC LIMIT 1
"""

_TOUCH_SNAPSHOT: Final = """
UPDATE {snapshots} SET source = %(source)s, fingerprint = %(fingerprint)s, sections = %(sections)s, taken_at = NOW()
WHERE id = (SELECT id FROM {snapshots} WHERE domain = %(domain)s AND types = %(types)s::jsonb
    ORDER BY taken_at DESC, id DESC LIMIT 1)
"""

_INSERT_SNAPSHOT: Final = """
INSERT INTO {snapshots} (domain, source, types, fingerprint, sections, changes)
VALUES (%(domain)s, %(source)s, %(types)s, %(fingerprint)s, %(sections)s, %(changes)s)
"""

_MODEL_DEFINITIONS: Final = """
SELECT name, schema_definition::text FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = 'model' AND is_active AND name = ANY(%(names)s) ORDER BY id
"""


_TRANSIENT_MODELS: Final = """
SELECT name FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = 'model' AND is_active AND name = ANY(%(names)s)
    AND metadata->>'transient' = 'true'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """A row of `<prefix>snapshots`: one read of Odoo.

    Attributes:
        domain: the business domain.
        types: the covered discovery types.
        source: the Odoo server.
        fingerprint: input of the next refresh's comparison; None where the user's rights allowed none.
        sections: outcome of each section.
        taken_at: time of the last read with this content, in UTC.
    """

    domain: str
    types: frozenset[DiscoveryType]
    source: Mapping[str, str]
    fingerprint: Mapping[str, Any] | None
    sections: Sequence[Section]
    taken_at: datetime


class Catalogue:
    """The discoveries of one database under one table prefix.

    Each method runs a transaction of its own on the connection; an open transaction is committed with it. Each raises
    DatabaseUnreachable where the server cannot be reached or closed the connection, and DatabaseError where PostgreSQL
    reports any other error.

    Args:
        connection: from `core.postgres.connect`; the caller closes it.
        table_prefix: the solution's table prefix.
        lock_timeout: seconds to wait for a lock of another session.

    Raises:
        UsageError: the table prefix is not valid.
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
        """Read the newest snapshot of a domain. Creates no tables.

        Args:
            domain: the business domain.
            types: discovery types that it must cover.

        Returns:
            The snapshot; None where the database has none, or no tables yet.
        """
        with self._transaction() as cursor:
            if not table_exists(self._connection, f"{self._prefix}snapshots"):
                return None
            return self._last(cursor, domain, types)

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
            snapshot: iterated once, while its rows stream into the database.
            progress: receives the steps `compare` and `save`; nothing is saved when it raises JobCancelled.
            odoo_moved: accept the snapshot of the same Odoo under another URL or database name.
            within: called in the same transaction after all writes; nothing is saved when it raises.

        Returns:
            The changes, sorted by type and name.

        Raises:
            UsageError: the domain's name is too long.
            SolutionConflict: the catalogue of the domain was read from another Odoo.
            ForeignTableError: a table of that name exists and was not created by FBS.
            DatabaseRightsMissing: the user may not create or write the tables.
            DatabaseBusy: another session saved the same domain for longer than the lock timeout.
            FBSError: reading the snapshot, or `within`, failed.
        """
        progress = progress or NullProgress()
        if len(snapshot.domain) > MAX_DOMAIN:
            raise UsageError(
                f"The domain's name has {len(snapshot.domain)} characters; at most {MAX_DOMAIN} fit.",
                hint="Use a shorter name for the domain.",
            )
        with self._transaction() as cursor:
            cursor.execute(TRANSACTION_SETTINGS, (f"{round(self._lock_timeout * 1000)}ms",))
            # fail on another Odoo before the long read
            if not missing_tables(self._connection, self._prefix) and not odoo_moved:
                self._check_source(cursor, snapshot)
            stream = receive(cursor, snapshot)
            progress.step("compare", total=stream.rows)
            ensure_tables(self._connection, self._prefix)
            cursor.execute(TRANSACTION_LOCK, (f"fbs:catalogue:{self._prefix}:{snapshot.domain}",))
            if not odoo_moved:
                self._check_source(cursor, snapshot)  # another session may have saved during the read
            report = Comparison(cursor, self._prefix, snapshot, stream, progress).write()
            self._record_snapshot(cursor, snapshot, report)
            if within is not None:
                within(cursor, report)
        return report

    def unchanged_report(
        self, domain: str, *, sections: Sequence[Section] = (), types: Collection[DiscoveryType] = tuple(DiscoveryType)
    ) -> ChangeReport:
        """Report a refresh that read nothing because the fingerprint was unchanged. Writes nothing.

        Args:
            domain: the business domain.
            sections: outcome of each section of the last read.
            types: the requested discovery types.

        Returns:
            A report with the current counts and `read` false.
        """
        counts: dict[str, int] = {}
        with self._transaction() as cursor:
            if table_exists(self._connection, f"{self._prefix}discoveries"):
                counts = active_counts(cursor, self._prefix, domain)
        unchanged = sum(counts.get(kind, 0) for kind in types)
        return ChangeReport(domain=domain, unchanged=unchanged, counts=counts, sections=tuple(sections), read=False)

    @contextmanager
    def _transaction(self) -> Iterator[Cursor]:
        with errors_translated(self._connection), self._connection, closing(self._connection.cursor()) as cursor:
            yield cursor

    def _execute(self, cursor: Cursor, statement: str, parameters: Mapping[str, Any]) -> None:
        cursor.execute(prepare(statement, self._prefix), parameters)

    def _last(
        self, cursor: Cursor, domain: str, types: Collection[DiscoveryType] = frozenset()
    ) -> SnapshotRecord | None:
        self._execute(cursor, _LAST_SNAPSHOT, {"domain": domain, "types": _types_json(types)})
        row = cursor.fetchone()
        if row is None:
            return None
        domain, covered, source, fingerprint, sections, taken_at = row
        return SnapshotRecord(
            domain=domain,
            types=frozenset(map(DiscoveryType, covered)),
            source=source,
            fingerprint=fingerprint,
            sections=tuple(Section(**{**section, "status": SectionStatus(section["status"])}) for section in sections),
            taken_at=taken_at.replace(tzinfo=UTC),
        )

    def _check_source(self, cursor: Cursor, snapshot: Snapshot) -> None:
        """Reject the snapshot of another Odoo: each save would deactivate the discoveries of the other one."""
        last = self._last(cursor, snapshot.domain)
        if last is None:
            return
        known, read = _odoo(last.source), _odoo(snapshot.source)
        if known != read:
            raise SolutionConflict(
                f"{self._prefix}discoveries has the catalogue of {snapshot.domain!r} of {known}, not of {read}.",
                hint="Use another table prefix (--table-prefix); if that Odoo has moved, pass --odoo-moved.",
            )

    def _record_snapshot(self, cursor: Cursor, snapshot: Snapshot, report: ChangeReport) -> None:
        """Insert a row per snapshot with changes; without changes, update time and fingerprint of the last one."""
        fingerprint = snapshot.fingerprint
        parameters = {
            "domain": snapshot.domain,
            "source": _text(snapshot.source),
            "types": _types_json(snapshot.types),
            "fingerprint": None if fingerprint is None else _text(fingerprint),
            "sections": _text([section.to_dict() for section in snapshot.sections]),
        }
        if report.nothing_changed:
            self._execute(cursor, _TOUCH_SNAPSHOT, parameters)
            if cursor.rowcount:
                return
        self._execute(cursor, _INSERT_SNAPSHOT, {**parameters, "changes": _text(report.to_dict())})


def model_definitions(
    cursor: Cursor, table_prefix: str, domain: str, models: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Read the `schema_definition` of active models.

    Args:
        cursor: a cursor in the caller's transaction.
        table_prefix: the solution's table prefix.
        domain: the business domain.
        models: model names, e.g. `sale.order`.

    Returns:
        Definition by name; models missing from the catalogue are left out.

    Raises:
        DatabaseUnreachable: the server cannot be reached or closed the connection.
        DatabaseError: PostgreSQL reports any other error.
    """
    with errors_translated(cursor.connection):
        if not models or not table_exists(cursor.connection, f"{table_prefix}discoveries"):
            return {}
        parameters = {"domain": domain, "names": sorted(models)}
        cursor.execute(prepare(_MODEL_DEFINITIONS, table_prefix), parameters)
        return {name: orjson.loads(definition or "{}") for name, definition in cursor.fetchall()}


def transient_models(cursor: Cursor, table_prefix: str, domain: str, models: Collection[str]) -> set[str]:
    """Which of some models are transient: those of dialogs. Arguments and errors as for `model_definitions`."""
    with errors_translated(cursor.connection):
        if not models or not table_exists(cursor.connection, f"{table_prefix}discoveries"):
            return set()
        cursor.execute(prepare(_TRANSIENT_MODELS, table_prefix), {"domain": domain, "names": sorted(models)})
        return {row[0] for row in cursor.fetchall()}


def has_models(cursor: Cursor, table_prefix: str, domain: str) -> bool:
    """Whether the catalogue has an active model of a domain; arguments as for `model_definitions`.

    Raises:
        DatabaseUnreachable: the server cannot be reached or closed the connection.
        DatabaseError: PostgreSQL reports any other error.
    """
    with errors_translated(cursor.connection):
        if not table_exists(cursor.connection, f"{table_prefix}discoveries"):
            return False
        return bool(active_counts(cursor, table_prefix, domain).get(DiscoveryType.MODEL))


def _odoo(source: Mapping[str, str]) -> str:
    """Identity of an Odoo: URL and database, not the series, which changes with an upgrade."""
    return f"{source.get('url', '')} (database {source.get('database', '')})"


def _types_json(types: Collection[DiscoveryType]) -> str:
    return _text(sorted(types))


def _text(value: Any) -> str:
    return to_json(value).decode()
