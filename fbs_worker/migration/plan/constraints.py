"""How keys, indexes and checks change: beside those who use the tables, where rows are there. Pure.

    an index                    CREATE INDEX CONCURRENTLY; one that was cut off is cleaned up first
    a unique or primary key     a unique index so, then ADD CONSTRAINT … USING INDEX
    a foreign key, a check      NOT VALID: it counts for what is written from now on; then VALIDATE for what is there

On an empty table each is one plain statement.
"""

from __future__ import annotations

from fbs_worker.migration.diff.changes import Change, What
from fbs_worker.migration.model.plan import Hazard, Lock, Mode
from fbs_worker.migration.model.schema import CHECK, FOREIGN, INDEX, PRIMARY, KeyShape
from fbs_worker.migration.plan.context import Ground, Phase, Phased, is_built_for, listed, quoted

_KINDS = {"p": "primary_key", "u": "unique_key", "f": "foreign_key", "i": "index", "c": "check"}


def key_steps(change: Change, ground: Ground) -> Phased:
    """The steps of a change to a key."""
    key = change.key
    match change.what:
        case What.DROP_KEY:
            yield from _dropped(change, ground)
        case What.VALIDATE_KEY if key and change.found:
            yield from _validated(change, ground, key, change.found.shape.name)
        case What.ADD_KEY if key and key.kind == INDEX:
            yield from _index(change, ground, key, ground.free_name(change.table, key))
        case What.ADD_KEY if key and key.kind in {FOREIGN, CHECK}:
            yield from _constraint(change, ground, key)
        case What.ADD_KEY if key:
            yield from _unique(change, ground, key)


def _index(change: Change, ground: Ground, key: KeyShape, name: str) -> Phased:
    """An index; a unique one may be refused by the rows."""
    table, undo = quoted(change.table), f"DROP INDEX {quoted(name)}"
    tail = key.detail.removeprefix("UNIQUE ") or listed(key.columns)
    what, on = "UNIQUE INDEX" if key.is_unique else "INDEX", f"{quoted(name)} ON {table} {tail}"
    has_rows = change.table in ground.filled
    of_all_rows = tail == listed(key.columns)  # else it is about some of them, or about expressions
    countable = has_rows and key.is_unique and of_all_rows
    check = ground.count_duplicates(change.table, key.columns) if countable else None
    fails = _might_fail(change, ground, key) if key.is_unique else set()
    if not ground.online(change.table):
        yield ground.step(
            Phase.KEYS,
            change,
            "create_index",
            f"CREATE {what} {on}",
            lock=Lock.SHARE_ROW_EXCLUSIVE,  # SHARE would do; whoever writes is kept out by either
            hazards=fails | _build_at_once(has_rows=has_rows),
            check=check,
            undo=undo,
        )
        return
    yield ground.step(
        Phase.BUILD,
        change,
        "create_index",
        f"CREATE {what} CONCURRENTLY {on}",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
        hazards=fails | {Hazard.INDEX_BUILD},
        check=check,
        undo=undo,
        cleanup=f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}",
    )


def _build_at_once(*, has_rows: bool) -> set[Hazard]:
    """A partitioned table's index cannot be built beside the traffic."""
    return {Hazard.INDEX_BUILD, Hazard.LONG_LOCK} if has_rows else set()


def _might_fail(change: Change, ground: Ground, key: KeyShape) -> set[Hazard]:
    return {Hazard.MIGHT_FAIL_ON_DATA} if ground.has_values(change.table, key.columns) else set()


def _unique(change: Change, ground: Ground, key: KeyShape) -> Phased:
    name = ground.free_name(change.table, key)
    primary = key.kind == PRIMARY
    words = "PRIMARY KEY" if primary else "UNIQUE"
    add = f"ALTER TABLE {quoted(change.table)} ADD CONSTRAINT {quoted(name)} {words}"
    undo = f"ALTER TABLE {quoted(change.table)} DROP CONSTRAINT {quoted(name)}"
    there = ground.found.tables[change.table]
    built = any(
        is_built_for(found.shape, key, name) and found.valid and found.plain and not found.backing
        for found in there.keys
    )
    has_rows = change.table in ground.filled
    if not built and not ground.online(change.table):
        yield ground.step(
            Phase.KEYS,
            change,
            f"add_{_KINDS[key.kind]}",
            f"{add} {listed(key.columns)}",
            hazards=_build_at_once(has_rows=has_rows) | _might_fail(change, ground, key),
            check=ground.count_duplicates(change.table, key.columns) if has_rows else None,
            undo=undo,
        )
        return
    if not built:
        index = KeyShape(kind=INDEX, columns=key.columns, detail=f"UNIQUE {listed(key.columns)}")
        yield from _index(change, ground, index, name)
    # a primary key's columns are NOT NULL before, or all rows would be looked at
    phase = Phase.SETTLE_KEYS if primary else Phase.ATTACH
    yield ground.step(phase, change, f"add_{_KINDS[key.kind]}", f"{add} USING INDEX {quoted(name)}", undo=undo)


def _constraint(change: Change, ground: Ground, key: KeyShape) -> Phased:
    name, table = ground.free_name(change.table, key), quoted(change.table)
    foreign = key.kind == FOREIGN
    if foreign and key.target is not None:
        words = f"FOREIGN KEY {listed(key.columns)} REFERENCES {quoted(key.target[0])} {listed(key.target[1])}"
        words = f"{words} {key.detail}".rstrip()
        late = ground.comes_late(*key.target)
    else:
        words, late = f"CHECK ({key.detail})", False
    has_rows, online = change.table in ground.filled, ground.online(change.table)
    at_once = has_rows and not online
    yield ground.step(
        Phase.PROVE if late or online else Phase.KEYS,
        change,
        f"add_{_KINDS[key.kind]}",
        f"ALTER TABLE {table} ADD CONSTRAINT {quoted(name)} {words}{' NOT VALID' if online else ''}",
        lock=Lock.SHARE_ROW_EXCLUSIVE if foreign else Lock.ACCESS_EXCLUSIVE,
        hazards={Hazard.LONG_LOCK} | _might_fail(change, ground, key) if at_once else (),
        check=_count(change, ground, key) if at_once else None,
        undo=f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}",
    )
    if online:
        yield from _validated(change, ground, key, name)


def _validated(change: Change, ground: Ground, key: KeyShape, name: str) -> Phased:
    has_rows = change.table in ground.filled
    yield ground.step(
        Phase.VALIDATE,
        change,
        f"validate_{_KINDS[key.kind]}",
        f"ALTER TABLE {quoted(change.table)} VALIDATE CONSTRAINT {quoted(name)}",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
        hazards=_might_fail(change, ground, key),
        check=_count(change, ground, key) if has_rows else None,
    )


def _count(change: Change, ground: Ground, key: KeyShape) -> str | None:
    if key.kind == FOREIGN:
        return ground.count_orphans(change.table, key)
    return ground.count_failing(change.table, key.detail)


def _dropped(change: Change, ground: Ground) -> Phased:
    found = change.found
    if found is None:
        return
    table, name = quoted(change.table), quoted(found.shape.name)
    definition = ground.definitions.get(found.oid)
    if found.shape.kind == INDEX:
        sql, undo = f"DROP INDEX {name}", definition
    else:
        sql = f"ALTER TABLE {table} DROP CONSTRAINT {name}"
        undo = definition and f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"
    yield ground.step(Phase.LOOSEN, change, f"drop_{_KINDS[found.shape.kind]}", sql, undo=undo)
