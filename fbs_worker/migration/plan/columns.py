"""How columns change: each by the way that holds nobody up and loses nothing, where there is one. Pure.

    a new column                its default is the same for all rows: one ALTER TABLE, nothing is rewritten
                                each row gets its own: without a default, then with it, then rows in batches
                                it is NOT NULL and nothing tells the values: as NULL allowed, until rows have them
    NOT NULL                    a check that is NOT VALID, VALIDATE, SET NOT NULL (which finds the check and does not
                                look at the rows: since PostgreSQL 12), and the check goes
    another type                see `retype`
    a column goes               its values are kept first

Sources: PostgreSQL's documentation of ALTER TABLE (notes) and section 13.3.1 (table-level locks); relfilenode and
pg_locks of PostgreSQL 18.
"""

from __future__ import annotations

from typing import Final

from fbs_worker.migration.diff.changes import Change, What, helper_check
from fbs_worker.migration.inspect.inspector import FILLING
from fbs_worker.migration.model.plan import Hazard, Lock, Mode, Retired
from fbs_worker.migration.model.schema import PRIMARY, SERIAL, ColumnShape, is_volatile
from fbs_worker.migration.plan.context import Ground, Phase, Phased, quoted

BATCH: Final = 5_000
"""Rows that one statement of a backfill touches."""

_SERIALS: Final = {"smallint": "SMALLSERIAL", "bigint": "BIGSERIAL"}


def declared(column: ColumnShape) -> str:
    """A column's type, default and NOT NULL as SQL."""
    if column.default == SERIAL:
        return f"{_SERIALS.get(column.type, 'SERIAL')} NOT NULL"
    default = f" DEFAULT {column.default}" if column.default is not None else ""
    return f"{column.type}{default}{' NOT NULL' if column.not_null else ''}"


def default_action(column: ColumnShape) -> str:
    """What ALTER COLUMN is told to give a column its default."""
    return "DROP DEFAULT" if column.default is None else f"SET DEFAULT {column.default}"


def waits(change: Change, ground: Ground) -> bool:
    """Whether a new column that is required has to do without, until its rows have values."""
    after = change.after
    if change.what is not What.ADD_COLUMN or after is None or change.table not in ground.filled:
        return False
    return after.not_null and (after.default is None or after.default.strip().upper() == "NULL")


def column_steps(change: Change, ground: Ground) -> Phased:
    """The steps of a change to a column."""
    match change.what:
        case What.ADD_COLUMN:
            yield from _added(change, ground)
        case What.FILL_COLUMN:
            yield from _filled(change, ground)
        case What.RETYPE:
            yield from _retyped(change, ground)
        case What.SET_NOT_NULL:
            yield from _required(change, ground)
        case What.DROP_NOT_NULL:
            undo = _alter(change, "SET NOT NULL")
            yield ground.step(Phase.COLUMNS, change, "drop_not_null", _alter(change, "DROP NOT NULL"), undo=undo)
        case What.DEFAULT:
            yield from _defaulted(change, ground)
        case What.DROP_COLUMN:
            yield from _dropped(change, ground)


def _alter(change: Change, *actions: str) -> str:
    told = ", ".join(f"ALTER COLUMN {quoted(change.column)} {action}" for action in actions)
    return f"ALTER TABLE {quoted(change.table)} {told}"


def _added(change: Change, ground: Ground) -> Phased:
    after = change.after
    if after is None:
        return
    table, column = quoted(change.table), quoted(change.column)
    undo = f"ALTER TABLE {table} DROP COLUMN {column}"
    has_rows = change.table in ground.filled
    apart = has_rows and after.default is not None and after.default != SERIAL and is_volatile(after.default)
    statement = f"ALTER TABLE {table} ADD COLUMN {column} {declared(after)}"
    if apart:
        statement = (
            f"ALTER TABLE {table} ADD COLUMN {column} {after.type}, ALTER COLUMN {column} {default_action(after)}"
        )
    elif waits(change, ground):
        statement = f"ALTER TABLE {table} ADD COLUMN {column} {after.type}"
    rewrites = {Hazard.REWRITES_TABLE, Hazard.LONG_LOCK} if has_rows and after.default == SERIAL else ()
    yield ground.step(Phase.COLUMNS, change, "add_column", statement, undo=undo, hazards=rewrites)
    if apart:
        yield ground.step(
            Phase.COLUMNS,
            change,
            "mark_column",
            f"COMMENT ON COLUMN {table}.{column} IS '{FILLING}'",
            lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        )
        yield from _filled(change, ground)
        if after.not_null:
            yield from _required(change, ground)


def _filled(change: Change, ground: Ground) -> Phased:
    """Rows get their values in batches. Each takes rows that have none yet: where it was cut off does not matter."""
    table, column, after = quoted(change.table), quoted(change.column), change.after
    if change.table in ground.filled and after is not None and after.default is not None:
        there = ground.found.tables[change.table]
        primary = next((key.shape.columns for key in there.keys if key.shape.kind == PRIMARY), ())
        key = ", ".join(map(quoted, primary)) or "ctid"
        some = f"SELECT {key} FROM {table} WHERE {column} IS NULL LIMIT {BATCH}"  # noqa: S608 -- names are quoted
        # of an array PostgreSQL expects few values, and looks them up
        these = f"({key}) IN ({some})" if len(primary) > 1 else f"{key} = ANY(ARRAY({some}))"
        yield ground.step(
            Phase.FILL,
            change,
            "fill_column",
            f"UPDATE {table} SET {column} = DEFAULT WHERE {these} AND {column} IS NULL",  # noqa: S608 -- see above
            lock=Lock.ROW_EXCLUSIVE,
            mode=Mode.BATCHES,
        )
    yield ground.step(
        Phase.SETTLE,
        change,
        "unmark_column",
        f"COMMENT ON COLUMN {table}.{column} IS NULL",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
    )


def _retyped(change: Change, ground: Ground) -> Phased:
    before, after = change.before, change.after
    if before is None or after is None:
        return
    found = ground.conversion(change)
    has_rows = change.table in ground.filled
    old = ground.conversion(change, ground.old_name(change.table, change.column))
    hazards: set[Hazard] = set()
    if has_rows:
        hazards |= {Hazard.REWRITES_TABLE, Hazard.LONG_LOCK} if found.rewrites else set()
        hazards |= {Hazard.MIGHT_FAIL_ON_DATA} if found.may_fail else set()
        hazards |= {Hazard.DELETES_DATA} if found.lossy else set()
    action = f"TYPE {after.type}" + ("" if found.implied else f" USING {found.value}")
    yield ground.step(
        Phase.COLUMNS,
        change,
        "retype_column",
        _alter(change, *_around(action, before, after, rewrites=found.rewrites)),
        hazards=hazards,
        keeps=_retired(change, ground) if has_rows and found.lossy else None,
        check=ground.count(change.table, old.fails) if has_rows and old.fails else None,
        undo=_back(change, before, after, back=found.back, rewrites=found.rewrites),
    )


def _around(action: str, before: ColumnShape, after: ColumnShape, *, rewrites: bool) -> list[str]:
    """A default of another type is taken off, and given anew."""
    if not rewrites or SERIAL in {before.default, after.default}:
        return [action]
    first = ["DROP DEFAULT"] if before.default is not None else []
    return [*first, action, *([default_action(after)] if after.default is not None else [])]


def _back(change: Change, before: ColumnShape, after: ColumnShape, *, back: str | None, rewrites: bool) -> str | None:
    if back is None:
        return None
    # PostgreSQL does by itself what needs no words
    action = f"TYPE {before.type}" if back == quoted(change.column) else f"TYPE {before.type} USING {back}"
    return _alter(change, *_around(action, after, before, rewrites=rewrites))


def _required(change: Change, ground: Ground) -> Phased:
    table, column = quoted(change.table), quoted(change.column)
    undo = _alter(change, "DROP NOT NULL")
    if change.table not in ground.filled:
        yield ground.step(Phase.COLUMNS, change, "set_not_null", _alter(change, "SET NOT NULL"), undo=undo)
        return
    name = helper_check(change.table, change.column)
    there = ground.found.tables[change.table]
    helper = next((key for key in there.keys if key.shape.name == name), None)
    if helper is None:
        sql = f"ALTER TABLE {table} ADD CONSTRAINT {quoted(name)} CHECK ({column} IS NOT NULL) NOT VALID"
        yield ground.step(Phase.PROVE, change, "add_not_null_check", sql)
    if helper is None or not helper.valid:
        being_filled = change.what is What.ADD_COLUMN or change.column in there.filling
        old = quoted(ground.old_name(change.table, change.column))
        yield ground.step(
            Phase.VALIDATE,
            change,
            "validate_not_null_check",
            f"ALTER TABLE {table} VALIDATE CONSTRAINT {quoted(name)}",
            lock=Lock.SHARE_UPDATE_EXCLUSIVE,
            mode=Mode.ALONE,
            hazards=() if being_filled else {Hazard.MIGHT_FAIL_ON_DATA},
            check=None if being_filled else ground.count(change.table, f"{old} IS NULL"),
        )
    yield ground.step(Phase.SETTLE, change, "set_not_null", _alter(change, "SET NOT NULL"), undo=undo)
    # on its own: in one statement with SET NOT NULL, PostgreSQL would look at all rows
    sql = f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}"
    yield ground.step(Phase.SETTLE, change, "drop_not_null_check", sql)


def _defaulted(change: Change, ground: Ground) -> Phased:
    before, after = change.before, change.after
    retyped = any(
        other.what is What.RETYPE
        and (other.table, other.column) == (change.table, change.column)
        and ground.conversion(other).rewrites
        for other in ground.changes
    )
    if before is None or after is None or retyped:  # a new type takes its default along
        return
    actions, undo = [default_action(after)], _alter(change, default_action(before))
    if before.default is not None and before.default.startswith("GENERATED"):
        first = "DROP IDENTITY" if before.default.endswith("IDENTITY") else "DROP EXPRESSION"
        actions, undo = [first, *(actions if after.default is not None else [])], ""
    for action in actions:
        kind = "drop_default" if action.startswith("DROP") else "set_default"
        yield ground.step(Phase.COLUMNS, change, kind, _alter(change, action), undo=undo or None)


def _dropped(change: Change, ground: Ground) -> Phased:
    has_rows, before = change.table in ground.filled, change.before
    table, column = quoted(change.table), quoted(change.column)
    hazards = {Hazard.DELETES_DATA} if has_rows else set()
    new = ground.possible_renames.get((change.table, change.column))
    yield ground.step(
        Phase.DROP_COLUMNS,
        change,
        "drop_column",
        f"ALTER TABLE {table} DROP COLUMN {column}",
        hazards=hazards | ({Hazard.POSSIBLE_RENAME} if has_rows and new else set()),
        keeps=_retired(change, ground) if has_rows else None,
        undo=None if has_rows or before is None else f"ALTER TABLE {table} ADD COLUMN {column} {declared(before)}",
    )


def _retired(change: Change, ground: Ground) -> Retired:
    keep_in = ground.keeping(change.table, change.column)
    return Retired(table=change.table, column=change.column, keep_in=keep_in)
