"""Save a snapshot: stream it into a temporary table, compare it with the catalogue, write the difference.

fbs_incoming     the discoveries that were read, one row each, by COPY
fbs_decisions    one row per discovery: the known row, and the action to take
                 keep    nothing          insert   a new row (a new discovery, or a new version)
                 update  change in place  revive   activate the inactive row, which is unchanged
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.copy_rows import RowStream, is_storable
from fbs_worker.catalogue.model import Change, ChangeReport, DiscoveryType, Skipped, Snapshot, incomplete_types
from fbs_worker.catalogue.statements import prepare
from fbs_worker.catalogue.versioning import compare, next_version
from fbs_worker.core.errors import DatabaseError
from fbs_worker.core.progress import Progress

_DUPLICATE: Final = "its name was there already; the first one counts"

# the statements of a save, in their order

_CREATE_INCOMING: Final = """
CREATE TEMPORARY TABLE fbs_incoming (
    number INTEGER NOT NULL, discovery_type TEXT NOT NULL, name TEXT NOT NULL, own_version TEXT,
    metadata JSONB NOT NULL, schema_definition JSONB
) ON COMMIT DROP
"""

_COPY_INCOMING: Final = "COPY pg_temp.fbs_incoming FROM STDIN (FORMAT binary)"

_CREATE_DECISIONS: Final = """
CREATE TEMPORARY TABLE fbs_decisions ON COMMIT DROP AS
WITH known AS (
    SELECT discovery_type, name, coalesce(max(id) FILTER (WHERE is_active), max(id)) AS id
    FROM {discoveries} WHERE domain = %(domain)s AND discovery_type = ANY(%(types)s)
    GROUP BY discovery_type, name
), compared AS (
    SELECT i.number, i.discovery_type, i.name, i.own_version,
        k.id AS known_id, b.id AS base_id, b.version AS base_version, b.is_active AS base_active,
        b.metadata - '{{source,incomplete}}'::text[] = i.metadata - '{{source,incomplete}}'::text[]
            AND b.schema_definition IS NOT DISTINCT FROM i.schema_definition AS same,
        coalesce(b.metadata -> 'incomplete', '[]') AS base_lacks,
        coalesce(i.metadata -> 'incomplete', '[]') AS lacks
    FROM pg_temp.fbs_incoming i
    LEFT JOIN known k ON k.discovery_type = i.discovery_type AND k.name = i.name
    LEFT JOIN {discoveries} t ON i.own_version IS NOT NULL AND t.discovery_type = i.discovery_type
        AND t.domain = %(domain)s AND t.name = i.name AND t.version = i.own_version
    LEFT JOIN {discoveries} b ON b.id = coalesce(t.id, k.id)
), decided AS (
    SELECT *, own_version IS NULL OR base_version = own_version AS in_place,
        NOT base_lacks @> lacks AS poorer,
        lacks @> base_lacks AS no_richer
    FROM compared
)
SELECT j.number, j.discovery_type, j.name, j.own_version, j.base_id, j.known_id,
    k.version AS known_version, k.is_active AS known_active,
    coalesce(j.own_version, j.base_version, '1.0') AS version,
    CASE
        WHEN j.base_id IS NULL THEN 'insert'
        WHEN j.poorer OR (j.same AND j.no_richer) THEN
            CASE
                WHEN j.in_place THEN CASE WHEN j.base_active THEN 'keep' ELSE 'revive' END
                WHEN j.poorer AND j.base_active THEN 'keep'
                ELSE 'insert'
            END
        WHEN j.in_place AND (j.same OR j.own_version IS NOT NULL) THEN 'update'
        ELSE 'insert'
    END AS action
FROM decided j LEFT JOIN {discoveries} k ON k.id = j.known_id
"""
"""`known` is the active row of a discovery, else its latest; `base` is the row to compare with: for a discovery with a
version of its own (a module) the row of that version, where one exists."""

_REPEATED: Final = """
DELETE FROM pg_temp.fbs_decisions v USING (
    SELECT discovery_type, name, min(number) AS first FROM pg_temp.fbs_decisions GROUP BY 1, 2 HAVING count(*) > 1
) r
WHERE v.discovery_type = r.discovery_type AND v.name = r.name AND v.number > r.first
RETURNING v.discovery_type, v.name
"""

_DECLARE_CHANGED: Final = """
DECLARE fbs_changed NO SCROLL CURSOR FOR
SELECT v.number, v.discovery_type, v.name, v.version, v.own_version IS NULL AND v.action = 'insert' AS is_counted,
    v.known_version, k.metadata::text, k.schema_definition::text, i.metadata::text, i.schema_definition::text,
    v.known_active
FROM pg_temp.fbs_decisions v
JOIN pg_temp.fbs_incoming i ON i.number = v.number
JOIN {discoveries} k ON k.id = v.known_id
WHERE v.action IN ('insert', 'update')
"""

_FETCH_CHANGED: Final = "FETCH 200 FROM fbs_changed"

_CLOSE_CHANGED: Final = "CLOSE fbs_changed"

_NUMBER_VERSIONS: Final = """
UPDATE pg_temp.fbs_decisions v SET version = n.version
FROM unnest(%(numbers)s::integer[], %(versions)s::text[]) AS n (number, version) WHERE v.number = n.number
"""

_NEW_AND_REVIVED: Final = """
SELECT discovery_type, name, version, known_version, known_active FROM pg_temp.fbs_decisions
WHERE action = 'revive' OR (action = 'insert' AND known_id IS NULL)
"""

_RETIRE: Final = """
UPDATE {discoveries} d SET is_active = FALSE, updated_at = NOW()
FROM pg_temp.fbs_decisions v
WHERE v.action <> 'keep' AND v.known_id IS NOT NULL AND d.is_active
    AND d.discovery_type = v.discovery_type AND d.domain = %(domain)s AND d.name = v.name
    AND (v.action = 'insert' OR d.id <> v.base_id)
"""

_UPDATE: Final = """
UPDATE {discoveries} d SET metadata = i.metadata, schema_definition = i.schema_definition,
    is_active = TRUE, updated_at = NOW(), discovered_at = NOW()
FROM pg_temp.fbs_decisions v JOIN pg_temp.fbs_incoming i ON i.number = v.number
WHERE v.action = 'update' AND d.id = v.base_id
"""

_REVIVE: Final = """
UPDATE {discoveries} d SET is_active = TRUE, updated_at = NOW()
FROM pg_temp.fbs_decisions v WHERE v.action = 'revive' AND d.id = v.base_id
"""

_INSERT: Final = """
INSERT INTO {discoveries} (discovery_type, domain, name, version, metadata, schema_definition)
SELECT i.discovery_type, %(domain)s, i.name, v.version, i.metadata, i.schema_definition
FROM pg_temp.fbs_incoming i JOIN pg_temp.fbs_decisions v ON v.number = i.number
WHERE v.action = 'insert'
"""

_DEACTIVATE_MISSING: Final = """
UPDATE {discoveries} d SET is_active = FALSE, updated_at = NOW()
WHERE d.domain = %(domain)s AND d.is_active AND d.discovery_type = ANY(%(complete)s)
    AND NOT EXISTS (
        SELECT FROM pg_temp.fbs_decisions v WHERE v.discovery_type = d.discovery_type AND v.name = d.name)
    AND NOT EXISTS (
        SELECT FROM unnest(%(skipped_types)s::text[], %(skipped_names)s::text[]) AS s (discovery_type, name)
        WHERE s.discovery_type = d.discovery_type AND s.name = d.name)
RETURNING d.discovery_type, d.name, d.version
"""

_COUNTS: Final = """
SELECT discovery_type, count(*) FROM {discoveries} WHERE domain = %(domain)s AND is_active GROUP BY discovery_type
"""


def receive(cursor: Cursor, snapshot: Snapshot) -> RowStream:
    """Stream a snapshot into the temporary table `fbs_incoming`; no lock is held during the read.

    Args:
        cursor: a cursor in a transaction.
        snapshot: iterated once.

    Returns:
        The stream: number of rows, and the discoveries that do not fit.

    Raises:
        FBSError: reading the snapshot failed.
        psycopg2.Error: PostgreSQL reports an error; the caller translates it.
    """
    cursor.execute(_CREATE_INCOMING)
    stream = RowStream(snapshot, domain=snapshot.domain, types=snapshot.types)
    try:
        cursor.copy_expert(_COPY_INCOMING, stream)
    finally:
        # the error of the iterator, not PostgreSQL's error about the interrupted stream
        stream.raise_error()
    return stream


def active_counts(cursor: Cursor, prefix: str, domain: str) -> dict[str, int]:
    """Count the active rows of a domain per discovery type.

    Raises:
        psycopg2.Error: PostgreSQL reports an error; the caller translates it.
    """
    cursor.execute(prepare(_COUNTS, prefix), {"domain": domain})
    return dict(sorted(cursor.fetchall()))


class _Pair(NamedTuple):
    """A discovery that differs from its known row: a row of `_DECLARE_CHANGED`."""

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


class Comparison:
    """Compares a received snapshot with the catalogue, and writes the difference.

    Args:
        cursor: a cursor in the transaction that received the snapshot and holds the lock.
        prefix: table prefix.
        snapshot: the snapshot, after its iteration.
        stream: the result of `receive`.
        progress: receives the step `save`.
    """

    def __init__(self, cursor: Cursor, prefix: str, snapshot: Snapshot, stream: RowStream, progress: Progress) -> None:
        self._cursor = cursor
        self._prefix = prefix
        self._snapshot = snapshot
        self._progress = progress
        self._skipped = list(stream.skipped)
        self._rows = stream.rows
        self._added: list[Change] = []
        self._changed: list[Change] = []

    def write(self) -> ChangeReport:
        """Compare and write.

        Returns:
            The changes, sorted by type and name.

        Raises:
            JobCancelled: raised by the progress.
            DatabaseError: a row has a version that is not of the form major.minor.
            psycopg2.Error: PostgreSQL reports an error; the caller translates it.
        """
        domain, types = self._snapshot.domain, sorted(self._snapshot.types)
        self._execute(_CREATE_DECISIONS, {"domain": domain, "types": types})
        self._drop_duplicates()
        self._number_versions()
        self._progress.step("save", total=len(self._added) + len(self._changed))
        self._execute(_RETIRE, {"domain": domain})
        self._execute(_UPDATE)
        self._execute(_REVIVE)
        self._execute(_INSERT, {"domain": domain})
        removed = self._deactivate_missing()
        return ChangeReport(
            domain=domain,
            added=_sorted(self._added),
            removed=_sorted(removed),
            changed=_sorted(self._changed),
            unchanged=self._rows - len(self._added) - len(self._changed),
            skipped=tuple(sorted(self._skipped, key=lambda skip: (skip.discovery_type, skip.name, skip.reason))),
            counts=active_counts(self._cursor, self._prefix, domain),
            sections=tuple(self._snapshot.sections),
        )

    def _drop_duplicates(self) -> None:
        self._execute(_REPEATED)
        duplicates = self._cursor.fetchall()
        self._rows -= len(duplicates)
        self._skipped += (
            Skipped(discovery_type=DiscoveryType(kind), name=name, reason=_DUPLICATE) for kind, name in duplicates
        )

    def _number_versions(self) -> None:
        """Collect new, revived and changed discoveries, and set the version of each changed row."""
        self._execute(_NEW_AND_REVIVED)
        for kind, name, version, known_version, was_active in self._cursor.fetchall():
            change = Change(
                discovery_type=DiscoveryType(kind),
                name=name,
                version=version,
                previous_version=known_version,
                fields=() if known_version in (None, version) else ("version",),
            )
            (self._changed if was_active else self._added).append(change)
        numbers, versions = [], []
        for pair in self._differing():
            change = self._change(pair)
            (self._changed if pair.was_active else self._added).append(change)
            numbers.append(pair.number)
            versions.append(change.version)
        self._execute(_NUMBER_VERSIONS, {"numbers": numbers, "versions": versions})

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
            # only `incomplete` differs: all sections could be read this time
            fields=tuple(sorted(fields)) or ("metadata.incomplete",),
            breaking=difference.breaking,
        )

    def _next(self, pair: _Pair, *, breaking: bool) -> str:
        try:
            return next_version(pair.known_version, breaking=breaking)
        except ValueError as exc:
            raise DatabaseError(
                f"The {pair.discovery_type} {pair.name!r} has a version not written by FBS: {exc}.",
                hint=f"Correct or delete its rows in {self._prefix}discoveries.",
            ) from None

    def _differing(self) -> Iterator[_Pair]:
        """Fetch known and new state of changed discoveries in portions, which bounds memory."""
        self._execute(_DECLARE_CHANGED)
        while True:
            self._execute(_FETCH_CHANGED)
            rows = self._cursor.fetchall()
            if not rows:
                break
            yield from map(_Pair._make, rows)
        self._execute(_CLOSE_CHANGED)

    def _deactivate_missing(self) -> list[Change]:
        """Deactivate discoveries that Odoo no longer has; skipped ones still exist."""
        skipped = [skip for skip in self._skipped if is_storable(skip.name)]
        parameters = {
            "domain": self._snapshot.domain,
            "complete": sorted(self._snapshot.types - incomplete_types(self._snapshot.sections)),
            "skipped_types": [str(skip.discovery_type) for skip in skipped],
            "skipped_names": [skip.name for skip in skipped],
        }
        self._execute(_DEACTIVATE_MISSING, parameters)
        return [
            Change(
                discovery_type=DiscoveryType(kind), name=name, version=version, previous_version=version, breaking=True
            )
            for kind, name, version in self._cursor.fetchall()
        ]

    def _execute(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._cursor.execute(prepare(statement, self._prefix), parameters)


def _sorted(changes: list[Change]) -> tuple[Change, ...]:
    return tuple(sorted(changes, key=lambda change: (change.discovery_type, change.name)))


def _state(metadata: str | None, schema_definition: str | None) -> dict[str, Any]:
    return {
        "metadata": orjson.loads(metadata or "{}"),
        "schema_definition": orjson.loads(schema_definition or "{}"),
    }
