"""The ways that a plan takes: renames, values that are not there yet, names that are taken; cut off at any point."""

from __future__ import annotations

import subprocess
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import psycopg2
import pytest
from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String, Text, Uuid, text

from fbs_worker.core.errors import DatabaseError, RefusedError, UsageError
from fbs_worker.core.postgres import Connection
from fbs_worker.migration.apply.executor import apply
from fbs_worker.migration.model.plan import Hazard, Mode, Plan
from fbs_worker.migration.plan.script import script
from fbs_worker.ops.local.embedded.wheels import postgres_binaries
from fbs_worker.schema.model import NOT_ENFORCED_SINCE
from tests.support.planned import Tables, defined, fresh_picture, hazards, needed, picture, swept, table

pytestmark = pytest.mark.postgres


@pytest.fixture
def connection(shared: Connection) -> Connection:
    return swept(shared)


# renames

BEFORE = defined(
    table("o", lambda: Column("code", Integer, unique=True)),
    table("t", lambda: Column("note", String(9), index=True), lambda: Column("o_code", Integer, ForeignKey("o.code"))),
)
AFTER = defined(
    table("o", lambda: Column("number", Integer, unique=True)),
    table(
        "t",
        lambda: Column("remark", String(5), index=True, nullable=False),
        lambda: Column("o_code", Integer, ForeignKey("o.number")),
    ),
)
BOTH = ("r_t.note=remark", "r_o.code=number")


def _filled(connection: Connection) -> Tables:
    tables = Tables(connection, BEFORE)
    tables.run("INSERT INTO r_o (code) VALUES (1), (2); INSERT INTO r_t (note, o_code) VALUES ('x', 1), ('y', 2)")
    return tables


def test_a_possible_rename_is_asked_about(connection: Connection) -> None:
    tables = _filled(connection)
    plan = tables.plan(AFTER)
    assert plan.questions == (
        "r_o.code is dropped and r_o.number added: for a rename add --rename r_o.code=number",
        "r_t.note is dropped and r_t.remark added: for a rename add --rename r_t.note=remark",
    )
    assert needed(plan) == {"DELETES_DATA", "POSSIBLE_RENAME"}
    tables.run("DELETE FROM r_t; DELETE FROM r_o")
    assert tables.plan(AFTER).questions == ()
    assert needed(tables.plan(AFTER)) == set()


def test_a_rename_keeps_values_and_keys(connection: Connection) -> None:
    tables = _filled(connection)
    plan = tables.plan(AFTER, *BOTH)
    assert plan.questions == ()
    assert hazards(plan) == {"REWRITES_TABLE", "LONG_LOCK", "MIGHT_FAIL_ON_DATA"}  # shorter, and required
    assert [step.kind for step in plan.steps if step.kind.endswith(("_key", "_index"))] == []
    tables.migrate(AFTER, *BOTH)
    assert tables.run("SELECT remark, o_code FROM r_t") == [("x", 1), ("y", 2)]
    assert picture(connection) == fresh_picture(connection, AFTER)
    assert tables.plan(AFTER, *BOTH).empty  # said again, it is done


def test_a_rename_keeps_what_users_made_of_the_column(connection: Connection) -> None:
    tables = _filled(connection)
    tables.run(
        "ALTER TABLE r_t ADD CONSTRAINT mine CHECK (note <> 'no' AND o_code > 0)",
        "CREATE INDEX lower_note ON r_t (lower(note)) WHERE o_code > 0",
        "ALTER TABLE r_t ADD COLUMN loud TEXT GENERATED ALWAYS AS (upper(note)) STORED",
    )
    wider = defined(
        table("o", lambda: Column("number", Integer, unique=True)),
        table(
            "t",
            lambda: Column("remark", String(9), index=True),
            lambda: Column("o_code", BigInteger, ForeignKey("o.number")),
        ),
    )
    tables.migrate(wider, *BOTH)
    assert tables.run("SELECT remark, o_code, loud FROM r_t") == [("x", 1, "X"), ("y", 2, "Y")]
    assert tables.plan(wider).empty
    assert tables.run("SELECT to_regclass('lower_note') IS NOT NULL") == [(True,)]
    assert tables.run("SELECT convalidated FROM pg_constraint WHERE conname = 'mine'") == [(True,)]


def test_preflight_queries_use_current_names(connection: Connection) -> None:
    tables = _filled(connection)
    tables.run("INSERT INTO r_t (note) VALUES (NULL), ('too long')")
    assert sorted(tables.offending(tables.plan(AFTER, *BOTH)).values()) == [1, 1]


@pytest.mark.parametrize(
    ("rename", "why"),
    [
        ("r_t.note", "the form is table.old=new"),
        ("note=remark", "the form is table.old=new"),
        ("r_x.note=remark", "has no such table"),
        ("fbs_snapshots.domain=remark", "has no such table"),
        ("r_t.note=nothing", "has no column nothing"),
        ("r_t.o_code=remark", "still has the column o_code"),
        ("r_t.nothing=remark", "has no column nothing"),
        ("r_t.note=o_code", "already has a column o_code"),
    ],
)
def test_a_rename_that_cannot_be(connection: Connection, rename: str, why: str) -> None:
    tables = _filled(connection)
    with pytest.raises(UsageError, match=why) as caught:
        tables.plan(AFTER, rename)
    assert rename in caught.value.message


def test_two_renames_to_one_column(connection: Connection) -> None:
    tables = _filled(connection)
    tables.run("ALTER TABLE r_t ADD mine TEXT")
    with pytest.raises(UsageError, match="another --rename names the same column"):
        tables.plan(AFTER, "r_t.note=remark", "r_t.mine=remark")


# NOT NULL without values


def test_a_required_column_waits_for_its_values(connection: Connection) -> None:
    before = defined(table("t", lambda: Column("a", Integer)))
    after = defined(table("t", lambda: Column("a", Integer), lambda: Column("b", Integer, nullable=False)))
    tables = Tables(connection, before)
    tables.run("INSERT INTO r_t (a) VALUES (1), (2)")
    plan = tables.plan(after)
    (note,) = plan.notes
    assert "the next migration sets NOT NULL once all rows have values" in note
    assert hazards(plan) == set()
    tables.apply(plan)
    second = tables.plan(after)
    assert tables.offending(second) != {}
    assert list(tables.offending(second).values()) == [2]
    tables.run("UPDATE r_t SET b = a")
    assert needed(tables.plan(after)) == set()
    tables.migrate(after)
    assert picture(connection) == fresh_picture(connection, after)


def test_rows_are_filled_in_batches_without_touching_what_has_a_value(connection: Connection) -> None:
    before = defined(table("t", lambda: Column("a", Integer)))
    after = defined(
        table(
            "t",
            lambda: Column("a", Integer),
            lambda: Column("b", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
        )
    )
    tables = Tables(connection, before)
    tables.run("INSERT INTO r_t (a) SELECT n FROM generate_series(1, 12000) n")
    plan = tables.plan(after)
    number = next(number for number, step in enumerate(plan.steps) if step.mode is Mode.BATCHES)
    tables.apply_some(plan.steps[:number])
    assert plan.steps[number].batch_key == ("id",)
    tables.run(f"{plan.steps[number].sql} AND id <= 5000")
    before_rows = tables.run("SELECT id, b FROM r_t WHERE b IS NOT NULL ORDER BY id")
    again = tables.plan(after)  # cut off here
    assert again.changes == (
        "r_t: the column b is not backfilled completely",
        "r_t: the column b is NULL allowed, not NOT NULL",
    )
    assert hazards(again) == set()
    tables.migrate(after)
    assert tables.run("SELECT id, b FROM r_t WHERE id <= 5000 ORDER BY id") == before_rows
    assert tables.run("SELECT count(DISTINCT b), col_description('r_t'::regclass, 3) FROM r_t")[0][0] == 12000
    assert picture(connection) == fresh_picture(connection, after)


def test_without_a_primary_key_rows_are_found_by_their_place(connection: Connection) -> None:
    before = defined(table("t", lambda: Column("a", Integer)))
    after = defined(
        table("t", lambda: Column("a", Integer), lambda: Column("b", Uuid, server_default=text("gen_random_uuid()")))
    )
    tables = Tables(connection, before)
    tables.run("ALTER TABLE r_t DROP CONSTRAINT r_t_pkey; INSERT INTO r_t (a) SELECT generate_series(1, 6000)")
    tables.migrate(after)
    assert tables.run("SELECT count(DISTINCT b) FROM r_t") == [(6000,)]


# names


def test_names_that_are_taken(connection: Connection) -> None:
    before = defined(table("t", lambda: Column("a", Integer)), table("o", lambda: Column("b", Integer)))
    after = defined(
        table("t", lambda: Column("a", Integer, ForeignKey("o.id")), lambda: CheckConstraint("a > 0", name="mine")),
        table("o", lambda: Column("b", Integer, unique=True)),
    )
    tables = Tables(connection, before)
    tables.run(
        "CREATE TABLE r_x (a INT); CREATE INDEX r_t_a_idx ON r_x (a); CREATE INDEX r_o_b_key ON r_x (a, a)",
        "ALTER TABLE r_t ADD CONSTRAINT r_t_a_fkey CHECK (a < 99), ADD CONSTRAINT mine CHECK (a < 98)",
        "INSERT INTO r_o (b) VALUES (1); INSERT INTO r_t (a) VALUES (1)",
    )
    tables.migrate(after)
    found = {name for (name,) in tables.run("SELECT conname FROM pg_constraint WHERE conrelid = 'r_t'::regclass")}
    assert {"r_t_a_fkey", "r_t_a_fkey_2", "mine", "mine_2"} <= found


def test_an_index_that_was_cut_off_is_cleaned_up(connection: Connection) -> None:
    before = defined(table("t", lambda: Column("a", Integer)))
    after = defined(table("t", lambda: Column("a", Integer, unique=True)))
    tables = Tables(connection, before)
    tables.run("INSERT INTO r_t (a) VALUES (1), (1)")
    step = next(step for step in tables.plan(after).steps if step.mode is Mode.ALONE)
    with pytest.raises(Exception, match="could not create unique index"):
        tables.apply_some([step])
    ((valid,),) = tables.run("SELECT indisvalid FROM pg_index WHERE indexrelid = 'r_t_a_key'::regclass")
    assert valid is False
    tables.run("DELETE FROM r_t WHERE id = 1")
    tables.migrate(after)
    assert picture(connection) == fresh_picture(connection, after)


def test_a_partitioned_table_has_no_other_way(connection: Connection) -> None:
    before = defined(table("t", lambda: Column("a", Integer)))
    after = defined(table("t", lambda: Column("a", Integer, index=True), lambda: Column("b", Integer, unique=True)))
    tables = Tables(connection, before)
    tables.run(
        "DROP TABLE r_t; CREATE TABLE r_t (id SERIAL PRIMARY KEY, a INT, created_at TIMESTAMP DEFAULT NOW(),"
        " updated_at TIMESTAMP DEFAULT NOW()) PARTITION BY RANGE (id)",
        "CREATE TABLE r_t_1 PARTITION OF r_t DEFAULT; INSERT INTO r_t (a) VALUES (1)",
    )
    plan = tables.plan(after)
    assert {step.mode for step in plan.steps} == {Mode.TRANSACTION}
    assert needed(plan) == {"LONG_LOCK"}


# dependent objects, archived values


BEFORE_DEPENDENTS = (
    table("o", lambda: Column("k", Integer, unique=True)),
    table("t", lambda: Column("a", Text), lambda: Column("b", Text)),
)

FOR_DEPENDENTS = {
    "drop a": lambda: defined(BEFORE_DEPENDENTS[0], table("t", lambda: Column("b", Text))),
    "retype a": lambda: defined(
        BEFORE_DEPENDENTS[0], table("t", lambda: Column("a", Integer), lambda: Column("b", Text))
    ),
    "drop t": lambda: defined(BEFORE_DEPENDENTS[0]),
    "drop o": lambda: defined(BEFORE_DEPENDENTS[1]),
}

BLOCKING = {
    # statement: what it is called, with the beginning of its definition, and what it blocks
    "CREATE VIEW mine AS SELECT a, b FROM r_t": ("view mine depends on it; drop that first: SELECT a, b FROM r_t;", {"drop a", "retype a", "drop t"}),
    "CREATE VIEW mine AS SELECT b FROM r_t": ("view mine depends on it; drop that first: SELECT b FROM r_t;", {"drop t"}),
    "CREATE MATERIALIZED VIEW mine AS SELECT a FROM r_t": ("materialized view mine depends on it; drop that first: SELECT a FROM r_t;", {"drop a", "retype a", "drop t"}),
    "CREATE TABLE mine (x TEXT); CREATE RULE r AS ON INSERT TO mine DO ALSO DELETE FROM r_t WHERE a = new.x": ("rule r on table mine depends on it; drop that first: CREATE RULE r AS", {"drop a", "retype a", "drop t"}),
    "CREATE POLICY p ON r_t USING (a <> 'x')": ("policy p on table r_t depends on it; drop that first: USING ((a <> 'x'::text))", {"drop a", "retype a"}),
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'; CREATE TRIGGER g BEFORE UPDATE OF a ON r_t FOR EACH ROW EXECUTE FUNCTION f()": ("trigger g on table r_t depends on it; drop that first: CREATE TRIGGER g BEFORE UPDATE OF a ON", {"drop a", "retype a"}),
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT a FROM r_t; END": ("function f() depends on it; drop that first", {"drop a", "retype a", "drop t"}),
    "ALTER TABLE r_t ADD COLUMN g TEXT GENERATED ALWAYS AS (upper(a)) STORED": ("depends on it; drop that first: upper(a)", {"drop a", "retype a"}),
    "CREATE PUBLICATION p FOR TABLE r_t (id, a)": ("publication of table r_t in publication p depends on it; drop that first", {"drop a", "retype a"}),
    "CREATE TABLE mine (k INT REFERENCES r_o (k))": ("constraint mine_k_fkey on table mine depends on it; drop that first: FOREIGN KEY (k) REFERENCES r_o(k)", {"drop o"}),
    "CREATE TABLE mine () INHERITS (r_t)": ("table mine depends on it; drop that first", {"drop t"}),
}  # fmt: skip


@pytest.mark.parametrize("change", FOR_DEPENDENTS)
@pytest.mark.parametrize("statement", BLOCKING)
def test_what_postgresql_would_refuse_is_reported_before(connection: Connection, statement: str, change: str) -> None:
    tables = Tables(connection, defined(*BEFORE_DEPENDENTS))
    tables.run("INSERT INTO r_t (a) VALUES ('1')", statement)
    try:
        name, blocks = BLOCKING[statement]
        plan = tables.plan(FOR_DEPENDENTS[change]())
        assert bool(plan.blockers) == (change in blocks)
        # before PostgreSQL 16 the columns of a view are written with their table
        assert all(name in blocker.replace(" r_t.", " ") for blocker in plan.blockers[:1]), plan.blockers
        with connection.cursor() as cursor, pytest.raises(psycopg2.Error) if plan.blockers else nullcontext():
            for step in plan.steps:
                cursor.execute(step.sql)
        connection.rollback()
        if plan.blockers:
            with pytest.raises(RefusedError, match="PostgreSQL would refuse this plan"):
                apply(connection, plan, table_prefix="fbs_", allowed=frozenset(Hazard))
    finally:
        connection.rollback()
        tables.run("DROP TABLE IF EXISTS r_t, r_o CASCADE", "DROP PUBLICATION IF EXISTS p")
        tables.run("DROP TABLE IF EXISTS mine; DROP FUNCTION IF EXISTS f CASCADE")


def test_what_goes_with_a_column_is_reported_and_comes_back(connection: Connection) -> None:
    mine = (
        "CREATE INDEX two ON r_t (b, a)",
        "CREATE INDEX upper_a ON r_t (upper(a))",
        "CREATE UNIQUE INDEX part ON r_t (b) WHERE a = 'x'",
        "ALTER TABLE r_t ADD CONSTRAINT apart EXCLUDE USING btree (a WITH =)",
        "ALTER TABLE r_t ADD CONSTRAINT short CHECK (length(a) < 9)",
        "CREATE STATISTICS both_of_t ON a, b FROM r_t",
        "GRANT SELECT (a), UPDATE (a) ON r_t TO PUBLIC",
        "COMMENT ON COLUMN r_t.a IS 'it''s mine'",
    )
    tables = Tables(connection, defined(*BEFORE_DEPENDENTS))
    tables.run("INSERT INTO r_t (a, b) VALUES ('x', 'y')", *mine)
    before = picture(connection), tables.run(ATTACHED)
    plan = tables.plan(FOR_DEPENDENTS["drop a"]())
    notes = "\n".join(plan.notes)
    assert plan.blockers == ()
    for word in (
        "two",
        "upper_a",
        "part",
        "apart",
        "short",
        "CREATE STATISTICS",
        "GRANT SELECT (a), UPDATE (a) ON r_t TO PUBLIC",
        "it''s mine",
    ):
        assert word in notes
    tables.carry_out(plan)
    assert (picture(connection), tables.run(ATTACHED)) != before
    assert tables.undo().not_reverted == ()
    assert (picture(connection), tables.run(ATTACHED)) == before
    assert tables.run("SELECT a, b FROM r_t") == [("x", "y")]


ATTACHED = """
SELECT attacl::text FROM pg_attribute WHERE attrelid = 'r_t'::regclass AND attname = 'a'
UNION ALL SELECT count(*)::text FROM pg_statistic_ext WHERE stxrelid = 'r_t'::regclass
"""


def _columns(*names: str) -> list[Any]:
    return [lambda name=name: Column(name, Text) for name in names]


def test_archived_values_of_recreated_objects_are_noted(connection: Connection) -> None:
    tables = Tables(connection, defined(table("t", *_columns("a"))))
    tables.run("CREATE TABLE fbs_retired_r_t__b (id INT, b TEXT); CREATE TABLE fbs_retired_r_o (id INT)")
    try:
        plan = tables.plan(defined(table("t", *_columns("a", "b")), table("o", *_columns("a"))))
        assert plan.notes == (
            "r_t.b: the former values are archived in fbs_retired_r_t__b",
            "r_o: the former values are archived in fbs_retired_r_o",
        )
    finally:
        tables.run("DROP TABLE fbs_retired_r_t__b, fbs_retired_r_o")


# mirrored models


def field(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "stored": True, **more}


def test_reasons_name_the_field_and_the_model(connection: Connection) -> None:
    tags = field("many2many", relation="sale.tag")
    before = defined(
        sale__order={"note": field("text"), "name": field("char"), "xmin": field("char"), "tag_ids": tags},
        sale__tag={"name": field("char")},
    )
    after = defined(
        sale__order={
            "name": field("char", required=True),
            "partner_id": field("many2one", relation="sale.partner"),
            "xmin": field("text"),
            "state": field("selection"),
        },
        sale__partner={"name": field("char")},
    )
    tables = Tables(connection, before)
    tables.run("INSERT INTO r_sale_tag (odoo_id) VALUES (1); INSERT INTO r_sale_order (odoo_id, name) VALUES (1, 'x')")
    plan = tables.plan(after)
    reasons = {f"{step.kind} {step.table}": step.reason for step in plan.steps}
    assert reasons["drop_column r_sale_order"] == "sale.order.note of Odoo is no longer mirrored, or no longer exists"
    assert reasons["set_not_null r_sale_order"] == "sale.order.name of Odoo is required"
    assert reasons["retype_column r_sale_order"] == "sale.order.xmin of Odoo has the type text"
    assert reasons["comment r_sale_order"] == "sale.order of Odoo has new comments"
    assert reasons["create_table r_sale_partner"] == "New mirrored model sale.partner"
    assert reasons["comment r_sale_partner"] == "sale.partner of Odoo has new comments"
    assert (
        reasons["drop_table r_sale_order__tag_ids"]
        == "sale.order.tag_ids of Odoo is no longer mirrored, or no longer exists"
    )
    if connection.info.server_version >= NOT_ENFORCED_SINCE:
        assert reasons["add_foreign_key r_sale_order"].startswith("sale.order.partner_id of Odoo has the foreign key")
    tables.migrate(after)
    assert tables.owned == ("r_sale_order", "r_sale_partner")
    tables.migrate(before)
    assert picture(connection) == fresh_picture(connection, before)


# cut off

FIRST = defined(
    table("o", lambda: Column("code", Integer), lambda: Column("gone", Text)),
    table(
        "t",
        lambda: Column("a", String(9), index=True),
        lambda: Column("b", Integer, ForeignKey("o.id"), nullable=False),
        lambda: Column("old", Text),
        lambda: CheckConstraint("b > 0"),
    ),
    table("past", lambda: Column("t_id", Integer, ForeignKey("t.id"))),
)
LAST = defined(
    table("o", lambda: Column("code", Integer, unique=True, nullable=False), lambda: Column("next", Text)),
    table(
        "t",
        lambda: Column("a", String(5), unique=True),
        lambda: Column("b", BigInteger, ForeignKey("o.id", ondelete="CASCADE")),
        lambda: Column("new", Text),
        lambda: Column("u", Uuid, server_default=text("gen_random_uuid()"), nullable=False),
        lambda: Column("o_code", Integer, ForeignKey("o.code")),
        lambda: CheckConstraint("b >= 0"),
        lambda: Index("ab", "a", "b"),
    ),
    table("late", lambda: Column("t_id", Integer, ForeignKey("t.id")), lambda: Column("o", Integer, ForeignKey("o.code"))),
)  # fmt: skip


def _begun(connection: Connection) -> Tables:
    tables = Tables(swept(connection), FIRST)
    tables.run(
        "INSERT INTO r_o (code, gone) VALUES (1, 'x'), (2, 'y')",
        "INSERT INTO r_t (a, b, old) VALUES ('x', 1, 'keep'), ('y', 2, 'this')",
        "INSERT INTO r_past (t_id) VALUES (1)",
    )
    return tables


@pytest.mark.parametrize("renames", [(), ("r_t.old=new",)], ids=["", "renamed"])
def test_cut_off_between_any_two_transactions_it_goes_on(connection: Connection, renames: tuple[str, ...]) -> None:
    reference = fresh_picture(connection, LAST)
    steps = _begun(connection).plan(LAST, *renames).steps
    assert len(steps) > 20
    modes = [Mode.ALONE, *(step.mode for step in steps), Mode.ALONE]
    cuts = [number for number, both in enumerate(pairwise(modes)) if set(both) != {Mode.TRANSACTION}]
    assert len(cuts) > 6
    for number in cuts:
        tables = _begun(connection)
        tables.apply_some(steps[:number])
        # what a cut-off one had to be allowed is all that its rest has to be
        allowed = {Hazard.DELETES_DATA, Hazard.REWRITES_TABLE, Hazard.LONG_LOCK, Hazard.POSSIBLE_RENAME}
        assert needed(tables.plan(LAST, *renames), but=allowed) == set()
        tables.migrate(LAST, *renames)
        assert picture(connection) == reference
        assert tables.run("SELECT a, b FROM r_t ORDER BY id") == [("x", 1), ("y", 2)]
        if renames:
            assert tables.run("SELECT new FROM r_t ORDER BY id") == [("keep",), ("this",)]


@pytest.mark.parametrize("emptied", [True, False], ids=["empty", "filled"])
def test_a_way_back_for_each_step(connection: Connection, *, emptied: bool) -> None:
    tables = _begun(connection)
    tables.run("TRUNCATE r_t, r_o, r_past" if emptied else "SELECT 1")
    was = picture(connection), tables.rows()
    plan = tables.plan(LAST)
    assert all(step.reversible for step in plan.steps)
    tables.carry_out(plan)
    assert tables.undo().not_reverted == ()
    assert (picture(connection), tables.rows()) == was
    assert tables.plan(FIRST).empty


@pytest.mark.parametrize("damaged", [{"r_t": {}}, {"r_t": {"columns": {"a": ["text"]}, "keys": []}}])
def test_a_damaged_manifest_is_rejected(connection: Connection, damaged: dict[str, Any]) -> None:
    tables = Tables(connection, FIRST)
    tables.last_applied = damaged
    with pytest.raises(DatabaseError, match="is damaged"):
        tables.plan(FIRST)


def run_script(connection: Connection, plan: Plan) -> None:
    info = connection.info
    place = ["-h", info.host, "-p", str(info.port), "-U", info.user, "-d", info.dbname]
    written = script(plan.to_dict())
    subprocess.run([postgres_binaries() / "psql", "-qX", *place], input=written, text=True, check=True)


def test_an_undo_is_a_script_for_psql(connection: Connection) -> None:
    tables = _begun(connection)
    before = picture(connection), tables.rows()
    tables.carry_out(tables.plan(LAST))
    run_script(connection, tables.planned_undo().plan)
    assert (picture(connection), tables.rows()) == before


def test_a_plan_is_a_script_for_psql(connection: Connection) -> None:
    before = defined(table("o", *_columns("a")), table("t", *_columns("a", "gone"), lambda: Column("n", Integer)))
    after = defined(
        table(
            "t",
            lambda: Column("a", String(9), index=True),
            lambda: Column("n", BigInteger, nullable=False, server_default=text("7")),
            lambda: Column("u", Uuid, nullable=False, server_default=text("gen_random_uuid()")),
        )
    )
    tables = Tables(connection, before)
    tables.run(
        "INSERT INTO r_t (a, gone, n) SELECT 'a', 'x', i FROM generate_series(1, 12345) i",
        "INSERT INTO r_o (a) VALUES ('b')",
    )
    plan = tables.plan(after)
    assert "-- Transaction 1" in script(plan.to_dict())
    run_script(connection, plan)
    assert picture(connection) == fresh_picture(connection, after)
    assert tables.plan(after).empty
    assert tables.run("SELECT count(DISTINCT u), count(*) FROM r_t") == [(12345, 12345)]
    assert tables.run("SELECT count(*) FROM fbs_retired_r_t__gone") == [(12345,)]
    assert tables.run("SELECT a FROM fbs_retired_r_o") == [("b",)]
