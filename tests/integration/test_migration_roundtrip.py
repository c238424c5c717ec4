"""Planned, applied and undone: the matrix of changes, from the plan to the database and back again."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling
from sqlalchemy import BigInteger, Integer, Numeric, Text, Uuid, text

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, RefusedError
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.migration.apply.executor import apply
from fbs_worker.migration.model.plan import Plan, Step
from fbs_worker.migration.model.type_conversion import INPUT_CHECK_SINCE
from fbs_worker.migration.plan.planner import applied_schema
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from tests.integration.test_migration_plan import CASES, OTHER, A, col, to
from tests.integration.test_migration_plan_matrix import SCHEMAS, Schema, definition_of, emptied, fill
from tests.support.migrating import EVERY_HAZARD, PREFIX, QUICK, cut_off_at
from tests.support.planned import Tables, defined, fresh_picture, picture, swept, table
from tests.support.servers import create_database
from tests.support.solutions import die, killed

SOME = ("column goes", "fewer decimals", "foreign key to a new unique key", "required, each its own default")
"""The others are for those who have more time."""

NO_WAY_BACK = {"json to text"}
"""The text form of JSON is ambiguous."""


@pytest.fixture
def connection(shared: Connection) -> Connection:
    return without_ours(shared)


def without_ours(server: Connection) -> Connection:
    """Nothing of an earlier migration is left."""
    server.rollback()
    with server, server.cursor() as cursor:
        cursor.execute("SELECT format('%I', relname) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'fbs\\_%'")
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE {name}")
    return swept(server)


def left_by_failure(tables: Tables, plan: Plan) -> tuple[str, ...] | None:
    """Carry out a plan, and if rows do not fit, undo what was done until then.

    Returns:
        What the undo did not revert; None if the rows fit.
    """
    try:
        tables.carry_out(plan)
    except FBSError as exc:
        if not (isinstance(exc, RefusedError) and exc.message.startswith("Existing rows conflict with the plan")):
            # earlier versions cannot be asked whether a text is a value of a type
            assert tables.connection.info.server_version < INPUT_CHECK_SINCE
            with suppress(RefusedError):  # nothing was done
                return tables.undo().not_reverted
        return ()
    return None


@pytest.mark.parametrize("rows", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SOME else pytest.mark.faults) for n in sorted(CASES)]
)
def test_matrix(connection: Connection, name: str, *, rows: bool) -> None:
    given = CASES[name]
    before, after = defined(OTHER, table("t", *given.before)), defined(OTHER, table("t", *given.after))
    reference = fresh_picture(connection, after)
    tables = Tables(connection, before)
    if rows:
        tables.run("INSERT INTO r_o (name) VALUES ('one')", f"INSERT INTO r_t {given.values}")
    original = picture(connection), tables.rows()
    plan = tables.plan(after)
    if rows and given.offending:
        assert left_by_failure(tables, plan) == ()
        assert (picture(connection), tables.rows()) == original
        return
    assert tables.carry_out(plan).executed == len(plan.steps)
    assert picture(connection) == reference
    assert tables.plan(after).empty
    if rows and given.result is not None:
        assert [row[0] for row in tables.run(f"SELECT {given.result[0]} FROM r_t ORDER BY id")] == given.result[1]

    undo = tables.planned_undo()
    if rows and name in NO_WAY_BACK:
        assert undo.plan.empty
        assert "not reversible" in undo.not_reverted[0]
        return
    assert undo.not_reverted == ()
    tables.undo(undo)
    assert (picture(connection), tables.rows()) == original
    assert tables.plan(before).empty


# from any schema to any other, and back


def there_and_back(connection: Connection, before: Schema, after: Schema, data: st.DataObject) -> None:
    first, second = definition_of(before), definition_of(after)
    tables = Tables(swept(connection), first)
    fill(tables, before, data)
    plan = tables.plan(second)
    if tables.offending(plan):
        emptied(tables, first)
        plan = tables.plan(second)
    original = picture(connection), tables.rows()
    left = left_by_failure(tables, plan)
    if left is not None:
        assert left or (picture(connection), tables.rows()) == original
        return
    assert plan.notes or tables.plan(second).steps == ()
    if plan.empty:
        return
    undo = tables.undo()
    event("not all comes back" if undo.not_reverted else "all comes back")
    if not undo.not_reverted:
        assert (picture(connection), tables.rows()) == original


@given(before=SCHEMAS, after=SCHEMAS, data=st.data())
@settings(max_examples=10, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_some_schemas_there_and_back(
    connection: Connection, before: Schema, after: Schema, data: st.DataObject
) -> None:
    there_and_back(without_ours(connection), before, after, data)


@pytest.mark.faults
@given(before=SCHEMAS, after=SCHEMAS, data=st.data())
@settings(max_examples=500, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_any_schema_there_and_back(connection: Connection, before: Schema, after: Schema, data: st.DataObject) -> None:
    there_and_back(without_ours(connection), before, after, data)


# cut off

BEFORE = defined(
    OTHER,
    table("t", A, col("gone", Text), col("wide", Numeric(9, 4)), col("old", Integer, unique=True)),
    table("dropped", col("said", Text)),
)
AFTER = defined(
    OTHER,
    table(
        "t",
        col("a", BigInteger, to("o.id"), nullable=False, index=True),
        col("own", Uuid, nullable=False, unique=True, server_default=text("gen_random_uuid()")),
        col("wide", Numeric(9, 2)),
        col("old", Integer),
    ),
    table("new", col("t_id", Integer, to("t.id")), col("said", Text)),
)


class Owning:
    """Keeps what is the solution's in a table, in the transaction in which it becomes so."""

    def __call__(self, cursor: Cursor, *, done: Sequence[Step], finished: bool) -> None:
        for ran in done:
            if ran.kind == "create_table":
                cursor.execute("INSERT INTO owned VALUES (%s) ON CONFLICT DO NOTHING", (ran.table,))


def go_on(database: DatabaseConfig, kind: type[Cursor] | None = None) -> None:
    """Plan from what is there and recorded, and apply."""
    with closing(connect(database, application_name="the-migration")) as connection:
        tables = Tables(connection, None)
        owned = tuple(name for (name,) in tables.run("SELECT name FROM owned ORDER BY name"))
        tables.owned, tables.last_applied = owned, applied_schema(connection, BEFORE)
        plan = tables.plan(AFTER)
        assert tables.offending(plan) == {}
        if kind is not None:
            connection.cursor_factory = kind
        apply(connection, plan, table_prefix=PREFIX, allowed=EVERY_HAZARD, write_manifest=Owning(), policy=QUICK)


def sample_of(postgres: EmbeddedPostgres) -> DatabaseConfig:
    """A database with the tables before, and rows in them."""
    name = f"sample_{secrets.token_hex(6)}"
    create_database(postgres, name)
    with closing(connect(postgres.config(name))) as connection:
        tables = Tables(connection, BEFORE)
        tables.run(
            "CREATE TABLE owned (name TEXT PRIMARY KEY)",
            *(f"INSERT INTO owned VALUES ('{name}')" for name in tables.owned),
            "INSERT INTO r_o (name) VALUES ('one')",
            "INSERT INTO r_t (a, gone, wide, old) SELECT 1, 'g' || i, i / 3.0, i FROM generate_series(1, 40) i",
            "INSERT INTO r_dropped (said) VALUES ('x')",
        )
    return postgres.config(name)


def at_each_statement(
    postgres: EmbeddedPostgres,
    sample: DatabaseConfig,
    work: Callable[[DatabaseConfig, type[Cursor] | None], None],
    check: Callable[[Tables], None],
) -> int:
    """Cut off the work at each of its statements, in a copy of the sample, then do it again, and check.

    Returns:
        The number of statements.
    """
    points, cut = 0, True
    while cut:
        name = f"cut_{secrets.token_hex(6)}"
        create_database(postgres, name, template=sample.name)
        database = postgres.config(name)
        cut = killed(lambda: work(database, cut_off_at(points, die)))  # noqa: B023 -- it runs at once
        work(database, None)
        with closing(connect(database)) as connection:
            tables = Tables(connection, None)
            check(tables)
            assert tables.run("SELECT DISTINCT status FROM fbs_schema_migrations") == [("executed",)]
        postgres.drop_database(name)
        points += cut
    postgres.drop_database(sample.name)
    return points


@pytest.mark.faults
def test_cut_off_at_every_statement(postgres: EmbeddedPostgres) -> None:
    sample = sample_of(postgres)
    with closing(connect(sample)) as connection:
        reference = fresh_picture(connection, AFTER)

    def check(tables: Tables) -> None:
        assert picture(tables.connection) == reference
        assert tables.run("SELECT count(DISTINCT own), sum(wide), count(*) FROM r_t") == [(40, Decimal("273.33"), 40)]
        assert tables.run("SELECT count(*) FROM fbs_retired_r_t__gone") == [(40,)]
        assert tables.run("SELECT said FROM fbs_retired_r_dropped") == [("x",)]

    assert at_each_statement(postgres, sample, go_on, check) > 80


@pytest.mark.faults
def test_an_undo_is_cut_off_at_every_statement(postgres: EmbeddedPostgres) -> None:
    sample = sample_of(postgres)
    with closing(connect(sample)) as connection:
        tables = Tables(connection, None)
        before = picture(connection), tables.rows()
    go_on(sample)
    with closing(connect(sample)) as connection:
        whole = {step.sql for step in Tables(connection, None).planned_undo().plan.steps}

    def undo(database: DatabaseConfig, kind: type[Cursor] | None = None) -> None:
        with closing(connect(database, application_name="the-migration")) as connection, suppress(RefusedError):
            tables = Tables(connection, None)
            planned = tables.planned_undo()  # refused once it is finished, though that was not reported
            assert {step.sql for step in planned.plan.steps} <= whole
            connection.cursor_factory = kind or connection.cursor_factory
            tables.undo(planned)

    def check(tables: Tables) -> None:
        assert (picture(tables.connection), tables.rows()) == before
        with pytest.raises(RefusedError, match="no migration to undo"):
            tables.planned_undo()

    assert at_each_statement(postgres, sample, undo, check) > 80
