"""Drift is reported, left alone, and overwritten only when allowed by name."""

from __future__ import annotations

from functools import cache

import pytest
from sqlalchemy import CheckConstraint, Column, DateTime, ForeignKey, Index, Integer, Numeric, String, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from fbs_worker.core.postgres import Connection
from fbs_worker.schema.definition import Definition
from tests.support.planned import Tables, defined, fresh_picture, hazards, needed, picture, swept, table, with_system
from tests.support.rental_tables import rental

pytestmark = pytest.mark.postgres


@pytest.fixture
def connection(shared: Connection) -> Connection:
    return swept(shared)


OTHER = table("o", lambda: Column("name", Text))


@cache
def two(*more: str) -> Definition:
    """`t` refers to `o`; with the columns `more` of text."""
    return defined(
        OTHER,
        table(
            "t",
            lambda: Column("a", String(9), server_default="x", nullable=False),
            lambda: Column("b", Integer, index=True),
            lambda: Column("o_id", Integer, ForeignKey("o.id", ondelete="CASCADE")),
            lambda: Column("c", Integer, unique=True),
            lambda: CheckConstraint("b > 0"),
            *(lambda name=name: Column(name, Text) for name in more),
        ),
    )


BY_HAND = {
    "r_t: the column a is text, not character varying(9)": 'ALTER TABLE r_t ALTER a TYPE TEXT',
    "r_t: the column a is NULL allowed, not NOT NULL": "ALTER TABLE r_t ALTER a DROP NOT NULL",
    "r_t: the column a has the default 'y'::character varying, not 'x'": "ALTER TABLE r_t ALTER a SET DEFAULT 'y'",
    "r_t: the column a has the default NULL, not 'x'": "ALTER TABLE r_t ALTER a DROP DEFAULT",
    "r_t: the column b is NOT NULL, not NULL allowed": "ALTER TABLE r_t ALTER b SET NOT NULL",
    "r_t: the column b has the default nextval('of_others'::regclass), not NULL":
        "CREATE SEQUENCE IF NOT EXISTS of_others; ALTER TABLE r_t ALTER b SET DEFAULT nextval('of_others')",
    "r_t: the column b is missing": "ALTER TABLE r_t DROP b CASCADE",
    "r_t: the index on (b) is missing": "DROP INDEX r_ix_t_b",
    "r_t: the unique key (c) is missing": "ALTER TABLE r_t DROP CONSTRAINT r_t_c_key",
    "r_t: the foreign key (o_id) to r_o is missing": "ALTER TABLE r_t DROP CONSTRAINT r_t_o_id_fkey",
    "r_t: the check (b > 0) is missing": "ALTER TABLE r_t DROP CONSTRAINT r_t_b_check",
    "r_t: the primary key (id) is missing": "ALTER TABLE r_t DROP CONSTRAINT r_t_pkey",
    "r_o: the column id has the default NULL, not SERIAL": "ALTER TABLE r_o ALTER id DROP DEFAULT",
    "r_o: the column id is bigint, not integer": "ALTER TABLE r_o ALTER id TYPE BIGINT",
}  # fmt: skip


@pytest.mark.parametrize("rows", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("statement", BY_HAND.values(), ids=BY_HAND)
def test_drift_is_reported_and_left_until_restore(connection: Connection, statement: str, *, rows: bool) -> None:
    reference = fresh_picture(connection, two())
    tables = Tables(connection, two())
    if rows:
        tables.run("INSERT INTO r_o (name) VALUES ('one')", "INSERT INTO r_t (b, c, o_id) VALUES (1, 1, 1), (2, 2, 1)")
    tables.run(statement)
    changed = picture(connection)
    plan = tables.plan(two())
    difference = next(line for line, by in BY_HAND.items() if by == statement)
    assert plan.empty
    assert f"{difference.partition(' is missing')[0]}" in "\n".join(plan.drift)
    assert all(line.endswith("; changed by hand, left as it is") for line in plan.drift)
    tables.migrate(two("more"))
    assert {**picture(connection), "r_t": ""} == {**changed, "r_t": ""}
    # taken back
    again = tables.plan(two("more"), restore=True)
    if "SERIAL" in difference:  # nothing would be won by guessing where to count on
        assert again.empty
        return
    assert "DRIFT" in needed(again)
    assert all(line.endswith("; changed by hand, overwritten by the plan") for line in again.drift)
    tables.migrate(two("more"), restore=True)
    tables.migrate(two())
    assert picture(connection) == reference
    assert tables.plan(two()).drift == ()


def test_a_change_to_what_was_changed_by_hand_has_to_be_allowed(connection: Connection) -> None:
    before = defined(table("t", lambda: Column("a", String(9)), lambda: Column("b", Integer)))
    after = defined(table("t", lambda: Column("a", String(5)), lambda: Column("b", Integer, nullable=False)))
    tables = Tables(connection, before)
    tables.run("ALTER TABLE r_t ALTER a TYPE TEXT")
    plan = tables.plan(after)
    assert needed(plan) == {"DRIFT"}
    assert [sorted(step.hazards) for step in plan.steps] == [["DRIFT"], []]
    assert plan.drift == (
        "r_t: the column a is text, not character varying(5); changed by hand, overwritten by the plan",
    )
    tables.run("ALTER TABLE r_t ALTER a TYPE VARCHAR(5)")  # a manual change came first
    assert needed(tables.plan(after)) == set()
    tables.migrate(after)


def test_what_users_added_is_left_alone(connection: Connection) -> None:
    tables = Tables(connection, two("old"))
    tables.run(
        "ALTER TABLE r_t ADD mine JSONB DEFAULT '[]', ADD CONSTRAINT mine CHECK (c < 100), ADD UNIQUE (c, b)",
        "CREATE INDEX theirs ON r_t (lower(a)); CREATE TABLE r_mine (id INT REFERENCES r_t (id))",
        "CREATE VIEW r_view AS SELECT a FROM r_t; INSERT INTO r_t (b, c, mine) VALUES (1, 1, '{}')",
    )
    assert tables.plan(two("old")).to_dict() == Tables(connection, None).plan(defined()).to_dict()
    before = picture(connection)
    tables.migrate(two("old", "new"))
    tables.migrate(two("old"))
    assert picture(connection) == before
    assert tables.run("SELECT mine FROM r_t") == [({},)]


def test_a_column_that_a_user_has_already_is_adopted_or_has_to_be_allowed(connection: Connection) -> None:
    tables = Tables(connection, two())
    tables.run("ALTER TABLE r_t ADD same TEXT, ADD other INT; INSERT INTO r_t (same, other) VALUES ('s', 1)")
    assert tables.plan(two("same")).empty
    plan = tables.plan(two("same", "other"))
    assert needed(plan) == {"DRIFT", "REWRITES_TABLE", "LONG_LOCK"}
    tables.migrate(two("same", "other"))
    assert tables.run("SELECT same, other FROM r_t") == [("s", "1")]
    # what was adopted is FBS's from now on
    assert needed(tables.plan(two())) == {"DELETES_DATA"}


IN_THE_WAY = {
    "a table": "CREATE TABLE r_new (id INT)",
    "a view": "CREATE VIEW r_new AS SELECT 1 AS id",
    "a type": "CREATE TYPE r_new AS ENUM ('a')",
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_name_conflicts_are_reported_and_skipped(connection: Connection, what: str) -> None:
    before = defined(table("t", lambda: Column("a", Integer)))
    after = defined(
        table("t", lambda: Column("a", Integer, ForeignKey("new.id")), lambda: Column("b", Integer)),
        table("new", lambda: Column("a", Integer)),
    )
    tables = Tables(connection, before)
    tables.run(IN_THE_WAY[what])
    plan = tables.migrate(after)
    assert plan.drift == (f"r_new: name conflict with {what} that FBS did not create; the table is skipped",)
    assert plan.tables == ("r_t",)
    assert tables.plan(after).drift == plan.drift
    tables.run(f"DROP {what.split()[1].upper()} r_new")
    tables.migrate(after)
    assert tables.owned == ("r_new", "r_t")
    assert picture(connection) == fresh_picture(connection, after)


def test_drift_that_a_change_depends_on_is_reverted(connection: Connection) -> None:
    """A column, a unique key and a default that were dropped by hand."""
    first = defined(
        table("o", lambda: Column("k", Integer, unique=True)),
        table("t", lambda: Column("a", Integer), lambda: Column("d", String(9), server_default="7")),
    )
    second = defined(
        table("o", lambda: Column("k", Integer, unique=True)),
        table(
            "t",
            lambda: Column("a", Integer, ForeignKey("o.k")),
            lambda: Column("d", Integer, server_default=text("7")),
        ),
    )
    tables = Tables(connection, first)
    tables.run(
        "ALTER TABLE r_t DROP a; ALTER TABLE r_o DROP CONSTRAINT r_o_k_key; ALTER TABLE r_t ALTER d SET DEFAULT '8'",
        "INSERT INTO r_t (d) VALUES ('1'); INSERT INTO r_o (k) VALUES (1)",
    )
    plan = tables.migrate(second)
    assert {"DRIFT", "DELETES_DATA", "REWRITES_TABLE", "LONG_LOCK"} == needed(plan)
    assert picture(connection) == fresh_picture(connection, second)


def test_a_table_that_is_gone_is_made_anew(connection: Connection) -> None:
    tables = Tables(connection, two())
    tables.run("DROP TABLE r_t, r_o")
    plan = tables.migrate(two())
    assert [step.kind for step in plan.steps].count("create_table") == 2
    assert picture(connection) == fresh_picture(connection, two())


def test_a_solution_of_which_nothing_was_recorded(connection: Connection) -> None:
    """Differences are changes; objects beyond the definition have an unknown owner and stay."""
    tables = Tables(connection, two("old"), recorded=False)
    assert tables.plan(two("old")).empty
    tables.run(
        "ALTER TABLE r_t ALTER a TYPE VARCHAR(4), ALTER b SET NOT NULL, ALTER a SET DEFAULT 'z', ADD mine INT",
        "ALTER TABLE r_t DROP CONSTRAINT r_t_o_id_fkey; ALTER TABLE r_t ADD FOREIGN KEY (o_id) REFERENCES r_o (id)",
        "DROP INDEX r_ix_t_b; INSERT INTO r_t (b) VALUES (1)",
    )
    plan = tables.migrate(two())
    assert needed(plan) == set()
    assert plan.drift == ()
    assert {"old", "mine"} <= {name for name, *_ in picture(connection)["r_t"][0]}
    assert tables.last_applied is not None
    assert "old" not in tables.last_applied["r_t"]["columns"]


# tables that go


def _ring() -> Definition:
    return defined(
        table("a", lambda: Column("b_id", Integer, ForeignKey("b.id"))),
        table("b", lambda: Column("a_id", Integer, ForeignKey("a.id"))),
        table("t", lambda: Column("a_id", Integer, ForeignKey("a.id"))),
    )


@pytest.mark.parametrize("rows", [False, True], ids=["empty", "filled"])
def test_tables_that_go(connection: Connection, *, rows: bool) -> None:
    tables = Tables(connection, _ring())
    if rows:
        tables.run("INSERT INTO r_a (b_id) VALUES (NULL); INSERT INTO r_b (a_id) VALUES (1)")
    after = defined(table("t", lambda: Column("x", Integer)))
    plan = tables.plan(after)
    assert needed(plan) == ({"DELETES_DATA"} if rows else set())
    drops = [step for step in plan.steps if step.kind == "drop_table"]
    assert [step.archive.archive_table if step.archive else None for step in drops] == (
        ["fbs_retired_r_a", "fbs_retired_r_b"] if rows else [None, None]
    )
    tables.migrate(after)
    assert tables.owned == ("r_t",)
    assert picture(connection) == fresh_picture(connection, after)


def test_an_empty_table_that_went_can_be_made_again(connection: Connection) -> None:
    tables = Tables(connection, two())
    before = picture(connection)
    tables.carry_out(tables.plan(defined(OTHER)))
    tables.undo()
    assert picture(connection) == before


def test_a_table_that_goes_with_a_column_of_a_user_has_to_be_allowed_twice(connection: Connection) -> None:
    tables = Tables(connection, two())
    tables.run("ALTER TABLE r_t ADD mine INT; INSERT INTO r_t (mine) VALUES (1)")
    assert needed(tables.plan(defined(OTHER))) == {"DELETES_DATA", "DRIFT"}


# words of PostgreSQL


def test_what_postgresql_writes_otherwise_is_the_same(connection: Connection) -> None:
    definition = defined(
        table(
            "t",
            lambda: Column("a", JSONB, server_default='{"b": 1, "a": [1,2]}'),
            lambda: Column("b", DateTime, server_default=text("(NOW() AT TIME ZONE 'utc')")),
            lambda: Column("c", Numeric(10), server_default="-1.50"),
            lambda: Column("d", String(9), server_default="it's ::text"),
            lambda: Column("e", Integer, server_default=text("1 + 2")),
            lambda: Column("f", DateTime, server_default=text("CURRENT_TIMESTAMP")),
            lambda: Column("g", Text, server_default=text("upper('x') || 'y'")),
            lambda: Column("h", DateTime, server_default="2024-02-29"),
            lambda: CheckConstraint("d IN ('a', 'b') OR (e > 1 AND c <> 2)"),
            lambda: CheckConstraint("lower(d) <> 'x'", name="own"),
            lambda: CheckConstraint("e BETWEEN 1 AND 9"),
            lambda: Index("part", "e", postgresql_where=text("e > 1 AND d <> 'x'")),
            lambda: Index("incl", "e", postgresql_include=["d"]),
        )
    )
    for recorded in (True, False):
        swept(connection)
        plan = Tables(connection, definition, recorded=recorded).plan(definition)
        assert (plan.steps, plan.drift) == ((), ())


def test_real_domains_are_as_they_are_made(connection: Connection) -> None:
    for recorded in (True, False):
        swept(connection)
        plan = Tables(connection, rental(), recorded=recorded).plan(rental())
        assert (plan.steps, plan.drift, plan.changes) == ((), (), ())


def test_system_tables_only_grow(connection: Connection) -> None:
    definition = with_system(two())
    tables = Tables(connection, definition)
    tables.run(
        "ALTER TABLE fbs_bi_dashboards DROP data_sources, ALTER dashboard_name TYPE TEXT, ADD mine INT",
        "DROP INDEX fbs_bi_dashboards_domain_idx; DROP TABLE fbs_workflow_definitions",
    )
    try:
        plan = tables.migrate(definition)
        assert {step.table for step in plan.steps} == {"fbs_bi_dashboards", "fbs_workflow_definitions"}
        (drift,) = plan.drift
        assert drift == (
            "fbs_bi_dashboards: the column dashboard_name is text, not character varying(100);"
            " possibly used by other solutions, left as it is"
        )
        assert hazards(plan) == set()
        assert all("of the system tables of FBS" in step.reason for step in plan.steps)
        tables.run("DROP TABLE fbs_bi_dashboards; CREATE TABLE fbs_bi_dashboards (id INT)")
        plan = tables.plan(definition)
        assert plan.empty
        assert plan.drift[0].startswith("fbs_bi_dashboards: name conflict with a table that FBS did not create")
    finally:
        tables.run("DROP TABLE fbs_bi_dashboards")
