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

from fbs_worker.migration.diff.changes import Change, What
from fbs_worker.migration.inspect.inspector import Found
from fbs_worker.migration.model.plan import Hazard, Lock, Mode, Retired, Step
from fbs_worker.migration.model.schema import (
    CHECK,
    INDEX,
    PRIMARY,
    SERIAL,
    UNIQUE,
    KeyShape,
    Shape,
    canonical,
    is_volatile,
)
from fbs_worker.migration.model.type_conversion import INPUT_CHECK_SINCE, Conversion, conversion
from fbs_worker.migration.plan.explain import Reasons
from fbs_worker.schema.naming import derived_name


class Phase(IntEnum):
    """When a step runs. Neighbours that can share a transaction do; what deletes values comes last."""

    RENAME = 0
    LOOSEN = 1
    CREATE = 2
    COLUMNS = 3
    KEYS = 4
    FILL = 5
    BUILD = 6
    ATTACH = 7
    PROVE = 8
    VALIDATE = 9
    SETTLE = 10
    SETTLE_KEYS = 11
    DROP_COLUMNS = 12
    DROP_TABLES = 13


Phased = Iterator[tuple[Phase, Step]]


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Names as SQL, in brackets."""
    return f"({', '.join(map(quoted, names))})"


def usual_name(table: str, key: KeyShape) -> str:
    """What a key is called: its own name, or one like PostgreSQL would give it."""
    if key.name:
        return key.name
    if key.kind == CHECK:
        told = hashlib.sha256(str(canonical(key.detail)).encode()).hexdigest()[:8]
        return str(derived_name(f"{table}_{told}", "_check"))
    if key.kind == PRIMARY:
        return str(derived_name(table, "_pkey"))
    ends = {UNIQUE: "_key", INDEX: "_idx"}
    return str(derived_name("_".join((table, *key.columns)), ends.get(key.kind, "_fkey")))


@dataclass(frozen=True, kw_only=True)
class Ground:
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

    wanted: Shape
    found: Found
    changes: Sequence[Change]
    reasons: Reasons
    table_prefix: str
    renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    filled: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    definitions: Mapping[int, str] = field(default_factory=dict)
    server_version: int = INPUT_CHECK_SINCE
    possible_renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    in_the_way: Sequence[tuple[str, str, str]] = ()

    def online(self, table: str) -> bool:
        """Whether a change to a table goes by steps that hold nobody up; PostgreSQL has none for partitioned tables."""
        there = self.found.tables.get(table)
        return there is not None and table in self.filled and not there.partitioned

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
        keeps: Retired | None = None,
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
            has_rows=change.table in self.filled,
            mode=mode,
            keeps=keeps,
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

    def keeping(self, table: str, column: str = "") -> str:
        """The table of ours that keeps what is taken away."""
        whole = f"{table}__{column}" if column else table
        return str(derived_name(f"{self.table_prefix}retired_{whole}"))

    def free_name(self, table: str, key: KeyShape) -> str:
        """A name for a key that nothing else has; an index that was cut off in the making gives its own away."""
        usual = usual_name(table, key)
        there = self.found.tables.get(table)
        others = [found for found in there.keys if found.oid not in self._going] if there else []
        # an index that is to become this key keeps its name; one that is invalid is dropped before it is built anew
        given = {found.shape.name for found in others if is_built_for(found.shape, key, usual)}
        if self.online(table):
            invalid = [found.shape for found in others if found.shape.kind == INDEX and not found.valid]
            given |= {shape.name for shape in invalid if shape.columns == key.columns}
        names = {found.shape.name for found in others}
        if key.kind in {PRIMARY, UNIQUE, INDEX}:
            names |= self.taken - self._freed
        name, number = usual, 1
        while name in names - given:
            number += 1
            name = str(derived_name(usual, f"_{number}"))
        return name

    def comes_late(self, table: str, columns: tuple[str, ...]) -> bool:
        """Whether a unique key that a foreign key is to refer to is built beside the traffic first."""
        return self.online(table) and any(
            change.key is not None and change.key.is_unique and change.key.columns == columns
            for change in self.changes
            if change.what is What.ADD_KEY and change.table == table
        )

    def has_values(self, table: str, columns: Iterable[str]) -> bool:
        """Whether rows may have values in all of these columns: not in one that comes without a default."""
        empty = {
            change.column
            for change in self.changes
            if change.what is What.ADD_COLUMN and change.table == table and change.after and not change.after.default
        }
        return table in self.filled and empty.isdisjoint(columns)

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
        given = " AND ".join(f"{name} IS NOT NULL" for name in names)
        return (
            f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM ({values}) r WHERE {given}"  # noqa: S608
            f" GROUP BY {', '.join(names)} HAVING count(*) > 1) d"
        )

    def count_orphans(self, table: str, key: KeyShape) -> str | None:
        """How many rows refer to none; None where there can be none, or they cannot be known."""
        values = self._values(table, key.columns)
        if values is None or key.target is None or not self.has_values(table, key.columns):
            return None
        given = " AND ".join(f"r.c{number} IS NOT NULL" for number in range(len(key.columns)))
        counted = f"SELECT count(*) FROM ({values}) r WHERE {given}"  # noqa: S608 -- they are quoted
        target, referred = key.target
        if target not in self.found.tables:
            return counted
        others = self._values(target, referred)
        if others is None:
            return None
        same = " AND ".join(f"o.c{number} = r.c{number}" for number in range(len(key.columns)))
        return f"{counted} AND NOT EXISTS (SELECT FROM ({others}) o WHERE {same})"

    def count_failing(self, table: str, expression: str) -> str | None:
        """How many rows a check refuses; None where it speaks of values that cannot be known."""
        spoken = [column for column in self.wanted[table].columns if column in expression]
        values = {column: self._value(table, column) for column in spoken}
        if None in values.values():
            return None
        if all(value == quoted(column) for column, value in values.items()):
            return self.count(table, f"NOT ({expression})")
        told = ", ".join(f"{value} AS {quoted(column)}" for column, value in values.items())
        rows = f"SELECT {told} FROM {quoted(table)}"  # noqa: S608 -- they are quoted
        return f"SELECT count(*) FROM ({rows}) r WHERE NOT ({expression})"  # noqa: S608 -- the domain's own

    @cached_property
    def _old_names(self) -> dict[tuple[str, str], str]:
        return {(table, new): old for (table, old), new in self.renames.items()}

    @cached_property
    def _going(self) -> frozenset[int]:
        return frozenset(change.found.oid for change in self.changes if change.what is What.DROP_KEY and change.found)

    @cached_property
    def _freed(self) -> frozenset[str]:
        """Names of indexes that are dropped first."""
        going = [change.found for change in self.changes if change.what is What.DROP_KEY and change.found]
        return frozenset(found.shape.name for found in going)

    def _values(self, table: str, columns: Sequence[str]) -> str | None:
        values = [self._value(table, column) for column in columns]
        if None in values:
            return None
        told = ", ".join(f"{value} AS c{number}" for number, value in enumerate(values))
        return f"SELECT {told} FROM {quoted(table)}"  # noqa: S608 -- they are quoted

    def _value(self, table: str, column: str) -> str | None:
        """What a column will hold, in terms of what is there now; None where that cannot be known.

        A value that has no new one counts as none here: it is counted where the column gets its type.
        """
        for change in self.changes:
            if change.table != table or change.column != column or change.after is None:
                continue
            if change.what is What.RETYPE:
                found = self.conversion(change, self.old_name(table, column))
                if not found.may_fail:
                    return f"({found.value})"
                return f"CASE WHEN NOT ({found.fails}) THEN {found.value} END" if found.fails else None
            if change.what is What.ADD_COLUMN:
                after = change.after
                if after.default is None:
                    return f"NULL::{after.type}"
                known = after.default != SERIAL and not is_volatile(after.default)
                return f"({after.default})::{after.type}" if known else None
        return quoted(self.old_name(table, column))


def is_built_for(index: KeyShape, key: KeyShape, name: str) -> bool:
    """Whether an index is one that was built to become a key, and did not yet."""
    plain = index.kind == INDEX and index.is_unique
    return plain and key.kind in {PRIMARY, UNIQUE} and index.columns == key.columns and index.name == name
