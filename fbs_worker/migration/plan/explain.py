"""Why tables change, in words for a person: which field of which model, which domain, which system tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fbs_worker._version import __version__
from fbs_worker.migration.diff.changes import Change, ChangeKind
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.mirror import RESERVED_COLUMNS

_OF_EVERY_TABLE = frozenset(("id", "created_at", "updated_at"))


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """Why tables change.

    Attributes:
        definition: what the tables are to be.
        mirrored: the models that were mirrored until now, each with its table.
    """

    definition: Definition
    mirrored: Mapping[str, str] = field(default_factory=dict)

    def of(self, change: Change) -> str:
        """Why a change is to be made."""
        text = f"{self.subject(change.table, change.column or self._key_column(change))} {self._predicate(change)}"
        return f"{text}; it was changed by hand" if change.drifted else text

    def of_rename(self, table: str, old: str, new: str) -> str:
        """Why a column is renamed."""
        return f"{self.subject(table, new)} was {old}, as --rename says"

    def of_possible_rename(self, table: str, old: str, new: str) -> str:
        """What is asked about a column that may have been renamed."""
        return f"{table}.{old} goes and {table}.{new} comes: if it was renamed, say --rename {table}.{old}={new}"

    def of_nullable(self, table: str, column: str) -> str:
        """Why a new column is not NOT NULL yet."""
        return (
            f"{table}.{column}: {self.subject(table, column)} is required, and nothing tells what the rows that are"
            " there should have: it becomes NOT NULL with the next migration once they have values"
        )

    def of_dependent(self, table: str, column: str, kind: str) -> str:
        """What stands on something that is to go or to get another type."""
        return f"{table}{'.' if column else ''}{column}: {kind} stands on it; drop that first, or PostgreSQL refuses"

    def of_archived(self, table: str, column: str, archive: str) -> str:
        """Where the values are of something that went before and comes back."""
        return f"{table}{'.' if column else ''}{column}: the values that it had before are kept in {archive}"

    def subject(self, table: str, column: str = "") -> str:
        """Whose column or table it is, e.g. `sale.order.note of Odoo`."""
        model, field_of_link = self._model(table)
        if model:
            name = f"{model}.{field_of_link}" if field_of_link else model
            if not field_of_link and column and column not in _OF_EVERY_TABLE:
                name = f"{model}.{_field(column)}"
            return f"{name} of Odoo"
        whole = f"{table}.{column}" if column else table
        if any(table == str(known.name) for known in self.definition.system):
            return f"{whole} of the system tables of FBS {__version__}"
        return f"{whole} of the domain {self.definition.domain}"

    def _model(self, table: str) -> tuple[str, str]:
        """The mirrored model of a table, and the field of a link table."""
        for model, name in (*self.definition.mirrored.items(), *self.mirrored.items()):
            if table == name:
                return model, ""
            if table.startswith(f"{name}__"):
                return model, table.removeprefix(f"{name}__")
        return "", ""

    def _key_column(self, change: Change) -> str:
        key = change.key or (change.actual.schema if change.actual else None)
        return key.columns[0] if key is not None and len(key.columns) == 1 else ""

    def _predicate(self, change: Change) -> str:
        after, gone = change.after, change.table not in self.definition.business.tables
        match change.kind:
            case ChangeKind.CREATE_TABLE | ChangeKind.ADD_COLUMN:
                return "is to be there"
            case ChangeKind.FILL_COLUMN:
                return "has not got all of its values yet"
            case ChangeKind.RETYPE if after:
                return f"is {after.type} now"
            case ChangeKind.SET_NOT_NULL:
                return "is required"
            case ChangeKind.DROP_NOT_NULL:
                return "is not required any more"
            case ChangeKind.DEFAULT if after:
                return f"has the default {after.default}" if after.default else "has no default any more"
            case ChangeKind.ADD_KEY if change.key:
                return f"has the {change.key.label()}"
            case ChangeKind.VALIDATE_KEY if change.key:
                return f"has the {change.key.label()}, which is yet to be validated"
            case ChangeKind.DROP_KEY if change.actual and not gone:
                return f"has another than the {change.actual.schema.label()}, or none"
        return "is not mirrored any more, or Odoo has it no more" if self._model(change.table)[0] else "is gone"


def _field(column: str) -> str:
    """The field of a column: one whose name a column may not have gets `odoo_` before it."""
    name = column
    while name.startswith("odoo_") and name not in RESERVED_COLUMNS:
        name = name.removeprefix("odoo_")
        if name in RESERVED_COLUMNS:
            return name
    return "id" if column == "odoo_id" else column
