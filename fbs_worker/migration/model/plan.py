"""A migration's plan: statements in the order in which they run, each with its reason and its dangers. Pure.

The hazards have the names of this field (pg-schema-diff, strong_migrations): what a statement may do to the data
or to the applications that use the tables meanwhile.
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
    """What may go wrong with a statement, for the data or for the applications that use the tables."""

    DELETES_DATA = "DELETES_DATA"
    REWRITES_TABLE = "REWRITES_TABLE"
    LONG_LOCK = "LONG_LOCK"
    MIGHT_FAIL_ON_DATA = "MIGHT_FAIL_ON_DATA"
    POSSIBLE_RENAME = "POSSIBLE_RENAME"
    INDEX_BUILD = "INDEX_BUILD"
    DRIFT = "DRIFT"


MUST_BE_ALLOWED: Final = frozenset(
    {Hazard.DELETES_DATA, Hazard.REWRITES_TABLE, Hazard.LONG_LOCK, Hazard.POSSIBLE_RENAME, Hazard.DRIFT}
)
"""A plan whose steps have one of these is applied only when it is allowed by name. The others have taken their safe way
already; what might fail on data is counted first, and refused while offending rows are there."""


class Lock(StrEnum):
    """The strongest lock on a table that a statement takes (PostgreSQL's documentation, table-level locks)."""

    NONE = "none"
    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
    ROW_EXCLUSIVE = "ROW EXCLUSIVE"
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"


class Mode(StrEnum):
    """How a step runs."""

    TRANSACTION = "transaction"
    """In one transaction with its neighbours of this mode."""
    ALONE = "alone"
    """Outside of a transaction: CONCURRENTLY, or VALIDATE, which must not hold the locks of its neighbours."""
    BATCHES = "batches"
    """Again and again, a transaction each, until it touches no row: an UPDATE of a limited number of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTarget:
    """What is kept before it is deleted, in a table of ours.

    Attributes:
        table: the table that loses it, or is dropped.
        column: the column that goes or is narrowed; None for the whole table.
        keep_in: the table that keeps it: `<table_prefix>retired_…`.
    """

    table: str
    column: str | None
    archive_table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One statement.

    Attributes:
        sql: it, with every name quoted.
        kind: what it does, in a word for `migration_type`, e.g. `add_column`; at most 50 characters.
        table: the table that it changes.
        reason: why, for a person: which field of which model, which version of the system tables, what drifted.
        lock: the strongest lock that it takes.
        hazards: what may go wrong.
        has_rows: the table holds rows.
        mode: how it runs.
        keeps: what is kept before it runs.
        undo: the statement that reverts it without losing anything; None where there is none.
        check: counts rows on which it would fail: a query that yields one number; None where it cannot fail on data.
            Asked before anything of the plan runs: it speaks of tables and columns as they are then.
        cleanup: run first where an earlier try was cut off, e.g. DROP INDEX CONCURRENTLY IF EXISTS of an invalid one.
    """

    sql: str
    kind: str
    table: str
    reason: str
    lock: Lock = Lock.ACCESS_EXCLUSIVE
    hazards: frozenset[Hazard] = frozenset()
    has_rows: bool = False
    mode: Mode = Mode.TRANSACTION
    archive: ArchiveTarget | None = None
    undo: str | None = None
    check: str | None = None
    cleanup: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "sql": self.sql,
            "kind": self.kind,
            "table": self.table,
            "reason": self.reason,
            "lock": str(self.lock),
            "hazards": sorted(map(str, self.hazards)),
            "has_rows": self.has_rows,
            "mode": str(self.mode),
            "keeps": self.archive.archive_table if self.archive else None,
            "reversible": self.undo is not None,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a migration would do.

    Attributes:
        solution: whose tables.
        steps: in the order in which they run.
        drift: what differs from what FBS made and is not overwritten silently, one line each.
        questions: possible renames, one line each with the `--rename` that answers it.
        notes: what cannot be done yet, and why, one line each.
        changes: how the tables differ from what is wanted, one line each; what the plan changes.
        tables: after the migration, the tables that the solution owns.
        shape: after the migration, what FBS made: table → its columns and keys; kept in the solution's own row.
    """

    solution: str
    steps: tuple[Step, ...]
    drift: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """Tells whether a plan is still the one that was shown: 16 hexadecimal digits over the steps."""
        steps = [[step.sql, sorted(map(str, step.hazards)), step.has_rows] for step in self.steps]
        return hashlib.sha256(json.dumps([self.solution, steps]).encode()).hexdigest()[:16]

    @property
    def empty(self) -> bool:
        """There is nothing to do."""
        return not self.steps

    def unallowed_hazards(self, allowed: Collection[Hazard]) -> frozenset[Hazard]:
        """The hazards that stand in the way.

        Args:
            allowed: those that were allowed by name.
        """
        present = frozenset(hazard for step in self.steps for hazard in step.hazards)
        return (present & MUST_BE_ALLOWED) - frozenset(allowed)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "solution": self.solution,
            "fingerprint": self.fingerprint,
            "steps": [step.to_dict() for step in self.steps],
            "drift": list(self.drift),
            "questions": list(self.questions),
            "notes": list(self.notes),
            "needs": sorted(map(str, self.unallowed_hazards(()))),
        }


def apply_command(result: Mapping[str, Any], *, options: Sequence[str] = ()) -> str:
    """The command line that applies a plan.

    Args:
        result: what a job with `plan_only` yielded.
        options: those that the plan was made with.
    """
    allow = [word for hazard in result["needs"] for word in ("--allow", hazard)]
    undo = ["--undo"] if result["undoes"] else []
    words = ["fbs", "migrate", "--solution-name", result["solution"], *undo, "--apply", result["fingerprint"]]
    return shlex.join([*words, *options, *allow])
