"""Plan the undo of a solution's last migration, as far as it loses no data, and report the rest.

An undo is a plan as any other: reviewed, allowed where it has hazards, applied, journalled; values that it removes are
archived. It reverts the rows of the journal, newest first, by their recorded undo statements and archives.

Archived values are moved back in batches, from the archive table into their own: an interrupted undo is resumed. Rows
whose column was written since keep their value, and the archived one stays in the archive table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import RefusedError
from fbs_worker.core.postgres import Connection
from fbs_worker.migration.apply.journal import EXECUTED, JournalRow, Reversal, history, is_unfinished
from fbs_worker.migration.model.archive import Archive, archive_names, join_condition, list_archives, rename_statement
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Lock, Mode, Plan, Step
from fbs_worker.migration.model.type_conversion import Conversion, conversion
from fbs_worker.schema.ddl import quoted
from fbs_worker.schema.inspector import InspectedSchema, InspectedTable, KeyDefinition, inspect_tables, populated_tables
from fbs_worker.schema.model import CHECK, FOREIGN, PRIMARY, SERIAL, UNIQUE
from fbs_worker.schema.naming import derived_name
from fbs_worker.schema.system_tables import system_tables

_COSTLY: Final = frozenset({Hazard.REWRITES_TABLE, Hazard.LONG_LOCK})

_NAME: Final = r'"(?:[^"]|"")+"|[^\s"]+'
"""An identifier, quoted where PostgreSQL requires it."""

_CREATE_INDEX: Final = re.compile(
    rf"CREATE (?P<unique>UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(?P<name>{_NAME}) ON "
)
_ADDS_KEY: Final = re.compile(
    rf"ALTER TABLE (?:{_NAME}) ADD CONSTRAINT (?P<name>{_NAME}) (?P<definition>.+)", re.DOTALL
)
_UNIQUE: Final = re.compile(r"(?P<words>UNIQUE|PRIMARY KEY) (?P<columns>\([^()]+\))")
_REQUIRES: Final = re.compile(rf"ALTER TABLE (?:{_NAME}) ALTER COLUMN (?P<name>{_NAME}) SET NOT NULL")

_KINDS: Final = {"PRIMARY KEY ": PRIMARY, "UNIQUE ": UNIQUE, "FOREIGN KEY ": FOREIGN, "CHECK ": CHECK}

_BATCH: Final = 2_000
"""Rows per batch: some ten milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The undo of a migration.

    Attributes:
        run: the migration's name in the journal.
        plan: the plan, for `apply`.
        reversals: the journal row that each step reverts, for `apply`.
        not_reverted: changes that are not reverted and why, one line each.
        before: the state before the migration, as recorded by `apply`.
    """

    run: str
    plan: Plan
    reversals: tuple[Reversal, ...]
    not_reverted: tuple[str, ...]
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {**self.plan.to_dict(), "run": self.run, "cannot": list(self.not_reverted)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Database:
    """What the database has now.

    Attributes:
        cursor: cursor of the transaction that plans.
        actual: the changed tables, and the archive tables.
        populated: tables that contain rows.
        archives: complete archives by name.
        table_prefix: prefix of the solution's system tables.
    """

    cursor: Cursor
    actual: InspectedSchema
    populated: frozenset[str]
    archives: Mapping[str, Archive]
    table_prefix: str

    def type_of(self, table: str, column: str) -> str | None:
        """Return a column's type; None for a missing column."""
        existing = self.actual.tables.get(table)
        known = existing.columns.get(column) if existing is not None else None
        return known.type if known is not None else None

    def constraint_names(self, table: str) -> frozenset[str]:
        """Return the names of a table's constraints; empty for a missing table."""
        existing = self.actual.tables.get(table)
        return existing.constraint_names if existing is not None else frozenset()

    def scalar(self, statement: sql.Composed) -> int:
        """Run a query of one value."""
        self.cursor.execute(statement)
        row = self.cursor.fetchone()
        return int(row[0]) if row else 0

    def can_evaluate(self, table: str, expression: str) -> bool:
        """Return whether an expression can be evaluated for each row of a table."""
        statement = sql.SQL("SELECT count({expression}) FROM {table}")
        self.cursor.execute("SAVEPOINT fbs_evaluates")
        try:
            self.cursor.execute(statement.format(expression=sql.SQL(expression), table=sql.Identifier(table)))
        except (psycopg2.DataError, psycopg2.ProgrammingError):
            self.cursor.execute("ROLLBACK TO SAVEPOINT fbs_evaluates")
            return False
        self.cursor.execute("RELEASE SAVEPOINT fbs_evaluates")
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reversal:
    """The reversal of one journal row.

    Attributes:
        steps: the statements.
        not_reverted: what is not reverted and why, one line each.
        stuck: a column keeps its new type: key changes of older statements on the table cannot be reverted either.
    """

    steps: tuple[Step, ...] = ()
    not_reverted: tuple[str, ...] = ()
    stuck: bool = False


def plan_undo(connection: Connection, *, solution: str, table_prefix: str) -> Undo:
    """Plan the undo of a solution's last migration that is not reverted yet. Read-only.

    An interrupted undo is resumed. `Plan.schema` and `Plan.tables` are the state before the migration,
    `before["shape"]` and `before["tables"]`.

    Args:
        connection: to the solution's database, outside of a transaction.
        solution: the solution's name.
        table_prefix: prefix of the solution's system tables.

    Raises:
        RefusedError: the journal has no migration to revert.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with transaction(connection) as cursor:
        rows = history(cursor, table_prefix, solution)
        run = _last_migration(rows)
        if run is None:
            raise RefusedError(
                f"The solution {solution!r} has no migration to undo.",
                hint="Each applied migration can be undone once; `fbs migrate` plans the next one.",
            )
        reverted = {row.facts.get("undoes") for row in rows if row.status == EXECUTED and row.facts.get("reverted")}
        begun = {row.facts.get("undoes") for row in rows if row.status == EXECUTED}
        mine = [row for row in rows if row.run == run and row.status == EXECUTED and not row.is_undo]
        archives = list_archives(cursor, table_prefix, solution=solution)
        tables = {row.table for row in mine}
        actual = inspect_tables(connection, {*tables, *(archive.name for archive in archives)})
        database = _Database(
            cursor=cursor,
            actual=actual,
            populated=populated_tables(connection, tables & actual.tables.keys()),
            archives={archive.name: archive for archive in archives if archive.complete},
            table_prefix=table_prefix,
        )
        steps: list[Step] = []
        reversals: list[Reversal] = []
        not_reverted: list[str] = []
        stuck: set[str] = set()
        for row in reversed(mine):
            if row.number in reverted:
                continue
            reversal = _RowUndo(database, row, begun=row.number in begun, stuck=stuck).plan()
            stuck |= {row.table} if reversal.stuck else set()
            steps += reversal.steps
            last = len(reversal.steps) - 1
            reversals += [Reversal(row=row.number, of=run, reverted=number == last) for number in range(last + 1)]
            not_reverted += reversal.not_reverted
    before: dict[str, Any] = next((row.facts["before"] for row in mine if row.facts.get("before")), {})
    plan = Plan(
        solution=solution,
        steps=tuple(steps),
        tables=tuple(before.get("tables") or ()),
        schema=before.get("shape") or {},
    )
    return Undo(run=run, plan=plan, reversals=tuple(reversals), not_reverted=tuple(not_reverted), before=before)


def _last_migration(rows: Sequence[JournalRow]) -> str | None:
    """Return the newest migration without a complete undo; undos themselves are skipped."""
    undone = {row.facts["of"] for row in rows if row.is_undo and row.status == EXECUTED}
    if rows and rows[-1].is_undo and is_unfinished(rows):
        undone.discard(rows[-1].facts["of"])
    for row in reversed(rows):
        if row.run and not row.is_undo and row.status == EXECUTED and row.run not in undone and _has_effect(row):
            return row.run
    return None


def _has_effect(row: JournalRow) -> bool:
    """Whether the row is more than a preparation, backfill or validation."""
    return any(row.facts.get(fact) for fact in ("undo", "kept", "hazards", "made"))


class _RowUndo:
    """Plans the reversal of one journal row."""

    def __init__(self, database: _Database, row: JournalRow, *, begun: bool, stuck: Collection[str]) -> None:
        self._database = database
        self._row = row
        self._table = database.actual.tables.get(row.table)
        self._has_rows = row.table in database.populated
        self._begun = begun
        self._stuck = stuck
        self._reason = f"undo of {row.kind.replace('_', ' ')}"
        if row.facts.get("reason"):
            self._reason += f": {row.facts['reason']}"

    def plan(self) -> _Reversal:
        row = self._row
        archive_name, undo = row.facts.get("kept"), row.facts.get("undo")
        if row.table in {str(table.name) for table in system_tables(self._database.table_prefix)}:
            return self._not_reverted("system tables are shared, and needed by this version of FBS")
        if archive_name:
            if archive_name in self._database.archives:
                return self._restore(self._database.archives[archive_name])
            if self._begun:
                return self._remaining_validations()
            return self._not_reverted(f"its archive table {archive_name} no longer exists")
        made = row.facts.get("made") or {}
        if not isinstance(undo, str):
            return self._without_undo(made.get("retyped"))
        if made.get("table"):
            return self._drop_created_table(undo)
        if made.get("columns"):
            return self._drop_added_column(undo, made["columns"])
        if row.facts.get("lost"):
            return self._recreate_column(undo, row.facts["lost"])
        return self._recreate(undo)

    def _restore(self, archive: Archive) -> _Reversal:
        lost = tuple(key for key in archive.lost if not self._refers_to_stuck(key[2]))
        stuck = [key for key in archive.lost if key not in lost]
        left = [f"{archive.table}: the key {name} is not restored: {definition}." for _, name, definition in stuck]
        archive = replace(archive, lost=lost)
        if archive.column is None:
            reversal = _restore_table(self._database, archive, self._reason)
        elif self._table is None:
            left.append(f"{archive.label}: the table no longer exists; the values stay in {archive.name}.")
            reversal = _Reversal()
        else:
            reversal = _ColumnRestore(self._database, archive, self._reason, begun=self._begun).plan()
        return replace(reversal, not_reverted=(*reversal.not_reverted, *left))

    def _remaining_validations(self) -> _Reversal:
        """Validate the foreign keys of a table whose restoration was interrupted."""
        keys = sorted(self._table.keys, key=lambda key: key.schema.name) if self._table else ()
        names = [key.schema.name for key in keys if key.schema.kind == FOREIGN and not key.valid]
        template = Step(sql="", kind="", table=self._row.table, reason=self._reason, has_rows=True)
        return _Reversal(steps=tuple(_validate_step(template, name) for name in names))

    def _without_undo(self, retyped: Mapping[str, Sequence[str | None]] | None) -> _Reversal:
        """Revert a row without an undo statement: a type change without loss, or a leftover temporary check."""
        row, table = self._row, self._row.table
        if retyped and self._table and (back := self._reverse_retype(retyped)):
            return _Reversal(steps=back)
        if _has_effect(row):
            return replace(self._not_reverted("not reversible"), stuck=True)
        helper = _ADDS_KEY.fullmatch(row.statement)
        if helper and _unquoted(helper["name"]) in self._database.constraint_names(table):
            return _Reversal(
                steps=(self._as_recorded(f"ALTER TABLE {quoted(table)} DROP CONSTRAINT {helper['name']}"),)
            )
        return _Reversal()

    def _reverse_retype(self, retyped: Mapping[str, Sequence[str | None]]) -> tuple[Step, ...]:
        """Restore the former types, if every value survives the round trip."""
        table, steps = self._row.table, []
        for column, (was, default, *rest) in retyped.items():
            collate = f" COLLATE {rest[0]}" if rest and rest[0] else ""
            now, name = self._database.type_of(table, column), quoted(column)
            if now is None or was is None:
                return ()
            conversion_ = conversion(now, was, name)
            again = conversion(was, now, f"({conversion_.value})").value
            if self._has_rows:
                # the text form of JSON is ambiguous
                same = self._database.can_evaluate(table, f"({again})::{now}") and not self._exists(
                    f"{name}::text IS DISTINCT FROM ({again})::{now}::text"
                )
                if "json" in was or not same:
                    return ()
            actions = [f"TYPE {was}{collate} USING {conversion_.value}"]
            if default != SERIAL:
                actions = ["DROP DEFAULT", *actions, *([f"SET DEFAULT {default}"] if default is not None else [])]
            clauses = ", ".join(f"ALTER COLUMN {name} {action}" for action in actions)
            step = self._as_recorded(f"ALTER TABLE {quoted(table)} {clauses}")
            if step.has_rows:  # archive values written until it runs
                target = ArchiveTarget(
                    table=table, column=column, archive_table=self._archive_name(f"{table}__{column}")
                )
                step = replace(step, archive=target, hazards=_COSTLY if conversion_.rewrites else step.hazards)
            steps.append(step)
        return tuple(steps)

    def _exists(self, condition: str) -> bool:
        """Return whether a row of the table meets a condition."""
        statement = sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {condition})")
        table = sql.Identifier(self._row.table)
        return bool(self._database.scalar(statement.format(table=table, condition=sql.SQL(condition))))

    def _recreate_column(self, undo: str, lost: Sequence[Sequence[str]]) -> _Reversal:
        """Recreate an empty column and its dropped keys."""
        step = self._as_recorded(undo)
        keys = [(kind, name, definition) for kind, name, definition in lost if kind != PRIMARY]
        first = () if self._begun else (step,)
        return _Reversal(steps=(*first, *self._recreate_keys(step, keys)))

    def _recreate_keys(self, template: Step, keys: Iterable[KeyDefinition]) -> Iterator[Step]:
        existing = self._database.constraint_names(template.table) if self._begun else frozenset[str]()
        return _recreate_keys(template, keys, existing=existing)

    def _not_reverted(self, why: str) -> _Reversal:
        kind = self._row.kind.replace("_", " ")
        return _Reversal(not_reverted=(f"{self._row.table}: {kind} is not reverted ({why}): {self._row.statement}",))

    def _as_recorded(self, undo: str) -> Step:
        """Build the step of a recorded undo statement; DROP INDEX is fast, and its index may be dropped with a key."""
        table = self._row.table
        costly = frozenset(hazard for hazard in _COSTLY if hazard in (self._row.facts.get("hazards") or ()))
        return Step(
            sql=re.sub(r"^DROP INDEX (CONCURRENTLY )?(IF EXISTS )?", "DROP INDEX IF EXISTS ", undo),
            kind=f"undo_{self._row.kind}"[:50],
            table=table,
            reason=self._reason,
            hazards=costly if self._has_rows else frozenset(),
            has_rows=self._has_rows,
        )

    def _recreate(self, undo: str) -> _Reversal:
        """Recreate a dropped object without data; online where the table has rows."""
        step = self._as_recorded(undo)
        if step.table in self._stuck or self._refers_to_stuck(undo):
            return self._not_reverted("a column keeps its new type")
        if not step.has_rows:
            return _Reversal(steps=(step,))
        if match := _REQUIRES.fullmatch(undo):
            return self._set_not_null(step, _unquoted(match["name"]))
        if match := _CREATE_INDEX.match(undo):
            return _Reversal(steps=(_index_step(step, undo, _unquoted(match["name"])),))
        if match := _ADDS_KEY.fullmatch(undo):
            name, definition = _unquoted(match["name"]), match["definition"]
            if key := _UNIQUE.fullmatch(definition):
                definition = f"CREATE UNIQUE INDEX {quoted(name)} ON {quoted(step.table)} {key['columns']}"
            kind = next((kind for words, kind in _KINDS.items() if match["definition"].startswith(words)), None)
            if kind in {FOREIGN, CHECK} or (kind is not None and key):
                return _Reversal(steps=tuple(self._recreate_keys(step, [(kind, name, definition)])))
            step = replace(step, hazards=step.hazards | {Hazard.LONG_LOCK})
        return _Reversal(steps=(step,))

    def _refers_to_stuck(self, definition: str) -> bool:
        return any(f"REFERENCES {name}(" in definition for table in self._stuck for name in (table, quoted(table)))

    def _set_not_null(self, step: Step, column: str) -> _Reversal:
        statement = sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL")
        count = self._database.scalar(statement.format(sql.Identifier(step.table), sql.Identifier(column)))
        if count:
            return self._not_reverted(f"{count} rows have no value")
        return _Reversal(steps=tuple(_not_null_steps(self._database, template=step, column=column)))

    def _drop_created_table(self, undo: str) -> _Reversal:
        """Drop a created table; archive it if it has rows."""
        table = self._row.table
        if self._table is None:
            return self._not_reverted("the table no longer exists")
        step = self._as_recorded(undo)
        if step.has_rows:
            target = ArchiveTarget(table=table, column=None, archive_table=self._archive_name(table))
            step = replace(step, hazards=step.hazards | {Hazard.DELETES_DATA}, archive=target)
        return _Reversal(steps=(step,))

    def _drop_added_column(self, undo: str, columns: Sequence[str]) -> _Reversal:
        """Drop an added column; archive its values unless all are NULL or the default."""
        table, step = self._row.table, self._as_recorded(undo)
        if len(columns) != 1 or self._table is None or columns[0] not in self._table.columns:
            return self._not_reverted(f"columns changed since: {', '.join(columns)}")
        column = columns[0]
        if step.has_rows:
            target = ArchiveTarget(table=table, column=column, archive_table=self._archive_name(f"{table}__{column}"))
            hazards = step.hazards | ({Hazard.DELETES_DATA} if self._holds_values(self._table, column) else set())
            step = replace(step, hazards=hazards, archive=target)
        return _Reversal(steps=(step,))

    def _holds_values(self, table: InspectedTable, column: str) -> bool:
        default, name = table.columns[column].expression or "NULL", quoted(column)
        return self._exists(f"{name} IS NOT NULL AND {name}::text IS DISTINCT FROM ({default})::text")

    def _archive_name(self, what: str) -> str:
        return str(derived_name(f"{self._database.table_prefix}retired_{what}"))


def _unquoted(written: str) -> str:
    return written[1:-1].replace('""', '"') if written.startswith('"') else written


class _ColumnRestore:
    """Plans the restoration of a dropped column, or of a narrowed column's former values."""

    def __init__(self, database: _Database, archive: Archive, reason: str, *, begun: bool) -> None:
        self._database = database
        self._archive = archive
        self._reason = reason
        self._begun = begun
        self._names = archive_names(archive)
        self._has_rows = archive.table in database.populated
        self._type = database.type_of(archive.table, str(archive.column))
        self._not_reverted: list[str] = []

    def plan(self) -> _Reversal:
        steps = list(self._restore_narrowed() if self._archive.became else self._readd_column())
        return _Reversal(steps=tuple(steps), not_reverted=tuple(self._not_reverted), stuck=not steps)

    def _readd_column(self) -> Iterator[Step]:
        """Add the column again, unless an interrupted undo has, and restore its values."""
        archive = self._archive
        if self._type not in {None, archive.type}:
            self._not_reverted.append(
                f"{archive.label} exists again, as {self._type}; the former values stay in {archive.name}."
            )
            return
        if self._type is None:
            yield self._step("add_column", "ALTER TABLE {table} ADD COLUMN {column} {type}{collate}")
        default = None if (archive.default or "").startswith("nextval(") else archive.default
        if default is not None:
            yield self._step("set_default", "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}")
        if archive.key:
            yield self._move_values("t.{column} IS NULL")
        else:
            self._not_reverted.append(
                f"{archive.label}: no primary key to match the rows; the former values stay in {archive.name}."
            )
        if archive.not_null:
            yield from self._not_null(default)
        yield from self._recreate_dropped_keys()
        for statement in archive.attached:
            if not (statement.startswith("CREATE STATISTICS") and self._begun):
                yield replace(self._step("attached", ""), sql=statement, lock=Lock.SHARE_UPDATE_EXCLUSIVE)
        if archive.key:
            yield self._drop_empty_archive()

    def _restore_narrowed(self) -> Iterator[Step]:
        """Restore the former type, then the former values of rows that were not written since."""
        archive = self._archive
        narrow = self._database.type_of(archive.name, str(archive.became))
        if narrow is None or self._type not in {narrow, archive.type}:
            self._not_reverted.append(f"{archive.label} changed since; the former values stay in {archive.name}.")
            return
        became, column = quoted(str(archive.became)), quoted(str(archive.column))
        conversion_ = conversion(narrow, archive.type, column)
        sides = [(archive.name, became), *([(archive.table, column)] if self._type == narrow else [])]
        evaluable = all(self._database.can_evaluate(*self._converted(*side, narrow)) for side in sides)
        if not evaluable or (self._type == narrow and self._would_cut(conversion_)):
            self._not_reverted.append(
                f"{archive.label}: not every value fits {archive.type}; the former ones stay in {archive.name}."
            )
            return
        if self._type == narrow:
            hazards = {Hazard.REWRITES_TABLE, Hazard.LONG_LOCK} if conversion_.rewrites and self._has_rows else set()
            # what the cast cuts off is restored below
            cast = " USING ({value})::{type}" if conversion_.fails_where or not conversion_.implicit else ""
            # PostgreSQL does not convert every default
            actions = ["DROP DEFAULT", "TYPE {type}{collate}" + cast]
            actions += ["SET DEFAULT {default}"] if archive.default is not None else []
            statement = "ALTER TABLE {table} " + ", ".join(f"ALTER COLUMN {{column}} {action}" for action in actions)
            yield self._step("retype_column", statement, frozenset(hazards), value=sql.SQL(conversion_.value))
        yield self._move_values(
            "t.{column}::text IS NOT DISTINCT FROM ({value})::{type}::text",
            value=sql.SQL(conversion(narrow, archive.type, f"k.{became}").value),
        )
        yield self._drop_empty_archive()

    def _would_cut(self, back: Conversion) -> bool:
        """Return whether a row that was written since has a value that does not fit the former type."""
        if not back.fails_where:
            return False
        names = {**self._names, "became": sql.Identifier(str(self._archive.became))}
        statement = sql.SQL(
            "SELECT EXISTS (SELECT FROM {table} t WHERE {fails} AND NOT EXISTS (SELECT FROM {keep} k WHERE {same}"
            " AND k.{became} IS NOT DISTINCT FROM t.{column}))"
        )
        fails = sql.SQL(back.fails_where)
        return bool(self._database.scalar(statement.format(fails=fails, same=join_condition(self._archive), **names)))

    def _converted(self, table: str, column: str, narrow: str) -> tuple[str, str]:
        return table, f"({conversion(narrow, self._archive.type, column).value})::{self._archive.type}"

    def _move_values(self, unchanged: str, **parts: sql.Composable) -> Step:
        """Move values in batches from the archive table into their rows."""
        condition = self._render(unchanged, **parts)
        return self._step(
            "restore_values",
            "WITH part AS MATERIALIZED ("
            "SELECT k.* FROM {keep} k JOIN {table} t ON {same} WHERE {condition} LIMIT {batch}), "
            "back AS (UPDATE {table} t SET {column} = k.{column} FROM part k WHERE {same} AND {condition}) "
            "DELETE FROM {keep} t USING part k WHERE {same}",
            lock=Lock.ROW_EXCLUSIVE,
            mode=Mode.BATCHES,
            same=join_condition(self._archive),
            condition=sql.SQL(condition),
            batch=sql.Literal(_BATCH),
        )

    def _not_null(self, default: str | None) -> Iterator[Step]:
        if default is not None and self._has_rows:
            yield self._step(
                "backfill",
                "UPDATE {table} SET {column} = DEFAULT WHERE ctid = ANY (ARRAY("
                "SELECT ctid FROM {table} WHERE {column} IS NULL LIMIT {batch}))",
                lock=Lock.ROW_EXCLUSIVE,
                mode=Mode.BATCHES,
                batch=sql.Literal(_BATCH),
            )
        elif (without := self._rows_without_value()) > 0:
            self._not_reverted.append(
                f"{self._archive.label} stays nullable: {without} rows inserted since have no value."
            )
            return
        yield from _not_null_steps(self._database, template=self._step("", ""), column=str(self._archive.column))

    def _rows_without_value(self) -> int:
        conditions = [] if self._type is None else ["t.{column} IS NULL"]
        conditions += ["NOT EXISTS (SELECT FROM {keep} k WHERE {same})"] if self._archive.key else []
        condition = self._render(" AND ".join(conditions) or "TRUE", same=join_condition(self._archive))
        statement = sql.SQL("SELECT count(*) FROM {table} t WHERE {condition}")
        return self._database.scalar(statement.format(condition=sql.SQL(condition), table=self._names["table"]))

    def _recreate_dropped_keys(self) -> Iterator[Step]:
        """Recreate keys, checks and indexes dropped with the column."""
        archive = self._archive
        existing = self._database.constraint_names(archive.table) if self._begun else frozenset[str]()
        primary = [key for key in archive.lost if key[0] == PRIMARY]
        self._not_reverted += [
            f"{archive.table}: the primary key {name} is not restored: {definition}." for _, name, definition in primary
        ]
        lost = [key for key in archive.lost if key not in primary]
        yield from _recreate_keys(self._step("", ""), lost, existing=existing)

    def _drop_empty_archive(self) -> Step:
        """Drop the archive table if it is empty."""
        return self._step(
            "drop_emptied",
            "DO $fbs$ BEGIN IF NOT EXISTS (SELECT FROM {keep}) THEN DROP TABLE {keep}; END IF; END $fbs$",
            lock=Lock.NONE,
        )

    def _step(
        self,
        kind: str,
        statement: str,
        hazards: frozenset[Hazard] = frozenset(),
        *,
        lock: Lock = Lock.ACCESS_EXCLUSIVE,
        mode: Mode = Mode.TRANSACTION,
        **parts: sql.Composable,
    ) -> Step:
        return Step(
            sql=self._render(statement, **parts),
            kind=f"undo_{kind}",
            table=self._archive.table,
            reason=self._reason,
            lock=lock,
            hazards=hazards,
            has_rows=self._has_rows,
            mode=mode,
        )

    def _render(self, statement: str, **parts: sql.Composable) -> str:
        known = {
            "type": sql.SQL(self._archive.type),
            "collate": sql.SQL(f" COLLATE {self._archive.collation}" if self._archive.collation else ""),
            "default": sql.SQL(self._archive.default or "NULL"),
            **self._names,
        }
        return sql.SQL(statement).format(**{**known, **parts}).as_string(self._database.cursor)


def _restore_table(database: _Database, archive: Archive, reason: str) -> _Reversal:
    """Rename an archived table, its indexes and sequences back."""
    if archive.table in database.actual.tables:
        return _Reversal(not_reverted=(f"{archive.table} exists again; the former table stays in {archive.name}.",))
    statements = [
        rename_statement("r", archive.name, archive.table),
        sql.SQL("COMMENT ON TABLE {} IS NULL").format(sql.Identifier(archive.table)),
        *(rename_statement(kind, now, before) for kind, now, before in archive.renamed),
        *map(sql.SQL, archive.attached),
    ]
    template = Step(sql="", kind="undo_drop_table", table=archive.table, reason=reason, has_rows=True)
    steps = [replace(template, sql=statement.as_string(database.cursor)) for statement in statements]
    steps += [_not_valid_step(template, name, definition) for _, name, definition in archive.lost]
    return _Reversal(steps=(*steps, *(_validate_step(template, name) for _, name, _ in archive.lost)))


def _index_step(template: Step, statement: str, name: str) -> Step:
    """Build an index concurrently.

    Args:
        template: step with table, reason and `has_rows`.
        statement: `CREATE INDEX …`.
        name: the index's name.
    """
    return replace(
        template,
        sql=_CREATE_INDEX.sub(
            lambda match: f"CREATE {match['unique'] or ''}INDEX CONCURRENTLY IF NOT EXISTS {match['name']} ON ",
            statement,
            count=1,
        ),
        kind="undo_drop_index",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        hazards=frozenset({Hazard.INDEX_BUILD}) if template.has_rows else frozenset(),
        mode=Mode.ALONE,
        cleanup=f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}",
    )


def _not_valid_step(template: Step, name: str, definition: str) -> Step:
    """Add a foreign key or a check as NOT VALID.

    Args:
        template: see `_index_step`.
        name: the constraint's name.
        definition: as written by pg_get_constraintdef().
    """
    definition = definition.removesuffix(" NOT VALID")
    statement = f"ALTER TABLE {quoted(template.table)} ADD CONSTRAINT {quoted(name)} {definition} NOT VALID"
    return replace(template, sql=statement, kind="undo_drop_key")


def _validate_step(template: Step, name: str) -> Step:
    return replace(
        template,
        sql=f"ALTER TABLE {quoted(template.table)} VALIDATE CONSTRAINT {quoted(name)}",
        kind="undo_validate",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
    )


def _recreate_keys(template: Step, keys: Iterable[KeyDefinition], *, existing: Collection[str]) -> Iterator[Step]:
    """Recreate keys and indexes: unique ones by their index, foreign keys and checks as NOT VALID, then validated.

    Args:
        template: see `_index_step`.
        keys: the keys; the definition of a unique or primary key is that of its index.
        existing: names of constraints that an interrupted undo has added already.
    """
    add = f"ALTER TABLE {quoted(template.table)} ADD CONSTRAINT"
    for kind, name, definition in keys:
        match kind:
            case "i":
                yield _index_step(template, definition, name)
            case "u" | "p":
                yield _index_step(template, definition, name)
                words = "PRIMARY KEY" if kind == PRIMARY else "UNIQUE"
                statement = f"{add} {quoted(name)} {words} USING INDEX {quoted(name)}"
                yield replace(template, sql=statement, kind="undo_drop_key")
            case "x":
                if name not in existing:
                    hazards = frozenset({Hazard.INDEX_BUILD, Hazard.LONG_LOCK}) if template.has_rows else frozenset()
                    statement = f"{add} {quoted(name)} {definition}"
                    yield replace(template, sql=statement, kind="undo_drop_key", hazards=hazards)
            case _:
                if name not in existing:
                    yield _not_valid_step(template, name, definition)
                yield _validate_step(template, name)


def _not_null_steps(database: _Database, *, template: Step, column: str) -> Iterator[Step]:
    """Set a column NOT NULL by a validated temporary check, so that SET NOT NULL skips the scan.

    Args:
        database: the database, to find the check of an interrupted undo.
        template: see `_index_step`.
        column: unquoted name.
    """
    alter = f"ALTER TABLE {quoted(template.table)}"
    name = str(derived_name(f"{template.table}_{column}", "_not_null_check"))
    check = f"CHECK ({quoted(column)} IS NOT NULL)"
    if name not in database.constraint_names(template.table):
        yield replace(template, sql=f"{alter} ADD CONSTRAINT {quoted(name)} {check} NOT VALID", kind="undo_add_check")
    yield _validate_step(template, name)
    yield replace(template, sql=f"{alter} ALTER COLUMN {quoted(column)} SET NOT NULL", kind="undo_set_not_null")
    yield replace(template, sql=f"{alter} DROP CONSTRAINT {quoted(name)}", kind="undo_drop_check")
