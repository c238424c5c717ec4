"""Plan a migration: inspect the database, compare three schemas, choose safe steps for each change. Read-only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fbs_worker.core.postgres import Connection, errors_translated
from fbs_worker.migration.model.plan import Plan, TableSummary
from fbs_worker.migration.plan.context import PlanningContext
from fbs_worker.migration.plan.explain import Reasons
from fbs_worker.migration.plan.operations import alterations, plan_steps, stays_nullable
from fbs_worker.migration.plan.rehearsal import Rehearsal, rehearse
from fbs_worker.migration.plan.renames import likely_renames, requested_renames
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.dependents import attached, dependent_objects
from fbs_worker.schema.differ import Change, ChangeKind, Difference, compare
from fbs_worker.schema.inspector import (
    InspectedSchema,
    estimated_sizes,
    inspect_tables,
    populated_tables,
    used_names,
)
from fbs_worker.schema.model import (
    INDEX,
    ColumnSchema,
    KeySchema,
    Schema,
    TableSchema,
    from_json,
    renamed,
    schema_of,
    to_json,
)
from fbs_worker.schema.read_back import read_back

_NO_COLUMN: Final = ColumnSchema(type="")
_DROPS: Final = frozenset((ChangeKind.DROP_COLUMN, ChangeKind.DROP_TABLE))


def applied_schema(
    connection: Connection, definition: Definition, tables: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the schema of created tables as JSON for `shape` of the solution's manifest.

    Args:
        connection: connection whose transaction reads.
        definition: the tables.
        tables: names of the created business tables; None for all of them.

    Raises:
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    created = (table for table in definition.tables if tables is None or table.name in tables)
    with errors_translated(connection):
        return to_json(read_back(connection, schema_of(created)))


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
    """Plan the changes that make a solution's tables match their definition; few queries for all tables.

    Changes nothing: what it makes to ask PostgreSQL is temporary, and rolled back to a savepoint.

    Args:
        connection: connection whose transaction reads.
        solution: the solution's name.
        definition: the desired tables.
        last_applied: last applied schema, `shape` of the manifest; for tables without a record their desired objects
            are assumed as applied in their current form.
        owned: business tables recorded as the solution's.
        renames: renamed columns, each `table.old=new`.
        restore: revert drift; otherwise drift is reported and left alone.
        mirrored: models mirrored until now → table, for the reasons.

    Raises:
        UsageError: a rename has a wrong form, or contradicts the tables or another rename.
        DatabaseError: the manifest's `shape` is damaged, or PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    system = frozenset(str(table.name) for table in definition.system)
    with errors_translated(connection):
        written = schema_of((*definition.system, *definition.tables))
        desired = read_back(connection, written)
        recorded = recorded_schema(connection, last_applied, desired)
        actual = inspect_tables(connection, {*desired, *owned})
        own_tables = system | set(owned)
        answered = requested_renames(renames, {name: desired[name] for name in desired if name in owned}, actual)
        actual, recorded = actual.renamed(answered), renamed(recorded, answered)
        recognised = _recognise_own(own_tables, system, desired, actual)
        difference = compare(
            desired, recorded, actual, owned=recognised, system=system, restore=restore, written=written
        )
        context = PlanningContext(
            desired=desired,
            recorded=recorded,
            actual=actual,
            changes=difference.changes,
            renames=answered,
            reasons=Reasons(definition=definition, mirrored=mirrored or {}),
            table_prefix=definition.table_prefix,
            server_version=connection.info.server_version,
        )
        return plan_changes(
            connection, solution, context, difference, own_tables=own_tables, owned=frozenset(owned), system=system
        )


def plan_changes(
    connection: Connection,
    solution: str,
    context: PlanningContext,
    difference: Difference,
    *,
    own_tables: Collection[str],
    owned: frozenset[str] = frozenset(),
    system: frozenset[str] = frozenset(),
) -> Plan:
    """Plan the steps of changes: rehearse them, and query the facts that the steps depend on.

    Args:
        connection: connection whose transaction is used, as by `rehearse`.
        solution: the solution's name.
        context: the three schemas, and the changes.
        difference: the changes.
        own_tables: tables whose foreign keys are not in the way.
        owned: business tables recorded as the solution's.
        system: names of the system tables.

    Raises:
        psycopg2.Error: PostgreSQL rejected a statement; the caller translates it.
    """
    altered = alterations(context)
    tables = {table: context.when_altered(table) for table in {one.table for one in altered}}
    rehearsal = rehearse(connection, altered, tables=tables, renames=context.renames)
    changes = tuple(detach_keys(difference.changes, context.desired, context.actual, rehearsal))
    difference = replace(difference, changes=changes)
    context = replace(context, changes=changes, rehearsal=rehearsal)
    context = _add_facts(connection, context, difference, own_tables)
    return _build_plan(solution, context, difference, owned=owned, system=system)


def recorded_schema(
    connection: Connection, last_applied: Mapping[str, Any] | None, desired: Schema
) -> dict[str, TableSchema]:
    """Return the last applied schema in the server's notation; earlier versions and servers wrote another.

    Args:
        connection: connection whose transaction is used, as by `read_back`.
        last_applied: `shape` of the manifest.
        desired: the desired schema in the server's notation.

    Raises:
        DatabaseError: the manifest's `shape` is damaged.
        psycopg2.Error: PostgreSQL rejected a statement; the caller translates it.
    """
    recorded = from_json(last_applied or {})
    same = {name: table for name, table in recorded.items() if desired.get(name) == table}
    other = {name: table for name, table in recorded.items() if name not in same}
    return {**same, **read_back(connection, other)}


def detach_keys(
    changes: Iterable[Change], desired: Schema, actual: InspectedSchema, rehearsal: Rehearsal
) -> Iterator[Change]:
    """Drop and recreate foreign keys of rewritten columns and dropped keys, and what a type change leaves otherwise.

    Foreign keys that go with their table or column are dropped before the key that they refer to.

    Args:
        changes: the changes.
        desired: the desired schema.
        actual: the inspected database.
        rehearsal: of these changes.
    """
    known = list(changes)
    retyped = {(change.table, change.column) for change in known if change.kind is ChangeKind.RETYPE}
    ends = retyped & rehearsal.rewrites
    dropped = [
        (change.table, change.actual) for change in known if change.kind is ChangeKind.DROP_KEY and change.actual
    ]
    going = {key.oid for _, key in dropped}
    targets = {(table, key.schema.columns) for table, key in dropped if key.schema.is_unique}
    left = {(change.table, change.column) for change in known if change.kind in _DROPS}
    yield from known
    for name, table in actual.tables.items() if retyped or targets else ():
        differing, keys = rehearsal.differing.get(name, ()), desired[name].keys if name in desired else ()
        for key in table.keys:
            target = key.schema.target
            own = next((one for one in keys if one.identity == key.schema.identity), None)
            leaves = (name, "") in left or any((name, column) in left for column in key.schema.columns)
            if key.oid in going or key.backing or not (own or leaves):
                continue
            columns = {(name, column) for column in key.schema.columns}
            columns |= {(target[0], column) for column in target[1]} if target is not None else set()
            differs = own and target is None and key.schema.identity in differing
            if differs or (target is not None and (columns & ends or target in targets)):
                yield Change(kind=ChangeKind.DROP_KEY, table=name, actual=key)
                if own:
                    yield Change(kind=ChangeKind.ADD_KEY, table=name, key=replace(own, name=key.schema.name))


def _recognise_own(
    own_tables: Collection[str], system: Collection[str], desired: Schema, actual: InspectedSchema
) -> frozenset[str]:
    """Return FBS's own tables: a system table is recognised by at least half of its columns."""
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
    """Query the facts about changed tables."""
    touched = {change.table for change in difference.changes} | {table for table, _ in context.renames}
    touched |= {change.key.target[0] for change in difference.changes if change.key and change.key.target}
    touched |= context.archived_tables.keys() | {table for table, _ in context.archived_values}
    now = {context.old_table(table): table for table in touched & context.actual.tables.keys()}
    populated = frozenset(now[name] for name in populated_tables(connection, now.keys()))
    dropped = {(one.table, one.column) for one in difference.changes if one.kind in _DROPS}
    moving = dropped | {(one.table, one.column) for one in difference.changes if one.kind is ChangeKind.RETYPE}
    dependents = dependent_objects(connection, {table for table, _ in moving}, own_tables=own_tables)
    return replace(
        context,
        dependents=[
            one
            for one in dependents
            if ((one.table, "") in dropped and one.owner != one.table)
            or (one.table, one.column) in dropped
            or (one.blocks_retype and (one.table, one.column) in moving)
        ],
        attached=list(_attached(connection, context, {one for one in dropped if one[1]})),
        populated=populated,
        sizes={now[name]: size for name, size in estimated_sizes(connection, now.keys()).items()},
        used_names=used_names(connection) if difference.changes else frozenset(),
        possible_renames={} if context.is_undo else likely_renames(difference, populated),
    )


def _attached(
    connection: Connection, context: PlanningContext, dropped: Collection[tuple[str, str]]
) -> Iterator[tuple[str, str, str]]:
    """Objects of users that go with dropped columns: table, column, definition."""
    if not dropped:
        return
    others = attached(connection, {table for table, _ in dropped})
    for table, column in sorted(dropped):
        known = [schema[table] for schema in (context.desired, context.recorded) if table in schema]
        ours = frozenset().union(*(one.identities for one in known))
        for key in context.actual.tables[table].keys:
            if column in key.uses and not key.backing and key.schema.identity not in ours:
                yield table, column, f"{key.schema.label()} {key.schema.name} ({key.definition})"
        recorded = context.recorded[table].columns.get(column) if table in context.recorded else None
        for statement in others.get((table, column), ()):
            if not (statement.startswith("COMMENT") and recorded is not None and recorded.comment):
                yield table, column, statement


def _build_plan(
    solution: str,
    context: PlanningContext,
    difference: Difference,
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
        steps=plan_steps(context),
        drift=tuple(_drift(difference, system)),
        questions=tuple(
            reasons.of_possible_rename(table, old, new)
            for (table, old), new in sorted(context.possible_renames.items())
        ),
        notes=(
            *(reasons.of_nullable(change.table, change.column) for change in nullable),
            *(reasons.of_attached(*one) for one in context.attached),
            *(() if context.is_undo else _archived_values(context)),
        ),
        blockers=(
            *(reasons.of_dependent(one) for one in context.dependents),
            *(reasons.of_rejection(*place, message) for place, message in sorted(context.rehearsal.refused.items())),
        ),
        changes=(
            *difference.describe(context.desired),
            *(f"{table}: the table is missing" for table in context.archived_tables),
        ),
        summary=tuple(_summary(context, difference)),
        tables=tuple(sorted({*business, *(owned & difference.blocked.keys())})),
        schema=to_json(schema),
        undo={} if context.is_undo else _for_undo(context, schema, system),
    )


def _for_undo(context: PlanningContext, after: Schema, system: frozenset[str]) -> dict[str, Any]:
    """What an undo needs; see `Plan.undo`."""
    touched = {change.table for change in context.changes} | {table for table, _ in context.renames}
    former = {table: _former(table, context) for table in sorted(touched - system)}
    known = {table: schema for table, schema in former.items() if schema is not None}
    known = renamed(known, {(table, new): old for (table, old), new in context.renames.items()})
    return {
        "former": {**dict.fromkeys(former), **to_json(known, exactly=True)},
        "after": to_json({table: after[table] for table in touched & after.keys()}, exactly=True),
        "renames": [[table, old, new] for (table, old), new in sorted(context.renames.items())],
        "attached": [list(one) for one in context.attached if one[2].startswith(("CREATE STATISTICS", "GRANT"))],
    }


def _former(name: str, context: PlanningContext) -> TableSchema | None:
    """A table as it is, without objects of users that stay, as their author wrote it; None for a new one."""
    table = context.actual.tables.get(name)
    if table is None:
        return None
    known = [schema[name] for schema in (context.recorded, context.desired) if name in schema]
    keys = {key.identity: key for one in known for key in one.keys}
    columns = {column: facts for one in reversed(known) for column, facts in one.columns.items()}
    goes = name not in context.desired
    dropped = {change.column for change in context.changes if change.table == name and change.kind in _DROPS}
    own = [
        key
        for key in table.keys
        if not key.backing and (key.valid or key.schema.kind != INDEX)
        if goes or key.schema.identity in keys or key.oid in context.dropped_oids or key.uses & dropped
    ]
    used = {column for key in own for column in key.uses}
    return TableSchema(
        columns={
            column: replace(facts, written=columns[column].written)
            if column in columns and columns[column].written and facts.default == columns[column].default
            else facts
            for column, facts in table.columns.items()
            if goes or column in columns or column in used
        },
        keys=tuple(
            replace(key.schema, written=keys[key.schema.identity].written if key.schema.identity in keys else "")
            for key in own
        ),
        comment=table.comment,
    )


def _summary(context: PlanningContext, difference: Difference) -> Iterator[TableSummary]:
    """What happens to each table, in the order of their names."""
    changes = [
        *((table, f"{old} is renamed to {new}") for (table, old), new in sorted(context.renames.items())),
        *((table, "+ table") for table in context.archived_tables),
        *((change.table, change.summary()) for change in difference.described(context.desired)),
        *((table, f"archived values of {column}") for table, column in context.archived_values),
    ]
    for table in sorted({table for table, _ in changes}):
        rows, size = context.sizes.get(table, (0, 0))
        lines = tuple(dict.fromkeys(text for name, text in changes if name == table))
        yield TableSummary(table=table, rows=rows, bytes=size, changes=lines)


def _archived_values(context: PlanningContext) -> Iterator[str]:
    """Notes about archived values of recreated tables and columns."""
    for change in context.changes:
        if change.kind in {ChangeKind.CREATE_TABLE, ChangeKind.ADD_COLUMN}:
            name = context.archive_name(change.table, change.column)
            if name in context.used_names:
                yield context.reasons.of_archived(change.table, change.column, name)


def _schema_after(name: str, desired: TableSchema, nullable: Sequence[Change], difference: Difference) -> TableSchema:
    """The schema applied by the plan: without columns' NOT NULL and foreign keys that are not possible yet."""
    nullable_columns = {change.column for change in nullable if change.table == name}
    return TableSchema(
        columns={
            column: replace(declared, not_null=False) if column in nullable_columns else declared
            for column, declared in desired.columns.items()
        },
        keys=tuple(key for key in desired.keys if not _refers_to(key, difference.blocked)),
        comment=desired.comment,
    )


def _refers_to(key: KeySchema, tables: Collection[str]) -> bool:
    return key.target is not None and key.target[0] in tables


def _drift(difference: Difference, system: Collection[str]) -> Iterator[str]:
    for table, conflict in sorted(difference.blocked.items()):
        yield f"{table}: name conflict with {conflict} that FBS did not create; the table is skipped"
    for change in difference.drift:
        why = "possibly used by other solutions" if change.table in system else "changed by hand"
        yield f"{change.describe()}; {why}, left as it is"
    for change in difference.changes:
        if change.drifted:
            yield f"{change.describe()}; changed by hand, overwritten by the plan"
