"""Readable reasons of changes: the Odoo field, the domain, or the version of the system tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fbs_worker._version import __version__
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.dependents import Dependent
from fbs_worker.schema.differ import Change, ChangeKind
from fbs_worker.schema.mirror import RESERVED_COLUMNS
from fbs_worker.schema.model import FOREIGN

_OF_EVERY_TABLE = frozenset(("id", "created_at", "updated_at"))


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """Reasons of changes.

    Attributes:
        definition: the desired tables; None for an undo.
        mirrored: models mirrored until now → table.
    """

    definition: Definition | None
    mirrored: Mapping[str, str] = field(default_factory=dict)

    def of(self, change: Change) -> str:
        """Return the reason of a change."""
        if self.definition is None:
            return f"undo: {change.summary()}{_drifted(change)}"
        subject = self.subject(change.table, change.column or self._key_column(change))
        match change.kind:
            case ChangeKind.CREATE_TABLE:
                text = self._new_table(change.table)
            case ChangeKind.ADD_COLUMN:
                text = f"New {'field' if self._model(change.table)[0] else 'column'} {subject}"
            case _:
                text = f"{subject} {self._predicate(change)}"
        return text + _drifted(change)

    def of_rename(self, table: str, old: str, new: str) -> str:
        """Return the reason of a rename."""
        if self.definition is None:
            return f"undo: {old} was named {new}"
        return f"{self.subject(table, new)} was renamed from {old} (--rename)"

    def of_possible_rename(self, table: str, old: str, new: str) -> str:
        """Return the question about a possible rename."""
        return f"{table}.{old} is dropped and {table}.{new} added: for a rename add --rename {table}.{old}={new}"

    def of_nullable(self, table: str, column: str) -> str:
        """Return the note about a new required column that stays nullable."""
        return (
            f"{table}.{column}: {self.subject(table, column)} is required, but existing rows have no value and there is"
            " no default: the next migration sets NOT NULL once all rows have values"
        )

    def of_dependent(self, dependent: Dependent) -> str:
        """Return why a table or column is neither dropped nor retyped."""
        what = f"{dependent.table}{'.' if dependent.column else ''}{dependent.column}"
        definition = f": {dependent.definition}" if dependent.definition else ""
        return f"{what}: {dependent.name} depends on it; drop that first{definition}"

    def of_rejection(self, table: str, column: str, message: str) -> str:
        """Return why a change of a column is not possible, whatever the rows are."""
        return f"{table}.{column}: PostgreSQL rejects the change: {message}"

    def of_attached(self, table: str, column: str, what: str) -> str:
        """Return the note about a user's object that is dropped with a column."""
        return f"{table}.{column}: with the column goes {what}; an undo brings it back"

    def of_archived(self, table: str, column: str, archive: str) -> str:
        """Return the note about archived values of a recreated table or column."""
        return f"{table}{'.' if column else ''}{column}: the former values are archived in {archive}"

    def subject(self, table: str, column: str = "") -> str:
        """Return a table's or column's origin, e.g. `sale.order.note of Odoo`."""
        model, field_of_link = self._model(table)
        if model:
            name = f"{model}.{field_of_link}" if field_of_link else model
            if not field_of_link and column and column not in _OF_EVERY_TABLE:
                name = f"{model}.{_field(column)}"
            return f"{name} of Odoo"
        whole = f"{table}.{column}" if column else table
        if self.definition is None:
            return whole
        if any(table == str(known.name) for known in self.definition.system):
            return f"{whole} of the system tables of FBS {__version__}"
        return f"{whole} of the domain {self.definition.domain}"

    @cached_property
    def _models(self) -> dict[str, str]:
        """Table → mirrored model."""
        mirrored = self.definition.mirrored if self.definition else {}
        return {table: model for model, table in (*self.mirrored.items(), *mirrored.items())}

    def _model(self, table: str) -> tuple[str, str]:
        """Return the mirrored model of a table, and the field of a link table; empty for others."""
        end = len(table)
        while end > 0:
            if table[:end] in self._models:
                return self._models[table[:end]], table[end:].removeprefix("__")
            end = table.rfind("__", 0, end + 1)
        return "", ""

    def _new_table(self, table: str) -> str:
        model, field_of_link = self._model(table)
        if model and not field_of_link:
            return f"New mirrored model {model}"
        return f"New {'link table for ' if model else 'table '}{self.subject(table)}"

    def _loosens(self, change: Change) -> bool:
        """Whether it takes an enforced foreign key of a mirrored table away, which has none any more."""
        key = change.actual.schema if change.actual else None
        return key is not None and key.kind == FOREIGN and key.enforced and bool(self._model(change.table)[0])

    def _key_column(self, change: Change) -> str:
        key = change.key or (change.actual.schema if change.actual else None)
        return key.columns[0] if key is not None and len(key.columns) == 1 else ""

    def _predicate(self, change: Change) -> str:
        after, gone = change.after, not self.definition or change.table not in self.definition.business.tables
        match change.kind:
            case ChangeKind.FILL_COLUMN:
                return "is not backfilled completely"
            case ChangeKind.RETYPE if after:
                return f"has the type {after.type}"
            case ChangeKind.SET_NOT_NULL:
                return "is required"
            case ChangeKind.DROP_NOT_NULL:
                return "is no longer required"
            case ChangeKind.DEFAULT if after:
                return f"has the default {after.default}" if after.default else "no longer has a default"
            case ChangeKind.COMMENT:
                return "has new comments" if any(change.comments.values()) else "has fewer comments"
            case ChangeKind.ADD_KEY if change.key:
                return f"has the {change.key.label()}"
            case ChangeKind.VALIDATE_KEY if change.key:
                return f"has the {change.key.label()}, not validated yet"
            case ChangeKind.DROP_KEY if not gone and self._loosens(change):
                return "is a link that no foreign key enforces"
            case ChangeKind.DROP_KEY if change.actual and not gone:
                return f"requires a change of the {change.actual.schema.label()}"
        if self._model(change.table)[0]:
            return "is no longer mirrored, or no longer exists"
        return "is no longer part of the definition"


def _drifted(change: Change) -> str:
    return "; overwrites a manual change" if change.drifted else ""


def _field(column: str) -> str:
    """Return the field of a column; fields with reserved column names are prefixed with `odoo_`."""
    name = column
    while name.startswith("odoo_") and name not in RESERVED_COLUMNS:
        name = name.removeprefix("odoo_")
        if name in RESERVED_COLUMNS:
            return name
    return "id" if column == "odoo_id" else column
