"""Projections of the catalogue: `<prefix>workflow_definitions` and `<prefix>bi_dashboards` of a domain.

One statement per table compares the rows derived from the active discoveries with the existing ones, and writes only
the differences. Rows are named `<domain>.<model>`; domain names have no dot, so the names of two domains never collide.
Missing rows become inactive, and active when they return.

A workflow's row:

    workflow_steps      model, title, state_field, states, transitions
    trigger_conditions  automations, schedules
    approval_roles      groups (all, sorted), transitions (those limited to groups, each with its groups)

A dashboard's row, one per model (a BI feature without a model has a row of its own):

    dashboard_config    kinds, measures, dimensions: the names of all its charts, sorted
    chart_definitions   graphs and pivots by name: kind, title, chart, measures, dimensions
    data_sources        models; reports and spreadsheet dashboards by name
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction_lock
from fbs_worker.core.postgres import errors_translated

MAX_NAME: Final = 100
"""Characters of `workflow_name` and `dashboard_name`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Projection:
    """A derived table and its query.

    Attributes:
        table: the table's name without prefix.
        key: the column with the row's name.
        columns: the three JSONB columns.
        query: selects `name, first, second, third`: the desired rows.
    """

    table: str
    key: str
    columns: tuple[str, str, str]
    query: str


_WORKFLOWS: Final = _Projection(
    table="workflow_definitions",
    key="workflow_name",
    columns=("workflow_steps", "trigger_conditions", "approval_roles"),
    query="""
    SELECT DISTINCT ON (d.name) %(domain)s || '.' || d.name AS name,
        jsonb_strip_nulls(jsonb_build_object(
            'model', d.name, 'title', d.metadata -> 'title', 'state_field', d.schema_definition -> 'state_field',
            'states', d.schema_definition -> 'states', 'transitions', d.schema_definition -> 'transitions')) AS first,
        jsonb_strip_nulls(jsonb_build_object(
            'automations', d.schema_definition -> 'automations',
            'schedules', d.schema_definition -> 'schedules')) AS second,
        jsonb_strip_nulls(jsonb_build_object('groups', roles.groups, 'transitions', roles.transitions)) AS third
    FROM {discoveries} d CROSS JOIN LATERAL (SELECT
        (SELECT jsonb_agg(DISTINCT item) FROM jsonb_path_query(d.schema_definition,
            '$.transitions[*].groups[*][*] ? (!(@ starts with "!"))') item) AS groups,
        (SELECT jsonb_agg(jsonb_build_object('button', item -> 'button', 'label', item -> 'label',
                'groups', item -> 'groups') ORDER BY ordinal)
            FROM jsonb_path_query(d.schema_definition, '$.transitions[*] ? (exists(@.groups[*]))')
                WITH ORDINALITY AS limited (item, ordinal)) AS transitions
    ) roles
    WHERE d.domain = %(domain)s AND d.discovery_type = 'workflow' AND d.is_active
    ORDER BY d.name, d.id DESC
    """,
)

_DASHBOARDS: Final = _Projection(
    table="bi_dashboards",
    key="dashboard_name",
    columns=("dashboard_config", "chart_definitions", "data_sources"),
    query="""
    SELECT %(domain)s || '.' || subject AS name,
        jsonb_strip_nulls(jsonb_build_object(
            'kinds', jsonb_agg(DISTINCT kind) FILTER (WHERE kind <> ''),
            'measures', jsonb_agg(DISTINCT part) FILTER (WHERE part_of = 'measure'),
            'dimensions', jsonb_agg(DISTINCT part) FILTER (WHERE part_of = 'dimension'))) AS first,
        coalesce(jsonb_object_agg(feature, definition) FILTER (WHERE kind NOT IN ('report', 'dashboard')), '{{}}')
            AS second,
        jsonb_strip_nulls(jsonb_build_object(
            'models', jsonb_agg(DISTINCT model) FILTER (WHERE model IS NOT NULL),
            'reports', jsonb_object_agg(feature, definition) FILTER (WHERE kind = 'report'),
            'dashboards', jsonb_object_agg(feature, definition) FILTER (WHERE kind = 'dashboard'))) AS third
    FROM (
        SELECT d.name AS feature, coalesce(d.schema_definition ->> 'kind', '') AS kind,
            model, coalesce(model, d.name) AS subject, part_of, part,
            jsonb_strip_nulls(coalesce(d.schema_definition, '{{}}') - 'model'
                || jsonb_build_object('title', d.metadata -> 'title')) AS definition
        FROM {discoveries} d
        LEFT JOIN LATERAL (
            SELECT item #>> '{{}}' AS model FROM jsonb_path_query(d.schema_definition, '$.model') item
            UNION
            SELECT item #>> '{{}}' FROM jsonb_path_query(d.schema_definition, '$.models[*]') item
        ) models ON TRUE
        LEFT JOIN LATERAL (
            SELECT 'measure' AS part_of, item AS part FROM jsonb_path_query(d.schema_definition, '$.measures[*]') item
            UNION ALL
            SELECT 'dimension', item FROM jsonb_path_query(d.schema_definition, '$.dimensions[*].name') item
        ) parts ON TRUE
        WHERE d.domain = %(domain)s AND d.discovery_type = 'bi_feature' AND d.is_active
    ) features
    GROUP BY subject
    """,
)

_FILL: Final = """
WITH desired AS MATERIALIZED ({query}), known AS MATERIALIZED (
    SELECT t.id, t.{key} AS name, t.domain, t.{first} AS first, t.{second} AS second, t.{third} AS third, t.is_active
    FROM {table} t WHERE t.domain = %(domain)s OR t.{key} IN (SELECT name FROM desired)
), compared AS MATERIALIZED (
    SELECT f.*, k.id, k.is_active,
        (k.first, k.second, k.third) IS DISTINCT FROM (f.first, f.second, f.third) AS differs,
        CASE
            WHEN char_length(f.name) > %(most)s
                THEN 'its name has ' || char_length(f.name) || ' characters; at most ' || %(most)s || ' fit'
            WHEN k.domain <> %(domain)s THEN 'a row of that name belongs to the domain ' || k.domain
        END AS reason
    FROM desired f LEFT JOIN known k ON k.name = f.name
), inserted AS (
    INSERT INTO {table} ({key}, domain, {first}, {second}, {third}, created_at, updated_at)
    SELECT name, %(domain)s, first, second, third, NOW() AT TIME ZONE 'UTC', NOW() AT TIME ZONE 'UTC'
    FROM compared WHERE id IS NULL AND reason IS NULL ORDER BY name
    RETURNING id
), updated AS (
    UPDATE {table} t SET {first} = c.first, {second} = c.second, {third} = c.third, is_active = TRUE,
        updated_at = NOW() AT TIME ZONE 'UTC'
    FROM compared c WHERE t.id = c.id AND c.reason IS NULL AND (c.differs OR c.is_active IS NOT TRUE)
    RETURNING coalesce(c.is_active, FALSE) AS was_active
), deactivated AS (
    UPDATE {table} t SET is_active = FALSE, updated_at = NOW() AT TIME ZONE 'UTC'
    FROM known k WHERE t.id = k.id AND k.domain = %(domain)s AND k.is_active
        AND NOT EXISTS (SELECT FROM compared c WHERE c.id = k.id)
    RETURNING t.id
)
SELECT
    (SELECT count(*) FROM inserted) + (SELECT count(*) FROM updated WHERE NOT was_active),
    (SELECT count(*) FROM updated WHERE was_active),
    (SELECT count(*) FROM deactivated),
    (SELECT count(*) FROM compared WHERE reason IS NULL),
    (SELECT jsonb_agg(jsonb_build_object('name', name, 'reason', reason) ORDER BY name)
        FROM compared WHERE reason IS NOT NULL)
"""
"""All parts of one statement see the rows from before it (PostgreSQL's documentation of WITH), so at most one of them
writes each row."""


def fill_workflows(cursor: Cursor, table_prefix: str, domain: str) -> dict[str, Any]:
    """Update `<prefix>workflow_definitions` from the workflows of a domain.

    Args:
        cursor: a cursor in the caller's transaction; both tables exist.
        table_prefix: the solution's table prefix.
        domain: the business domain.

    Returns:
        JSON-ready counts of rows `added` (or active again), `changed`, `removed` (inactive) and `unchanged`; and
        `skipped`: name and reason of rows that do not fit.

    Raises:
        DatabaseBusy: another session updated the same table for longer than the lock timeout.
        DatabaseUnreachable: the server cannot be reached or closed the connection.
        DatabaseError: PostgreSQL reports any other error.
    """
    return _fill(cursor, table_prefix, domain, _WORKFLOWS)


def fill_dashboards(cursor: Cursor, table_prefix: str, domain: str) -> dict[str, Any]:
    """Update `<prefix>bi_dashboards` from the BI features of a domain; like `fill_workflows`."""
    return _fill(cursor, table_prefix, domain, _DASHBOARDS)


def _fill(cursor: Cursor, prefix: str, domain: str, projection: _Projection) -> dict[str, Any]:
    transaction_lock(cursor.connection, f"{projection.table}:{prefix}:{domain}")
    first, second, third = projection.columns
    query = sql.SQL(projection.query).format(discoveries=sql.Identifier(f"{prefix}discoveries"))
    statement = sql.SQL(_FILL).format(
        query=query,
        table=sql.Identifier(f"{prefix}{projection.table}"),
        key=sql.Identifier(projection.key),
        first=sql.Identifier(first),
        second=sql.Identifier(second),
        third=sql.Identifier(third),
    )
    with errors_translated(cursor.connection):
        cursor.execute(statement, {"domain": domain, "most": MAX_NAME})
        row = cursor.fetchone()
    added, changed, removed, fitting, skipped = row or (0, 0, 0, 0, None)
    return {
        "added": added,
        "changed": changed,
        "removed": removed,
        "unchanged": fitting - added - changed,
        "skipped": skipped or [],
    }
