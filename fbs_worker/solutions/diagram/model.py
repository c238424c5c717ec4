"""Diagram model: existing tables, their keys, and planned changes. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fbs_worker.schema.differ import Change, ChangeKind, Difference
from fbs_worker.schema.inspector import InspectedSchema
from fbs_worker.schema.model import FOREIGN, PRIMARY, UNIQUE, ColumnSchema, KeySchema, Schema

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
        flags: `PK`, `FK`, `UK`: kinds of keys that it is part of.
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
    """A foreign key.

    Attributes:
        source: the referencing table.
        columns: the referencing columns.
        target: the referenced table.
        required: whether all its columns are NOT NULL.
        mark: its change marker.
    """

    source: str
    columns: tuple[str, ...]
    target: str
    required: bool = False
    mark: Mark = Mark.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagram:
    """Content of a diagram.

    Attributes:
        title: heading.
        tables: ordered by name.
        links: foreign keys between these tables.
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
    title: str, *, desired: Schema, actual: InspectedSchema, difference: Difference, mirrored: Collection[str] = ()
) -> Diagram:
    """Build the diagram of a solution's tables.

    Args:
        title: heading.
        desired: the desired schema.
        actual: the inspected tables, normalised against `desired`.
        difference: result of the comparison.
        mirrored: tables of mirrored models.
    """
    view = _View(desired, actual, difference)
    tables = tuple(
        DiagramTable(
            name=name,
            columns=tuple(view.columns(name)),
            mirrored=any(name == table or name.startswith(f"{table}__") for table in mirrored),
            mark=view.mark(name),
            difference=view.difference(name),
        )
        for name in sorted({*desired, *actual.tables})
    )
    names = {table.name for table in tables}
    links = [link for name in sorted(names) for link in view.links(name) if link.target in names]
    return Diagram(title=title, tables=tables, links=tuple(links))


class _View:
    """Combines desired schema, inspected tables and differences per table."""

    def __init__(self, desired: Schema, actual: InspectedSchema, difference: Difference) -> None:
        self._desired = desired
        self._actual = actual
        self._difference = difference
        self._changes = _by_table(difference.changes)
        self._drift = _by_table(difference.drift)

    def mark(self, table: str) -> Mark:
        kinds = {change.kind for change in self._changes.get(table, ())}
        if ChangeKind.CREATE_TABLE in kinds:
            return Mark.NEW
        if ChangeKind.DROP_TABLE in kinds:
            return Mark.GONE
        return Mark.DRIFT if table in self._difference.blocked else Mark.NONE

    def difference(self, table: str) -> str:
        if table in self._difference.blocked:
            return f"{self._difference.blocked[table]} that FBS did not create has this name"
        others = [change.describe() for change in self._changes.get(table, ()) if not change.column]
        return "; ".join(difference.removeprefix(f"{table}: ") for difference in others)

    def columns(self, table: str) -> Iterator[DiagramColumn]:
        existing = self._actual.tables.get(table)
        shown: dict[str, ColumnSchema] = dict(existing.columns) if existing is not None else {}
        if existing is None and table in self._desired:
            shown = dict(self._desired[table].columns)
        marks: dict[str, tuple[Mark, str]] = {}
        retyped = {
            change.column: short(change.after.type)
            for change in self._changes.get(table, ())
            if change.kind is ChangeKind.RETYPE and change.after is not None
        }
        for changes, by_hand in ((self._drift, True), (self._changes, False)):
            for change in changes.get(table, ()):
                if not change.column:
                    continue
                if change.after is not None:
                    shown.setdefault(change.column, change.after)
                mark = Mark.DRIFT if by_hand else _MARKS.get(change.kind, Mark.CHANGED)
                before = marks.get(change.column, (mark, ""))[1]
                difference = change.describe().partition(": ")[2]
                marks[change.column] = mark, f"{before}; {difference}" if before else difference
        flags = self._flags(table)
        for name, column in shown.items():
            mark, difference = marks.get(name, (Mark.NONE, ""))
            kinds = tuple(flag for flag in ("PK", "FK", "UK") if name in flags[flag])
            yield DiagramColumn(
                name=name,
                type=short(column.type),
                becomes=retyped.get(name, ""),
                flags=kinds,
                mark=mark,
                difference=difference,
            )

    def links(self, table: str) -> Iterator[DiagramLink]:
        changes = self._changes.get(table, ())
        coming = {
            _ends(change.key): change.key for change in changes if change.kind is ChangeKind.ADD_KEY and change.key
        }
        going = {
            _ends(change.actual.schema) for change in changes if change.kind is ChangeKind.DROP_KEY and change.actual
        }
        missing = {
            _ends(change.key): change.key
            for change in self._drift.get(table, ())
            if change.kind is ChangeKind.ADD_KEY and change.key
        }
        known = {_ends(key): key for key in self._keys(table, desired=False)}
        for ends, key in {**missing, **coming, **known}.items():
            if key.kind != FOREIGN or key.target is None:
                continue
            mark = Mark.NONE
            if ends in coming:
                mark = Mark.CHANGED if ends in known else Mark.NEW
            elif ends in going:
                mark = Mark.GONE
            elif ends in missing:
                mark = Mark.DRIFT
            yield DiagramLink(
                source=table,
                columns=key.columns,
                target=key.target[0],
                required=self._required(table, key.columns),
                mark=mark,
            )

    def _flags(self, table: str) -> Mapping[str, set[str]]:
        flags: dict[str, set[str]] = {"PK": set(), "FK": set(), "UK": set()}
        kinds = {PRIMARY: "PK", FOREIGN: "FK", UNIQUE: "UK"}
        for key in self._keys(table, desired=table not in self._actual.tables):
            if key.kind in kinds:
                flags[kinds[key.kind]].update(key.columns)
        for change in self._changes.get(table, ()):
            if change.kind is ChangeKind.ADD_KEY and change.key and change.key.kind in kinds:
                flags[kinds[change.key.kind]].update(change.key.columns)
        return flags

    def _keys(self, table: str, *, desired: bool) -> Iterable[KeySchema]:
        if desired:
            return self._desired[table].keys if table in self._desired else ()
        existing = self._actual.tables.get(table)
        return [key.schema for key in existing.keys] if existing is not None else ()

    def _required(self, table: str, columns: Iterable[str]) -> bool:
        existing = self._actual.tables.get(table)
        known = {
            **(self._desired[table].columns if table in self._desired else {}),
            **(existing.columns if existing else {}),
        }
        return all(name in known and known[name].not_null for name in columns)


_MARKS = {ChangeKind.ADD_COLUMN: Mark.NEW, ChangeKind.DROP_COLUMN: Mark.GONE}

_SHORT = {
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


def _ends(key: KeySchema) -> tuple[object, ...]:
    return key.kind, key.columns, key.target
