"""Plan the undo of a solution's last migration, as far as it loses no data, and report the rest.

An undo is a plan to the schema that the journal recorded before the migration, plus the archived values: made by the
same planner, reviewed, allowed where it has hazards, applied and journalled as any other.

Archived values are moved back in batches, from the archive table into their own: an interrupted undo is resumed. Rows
whose column was written since keep their value, and the archived one stays in the archive table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.errors import RefusedError
from fbs_worker.core.identifiers import quoted
from fbs_worker.core.postgres import Connection
from fbs_worker.migration.apply.journal import EXECUTED, JournalRow, history, is_unfinished
from fbs_worker.migration.model.archive import Archive, list_archives
from fbs_worker.migration.model.plan import Plan
from fbs_worker.migration.model.type_conversion import conversion, reverse_conversion
from fbs_worker.migration.plan.context import PlanningContext, Restored
from fbs_worker.migration.plan.explain import Reasons
from fbs_worker.migration.plan.planner import plan_changes
from fbs_worker.schema.ddl import comment_statements
from fbs_worker.schema.dependents import attached
from fbs_worker.schema.differ import compare
from fbs_worker.schema.inspector import InspectedTable, inspect_tables, populated_tables
from fbs_worker.schema.model import FOREIGN, PRIMARY, ColumnSchema, KeySchema, TableSchema, from_json, renamed, to_json
from fbs_worker.schema.read_back import read_back
from fbs_worker.schema.system_tables import system_tables

_BATCH: Final = 2_000
"""Rows per batch: some ten milliseconds."""

_WITHOUT_EFFECT: Final = re.compile(r"validate_.+|fill_column|(un)?mark_column|(add|drop)_not_null_check")
"""Kinds of steps that leave nothing to revert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The undo of a migration.

    Attributes:
        run: the migration's name in the journal, for `apply`.
        plan: the plan, for `apply`.
        not_reverted: changes that are not reverted and why, one line each.
        before: the state before the migration, as recorded by `apply`.
    """

    run: str
    plan: Plan
    not_reverted: tuple[str, ...]
    before: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {**self.plan.to_dict(), "run": self.run, "cannot": list(self.not_reverted)}


def plan_undo(connection: Connection, *, solution: str, table_prefix: str) -> Undo:
    """Plan the undo of a solution's last migration that is not reverted yet. Changes nothing.

    An interrupted undo is resumed. `Plan.schema` and `Plan.tables` are what the undo leads to: the state before the
    migration, `before["shape"]` and `before["tables"]`, but for what is not reverted.

    Args:
        connection: to the solution's database, outside of a transaction.
        solution: the solution's name.
        table_prefix: prefix of the solution's system tables.

    Raises:
        RefusedError: the journal has no migration to revert, or an earlier version applied it.
        DatabaseError: PostgreSQL rejected a statement.
        DatabaseUnreachable: the connection was lost.
    """
    with transaction(connection) as cursor:
        rows = history(cursor, table_prefix, solution)
        record = _Record.of(_last_migration(rows, solution), rows)
        archives = list_archives(cursor, table_prefix, solution=solution)
        return _Undoing(cursor, record, [one for one in archives if one.complete], solution, table_prefix).plan()


def _last_migration(rows: Sequence[JournalRow], solution: str) -> str:
    """Return the newest migration without a complete undo; undos themselves are skipped."""
    undone = {row.facts["of"] for row in rows if row.is_undo and row.status == EXECUTED}
    if rows and rows[-1].is_undo and is_unfinished(rows):
        undone.discard(rows[-1].facts["of"])
    recorded = {row.run for row in rows if row.facts.get("undo") and row.status == EXECUTED}
    for row in reversed(rows):
        if row.is_undo or row.status != EXECUTED or row.run in undone or _WITHOUT_EFFECT.fullmatch(row.kind):
            continue
        if row.run in recorded:
            return row.run
        if row.run or row.is_old:
            raise RefusedError(
                f"The last migration of {solution!r} was applied by an earlier version of FBS, which did not record the"
                " former tables: it cannot be undone automatically.",
                hint="Change the definition back and run `fbs migrate`; removed values are in the tables"
                " <table_prefix>retired_….",
            )
    raise RefusedError(
        f"The solution {solution!r} has no migration to undo.",
        hint="Each applied migration can be undone once; `fbs migrate` plans the next one.",
    )


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What the journal has of a migration; it may have been planned several times, until it was applied.

    Attributes:
        run: its name.
        before: the state before, as recorded by `apply`.
        former: changed table → its schema before; None for a created one.
        after: changed table → the schema that it was to have.
        renames: of columns: table and new name → old name.
        extras: what went with dropped columns: table, column, statement.
        archives: table and column (None for the whole table) → archive table.
        tables: the tables of executed statements.
        dropped: dropped tables.
        restored: tables that an interrupted undo has brought back.
    """

    run: str
    before: Mapping[str, Any]
    former: Mapping[str, TableSchema | None]
    after: Mapping[str, TableSchema]
    renames: Mapping[tuple[str, str], str]
    extras: Sequence[tuple[str, str, str]]
    archives: Mapping[tuple[str, str | None], str]
    tables: frozenset[str]
    dropped: Collection[str]
    restored: Collection[str]

    @classmethod
    def of(cls, run: str, rows: Sequence[JournalRow]) -> _Record:
        done = [row for row in rows if row.run == run and row.status == EXECUTED]
        plans = [row.facts["undo"] for row in done if row.facts.get("undo")]
        former = {table: schema for plan in reversed(plans) for table, schema in plan["former"].items()}
        known = from_json({table: schema for table, schema in former.items() if schema is not None})
        back = {row.table for row in rows if row.facts.get("of") == run and row.status == EXECUTED and _creates(row)}
        return cls(
            run=run,
            before=next((row.facts["before"] for row in done if row.facts.get("before")), {}),
            former={table: known.get(table) for table in former},
            after=from_json({table: schema for plan in plans for table, schema in plan["after"].items()}),
            renames={(table, new): old for plan in plans for table, old, new in plan["renames"]},
            extras=[(table, column, statement) for plan in plans for table, column, statement in plan["attached"]],
            archives={(row.table, row.facts.get("column")): row.facts["kept"] for row in done if row.facts.get("kept")},
            tables=frozenset(row.table for row in done),
            dropped={row.table for row in done if row.kind == "drop_table"},
            restored=back,
        )


def _creates(row: JournalRow) -> bool:
    return row.kind in {"create_table", "restore_table"}


class _Undoing:
    """Adapts the former schema to what can be reached, and plans towards it."""

    def __init__(
        self, cursor: Cursor, record: _Record, archives: Sequence[Archive], solution: str, table_prefix: str
    ) -> None:
        self._cursor = cursor
        self._record = record
        self._archives = {archive.name: archive for archive in archives}
        self._solution = solution
        self._prefix = table_prefix
        self._not_reverted: list[str] = []
        self._values: dict[tuple[str, str], Restored] = {}
        self._unharmed: set[tuple[str, str]] = set()
        self._stuck: set[str] = set()
        connection = cursor.connection
        self._version = connection.info.server_version
        schemas = [*record.former.values(), *record.after.values()]
        targets = {key.target[0] for schema in schemas if schema for key in schema.keys if key.target}
        self._found = inspect_tables(connection, {*record.former, *targets, *self._archives})
        self._populated = populated_tables(connection, record.former.keys() & self._found.tables.keys())
        self._kept_names = {
            (table, old): new
            for (table, new), old in record.renames.items()
            if self._has_column(table, new) and self._has_column(table, old)
        }
        self._backwards = {
            (table, new): old for (table, new), old in record.renames.items() if (table, old) not in self._kept_names
        }
        former = {table: schema for table, schema in record.former.items() if schema is not None}
        self._former = read_back(connection, renamed(former, self._kept_names))
        self._after = renamed(read_back(connection, record.after), self._backwards)
        self._archived_tables = {
            table: archive
            for (table, column), name in record.archives.items()
            if column is None and table not in self._found.tables and (archive := self._archives.get(name))
        }
        tables = {**self._found.tables, **{name: self._as_it_was(one) for name, one in self._archived_tables.items()}}
        self._actual = replace(self._found, tables=tables).renamed(self._backwards)
        self._desired = dict(self._former)

    def plan(self) -> Undo:
        """Plan the undo."""
        record = self._record
        if record.tables & {str(table.name) for table in system_tables(self._prefix)}:
            self._not_reverted.append("System tables are shared, and needed by this version of FBS: they stay.")
        for (table, old), new in self._kept_names.items():
            self._not_reverted.append(f"{table}.{new} keeps its name: there is a column {old} again.")
        self._leave_out_tables()
        for table in [table for table in self._desired if table in self._found.tables]:
            self._adapt_columns(table)
        for table in self._desired:
            self._adapt_keys(table)
        owned = {table for table, schema in record.former.items() if schema is None} | self._desired.keys()
        difference = compare(self._desired, self._after, self._actual, owned=owned)
        context = PlanningContext(
            desired=self._desired,
            recorded=self._after,
            actual=self._actual,
            changes=difference.changes,
            renames={place: old for place, old in self._backwards.items() if self._has_column(*place)},
            reasons=Reasons(definition=None),
            table_prefix=self._prefix,
            server_version=self._version,
            archived_tables={table: _back(archive) for table, archive in self._archived_tables.items()},
            archived_values=self._values,
            archived_extras=self._extras(),
            unharmed=frozenset(self._unharmed | self._added_without_values()),
        )
        own = {*record.former, *record.before.get("tables", ())}
        plan = plan_changes(self._cursor.connection, self._solution, context, difference, own_tables=own)
        lost = self._former.keys() - (self._desired.keys() - difference.blocked.keys())
        tables = tuple(table for table in record.before.get("tables", ()) if table not in lost)
        plan = replace(plan, tables=tables, schema=self._reached(lost))
        return Undo(run=record.run, plan=plan, not_reverted=tuple(self._not_reverted), before=record.before)

    # tables

    def _has_column(self, table: str, column: str) -> bool:
        return table in self._found.tables and column in self._found.tables[table].columns

    def _as_it_was(self, archive: Archive) -> InspectedTable:
        """An archived table as it is once it is renamed back."""
        table = self._found.tables[archive.name]
        names = {now: before for _, now, before in archive.renamed}
        keys = [
            replace(key, schema=replace(key.schema, name=names.get(key.schema.name, key.schema.name)))
            for key in table.keys
        ]
        return replace(table, keys=tuple(keys), comment="")

    def _leave_out_tables(self) -> None:
        """Leave out the dropped tables that do not come back."""
        for table in self._record.dropped:
            archive = self._record.archives.get((table, None), "")
            if table in self._found.tables and table not in self._record.restored:
                stays = f"; the former table stays in {archive}" if archive else ""
                self._not_reverted.append(f"{table} exists again{stays}.")
            elif archive and table not in self._actual.tables:
                self._not_reverted.append(f"{table}: its archive table {archive} no longer exists.")
            else:
                continue
            self._desired.pop(table, None)

    # columns

    def _adapt_columns(self, table: str) -> None:
        former = self._former[table].columns
        columns = {name: self._reachable(table, name, column) for name, column in former.items()}
        left = {name: column for name, column in columns.items() if column is not None}
        self._desired[table] = replace(self._former[table], columns=left)

    def _reachable(self, table: str, name: str, former: ColumnSchema) -> ColumnSchema | None:
        """Return what a column can become again; None if it does not come back."""
        now, label = self._actual.tables[table].columns.get(name), f"{table}.{name}"
        archive_name = self._record.archives.get((table, self._recorded_name(table, name)), "")
        archive = self._archives.get(archive_name)
        if archive and archive.type != former.type:  # it was retyped and archived twice
            self._not_reverted.append(f"{label}: values of the type {archive.type} stay in {archive.name}.")
            archive = None
        retyped = now is not None and now.full_type != former.full_type
        if table not in self._after or name not in self._after[table].columns:  # it was to go
            if now is None and archive_name and archive is None:
                self._not_reverted.append(f"{label}: its archive table {archive_name} no longer exists.")
                return None
            if now is not None and retyped:
                stays = f"; the former values stay in {archive_name}" if archive else ""
                self._not_reverted.append(f"{label} exists again, as {now.full_type}{stays}.")
                return now
            return self._with_values(table, name, former, archive)
        if now is None:  # dropped by hand
            return former
        narrowed = archive if archive and archive.became else None
        if not (
            self._widens(table, name, now, narrowed) if narrowed else not retyped or self._reverts(table, name, now)
        ):
            self._stuck.add(table)
            return replace(former, type=now.type, collation=now.collation, default=now.default)
        return self._not_null(table, name, former, None)

    def _recorded_name(self, table: str, column: str) -> str:
        """Return a column's name after the migration."""
        return next((new for (of, new), old in self._backwards.items() if (of, old) == (table, column)), column)

    def _current(self, table: str, column: str) -> str:
        """Return a column's name now, quoted."""
        recorded = self._recorded_name(table, column)
        return quoted(recorded if self._has_column(table, recorded) else column)

    def _with_values(self, table: str, name: str, former: ColumnSchema, archive: Archive | None) -> ColumnSchema:
        """Bring a dropped column back, with its archived values."""
        if archive is None:
            return self._not_null(table, name, former, None)
        if archive.key:
            value = f"SELECT k.{quoted(name)} FROM {quoted(archive.name)} k WHERE "  # noqa: S608 -- quoted
            value += self._same_row(table, archive, of=f"{quoted(table)}.")
            values = [f"{quoted(table)}.{quoted(name)}"] if self._has_column(table, name) else []
            values += [f"({value})", *([f"({former.expression})"] if former.not_null and former.expression else [])]
            unchanged = f"t.{quoted(name)} IS NULL"
            self._move_back(table, name, archive, unchanged, value=f"coalesce({', '.join(values)})")
        else:
            why = f"no primary key to match the rows; the former values stay in {archive.name}"
            self._not_reverted.append(f"{table}.{name}: {why}.")
        if former.default != former.expression:
            self._not_reverted.append(f"{table}.{name}: its sequence is not restored.")
            former = replace(former, default=None)
        return self._not_null(table, name, former, archive)

    def _not_null(self, table: str, name: str, former: ColumnSchema, archive: Archive | None) -> ColumnSchema:
        """Return the column, as nullable if rows have no value for it and do not get one."""
        now = self._actual.tables[table].columns.get(name)
        filled = former.expression is not None and (now is None or (archive is not None and bool(archive.key)))
        if not former.not_null or table not in self._populated or filled or (now is not None and now.not_null):
            return former
        conditions = [] if now is None else [f"t.{self._current(table, name)} IS NULL"]
        if archive is not None and archive.key:
            same = self._same_row(table, archive)
            conditions.append(f"NOT EXISTS (SELECT FROM {quoted(archive.name)} k WHERE {same})")
        where = " AND ".join(conditions) or "TRUE"
        count = self._query(f"SELECT count(*) FROM {quoted(table)} t WHERE {where}")  # noqa: S608 -- quoted
        if not count:
            return former
        since = " inserted since" if archive or now is None else ""
        self._not_reverted.append(f"{table}.{name} stays nullable: {count} rows{since} have no value.")
        return replace(former, not_null=False)

    def _reverts(self, table: str, name: str, now: ColumnSchema) -> bool:
        """Return whether a type can be restored: each value is derivable, or survives the way there and back."""
        former, column = self._former[table].columns[name], self._current(table, name)
        back = reverse_conversion(now.type, former.type, column, server_version=self._version)
        if table not in self._populated or not back.lossy:
            return True
        again = f"({conversion(former.type, now.type, f'({back.value})').value})::{now.type}"
        changed = f"{column}::text IS DISTINCT FROM {again}::text"
        # the text form of JSON is ambiguous
        if "json" in former.type or not self._evaluates(table, again) or self._exists(table, changed):
            what = f"{name}: {former.full_type} → {now.full_type}"
            self._not_reverted.append(f"{table}: retype column is not reverted (not reversible): {what}.")
            return False
        self._unharmed.add((table, name))
        return True

    def _widens(self, table: str, name: str, now: ColumnSchema, archive: Archive) -> bool:
        """Restore the former values of rows that were not written since, once the former type is restored.

        Returns:
            Whether that is possible.
        """
        column, became = self._current(table, name), quoted(str(archive.became))
        narrow = self._found.tables[archive.name].columns.get(str(archive.became))
        if narrow is None or now.type not in {narrow.type, archive.type}:
            self._not_reverted.append(f"{table}.{name} changed since; the former values stay in {archive.name}.")
            return False
        convert = partial(conversion, narrow.type, archive.type, server_version=self._version)
        sides = [(archive.name, became), *([(table, column)] if now.type == narrow.type else [])]
        values = [(side, f"({convert(of).value})::{archive.type}") for side, of in sides]
        fails = convert(column).fails_where if now.type == narrow.type else ""
        same = self._same_row(table, archive)
        cut = (  # written since, and too long for the former type
            f"{fails} AND NOT EXISTS (SELECT FROM {quoted(archive.name)} k"  # noqa: S608 -- quoted
            f" WHERE {same} AND k.{became} IS NOT DISTINCT FROM t.{column})"
        )
        if not all(self._evaluates(*value) for value in values) or (fails and self._exists(table, cut)):
            why = f"not every value fits {archive.type}; the former ones stay in {archive.name}"
            self._not_reverted.append(f"{table}.{name}: {why}.")
            return False
        value = convert(f"k.{became}").value
        unchanged = f"t.{quoted(name)}::text IS NOT DISTINCT FROM ({value})::{archive.type}::text"
        self._move_back(table, name, archive, unchanged)
        return True

    def _move_back(self, table: str, name: str, archive: Archive, unchanged: str, *, value: str | None = None) -> None:
        """Move archived values in batches into their rows, by the names that the columns have then."""
        keep, of, same = quoted(archive.name), quoted(table), self._same_row(table, archive, future=True)
        in_archive = " AND ".join(f"k.{quoted(key)} = d.{quoted(key)}" for key in archive.key)
        self._values[table, name] = Restored(
            name=archive.name,
            statement=f"WITH part AS MATERIALIZED (SELECT k.* FROM {keep} k JOIN {of} t ON {same}"  # noqa: S608 -- quoted
            f" WHERE {unchanged} LIMIT {_BATCH}), back AS (UPDATE {of} t SET {quoted(name)} ="
            f" k.{quoted(str(archive.column))} FROM part k WHERE {same} AND {unchanged})"
            f" DELETE FROM {keep} d USING part k WHERE {in_archive}",
            value=value,
        )

    def _same_row(self, table: str, archive: Archive, of: str = "t.", *, future: bool = False) -> str:
        """Return the condition that joins the archive `k` with its table, by the current or the future names."""
        names = {key: self._backwards.get((table, key), key) for key in archive.key}
        columns = {key: quoted(name) if future else self._current(table, name) for key, name in names.items()}
        return " AND ".join(f"k.{quoted(key)} = {of}{column}" for key, column in columns.items())

    def _added_without_values(self) -> set[tuple[str, str]]:
        """Columns that the migration added and that hold nothing but their default."""
        found = set()
        for table in self._desired.keys() & self._populated & self._after.keys():
            columns = self._actual.tables[table].columns
            for name in (self._after[table].columns.keys() - self._desired[table].columns.keys()) & columns.keys():
                column, default = quoted(name), columns[name].expression or "NULL"
                if not self._exists(
                    table, f"{column} IS NOT NULL AND {column}::text IS DISTINCT FROM ({default})::text"
                ):
                    found.add((table, name))
        return found

    # keys, and what else went with columns

    def _adapt_keys(self, table: str) -> None:
        """Leave out keys that cannot be restored; where a column keeps its new type, keys stay as they are, and a link
        that is not enforced stays so where rows refer to nothing.
        """
        desired, after = self._desired[table], self._after.get(table)
        applied = after.keys if after else ()
        keys = []
        for key in desired.keys:
            why = self._why_lost(table, key) if key not in applied else ""
            if why:
                self._not_reverted.append(f"{table}: the {key.label()} is not restored: {why}.")
            else:
                keys.append(key)
        left = {(key.columns, key.target) for key in desired.keys if key not in keys}
        keys += [key for key in applied if not key.enforced and (key.columns, key.target) in left and key not in keys]
        gone = (after.columns.keys() if after else set[str]()) - desired.columns.keys()
        keys += [
            key
            for key in applied
            if key not in keys and self._is_stuck(table, key) and not any(_uses(key, column) for column in gone)
        ]
        self._desired[table] = replace(desired, keys=tuple(keys))

    def _why_lost(self, table: str, key: KeySchema) -> str:
        columns = self._desired[table].columns
        if self._is_stuck(table, key):
            return "a column keeps its new type"
        tables = (self._actual.tables.keys() - self._former.keys()) | self._desired.keys()
        if key.target is not None and key.target[0] not in tables:
            return "the table that it refers to is not there"
        if any(_uses(key, column) for column in self._former[table].columns.keys() - columns.keys()):
            return "a column does not come back"
        if key.kind == PRIMARY and not all(columns[column].not_null for column in key.columns):
            return "rows have no value"
        if key.kind == FOREIGN and key.enforced and self._has_orphans(table, key):
            return "rows refer to others that are not there"
        return ""

    def _has_orphans(self, table: str, key: KeySchema) -> bool:
        """Whether rows refer to nothing, as they may without an enforced key; not known of columns that change."""
        target, referred = key.target or ("", ())
        ends = [*((table, column) for column in key.columns), *((target, column) for column in referred)]
        if not all(of in self._found.tables and self._is_unchanged(of, column) for of, column in ends):
            return False
        columns = [f"t.{self._current(table, column)}" for column in key.columns]
        others = [f"o.{self._current(target, column)}" for column in referred]
        same = " AND ".join(f"{other} = {column}" for column, other in zip(columns, others, strict=True))
        not_null = " AND ".join(f"{column} IS NOT NULL" for column in columns)
        missing = f"NOT EXISTS (SELECT FROM {quoted(target)} o WHERE {same})"
        return self._exists(table, f"{not_null} AND {missing}")

    def _is_unchanged(self, table: str, column: str) -> bool:
        """Whether a column is there, and keeps its type."""
        now = self._actual.tables[table].columns.get(column)
        then = self._desired[table].columns.get(column) if table in self._desired else now
        return now is not None and then is not None and now.full_type == then.full_type

    def _is_stuck(self, table: str, key: KeySchema) -> bool:
        return table in self._stuck or (key.target is not None and key.target[0] in self._stuck)

    def _extras(self) -> list[tuple[str, str, str]]:
        """Privileges and statistics of columns that come back, as far as they are not there again."""
        extras = [one for one in self._record.extras if one[0] in self._desired]
        there = attached(self._cursor.connection, {table for table, _, _ in extras}) if extras else {}
        missing = {
            statement: (table, column, statement)
            for table, column, statement in extras
            if column in self._desired[table].columns and statement not in there.get((table, column), ())
        }
        return list(missing.values())

    # what is recorded afterwards

    def _reached(self, lost: Collection[str]) -> dict[str, Any]:
        """The schema recorded before the migration, but for what is not reverted."""
        before = self._record.before.get("shape") or {}
        shape = {table: schema for table, schema in before.items() if table not in lost}
        for table, schema in renamed(from_json(shape), self._kept_names).items():
            if table in self._desired and self._desired[table] != self._former[table]:
                shape |= to_json({table: _changed(schema, self._former[table], self._desired[table])})
        return shape

    # queries

    def _query(self, statement: str) -> Any:
        """Run a query of one value."""
        self._cursor.execute(statement)
        row = self._cursor.fetchone()
        return row[0] if row else None

    def _exists(self, table: str, condition: str) -> bool:
        return bool(self._query(f"SELECT EXISTS (SELECT FROM {quoted(table)} t WHERE {condition})"))  # noqa: S608

    def _evaluates(self, table: str, expression: str) -> bool:
        """Return whether an expression can be evaluated for each row of a table."""
        self._cursor.execute("SAVEPOINT fbs_evaluates")
        try:
            self._cursor.execute(f"SELECT count({expression}) FROM {quoted(table)}")  # noqa: S608 -- quoted
        except (psycopg2.DataError, psycopg2.ProgrammingError):
            self._cursor.execute("ROLLBACK TO SAVEPOINT fbs_evaluates")
            return False
        self._cursor.execute("RELEASE SAVEPOINT fbs_evaluates")
        return True


def _back(archive: Archive) -> Restored:
    """An archived table is renamed back, with its indexes and sequences."""
    statements = [*archive.rename_statements(back=True), *comment_statements(archive.table, {"": ""})]
    return Restored(name=archive.name, statement=";\n".join(statements))


def _uses(key: KeySchema, column: str) -> bool:
    return column in key.columns or re.search(rf"(?<!\w){re.escape(column)}(?!\w)", key.detail) is not None


def _changed(recorded: TableSchema, former: TableSchema, desired: TableSchema) -> TableSchema:
    """A recorded table with the differences between its former and its desired schema."""
    columns = {
        name: desired.columns[name]
        if name in desired.columns and desired.columns[name] != former.columns.get(name)
        else was
        for name, was in recorded.columns.items()
        if name in desired.columns or name not in former.columns
    }
    gone = former.identities - desired.identities
    keys = [key for key in recorded.keys if key.identity not in gone]
    keys += [key for key in desired.keys if key.identity not in former.identities]
    return replace(recorded, columns=columns, keys=tuple(keys))
