"""What a diagram shows: tables as they are, their keys, and what is to change. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fbs_worker.migration.diff.changes import Change, Difference, What
from fbs_worker.migration.inspect.inspector import Found
from fbs_worker.migration.model.schema import FOREIGN, PRIMARY, UNIQUE, ColumnShape, KeyShape, Shape

CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Mark(StrEnum):
    """What is to become of something that is shown."""

    NONE = ""
    NEW = "new"
    GONE = "goes"
    CHANGED = "changes"
    DRIFT = "changed by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturedColumn:
    """A column.

    Attributes:
        name: its name.
        type: short, e.g. `varchar(50)`.
        becomes: the type that it is going to have, where that is another one.
        flags: `PK`, `FK` and `UK`, as far as it is part of such a key.
        mark: what becomes of it.
        told: how it differs from what it is to be; empty where it does not.
    """

    name: str
    type: str
    becomes: str = ""
    flags: tuple[str, ...] = ()
    mark: Mark = Mark.NONE
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturedTable:
    """A table.

    Attributes:
        name: its name.
        columns: in their order.
        mirrored: it is that of a mirrored model, or a link table of one.
        mark: what becomes of it.
        told: how it differs from what it is to be; empty where it does not.
    """

    name: str
    columns: tuple[PicturedColumn, ...] = ()
    mirrored: bool = False
    mark: Mark = Mark.NONE
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturedLink:
    """A foreign key.

    Attributes:
        source: the table that has it.
        columns: its columns.
        target: the table that it refers to.
        required: the columns cannot be NULL.
        mark: what becomes of it.
    """

    source: str
    columns: tuple[str, ...]
    target: str
    required: bool = False
    mark: Mark = Mark.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a diagram shows.

    Attributes:
        title: what it is of.
        tables: by name.
        links: their foreign keys, as far as both ends are there.
    """

    title: str
    tables: tuple[PicturedTable, ...]
    links: tuple[PicturedLink, ...] = ()

    @property
    def marks(self) -> list[Mark]:
        """Those that are in it."""
        columns = (column.mark for table in self.tables for column in table.columns)
        there = {*(table.mark for table in self.tables), *columns, *(link.mark for link in self.links)}
        return [mark for mark in Mark if mark and mark in there]


def picture_of(
    title: str, *, wanted: Shape, found: Found, difference: Difference, mirrored: Collection[str] = ()
) -> Picture:
    """The picture of a solution's tables.

    Args:
        title: what it is of.
        wanted: what the tables are to be.
        found: what the database has, in the words of `wanted`.
        difference: what is to change.
        mirrored: the tables of mirrored models.
    """
    view = _View(wanted, found, difference)
    tables = tuple(
        PicturedTable(
            name=name,
            columns=tuple(view.columns(name)),
            mirrored=any(name == table or name.startswith(f"{table}__") for table in mirrored),
            mark=view.mark(name),
            told=view.told(name),
        )
        for name in sorted({*wanted, *found.tables})
    )
    names = {table.name for table in tables}
    links = [link for name in sorted(names) for link in view.links(name) if link.target in names]
    return Picture(title=title, tables=tables, links=tuple(links))


class _View:
    """The three sides, asked about one table at a time."""

    def __init__(self, wanted: Shape, found: Found, difference: Difference) -> None:
        self._wanted = wanted
        self._found = found
        self._difference = difference
        self._changes = _by_table(difference.changes)
        self._drift = _by_table(difference.drift)

    def mark(self, table: str) -> Mark:
        kinds = {change.what for change in self._changes.get(table, ())}
        if What.CREATE_TABLE in kinds:
            return Mark.NEW
        if What.DROP_TABLE in kinds:
            return Mark.GONE
        return Mark.DRIFT if table in self._difference.blocked else Mark.NONE

    def told(self, table: str) -> str:
        if table in self._difference.blocked:
            return f"{self._difference.blocked[table]} that FBS did not make is in the way"
        aside = [change.told() for change in self._changes.get(table, ()) if not change.column]
        return "; ".join(told.removeprefix(f"{table}: ") for told in aside)

    def columns(self, table: str) -> Iterator[PicturedColumn]:
        there = self._found.tables.get(table)
        shown: dict[str, ColumnShape] = dict(there.columns) if there is not None else {}
        if there is None and table in self._wanted:
            shown = dict(self._wanted[table].columns)
        marks: dict[str, tuple[Mark, str]] = {}
        retyped = {
            change.column: short(change.after.type)
            for change in self._changes.get(table, ())
            if change.what is What.RETYPE and change.after is not None
        }
        for changes, by_hand in ((self._drift, True), (self._changes, False)):
            for change in changes.get(table, ()):
                if not change.column:
                    continue
                if change.after is not None:
                    shown.setdefault(change.column, change.after)
                mark = Mark.DRIFT if by_hand else _MARKS.get(change.what, Mark.CHANGED)
                before = marks.get(change.column, (mark, ""))[1]
                told = change.told().partition(": ")[2]
                marks[change.column] = mark, f"{before}; {told}" if before else told
        flags = self._flags(table)
        for name, column in shown.items():
            mark, told = marks.get(name, (Mark.NONE, ""))
            kinds = tuple(flag for flag in ("PK", "FK", "UK") if name in flags[flag])
            yield PicturedColumn(
                name=name,
                type=short(column.type),
                becomes=retyped.get(name, ""),
                flags=kinds,
                mark=mark,
                told=told,
            )

    def links(self, table: str) -> Iterator[PicturedLink]:
        changes = self._changes.get(table, ())
        coming = {_ends(change.key): change.key for change in changes if change.what is What.ADD_KEY and change.key}
        going = {_ends(change.found.shape) for change in changes if change.what is What.DROP_KEY and change.found}
        missing = {
            _ends(change.key): change.key
            for change in self._drift.get(table, ())
            if change.what is What.ADD_KEY and change.key
        }
        known = {_ends(key): key for key in self._keys(table, of_wanted=False)}
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
            yield PicturedLink(
                source=table,
                columns=key.columns,
                target=key.target[0],
                required=self._required(table, key.columns),
                mark=mark,
            )

    def _flags(self, table: str) -> Mapping[str, set[str]]:
        flags: dict[str, set[str]] = {"PK": set(), "FK": set(), "UK": set()}
        kinds = {PRIMARY: "PK", FOREIGN: "FK", UNIQUE: "UK"}
        for key in self._keys(table, of_wanted=table not in self._found.tables):
            if key.kind in kinds:
                flags[kinds[key.kind]].update(key.columns)
        for change in self._changes.get(table, ()):
            if change.what is What.ADD_KEY and change.key and change.key.kind in kinds:
                flags[kinds[change.key.kind]].update(change.key.columns)
        return flags

    def _keys(self, table: str, *, of_wanted: bool) -> Iterable[KeyShape]:
        if of_wanted:
            return self._wanted[table].keys if table in self._wanted else ()
        there = self._found.tables.get(table)
        return [key.shape for key in there.keys] if there is not None else ()

    def _required(self, table: str, columns: Iterable[str]) -> bool:
        there = self._found.tables.get(table)
        known = {**(self._wanted[table].columns if table in self._wanted else {}), **(there.columns if there else {})}
        return all(name in known and known[name].not_null for name in columns)


_MARKS = {What.ADD_COLUMN: Mark.NEW, What.DROP_COLUMN: Mark.GONE}

_SHORT = {
    "character varying": "varchar",
    "character": "char",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "double precision": "double",
}


def short(kind: str) -> str:
    """A type as people write it.

    Args:
        kind: as format_type() writes it.
    """
    for long, name in _SHORT.items():
        if kind == long or kind.startswith((f"{long}(", f"{long}[")):
            return name + kind.removeprefix(long)
    return kind


def _by_table(changes: Iterable[Change]) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for change in changes:
        found.setdefault(change.table, []).append(change)
    return found


def _ends(key: KeyShape) -> tuple[object, ...]:
    return key.kind, key.columns, key.target
