"""Column renames: requested with --rename, or likely by similarity. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from typing import Final

from fbs_worker.core.errors import UsageError
from fbs_worker.migration.model.type_conversion import parse_type
from fbs_worker.schema.differ import Change, ChangeKind, Difference
from fbs_worker.schema.inspector import InspectedSchema
from fbs_worker.schema.model import Schema

_CLOSE_MATCH: Final = 0.6
"""difflib's ratio for a close match, according to its documentation."""


def requested_renames(renames: Iterable[str], desired: Schema, actual: InspectedSchema) -> dict[tuple[str, str], str]:
    """Parse requested renames and return those not applied yet: table and column → the column's new name.

    Args:
        renames: each `table.old=new`.
        desired: desired schema of the tables that may be changed.
        actual: the inspected database.

    Raises:
        UsageError: a rename has a wrong form, or contradicts the tables or another rename.
    """
    result: dict[tuple[str, str], str] = {}
    for text in renames:
        table, old, new = _parts(text, desired)
        existing = actual.tables.get(table)
        columns = existing.columns if existing is not None else {}
        if new not in desired[table].columns:
            raise _rename_error(text, f"the definition of {table} has no column {new}.")
        if old in desired[table].columns:
            raise _rename_error(text, f"the definition of {table} still has the column {old}.")
        if new in columns and old not in columns:
            continue  # already renamed
        if new in columns:
            raise _rename_error(text, f"{table} already has a column {new}.")
        if old not in columns:
            raise _rename_error(text, f"{table} has no column {old}.")
        if (table, old) in result or (table, new) in {(known, to) for (known, _), to in result.items()}:
            raise _rename_error(text, "another --rename names the same column.")
        result[table, old] = new
    return result


def likely_renames(difference: Difference, populated: Collection[str]) -> dict[tuple[str, str], str]:
    """Pair each dropped column of a table with rows with an added one of the same type or a similar name.

    Args:
        difference: the changes.
        populated: tables that contain rows.

    Returns:
        Table and dropped column → added column.
    """
    result: dict[tuple[str, str], str] = {}
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
            if similarity and (table, old_name) not in result and new_name not in taken:
                result[table, old_name] = new_name
                taken.add(new_name)
    return result


def _similarity(old: Change, new: Change) -> float:
    """Similarity of two columns; 0 for unrelated ones."""
    if old.before is None or new.after is None:
        return 0.0
    names = SequenceMatcher(None, old.column, new.column).ratio()
    same = old.before.type == new.after.type
    related = parse_type(old.before.type).base == parse_type(new.after.type).base
    return names + same + related if same or related or names >= _CLOSE_MATCH else 0.0


def _parts(text: str, desired: Schema) -> tuple[str, str, str]:
    """Return table, old and new name; the table's name may contain dots."""
    left, equals, new = text.partition("=")
    for table in sorted(desired, key=len, reverse=True):
        old = left.removeprefix(f"{table}.")
        if equals and old != left and old and new:
            return table, old, new
    problem = "the form is table.old=new." if not equals or "." not in left else "the solution has no such table."
    raise _rename_error(text, problem)


def _rename_error(text: str, why: str) -> UsageError:
    return UsageError(
        f"--rename {text} is not possible: {why}",
        hint="Name a dropped and an added column of the output of `fbs migrate --plan`: --rename table.old=new",
    )
