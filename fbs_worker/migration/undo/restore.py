"""The statements that bring back what a migration took away and kept.

Values go back in batches, from the table that keeps them into their own, and leave the one as they come into the other:
what was cut off goes on where it was. Only rows go back that nobody has written to in that column since; the others
stay where they are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.migration.apply.lock_retry import existing
from fbs_worker.migration.model.archive import Kept, names_of, same_rows
from fbs_worker.migration.model.plan import Hazard, Lock, Mode, Step
from fbs_worker.migration.model.type_conversion import conversion
from fbs_worker.migration.plan.context import quoted
from fbs_worker.migration.undo.operations import (
    BATCH,
    constraints,
    evaluates,
    has_rows,
    keys_again,
    required,
    type_of_column,
    unchecked,
    validation,
)

_UNCHECKED: Final = """
SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'f' AND NOT convalidated ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """How something comes back.

    Attributes:
        steps: the statements.
        cannot: what does not, one line each.
        stuck: a column keeps another type, so what older statements did to its table's keys cannot be reverted either.
    """

    steps: tuple[Step, ...] = ()
    cannot: tuple[str, ...] = ()
    stuck: bool = False


def bring_back(cursor: Cursor, kept: Kept, reason: str, *, begun: bool) -> Return:
    """Plan the return of what a table keeps; reads only.

    Args:
        cursor: in a transaction.
        kept: the table that keeps it.
        reason: why, for a person.
        begun: an earlier try was cut off.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    if kept.column is None:
        return _table_back(cursor, kept, reason)
    if not existing(cursor, [kept.table]):
        return Return(cannot=(f"{kept.told}: the table is gone; {kept.name} keeps the values.",))
    return _Back(cursor, kept, reason, begun=begun).plan()


def checks_left(cursor: Cursor, table: str, reason: str) -> Return:
    """What is left to do where the return of a table was cut off: its keys are there, and not checked yet.

    Args:
        cursor: in a transaction.
        table: its unquoted name.
        reason: why, for a person.

    Raises:
        psycopg2.Error: to be translated by the caller.
    """
    cursor.execute(_UNCHECKED, (sql.Identifier(table).as_string(cursor),))
    like = Step(sql="", kind="", table=table, reason=reason, has_rows=True)
    return Return(steps=tuple(validation(like, name) for (name,) in cursor.fetchall()))


class _Back:
    """The return of a column, or of the values that it had before it was narrowed."""

    def __init__(self, cursor: Cursor, kept: Kept, reason: str, *, begun: bool) -> None:
        self._cursor = cursor
        self._kept = kept
        self._reason = reason
        self._begun = begun
        self._names = names_of(kept)
        self._has_rows = has_rows(cursor, kept.table)
        self._type = type_of_column(cursor, kept.table, str(kept.column))
        self._cannot: list[str] = []

    def plan(self) -> Return:
        steps = list(self._widened() if self._kept.became else self._added())
        return Return(steps=tuple(steps), cannot=tuple(self._cannot), stuck=not steps)

    def _added(self) -> Iterator[Step]:
        """The column anew; it is there already where an undo was cut off."""
        kept = self._kept
        if self._type not in {None, kept.type}:
            self._cannot.append(f"{kept.told} is there again, as {self._type}; {kept.name} keeps the former values.")
            return
        if self._type is None:
            yield self._step("add_column", "ALTER TABLE {table} ADD COLUMN {column} {type}")
        default = None if (kept.default or "").startswith("nextval(") else kept.default
        if default is not None:
            yield self._step("set_default", "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}")
        if kept.key:
            yield self._values("t.{column} IS NULL")
        else:
            self._cannot.append(f"{kept.told}: without a primary key nobody can tell whose values {kept.name} keeps.")
        if kept.not_null:
            yield from self._not_null(default)
        yield from self._lost()
        if kept.key:
            yield self._emptied()

    def _widened(self) -> Iterator[Step]:
        """The former type, then the former values where nobody has written another one since."""
        kept, narrow = self._kept, type_of_column(self._cursor, self._kept.name, str(self._kept.became))
        if narrow is None or self._type not in {narrow, kept.type}:
            self._cannot.append(f"{kept.told} has changed since; {kept.name} keeps the former values.")
            return
        became, column = quoted(str(kept.became)), quoted(str(kept.column))
        way = conversion(narrow, kept.type, column)
        sides = [(kept.name, became), *([(kept.table, column)] if self._type == narrow else [])]
        if not all(evaluates(self._cursor, *self._converted(*side, narrow)) for side in sides):
            self._cannot.append(f"{kept.told}: not every value fits {kept.type}; {kept.name} keeps the former ones.")
            return
        if self._type == narrow:
            hazards = {Hazard.REWRITES_TABLE, Hazard.LONG_LOCK} if way.rewrites and self._has_rows else set()
            # PostgreSQL does not convert every default
            actions = ["DROP DEFAULT", "TYPE {type}" + ("" if way.implied else " USING {value}")]
            actions += ["SET DEFAULT {default}"] if kept.default is not None else []
            statement = "ALTER TABLE {table} " + ", ".join(f"ALTER COLUMN {{column}} {action}" for action in actions)
            yield self._step("retype_column", statement, frozenset(hazards), value=sql.SQL(way.value))
        yield self._values(
            "t.{column}::text IS NOT DISTINCT FROM ({value})::{type}::text"
            " AND t.{column}::text IS DISTINCT FROM k.{column}::text",
            value=sql.SQL(conversion(narrow, kept.type, f"k.{became}").value),
        )
        yield self._emptied()

    def _converted(self, table: str, column: str, narrow: str) -> tuple[str, str]:
        return table, f"({conversion(narrow, self._kept.type, column).value})::{self._kept.type}"

    def _values(self, unchanged: str, **parts: sql.Composable) -> Step:
        """Each batch moves values: into their rows, and out of the table that keeps them."""
        condition = self._written(unchanged, **parts)
        return self._step(
            "restore_values",
            "WITH part AS MATERIALIZED ("
            "SELECT k.* FROM {keep} k JOIN {table} t ON {same} WHERE {condition} LIMIT {batch}), "
            "back AS (UPDATE {table} t SET {column} = k.{column} FROM part k WHERE {same} AND {condition}) "
            "DELETE FROM {keep} t USING part k WHERE {same}",
            lock=Lock.ROW_EXCLUSIVE,
            mode=Mode.BATCHES,
            same=same_rows(self._kept),
            condition=sql.SQL(condition),
            batch=sql.Literal(BATCH),
        )

    def _not_null(self, default: str | None) -> Iterator[Step]:
        if default is not None and self._has_rows:
            yield self._step(
                "backfill",
                "UPDATE {table} SET {column} = DEFAULT WHERE ctid = ANY (ARRAY("
                "SELECT ctid FROM {table} WHERE {column} IS NULL LIMIT {batch}))",
                lock=Lock.ROW_EXCLUSIVE,
                mode=Mode.BATCHES,
                batch=sql.Literal(BATCH),
            )
        elif (without := self._rows_without_value()) > 0:
            self._cannot.append(f"{self._kept.told} was NOT NULL; {without} rows that came since have no value.")
            return
        yield from required(self._cursor, like=self._step("", ""), column=str(self._kept.column))

    def _rows_without_value(self) -> int:
        condition = sql.SQL("") if self._type is None else sql.SQL(" AND t.{column} IS NULL").format(**self._names)
        if not self._kept.key:
            statement = sql.SQL("SELECT count(*) FROM {table} t WHERE TRUE{condition}")
            self._cursor.execute(statement.format(condition=condition, **self._names))
        else:
            self._cursor.execute(
                sql.SQL(
                    "SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT FROM {keep} k WHERE {same}){condition}"
                ).format(same=same_rows(self._kept), condition=condition, **self._names)
            )
        found = self._cursor.fetchone()
        return int(found[0]) if found else 0

    def _lost(self) -> Iterator[Step]:
        """Keys, checks and indexes that went with the column."""
        lost, there = self._kept.lost, constraints(self._cursor, self._kept.table) if self._begun else set()
        for kind, name, definition in lost:
            if kind == "p":
                self._cannot.append(f"{self._kept.table}: the primary key {name} does not come back: {definition}.")
        yield from keys_again(self._step("", ""), lost, there=there)

    def _emptied(self) -> Step:
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
            sql=self._written(statement, **parts),
            kind=f"undo_{kind}",
            table=self._kept.table,
            reason=self._reason,
            lock=lock,
            hazards=hazards,
            has_rows=self._has_rows,
            mode=mode,
        )

    def _written(self, statement: str, **parts: sql.Composable) -> str:
        known = {"type": sql.SQL(self._kept.type), "default": sql.SQL(self._kept.default or "NULL"), **self._names}
        return sql.SQL(statement).format(**{**known, **parts}).as_string(self._cursor)


def _table_back(cursor: Cursor, kept: Kept, reason: str) -> Return:
    """The very table that was put by, with its indexes and sequences."""
    if existing(cursor, [kept.table]):
        return Return(cannot=(f"There is a table {kept.table} again; {kept.name} keeps the former one.",))
    table, keep = sql.Identifier(kept.table), sql.Identifier(kept.name)
    rename = sql.SQL("ALTER {} {} RENAME TO {}")
    statements = [rename.format(sql.SQL("TABLE"), keep, table), sql.SQL("COMMENT ON TABLE {} IS NULL").format(table)]
    for kind, now, before in kept.renamed:
        what = sql.SQL("SEQUENCE" if kind == "S" else "INDEX")
        statements.append(rename.format(what, sql.Identifier(now), sql.Identifier(before)))
    like = Step(sql="", kind="undo_drop_table", table=kept.table, reason=reason, has_rows=True)
    steps = [replace(like, sql=statement.as_string(cursor)) for statement in statements]
    steps += [unchecked(like, name, definition) for _, name, definition in kept.lost]
    return Return(steps=(*steps, *(validation(like, name) for _, name, _ in kept.lost)))
