"""What tests of plans share: small domains, and a way to run a plan that looks whether each step says the truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling
from sqlalchemy import MetaData, Table

from fbs_worker.core.postgres import Connection
from fbs_worker.domains import Domain
from fbs_worker.migration.apply.executor import Applied, apply
from fbs_worker.migration.model.plan import Hazard, Lock, Mode, Plan, Step, transactions
from fbs_worker.migration.plan.planner import applied_schema, make_plan
from fbs_worker.migration.undo import Undo, plan_undo
from fbs_worker.schema import create
from fbs_worker.schema.ddl import render
from fbs_worker.schema.definition import Definition, define
from fbs_worker.schema.system_tables import system_tables
from tests.support.migrating import EVERY_HAZARD, PREFIX, QUICK

_STRENGTH = ["AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock"]
_STRENGTH += ["ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"]

_RELATIONS = "SELECT oid, relname FROM pg_class ORDER BY oid"

_LOCKS = """
SELECT l.mode FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
    AND l.relation = to_regclass(%s)
"""


def defined(*tables: Callable[[MetaData], Table], **mirrored: Any) -> Definition:
    """The definition of a domain with these tables, `r_` before them; `sale__order={…}` mirrors sale.order.

    It has no system tables, which would be most of the work: few tests need `with_system`.
    """

    def make() -> MetaData:
        metadata = MetaData()
        for table in tables:
            table(metadata)
        return metadata

    models = {name.replace("__", "."): {"fields": fields} for name, fields in mirrored.items()}
    domain = Domain(name="testing", title="Testing", tables=make)
    return replace(define(domain, table_prefix=PREFIX, business_prefix="r_", mirrored=models), system=())


def with_system(definition: Definition) -> Definition:
    """The same with the system tables."""
    return replace(definition, system=tuple(system_tables(PREFIX)))


def table(name: str, *columns: Callable[[], Any]) -> Callable[[MetaData], Table]:
    """Makes a table; columns and keys are made anew each time."""
    return lambda metadata: Table(name, metadata, *(column() for column in columns))


class Tables:
    """The tables of a solution in a database, and what is recorded of them.

    Args:
        connection: to the database, outside of a transaction.
        definition: what they are at first; None for none at all.
        recorded: what FBS made is recorded.
    """

    def __init__(self, connection: Connection, definition: Definition | None, *, recorded: bool = True) -> None:
        self.connection = connection
        self.owned: tuple[str, ...] = ()
        self.last_applied: dict[str, Any] | None = None
        if definition is not None:
            with connection, connection.cursor() as cursor:
                if definition.system:
                    create.create(connection, definition, owned=())
                else:
                    cursor.execute(";\n".join(render(definition.tables, server_version=connection.info.server_version)))
            self.owned = definition.table_names
            self.last_applied = applied_schema(connection, definition) if recorded else None

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Statements in a transaction; the rows of the last one."""
        with self.connection, self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def plan(self, definition: Definition, *renames: str, restore: bool = False) -> Plan:
        """Plan, and see that nothing is changed."""
        before = self.run(_RELATIONS)
        with self.connection:
            plan = make_plan(
                self.connection,
                solution="testing",
                definition=definition,
                last_applied=self.last_applied,
                owned=self.owned,
                renames=renames,
                restore=restore,
            )
        assert self.run(_RELATIONS) == before
        return plan

    def offending(self, plan: Plan) -> dict[str, int]:
        """Number of conflicting rows of each statement."""
        found = {}
        for step in plan.steps:
            if step.check is not None:
                ((count,),) = self.run(step.check)
                if count:
                    found[step.sql] = int(count)
        return found

    def apply(self, plan: Plan) -> None:
        """Run a plan, and see that each step takes the lock that it names and rewrites only what it says."""
        self.apply_some(plan.steps)
        self.owned, self.last_applied = plan.tables, dict(plan.schema)

    def apply_some(self, steps: Iterable[Step]) -> None:
        """Run some steps; what is recorded stays, but that tables which are made are owned."""
        planned = list(steps)
        for group in transactions(planned):
            together = [planned[position] for position in group]
            if together[0].mode is Mode.TRANSACTION:
                with self.connection, self.connection.cursor() as cursor:
                    for step in together:
                        _observed(cursor, step)
            else:
                self._alone(together[0])
            last_applied = {step.table for step in together if step.kind == "create_table"}
            self.owned = tuple(sorted({*self.owned, *last_applied}))

    def migrate(
        self, definition: Definition, *renames: str, restore: bool = False, planned: Plan | None = None
    ) -> Plan:
        """Plan, unless that is done, and apply; then the tables are as they are to be, and there is nothing left to plan."""
        plan = planned or self.plan(definition, *renames, restore=restore)
        assert self.offending(plan) == {}, plan.steps
        self.apply(plan)
        again = self.plan(definition, *renames)
        assert [step.sql for step in again.steps] == []
        return plan

    def carry_out(self, plan: Plan, **more: Any) -> Applied:
        """Apply a plan as the product does: in the journal, with archives; everything is allowed."""
        state = {"shape": self.last_applied, "tables": list(self.owned)}
        given = {"table_prefix": PREFIX, "allowed": EVERY_HAZARD, "policy": QUICK, "before": state, **more}
        applied = apply(self.connection, plan, **given)
        self.owned, self.last_applied = plan.tables, dict(plan.schema)
        return applied

    def planned_undo(self) -> Undo:
        """Plan the undo of the last migration."""
        return plan_undo(self.connection, solution="testing", table_prefix=PREFIX)

    def undo(self, planned: Undo | None = None, **more: Any) -> Undo:
        """Revert the last migration."""
        undo = planned or self.planned_undo()
        self.carry_out(undo.plan, undoes=undo.run, **more)
        return undo

    def rows(self) -> dict[str, list[str]]:
        """All rows of the business tables, by the names of their columns."""
        found = self.run("SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, 'r_')")
        return {name: sorted(str(row) for row in self.run(f'SELECT to_jsonb(t) FROM "{name}" t')) for (name,) in found}

    def _alone(self, step: Step) -> None:
        self.connection.autocommit = True
        try:
            with self.connection.cursor() as cursor:
                if step.cleanup:
                    cursor.execute(step.cleanup)
                while True:
                    cursor.execute(step.sql)
                    if step.mode is Mode.ALONE or not cursor.rowcount:
                        break
        finally:
            self.connection.autocommit = False


def _observed(cursor: Cursor, step: Step) -> None:
    name = sql.Identifier(step.table).as_string(cursor)
    cursor.execute("SAVEPOINT observed")
    locks, node = _locks(cursor, name), _node(cursor, name)
    cursor.execute(step.sql)
    taken = _locks(cursor, name) - locks
    if taken and not locks and step.kind not in {"drop_table", "create_table"}:
        strongest = max(taken, key=_STRENGTH.index)
        assert _STRENGTH.index(strongest) <= _index(step.lock), (step, strongest)
        assert step.lock is Lock.SHARE_ROW_EXCLUSIVE or _STRENGTH.index(strongest) == _index(step.lock), step
    rewritten = node is not None and _node(cursor, name) not in {node, None}
    if step.has_rows:
        assert rewritten == (Hazard.REWRITES_TABLE in step.hazards), step
    cursor.execute("RELEASE SAVEPOINT observed")


def _locks(cursor: Cursor, name: str) -> set[str]:
    cursor.execute(_LOCKS, (name,))
    return {mode for (mode,) in cursor.fetchall()}


def _node(cursor: Cursor, name: str) -> int | None:
    cursor.execute("SELECT pg_relation_filenode(to_regclass(%s))", (name,))
    ((node,),) = cursor.fetchall()
    return None if node is None else int(node)


def _index(lock: Lock) -> int:
    return _STRENGTH.index("".join(word.capitalize() for word in lock.split()) + "Lock")


def hazards(plan: Plan) -> set[str]:
    """All hazards of a plan."""
    return {str(hazard) for step in plan.steps for hazard in step.hazards}


def needed(plan: Plan, but: Collection[Hazard] = ()) -> set[str]:
    """The hazards that have to be allowed."""
    return set(map(str, plan.unallowed_hazards(but)))


_PICTURE = """
SELECT c.relname,
    (SELECT jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text, col_description(c.oid, a.attnum))
        ORDER BY a.attname)
     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT jsonb_agg(definition ORDER BY definition) FROM (
        SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n'
        UNION ALL
        SELECT regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX .* ON (\\w+\\.)?', 'INDEX ON ') || i.indisvalid
        FROM pg_index i WHERE i.indrelid = c.oid
    ) known(definition)),
    obj_description(c.oid, 'pg_class')
FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
    AND starts_with(c.relname, 'r_')
"""


def picture(connection: Connection) -> dict[str, Any]:
    """The business tables of the current schema with everything that makes them up, but the names of keys and of sequences."""
    with connection, connection.cursor() as cursor:
        cursor.execute(_PICTURE)
        return {name: tuple(parts) for name, *parts in cursor.fetchall()}


def fresh_picture(connection: Connection, definition: Definition) -> dict[str, Any]:
    """What a definition's tables look like when they are made anew."""
    with connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS fresh CASCADE; CREATE SCHEMA fresh; SET search_path = fresh")
        cursor.execute(";\n".join(render(definition.tables, server_version=connection.info.server_version)))
    try:
        return picture(connection)
    finally:
        with connection, connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA fresh CASCADE; RESET search_path")


def swept(connection: Connection) -> Connection:
    """A connection to a database with no more than the system tables, and no migrations."""
    connection.rollback()
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%I', relname) FROM pg_class WHERE relkind IN ('r', 'p') AND (starts_with(relname, 'r_')"
            " OR starts_with(relname, 'fbs_retired_') OR relname = 'fbs_schema_migrations') AND pg_table_is_visible(oid)"
        )
        names = [name for (name,) in cursor.fetchall()]
        if names:
            cursor.execute(f"DROP TABLE {', '.join(names)} CASCADE")
    return connection
