"""Changes of a table schema and their descriptions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fbs_worker.migration.inspect.inspector import InspectedKey
from fbs_worker.migration.model.schema import ColumnSchema, KeySchema
from fbs_worker.schema.naming import derived_name


class ChangeKind(StrEnum):
    """Kind of a change."""

    CREATE_TABLE = "create_table"
    DROP_TABLE = "drop_table"
    ADD_COLUMN = "add_column"
    FILL_COLUMN = "fill_column"
    RETYPE = "retype"
    SET_NOT_NULL = "set_not_null"
    DROP_NOT_NULL = "drop_not_null"
    DEFAULT = "default"
    DROP_COLUMN = "drop_column"
    ADD_KEY = "add_key"
    VALIDATE_KEY = "validate_key"
    DROP_KEY = "drop_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change.

    Attributes:
        kind: the kind.
        table: the table.
        column: the column; empty for a change of a table or key.
        before: the inspected column.
        after: the desired column.
        key: the desired key.
        actual: the inspected key.
        drifted: whether it overwrites a manual change.
    """

    kind: ChangeKind
    table: str
    column: str = ""
    before: ColumnSchema | None = None
    after: ColumnSchema | None = None
    key: KeySchema | None = None
    actual: InspectedKey | None = None
    drifted: bool = False

    def describe(self) -> str:
        """Describe the difference in one line."""
        return f"{self.table}: {self._difference()}"

    def _difference(self) -> str:
        before, after, column = self.before, self.after, f"the column {self.column}"
        match self.kind:
            case ChangeKind.CREATE_TABLE:
                return "the table is missing"
            case ChangeKind.DROP_TABLE:
                return "the table is no longer part of the definition"
            case ChangeKind.ADD_COLUMN:
                return f"{column} ({after.type if after else ''}) is missing"
            case ChangeKind.FILL_COLUMN:
                return f"{column} is not backfilled completely"
            case ChangeKind.DROP_COLUMN:
                return f"{column} is no longer part of the definition"
            case ChangeKind.RETYPE if before and after:
                return f"{column} is {before.type}, not {after.type}"
            case ChangeKind.SET_NOT_NULL:
                return f"{column} is NULL allowed, not NOT NULL"
            case ChangeKind.DROP_NOT_NULL:
                return f"{column} is NOT NULL, not NULL allowed"
            case ChangeKind.DEFAULT if before and after:
                return f"{column} has the default {before.default or 'NULL'}, not {after.default or 'NULL'}"
            case ChangeKind.ADD_KEY if self.key:
                return f"the {self.key.label()} is missing"
            case ChangeKind.VALIDATE_KEY if self.key:
                return f"the {self.key.label()} has not been validated"
        return f"the {self.actual.schema.label() if self.actual else 'key'} is no longer part of the definition"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Result of a comparison.

    Attributes:
        changes: changes to apply.
        drift: manual changes that are left alone.
        blocked: table → description of a conflicting relation that FBS did not create; such a table is skipped.
    """

    changes: tuple[Change, ...]
    drift: tuple[Change, ...] = ()
    blocked: Mapping[str, str] = field(default_factory=dict)


def not_null_check(table: str, column: str) -> str:
    """Return the name of the temporary CHECK (… IS NOT NULL) that precedes SET NOT NULL."""
    return str(derived_name(f"{table}_{column}", "_fbs_not_null"))
