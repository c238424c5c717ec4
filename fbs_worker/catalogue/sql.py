"""The statements of a save, in the order in which they run. `{discoveries}` and `{snapshots}` are table names.

incoming   what was read, one row per thing, by COPY
verdict    one row per thing: what is known of it and what is to be done
           keep    nothing          insert   a new row (a new thing, or a new version)
           update  write in place   revive   the inactive row is right as it is
"""

from __future__ import annotations

from typing import Final

from psycopg2 import sql

CREATE_INCOMING: Final = """
CREATE TEMPORARY TABLE fbs_incoming (
    number INTEGER NOT NULL, discovery_type TEXT NOT NULL, name TEXT NOT NULL, own_version TEXT,
    metadata JSONB NOT NULL, schema_definition JSONB
) ON COMMIT DROP
"""

COPY_INCOMING: Final = "COPY pg_temp.fbs_incoming FROM STDIN (FORMAT binary)"

_IGNORED: Final = "'{source,incomplete}'::text[]"

CREATE_VERDICT: Final = sql.SQL(
    """
CREATE TEMPORARY TABLE fbs_verdict ON COMMIT DROP AS
WITH known AS (
    SELECT discovery_type, name, coalesce(max(id) FILTER (WHERE is_active), max(id)) AS id
    FROM {discoveries} WHERE domain = %(domain)s AND discovery_type = ANY(%(types)s)
    GROUP BY discovery_type, name
), compared AS (
    SELECT i.number, i.discovery_type, i.name, i.own_version,
        k.id AS known_id, b.id AS base_id, b.version AS base_version, b.is_active AS base_active,
        b.metadata - {ignored} = i.metadata - {ignored}
            AND b.schema_definition IS NOT DISTINCT FROM i.schema_definition AS same,
        coalesce(b.metadata -> 'incomplete', '[]') AS base_lacks,
        coalesce(i.metadata -> 'incomplete', '[]') AS lacks
    FROM pg_temp.fbs_incoming i
    LEFT JOIN known k ON k.discovery_type = i.discovery_type AND k.name = i.name
    LEFT JOIN {discoveries} t ON i.own_version IS NOT NULL AND t.discovery_type = i.discovery_type
        AND t.domain = %(domain)s AND t.name = i.name AND t.version = i.own_version
    LEFT JOIN {discoveries} b ON b.id = coalesce(t.id, k.id)
), judged AS (
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
FROM judged j LEFT JOIN {discoveries} k ON k.id = j.known_id
"""
)
"""`known` is the active row of a thing, else its latest; `base` is the row it is compared with: for a thing of its own
version (a module) the row of that version, where there is one."""

REPEATED: Final = """
DELETE FROM pg_temp.fbs_verdict v USING (
    SELECT discovery_type, name, min(number) AS first FROM pg_temp.fbs_verdict GROUP BY 1, 2 HAVING count(*) > 1
) r
WHERE v.discovery_type = r.discovery_type AND v.name = r.name AND v.number > r.first
RETURNING v.discovery_type, v.name
"""

DECLARE_CHANGED: Final = sql.SQL(
    """
DECLARE fbs_changed NO SCROLL CURSOR FOR
SELECT v.number, v.discovery_type, v.name, v.version, v.own_version IS NULL AND v.action = 'insert' AS is_counted,
    v.known_version, k.metadata::text, k.schema_definition::text, i.metadata::text, i.schema_definition::text,
    v.known_active
FROM pg_temp.fbs_verdict v
JOIN pg_temp.fbs_incoming i ON i.number = v.number
JOIN {discoveries} k ON k.id = v.known_id
WHERE v.action IN ('insert', 'update')
"""
)

FETCH_CHANGED: Final = "FETCH 200 FROM fbs_changed"

CLOSE_CHANGED: Final = "CLOSE fbs_changed"

NUMBER_VERSIONS: Final = """
UPDATE pg_temp.fbs_verdict v SET version = n.version
FROM unnest(%(numbers)s::integer[], %(versions)s::text[]) AS n (number, version) WHERE v.number = n.number
"""

NEW: Final = """
SELECT discovery_type, name, version FROM pg_temp.fbs_verdict WHERE action = 'insert' AND known_id IS NULL
"""

REVIVED: Final = """
SELECT discovery_type, name, version, known_version, known_active FROM pg_temp.fbs_verdict WHERE action = 'revive'
"""

RETIRE: Final = sql.SQL(
    """
UPDATE {discoveries} d SET is_active = FALSE, updated_at = NOW()
FROM pg_temp.fbs_verdict v
WHERE v.action <> 'keep' AND v.known_id IS NOT NULL AND d.is_active
    AND d.discovery_type = v.discovery_type AND d.domain = %(domain)s AND d.name = v.name
    AND (v.action = 'insert' OR d.id <> v.base_id)
"""
)

UPDATE: Final = sql.SQL(
    """
UPDATE {discoveries} d SET metadata = i.metadata, schema_definition = i.schema_definition,
    is_active = TRUE, updated_at = NOW(), discovered_at = NOW()
FROM pg_temp.fbs_verdict v JOIN pg_temp.fbs_incoming i ON i.number = v.number
WHERE v.action = 'update' AND d.id = v.base_id
"""
)

REVIVE: Final = sql.SQL(
    """
UPDATE {discoveries} d SET is_active = TRUE, updated_at = NOW()
FROM pg_temp.fbs_verdict v WHERE v.action = 'revive' AND d.id = v.base_id
"""
)

INSERT: Final = sql.SQL(
    """
INSERT INTO {discoveries} (discovery_type, domain, name, version, metadata, schema_definition)
SELECT i.discovery_type, %(domain)s, i.name, v.version, i.metadata, i.schema_definition
FROM pg_temp.fbs_incoming i JOIN pg_temp.fbs_verdict v ON v.number = i.number
WHERE v.action = 'insert'
"""
)

VANISH: Final = sql.SQL(
    """
UPDATE {discoveries} d SET is_active = FALSE, updated_at = NOW()
WHERE d.domain = %(domain)s AND d.is_active AND d.discovery_type = ANY(%(complete)s)
    AND NOT EXISTS (
        SELECT FROM pg_temp.fbs_verdict v WHERE v.discovery_type = d.discovery_type AND v.name = d.name)
    AND NOT EXISTS (
        SELECT FROM unnest(%(skipped_types)s::text[], %(skipped_names)s::text[]) AS s (discovery_type, name)
        WHERE s.discovery_type = d.discovery_type AND s.name = d.name)
RETURNING d.discovery_type, d.name, d.version
"""
)

COUNTS: Final = sql.SQL(
    """
SELECT discovery_type, count(*) FROM {discoveries} WHERE domain = %(domain)s AND is_active GROUP BY discovery_type
"""
)

LAST_SNAPSHOT: Final = sql.SQL(
    """
SELECT domain, types, source::text, fingerprint::text, sections::text, taken_at FROM {snapshots}
WHERE domain = %(domain)s AND types @> %(types)s::jsonb
ORDER BY taken_at DESC, id DESC LIMIT 1
"""
)

SNAPSHOT_OF_TYPES: Final = sql.SQL(
    """
SELECT id FROM {snapshots} WHERE domain = %(domain)s AND types = %(types)s::jsonb
ORDER BY taken_at DESC, id DESC LIMIT 1
"""
)

TOUCH_SNAPSHOT: Final = sql.SQL(
    """
UPDATE {snapshots} SET source = %(source)s, fingerprint = %(fingerprint)s, sections = %(sections)s, taken_at = NOW()
WHERE id = %(id)s
"""
)

INSERT_SNAPSHOT: Final = sql.SQL(
    """
INSERT INTO {snapshots} (domain, source, types, fingerprint, sections, changes)
VALUES (%(domain)s, %(source)s, %(types)s, %(fingerprint)s, %(sections)s, %(changes)s)
"""
)

MODEL_DEFINITIONS: Final = sql.SQL(
    """
SELECT name, schema_definition::text FROM {discoveries}
WHERE domain = %(domain)s AND discovery_type = 'model' AND is_active AND name = ANY(%(names)s) ORDER BY id
"""
)

READ: Final = sql.SQL(
    """
SELECT id, discovery_type, domain, name, version, metadata::text, schema_definition::text, is_active,
    created_at, updated_at, discovered_at
FROM {discoveries}
WHERE id > %(after)s AND (%(domain)s::text IS NULL OR domain = %(domain)s)
    AND (%(type)s::text IS NULL OR discovery_type = %(type)s)
    AND (%(active)s::boolean IS NULL OR is_active = %(active)s)
ORDER BY id LIMIT %(limit)s
"""
)


def prepare(statement: sql.Composable | str, prefix: str) -> sql.Composable:
    """A statement with the tables' names of that prefix."""
    if not isinstance(statement, sql.SQL):
        return sql.SQL(str(statement))
    return statement.format(
        discoveries=sql.Identifier(f"{prefix}discoveries"),
        snapshots=sql.Identifier(f"{prefix}snapshots"),
        ignored=sql.SQL(_IGNORED),
    )
