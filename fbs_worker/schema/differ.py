"""Three-way differ: the last applied schema, the desired schema and the inspected database. Pure.

Desired and applied differ: a change. Applied and inspected differ: a manual change, called drift. Drift is reported and
left alone, unless `restore` is set or a change depends on it. Objects that neither the applied nor the desired schema
contains belong to the user.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from fbs_worker.schema.inspector import InspectedKey, InspectedSchema, InspectedTable
from fbs_worker.schema.model import (
    CHECK,
    FOREIGN,
    INDEX,
    PRIMARY,
    SERIAL,
    ColumnSchema,
    KeySchema,
    Schema,
    TableSchema,
)
from fbs_worker.schema.naming import derived_name

_NAME_SUFFIXES: Final = ("_idx", "_key", "_fkey", "_pkey", "_check")


class ChangeKind(StrEnum):
    """Kind of a change."""

    CREATE_TABLE = "create_table"
    DROP_TABLE = "drop_table"
    ADD_COLUMN = "add_column"
    FILL_COLUMN = "fill_column"
    RETYPE = "retype"
    SET_NOT_NULL = "set_not_null"
    DROP_NOT_NULL = "drop_not_null"
    DEFAULT = "default"
    COMMENT = "comment"
    DROP_COLUMN = "drop_column"
    ADD_KEY = "add_key"
    VALIDATE_KEY = "validate_key"
    DROP_KEY = "drop_key"


_WHOLE_TABLE: Final = frozenset((ChangeKind.CREATE_TABLE, ChangeKind.DROP_TABLE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change.

    Attributes:
        kind: the kind.
        table: the table.
        column: the column; empty for a change of a table or key.
        before: the inspected column.
        after: the desired column.
        key: the desired key.
        actual: the inspected key; of ADD_KEY the one that it replaces.
        drifted: whether it overwrites a manual change.
        comments: of a COMMENT change: column → desired comment; the key of the table's own is empty.
    """

    kind: ChangeKind
    table: str
    column: str = ""
    before: ColumnSchema | None = None
    after: ColumnSchema | None = None
    key: KeySchema | None = None
    actual: InspectedKey | None = None
    drifted: bool = False
    comments: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Describe the difference in one line."""
        return f"{self.table}: {self._difference()}"

    def summary(self) -> str:
        """Return what happens, in a few words without the table: `+ note text`, `a: integer → bigint`."""
        before, after = self.before, self.after
        match self.kind:
            case ChangeKind.CREATE_TABLE:
                return "+ table"
            case ChangeKind.DROP_TABLE:
                return "- table"
            case ChangeKind.ADD_COLUMN if after:
                return f"+ {self.column} {after.full_type}"
            case ChangeKind.DROP_COLUMN:
                return f"- {self.column}"
            case ChangeKind.RETYPE if before and after:
                return f"{self.column}: {before.full_type} → {after.full_type}"
            case ChangeKind.SET_NOT_NULL:
                return f"{self.column}: NOT NULL"
            case ChangeKind.DROP_NOT_NULL:
                return f"{self.column}: NULL allowed"
            case ChangeKind.DEFAULT if before and after:
                return f"{self.column}: default {before.default or 'none'} → {after.default or 'none'}"
            case ChangeKind.ADD_KEY if self.key and self.actual:
                return f"{self.key.label()}: {self.key.difference(self.actual.schema)}"
            case ChangeKind.ADD_KEY if self.key:
                return f"+ {self.key.label()}"
            case ChangeKind.DROP_KEY if self.actual:
                return f"- {self.actual.schema.label()}"
        return self._difference()

    def _difference(self) -> str:
        before, after, column = self.before, self.after, f"the column {self.column}"
        match self.kind:
            case ChangeKind.CREATE_TABLE:
                return "the table is missing"
            case ChangeKind.DROP_TABLE:
                return "the table is no longer part of the definition"
            case ChangeKind.ADD_COLUMN:
                return f"{column} ({after.type if after else ''}) is missing"
            case ChangeKind.FILL_COLUMN:
                return f"{column} is not backfilled completely"
            case ChangeKind.DROP_COLUMN:
                return f"{column} is no longer part of the definition"
            case ChangeKind.RETYPE if before and after:
                return f"{column} is {before.full_type}, not {after.full_type}"
            case ChangeKind.SET_NOT_NULL:
                return f"{column} is NULL allowed, not NOT NULL"
            case ChangeKind.DROP_NOT_NULL:
                return f"{column} is NOT NULL, not NULL allowed"
            case ChangeKind.DEFAULT if before and after:
                return f"{column} has the default {before.default or 'NULL'}, not {after.default or 'NULL'}"
            case ChangeKind.COMMENT:
                return f"{self._columns_with_comment()} another comment"
            case ChangeKind.ADD_KEY if self.key:
                replaced = self.actual and f"differs: {self.key.difference(self.actual.schema)}"
                return f"the {self.key.label()} {replaced or 'is missing'}"
            case ChangeKind.VALIDATE_KEY if self.key:
                return f"the {self.key.label()} has not been validated"
        return f"the {self.actual.schema.label() if self.actual else 'key'} is no longer part of the definition"

    def _columns_with_comment(self) -> str:
        columns = [name for name in self.comments if name]
        named = ["the table"] if len(columns) < len(self.comments) else []
        if columns:
            named.append(f"the column {columns[0]}" if len(columns) == 1 else f"{len(columns)} columns")
        return f"{' and '.join(named)} {'has' if len(self.comments) == 1 else 'have'}"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Result of a comparison.

    Attributes:
        changes: changes to apply.
        drift: manual changes that are left alone.
        blocked: table → description of a conflicting relation that FBS did not create; such a table is skipped.
    """

    changes: tuple[Change, ...]
    drift: tuple[Change, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)

    def describe(self, desired: Schema) -> Iterator[str]:
        """Describe the changes, one line each, without those implied by a created, dropped or recreated object.

        Args:
            desired: the desired schema.
        """
        return (change.describe() for change in self.described(desired))

    def described(self, desired: Schema) -> Iterator[Change]:
        """Return the changes without those implied by others; arguments as for `describe`."""
        whole = {change.table for change in self.changes if change.kind in _WHOLE_TABLE}
        replaced = {change.actual for change in self.changes if change.kind is ChangeKind.ADD_KEY and change.actual}
        for change in self.changes:
            table = desired.get(change.table)
            going = change.actual if change.kind is ChangeKind.DROP_KEY else None
            recreated = going is not None and table is not None and going.schema.identity in table.identities
            if change.kind in _WHOLE_TABLE or not (change.table in whole or recreated or going in replaced):
                yield change


def not_null_check(table: str, column: str) -> str:
    """Return the name of the temporary CHECK (… IS NOT NULL) that precedes SET NOT NULL."""
    return str(derived_name(f"{table}_{column}", "_fbs_not_null"))


def baseline(desired: TableSchema, actual: InspectedTable) -> TableSchema:
    """Return the schema assumed as last applied for a table without a record: desired objects as they exist.

    Nothing else is assumed to be created by FBS, so nothing else is dropped; differences are changes, not drift.
    """
    keys = []
    for key in desired.keys:
        matching = _matching_key(key, actual.keys) or _replaced_key(key, actual.keys)
        if matching is not None:
            keys.append(matching.schema if key.kind == FOREIGN else key)
    columns = {name: replace(actual.columns[name], comment="") for name in desired.columns if name in actual.columns}
    return TableSchema(columns=columns, keys=tuple(keys))


def compare(
    desired: Schema,
    applied: Schema,
    actual: InspectedSchema,
    *,
    owned: Collection[str],
    system: Collection[str] = (),
    restore: bool = False,
    written: Schema | None = None,
) -> Difference:
    """Compare the three schemas.

    Args:
        desired: the desired schema.
        applied: the last applied schema as far as recorded; `baseline` is assumed for other tables.
        actual: the inspected database; the other two are in its notation (`read_back`).
        owned: tables recorded as the solution's, and the system tables.
        system: the system tables among the desired ones: changes of these are additive only.
        restore: revert drift.
        written: the desired schema with the keys that this version of PostgreSQL cannot have, for `baseline`.
    """
    changes: list[Change] = []
    drift: list[Change] = []
    blocked = _blocked(desired, actual, owned)
    for name, table in desired.items():
        if name in blocked:
            continue
        existing = actual.tables.get(name)
        if existing is None:
            changes.append(Change(kind=ChangeKind.CREATE_TABLE, table=name))
            foreign = [key for key in table.keys if key.kind == FOREIGN]
            changes += [Change(kind=ChangeKind.ADD_KEY, table=name, key=key) for key in foreign]
            if table.comments:
                changes.append(Change(kind=ChangeKind.COMMENT, table=name, comments=table.comments))
            continue
        if name in system:
            before = TableSchema(columns={}, keys=())
        else:
            before = applied.get(name) or baseline((written or desired).get(name, table), existing)
        for change, only_drift in _compare_table(name, table, before, existing):
            ignored = only_drift or (name in system and not _is_additive(change))
            (drift if ignored else changes).append(change)
    for name in sorted(set(owned) - desired.keys()):
        if name in actual.tables:
            changes += _drop_table(name, applied.get(name), actual, gone=set(owned) - desired.keys())
    if restore:
        restored = [change for change in drift if change.table not in system and not _is_serial(change)]
        changes += [replace(change, drifted=True) for change in restored]
        drift = [change for change in drift if change not in restored]
    changes, drift = _escalate_drift(changes, drift)
    changes = [change for change in changes if not _refers_to(change, blocked)]
    return Difference(changes=tuple(changes), drift=tuple(drift), blocked=blocked)


def _blocked(desired: Schema, actual: InspectedSchema, owned: Collection[str]) -> dict[str, str]:
    others = {name: actual.others[name] for name in desired if name in actual.others}
    return others | {name: "a table" for name in desired if name in actual.tables and name not in owned}


def _is_additive(change: Change) -> bool:
    """Whether it is allowed for a system table, which other solutions may share."""
    if change.key is not None and change.key.kind == PRIMARY:
        return False
    return change.kind in {ChangeKind.ADD_COLUMN, ChangeKind.FILL_COLUMN, ChangeKind.ADD_KEY, ChangeKind.VALIDATE_KEY}


def _is_serial(change: Change) -> bool:
    """Whether it restores a sequence default; not possible: the next value is unknown."""
    return change.kind is ChangeKind.DEFAULT and change.after is not None and change.after.default == SERIAL


def _refers_to(change: Change, blocked: Mapping[str, str]) -> bool:
    return change.key is not None and change.key.target is not None and change.key.target[0] in blocked


def _compare_table(
    name: str, desired: TableSchema, applied: TableSchema, actual: InspectedTable
) -> Iterator[tuple[Change, bool]]:
    for column, after in desired.columns.items():
        yield from _compare_column(name, column, after, applied.columns.get(column), actual)
    dropped = {column for column in applied.columns if column in actual.columns and column not in desired.columns}
    for column in sorted(dropped):
        before = actual.columns[column]
        changed = before.full_type != applied.columns[column].full_type
        yield Change(kind=ChangeKind.DROP_COLUMN, table=name, column=column, before=before, drifted=changed), False
    yield from _compare_keys(name, desired, applied, actual, dropped)
    yield from _compare_comments(name, desired, applied, actual)


def _compare_comments(
    name: str, desired: TableSchema, applied: TableSchema, actual: InspectedTable
) -> Iterator[tuple[Change, bool]]:
    """Comments that are desired; one that a user wrote stays, and is drift where FBS had written another."""
    coming: dict[str, str] = {}
    drifted: dict[str, str] = {}
    for column, (after, was, now) in _comments(desired, applied, actual).items():
        if after == now or (not after and now != was):
            continue
        if now in {"", was} and after != was:
            coming[column] = after
        elif was:
            drifted[column] = after
    if coming:
        yield Change(kind=ChangeKind.COMMENT, table=name, comments=coming), False
    if drifted:
        yield Change(kind=ChangeKind.COMMENT, table=name, comments=drifted), True


def _comments(desired: TableSchema, applied: TableSchema, actual: InspectedTable) -> dict[str, tuple[str, str, str]]:
    """Desired, applied and actual comment of the table and of each column that is not dropped or backfilled."""
    written = {"": desired.comment, **{name: column.comment for name, column in desired.columns.items()}}
    gone = (applied.columns.keys() - actual.columns.keys()) | actual.backfilling
    before, now = applied.comments, actual.schema.comments
    return {
        name: (comment, before.get(name, ""), now.get(name, ""))
        for name, comment in written.items()
        if name not in gone
    }


def _compare_column(
    table: str, column: str, desired: ColumnSchema, applied: ColumnSchema | None, actual: InspectedTable
) -> Iterator[tuple[Change, bool]]:
    before = actual.columns.get(column)
    if before is None:
        yield Change(kind=ChangeKind.ADD_COLUMN, table=table, column=column, after=desired), applied is not None
        return

    def make(kind: ChangeKind, *, actual_as_applied: bool, applied_as_desired: bool) -> tuple[Change, bool]:
        """Applied as desired: pure drift. Neither as applied nor as desired: overwrites a manual change."""
        drifted = applied is not None and not actual_as_applied and not applied_as_desired
        only_drift = applied is not None and applied_as_desired
        change = Change(kind=kind, table=table, column=column, before=before, after=desired, drifted=drifted)
        return change, only_drift

    backfilling = column in actual.backfilling
    if backfilling:
        yield Change(kind=ChangeKind.FILL_COLUMN, table=table, column=column, before=before, after=desired), False
    if before.full_type != desired.full_type:
        known = applied.full_type if applied else ""
        kinds = (before.full_type == known, known == desired.full_type)
        change, only_drift = make(ChangeKind.RETYPE, actual_as_applied=kinds[0], applied_as_desired=kinds[1])
        # a column of that name which FBS did not create, with another type
        yield (replace(change, drifted=change.drifted or (applied is None and not backfilling)), only_drift)
    if before.default != desired.default:
        change, only_drift = make(
            ChangeKind.DEFAULT,
            actual_as_applied=applied is not None and before.default == applied.default,
            applied_as_desired=applied is not None and applied.default == desired.default,
        )
        yield change, only_drift or _is_serial(change)
    if before.not_null != desired.not_null:
        kind = ChangeKind.SET_NOT_NULL if desired.not_null else ChangeKind.DROP_NOT_NULL
        same = applied is not None and before.not_null == applied.not_null
        yield make(
            kind,
            actual_as_applied=same,
            applied_as_desired=applied is not None and applied.not_null == desired.not_null,
        )


def _compare_keys(
    table: str, desired: TableSchema, applied: TableSchema, actual: InspectedTable, dropped: set[str]
) -> Iterator[tuple[Change, bool]]:
    remaining = [key for key in actual.keys if dropped.isdisjoint(key.schema.columns)]
    for former in applied.keys:
        going = None if former.identity in desired.identities else _applied_key(former, remaining)
        if going is not None:
            remaining = _without(remaining, going)
            yield Change(kind=ChangeKind.DROP_KEY, table=table, actual=going), False
    for helper in remaining:
        if _is_leftover_check(table, helper, desired, actual):
            yield Change(kind=ChangeKind.DROP_KEY, table=table, actual=helper), False
    for key in desired.keys:
        applied_as_desired = key.identity in applied.identities
        matching = _matching_key(key, remaining)
        if matching is not None:
            if not matching.valid:
                yield Change(kind=ChangeKind.VALIDATE_KEY, table=table, key=key, actual=matching), False
            continue
        replaced = _replaced_key(key, remaining)
        if replaced is not None:
            remaining = _without(remaining, replaced)
            yield (
                Change(kind=ChangeKind.DROP_KEY, table=table, actual=replaced, drifted=not applied_as_desired),
                applied_as_desired,
            )
        yield Change(kind=ChangeKind.ADD_KEY, table=table, key=key, actual=replaced), applied_as_desired


def _without(keys: Iterable[InspectedKey], going: InspectedKey) -> list[InspectedKey]:
    """Remove a key and its backing index."""
    return [key for key in keys if key != going and not (key.backing and key.schema.name == going.schema.name)]


def _is_leftover_check(table: str, key: InspectedKey, desired: TableSchema, actual: InspectedTable) -> bool:
    """Whether it is a temporary NOT NULL check that is no longer needed."""
    if key.schema.kind != CHECK:
        return False
    becoming = {
        not_null_check(table, name)
        for name, column in desired.columns.items()
        if column.not_null and not (name in actual.columns and actual.columns[name].not_null)
    }
    ours = {not_null_check(table, name) for name in (*desired.columns, *actual.columns)}
    return key.schema.name in ours - becoming


def _matching_key(desired: KeySchema, keys: Iterable[InspectedKey]) -> InspectedKey | None:
    """Return the existing key that satisfies a desired one."""
    return next((key for key in keys if _matches(key, desired)), None)


def _matches(key: InspectedKey, desired: KeySchema) -> bool:
    schema = key.schema
    if desired.kind != INDEX:
        return schema.identity == desired.identity
    if schema.kind != INDEX or not key.valid:
        return False
    if not desired.detail:
        return key.plain and schema.columns[: len(desired.columns)] == desired.columns
    return schema.identity == desired.identity


def _replaced_key(desired: KeySchema, keys: Iterable[InspectedKey]) -> InspectedKey | None:
    """Return the existing key that a desired one replaces: another primary key, or what is the same but for its actions
    and whether it is enforced.
    """
    for key in keys:
        schema = key.schema
        if schema.kind != desired.kind or schema.identity == desired.identity:
            continue
        same = (schema.columns, schema.target) == (desired.columns, desired.target)
        same &= desired.kind == FOREIGN or (desired.kind == CHECK and schema.detail == desired.detail)
        if same or desired.kind == PRIMARY:
            return key
    return None


def _applied_key(applied: KeySchema, keys: Iterable[InspectedKey]) -> InspectedKey | None:
    """Return the key created by FBS; among equal ones prefer a name with a suffix generated by FBS or PostgreSQL."""
    if applied.kind == INDEX and applied.detail:
        return next((key for key in keys if _matches(key, applied) and not key.backing), None)
    same = [key for key in keys if key.schema.identity == applied.identity and not key.backing]
    same = [key for key in same if key.valid or applied.kind != INDEX]
    return next((key for key in same if key.schema.name.endswith(_NAME_SUFFIXES)), same[0] if same else None)


def _drop_table(
    name: str, applied: TableSchema | None, actual: InspectedSchema, *, gone: Collection[str]
) -> Iterator[Change]:
    """Drop a table after its foreign keys to other dropped tables, which may be cyclic."""
    table = actual.tables[name]
    for key in table.keys:
        target = key.schema.target
        if target is not None and target[0] != name and target[0] in gone:
            yield Change(kind=ChangeKind.DROP_KEY, table=name, actual=key)
    has_user_columns = applied is not None and any(column not in applied.columns for column in table.columns)
    yield Change(kind=ChangeKind.DROP_TABLE, table=name, drifted=has_user_columns)


def _escalate_drift(changes: list[Change], drift: list[Change]) -> tuple[list[Change], list[Change]]:
    """Escalate drift that changes depend on: columns and unique keys of a new key, the default of a retyped column."""
    while True:
        needed = _prerequisites(changes)
        coming = [change for change in drift if needed & _provided(change)]
        if not coming:
            return changes, drift
        changes = [*changes, *(replace(change, drifted=True) for change in coming)]
        drift = [change for change in drift if change not in coming]


def _prerequisites(changes: Iterable[Change]) -> set[tuple[str, str, object]]:
    needed: set[tuple[str, str, object]] = set()
    for change in changes:
        if change.kind is ChangeKind.RETYPE:
            needed.add((change.table, "default", change.column))
        if change.kind is ChangeKind.ADD_KEY and change.key is not None:
            needed |= {(change.table, "column", column) for column in change.key.columns}
            if change.key.target is not None:
                target, columns = change.key.target
                needed |= {(target, "column", column) for column in columns} | {(target, "unique", columns)}
    return needed


def _provided(change: Change) -> set[tuple[str, str, object]]:
    if change.kind is ChangeKind.ADD_COLUMN:
        return {(change.table, "column", change.column)}
    if change.kind is ChangeKind.DEFAULT and not _is_serial(change):
        return {(change.table, "default", change.column)}
    if change.kind is ChangeKind.ADD_KEY and change.key is not None and change.key.is_unique:
        return {(change.table, "unique", change.key.columns)}
    return set()
