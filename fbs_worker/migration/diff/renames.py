"""Columns that were renamed: those that are said to be, and those that may have been. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from typing import Final

from fbs_worker.core.errors import UsageError
from fbs_worker.migration.diff.changes import Change, ChangeKind, Difference
from fbs_worker.migration.inspect.inspector import InspectedSchema
from fbs_worker.migration.model.schema import Schema
from fbs_worker.migration.model.type_conversion import parse_type

_CLOSE_MATCH: Final = 0.6
"""From where on two names are alike (difflib's ratio, which its documentation calls a close match from 0.6 on)."""


def requested_renames(renames: Iterable[str], desired: Schema, actual: InspectedSchema) -> dict[tuple[str, str], str]:
    """The renames that were asked for and are still to be done: table and column → the column's new name.

    Args:
        renames: each `table.old=new`.
        wanted: what is wanted; of tables that may be changed.
        found: what the database has.

    Raises:
        UsageError: one of them cannot be.
    """
    renames_: dict[tuple[str, str], str] = {}
    for text in renames:
        table, old, new = _parts(text, desired)
        existing = actual.tables.get(table)
        columns = existing.columns if existing is not None else {}
        if new not in desired[table].columns:
            raise _rename_error(text, f"{table} is to have no column {new}.")
        if old in desired[table].columns:
            raise _rename_error(text, f"{table} is to keep its column {old}.")
        if new in columns and old not in columns:
            continue  # it has been done
        if new in columns:
            raise _rename_error(text, f"{table} has a column {new} already.")
        if old not in columns:
            raise _rename_error(text, f"{table} has no column {old}.")
        if (table, old) in renames_ or (table, new) in {(known, to) for (known, _), to in renames_.items()}:
            raise _rename_error(text, "Another --rename speaks of the same column.")
        renames_[table, old] = new
    return renames_


def likely_renames(difference: Difference, populated: Collection[str]) -> dict[tuple[str, str], str]:
    """Columns that go from tables with rows, each with one that comes and is like it: of one type, or by its name.

    Args:
        difference: what is to change.
        filled: the tables that hold rows.
    """
    pairs_: dict[tuple[str, str], str] = {}
    tables = dict.fromkeys(change.table for change in difference.changes if change.kind is ChangeKind.DROP_COLUMN)
    for table in tables:
        if table not in populated:
            continue
        here = [change for change in difference.changes if change.table == table]
        going = [change for change in here if change.kind is ChangeKind.DROP_COLUMN]
        coming = [change for change in here if change.kind is ChangeKind.ADD_COLUMN]
        pairs = [(_similarity(old, new), old.column, new.column) for old in going for new in coming]
        taken: set[str] = set()
        for similarity, old_name, new_name in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if similarity and (table, old_name) not in pairs_ and new_name not in taken:
                pairs_[table, old_name] = new_name
                taken.add(new_name)
    return pairs_


def _similarity(old: Change, new: Change) -> float:
    """How alike two columns are; 0 where they are not."""
    if old.before is None or new.after is None:
        return 0.0
    names = SequenceMatcher(None, old.column, new.column).ratio()
    same = old.before.type == new.after.type
    related = parse_type(old.before.type).base == parse_type(new.after.type).base
    return names + same + related if same or related or names >= _CLOSE_MATCH else 0.0


def _parts(text: str, desired: Schema) -> tuple[str, str, str]:
    """Table, old and new name; a table's name may have points in it."""
    left, equals, new = text.partition("=")
    for table in sorted(desired, key=len, reverse=True):
        old = left.removeprefix(f"{table}.")
        if equals and old != left and old and new:
            return table, old, new
    problem = "It is not table.old=new." if not equals or "." not in left else "The solution has no such table."
    raise _rename_error(text, problem)


def _rename_error(text: str, why: str) -> UsageError:
    return UsageError(
        f"--rename {text} cannot be: {why}",
        hint="Name a column that goes and one that comes, as `fbs migrate --plan` tells them: --rename table.old=new",
    )
