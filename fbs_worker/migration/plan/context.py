"""Planning context: facts about the database, names, and preflight queries of a plan. Pure.

Preflight queries run before the first step. They therefore refer to the current tables: a renamed column has its old
name, a retyped one is converted, an added one is replaced by its default, a table that an undo restores is its archive.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property

from fbs_worker.core.identifiers import quoted
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Lock, Mode, Step
from fbs_worker.migration.model.type_conversion import INPUT_CHECK_SINCE, Conversion, conversion, reverse_conversion
from fbs_worker.migration.plan.explain import Reasons
from fbs_worker.migration.plan.rehearsal import Rehearsal
from fbs_worker.schema.dependents import Dependent
from fbs_worker.schema.differ import Change, ChangeKind
from fbs_worker.schema.inspector import InspectedSchema, InspectedTable
from fbs_worker.schema.model import (
    CHECK,
    EXCLUDE,
    FOREIGN,
    INDEX,
    KINDS,
    PRIMARY,
    UNIQUE,
    IndexParts,
    KeySchema,
    Schema,
)
from fbs_worker.schema.naming import derived_name


class Phase(IntEnum):
    """Phase of a step. Adjacent transactional steps share a transaction; steps that delete values come last."""

    RENAME = 0
    DROP_KEYS = 1
    CREATE = 2
    COLUMNS = 3
    KEYS = 4
    REFERENCES = 5
    FILL = 6
    BUILD = 7
    ATTACH = 8
    ADD_NOT_VALID = 9
    VALIDATE = 10
    FINISH_COLUMNS = 11
    ADD_PRIMARY_KEYS = 12
    DROP_INDEXES = 13
    DROP_COLUMNS = 14
    DROP_TABLES = 15
    DROP_ARCHIVES = 16


Phased = Iterator[tuple[Phase, Step]]


def default_name(table: str, key: KeySchema) -> str:
    """Return a key's own name, or one in the style of PostgreSQL."""
    if key.name:
        return key.name
    if key.kind == CHECK:
        digest = hashlib.sha256(key.detail.encode()).hexdigest()[:8]
        return str(derived_name(f"{table}_{digest}", "_check"))
    if key.kind == PRIMARY:
        return str(derived_name(table, "_pkey"))
    ends = {UNIQUE: "_key", INDEX: "_idx", EXCLUDE: "_excl"}
    return str(derived_name("_".join((table, *key.columns)), ends.get(key.kind, "_fkey")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What an undo brings back from an archive.

    Attributes:
        name: the archive table.
        statement: what brings it back, in batches if it is values.
        value: of values: the future one as an expression on the current columns; None if it is not known beforehand.
    """

    name: str
    statement: str
    value: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlanningContext:
    """Facts that planning depends on.

    Attributes:
        desired: the desired schema.
        recorded: the last applied schema.
        actual: the inspected database, with columns by their new names.
        changes: the changes.
        reasons: readable reasons of changes.
        table_prefix: prefix of the system tables.
        renames: table and old column name → new name.
        populated: tables that contain rows.
        sizes: table → estimated number of rows (None if unknown), and size in bytes.
        used_names: names of existing relations.
        server_version: as reported by libpq.
        possible_renames: table and dropped column → similar added column.
        dependents: objects for which PostgreSQL refuses a drop or a type change.
        attached: what goes with dropped columns: table, column, and what it is.
        rehearsal: what the changes of columns did to copies of their tables.
        archived_tables: of an undo: table that comes back → its archive. `actual` has it as it will be then.
        archived_values: of an undo: table and column (its new name) → the values that it gets back.
        archived_extras: of an undo: what went with columns that come back: table, column, statement.
        unharmed: of an undo: columns that go without values of their own, or are converted without a loss.
    """

    desired: Schema
    recorded: Schema
    actual: InspectedSchema
    changes: Sequence[Change]
    reasons: Reasons
    table_prefix: str
    renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    populated: frozenset[str] = frozenset()
    sizes: Mapping[str, tuple[int | None, int]] = field(default_factory=dict)
    used_names: frozenset[str] = frozenset()
    server_version: int = INPUT_CHECK_SINCE
    possible_renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    dependents: Sequence[Dependent] = ()
    attached: Sequence[tuple[str, str, str]] = ()
    rehearsal: Rehearsal = field(default_factory=Rehearsal)
    archived_tables: Mapping[str, Restored] = field(default_factory=dict)
    archived_values: Mapping[tuple[str, str], Restored] = field(default_factory=dict)
    archived_extras: Sequence[tuple[str, str, str]] = ()
    unharmed: frozenset[tuple[str, str]] = frozenset()

    @property
    def is_undo(self) -> bool:
        """Whether the changes revert a migration."""
        return self.reasons.definition is None

    def rewrites(self, change: Change) -> bool:
        """Return whether a change of a column writes its table anew."""
        return (change.table, change.column) in self.rehearsal.rewrites

    def online(self, table: str) -> bool:
        """Return whether a table is changed by online steps; PostgreSQL has none for partitioned tables."""
        actual_table = self.actual.tables.get(table)
        return actual_table is not None and table in self.populated and not actual_table.partitioned

    def step(
        self,
        phase: Phase,
        change: Change,
        kind: str,
        statement: str,
        *,
        refers_to: str = "",
        lock: Lock = Lock.ACCESS_EXCLUSIVE,
        mode: Mode = Mode.TRANSACTION,
        batch_key: tuple[str, ...] = (),
        hazards: Collection[Hazard] = (),
        archive: ArchiveTarget | None = None,
        check: str | None = None,
        cleanup: str | None = None,
        reversible: bool = True,
    ) -> tuple[Phase, Step]:
        """Build a step of a change with its phase; arguments as for `Step`. Drift adds the hazard DRIFT."""
        step = Step(
            sql=statement,
            kind=kind,
            table=change.table,
            reason=self.reasons.of(change),
            refers_to=refers_to,
            lock=lock,
            hazards=frozenset(hazards) | (frozenset({Hazard.DRIFT}) if change.drifted else frozenset()),
            has_rows=change.table in self.populated,
            mode=mode,
            batch_key=batch_key,
            archive=archive,
            check=check,
            cleanup=cleanup,
            reversible=reversible and (not self.is_undo or archive is not None),
        )
        return phase, step

    def when_altered(self, table: str) -> InspectedTable:
        """Return a table with the keys, foreign keys excepted, that are there when its columns change."""
        found = self.actual.tables[table]
        staying = (key for key in found.keys if key.schema.kind != FOREIGN and key.oid not in self.dropped_oids)
        return replace(found, keys=tuple(key for key in staying if not key.backing))

    def is_dropped_late(self, change: Change) -> bool:
        """Return whether a dropped index or key is used until what replaces it is built."""
        if change.actual is None or not self.online(change.table):
            return False
        going = change.actual.schema
        if going.kind == INDEX:
            return not any(
                other.column in change.actual.uses or other.column in going.detail
                for other in self.changes
                if other.kind is ChangeKind.RETYPE and other.table == change.table
            )
        return going.kind in {PRIMARY, UNIQUE} and any(
            other.key is not None and other.key.kind == going.kind and set(other.key.columns) == set(going.columns)
            for other in self.changes
            if other.kind is ChangeKind.ADD_KEY and other.table == change.table
        )

    def is_freed_late(self, table: str, name: str, kinds: Collection[str] = KINDS) -> bool:
        """Return whether a name is that of an index or key which is dropped after its successor is built.

        Args:
            table: the table.
            name: the name.
            kinds: of what is dropped.
        """
        return any(
            change.kind is ChangeKind.DROP_KEY
            and change.table == table
            and change.actual is not None
            and change.actual.schema.name == name
            and change.actual.schema.kind in kinds
            and self.is_dropped_late(change)
            for change in self.changes
        )

    def conversion(self, change: Change, column: str | None = None) -> Conversion:
        """Return the conversion of a type change.

        Args:
            change: a RETYPE change.
            column: name of the column in the expression; None for its new name.
        """
        before, after = change.before, change.after
        assert before is not None and after is not None  # noqa: S101, PT018 -- what a RETYPE is
        name = quoted(column or change.column)
        if not self.is_undo:
            return conversion(before.type, after.type, name, server_version=self.server_version)
        return reverse_conversion(
            before.type,
            after.type,
            name,
            server_version=self.server_version,
            archived=(change.table, change.column) in self.archived_values,
        )

    def archive_name(self, table: str, column: str = "") -> str:
        """Return the archive table's name for a dropped table or column."""
        whole = f"{table}__{column}" if column else table
        return str(derived_name(f"{self.table_prefix}retired_{whole}"))

    def free_name(self, table: str, key: KeySchema) -> str:
        """Return an unused name for a key; the name of an invalid index of the same key is reused."""
        usual = default_name(table, key)
        actual = self.actual.tables.get(table)
        others = [one for one in actual.keys if one.schema.name not in self._freed_names] if actual else []
        # the index prebuilt for this key keeps its name; an invalid one is dropped before the new build
        own = [one for one in others if not one.backing and one.oid not in self.dropped_oids]
        reusable = {existing.schema.name for existing in own if is_prebuilt_index(existing.schema, key, usual)}
        if self.online(table):
            invalid = [existing.schema for existing in own if existing.schema.kind == INDEX and not existing.valid]
            reusable |= {index.name for index in invalid if index.columns == key.columns}
        names = {existing.schema.name for existing in others}
        if key.kind in {PRIMARY, UNIQUE, INDEX}:
            names |= self.used_names - self._freed_names
        name, number = usual, 1
        while name in names - reusable:
            number += 1
            name = str(derived_name(usual, f"_{number}"))
        return name

    def key_is_built_online(self, table: str, columns: tuple[str, ...]) -> bool:
        """Return whether the unique key that a foreign key references is built online in an earlier phase."""
        return self.online(table) and any(
            change.key is not None and change.key.is_unique and change.key.columns == columns
            for change in self.changes
            if change.kind is ChangeKind.ADD_KEY and change.table == table
        )

    def has_values(self, table: str, columns: Iterable[str]) -> bool:
        """Return whether rows may have values in all of these columns; an added column without default is NULL."""
        empty = {
            change.column
            for change in self.changes
            if change.kind is ChangeKind.ADD_COLUMN
            and change.table == table
            and change.after
            and not change.after.default
            and (table, change.column) not in self.archived_values
        }
        return table in self.populated and empty.isdisjoint(columns)

    def count(self, table: str, condition: str) -> str:
        """Return a query that counts the rows with a condition on the current columns."""
        return f"SELECT count(*) FROM {self._old_table(table)} WHERE {condition}"  # noqa: S608 -- the name is quoted

    def old_table(self, table: str) -> str:
        """Return a table's current name."""
        return self.archived_tables[table].name if table in self.archived_tables else table

    def old_name(self, table: str, column: str) -> str:
        """Return a column's current name."""
        return self._old_names.get((table, column), column)

    def count_duplicates(self, table: str, key: KeySchema) -> str | None:
        """Return a query that counts rows with duplicate values; None if impossible or not computable beforehand."""
        index = key.index or IndexParts(detail="", parts=tuple(map(quoted, key.columns)))
        if key.columns and not index.equal_nulls and not self.has_values(table, key.columns):
            return None
        rows = self._future_rows(table, " ".join((*index.parts, *map(quoted, key.columns), index.predicate)))
        if rows is None:
            return None
        conditions = [] if index.equal_nulls else [f"({part}) IS NOT NULL" for part in index.parts]
        conditions += [index.predicate] if index.predicate else []
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        parts = ", ".join(f"({part})" for part in index.parts)
        return (
            f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM {rows}{where}"  # noqa: S608 -- PostgreSQL's own
            f" GROUP BY {parts} HAVING count(*) > 1) d"
        )

    def count_orphans(self, table: str, key: KeySchema) -> str | None:
        """Return a query that counts rows without a referenced row; None if impossible or not computable beforehand."""
        values = self._values(table, key.columns)
        if values is None or key.target is None or not self.has_values(table, key.columns):
            return None
        not_null = " AND ".join(f"r.c{number} IS NOT NULL" for number in range(len(key.columns)))
        counted = f"SELECT count(*) FROM ({values}) r WHERE {not_null}"  # noqa: S608 -- they are quoted
        target, referred = key.target
        if target not in self.actual.tables:
            return counted
        others = self._values(target, referred)
        if others is None:
            return None
        same = " AND ".join(f"o.c{number} = r.c{number}" for number in range(len(key.columns)))
        return f"{counted} AND NOT EXISTS (SELECT FROM ({others}) o WHERE {same})"

    def count_violations(self, table: str, expression: str) -> str | None:
        """Return a query that counts rows that violate a check; None if not computable beforehand."""
        rows = self._future_rows(table, expression)
        return None if rows is None else f"SELECT count(*) FROM {rows} WHERE NOT ({expression})"  # noqa: S608

    def _future_rows(self, table: str, expressions: str) -> str | None:
        """Return what to select from, with future values of the columns that are mentioned; None if not computable."""
        mentioned = [
            column
            for column in self.desired[table].columns
            if re.search(rf"(?<!\w){re.escape(column)}(?!\w)", expressions)
        ]
        values = {column: self._value(table, column) for column in mentioned}
        if None in values.values():
            return None
        if all(value == quoted(column) for column, value in values.items()):
            return self._old_table(table)
        selected = ", ".join(f"{value} AS {quoted(column)}" for column, value in values.items())
        return f"(SELECT {selected} FROM {self._old_table(table)}) r"  # noqa: S608 -- they are quoted

    def _old_table(self, table: str) -> str:
        return quoted(self.old_table(table))

    @cached_property
    def _old_names(self) -> dict[tuple[str, str], str]:
        return {(table, new): old for (table, old), new in self.renames.items()}

    @cached_property
    def dropped_oids(self) -> frozenset[int]:
        """OIDs of the keys and indexes that are dropped."""
        return frozenset(
            change.actual.oid for change in self.changes if change.kind is ChangeKind.DROP_KEY and change.actual
        )

    @cached_property
    def _freed_names(self) -> frozenset[str]:
        """Names of keys and indexes that are dropped in an earlier phase."""
        going = [
            change.actual
            for change in self.changes
            if change.kind is ChangeKind.DROP_KEY and change.actual and not self.is_dropped_late(change)
        ]
        return frozenset(key.schema.name for key in going)

    def _values(self, table: str, columns: Sequence[str]) -> str | None:
        values = [self._value(table, column) for column in columns]
        if None in values:
            return None
        selected = ", ".join(f"{value} AS c{number}" for number, value in enumerate(values))
        return f"SELECT {selected} FROM {self._old_table(table)}"  # noqa: S608 -- they are quoted

    def _value(self, table: str, column: str) -> str | None:
        """Return a column's future value as an expression on the current columns; None if not computable.

        A value that is not convertible is NULL here: the type change has a check of its own.
        """
        if (table, column) in self.archived_values:
            return self.archived_values[table, column].value
        for change in self.changes:
            if change.table != table or change.column != column or change.after is None:
                continue
            if change.kind is ChangeKind.RETYPE:
                conversion = self.conversion(change, self.old_name(table, column))
                if not conversion.may_fail:
                    return f"({conversion.value})"
                return (
                    f"CASE WHEN NOT ({conversion.fails_where}) THEN {conversion.value} END"
                    if conversion.fails_where
                    else None
                )
            if change.kind is ChangeKind.ADD_COLUMN:
                after = change.after
                if after.default is None:
                    return f"NULL::{after.type}"
                return None if self.rewrites(change) else f"({after.default})::{after.type}"
        return quoted(self.old_name(table, column))


def is_prebuilt_index(index: KeySchema, key: KeySchema, name: str) -> bool:
    """Return whether an index was built for ADD CONSTRAINT … USING INDEX of a key."""
    plain = index.kind == INDEX and index.is_unique
    return plain and key.kind in {PRIMARY, UNIQUE} and index.columns == key.columns and index.name == name
