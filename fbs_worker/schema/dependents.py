"""What hangs on tables and columns, by name and definition: what PostgreSQL keeps them for, and what goes with them.

Read-only. Sources: PostgreSQL's documentation of pg_depend, and of DROP COLUMN and ALTER TYPE in that of ALTER TABLE.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from fbs_worker.core.postgres import Connection

_BLOCKING: Final = """
SELECT DISTINCT c.relname::text, coalesce(a.attname::text, ''), CASE
        WHEN r.rulename = '_RETURN' THEN
            CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || v.oid::regclass
        ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END,
    regexp_replace(trim(coalesce(CASE d.classid::regclass::text
        WHEN 'pg_rewrite' THEN CASE r.rulename WHEN '_RETURN' THEN pg_get_viewdef(v.oid) ELSE pg_get_ruledef(r.oid) END
        WHEN 'pg_policy' THEN (SELECT concat('USING (' || pg_get_expr(polqual, polrelid) || ') ',
            'WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')') FROM pg_policy WHERE oid = d.objid)
        WHEN 'pg_trigger' THEN pg_get_triggerdef(d.objid)
        WHEN 'pg_proc' THEN pg_get_function_identity_arguments(d.objid)
        WHEN 'pg_constraint' THEN pg_get_constraintdef(d.objid)
        WHEN 'pg_attrdef' THEN (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE oid = d.objid)
        END, '')), '\\s+', ' ', 'g'),
    d.classid::regclass::text NOT IN ('pg_constraint', 'pg_class'),
    coalesce((SELECT relname::text FROM pg_class WHERE oid = CASE d.classid::regclass::text
        WHEN 'pg_rewrite' THEN v.oid
        WHEN 'pg_policy' THEN (SELECT polrelid FROM pg_policy WHERE oid = d.objid)
        WHEN 'pg_trigger' THEN (SELECT tgrelid FROM pg_trigger WHERE oid = d.objid)
        WHEN 'pg_attrdef' THEN g.adrelid
        WHEN 'pg_publication_rel' THEN (SELECT prrelid FROM pg_publication_rel WHERE oid = d.objid)
        END), '')
FROM pg_class c
CROSS JOIN LATERAL (VALUES ('pg_class'::regclass, c.oid), ('pg_type'::regclass, c.reltype)) part(class, oid)
JOIN pg_depend d ON d.refclassid = part.class AND d.refobjid = part.oid
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid AND a.attnum > 0
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_class v ON v.oid = r.ev_class
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_class other ON other.oid = k.conrelid
LEFT JOIN pg_attrdef g ON d.classid = 'pg_attrdef'::regclass AND g.oid = d.objid
WHERE c.relname = ANY(%(names)s) AND pg_table_is_visible(c.oid)
    AND (d.deptype = 'n' OR d.deptype = 'a' AND g.adrelid = c.oid AND g.adnum <> d.refobjsubid)
    AND d.classid::regclass::text IN ('pg_rewrite', 'pg_policy', 'pg_trigger', 'pg_proc', 'pg_constraint', 'pg_attrdef',
        'pg_publication_rel', 'pg_class')
    AND (other.oid IS NULL OR other.oid <> c.oid AND other.relname <> ALL(%(ours)s))
    AND NOT (d.classid = 'pg_class'::regclass AND (SELECT relkind FROM pg_class WHERE oid = d.objid) IN ('i', 'I', 'S'))
ORDER BY 1, 2, 3
"""

_ATTACHED: Final = """
SELECT c.relname::text, a.attname::text, more.statement
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    SELECT 1, format('GRANT %%s ON %%I TO %%s%%s',
        string_agg(format('%%s (%%I)', g.privilege_type, a.attname), ', ' ORDER BY g.privilege_type), c.relname,
        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
        CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM aclexplode(a.attacl) g GROUP BY g.grantee, g.is_grantable
    UNION ALL
    SELECT 2, pg_get_statisticsobjdef(d.objid) FROM pg_depend d
    WHERE d.classid = 'pg_statistic_ext'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
        AND d.refobjsubid = a.attnum
    UNION ALL
    SELECT 3, format('COMMENT ON COLUMN %%I.%%I IS %%L', c.relname, a.attname, col_description(c.oid, a.attnum))
    WHERE col_description(c.oid, a.attnum) IS NOT NULL
) AS more(place, statement)
WHERE c.relname = ANY(%(names)s) AND pg_table_is_visible(c.oid)
ORDER BY 1, 2, more.place, 3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """An object for which PostgreSQL refuses to drop a column, and the table unless it is the table's own.

    Attributes:
        table: the table.
        column: the column; empty for the whole table.
        name: kind and name, e.g. `view open_orders`.
        definition: in one line; empty where it has none.
        blocks_retype: whether PostgreSQL also refuses to change the column's type.
        owner: the table that it is part of, and goes with; empty for one of its own.
    """

    table: str
    column: str
    name: str
    definition: str
    blocks_retype: bool
    owner: str


def dependent_objects(
    connection: Connection, tables: Collection[str], *, own_tables: Collection[str]
) -> list[Dependent]:
    """Return the objects for which PostgreSQL refuses to drop the tables or their columns.

    Args:
        connection: connection whose transaction reads.
        tables: unquoted names.
        own_tables: tables whose foreign keys are not reported.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    if not tables:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKING, {"names": list(tables), "ours": list(own_tables)})
        return [
            Dependent(table=table, column=column, name=name, definition=definition, blocks_retype=blocks, owner=owner)
            for table, column, name, definition, blocks, owner in cursor.fetchall()
        ]


def attached(connection: Connection, tables: Collection[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what goes with a column besides its keys: privileges, statistics, comment; each as the SQL that makes it.

    Args:
        connection: connection whose transaction reads.
        tables: unquoted names.

    Returns:
        Table and column → statements.

    Raises:
        psycopg2.Error: a statement failed; the caller translates it.
    """
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_ATTACHED, {"names": list(tables)})
        for table, column, statement in cursor.fetchall():
            found[table, column] = (*found.get((table, column), ()), statement)
    return found
