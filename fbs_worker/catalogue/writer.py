"""The part of a save that runs under the lock: from what was received to what changed.

The temporary tables and their columns are described in `catalogue_sql`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue import sql as statements
from fbs_worker.catalogue.copy_rows import RowStream, is_storable
from fbs_worker.catalogue.model import Change, ChangeReport, DiscoveryType, Skipped, Snapshot, incomplete_types
from fbs_worker.catalogue.versioning import compare, next_version
from fbs_worker.core.errors import DatabaseError
from fbs_worker.core.progress import Progress

_REPEATED: Final = "its name was there already; the first one counts"


def compare_and_write(
    cursor: Cursor, prefix: str, snapshot: Snapshot, stream: RowStream, progress: Progress
) -> ChangeReport:
    """Compare what was received with what is known, and write the difference.

    Args:
        cursor: in a transaction that has received the snapshot and holds the lock.
        prefix: of the tables.
        snapshot: the snapshot, its iteration ended.
        stream: what went into the temporary table, and what did not fit.
        progress: receives the steps `compare` (told by the caller) and `save`.

    Raises:
        JobCancelled: raised by the progress.
        psycopg2.Error: to be translated by the caller.
    """
    return _Save(cursor, prefix, snapshot, stream, progress).run()


def active_counts(cursor: Cursor, prefix: str, domain: str) -> dict[str, int]:
    """Active rows of a domain per discovery type.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute(statements.prepare(statements.COUNTS, prefix), {"domain": domain})
    return dict(sorted(cursor.fetchall()))


class _Pair(NamedTuple):
    """A thing that was read and differs from what is known of it: a row of DECLARE_CHANGED."""

    number: int
    discovery_type: str
    name: str
    version: str
    is_counted: bool
    known_version: str | None
    old_metadata: str | None
    old_schema: str | None
    new_metadata: str
    new_schema: str | None
    was_active: bool


class _Save:
    def __init__(self, cursor: Cursor, prefix: str, snapshot: Snapshot, stream: RowStream, progress: Progress) -> None:
        self._cursor = cursor
        self._prefix = prefix
        self._snapshot = snapshot
        self._progress = progress
        self._skipped = list(stream.skipped)
        self._things = stream.rows
        self._added: list[Change] = []
        self._changed: list[Change] = []

    def run(self) -> ChangeReport:
        domain, types = self._snapshot.domain, sorted(self._snapshot.types)
        self._do(statements.CREATE_VERDICT, {"domain": domain, "types": types})
        self._leave_out_repeated()
        self._number_versions()
        self._progress.step("save", total=len(self._added) + len(self._changed))
        self._do(statements.RETIRE, {"domain": domain})
        self._do(statements.UPDATE)
        self._do(statements.REVIVE)
        self._do(statements.INSERT, {"domain": domain})
        removed = self._vanish()
        return ChangeReport(
            domain=domain,
            added=_in_order(self._added),
            removed=_in_order(removed),
            changed=_in_order(self._changed),
            unchanged=self._things - len(self._added) - len(self._changed),
            skipped=tuple(sorted(self._skipped, key=lambda skip: (skip.discovery_type, skip.name, skip.reason))),
            counts=active_counts(self._cursor, self._prefix, domain),
            sections=tuple(self._snapshot.sections),
        )

    def _leave_out_repeated(self) -> None:
        self._do(statements.REPEATED)
        repeated = self._cursor.fetchall()
        self._things -= len(repeated)
        self._skipped += (
            Skipped(discovery_type=DiscoveryType(kind), name=name, reason=_REPEATED) for kind, name in repeated
        )

    def _number_versions(self) -> None:
        """Tell what is new, what is back and what differs, and give each row that differs its version."""
        self._do(statements.NEW)
        self._added += (
            Change(discovery_type=DiscoveryType(kind), name=name, version=version)
            for kind, name, version in self._cursor.fetchall()
        )
        self._do(statements.REVIVED)
        for kind, name, version, known_version, was_active in self._cursor.fetchall():
            change = Change(
                discovery_type=DiscoveryType(kind),
                name=name,
                version=version,
                previous_version=known_version,
                fields=("version",) if version != known_version else (),
            )
            (self._changed if was_active else self._added).append(change)
        numbers, versions = [], []
        for pair in self._differing():
            change = self._change(pair)
            (self._changed if pair.was_active else self._added).append(change)
            numbers.append(pair.number)
            versions.append(change.version)
        self._do(statements.NUMBER_VERSIONS, {"numbers": numbers, "versions": versions})

    def _change(self, pair: _Pair) -> Change:
        old = _state(pair.old_metadata, pair.old_schema)
        difference = compare(old, _state(pair.new_metadata, pair.new_schema))
        version, fields = pair.version, set(difference.fields)
        if pair.is_counted:
            version = self._next(pair, breaking=difference.breaking)
        elif version != pair.known_version:
            fields.add("version")
        return Change(
            discovery_type=DiscoveryType(pair.discovery_type),
            name=pair.name,
            version=version,
            previous_version=pair.known_version,
            # the same otherwise: nothing of it is hidden from the reader any more
            fields=tuple(sorted(fields)) or ("metadata.incomplete",),
            breaking=difference.breaking,
        )

    def _next(self, pair: _Pair, *, breaking: bool) -> str:
        try:
            return next_version(pair.known_version, breaking=breaking)
        except ValueError as exc:
            raise DatabaseError(
                f"The {pair.discovery_type} {pair.name!r} has a version that FBS did not write: {exc}.",
                hint=f"Correct or delete its rows in {self._prefix}discoveries.",
            ) from None

    def _differing(self) -> Iterator[_Pair]:
        """Pairs of what is known and what was read, fetched in portions: they may be many, and each large."""
        self._do(statements.DECLARE_CHANGED)
        while True:
            self._do(statements.FETCH_CHANGED)
            rows = self._cursor.fetchall()
            if not rows:
                break
            yield from map(_Pair._make, rows)
        self._do(statements.CLOSE_CHANGED)

    def _vanish(self) -> list[Change]:
        """Mark what Odoo no longer has, as far as this read can tell: what was skipped is there."""
        skipped = [skip for skip in self._skipped if is_storable(skip.name)]
        given = {
            "domain": self._snapshot.domain,
            "complete": sorted(self._snapshot.types - incomplete_types(self._snapshot.sections)),
            "skipped_types": [str(skip.discovery_type) for skip in skipped],
            "skipped_names": [skip.name for skip in skipped],
        }
        self._do(statements.VANISH, given)
        return [
            Change(
                discovery_type=DiscoveryType(kind), name=name, version=version, previous_version=version, breaking=True
            )
            for kind, name, version in self._cursor.fetchall()
        ]

    def _do(self, statement: sql.SQL | str, given: Mapping[str, Any] | None = None) -> None:
        self._cursor.execute(statements.prepare(statement, self._prefix), given)


def _in_order(changes: list[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda change: (change.discovery_type, change.name)))


def _state(metadata: str | None, schema_definition: str | None) -> dict[str, Any]:
    return {
        "metadata": orjson.loads(metadata or "{}"),
        "schema_definition": orjson.loads(schema_definition or "{}"),
    }
