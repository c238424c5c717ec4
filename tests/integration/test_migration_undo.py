"""The last migration is undone: what was there is there again, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB

from fbs_worker.core.errors import DatabaseError, RefusedError
from fbs_worker.core.postgres import Connection
from fbs_worker.migration.model.plan import Mode
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.system_tables import system_statements
from tests.support.migrating import step
from tests.support.planned import Tables, defined, hazards, needed, picture, swept, table, with_system

pytestmark = pytest.mark.postgres

Part = Callable[[], Any]


def col(name: str, kind: Any, *more: Any, **options: Any) -> Part:
    return lambda: Column(name, kind, *more, **options)


NAME, NOTE, CODE = col("name", String(100), nullable=False), col("note", Text, index=True), col("code", String(50))
PHONE = col("phone", Text)
STATE = col("state", String(20), nullable=False, server_default="open", index=True)
LEASE = table("lease", col("tenant_id", Integer, nullable=False))
OLD = table("old", lambda: Column("tenant_id", Integer, ForeignKey("tenant.id")), col("said", Text, unique=True))


def tenant(*columns: Part, others: Any = (LEASE, OLD)) -> Definition:
    return defined(table("tenant", *columns), *others)


BEFORE = tenant(NAME, NOTE, CODE)
WITHOUT_NOTE = tenant(NAME, CODE)
WITH_PHONE = tenant(NAME, NOTE, CODE, PHONE)
ROWS = (
    "INSERT INTO r_tenant (name, note, code) SELECT 'n' || i, 'note ' || i, 'c' || i FROM generate_series(1, 120) i",
    "INSERT INTO r_lease (tenant_id) SELECT i FROM generate_series(1, 120) i",
    "INSERT INTO r_old (tenant_id, said) SELECT i, 's' || i FROM generate_series(1, 30) i",
)


@pytest.fixture
def connection(shared: Connection) -> Connection:
    return swept(shared)


@pytest.fixture
def tables(connection: Connection) -> Iterator[Tables]:
    """Three tables with rows."""
    made = Tables(connection, BEFORE)
    made.run(*ROWS)
    yield made
    connection.rollback()


def other(connection: Connection, definition: Definition, *statements: str) -> Tables:
    made = Tables(swept(connection), definition)
    made.run(*statements)
    return made


def migrate(tables: Tables, definition: Definition, *renames: str) -> str:
    return tables.carry_out(tables.plan(definition, *renames)).run


def everything(tables: Tables) -> Any:
    """Tables, whatever the order of their columns, their rows, and the names of keys and indexes."""
    names = "SELECT conname FROM pg_constraint WHERE conrelid::regclass::text LIKE 'r\\_%' AND contype <> 'n'"
    names += " UNION SELECT indexname FROM pg_indexes WHERE tablename LIKE 'r\\_%' ORDER BY 1"
    return picture(tables.connection), tables.rows(), tables.run(names)


def retired(tables: Tables) -> list[str]:
    return [
        name
        for (name,) in tables.run(
            "SELECT relname FROM pg_class WHERE relname LIKE 'fbs\\_retired\\_%' AND relkind = 'r'"
        )
    ]


def test_everything_is_as_it_was(tables: Tables) -> None:
    before, state = everything(tables), (tables.last_applied, tables.owned)
    new = table("new", col("said", Text))
    key = table("lease", lambda: Column("tenant_id", Integer, ForeignKey("tenant.id"), nullable=False))
    migrate(tables, tenant(NAME, CODE, PHONE, STATE, others=(key, new)))
    assert everything(tables) != before
    found = tables.planned_undo()
    assert {one.table: one.changes[0] for one in found.plan.summary} == {
        "r_lease": "- foreign key (tenant_id) to r_tenant",
        "r_new": "- table",
        "r_old": "+ table",
        "r_tenant": "+ note text",
    }
    assert {(one.table, one.rows is None or one.rows > 0) for one in found.plan.summary if one.bytes} >= {
        ("r_old", True)
    }
    assert all(one.reason.startswith("undo: ") for one in found.plan.steps)
    tables.undo(found)
    assert found.not_reverted == ()
    assert everything(tables) == before
    assert (found.plan.schema, set(found.plan.tables)) == (state[0], set(state[1]))
    assert tables.run("SELECT DISTINCT status FROM fbs_schema_migrations") == [("executed",)]
    assert retired(tables) == ["fbs_retired_r_tenant__state"]  # rows were given its default
    assert tables.plan(BEFORE).empty


def test_what_was_written_since_goes_only_when_that_is_allowed_and_is_kept(tables: Tables) -> None:
    migrate(tables, tenant(NAME, NOTE, CODE, PHONE, others=(LEASE, OLD, table("new"))))
    assert needed(tables.planned_undo().plan) == set()
    tables.run("UPDATE r_tenant SET phone = '1' WHERE id = 7", "INSERT INTO r_new DEFAULT VALUES")
    with pytest.raises(RefusedError, match="DELETES_DATA"):
        tables.undo(allowed=())
    tables.undo()
    assert tables.run("SELECT * FROM fbs_retired_r_tenant__phone") == [(7, "1")]
    assert tables.run("SELECT count(*) FROM fbs_retired_r_new") == [(1,)]


def test_a_value_that_comes_while_it_is_undone_is_kept(tables: Tables) -> None:
    migrate(tables, WITH_PHONE)
    found = tables.planned_undo()
    tables.run("UPDATE r_tenant SET phone = '1' WHERE id = 7")
    tables.undo(found, allowed=())
    assert tables.run("SELECT * FROM fbs_retired_r_tenant__phone") == [(7, "1")]


def test_a_column_comes_back_with_its_values_and_keys(connection: Connection) -> None:
    note = col("note", Text, unique=True, nullable=False, server_default="none", comment="It's said")
    short = (note, lambda: CheckConstraint("length(note) < 10", name="short"))
    said = table("old", lambda: Column("said", Text, ForeignKey("tenant.note")))
    tables = other(
        connection, tenant(NAME, *short, others=(said,)), ROWS[0].replace(", code", "").replace(", 'c' || i", "")
    )
    before = everything(tables)
    migrate(tables, tenant(NAME, others=(table("old", col("said", Text)),)))
    assert tables.undo().not_reverted == ()
    assert everything(tables) == before


def test_rows_that_came_since(connection: Connection) -> None:
    """They get the default; without one NULL has to be allowed."""
    note, code = col("note", Text, nullable=False), col("code", String(50), nullable=False, server_default="c?")
    before = tenant(NAME, note, code)
    tables = other(connection, before, *ROWS)
    migrate(tables, tenant(NAME))
    tables.run(
        "INSERT INTO r_tenant (id, name) VALUES (1000, 'new')", "DELETE FROM r_old", "DELETE FROM r_tenant WHERE id = 3"
    )
    found = tables.undo()
    assert found.not_reverted == ("r_tenant.note stays nullable: 1 rows inserted since have no value.",)
    assert tables.run("SELECT note, code FROM r_tenant WHERE id IN (1, 2, 1000) ORDER BY id") == [
        ("note 1", "c1"), ("note 2", "c2"), (None, "c?")
    ]  # fmt: skip
    assert tables.run("SELECT attname FROM pg_attribute WHERE attrelid = 'r_tenant'::regclass AND attnotnull"
                      " AND attnum > 0 ORDER BY 1") == [("code",), ("id",), ("name",)]  # fmt: skip
    assert tables.run("SELECT id, note FROM fbs_retired_r_tenant__note") == [(3, "note 3")]  # its row is gone
    again = tables.plan(before)  # what the undo left is no change by hand
    assert (again.drift, hazards(again)) == ((), {"MIGHT_FAIL_ON_DATA"})


def test_many_values_come_back_in_batches(tables: Tables) -> None:
    tables.run("INSERT INTO r_tenant (name, note) SELECT 'n', 'more ' || i FROM generate_series(1, 5000) i")
    before = tables.rows()
    migrate(tables, WITHOUT_NOTE)
    tables.undo()
    assert tables.rows() == before
    assert retired(tables) == []


def test_values_that_come_back_are_counted(connection: Connection) -> None:
    """Two rows have one value by then: the key that comes back does not let them."""
    tables = other(
        connection,
        tenant(NAME, col("note", Text, unique=True)),
        ROWS[0].replace(", code", "").replace(", 'c' || i", ""),
    )
    migrate(tables, tenant(NAME))
    tables.run("UPDATE fbs_retired_r_tenant__note SET note = 'note 1' WHERE id IN (2, 3)")
    with pytest.raises(RefusedError, match="3 rows: CREATE UNIQUE INDEX"):
        tables.undo()
    assert retired(tables) == ["fbs_retired_r_tenant__note"]


def test_a_narrowed_column_gets_its_values_back_but_for_those_written_since(connection: Connection) -> None:
    tables = other(
        connection,
        tenant(col("rent", Numeric(8, 4), server_default=text("0.1234")), NAME),
        "INSERT INTO r_tenant (name, rent) SELECT 'n', i / 9.0 FROM generate_series(1, 90) i",
    )
    before, shape = dict(tables.run("SELECT id, rent FROM r_tenant")), picture(connection)
    migrate(tables, tenant(col("rent", Numeric(8, 2), server_default=text("0.12")), NAME))
    tables.run("UPDATE r_tenant SET rent = 7 WHERE id = 50", "UPDATE r_tenant SET name = 'y' WHERE id = 60")
    assert tables.undo().not_reverted == ()
    assert dict(tables.run("SELECT id, rent FROM r_tenant")) == {**before, 50: Decimal(7)}
    assert tables.run("SELECT id, rent FROM fbs_retired_r_tenant__rent") == [(50, Decimal("5.5556"))]
    assert picture(connection) == shape


@pytest.mark.parametrize(
    ("wide", "narrow", "values"),
    [
        (Numeric(10, 4), Numeric(10, 2), "1.23456 * i"),
        (Double(), Integer, "i + 0.4"),
        (Text, Integer, "'007'"),
        (String(4), Numeric(8, 4), "'1234'"),
        (JSONB, Integer, "'\"7\"'::jsonb"),
        (DateTime, Date, "'2024-02-29 12:34:56.789'::timestamp"),
    ],
)  # fmt: skip
def test_types_that_lose_something(connection: Connection, wide: Any, narrow: Any, values: str) -> None:
    tables = other(
        connection, tenant(col("b", wide)), f"INSERT INTO r_tenant (b) SELECT {values} FROM generate_series(1, 9) i"
    )
    before = everything(tables)
    migrate(tables, tenant(col("b", narrow)))
    assert everything(tables) != before
    assert tables.undo().not_reverted == ()
    assert everything(tables) == before
    assert retired(tables) == []


def test_what_does_not_fit_the_former_type_is_not_cut(connection: Connection) -> None:
    tables = other(connection, tenant(col("said", String(4))), "INSERT INTO r_tenant (said) VALUES ('1234')")
    migrate(tables, tenant(col("said", Numeric(12, 4))))
    tables.run("INSERT INTO r_tenant (said) VALUES (12345678)")
    assert "not every value fits character varying(4)" in tables.undo().not_reverted[0]
    assert tables.run("SELECT said FROM r_tenant ORDER BY id") == [(Decimal(1234),), (Decimal(12345678),)]
    assert tables.plan(tenant(col("said", Numeric(12, 4)))).drift == ()


@pytest.mark.parametrize(
    ("small", "large", "values"),
    [(String(50), String(80), "'x'"), (Integer, BigInteger, "7"), (Numeric(6, 2), Numeric(9, 2), "1.25")],
)
def test_a_widening_is_undone_as_the_change_that_it_is(
    connection: Connection, small: Any, large: Any, values: str
) -> None:
    """With the hazards, the time and the counts that the same change has when it is planned forwards."""
    first, second = tenant(col("b", small)), tenant(col("b", large))
    tables = other(connection, first, f"INSERT INTO r_tenant (b) VALUES ({values})")
    migrate(tables, second)
    undo, forwards = tables.planned_undo().plan, tables.plan(first)
    assert needed(undo) == {"REWRITES_TABLE", "LONG_LOCK"}
    compared = [
        [(one.sql, one.hazards, one.lock, one.mode, one.takes_long, one.check) for one in plan.steps]
        for plan in (undo, forwards)
    ]
    assert compared[0] == compared[1]
    with pytest.raises(RefusedError, match="REWRITES_TABLE"):
        tables.undo(allowed=())
    tables.undo()
    assert tables.plan(first).empty


def test_keys_come_back(connection: Connection) -> None:
    positive = table("lease", col("tenant_id", Integer), lambda: CheckConstraint("tenant_id > 0", name="positive"))
    key = lambda: UniqueConstraint("code", name='c "1"', deferrable=True)  # noqa: E731
    tables = other(
        connection,
        tenant(col("name", String(100)), NOTE, col("code", String(50), nullable=False), key, others=(positive,)),
        *ROWS[:2],
    )
    before = everything(tables)
    after = tenant(
        col("name", String(100), unique=True),
        col("remark", Text),
        CODE,
        lambda: Index("by", "code", "name"),
        others=(table("lease", col("tenant_id", Integer)),),
    )
    migrate(tables, after, "r_tenant.note=remark")
    found = tables.planned_undo()
    assert {one.mode for one in found.plan.steps} == {Mode.TRANSACTION, Mode.ALONE}
    assert found.plan.unallowed_hazards(()) == frozenset()
    tables.undo(found, allowed=())
    assert everything(tables) == before


def test_renamed_columns_with_archived_values(connection: Connection) -> None:
    """The values of a retyped column come back though its name, and that of a column beside it, change, too."""
    tables = other(
        connection,
        tenant(col("rent", Numeric(8, 4)), NAME),
        "INSERT INTO r_tenant (name, rent) SELECT 'n', i / 9.0 FROM generate_series(1, 9) i",
    )
    before = everything(tables)
    migrate(
        tables,
        tenant(col("price", Numeric(8, 2)), col("title", String(100), nullable=False)),
        "r_tenant.rent=price",
        "r_tenant.name=title",
    )
    assert tables.undo().not_reverted == ()
    assert everything(tables) == before


def test_what_went_with_the_columns_of_an_empty_table(connection: Connection) -> None:
    mine = (
        "CREATE STATISTICS both_of ON note, code FROM r_tenant",
        "GRANT SELECT (note) ON r_tenant TO PUBLIC",
        "ALTER TABLE r_tenant ADD COLUMN mine INTEGER",
        "CREATE INDEX mine ON r_tenant (lower(note), mine)",
    )
    tables = other(connection, BEFORE, *mine)
    kept = "SELECT attacl::text FROM pg_attribute WHERE attname = 'note' UNION SELECT stxname FROM pg_statistic_ext"
    before = everything(tables), tables.run(kept)
    migrate(tables, WITHOUT_NOTE)
    tables.undo()
    assert (everything(tables), tables.run(kept)) == before


# what stays


def test_changes_not_reverted_are_reported(connection: Connection) -> None:
    lease = [
        table("lease", col("data", kind), col("n", Integer, unique=unique))
        for kind, unique in ((JSON, True), (Text, False))
    ]
    tables = other(
        connection,
        tenant(NAME, NOTE, col("code", String(50), nullable=False), others=(lease[0], OLD)),
        *ROWS[::2],
        "INSERT INTO r_lease (data) VALUES ('{}')",
    )
    migrate(tables, tenant(NAME, CODE, PHONE, others=(lease[1],)))
    tables.run(
        "UPDATE r_tenant SET code = NULL WHERE id < 4",
        "DROP TABLE fbs_retired_r_tenant__note",
        "CREATE TABLE r_old (id SERIAL PRIMARY KEY)",
        "ALTER TABLE r_tenant DROP COLUMN phone",
    )
    found = tables.undo()
    assert set(found.not_reverted) == {
        "r_old exists again; the former table stays in fbs_retired_r_old.",
        "r_lease: retype column is not reverted (not reversible): data: json → text.",
        "r_lease: the unique key (n) is not restored: a column keeps its new type.",
        "r_tenant.code stays nullable: 3 rows have no value.",
        "r_tenant.note: its archive table fbs_retired_r_tenant__note no longer exists.",
        "r_tenant: the index on (note) is not restored: a column does not come back.",
    }
    assert found.to_dict()["cannot"] == list(found.not_reverted)
    assert found.plan.empty
    assert set(found.plan.tables) == {"r_lease", "r_tenant"}
    assert "note" not in found.plan.schema["r_tenant"]["columns"]
    assert found.plan.schema["r_lease"]["columns"]["data"][0] == "text"
    assert [key[0] for key in found.plan.schema["r_lease"]["keys"]] == ["p"]


def test_what_users_keys_refer_to_is_gone(tables: Tables) -> None:
    tables.run(
        "CREATE SCHEMA IF NOT EXISTS aside",
        "CREATE TABLE aside.mine (note TEXT UNIQUE); CREATE TABLE r_mine (note TEXT UNIQUE)",
        "UPDATE r_tenant SET note = NULL",
        "ALTER TABLE r_tenant ADD FOREIGN KEY (note) REFERENCES aside.mine (note)",
        "ALTER TABLE r_tenant ADD FOREIGN KEY (note) REFERENCES r_mine (note)",
    )
    migrate(tables, WITHOUT_NOTE)
    tables.run("DROP TABLE r_mine; DROP SCHEMA aside CASCADE")
    found = tables.undo()
    assert [line.rpartition(": ")[2] for line in found.not_reverted] == [
        "the table that it refers to is not there."
    ] * 2
    assert tables.plan(BEFORE).empty


def test_a_column_that_is_there_again_as_another(tables: Tables) -> None:
    migrate(tables, WITHOUT_NOTE)
    tables.run("ALTER TABLE r_tenant ADD COLUMN note INTEGER")
    assert tables.planned_undo().not_reverted == (
        "r_tenant.note exists again, as integer; the former values stay in fbs_retired_r_tenant__note.",
    )


def test_what_was_changed_by_hand_since_has_to_be_allowed(tables: Tables) -> None:
    """A user's own column, and one of the migration that a user gave another type."""
    migrate(tables, WITH_PHONE)
    tables.run("ALTER TABLE r_tenant ADD mine INTEGER, ALTER phone TYPE varchar(9)")
    assert needed(tables.planned_undo().plan) == {"DRIFT"}
    tables.undo()
    assert "mine" in str(picture(tables.connection)["r_tenant"])


def test_a_system_table_stays(tables: Tables) -> None:
    migrate(tables, with_system(WITH_PHONE))
    tables.run("DROP INDEX fbs_schema_migrations_status_idx")
    migrate(tables, with_system(WITH_PHONE))
    found = tables.planned_undo()
    assert found.plan.empty
    assert "this version of FBS" in found.not_reverted[0]


# which migration


def test_one_after_the_other(tables: Tables) -> None:
    """Each migration can be undone once, the newest first; an undo is not undone."""
    with pytest.raises(RefusedError, match="has no migration to undo"):
        tables.undo()
    before, without_old = everything(tables), tenant(NAME, NOTE, CODE, others=(LEASE,))
    first = migrate(tables, without_old)
    migrate(tables, BEFORE)
    assert [one.kind for one in tables.planned_undo().plan.steps][-1] == "drop_table"
    tables.undo(allowed=())
    assert tables.undo().run == first
    assert everything(tables) == before
    with pytest.raises(RefusedError, match="has no migration to undo"):
        tables.undo()
    migrate(tables, without_old)
    tables.undo()
    assert everything(tables) == before


@pytest.mark.parametrize("last", [1, None])
def test_a_failed_migration_is_undone_as_far_as_it_came(tables: Tables, last: int | None) -> None:
    before, state = everything(tables), (tables.owned, tables.last_applied)
    plan = tables.plan(tenant(NAME, col("code", Text), PHONE, others=(LEASE,)))
    with pytest.raises(DatabaseError):
        tables.carry_out(
            replace(plan, steps=(*plan.steps[:last], step("VACUUM", mode=Mode.ALONE), step("SELECT 1 / 0")))
        )
    tables.owned, tables.last_applied = state
    tables.undo()
    assert everything(tables) == before
    with pytest.raises(RefusedError, match="has no migration to undo"):
        tables.undo()


def test_a_migration_of_an_earlier_version(tables: Tables) -> None:
    """Its journal has no column for facts; the next migration adds it, and can be undone."""
    tables.run(
        *system_statements("fbs_")["fbs_schema_migrations"],
        "ALTER TABLE fbs_schema_migrations DROP facts",
        "INSERT INTO fbs_schema_migrations (solution_name, migration_type, table_name, sql_statement, status, executed_at)"
        " VALUES ('testing', 'add_column', 'r_tenant', E'ALTER …\\n-- why\\n-- fbs: {\"run\": \"ab\", \"undo\": \"x\"}', 'executed', now())",
    )
    with pytest.raises(RefusedError, match="applied by an earlier version of FBS") as caught:
        tables.undo()
    assert "fbs migrate" in caught.value.hint
    before = everything(tables)
    migrate(tables, WITH_PHONE)
    assert tables.plan(WITH_PHONE).empty
    tables.undo()
    assert everything(tables) == before
    with pytest.raises(RefusedError, match="applied by an earlier version of FBS"):
        tables.undo()
