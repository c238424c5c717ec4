"""`<prefix>workflow_definitions` and `<prefix>bi_dashboards`, filled from the active discoveries of a domain.

One statement per table compares what should be there with what is, and writes only what differs. Rows are named
`<domain>.<model>`; a domain's name has no dot in it, so two domains never want the same name. What vanished turns
inactive, and active again once it is back.

A workflow's row:

    workflow_steps      model, title, state_field, states, transitions
    trigger_conditions  automations, schedules
    approval_roles      groups (all, sorted), transitions (those that only some groups see, each with its groups)

A dashboard's row, one per model (a BI feature that names no model stands for itself):

    dashboard_config    kinds, measures, dimensions: the names in all its charts, sorted
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
class _Derived:
    """A derived table.

    Attributes:
        table: its name without prefix.
        key: the column of its name.
        columns: its three JSONB columns.
        found: a query of `name, first, second, third`: what should be in the table.
    """

    table: str
    key: str
    columns: tuple[str, str, str]
    found: str


_WORKFLOWS: Final = _Derived(
    table="workflow_definitions",
    key="workflow_name",
    columns=("workflow_steps", "trigger_conditions", "approval_roles"),
    found="""
    SELECT DISTINCT ON (d.name) %(domain)s || '.' || d.name AS name,
        jsonb_strip_nulls(jsonb_build_object(
            'model', d.name, 'title', d.metadata -> 'title', 'state_field', d.schema_definition -> 'state_field',
            'states', d.schema_definition -> 'states', 'transitions', d.schema_definition -> 'transitions')) AS first,
        jsonb_strip_nulls(jsonb_build_object(
            'automations', d.schema_definition -> 'automations',
            'schedules', d.schema_definition -> 'schedules')) AS second,
        jsonb_strip_nulls(jsonb_build_object('groups', roles.groups, 'transitions', roles.transitions)) AS third
    FROM {discoveries} d CROSS JOIN LATERAL (SELECT
        (SELECT jsonb_agg(DISTINCT one) FROM jsonb_path_query(d.schema_definition, '$.transitions[*].groups[*]') one)
            AS groups,
        (SELECT jsonb_agg(jsonb_build_object('button', one -> 'button', 'label', one -> 'label',
                'groups', one -> 'groups') ORDER BY place)
            FROM jsonb_path_query(d.schema_definition, '$.transitions[*] ? (exists(@.groups[*]))')
                WITH ORDINALITY AS limited (one, place)) AS transitions
    ) roles
    WHERE d.domain = %(domain)s AND d.discovery_type = 'workflow' AND d.is_active
    ORDER BY d.name, d.id DESC
    """,
)

_DASHBOARDS: Final = _Derived(
    table="bi_dashboards",
    key="dashboard_name",
    columns=("dashboard_config", "chart_definitions", "data_sources"),
    found="""
    SELECT %(domain)s || '.' || subject AS name,
        jsonb_strip_nulls(jsonb_build_object(
            'kinds', jsonb_agg(DISTINCT kind) FILTER (WHERE kind <> ''),
            'measures', jsonb_agg(DISTINCT part) FILTER (WHERE part_of = 'measure'),
            'dimensions', jsonb_agg(DISTINCT part) FILTER (WHERE part_of = 'dimension'))) AS first,
        coalesce(jsonb_object_agg(feature, told) FILTER (WHERE kind NOT IN ('report', 'dashboard')), '{{}}') AS second,
        jsonb_strip_nulls(jsonb_build_object(
            'models', jsonb_agg(DISTINCT model) FILTER (WHERE model IS NOT NULL),
            'reports', jsonb_object_agg(feature, told) FILTER (WHERE kind = 'report'),
            'dashboards', jsonb_object_agg(feature, told) FILTER (WHERE kind = 'dashboard'))) AS third
    FROM (
        SELECT d.name AS feature, coalesce(d.schema_definition ->> 'kind', '') AS kind,
            model, coalesce(model, d.name) AS subject, part_of, part,
            jsonb_strip_nulls(coalesce(d.schema_definition, '{{}}') - 'model'
                || jsonb_build_object('title', d.metadata -> 'title')) AS told
        FROM {discoveries} d
        LEFT JOIN LATERAL (
            SELECT one #>> '{{}}' AS model FROM jsonb_path_query(d.schema_definition, '$.model') one
            UNION
            SELECT one #>> '{{}}' FROM jsonb_path_query(d.schema_definition, '$.models[*]') one
        ) models ON TRUE
        LEFT JOIN LATERAL (
            SELECT 'measure' AS part_of, one AS part FROM jsonb_path_query(d.schema_definition, '$.measures[*]') one
            UNION ALL
            SELECT 'dimension', one FROM jsonb_path_query(d.schema_definition, '$.dimensions[*].name') one
        ) parts ON TRUE
        WHERE d.domain = %(domain)s AND d.discovery_type = 'bi_feature' AND d.is_active
    ) features
    GROUP BY subject
    """,
)

_FILL: Final = """
WITH found AS MATERIALIZED ({found}), known AS MATERIALIZED (
    SELECT t.id, t.{key} AS name, t.domain, t.{first} AS first, t.{second} AS second, t.{third} AS third, t.is_active
    FROM {table} t WHERE t.domain = %(domain)s OR t.{key} IN (SELECT name FROM found)
), judged AS MATERIALIZED (
    SELECT f.*, k.id, k.is_active,
        (k.first, k.second, k.third) IS DISTINCT FROM (f.first, f.second, f.third) AS differs,
        CASE
            WHEN char_length(f.name) > %(most)s
                THEN 'its name has ' || char_length(f.name) || ' characters, ' || %(most)s || ' are possible'
            WHEN k.domain <> %(domain)s THEN 'a row of that name belongs to the domain ' || k.domain
        END AS reason
    FROM found f LEFT JOIN known k ON k.name = f.name
), inserted AS (
    INSERT INTO {table} ({key}, domain, {first}, {second}, {third}, created_at, updated_at)
    SELECT name, %(domain)s, first, second, third, NOW() AT TIME ZONE 'UTC', NOW() AT TIME ZONE 'UTC'
    FROM judged WHERE id IS NULL AND reason IS NULL ORDER BY name
    RETURNING id
), updated AS (
    UPDATE {table} t SET {first} = j.first, {second} = j.second, {third} = j.third, is_active = TRUE,
        updated_at = NOW() AT TIME ZONE 'UTC'
    FROM judged j WHERE t.id = j.id AND j.reason IS NULL AND (j.differs OR j.is_active IS NOT TRUE)
    RETURNING coalesce(j.is_active, FALSE) AS was_active
), vanished AS (
    UPDATE {table} t SET is_active = FALSE, updated_at = NOW() AT TIME ZONE 'UTC'
    FROM known k WHERE t.id = k.id AND k.domain = %(domain)s AND k.is_active
        AND NOT EXISTS (SELECT FROM judged j WHERE j.id = k.id)
    RETURNING t.id
)
SELECT
    (SELECT count(*) FROM inserted) + (SELECT count(*) FROM updated WHERE NOT was_active),
    (SELECT count(*) FROM updated WHERE was_active),
    (SELECT count(*) FROM vanished),
    (SELECT count(*) FROM judged WHERE reason IS NULL),
    (SELECT jsonb_agg(jsonb_build_object('name', name, 'reason', reason) ORDER BY name)
        FROM judged WHERE reason IS NOT NULL)
"""
"""The parts of one statement see the same rows, those from before it (PostgreSQL's documentation of WITH): so each row
is written by one of them at most."""


def fill_workflows(cursor: Cursor, table_prefix: str, domain: str) -> dict[str, Any]:
    """Make `<prefix>workflow_definitions` say what the catalogue says of a domain's workflows.

    Args:
        cursor: in a transaction, which it becomes part of; both tables are there.
        table_prefix: the solution's.
        domain: the business area.

    Returns:
        JSON-ready: how many were `added` (or are back), `changed`, `removed` (now inactive), are `unchanged`; and
        `skipped`: name and reason of those that do not fit.

    Raises:
        DatabaseBusy: another session fills the same table for longer than the lock time-out.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    return _fill(cursor, table_prefix, domain, _WORKFLOWS)


def fill_dashboards(cursor: Cursor, table_prefix: str, domain: str) -> dict[str, Any]:
    """Make `<prefix>bi_dashboards` say what the catalogue says of a domain's BI features; see `fill_workflows`."""
    return _fill(cursor, table_prefix, domain, _DASHBOARDS)


def _fill(cursor: Cursor, prefix: str, domain: str, derived: _Derived) -> dict[str, Any]:
    transaction_lock(cursor.connection, f"{derived.table}:{prefix}:{domain}")
    first, second, third = derived.columns
    found = sql.SQL(derived.found).format(discoveries=sql.Identifier(f"{prefix}discoveries"))
    statement = sql.SQL(_FILL).format(
        found=found,
        table=sql.Identifier(f"{prefix}{derived.table}"),
        key=sql.Identifier(derived.key),
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
