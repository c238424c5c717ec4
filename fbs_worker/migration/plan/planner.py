"""Plan a migration: look at the database once, compare three sides, find the safe way of each change. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Table

from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.migration.diff.changes import Change, ChangeKind, Difference
from fbs_worker.migration.diff.differ import compare
from fbs_worker.migration.diff.renames import likely_renames, requested_renames
from fbs_worker.migration.inspect.inspector import (
    InspectedKey,
    InspectedSchema,
    dependent_objects,
    inspect_tables,
    key_definitions,
    populated_tables,
    used_names,
)
from fbs_worker.migration.inspect.normaliser import normalise
from fbs_worker.migration.model.plan import Plan
from fbs_worker.migration.model.schema import (
    ColumnSchema,
    KeySchema,
    Schema,
    TableSchema,
    from_json,
    renamed,
    schema_of,
    to_json,
)
from fbs_worker.migration.plan.context import PlanningContext
from fbs_worker.migration.plan.explain import Reasons
from fbs_worker.migration.plan.operations import plan_steps, stays_nullable
from fbs_worker.schema.definition import Definition

_NO_COLUMN: Final = ColumnSchema(type="")
_BLOCKED_BY_DEPENDENTS: Final = frozenset((ChangeKind.RETYPE, ChangeKind.DROP_COLUMN, ChangeKind.DROP_TABLE))


def applied_schema(definition: Definition, tables: Collection[str] | None = None) -> dict[str, Any]:
    """What FBS makes, JSON-ready: for the `shape` of a solution's own row.

    Args:
        definition: the tables.
        tables: which of the business tables were made; None for all of them.
    """
    created = (table for table in definition.tables if tables is None or table.name in tables)
    return to_json(schema_of(created))


def make_plan(
    connection: Connection,
    *,
    solution: str,
    definition: Definition,
    last_applied: Mapping[str, Any] | None,
    owned: Collection[str],
    renames: Sequence[str] = (),
    restore: bool = False,
    mirrored: Mapping[str, str] | None = None,
) -> Plan:
    """What would make a solution's tables match their definition; reads only, a few queries for all tables at once.

    Args:
        connection: in whose transaction it is read.
        solution: its name.
        definition: what the tables are to be.
        made: what FBS made, `shape` of the solution's own row; None or without a table where nothing was recorded: then
            what is there and wanted counts as made, as it is there.
        owned: the business tables that are recorded as the solution's own.
        renames: columns that were renamed, each `table.old=new`.
        restore: what was changed by hand is to be as it was made, too; without it, it is told and stays.
        mirrored: the models that were mirrored until now, each with its table: for the reasons.

    Raises:
        UsageError: one of the renames cannot be.
        DatabaseError: the record of what was made is damaged; or as its name says.
        DatabaseUnreachable: as its name says.
    """
    tables = {str(table.name): table for table in (*definition.system, *definition.tables)}
    system = frozenset(str(table.name) for table in definition.system)
    desired = schema_of(tables.values())
    recorded = from_json(last_applied or {})
    with errors_translated(connection):
        actual = inspect_tables(connection, {*desired, *owned})
        actual = normalise(connection, actual, (desired, recorded))
        own_tables = system | set(owned)
        answered = requested_renames(renames, {name: desired[name] for name in desired if name in owned}, actual)
        actual, recorded = actual.renamed(answered), renamed(recorded, answered)
        difference = compare(
            desired,
            recorded,
            actual,
            owned=_recognise_own(own_tables, system, desired, actual),
            system=system,
            restore=restore,
        )
        context = PlanningContext(
            desired=desired,
            actual=actual,
            changes=difference.changes,
            renames=answered,
            reasons=Reasons(definition=definition, mirrored=mirrored or {}),
            table_prefix=definition.table_prefix,
            server_version=connection.info.server_version,
        )
        context = _add_facts(connection, context, difference, own_tables)
    return _build_plan(solution, context, difference, tables, owned=frozenset(owned), system=system)


def _recognise_own(
    own_tables: Collection[str], system: Collection[str], desired: Schema, actual: InspectedSchema
) -> frozenset[str]:
    """The tables that are ours: a system table has, for the greater part, the columns of this version or another."""
    foreign = set()
    for name in system:
        existing = actual.tables.get(name)
        if existing is not None:
            columns = desired[name].columns
            same = sum(existing.columns.get(key, _NO_COLUMN).type == columns[key].type for key in columns)
            foreign |= {name} if 2 * same < len(columns) else set()
    return frozenset(own_tables) - foreign


def _add_facts(
    connection: Connection, context: PlanningContext, difference: Difference, own_tables: Collection[str]
) -> PlanningContext:
    """The facts that the ways of changes stand on; asked only about what changes."""
    touched = {change.table for change in difference.changes} | {table for table, _ in context.renames}
    touched |= {change.key.target[0] for change in difference.changes if change.key and change.key.target}
    populated = populated_tables(connection, touched & context.actual.tables.keys())
    moving = {(change.table, change.column) for change in difference.changes if change.kind in _BLOCKED_BY_DEPENDENTS}
    dependents = dependent_objects(connection, {table for table, _ in moving}, own_tables=own_tables)
    return replace(
        context,
        dependents=[one for one in dependents if one[:2] in moving or (one[0], "") in moving],
        populated=populated,
        used_names=used_names(connection) if difference.changes else frozenset(),
        key_definitions=key_definitions(connection, _dropped_keys(difference, context.actual)),
        possible_renames=likely_renames(difference, populated),
    )


def _build_plan(
    solution: str,
    context: PlanningContext,
    difference: Difference,
    tables: Mapping[str, Table],
    *,
    owned: frozenset[str],
    system: frozenset[str],
) -> Plan:
    reasons = context.reasons
    nullable = [change for change in difference.changes if stays_nullable(change, context)]
    business = [name for name in context.desired if name not in system and name not in difference.blocked]
    schema = {name: _schema_after(name, context.desired[name], nullable, difference) for name in business}
    return Plan(
        solution=solution,
        steps=plan_steps(context, tables),
        drift=tuple(_drift(difference, system)),
        questions=tuple(
            reasons.of_possible_rename(table, old, new)
            for (table, old), new in sorted(context.possible_renames.items())
        ),
        notes=(
            *(reasons.of_nullable(change.table, change.column) for change in nullable),
            *(reasons.of_dependent(*one) for one in context.dependents),
            *_archived_values(context),
        ),
        changes=tuple(_describe_changes(difference, context)),
        tables=tuple(sorted({*business, *(owned & difference.blocked.keys())})),
        schema=to_json(schema),
    )


def _archived_values(context: PlanningContext) -> Iterator[str]:
    """Of what comes back: where the values are that it had."""
    for change in context.changes:
        if change.kind in {ChangeKind.CREATE_TABLE, ChangeKind.ADD_COLUMN}:
            name = context.archive_name(change.table, change.column)
            if name in context.used_names:
                yield context.reasons.of_archived(change.table, change.column, name)


def _schema_after(name: str, desired: TableSchema, nullable: Sequence[Change], difference: Difference) -> TableSchema:
    """What FBS will have made of a table: not all that is wanted can be made yet."""
    nullable_columns = {change.column for change in nullable if change.table == name}
    return TableSchema(
        columns={
            column: replace(column_, not_null=False) if column in nullable_columns else column_
            for column, column_ in desired.columns.items()
        },
        keys=tuple(key for key in desired.keys if not _refers_to(key, difference.blocked)),
    )


def _refers_to(key: KeySchema, tables: Collection[str]) -> bool:
    return key.target is not None and key.target[0] in tables


def _drift(difference: Difference, system: Collection[str]) -> Iterator[str]:
    for table, kind in sorted(difference.blocked.items()):
        yield f"{table}: {kind} that FBS did not make is in the way; nothing is done about it"
    for change in difference.drift:
        why = "other solutions may use it" if change.table in system else "it was changed by hand"
        yield f"{change.describe()}; {why}, and it stays so"
    for change in difference.changes:
        if change.drifted:
            yield f"{change.describe()}; it was changed by hand, and the plan overwrites that"


def _describe_changes(difference: Difference, context: PlanningContext) -> Iterator[str]:
    """The changes, one line each; what only serves another one is left out."""
    new = {change.table for change in difference.changes if change.kind is ChangeKind.CREATE_TABLE}
    for change in difference.changes:
        desired = context.desired.get(change.table)
        recreated = (
            change.actual is not None and desired is not None and change.actual.schema.identity in desired.identities
        )
        implied = change.table in new and change.kind is ChangeKind.ADD_KEY
        if not implied and not (recreated and change.kind is ChangeKind.DROP_KEY):
            yield change.describe()


def _dropped_keys(difference: Difference, actual: InspectedSchema) -> Iterator[InspectedKey]:
    """Keys that are dropped, those of tables that go included."""
    for change in difference.changes:
        if change.actual is not None and change.kind is ChangeKind.DROP_KEY:
            yield change.actual
        elif change.kind is ChangeKind.DROP_TABLE:
            yield from actual.tables[change.table].keys
