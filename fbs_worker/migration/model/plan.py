"""Migration plan: statements in execution order, each with its reason, lock and hazards. Pure.

The hazards are named as by pg-schema-diff and strong_migrations.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Final


class Hazard(StrEnum):
    """A risk of a statement for the data or for concurrent applications."""

    DELETES_DATA = "DELETES_DATA"
    REWRITES_TABLE = "REWRITES_TABLE"
    LONG_LOCK = "LONG_LOCK"
    MIGHT_FAIL_ON_DATA = "MIGHT_FAIL_ON_DATA"
    POSSIBLE_RENAME = "POSSIBLE_RENAME"
    INDEX_BUILD = "INDEX_BUILD"
    INDEX_DROPPED = "INDEX_DROPPED"
    DRIFT = "DRIFT"


MUST_BE_ALLOWED: Final = frozenset(
    {Hazard.DELETES_DATA, Hazard.REWRITES_TABLE, Hazard.LONG_LOCK, Hazard.POSSIBLE_RENAME, Hazard.DRIFT}
)
"""Hazards that have to be allowed by name. For the others the plan contains the safe variant already; a step that might
fail on data has a preflight check, which rejects the plan while offending rows exist."""


TAKES_LONG: Final = frozenset({Hazard.REWRITES_TABLE, Hazard.LONG_LOCK})
"""Hazards of a step that has a transaction of its own: no other table waits for it."""


BATCH: Final = 5_000
"""Rows per UPDATE of a backfill."""


class Lock(StrEnum):
    """The strongest table-level lock of a statement (PostgreSQL's documentation, section 13.3.1)."""

    NONE = "none"
    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
    ROW_EXCLUSIVE = "ROW EXCLUSIVE"
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"


class Mode(StrEnum):
    """Execution mode of a step."""

    TRANSACTION = "transaction"
    """In one transaction with adjacent steps of this mode, unless it takes long."""
    ALONE = "alone"
    """In autocommit mode: CONCURRENTLY, or VALIDATE, which must not extend the locks of adjacent steps."""
    BATCHES = "batches"
    """In small transactions: for one range of `Step.batch_key` after the other, else repeated until no row changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTarget:
    """Values to archive before a step deletes them.

    Attributes:
        table: the table of the column, or the table that is dropped.
        column: the column that is dropped or narrowed; None for the whole table.
        archive_table: name of the archive table, `<table_prefix>retired_…`.
        key: columns of the table's primary key; empty without one.
    """

    table: str
    column: str | None
    archive_table: str
    key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One statement of a plan.

    Attributes:
        sql: the statement, with every name quoted.
        kind: its kind, e.g. `add_column`, stored as `migration_type`; at most 50 characters.
        table: the table that it changes.
        refers_to: the table that its foreign key refers to, which it locks as well; empty without one.
        reason: readable reason: the Odoo field, the version of the system tables, or the drift.
        lock: the strongest lock that it takes.
        hazards: its risks.
        has_rows: whether the table contains rows.
        mode: its execution mode.
        batch_key: of BATCHES: columns of the primary key; the ranges are appended to the statement's condition.
        archive: values to archive before it runs.
        check: preflight query that returns the number of rows on which it would fail; None if it cannot fail on data.
            It runs before the first step and refers to tables and columns by their current names.
        cleanup: statement that removes the remains of an interrupted run, e.g. DROP INDEX CONCURRENTLY IF EXISTS.
        reversible: whether an undo can revert it; False where what was there cannot be derived from what is there then.
    """

    sql: str
    kind: str
    table: str
    reason: str
    refers_to: str = ""
    lock: Lock = Lock.ACCESS_EXCLUSIVE
    hazards: frozenset[Hazard] = frozenset()
    has_rows: bool = False
    mode: Mode = Mode.TRANSACTION
    batch_key: tuple[str, ...] = ()
    archive: ArchiveTarget | None = None
    check: str | None = None
    cleanup: str | None = None
    reversible: bool = True

    @property
    def takes_long(self) -> bool:
        """Whether it holds a lock for long."""
        return bool(self.hazards & TAKES_LONG)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {
            "sql": self.sql,
            "kind": self.kind,
            "table": self.table,
            "reason": self.reason,
            "lock": str(self.lock),
            "hazards": sorted(map(str, self.hazards)),
            "has_rows": self.has_rows,
            "mode": str(self.mode),
            "must_allow": sorted(map(str, self.hazards & MUST_BE_ALLOWED)),
            "keeps": self.archive.archive_table if self.archive else None,
            "column": self.archive.column if self.archive else None,
            "key": list(self.batch_key or (self.archive.key if self.archive else ())),
            "reversible": self.reversible,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSummary:
    """What a plan does to a table.

    Attributes:
        table: the table.
        rows: estimated number of rows; None if it is not known.
        bytes: size with indexes; 0 for a table that does not exist.
        changes: what changes, in a few words each.
    """

    table: str
    rows: int | None
    bytes: int
    changes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {"table": self.table, "rows": self.rows, "bytes": self.bytes, "changes": list(self.changes)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A migration plan.

    Attributes:
        solution: the solution's name.
        steps: in execution order.
        drift: manual changes relative to the last applied schema, one line each.
        questions: possible renames, one line each, with the `--rename` option that confirms it.
        notes: changes that are not possible yet and their reason, one line each.
        blockers: why PostgreSQL would refuse a step, one line each; such a plan cannot be applied.
        changes: differences from the desired schema that the plan resolves, one line each.
        summary: what it does to each table that it changes.
        tables: tables owned by the solution after the migration.
        schema: schema applied by FBS after the migration: table → columns and keys; stored in the manifest.
        undo: what an undo needs, JSON-ready: `former` (changed table → the schema that it has; None for a new one),
            `after` (the schema that the plan leads to), `renames` (of columns: table, old and new name) and `attached`
            (what goes with a dropped column: table, column, statement).
    """

    solution: str
    steps: tuple[Step, ...]
    drift: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    summary: tuple[TableSummary, ...] = ()
    tables: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)
    undo: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the plan: 16 hexadecimal digits of a hash over its steps."""
        steps = [[step.sql, sorted(map(str, step.hazards)), step.has_rows] for step in self.steps]
        return hashlib.sha256(json.dumps([self.solution, steps]).encode()).hexdigest()[:16]

    @property
    def empty(self) -> bool:
        """Whether it has no steps."""
        return not self.steps

    def unallowed_hazards(self, allowed: Collection[Hazard]) -> frozenset[Hazard]:
        """Return the hazards that have to be allowed and are not.

        Args:
            allowed: hazards allowed by name.
        """
        present = frozenset(hazard for step in self.steps for hazard in step.hazards)
        return (present & MUST_BE_ALLOWED) - frozenset(allowed)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {
            "solution": self.solution,
            "fingerprint": self.fingerprint,
            "summary": [table.to_dict() for table in self.summary],
            "steps": [
                {**self.steps[position].to_dict(), "transaction": number}
                for number, group in enumerate(transactions(self.steps), 1)
                for position in group
            ],
            "drift": list(self.drift),
            "questions": list(self.questions),
            "notes": list(self.notes),
            "blockers": list(self.blockers),
            "needs": sorted(map(str, self.unallowed_hazards(()))),
        }


def transactions(steps: Sequence[Step]) -> list[list[int]]:
    """Group the positions of steps that run in one transaction; a step that takes long has one of its own."""
    groups: list[list[int]] = []
    open_ = False
    for position, step in enumerate(steps):
        shares = step.mode is Mode.TRANSACTION and not step.takes_long
        if shares and open_:
            groups[-1].append(position)
        else:
            groups.append([position])
        open_ = shares
    return groups


def apply_command(result: Mapping[str, Any]) -> str:
    """Return the command line that applies a plan, with the options that the plan was made with.

    Args:
        result: result of a job with `plan_only`.
    """
    options: list[str] = []
    for name, value in result.get("options", {}).items():
        flag = f"--{name.replace('_', '-')}"
        options += [flag] if value is True else [word for each in value or () for word in (flag, each)]
    allow = [word for hazard in result["needs"] for word in ("--allow", hazard)]
    undo = ["--undo"] if result["undoes"] else []
    words = ["fbs", "migrate", "--solution-name", result["solution"], *undo, "--apply", result["fingerprint"]]
    return shlex.join([*words, *options, *allow])
