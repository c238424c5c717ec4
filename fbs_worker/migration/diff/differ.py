"""What is to change, from three sides: what FBS made, what is wanted now, and what the database has. Pure.

Wanted and made differ: a change. Made and found differ: somebody changed it by hand, which is drift. Drift is told and
left alone, unless it is to be taken back, or a change stands on what it took away. What the database has beyond both is
the user's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from fbs_worker.migration.diff.changes import Change, Difference, What, helper_check
from fbs_worker.migration.inspect.inspector import Found, FoundKey, FoundTable
from fbs_worker.migration.model.schema import (
    CHECK,
    FOREIGN,
    INDEX,
    PRIMARY,
    SERIAL,
    ColumnShape,
    KeyShape,
    Shape,
    TableShape,
)
from fbs_worker.migration.model.type_conversion import conversion

_ENDS: Final = ("_idx", "_key", "_fkey", "_pkey", "_check")


def assumed(wanted: TableShape, found: FoundTable) -> TableShape:
    """What counts as made by FBS in a table of which nothing was recorded: what is wanted and there, as it is there.

    So nothing is dropped that cannot be known to be FBS's, and what differs is a change and not drift.
    """
    keys = []
    for key in wanted.keys:
        served = _serving(key, found.keys) or _sibling(key, found.keys)
        if served is not None:
            keys.append(served.shape if key.kind == FOREIGN else key)
    columns = {name: found.columns[name] for name in wanted.columns if name in found.columns}
    return TableShape(columns=columns, keys=tuple(keys))


def compare(
    wanted: Shape,
    made: Shape,
    found: Found,
    *,
    owned: Collection[str],
    system: Collection[str] = (),
    restore: bool = False,
) -> Difference:
    """What is to change.

    Args:
        wanted: what is wanted now.
        made: what FBS made, as far as it was recorded; of other tables it is assumed.
        found: what the database has, in the words of the other two (`settle.settled`).
        owned: the tables that are recorded as the solution's own, and the system tables.
        system: those of the wanted tables that are system tables: to them things are only added.
        restore: what was changed by hand is to be as it was made, too.
    """
    changes: list[Change] = []
    drift: list[Change] = []
    blocked = _blocked(wanted, found, owned)
    for name, table in wanted.items():
        if name in blocked:
            continue
        there = found.tables.get(name)
        if there is None:
            changes.append(Change(what=What.CREATE_TABLE, table=name))
            foreign = [key for key in table.keys if key.kind == FOREIGN]
            changes += [Change(what=What.ADD_KEY, table=name, key=key) for key in foreign]
            continue
        before = made.get(name) or assumed(table, there)
        if name in system:
            before = TableShape(columns={}, keys=())
        for change, by_hand in _table(name, table, before, there):
            left = by_hand or (name in system and not _is_additive(change))
            (drift if left else changes).append(change)
    for name in sorted(set(owned) - wanted.keys()):
        if name in found.tables:
            changes += _dropped(name, made.get(name), found, gone=set(owned) - wanted.keys())
    if restore:
        again = [change for change in drift if change.table not in system and not _is_serial(change)]
        changes += [replace(change, drifted=True) for change in again]
        drift = [change for change in drift if change not in again]
    changes, drift = _promoted(changes, drift)
    changes = [change for change in changes if not _refers_to(change, blocked)]
    return Difference(changes=tuple(_loosened(changes, wanted, found)), drift=tuple(drift), blocked=blocked)


def _blocked(wanted: Shape, found: Found, owned: Collection[str]) -> dict[str, str]:
    others = {name: found.others[name].told for name in wanted if name in found.others}
    return others | {name: "a table" for name in wanted if name in found.tables and name not in owned}


def _is_additive(change: Change) -> bool:
    """Whether it may happen to a system table: other solutions may use it, too."""
    if change.key is not None and change.key.kind == PRIMARY:
        return False
    return change.what in {What.ADD_COLUMN, What.FILL_COLUMN, What.ADD_KEY, What.VALIDATE_KEY}


def _is_serial(change: Change) -> bool:
    """Whether a column is to count by itself again: from where on, nobody can tell."""
    return change.what is What.DEFAULT and change.after is not None and change.after.default == SERIAL


def _refers_to(change: Change, blocked: Mapping[str, str]) -> bool:
    return change.key is not None and change.key.target is not None and change.key.target[0] in blocked


# ------------------------------------- one table: its changes, and whether each would do nothing but undo drift


def _table(name: str, wanted: TableShape, made: TableShape, found: FoundTable) -> Iterator[tuple[Change, bool]]:
    for column, after in wanted.columns.items():
        yield from _column(name, column, after, made.columns.get(column), found)
    dropped = {column for column in made.columns if column in found.columns and column not in wanted.columns}
    for column in sorted(dropped):
        before = found.columns[column]
        by_hand = before.type != made.columns[column].type
        yield Change(what=What.DROP_COLUMN, table=name, column=column, before=before, drifted=by_hand), False
    yield from _keys(name, wanted, made, found, dropped)


def _column(
    table: str, column: str, wanted: ColumnShape, made: ColumnShape | None, found: FoundTable
) -> Iterator[tuple[Change, bool]]:
    before = found.columns.get(column)
    if before is None:
        yield Change(what=What.ADD_COLUMN, table=table, column=column, after=wanted), made is not None
        return

    def change(what: What, *, same_as_made: bool, was_made: bool) -> tuple[Change, bool]:
        """Made as wanted: only somebody's hand is in between. Neither made nor wanted: it overwrites that."""
        drifted = made is not None and not same_as_made and not was_made
        by_hand = made is not None and was_made
        told = Change(what=what, table=table, column=column, before=before, after=wanted, drifted=drifted)
        return told, by_hand

    filling = column in found.filling
    if filling:
        yield Change(what=What.FILL_COLUMN, table=table, column=column, before=before, after=wanted), False
    if before.type != wanted.type:
        kinds = (before.type == made.type, made.type == wanted.type) if made else (False, False)
        told, by_hand = change(What.RETYPE, same_as_made=kinds[0], was_made=kinds[1])
        # a column of that name which FBS did not make, and which is something else
        yield (replace(told, drifted=told.drifted or (made is None and not filling)), by_hand)
    if not before.has_default_of(wanted):
        same = made is not None and before.has_default_of(made)
        told, by_hand = change(
            What.DEFAULT, same_as_made=same, was_made=made is not None and made.has_default_of(wanted)
        )
        yield told, by_hand or _is_serial(told)
    if before.not_null != wanted.not_null:
        what = What.SET_NOT_NULL if wanted.not_null else What.DROP_NOT_NULL
        same = made is not None and before.not_null == made.not_null
        yield change(what, same_as_made=same, was_made=made is not None and made.not_null == wanted.not_null)


def _keys(
    table: str, wanted: TableShape, made: TableShape, found: FoundTable, dropped: set[str]
) -> Iterator[tuple[Change, bool]]:
    left = [key for key in found.keys if dropped.isdisjoint(key.shape.columns)]
    for former in made.keys:
        going = None if former.identity in wanted.identities else _found(former, left)
        if going is not None:
            left = _without(left, going)
            yield Change(what=What.DROP_KEY, table=table, found=going), False
    for helper in left:
        if _is_left_over(table, helper, wanted, found):
            yield Change(what=What.DROP_KEY, table=table, found=helper), False
    for key in wanted.keys:
        was_made = key.identity in made.identities
        serving = _serving(key, left)
        if serving is not None:
            if not serving.valid:
                yield Change(what=What.VALIDATE_KEY, table=table, key=key, found=serving), False
            continue
        sibling = _sibling(key, left)
        if sibling is not None:
            left = _without(left, sibling)
            yield Change(what=What.DROP_KEY, table=table, found=sibling, drifted=not was_made), was_made
        yield Change(what=What.ADD_KEY, table=table, key=key), was_made


def _without(keys: Iterable[FoundKey], going: FoundKey) -> list[FoundKey]:
    """What is left once a key is gone, and the index that is part of it."""
    return [key for key in keys if key != going and not (key.backing and key.shape.name == going.shape.name)]


def _is_left_over(table: str, key: FoundKey, wanted: TableShape, found: FoundTable) -> bool:
    """A check of ours that helped a column to become NOT NULL, which it is, or is no longer to be."""
    if key.shape.kind != CHECK:
        return False
    becoming = {
        helper_check(table, name)
        for name, column in wanted.columns.items()
        if column.not_null and not (name in found.columns and found.columns[name].not_null)
    }
    ours = {helper_check(table, name) for name in (*wanted.columns, *found.columns)}
    return key.shape.name in ours - becoming


def _serving(wanted: KeyShape, keys: Iterable[FoundKey]) -> FoundKey | None:
    """What does a wanted key's work, if anything does."""
    return next((key for key in keys if _serves(key, wanted)), None)


def _serves(key: FoundKey, wanted: KeyShape) -> bool:
    shape = key.shape
    if wanted.kind != INDEX:
        return shape.identity == wanted.identity
    if shape.kind != INDEX or not key.valid:
        return False
    if not wanted.detail:
        return key.plain and shape.columns[: len(wanted.columns)] == wanted.columns
    same_name = shape.name == wanted.name and shape.columns == wanted.columns and shape.is_unique == wanted.is_unique
    return shape.identity == wanted.identity or same_name


def _sibling(wanted: KeyShape, keys: Iterable[FoundKey]) -> FoundKey | None:
    """What is in a wanted key's place: a foreign key to the same with other actions, another primary key."""
    for key in keys:
        shape = key.shape
        if shape.kind != wanted.kind or shape.identity == wanted.identity:
            continue
        if wanted.kind == PRIMARY or (
            wanted.kind == FOREIGN and (shape.columns, shape.target) == (wanted.columns, wanted.target)
        ):
            return key
    return None


def _found(made: KeyShape, keys: Iterable[FoundKey]) -> FoundKey | None:
    """The very key that FBS made; of several like it the one with a name as FBS or PostgreSQL would give it."""
    if made.kind == INDEX and made.detail:
        return next((key for key in keys if _serves(key, made) and not key.backing), None)
    same = [key for key in keys if key.shape.identity == made.identity and not key.backing]
    same = [key for key in same if key.valid or made.kind != INDEX]
    return next((key for key in same if key.shape.name.endswith(_ENDS)), same[0] if same else None)


# ------------------------------------------------------------------------------------------------ between tables


def _dropped(name: str, made: TableShape | None, found: Found, *, gone: Collection[str]) -> Iterator[Change]:
    """A table goes, and first what ties it to others that go, which may tie it in turn."""
    table = found.tables[name]
    for key in table.keys:
        target = key.shape.target
        if target is not None and target[0] != name and target[0] in gone:
            yield Change(what=What.DROP_KEY, table=name, found=key)
    users = made is not None and any(column not in made.columns for column in table.columns)
    yield Change(what=What.DROP_TABLE, table=name, drifted=users)


def _promoted(changes: list[Change], drift: list[Change]) -> tuple[list[Change], list[Change]]:
    """Drift that changes stand on is taken back with them: what a new key needs, the default of a column retyped."""
    while True:
        needed = _needs(changes)
        coming = [change for change in drift if needed & _gives(change)]
        if not coming:
            return changes, drift
        changes = [*changes, *(replace(change, drifted=True) for change in coming)]
        drift = [change for change in drift if change not in coming]


def _needs(changes: Iterable[Change]) -> set[tuple[str, str, object]]:
    needed: set[tuple[str, str, object]] = set()
    for change in changes:
        if change.what is What.RETYPE:
            needed.add((change.table, "default", change.column))
        if change.what is What.ADD_KEY and change.key is not None:
            needed |= {(change.table, "column", column) for column in change.key.columns}
            if change.key.target is not None:
                target, columns = change.key.target
                needed |= {(target, "column", column) for column in columns} | {(target, "unique", columns)}
    return needed


def _gives(change: Change) -> set[tuple[str, str, object]]:
    if change.what is What.ADD_COLUMN:
        return {(change.table, "column", change.column)}
    if change.what is What.DEFAULT and not _is_serial(change):
        return {(change.table, "default", change.column)}
    if change.what is What.ADD_KEY and change.key is not None and change.key.is_unique:
        return {(change.table, "unique", change.key.columns)}
    return set()


def _loosened(changes: Iterable[Change], wanted: Shape, found: Found) -> Iterator[Change]:
    """Foreign keys one end of which gets another type are taken off meanwhile."""
    known = list(changes)
    ends = {
        (change.table, change.column)
        for change in known
        if change.what is What.RETYPE
        and change.before
        and change.after
        and conversion(change.before.type, change.after.type, "").rewrites
    }
    going = {change.found.oid for change in known if change.what is What.DROP_KEY and change.found}
    yield from known
    if not ends:
        return
    for name, table in found.tables.items():
        if name not in wanted:
            continue
        for key in table.keys:
            target = key.shape.target
            if target is None or key.oid in going:
                continue
            tied = {(name, column) for column in key.shape.columns} | {(target[0], column) for column in target[1]}
            if tied & ends and key.shape.identity in wanted[name].identities:
                yield Change(what=What.DROP_KEY, table=name, found=key)
                yield Change(what=What.ADD_KEY, table=name, key=key.shape)
