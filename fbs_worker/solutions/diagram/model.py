"""Diagram model: existing tables, their keys, and planned changes. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fbs_worker.schema.differ import Change, ChangeKind, Difference
from fbs_worker.schema.inspector import InspectedSchema, InspectedTable
from fbs_worker.schema.model import FOREIGN, PRIMARY, UNIQUE, KeySchema, Schema, TableSchema

CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Mark(StrEnum):
    """Change marker of a table, column or link."""

    NONE = ""
    NEW = "new"
    GONE = "goes"
    CHANGED = "changes"
    DRIFT = "changed by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramColumn:
    """A column.

    Attributes:
        name: its name.
        type: short type, e.g. `varchar(50)`.
        becomes: the desired short type, if different.
        flags: `PK`, `FK`, `UK`: kinds of keys that it is part of; `→` for a link without a key.
        mark: its change marker.
        difference: difference from the desired column; empty without one.
    """

    name: str
    type: str
    becomes: str = ""
    flags: tuple[str, ...] = ()
    mark: Mark = Mark.NONE
    difference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramTable:
    """A table.

    Attributes:
        name: its name.
        columns: in table order.
        mirrored: whether it is the table or a link table of a mirrored model.
        mark: its change marker.
        difference: difference from the desired table; empty without one.
    """

    name: str
    columns: tuple[DiagramColumn, ...] = ()
    mirrored: bool = False
    mark: Mark = Mark.NONE
    difference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramLink:
    """A foreign key, or a link that the database has no key of.

    Attributes:
        source: the referencing table.
        columns: the referencing columns.
        target: the referenced table.
        required: whether there is a referenced row for each row: all its columns are NOT NULL, and it is enforced.
        mark: its change marker.
        enforced: whether the database checks it.
    """

    source: str
    columns: tuple[str, ...]
    target: str
    required: bool = False
    mark: Mark = Mark.NONE
    enforced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagram:
    """Content of a diagram.

    Attributes:
        title: heading.
        tables: ordered by name.
        links: links between these tables.
    """

    title: str
    tables: tuple[DiagramTable, ...]
    links: tuple[DiagramLink, ...] = ()

    @property
    def marks(self) -> list[Mark]:
        """The change markers in use."""
        columns = (column.mark for table in self.tables for column in table.columns)
        existing = {*(table.mark for table in self.tables), *columns, *(link.mark for link in self.links)}
        return [mark for mark in Mark if mark and mark in existing]


def build_diagram(
    title: str,
    *,
    desired: Schema,
    actual: InspectedSchema,
    difference: Difference,
    mirrored: Collection[str] = (),
    written: Schema | None = None,
) -> Diagram:
    """Build the diagram of a solution's tables.

    Args:
        title: heading.
        desired: the desired schema.
        actual: the inspected tables, normalised against `desired`.
        difference: result of the comparison.
        mirrored: tables of mirrored models.
        written: the desired schema with the keys that this version of PostgreSQL cannot have; None if it has them all.
    """
    changes, drift = _by_table(difference.changes), _by_table(difference.drift)
    views = [
        _View(
            name=name,
            desired=desired.get(name, _NO_TABLE),
            written=(written or desired).get(name, _NO_TABLE),
            actual=actual.tables.get(name),
            changes=changes.get(name, []),
            drift=drift.get(name, []),
            conflict=difference.blocked.get(name, ""),
        )
        for name in sorted({*desired, *actual.tables})
    ]
    names = {view.name for view in views}
    return Diagram(
        title=title,
        tables=tuple(view.table(mirrored) for view in views),
        links=tuple(link for view in views for link in view.links() if link.target in names),
    )


@dataclass(kw_only=True)
class _View:
    """Combines the desired and the inspected table with their differences."""

    name: str
    desired: TableSchema
    written: TableSchema
    actual: InspectedTable | None
    changes: list[Change]
    drift: list[Change]
    conflict: str

    def table(self, mirrored: Collection[str]) -> DiagramTable:
        kinds = {change.kind for change in self.changes}
        mark, difference = Mark.NONE, "; ".join(_difference(change) for change in self.changes if not change.column)
        if ChangeKind.CREATE_TABLE in kinds:
            mark = Mark.NEW
        elif ChangeKind.DROP_TABLE in kinds:
            mark = Mark.GONE
        elif self.conflict:
            mark = Mark.DRIFT
        return DiagramTable(
            name=self.name,
            columns=tuple(self._columns()),
            mirrored=any(self.name == table or self.name.startswith(f"{table}__") for table in mirrored),
            mark=mark,
            difference=f"{self.conflict} that FBS did not create has this name" if self.conflict else difference,
        )

    def links(self) -> Iterator[DiagramLink]:
        coming = {_ends(key): key for key in _new_keys(self.changes)}
        missing = {_ends(key): key for key in _new_keys(self.drift)}
        dropped = [change.actual for change in self.changes if change.kind is ChangeKind.DROP_KEY and change.actual]
        going = {_ends(key.schema) for key in dropped}
        known = {_ends(key.schema): key.schema for key in self.actual.keys} if self.actual else {}
        loose = {_ends(key): key for key in self.written.keys if not key.enforced}
        new = {change.column for change in self.changes if change.kind is ChangeKind.ADD_COLUMN}
        columns = {**self.desired.columns, **(self.actual.columns if self.actual else {})}
        for ends, key in {**loose, **missing, **coming, **known}.items():
            if key.kind != FOREIGN or key.target is None:
                continue
            mark = Mark.NONE
            if ends in coming or (ends in loose and ends in going):
                mark = Mark.CHANGED if ends in known else Mark.NEW
            elif ends in going:
                mark = Mark.GONE
            elif ends in missing:
                mark = Mark.DRIFT
            elif ends not in known and (self.actual is None or new & {*key.columns}):
                mark = Mark.NEW
            required = key.enforced and all(name in columns and columns[name].not_null for name in key.columns)
            yield DiagramLink(
                source=self.name,
                columns=key.columns,
                target=key.target[0],
                required=required,
                mark=mark,
                enforced=key.enforced,
            )

    def _columns(self) -> Iterator[DiagramColumn]:
        shown = dict(self.actual.columns if self.actual else self.desired.columns)
        marks: dict[str, Mark] = {}
        differences: dict[str, list[str]] = {}
        becomes: dict[str, str] = {}
        for change, planned in (*((one, False) for one in self.drift), *((one, True) for one in self.changes)):
            if not change.column:
                continue
            if change.after is not None:
                shown.setdefault(change.column, change.after)
            if planned and change.kind is ChangeKind.RETYPE and change.after is not None:
                becomes[change.column] = short(change.after.type)
            marks[change.column] = _MARKS.get(change.kind, Mark.CHANGED) if planned else Mark.DRIFT
            differences.setdefault(change.column, []).append(_difference(change))
        keys = [key.schema for key in self.actual.keys] if self.actual else [*self.desired.keys]
        keys += _new_keys(self.changes)
        loose = {name for key in self.written.keys if not key.enforced for name in key.columns}
        for name, column in shown.items():
            kinds = {key.kind for key in keys if name in key.columns}
            flags = tuple(flag for kind, flag in _FLAGS.items() if kind in kinds)
            yield DiagramColumn(
                name=name,
                type=short(column.type),
                becomes=becomes.get(name, ""),
                flags=(*flags, "→") if name in loose and FOREIGN not in kinds else flags,
                mark=marks.get(name, Mark.NONE),
                difference="; ".join(differences.get(name, ())),
            )


_NO_TABLE: Final = TableSchema(columns={})

_FLAGS: Final = {PRIMARY: "PK", FOREIGN: "FK", UNIQUE: "UK"}

_MARKS: Final = {ChangeKind.ADD_COLUMN: Mark.NEW, ChangeKind.DROP_COLUMN: Mark.GONE}

_SHORT: Final = {
    "character varying": "varchar",
    "character": "char",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "double precision": "double",
}


def short(kind: str) -> str:
    """Abbreviate a type.

    Args:
        kind: type as written by format_type().
    """
    for long, name in _SHORT.items():
        if kind == long or kind.startswith((f"{long}(", f"{long}[")):
            return name + kind.removeprefix(long)
    return kind


def _by_table(changes: Iterable[Change]) -> dict[str, list[Change]]:
    result: dict[str, list[Change]] = {}
    for change in changes:
        result.setdefault(change.table, []).append(change)
    return result


def _new_keys(changes: Iterable[Change]) -> list[KeySchema]:
    return [change.key for change in changes if change.kind is ChangeKind.ADD_KEY and change.key]


def _difference(change: Change) -> str:
    return change.describe().removeprefix(f"{change.table}: ")


def _ends(key: KeySchema) -> tuple[object, ...]:
    return key.kind, key.columns, key.target
