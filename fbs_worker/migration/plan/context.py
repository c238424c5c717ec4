"""What the ways of changes stand on: the facts about a database, and questions to its rows. Pure.

A plan's questions are asked before anything is done. So they speak of tables as they are now: a column that is to be
renamed has its old name, one that is to get another type is converted, one that is to be added has its default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

from fbs_worker.migration.diff.changes import Change, ChangeKind
from fbs_worker.migration.inspect.inspector import InspectedSchema
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Lock, Mode, Step
from fbs_worker.migration.model.schema import (
    CHECK,
    INDEX,
    PRIMARY,
    SERIAL,
    UNIQUE,
    KeySchema,
    Schema,
    canonical,
    is_volatile,
)
from fbs_worker.migration.model.type_conversion import INPUT_CHECK_SINCE, Conversion, conversion
from fbs_worker.migration.plan.explain import Reasons
from fbs_worker.schema.naming import derived_name


class Phase(IntEnum):
    """When a step runs. Neighbours that can share a transaction do; what deletes values comes last."""

    RENAME = 0
    DROP_KEYS = 1
    CREATE = 2
    COLUMNS = 3
    KEYS = 4
    FILL = 5
    BUILD = 6
    ATTACH = 7
    ADD_NOT_VALID = 8
    VALIDATE = 9
    FINISH_COLUMNS = 10
    ADD_PRIMARY_KEYS = 11
    DROP_COLUMNS = 12
    DROP_TABLES = 13


Phased = Iterator[tuple[Phase, Step]]


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted_list(names: Iterable[str]) -> str:
    """Names as SQL, in brackets."""
    return f"({', '.join(map(quoted, names))})"


def default_name(table: str, key: KeySchema) -> str:
    """What a key is called: its own name, or one like PostgreSQL would give it."""
    if key.name:
        return key.name
    if key.kind == CHECK:
        digest = hashlib.sha256(str(canonical(key.detail)).encode()).hexdigest()[:8]
        return str(derived_name(f"{table}_{digest}", "_check"))
    if key.kind == PRIMARY:
        return str(derived_name(table, "_pkey"))
    ends = {UNIQUE: "_key", INDEX: "_idx"}
    return str(derived_name("_".join((table, *key.columns)), ends.get(key.kind, "_fkey")))


@dataclass(frozen=True, kw_only=True)
class PlanningContext:
    """What the ways of changes stand on.

    Attributes:
        wanted: what is wanted.
        found: what the database has, columns called as they will be.
        changes: what is to change.
        reasons: why things change.
        table_prefix: of the system tables.
        renames: table and old name → new name, of columns.
        filled: the tables that hold rows.
        taken: names that tables and indexes have already.
        definitions: oid → what would make a key again.
        server_version: as libpq tells it.
        possible_renames: table and column that goes → a column that comes and is like it.
        in_the_way: views and so on of others that stand on what goes or gets another type: table, column, what it is.
    """

    desired: Schema
    actual: InspectedSchema
    changes: Sequence[Change]
    reasons: Reasons
    table_prefix: str
    renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    populated: frozenset[str] = frozenset()
    used_names: frozenset[str] = frozenset()
    key_definitions: Mapping[int, str] = field(default_factory=dict)
    server_version: int = INPUT_CHECK_SINCE
    possible_renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    dependents: Sequence[tuple[str, str, str]] = ()

    def online(self, table: str) -> bool:
        """Whether a change to a table goes by steps that hold nobody up; PostgreSQL has none for partitioned tables."""
        actual_table = self.actual.tables.get(table)
        return actual_table is not None and table in self.populated and not actual_table.partitioned

    def step(
        self,
        phase: Phase,
        change: Change,
        kind: str,
        statement: str,
        *,
        lock: Lock = Lock.ACCESS_EXCLUSIVE,
        mode: Mode = Mode.TRANSACTION,
        hazards: Collection[Hazard] = (),
        archive: ArchiveTarget | None = None,
        undo: str | None = None,
        check: str | None = None,
        cleanup: str | None = None,
    ) -> tuple[Phase, Step]:
        """A step of a change, and when it runs; see `Step`. What overwrites somebody's change has that hazard, too."""
        step = Step(
            sql=statement,
            kind=kind,
            table=change.table,
            reason=self.reasons.of(change),
            lock=lock,
            hazards=frozenset(hazards) | (frozenset({Hazard.DRIFT}) if change.drifted else frozenset()),
            has_rows=change.table in self.populated,
            mode=mode,
            archive=archive,
            undo=undo,
            check=check,
            cleanup=cleanup,
        )
        return phase, step

    def conversion(self, change: Change, column: str | None = None) -> Conversion:
        """How the values of a column get to its new type.

        Args:
            change: a RETYPE.
            column: the column's name; left out for the new one.
        """
        before, after = change.before, change.after
        assert before is not None and after is not None  # noqa: S101, PT018 -- what a RETYPE is
        name = quoted(column or change.column)
        return conversion(before.type, after.type, name, server_version=self.server_version)

    def archive_name(self, table: str, column: str = "") -> str:
        """The table of ours that keeps what is taken away."""
        whole = f"{table}__{column}" if column else table
        return str(derived_name(f"{self.table_prefix}retired_{whole}"))

    def free_name(self, table: str, key: KeySchema) -> str:
        """A name for a key that nothing else has; an index that was cut off in the making gives its own away."""
        usual = default_name(table, key)
        actual = self.actual.tables.get(table)
        others = [existing for existing in actual.keys if existing.oid not in self._dropped_oids] if actual else []
        # an index that is to become this key keeps its name; one that is invalid is dropped before it is built anew
        reusable = {existing.schema.name for existing in others if is_prebuilt_index(existing.schema, key, usual)}
        if self.online(table):
            invalid = [existing.schema for existing in others if existing.schema.kind == INDEX and not existing.valid]
            reusable |= {shape.name for shape in invalid if shape.columns == key.columns}
        names = {existing.schema.name for existing in others}
        if key.kind in {PRIMARY, UNIQUE, INDEX}:
            names |= self.used_names - self._freed_names
        name, number = usual, 1
        while name in names - reusable:
            number += 1
            name = str(derived_name(usual, f"_{number}"))
        return name

    def key_is_built_online(self, table: str, columns: tuple[str, ...]) -> bool:
        """Whether a unique key that a foreign key is to refer to is built beside the traffic first."""
        return self.online(table) and any(
            change.key is not None and change.key.is_unique and change.key.columns == columns
            for change in self.changes
            if change.kind is ChangeKind.ADD_KEY and change.table == table
        )

    def has_values(self, table: str, columns: Iterable[str]) -> bool:
        """Whether rows may have values in all of these columns: not in one that comes without a default."""
        empty = {
            change.column
            for change in self.changes
            if change.kind is ChangeKind.ADD_COLUMN
            and change.table == table
            and change.after
            and not change.after.default
        }
        return table in self.populated and empty.isdisjoint(columns)

    # ----------------------------------------------------------------------------------- questions to the rows of now

    def count(self, table: str, condition: str) -> str:
        """How many rows of a table fulfil a condition, which speaks of columns as they are now."""
        return f"SELECT count(*) FROM {quoted(table)} WHERE {condition}"  # noqa: S608 -- the name is quoted

    def old_name(self, table: str, column: str) -> str:
        """A column's name as it is now."""
        return self._old_names.get((table, column), column)

    def count_duplicates(self, table: str, columns: Sequence[str]) -> str | None:
        """How many rows have values that others have too; None where there can be none, or they cannot be known."""
        values = self._values(table, columns)
        if values is None or not self.has_values(table, columns):
            return None
        names = [f"c{number}" for number in range(len(columns))]
        not_null = " AND ".join(f"{name} IS NOT NULL" for name in names)
        return (
            f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM ({values}) r WHERE {not_null}"  # noqa: S608
            f" GROUP BY {', '.join(names)} HAVING count(*) > 1) d"
        )

    def count_orphans(self, table: str, key: KeySchema) -> str | None:
        """How many rows refer to none; None where there can be none, or they cannot be known."""
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
        """How many rows a check refuses; None where it speaks of values that cannot be known."""
        mentioned = [column for column in self.desired[table].columns if column in expression]
        values = {column: self._value(table, column) for column in mentioned}
        if None in values.values():
            return None
        if all(value == quoted(column) for column, value in values.items()):
            return self.count(table, f"NOT ({expression})")
        selected = ", ".join(f"{value} AS {quoted(column)}" for column, value in values.items())
        rows = f"SELECT {selected} FROM {quoted(table)}"  # noqa: S608 -- they are quoted
        return f"SELECT count(*) FROM ({rows}) r WHERE NOT ({expression})"  # noqa: S608 -- the domain's own

    @cached_property
    def _old_names(self) -> dict[tuple[str, str], str]:
        return {(table, new): old for (table, old), new in self.renames.items()}

    @cached_property
    def _dropped_oids(self) -> frozenset[int]:
        return frozenset(
            change.actual.oid for change in self.changes if change.kind is ChangeKind.DROP_KEY and change.actual
        )

    @cached_property
    def _freed_names(self) -> frozenset[str]:
        """Names of indexes that are dropped first."""
        going = [change.actual for change in self.changes if change.kind is ChangeKind.DROP_KEY and change.actual]
        return frozenset(key.schema.name for key in going)

    def _values(self, table: str, columns: Sequence[str]) -> str | None:
        values = [self._value(table, column) for column in columns]
        if None in values:
            return None
        selected = ", ".join(f"{value} AS c{number}" for number, value in enumerate(values))
        return f"SELECT {selected} FROM {quoted(table)}"  # noqa: S608 -- they are quoted

    def _value(self, table: str, column: str) -> str | None:
        """What a column will hold, in terms of what is there now; None where that cannot be known.

        A value that has no new one counts as none here: it is counted where the column gets its type.
        """
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
                known = after.default != SERIAL and not is_volatile(after.default)
                return f"({after.default})::{after.type}" if known else None
        return quoted(self.old_name(table, column))


def is_prebuilt_index(index: KeySchema, key: KeySchema, name: str) -> bool:
    """Whether an index is one that was built to become a key, and did not yet."""
    plain = index.kind == INDEX and index.is_unique
    return plain and key.kind in {PRIMARY, UNIQUE} and index.columns == key.columns and index.name == name
