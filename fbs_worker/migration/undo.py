"""Undo a solution's last migration, as far as that loses nothing; what it cannot, it says.

An undo is a plan like any other: shown, allowed where it has hazards, applied, written down. Whatever it takes away is
kept as well. It reads the rows of `schema_migrations`, the newest first: what each statement made, took away and kept.
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
from fbs_worker.migration.apply.lock_retry import existing_tables
from fbs_worker.migration.inspect.snapshot import KeyDefinition
from fbs_worker.migration.model.archive import Archive, archive_names, join_condition, list_archives
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Lock, Mode, Plan, Step
from fbs_worker.migration.model.type_conversion import conversion
from fbs_worker.migration.plan.context import quoted
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
    reversals: tuple[Reversal, ...]
    not_reverted: tuple[str, ...]
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.plan.to_dict(), "run": self.run, "cannot": list(self.not_reverted)}


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
        run = _last_migration(rows)
        if run is None:
            raise RefusedError(
                f"The solution {solution!r} has no migration to undo.",
                hint="Each one that was applied can be undone once; `fbs migrate` plans the next.",
            )
        archive = {
            found.name: found for found in list_archives(cursor, table_prefix, solution=solution) if found.complete
        }
        reverted = {row.facts.get("undoes") for row in rows if row.status == EXECUTED and row.facts.get("reverted")}
        begun = {row.facts.get("undoes") for row in rows if row.status == EXECUTED}
        mine = [row for row in rows if row.run == run and row.status == EXECUTED and not row.is_undo]
        steps: list[Step] = []
        reversals: list[Reversal] = []
        not_reverted: list[str] = []
        stuck: set[str] = set()
        for row in reversed(mine):
            if row.number in reverted:
                continue
            found = _RowUndo(
                cursor, row, archive=archive, begun=row.number in begun, stuck=stuck, table_prefix=table_prefix
            ).plan()
            stuck |= {row.table} if found.stuck else set()
            steps += found.steps
            last = len(found.steps) - 1
            reversals += [Reversal(row=row.number, of=run, reverted=number == last) for number in range(last + 1)]
            not_reverted += found.not_reverted
    before: dict[str, Any] = next((row.facts["before"] for row in mine if row.facts.get("before")), {})
    plan = Plan(
        solution=solution,
        steps=tuple(steps),
        tables=tuple(before.get("tables") or ()),
        schema=before.get("shape") or {},
    )
    return Undo(run=run, plan=plan, reversals=tuple(reversals), not_reverted=tuple(not_reverted), before=before)


def _last_migration(rows: Sequence[JournalRow]) -> str | None:
    """The newest migration that was not reverted: an undo of it is none, unless it was cut off."""
    undone = {row.facts["of"] for row in rows if row.is_undo and row.status == EXECUTED}
    if rows and rows[-1].is_undo and is_unfinished(rows):
        undone.discard(rows[-1].facts["of"])
    for row in reversed(rows):
        if row.run and not row.is_undo and row.status == EXECUTED and row.run not in undone and _has_effect(row):
            return row.run
    return None


def _has_effect(row: JournalRow) -> bool:
    """It did more than to prepare, fill or check."""
    return any(row.facts.get(fact) for fact in ("undo", "kept", "hazards", "made"))


class _RowUndo:
    """What reverts one row."""

    def __init__(
        self,
        cursor: Cursor,
        row: JournalRow,
        *,
        archive: Mapping[str, Archive],
        begun: bool,
        stuck: Collection[str],
        table_prefix: str,
    ) -> None:
        self._cursor = cursor
        self._row = row
        self._archive = archive
        self._begun = begun
        self._stuck = stuck
        self._prefix = table_prefix
        self._reason = f"undo of {row.kind.replace('_', ' ')}"
        if row.facts.get("reason"):
            self._reason += f": {row.facts['reason']}"

    def plan(self) -> Restoration:
        row = self._row
        archive_name, undo = row.facts.get("kept"), row.facts.get("undo")
        if row.table in {str(table.name) for table in system_tables(self._prefix)}:
            return self._not_reverted("this version of FBS, and other solutions, need it")
        if archive_name:
            if archive_name not in self._archive and self._begun:
                return _remaining_validations(self._cursor, row.table, self._reason)
            if archive_name not in self._archive:
                return self._not_reverted(f"what was taken away was kept in {archive_name}, which is gone")
            return self._restore(self._archive[archive_name])
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

    def _restore(self, archive: Archive) -> Restoration:
        lost = tuple(key for key in archive.lost if not self._refers_to_stuck(key[2]))
        found = _plan_restore(self._cursor, replace(archive, lost=lost), self._reason, begun=self._begun)
        not_reverted = [
            f"{archive.table}: the key {key[1]} does not come back: {key[2]}."
            for key in archive.lost
            if key not in lost
        ]
        return replace(found, not_reverted=(*found.not_reverted, *not_reverted))

    def _without_undo(self, retyped: Mapping[str, Sequence[str | None]] | None) -> Restoration:
        """What only prepared, filled or checked has nothing to revert, but for a helping check that was left over."""
        row, table = self._row, self._row.table
        existing = bool(existing_tables(self._cursor, [table]))
        if retyped and existing and (back := self._reverse_retype(retyped)):
            return Restoration(steps=back)
        if _has_effect(row):
            return replace(self._not_reverted("there is no way back"), stuck=True)
        helper = _ADDS_KEY.fullmatch(row.statement)
        if helper and _unquoted(helper["name"]) in _constraint_names(self._cursor, table):
            return Restoration(
                steps=(self._as_recorded(f"ALTER TABLE {quoted(table)} DROP CONSTRAINT {helper['name']}"),)
            )
        return Restoration()

    def _reverse_retype(self, retyped: Mapping[str, Sequence[str | None]]) -> tuple[Step, ...]:
        """The former types, where no value would be another one once it had gone there and come again."""
        table, steps = self._row.table, []
        for column, (was, default) in retyped.items():
            now, name = _column_type(self._cursor, table, column), quoted(column)
            if now is None or was is None:
                return ()
            conversion_ = conversion(now, was, name)
            again = conversion(was, now, f"({conversion_.value})").value
            if _has_rows(self._cursor, table):
                # text does not tell which JSON it was
                same = _can_evaluate(self._cursor, table, f"({again})::{now}") and not self._exists(
                    f"{name}::text IS DISTINCT FROM ({again})::{now}::text"
                )
                if "json" in was or not same:
                    return ()
            actions = ["DROP DEFAULT", f"TYPE {was} USING {conversion_.value}"]
            actions += [f"SET DEFAULT {default}"] if default is not None else []
            clauses = ", ".join(f"ALTER COLUMN {name} {action}" for action in actions)
            step = self._as_recorded(f"ALTER TABLE {quoted(table)} {clauses}")
            if step.has_rows:  # values that come until it runs are kept
                target = ArchiveTarget(
                    table=table, column=column, archive_table=self._archive_name(f"{table}__{column}")
                )
                step = replace(step, archive=target, hazards=_COSTLY if conversion_.rewrites else step.hazards)
            steps.append(step)
        return tuple(steps)

    def _exists(self, condition: str) -> bool:
        """Whether a row of the table meets a condition."""
        statement = sql.SQL("SELECT EXISTS (SELECT FROM {table} WHERE {condition})")
        table = sql.Identifier(self._row.table)
        self._cursor.execute(statement.format(table=table, condition=sql.SQL(condition)))
        row = self._cursor.fetchone()
        return bool(row and row[0])

    def _recreate_column(self, undo: str, lost: Sequence[Sequence[str]]) -> Restoration:
        """A column that held nothing, with the keys that went along."""
        step = self._as_recorded(undo)
        existing = _constraint_names(self._cursor, step.table) if self._begun else set()
        keys = [(kind, name, definition) for kind, name, definition in lost]
        first = () if self._begun else (step,)
        return Restoration(steps=(*first, *_recreate_keys(step, keys, existing=existing)))

    def _not_reverted(self, why: str) -> Restoration:
        kind = self._row.kind.replace("_", " ")
        return Restoration(not_reverted=(f"{self._row.table}: {kind} stays ({why}): {self._row.statement}",))

    def _as_recorded(self, undo: str) -> Step:
        """The statement as it is. Dropping an index takes a moment, and it may have gone with its key."""
        table = self._row.table
        populated = bool(existing_tables(self._cursor, [table])) and _has_rows(self._cursor, table)
        costly = frozenset(hazard for hazard in _COSTLY if hazard in (self._row.facts.get("hazards") or ()))
        return Step(
            sql=re.sub(r"^DROP INDEX (CONCURRENTLY )?(IF EXISTS )?", "DROP INDEX IF EXISTS ", undo),
            kind=f"undo_{self._row.kind}"[:50],
            table=table,
            reason=self._reason,
            hazards=costly if populated else frozenset(),
            has_rows=populated,
        )

    def _recreate(self, undo: str) -> Restoration:
        """What was taken away and holds no data; where rows are, by the way that holds nobody up."""
        step = self._as_recorded(undo)
        if step.table in self._stuck or self._refers_to_stuck(undo):
            return self._not_reverted("a column could not be given its former type")
        if not step.has_rows:
            return Restoration(steps=(step,))
        if match := _BUILDS_INDEX.match(undo):
            return Restoration(steps=(_index_step(step, undo, _unquoted(match["name"])),))
        if match := _REQUIRES.fullmatch(undo):
            return self._set_not_null(step, _unquoted(match["name"]))
        if match := _ADDS_KEY.fullmatch(undo):
            name, definition = _unquoted(match["name"]), match["definition"]
            if key := _UNIQUE.fullmatch(definition):
                index = f"CREATE UNIQUE INDEX {quoted(name)} ON {quoted(step.table)} {key['columns']}"
                steps = _unique_key_steps(step, name=name, index=index, kind=key["words"])
                return Restoration(steps=tuple(steps))
            if definition.startswith(("FOREIGN KEY ", "CHECK ")):
                return Restoration(
                    steps=tuple(_constraint_steps(step, name=name, definition=definition, existing=self._begun))
                )
            return Restoration(steps=(replace(step, hazards=step.hazards | {Hazard.LONG_LOCK}),))
        return Restoration(steps=(step,))

    def _refers_to_stuck(self, definition: str) -> bool:
        return any(f"REFERENCES {name}(" in definition for table in self._stuck for name in (table, quoted(table)))

    def _set_not_null(self, step: Step, column: str) -> Restoration:
        self._cursor.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(
                sql.Identifier(step.table), sql.Identifier(column)
            )
        )
        row = self._cursor.fetchone()
        if row and row[0]:
            return self._not_reverted(f"{row[0]} rows have no value now")
        return Restoration(steps=tuple(_not_null_steps(self._cursor, template=step, column=column)))

    def _drop_created_table(self, undo: str) -> Restoration:
        """A table that was made goes; with rows it is put by."""
        table = self._row.table
        if not existing_tables(self._cursor, [table]):
            return self._not_reverted("the table is gone already")
        step = self._as_recorded(undo)
        if step.has_rows:
            target = ArchiveTarget(table=table, column=None, archive_table=self._archive_name(table))
            step = replace(step, hazards=step.hazards | {Hazard.DELETES_DATA}, archive=target)
        return Restoration(steps=(step,))

    def _drop_added_column(self, undo: str, columns: Sequence[str]) -> Restoration:
        """A column that was made goes; its values are kept.

        Where it holds nothing but NULL and its default, nobody has written to it.
        """
        table, step = self._row.table, self._as_recorded(undo)
        if len(columns) != 1 or _column_type(self._cursor, table, columns[0]) is None:
            return self._not_reverted(f"it is not what it was: {', '.join(columns)}")
        column = columns[0]
        if step.has_rows:
            target = ArchiveTarget(table=table, column=column, archive_table=self._archive_name(f"{table}__{column}"))
            hazards = step.hazards | ({Hazard.DELETES_DATA} if self._holds_values(table, column) else set())
            step = replace(step, hazards=hazards, archive=target)
        return Restoration(steps=(step,))

    def _holds_values(self, table: str, column: str) -> bool:
        self._cursor.execute(_DEFAULT, (quoted(table), column))
        row = self._cursor.fetchone()
        default = row[0] if row else "NULL"
        name = quoted(column)
        return self._exists(f"{name} IS NOT NULL AND {name}::text IS DISTINCT FROM ({default})::text")

    def _archive_name(self, what: str) -> str:
        return str(derived_name(f"{self._prefix}retired_{what}"))


def _unquoted(written: str) -> str:
    return written[1:-1].replace('""', '"') if written.startswith('"') else written


_BATCH: Final = 2_000
"""Rows of one batch: some ten milliseconds."""

_CREATE_INDEX: Final = re.compile(r"CREATE (?P<unique>UNIQUE )?INDEX (CONCURRENTLY )?(IF NOT EXISTS )?")

_CONSTRAINT_NAMES: Final = "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s)"

_COLUMN_TYPE: Final = """
SELECT format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped
"""


def _index_step(template: Step, statement: str, name: str) -> Step:
    """Build an index.

    Args:
        like: has the table, the reason, and whether the table has rows.
        statement: `CREATE INDEX …`.
        name: the index's name.
    """
    return replace(
        template,
        sql=_CREATE_INDEX.sub(
            lambda match: f"CREATE {match['unique'] or ''}INDEX CONCURRENTLY IF NOT EXISTS ", statement, count=1
        ),
        kind="undo_drop_index",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        hazards=frozenset({Hazard.INDEX_BUILD}) if template.has_rows else frozenset(),
        mode=Mode.ALONE,
        cleanup=f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(name)}",
    )


def _unique_key_steps(template: Step, *, name: str, index: str, kind: str) -> Iterator[Step]:
    """Make a unique or a primary key: first its index.

    Args:
        like: see `concurrently`.
        name: the key's name.
        index: `CREATE UNIQUE INDEX …` of that name.
        words: `UNIQUE` or `PRIMARY KEY`.
    """
    yield _index_step(template, index, name)
    statement = f"ALTER TABLE {quoted(template.table)} ADD CONSTRAINT {quoted(name)} {kind} USING INDEX {quoted(name)}"
    yield replace(template, sql=statement, kind="undo_drop_key")


def _constraint_steps(template: Step, *, name: str, definition: str, existing: bool) -> Iterator[Step]:
    """Make a foreign key or a check: first it counts for what is written from now on, then it is proved.

    Args:
        like: see `concurrently`.
        name: its name.
        definition: as pg_get_constraintdef() writes it.
        there: an earlier try was cut off in between.
    """
    if not existing:
        yield _not_valid_step(template, name, definition)
    yield _validate_step(template, name)


def _not_valid_step(template: Step, name: str, definition: str) -> Step:
    """Add a foreign key or a check that counts for what is written from now on.

    Args:
        like: see `concurrently`.
        name: its name.
        definition: as pg_get_constraintdef() writes it.
    """
    definition = definition.removesuffix(" NOT VALID")
    statement = f"ALTER TABLE {quoted(template.table)} ADD CONSTRAINT {quoted(name)} {definition} NOT VALID"
    return replace(template, sql=statement, kind="undo_drop_key")


def _validate_step(template: Step, name: str) -> Step:
    """See that it holds for what is there, too.

    Args:
        like: see `concurrently`.
        name: the constraint's name.
    """
    return replace(
        template,
        sql=f"ALTER TABLE {quoted(template.table)} VALIDATE CONSTRAINT {quoted(name)}",
        kind="undo_validate",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
    )


def _recreate_keys(template: Step, keys: Iterable[KeyDefinition], *, existing: Collection[str] = ()) -> Iterator[Step]:
    """Make keys again that went with a column; a primary key is left out.

    Args:
        like: see `concurrently`.
        keys: as `watched.keys_of` told them.
        there: the names of those that an earlier try, which was cut off, has made in part.
    """
    for kind, name, definition in keys:
        match kind:
            case "u":
                yield from _unique_key_steps(template, name=name, index=definition, kind="UNIQUE")
            case "i":
                yield _index_step(template, definition, name)
            case "f" | "c":
                yield from _constraint_steps(template, name=name, definition=definition, existing=name in existing)


def _not_null_steps(cursor: Cursor, *, template: Step, column: str) -> Iterator[Step]:
    """Make a column NOT NULL: a check that is proved first, so that SET NOT NULL need not look at the rows.

    Args:
        cursor: in a transaction; where an earlier try was cut off, the check is there.
        like: see `concurrently`.
        column: its unquoted name.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    alter, name = (
        f"ALTER TABLE {quoted(template.table)}",
        str(derived_name(f"{template.table}_{column}", "_not_null_check")),
    )
    check = f"CHECK ({quoted(column)} IS NOT NULL)"
    if name not in _constraint_names(cursor, template.table):
        yield replace(template, sql=f"{alter} ADD CONSTRAINT {quoted(name)} {check} NOT VALID", kind="undo_add_check")
    yield _validate_step(template, name)
    yield replace(template, sql=f"{alter} ALTER COLUMN {quoted(column)} SET NOT NULL", kind="undo_set_not_null")
    yield replace(template, sql=f"{alter} DROP CONSTRAINT {quoted(name)}", kind="undo_drop_check")


def _constraint_names(cursor: Cursor, table: str) -> set[str]:
    """The names of a table's constraints."""
    cursor.execute(_CONSTRAINT_NAMES, (quoted(table),))
    return {name for (name,) in cursor.fetchall()}


def _has_rows(cursor: Cursor, table: str) -> bool:
    """Whether a table that is there holds any."""
    cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table)))
    row = cursor.fetchone()
    return bool(row and row[0])


def _can_evaluate(cursor: Cursor, table: str, expression: str) -> bool:
    """Whether an expression has a value for each row of a table: PostgreSQL is asked, which stops at one that has none.

    Args:
        cursor: in a transaction.
        table: its unquoted name.
        expression: in SQL.

    Raises:
        psycopg2.Error: the connection is lost; to be translated by the caller.
    """
    statement = sql.SQL("SELECT count({expression}) FROM {table}")
    cursor.execute("SAVEPOINT fbs_evaluates")
    try:
        cursor.execute(statement.format(expression=sql.SQL(expression), table=sql.Identifier(table)))
    except (psycopg2.DataError, psycopg2.ProgrammingError):
        cursor.execute("ROLLBACK TO SAVEPOINT fbs_evaluates")
        return False
    cursor.execute("RELEASE SAVEPOINT fbs_evaluates")
    return True


def _column_type(cursor: Cursor, table: str, column: str) -> str | None:
    """The type of a column, as format_type() writes it; None where there is none.

    Args:
        cursor: in a transaction.
        table: its unquoted name.
        column: the same.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute(_COLUMN_TYPE, (quoted(table), column))
    row = cursor.fetchone()
    return str(row[0]) if row else None


_UNCHECKED: Final = """
SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'f' AND NOT convalidated ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """How something comes back.

    Attributes:
        steps: the statements.
        cannot: what does not, one line each.
        stuck: a column keeps another type, so what older statements did to its table's keys cannot be reverted either.
    """

    steps: tuple[Step, ...] = ()
    not_reverted: tuple[str, ...] = ()
    stuck: bool = False


def _plan_restore(cursor: Cursor, archive: Archive, reason: str, *, begun: bool) -> Restoration:
    """Plan the return of what a table keeps; reads only.

    Args:
        cursor: in a transaction.
        kept: the table that keeps it.
        reason: why, for a person.
        begun: an earlier try was cut off.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    if archive.column is None:
        return _restore_table(cursor, archive, reason)
    if not existing_tables(cursor, [archive.table]):
        return Restoration(not_reverted=(f"{archive.label}: the table is gone; {archive.name} keeps the values.",))
    return _ColumnRestore(cursor, archive, reason, begun=begun).plan()


def _remaining_validations(cursor: Cursor, table: str, reason: str) -> Restoration:
    """What is left to do where the return of a table was cut off: its keys are there, and not checked yet.

    Args:
        cursor: in a transaction.
        table: its unquoted name.
        reason: why, for a person.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute(_UNCHECKED, (sql.Identifier(table).as_string(cursor),))
    template = Step(sql="", kind="", table=table, reason=reason, has_rows=True)
    return Restoration(steps=tuple(_validate_step(template, name) for (name,) in cursor.fetchall()))


class _ColumnRestore:
    """The return of a column, or of the values that it had before it was narrowed."""

    def __init__(self, cursor: Cursor, archive: Archive, reason: str, *, begun: bool) -> None:
        self._cursor = cursor
        self._archive = archive
        self._reason = reason
        self._begun = begun
        self._names = archive_names(archive)
        self._has_rows = _has_rows(cursor, archive.table)
        self._type = _column_type(cursor, archive.table, str(archive.column))
        self._not_reverted: list[str] = []

    def plan(self) -> Restoration:
        steps = list(self._restore_narrowed() if self._archive.became else self._readd_column())
        return Restoration(steps=tuple(steps), not_reverted=tuple(self._not_reverted), stuck=not steps)

    def _readd_column(self) -> Iterator[Step]:
        """The column anew; it is there already where an undo was cut off."""
        archive = self._archive
        if self._type not in {None, archive.type}:
            self._not_reverted.append(
                f"{archive.label} is there again, as {self._type}; {archive.name} keeps the former values."
            )
            return
        if self._type is None:
            yield self._step("add_column", "ALTER TABLE {table} ADD COLUMN {column} {type}")
        default = None if (archive.default or "").startswith("nextval(") else archive.default
        if default is not None:
            yield self._step("set_default", "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}")
        if archive.key:
            yield self._move_values("t.{column} IS NULL")
        else:
            self._not_reverted.append(
                f"{archive.label}: without a primary key nobody can tell whose values {archive.name} keeps."
            )
        if archive.not_null:
            yield from self._not_null(default)
        yield from self._recreate_dropped_keys()
        if archive.key:
            yield self._drop_empty_archive()

    def _restore_narrowed(self) -> Iterator[Step]:
        """The former type, then the former values where nobody has written another one since."""
        archive, narrow = self._archive, _column_type(self._cursor, self._archive.name, str(self._archive.became))
        if narrow is None or self._type not in {narrow, archive.type}:
            self._not_reverted.append(f"{archive.label} has changed since; {archive.name} keeps the former values.")
            return
        became, column = quoted(str(archive.became)), quoted(str(archive.column))
        conversion_ = conversion(narrow, archive.type, column)
        sides = [(archive.name, became), *([(archive.table, column)] if self._type == narrow else [])]
        if not all(_can_evaluate(self._cursor, *self._converted(*side, narrow)) for side in sides):
            self._not_reverted.append(
                f"{archive.label}: not every value fits {archive.type}; {archive.name} keeps the former ones."
            )
            return
        if self._type == narrow:
            hazards = {Hazard.REWRITES_TABLE, Hazard.LONG_LOCK} if conversion_.rewrites and self._has_rows else set()
            # PostgreSQL does not convert every default
            actions = ["DROP DEFAULT", "TYPE {type}" + ("" if conversion_.implicit else " USING {value}")]
            actions += ["SET DEFAULT {default}"] if archive.default is not None else []
            statement = "ALTER TABLE {table} " + ", ".join(f"ALTER COLUMN {{column}} {action}" for action in actions)
            yield self._step("retype_column", statement, frozenset(hazards), value=sql.SQL(conversion_.value))
        yield self._move_values(
            "t.{column}::text IS NOT DISTINCT FROM ({value})::{type}::text"
            " AND t.{column}::text IS DISTINCT FROM k.{column}::text",
            value=sql.SQL(conversion(narrow, archive.type, f"k.{became}").value),
        )
        yield self._drop_empty_archive()

    def _converted(self, table: str, column: str, narrow: str) -> tuple[str, str]:
        return table, f"({conversion(narrow, self._archive.type, column).value})::{self._archive.type}"

    def _move_values(self, unchanged: str, **parts: sql.Composable) -> Step:
        """Each batch moves values: into their rows, and out of the table that keeps them."""
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
                f"{self._archive.label} was NOT NULL; {without} rows that came since have no value."
            )
            return
        yield from _not_null_steps(self._cursor, template=self._step("", ""), column=str(self._archive.column))

    def _rows_without_value(self) -> int:
        condition = sql.SQL("") if self._type is None else sql.SQL(" AND t.{column} IS NULL").format(**self._names)
        if not self._archive.key:
            statement = sql.SQL("SELECT count(*) FROM {table} t WHERE TRUE{condition}")
            self._cursor.execute(statement.format(condition=condition, **self._names))
        else:
            self._cursor.execute(
                sql.SQL(
                    "SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT FROM {keep} k WHERE {same}){condition}"
                ).format(same=join_condition(self._archive), condition=condition, **self._names)
            )
        found = self._cursor.fetchone()
        return int(found[0]) if found else 0

    def _recreate_dropped_keys(self) -> Iterator[Step]:
        """Keys, checks and indexes that went with the column."""
        lost, existing = (
            self._archive.lost,
            _constraint_names(self._cursor, self._archive.table) if self._begun else set(),
        )
        for kind, name, definition in lost:
            if kind == "p":
                self._not_reverted.append(
                    f"{self._archive.table}: the primary key {name} does not come back: {definition}."
                )
        yield from _recreate_keys(self._step("", ""), lost, existing=existing)

    def _drop_empty_archive(self) -> Step:
        """What keeps nothing any more goes."""
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
            "default": sql.SQL(self._archive.default or "NULL"),
            **self._names,
        }
        return sql.SQL(statement).format(**{**known, **parts}).as_string(self._cursor)


def _restore_table(cursor: Cursor, archive: Archive, reason: str) -> Restoration:
    """The very table that was put by, with its indexes and sequences."""
    if existing_tables(cursor, [archive.table]):
        return Restoration(
            not_reverted=(f"There is a table {archive.table} again; {archive.name} keeps the former one.",)
        )
    table, keep = sql.Identifier(archive.table), sql.Identifier(archive.name)
    rename = sql.SQL("ALTER {} {} RENAME TO {}")
    statements = [rename.format(sql.SQL("TABLE"), keep, table), sql.SQL("COMMENT ON TABLE {} IS NULL").format(table)]
    for kind, now, before in archive.renamed:
        what = sql.SQL("SEQUENCE" if kind == "S" else "INDEX")
        statements.append(rename.format(what, sql.Identifier(now), sql.Identifier(before)))
    template = Step(sql="", kind="undo_drop_table", table=archive.table, reason=reason, has_rows=True)
    steps = [replace(template, sql=statement.as_string(cursor)) for statement in statements]
    steps += [_not_valid_step(template, name, definition) for _, name, definition in archive.lost]
    return Restoration(steps=(*steps, *(_validate_step(template, name) for _, name, _ in archive.lost)))
