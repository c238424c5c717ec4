"""Turn changes into the steps of a plan, in execution order, each by its online variant where one exists. Pure.

Columns:

    new column                  constant default: one ALTER TABLE without a rewrite
                                volatile default: nullable, then the default, then a backfill in batches
                                NOT NULL without a default: nullable until all rows have values
    NOT NULL                    CHECK (… IS NOT NULL) NOT VALID, VALIDATE, SET NOT NULL (which relies on the check and
                                skips the scan since PostgreSQL 12), DROP CONSTRAINT
    type change                 see `type_conversion`
    dropped column              its values are archived first

Keys, indexes and checks, on tables with rows:

    index                       CREATE INDEX CONCURRENTLY; an invalid one of an interrupted run is dropped first
    unique or primary key       a unique index as above, then ADD CONSTRAINT … USING INDEX
    foreign key, check          NOT VALID, then VALIDATE; one that is NOT ENFORCED at once, nothing is scanned. It
                                replaces an enforced one in one transaction: DROP CONSTRAINT takes the same locks as
                                ALTER CONSTRAINT … NOT ENFORCED, and leaves no action behind that does not act

On an empty table each is one plain statement.

Sources: PostgreSQL's documentation of ALTER TABLE (notes) and section 13.3.1 (table-level locks); relfilenode and
pg_locks of PostgreSQL 18.
"""

from __future__ import annotations

from typing import Final

from fbs_worker.core.identifiers import quoted
from fbs_worker.migration.model.plan import BATCH, ArchiveTarget, Hazard, Lock, Mode, Step
from fbs_worker.migration.plan.context import Phase, Phased, PlanningContext, default_name, is_prebuilt_index
from fbs_worker.migration.plan.rehearsal import Alteration
from fbs_worker.schema.ddl import (
    comment_statements,
    create_table,
    declaration,
    definition,
    key_statement,
    quoted_list,
)
from fbs_worker.schema.differ import Change, ChangeKind, not_null_check
from fbs_worker.schema.inspector import BACKFILL_COMMENT
from fbs_worker.schema.model import (
    CHECK,
    EXCLUDE,
    FOREIGN,
    INDEX,
    PRIMARY,
    SERIAL,
    UNIQUE,
    ColumnSchema,
    KeySchema,
)

_KINDS: Final = {
    "p": "primary_key", "u": "unique_key", "f": "foreign_key", "i": "index", "c": "check", "x": "exclusion",
}  # fmt: skip

_KEYS: Final = frozenset((ChangeKind.ADD_KEY, ChangeKind.VALIDATE_KEY, ChangeKind.DROP_KEY))


def plan_steps(context: PlanningContext) -> tuple[Step, ...]:
    """Return the steps of all changes, in execution order.

    Args:
        context: the changes and the facts about the database.
    """
    result = [*_rename_columns(context), *_restore(context)]
    for change in context.changes:
        if change.kind is ChangeKind.CREATE_TABLE:
            result += _create_table(change, context)
        elif change.kind is ChangeKind.DROP_TABLE:
            result += _drop_table(change, context)
        elif change.kind in _KEYS:
            result += _key_steps(change, context)
        elif change.kind is ChangeKind.COMMENT:
            result += _comment(change, context)
        else:
            result += _column_steps(change, context)
    result.sort(key=_order)
    return tuple(step for _, step in result)


def _order(one: tuple[Phase, Step]) -> tuple[Phase, int, bool]:
    """Drops first in a phase, foreign keys before the keys that they reference, and what takes long last."""
    phase, step = one
    drops = ("drop_foreign_key", "drop_unique_key", "drop_primary_key")
    return phase, drops.index(step.kind) if step.kind in drops else len(drops), step.takes_long


def _rename_columns(context: PlanningContext) -> Phased:
    for (table, old), new in sorted(context.renames.items()):
        yield (
            Phase.RENAME,
            Step(
                sql=f"ALTER TABLE {quoted(table)} RENAME COLUMN {quoted(old)} TO {quoted(new)}",
                kind="rename_column",
                table=table,
                reason=context.reasons.of_rename(table, old, new),
                has_rows=table in context.populated,
            ),
        )


def _create_table(change: Change, context: PlanningContext) -> Phased:
    """Create a table and its indexes; its foreign keys are separate changes, applied after all tables exist."""
    table = context.desired[change.table]
    yield context.step(Phase.CREATE, change, "create_table", create_table(change.table, table))
    for key in table.keys:
        if key.kind == INDEX:
            yield from _key_steps(Change(kind=ChangeKind.ADD_KEY, table=change.table, key=key), context)


def _drop_table(change: Change, context: PlanningContext) -> Phased:
    has_rows = change.table in context.populated
    archive_table = context.archive_name(change.table)
    yield context.step(
        Phase.DROP_TABLES,
        change,
        "drop_table",
        f"DROP TABLE {quoted(change.table)}",
        hazards={Hazard.DELETES_DATA} if has_rows else (),
        archive=ArchiveTarget(table=change.table, column=None, archive_table=archive_table) if has_rows else None,
    )


def _comment(change: Change, context: PlanningContext) -> Phased:
    """Write all comments of a table in one step."""
    yield context.step(
        Phase.FINISH_COLUMNS,
        change,
        "comment",
        ";\n".join(comment_statements(change.table, change.comments)),
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
    )


def _default_action(column: ColumnSchema) -> str:
    """The ALTER COLUMN action that sets or drops the default."""
    return "DROP DEFAULT" if column.default is None else f"SET DEFAULT {column.source}"


def stays_nullable(change: Change, context: PlanningContext) -> bool:
    """Return whether a new required column stays nullable, because existing rows have no value for it."""
    after = change.after
    if change.kind is not ChangeKind.ADD_COLUMN or after is None or change.table not in context.populated:
        return False
    return after.not_null and (after.default is None or after.default.partition("::")[0].upper() == "NULL")


def _column_steps(change: Change, context: PlanningContext) -> Phased:
    match change.kind:
        case ChangeKind.ADD_COLUMN:
            yield from _add_column(change, context)
        case ChangeKind.FILL_COLUMN:
            yield from _backfill(change, context)
        case ChangeKind.RETYPE:
            yield from _retype(change, context)
        case ChangeKind.SET_NOT_NULL:
            yield from _set_not_null(change, context)
        case ChangeKind.DROP_NOT_NULL:
            yield context.step(Phase.COLUMNS, change, "drop_not_null", _alter(change, "DROP NOT NULL"))
        case ChangeKind.DEFAULT:
            yield from _set_default(change, context)
        case ChangeKind.DROP_COLUMN:
            yield from _drop_column(change, context)


def _alter(change: Change, *actions: str) -> str:
    return f"ALTER TABLE {quoted(change.table)} {_clauses(change, *actions)}"


def _clauses(change: Change, *actions: str) -> str:
    return ", ".join(f"ALTER COLUMN {quoted(change.column)} {action}" for action in actions)


def _add_column(change: Change, context: PlanningContext) -> Phased:
    after = change.after
    if after is None:
        return
    table, column = quoted(change.table), quoted(change.column)
    has_rows, restored = change.table in context.populated, (change.table, change.column) in context.archived_values
    rewrites = has_rows and context.rewrites(change)
    filled = rewrites and after.expression is not None and not restored
    apart = filled or (restored and after.expression is not None)
    statement = f"ALTER TABLE {table} ADD COLUMN {column} {declaration(after)}"
    if apart:
        statement = (
            f"ALTER TABLE {table} ADD COLUMN {column} {after.full_type}, ALTER COLUMN {column} {_default_action(after)}"
        )
    elif restored or stays_nullable(change, context):
        statement = f"ALTER TABLE {table} ADD COLUMN {column} {after.full_type}"
    hazards = {Hazard.REWRITES_TABLE, Hazard.LONG_LOCK} if rewrites and not (filled or restored) else ()
    yield context.step(Phase.COLUMNS, change, "add_column", statement, hazards=hazards)
    if filled:
        yield context.step(
            Phase.COLUMNS,
            change,
            "mark_column",
            f"COMMENT ON COLUMN {table}.{column} IS '{BACKFILL_COMMENT}'",
            lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        )
        yield from _backfill(change, context)
    if (filled or restored) and after.not_null:
        yield from _set_not_null(change, context)


def _backfill(change: Change, context: PlanningContext) -> Phased:
    """Backfill a marked column."""
    yield from _fill(change, context)
    yield context.step(
        Phase.FINISH_COLUMNS,
        change,
        "unmark_column",
        *comment_statements(change.table, {change.column: change.after.comment if change.after else ""}),
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
    )


def _fill(change: Change, context: PlanningContext) -> Phased:
    """Replace NULLs by the default in batches: restartable at any point."""
    table, column, after = quoted(change.table), quoted(change.column), change.after
    if change.table in context.populated and after is not None and after.default is not None:
        primary = context.actual.tables[change.table].primary_key
        where = f"{column} IS NULL"
        if not primary:  # for an array PostgreSQL estimates few values and chooses an index scan
            where = f"ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {where} LIMIT {BATCH})) AND {where}"  # noqa: S608
        yield context.step(
            Phase.FILL,
            change,
            "fill_column",
            f"UPDATE {table} SET {column} = DEFAULT WHERE {where}",  # noqa: S608 -- names are quoted
            lock=Lock.ROW_EXCLUSIVE,
            mode=Mode.BATCHES,
            batch_key=primary,
        )


def _restore(context: PlanningContext) -> Phased:
    """Bring back archived tables and values; each step may be repeated."""
    for table, archive in context.archived_tables.items():
        change = Change(kind=ChangeKind.CREATE_TABLE, table=table)
        yield context.step(Phase.CREATE, change, "restore_table", archive.statement)
    for (table, column), archive in context.archived_values.items():
        before, after = context.actual.tables[table].columns.get(column), context.desired[table].columns[column]
        change = Change(kind=ChangeKind.ADD_COLUMN, table=table, column=column, after=after)
        yield context.step(
            Phase.FILL, change, "restore_values", archive.statement, lock=Lock.ROW_EXCLUSIVE, mode=Mode.BATCHES
        )
        if after.not_null and after.expression is not None and not (before and before.not_null):
            yield from _fill(change, context)
        name = quoted(archive.name)
        drop = f"DO $fbs$ BEGIN IF NOT EXISTS (SELECT FROM {name}) THEN DROP TABLE {name}; END IF; END $fbs$"
        yield context.step(Phase.DROP_ARCHIVES, change, "drop_archive", drop, lock=Lock.NONE)
    for table, column, statement in context.archived_extras:
        after = context.desired[table].columns[column]
        change = Change(kind=ChangeKind.ADD_COLUMN, table=table, column=column, after=after)
        lock = Lock.SHARE_UPDATE_EXCLUSIVE
        yield context.step(Phase.FINISH_COLUMNS, change, "restore_attached", statement, lock=lock)


def alterations(context: PlanningContext) -> list[Alteration]:
    """Return the changes of columns that may write a table anew, or that PostgreSQL may refuse, to rehearse them."""
    found = []
    for change in context.changes:
        after = change.after
        if change.kind is ChangeKind.RETYPE:
            actions = _clauses(change, *_retyping(change, context))
        elif change.kind is ChangeKind.ADD_COLUMN and after is not None and change.table in context.actual.tables:
            if after.is_exact and after.default != SERIAL:
                continue  # known to be no rewrite: without a default, or with a constant one
            actions = f"ADD COLUMN {quoted(change.column)} {declaration(after)}"
        else:
            continue
        found.append(Alteration(table=change.table, column=change.column, actions=actions))
    return found


def _retype(change: Change, context: PlanningContext) -> Phased:
    before, after = change.before, change.after
    if before is None or after is None:
        return
    conversion, rewrites = context.conversion(change), context.rewrites(change)
    has_rows = change.table in context.populated
    old = context.conversion(change, context.old_name(change.table, change.column))
    hazards: set[Hazard] = set()
    if has_rows:
        hazards |= {Hazard.REWRITES_TABLE, Hazard.LONG_LOCK} if rewrites else set()
        hazards |= {Hazard.MIGHT_FAIL_ON_DATA} if conversion.may_fail else set()
        hazards |= _deletes(change, context) if conversion.lossy else set()
    yield context.step(
        Phase.COLUMNS,
        change,
        "retype_column",
        _alter(change, *_retyping(change, context)),
        hazards=hazards,
        archive=_archive_target(change, context) if has_rows and conversion.lossy else None,
        check=context.count(change.table, old.fails_where) if has_rows and old.fails_where else None,
        reversible=conversion.reverse is not None or conversion.lossy,
    )


def _deletes(change: Change, context: PlanningContext) -> set[Hazard]:
    return set() if (change.table, change.column) in context.unharmed else {Hazard.DELETES_DATA}


def _retyping(change: Change, context: PlanningContext) -> list[str]:
    """The actions of a type change: PostgreSQL keeps a default's cast to the former type, or refuses it."""
    before, after = change.before, change.after
    assert before is not None and after is not None  # noqa: S101, PT018 -- what a RETYPE is
    conversion = context.conversion(change)
    action = f"TYPE {after.full_type}" + ("" if conversion.implicit else f" USING {conversion.value}")
    if before.expression is None and before.default is not None:  # a sequence or an expression
        return [action]
    first = ["DROP DEFAULT"] if before.default is not None else []
    return [*first, action, *([_default_action(after)] if after.expression is not None else [])]


def _set_not_null(change: Change, context: PlanningContext) -> Phased:
    table, column = quoted(change.table), quoted(change.column)
    if change.table not in context.populated:
        yield context.step(Phase.COLUMNS, change, "set_not_null", _alter(change, "SET NOT NULL"))
        return
    name = not_null_check(change.table, change.column)
    actual = context.actual.tables[change.table]
    helper = next((key for key in actual.keys if key.schema.name == name), None)
    if helper is None:
        sql = f"ALTER TABLE {table} ADD CONSTRAINT {quoted(name)} CHECK ({column} IS NOT NULL) NOT VALID"
        yield context.step(Phase.ADD_NOT_VALID, change, "add_not_null_check", sql)
    if helper is None or not helper.valid:
        being_filled = change.kind is ChangeKind.ADD_COLUMN or change.column in actual.backfilling
        being_filled |= (change.table, change.column) in context.archived_values
        old = quoted(context.old_name(change.table, change.column))
        fails = set() if being_filled else {Hazard.MIGHT_FAIL_ON_DATA}
        check = None if being_filled else context.count(change.table, f"{old} IS NULL")
        yield _validate(change, context, "not_null_check", name, hazards=fails, check=check)
    yield context.step(Phase.FINISH_COLUMNS, change, "set_not_null", _alter(change, "SET NOT NULL"))
    # separate statement: combined with SET NOT NULL, PostgreSQL scans all rows
    sql = f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}"
    yield context.step(Phase.FINISH_COLUMNS, change, "drop_not_null_check", sql)


def _set_default(change: Change, context: PlanningContext) -> Phased:
    before, after = change.before, change.after
    retyped = any(
        other.kind is ChangeKind.RETYPE and (other.table, other.column) == (change.table, change.column)
        for other in context.changes
    )
    if before is None or after is None or retyped:  # the type change sets the default
        return
    actions = [_default_action(after)]
    if before.default is not None and before.default.startswith("GENERATED"):
        first = "DROP IDENTITY" if before.default.endswith("IDENTITY") else "DROP EXPRESSION"
        actions = [first, *(actions if after.default is not None else [])]
    for action in actions:
        kind = "drop_default" if action.startswith("DROP") else "set_default"
        yield context.step(Phase.COLUMNS, change, kind, _alter(change, action))


def _drop_column(change: Change, context: PlanningContext) -> Phased:
    has_rows = change.table in context.populated
    table, column = quoted(change.table), quoted(change.column)
    hazards = _deletes(change, context) if has_rows else set()
    new = context.possible_renames.get((change.table, change.column))
    yield context.step(
        Phase.DROP_COLUMNS,
        change,
        "drop_column",
        f"ALTER TABLE {table} DROP COLUMN {column}",
        hazards=hazards | ({Hazard.POSSIBLE_RENAME} if has_rows and new else set()),
        archive=_archive_target(change, context) if has_rows else None,
    )


def _archive_target(change: Change, context: PlanningContext) -> ArchiveTarget:
    archive_table = context.archive_name(change.table, change.column)
    key = context.actual.tables[change.table].primary_key
    return ArchiveTarget(table=change.table, column=change.column, archive_table=archive_table, key=key)


def _key_steps(change: Change, context: PlanningContext) -> Phased:
    key = change.key
    match change.kind:
        case ChangeKind.DROP_KEY:
            yield from _drop_key(change, context)
        case ChangeKind.VALIDATE_KEY if key and change.actual:
            yield _validate_constraint(change, context, key, change.actual.schema.name)
        case ChangeKind.ADD_KEY if key and key.kind == INDEX:
            yield from _create_index(change, context, key, context.free_name(change.table, key))
        case ChangeKind.ADD_KEY if key and key.kind in {FOREIGN, CHECK}:
            yield from _add_constraint(change, context, key)
        case ChangeKind.ADD_KEY if key and key.kind == EXCLUDE:
            yield _add_at_once(change, context, key, context.free_name(change.table, key))
        case ChangeKind.ADD_KEY if key:
            yield from _add_unique_key(change, context, key)


def _create_index(change: Change, context: PlanningContext, key: KeySchema, name: str) -> Phased:
    has_rows, online = change.table in context.populated, context.online(change.table)
    yield context.step(
        Phase.BUILD if online else Phase.KEYS,
        change,
        "create_index",
        key_statement(change.table, key, name, concurrently=online),
        # otherwise SHARE suffices; both block writers
        lock=Lock.SHARE_UPDATE_EXCLUSIVE if online else Lock.SHARE_ROW_EXCLUSIVE,
        mode=Mode.ALONE if online else Mode.TRANSACTION,
        hazards=_build_hazards(change, context) | (_might_fail(change, context, key) if key.is_unique else set()),
        check=context.count_duplicates(change.table, key) if has_rows and key.is_unique else None,
        cleanup=f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}" if online else None,
    )
    if online and key.name != name and context.is_freed_late(change.table, key.name):
        yield _rename_index(change, context, name, key.name)


def _rename_index(change: Change, context: PlanningContext, name: str, usual: str) -> tuple[Phase, Step]:
    """Give a built index its name once the former owner of the name is dropped."""
    return context.step(
        Phase.DROP_INDEXES,
        change,
        "rename_key",
        f"ALTER INDEX {quoted(name)} RENAME TO {quoted(usual)}",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
    )


def _build_hazards(change: Change, context: PlanningContext) -> set[Hazard]:
    """Hazards of an index build; CONCURRENTLY is not supported for a partitioned table."""
    if change.table not in context.populated:
        return set()
    return {Hazard.INDEX_BUILD} if context.online(change.table) else {Hazard.INDEX_BUILD, Hazard.LONG_LOCK}


def _might_fail(change: Change, context: PlanningContext, key: KeySchema) -> set[Hazard]:
    equal_nulls = key.index is not None and key.index.equal_nulls and change.table in context.populated
    return {Hazard.MIGHT_FAIL_ON_DATA} if equal_nulls or context.has_values(change.table, key.columns) else set()


def _add_unique_key(change: Change, context: PlanningContext, key: KeySchema) -> Phased:
    name = context.free_name(change.table, key)
    actual = context.actual.tables[change.table]
    built = any(
        is_prebuilt_index(existing.schema, key, name) and existing.valid and existing.plain and not existing.backing
        for existing in actual.keys
        if existing.oid not in context.dropped_oids
    )
    if not built and not context.online(change.table):
        yield _add_at_once(change, context, key, name)
        return
    if not built:
        detail = key.index.detail if key.index else f"UNIQUE {quoted_list(key.columns)}"
        index = KeySchema(kind=INDEX, columns=key.columns, detail=detail, index=key.index, name=name)
        yield from _create_index(change, context, index, name)
    kind = "PRIMARY KEY" if key.kind == PRIMARY else "UNIQUE"
    words = f"{kind} USING INDEX {quoted(name)} {key.deferral}".rstrip()
    usual = default_name(change.table, key)
    if context.is_freed_late(change.table, usual, kinds={PRIMARY, UNIQUE}):  # PostgreSQL renames the index
        name = usual
    yield context.step(
        # after SET NOT NULL of its columns, or PostgreSQL scans all rows
        Phase.ADD_PRIMARY_KEYS if key.kind == PRIMARY else Phase.ATTACH,
        change,
        f"add_{_KINDS[key.kind]}",
        f"ALTER TABLE {quoted(change.table)} ADD CONSTRAINT {quoted(name)} {words}",
    )
    if name != usual and context.is_freed_late(change.table, usual):
        yield _rename_index(change, context, name, usual)  # the constraint is renamed with its index


def _add_at_once(change: Change, context: PlanningContext, key: KeySchema, name: str) -> tuple[Phase, Step]:
    """Add a key with its index in one statement: on an empty table; an exclusion cannot be added otherwise."""
    has_rows = change.table in context.populated
    hazards = {Hazard.INDEX_BUILD, Hazard.LONG_LOCK} if has_rows else set()
    fails = _might_fail(change, context, key) if key.kind != EXCLUDE or has_rows else set()
    return context.step(
        Phase.KEYS,
        change,
        f"add_{_KINDS[key.kind]}",
        key_statement(change.table, key, name),
        hazards=hazards | fails,
        check=context.count_duplicates(change.table, key) if has_rows and key.kind != EXCLUDE else None,
    )


def _add_constraint(change: Change, context: PlanningContext, key: KeySchema) -> Phased:
    name, table = context.free_name(change.table, key), quoted(change.table)
    foreign = key.kind == FOREIGN
    words = definition(key)
    late = foreign and key.target is not None and context.key_is_built_online(*key.target)
    has_rows, online = change.table in context.populated, context.online(change.table) and key.enforced
    at_once = has_rows and not online and key.enforced
    yield context.step(
        Phase.ADD_NOT_VALID if late or online else Phase.REFERENCES if foreign else Phase.KEYS,
        change,
        f"add_{_KINDS[key.kind]}",
        f"ALTER TABLE {table} ADD CONSTRAINT {quoted(name)} {words}{' NOT VALID' if online else ''}",
        refers_to=key.target[0] if key.target else "",
        lock=Lock.SHARE_ROW_EXCLUSIVE if foreign else Lock.ACCESS_EXCLUSIVE,
        hazards={Hazard.LONG_LOCK} | _might_fail(change, context, key) if at_once else (),
        check=_count_violations(change, context, key) if at_once else None,
    )
    if online:
        yield _validate_constraint(change, context, key, name)


def _validate_constraint(change: Change, context: PlanningContext, key: KeySchema, name: str) -> tuple[Phase, Step]:
    check = _count_violations(change, context, key) if change.table in context.populated else None
    fails = _might_fail(change, context, key)
    return _validate(change, context, _KINDS[key.kind], name, hazards=fails, check=check)


def _validate(
    change: Change, context: PlanningContext, what: str, name: str, *, hazards: set[Hazard], check: str | None
) -> tuple[Phase, Step]:
    """Validate a constraint that was added as NOT VALID."""
    return context.step(
        Phase.VALIDATE,
        change,
        f"validate_{what}",
        f"ALTER TABLE {quoted(change.table)} VALIDATE CONSTRAINT {quoted(name)}",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
        hazards=hazards,
        check=check,
    )


def _count_violations(change: Change, context: PlanningContext, key: KeySchema) -> str | None:
    if key.kind == FOREIGN:
        return context.count_orphans(change.table, key)
    return context.count_violations(change.table, key.detail)


def _drop_key(change: Change, context: PlanningContext) -> Phased:
    actual = change.actual
    if actual is None:
        return
    name = quoted(actual.schema.name)
    late = context.is_dropped_late(change)
    if actual.schema.kind == INDEX:
        yield context.step(
            Phase.DROP_INDEXES if late else Phase.DROP_KEYS,
            change,
            "drop_index",
            f"DROP INDEX {'CONCURRENTLY ' if late else ''}{name}",
            lock=Lock.SHARE_UPDATE_EXCLUSIVE if late else Lock.ACCESS_EXCLUSIVE,
            mode=Mode.ALONE if late else Mode.TRANSACTION,
            hazards={Hazard.INDEX_DROPPED} if late else (),
        )
        return
    phase = Phase.ADD_PRIMARY_KEYS if actual.schema.kind == PRIMARY else Phase.ATTACH
    yield context.step(
        phase if late else Phase.DROP_KEYS,
        change,
        f"drop_{_KINDS[actual.schema.kind]}",
        f"ALTER TABLE {quoted(change.table)} DROP CONSTRAINT {name}",
        refers_to=actual.schema.target[0] if actual.schema.target else "",
    )
