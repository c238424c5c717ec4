"""Undo a solution's last migration, as far as that loses nothing; what it cannot, it says.

An undo is a plan like any other: shown, allowed where it has hazards, applied, written down. Whatever it takes away is
kept as well. It reads the rows of `schema_migrations`, the newest first: what each statement made, took away and kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import RefusedError
from fbs_worker.core.postgres import Connection
from fbs_worker.migration.apply.journal import EXECUTED, Row, Undoes, history, unfinished
from fbs_worker.migration.apply.lock_retry import existing
from fbs_worker.migration.model.archive import Kept, kept_tables
from fbs_worker.migration.model.plan import Hazard, Plan, Retired, Step
from fbs_worker.migration.model.type_conversion import conversion
from fbs_worker.migration.plan.context import quoted
from fbs_worker.migration.undo.operations import (
    checked,
    concurrently,
    constraints,
    evaluates,
    has_rows,
    keys_again,
    required,
    type_of_column,
    unique,
)
from fbs_worker.migration.undo.restore import Return, bring_back, checks_left
from fbs_worker.schema.naming import derived_name
from fbs_worker.schema.system_tables import system_tables

_COSTLY: Final = frozenset({Hazard.REWRITES_TABLE, Hazard.LONG_LOCK})

_NAME: Final = r'"(?:[^"]|"")+"|[^\s"]+'
"""PostgreSQL quotes a name where it has to."""

_BUILDS_INDEX: Final = re.compile(
    rf"CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(?P<name>{_NAME}) ON "
)
_ADDS_KEY: Final = re.compile(
    rf"ALTER TABLE (?:{_NAME}) ADD CONSTRAINT (?P<name>{_NAME}) (?P<definition>.+)", re.DOTALL
)
_UNIQUE: Final = re.compile(r"(?P<words>UNIQUE|PRIMARY KEY) (?P<columns>\([^()]+\))")
_REQUIRES: Final = re.compile(rf"ALTER TABLE (?:{_NAME}) ALTER COLUMN (?P<name>{_NAME}) SET NOT NULL")

_DEFAULT: Final = """
SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a
JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass(%s) AND a.attname = %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """How a migration is reverted.

    Attributes:
        run: the migration, by its name in the rows of `schema_migrations`.
        plan: the statements; `apply` runs them.
        undoes: what each of them reverts, for `apply`.
        cannot: what is not reverted, one line each.
        before: what FBS had made before that migration, as `apply` was told then.
    """

    run: str
    plan: Plan
    undoes: tuple[Undoes, ...]
    cannot: tuple[str, ...]
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.plan.to_dict(), "run": self.run, "cannot": list(self.cannot)}


def plan_undo(connection: Connection, *, solution: str, table_prefix: str) -> Undo:
    """Plan to revert a solution's last migration that is not reverted yet; reads only.

    One that was reverted in part, because the undo was cut off, goes on. `Plan.shape` and `Plan.tables` are what FBS
    had made before the migration, `before["shape"]` and `before["tables"]`.

    Args:
        connection: to the solution's database, outside of a transaction.
        solution: its name.
        table_prefix: the solution's.

    Raises:
        RefusedError: there is nothing to revert.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    with transaction(connection) as cursor:
        rows = history(cursor, table_prefix, solution)
        run = _last(rows)
        if run is None:
            raise RefusedError(
                f"The solution {solution!r} has no migration to undo.",
                hint="Each one that was applied can be undone once; `fbs migrate` plans the next.",
            )
        kept = {found.name: found for found in kept_tables(cursor, table_prefix, solution=solution) if found.complete}
        reverted = {row.facts.get("undoes") for row in rows if row.status == EXECUTED and row.facts.get("reverted")}
        begun = {row.facts.get("undoes") for row in rows if row.status == EXECUTED}
        mine = [row for row in rows if row.run == run and row.status == EXECUTED and not row.is_undo]
        steps: list[Step] = []
        undoes: list[Undoes] = []
        cannot: list[str] = []
        stuck: set[str] = set()
        for row in reversed(mine):
            if row.number in reverted:
                continue
            found = _Reverting(
                cursor, row, kept=kept, begun=row.number in begun, stuck=stuck, table_prefix=table_prefix
            ).plan()
            stuck |= {row.table} if found.stuck else set()
            steps += found.steps
            last = len(found.steps) - 1
            undoes += [Undoes(row=row.number, of=run, reverted=number == last) for number in range(last + 1)]
            cannot += found.cannot
    before: dict[str, Any] = next((row.facts["before"] for row in mine if row.facts.get("before")), {})
    plan = Plan(
        solution=solution,
        steps=tuple(steps),
        tables=tuple(before.get("tables") or ()),
        shape=before.get("shape") or {},
    )
    return Undo(run=run, plan=plan, undoes=tuple(undoes), cannot=tuple(cannot), before=before)


def _last(rows: Sequence[Row]) -> str | None:
    """The newest migration that was not reverted: an undo of it is none, unless it was cut off."""
    undone = {row.facts["of"] for row in rows if row.is_undo and row.status == EXECUTED}
    if rows and rows[-1].is_undo and unfinished(rows):
        undone.discard(rows[-1].facts["of"])
    for row in reversed(rows):
        if row.run and not row.is_undo and row.status == EXECUTED and row.run not in undone and _counts(row):
            return row.run
    return None


def _counts(row: Row) -> bool:
    """It did more than to prepare, fill or check."""
    return any(row.facts.get(fact) for fact in ("undo", "kept", "hazards", "made"))


class _Reverting:
    """What reverts one row."""

    def __init__(
        self,
        cursor: Cursor,
        row: Row,
        *,
        kept: Mapping[str, Kept],
        begun: bool,
        stuck: Collection[str],
        table_prefix: str,
    ) -> None:
        self._cursor = cursor
        self._row = row
        self._kept = kept
        self._begun = begun
        self._stuck = stuck
        self._prefix = table_prefix
        self._reason = f"undo of {row.kind.replace('_', ' ')}"
        if row.facts.get("reason"):
            self._reason += f": {row.facts['reason']}"

    def plan(self) -> Return:
        row = self._row
        keeps, undo = row.facts.get("kept"), row.facts.get("undo")
        if row.table in {str(table.name) for table in system_tables(self._prefix)}:
            return self._cannot("this version of FBS, and other solutions, need it")
        if keeps:
            if keeps not in self._kept and self._begun:
                return checks_left(self._cursor, row.table, self._reason)
            if keeps not in self._kept:
                return self._cannot(f"what was taken away was kept in {keeps}, which is gone")
            return self._bring_back(self._kept[keeps])
        made = row.facts.get("made") or {}
        if not isinstance(undo, str):
            return self._without_undo(made.get("retyped"))
        if made.get("table"):
            return self._unmake_table(undo)
        if made.get("columns"):
            return self._unmake_column(undo, made["columns"])
        if row.facts.get("lost"):
            return self._column_again(undo, row.facts["lost"])
        return self._again(undo)

    def _bring_back(self, kept: Kept) -> Return:
        lost = tuple(key for key in kept.lost if not self._refers_to_stuck(key[2]))
        found = bring_back(self._cursor, replace(kept, lost=lost), self._reason, begun=self._begun)
        cannot = [
            f"{kept.table}: the key {key[1]} does not come back: {key[2]}." for key in kept.lost if key not in lost
        ]
        return replace(found, cannot=(*found.cannot, *cannot))

    def _without_undo(self, retyped: Mapping[str, Sequence[str | None]] | None) -> Return:
        """What only prepared, filled or checked has nothing to revert, but for a helping check that was left over."""
        row, table = self._row, self._row.table
        there = bool(existing(self._cursor, [table]))
        if retyped and there and (back := self._retyped_back(retyped)):
            return Return(steps=back)
        if _counts(row):
            return replace(self._cannot("there is no way back"), stuck=True)
        helper = _ADDS_KEY.fullmatch(row.statement)
        if helper and _plain_name(helper["name"]) in constraints(self._cursor, table):
            return Return(steps=(self._plain(f"ALTER TABLE {quoted(table)} DROP CONSTRAINT {helper['name']}"),))
        return Return()

    def _retyped_back(self, retyped: Mapping[str, Sequence[str | None]]) -> tuple[Step, ...]:
        """The former types, where no value would be another one once it had gone there and come again."""
        table, steps = self._row.table, []
        for column, (was, default) in retyped.items():
            now, name = type_of_column(self._cursor, table, column), quoted(column)
            if now is None or was is None:
                return ()
            way = conversion(now, was, name)
            again = conversion(was, now, f"({way.value})").value
            if has_rows(self._cursor, table):
                # text does not tell which JSON it was
                same = evaluates(self._cursor, table, f"({again})::{now}") and not self._exists(
                    f"{name}::text IS DISTINCT FROM ({again})::{now}::text"
                )
                if "json" in was or not same:
                    return ()
            actions = ["DROP DEFAULT", f"TYPE {was} USING {way.value}"]
            actions += [f"SET DEFAULT {default}"] if default is not None else []
            told = ", ".join(f"ALTER COLUMN {name} {action}" for action in actions)
            step = self._plain(f"ALTER TABLE {quoted(table)} {told}")
            if step.has_rows:  # values that come until it runs are kept
                retired = Retired(table=table, column=column, keep_in=self._keep_in(f"{table}__{column}"))
                step = replace(step, keeps=retired, hazards=_COSTLY if way.rewrites else step.hazards)
            steps.append(step)
        return tuple(steps)

    def _exists(self, condition: str) -> bool:
        """Whether a row of the table meets a condition."""
        statement = sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {condition})")
        table = sql.Identifier(self._row.table)
        self._cursor.execute(statement.format(table=table, condition=sql.SQL(condition)))
        found = self._cursor.fetchone()
        return bool(found and found[0])

    def _column_again(self, undo: str, lost: Sequence[Sequence[str]]) -> Return:
        """A column that held nothing, with the keys that went along."""
        step = self._plain(undo)
        there = constraints(self._cursor, step.table) if self._begun else set()
        keys = [(kind, name, definition) for kind, name, definition in lost]
        first = () if self._begun else (step,)
        return Return(steps=(*first, *keys_again(step, keys, there=there)))

    def _cannot(self, why: str) -> Return:
        said = self._row.kind.replace("_", " ")
        return Return(cannot=(f"{self._row.table}: {said} stays ({why}): {self._row.statement}",))

    def _plain(self, undo: str) -> Step:
        """The statement as it is. Dropping an index takes a moment, and it may have gone with its key."""
        table = self._row.table
        filled = bool(existing(self._cursor, [table])) and has_rows(self._cursor, table)
        costly = frozenset(hazard for hazard in _COSTLY if hazard in (self._row.facts.get("hazards") or ()))
        return Step(
            sql=re.sub(r"^DROP INDEX (CONCURRENTLY )?(IF EXISTS )?", "DROP INDEX IF EXISTS ", undo),
            kind=f"undo_{self._row.kind}"[:50],
            table=table,
            reason=self._reason,
            hazards=costly if filled else frozenset(),
            has_rows=filled,
        )

    def _again(self, undo: str) -> Return:
        """What was taken away and holds no data; where rows are, by the way that holds nobody up."""
        step = self._plain(undo)
        if step.table in self._stuck or self._refers_to_stuck(undo):
            return self._cannot("a column could not be given its former type")
        if not step.has_rows:
            return Return(steps=(step,))
        if found := _BUILDS_INDEX.match(undo):
            return Return(steps=(concurrently(step, undo, _plain_name(found["name"])),))
        if found := _REQUIRES.fullmatch(undo):
            return self._required(step, _plain_name(found["name"]))
        if found := _ADDS_KEY.fullmatch(undo):
            name, definition = _plain_name(found["name"]), found["definition"]
            if key := _UNIQUE.fullmatch(definition):
                index = f"CREATE UNIQUE INDEX {quoted(name)} ON {quoted(step.table)} {key['columns']}"
                steps = unique(step, name=name, index=index, words=key["words"])
                return Return(steps=tuple(steps))
            if definition.startswith(("FOREIGN KEY ", "CHECK ")):
                return Return(steps=tuple(checked(step, name=name, definition=definition, there=self._begun)))
            return Return(steps=(replace(step, hazards=step.hazards | {Hazard.LONG_LOCK}),))
        return Return(steps=(step,))

    def _refers_to_stuck(self, definition: str) -> bool:
        return any(f"REFERENCES {name}(" in definition for table in self._stuck for name in (table, quoted(table)))

    def _required(self, step: Step, column: str) -> Return:
        self._cursor.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(
                sql.Identifier(step.table), sql.Identifier(column)
            )
        )
        found = self._cursor.fetchone()
        if found and found[0]:
            return self._cannot(f"{found[0]} rows have no value now")
        return Return(steps=tuple(required(self._cursor, like=step, column=column)))

    def _unmake_table(self, undo: str) -> Return:
        """A table that was made goes; with rows it is put by."""
        table = self._row.table
        if not existing(self._cursor, [table]):
            return self._cannot("the table is gone already")
        step = self._plain(undo)
        if step.has_rows:
            retired = Retired(table=table, column=None, keep_in=self._keep_in(table))
            step = replace(step, hazards=step.hazards | {Hazard.DELETES_DATA}, keeps=retired)
        return Return(steps=(step,))

    def _unmake_column(self, undo: str, columns: Sequence[str]) -> Return:
        """A column that was made goes; its values are kept.

        Where it holds nothing but NULL and its default, nobody has written to it.
        """
        table, step = self._row.table, self._plain(undo)
        if len(columns) != 1 or type_of_column(self._cursor, table, columns[0]) is None:
            return self._cannot(f"it is not what it was: {', '.join(columns)}")
        column = columns[0]
        if step.has_rows:
            retired = Retired(table=table, column=column, keep_in=self._keep_in(f"{table}__{column}"))
            hazards = step.hazards | ({Hazard.DELETES_DATA} if self._holds_values(table, column) else set())
            step = replace(step, hazards=hazards, keeps=retired)
        return Return(steps=(step,))

    def _holds_values(self, table: str, column: str) -> bool:
        self._cursor.execute(_DEFAULT, (quoted(table), column))
        found = self._cursor.fetchone()
        default = found[0] if found else "NULL"
        name = quoted(column)
        return self._exists(f"{name} IS NOT NULL AND {name}::text IS DISTINCT FROM ({default})::text")

    def _keep_in(self, what: str) -> str:
        return str(derived_name(f"{self._prefix}retired_{what}"))


def _plain_name(written: str) -> str:
    return written[1:-1].replace('""', '"') if written.startswith('"') else written
