"""Where row-level security hides rows, nothing is planned, applied, reverted or dropped."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, Text

from fbs_worker.core.errors import DatabaseRightsMissing
from fbs_worker.core.postgres import Connection
from fbs_worker.schema.table_stats import rows_in
from tests.support.planned import Tables, defined, table

pytestmark = pytest.mark.postgres

BEFORE = defined(table("t", lambda: Column("n", Integer), lambda: Column("note", Text)))
WITHOUT_COLUMN = defined(table("t", lambda: Column("n", Integer)))
WITHOUT_TABLE = defined()

HIDE = (
    "ALTER TABLE r_t ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE r_t FORCE ROW LEVEL SECURITY",
    "CREATE POLICY po ON r_t USING (n::text = current_setting('app.tenant', true))",
)


@pytest.fixture
def tables(connection: Connection) -> Iterator[Tables]:
    """Twenty rows in a table of a role that is no superuser."""
    role = f"plain_{secrets.token_hex(4)}"
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role}; GRANT CREATE, USAGE ON SCHEMA public TO {role}; SET ROLE {role}")
    made = Tables(connection, BEFORE)
    made.run("INSERT INTO r_t (n, note) SELECT i, 'note' FROM generate_series(1, 20) i")
    yield made
    connection.rollback()
    with connection, connection.cursor() as cursor:
        cursor.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("tenant", ["", "5"], ids=["none visible", "one visible"])
@pytest.mark.parametrize("after", [WITHOUT_TABLE, WITHOUT_COLUMN], ids=["table goes", "column goes"])
def test_hidden_rows_are_not_planned_away(tables: Tables, after: object, tenant: str) -> None:
    tables.run(*HIDE, f"SELECT set_config('app.tenant', '{tenant}', FALSE)")
    with pytest.raises(DatabaseRightsMissing, match='row-level security policy for table "r_t"') as caught:
        tables.plan(after)  # type: ignore[arg-type]
    assert "BYPASSRLS" in caught.value.hint
    with pytest.raises(DatabaseRightsMissing):
        rows_in(tables.connection, ["r_t"])
    tables.connection.rollback()


@pytest.mark.parametrize("after", [WITHOUT_TABLE, WITHOUT_COLUMN], ids=["table goes", "column goes"])
def test_rows_that_are_hidden_since_the_plan_are_not_removed(tables: Tables, after: object) -> None:
    plan = tables.plan(after)  # type: ignore[arg-type]
    tables.run(*HIDE)
    if after is WITHOUT_TABLE:  # it is archived as a whole, with its policies
        tables.carry_out(plan)
        tables.run("ALTER TABLE fbs_retired_r_t NO FORCE ROW LEVEL SECURITY")
        assert tables.run("SELECT count(*) FROM fbs_retired_r_t") == [(20,)]
        return
    with pytest.raises(DatabaseRightsMissing, match="row-level security"):
        tables.carry_out(plan)
    tables.run("ALTER TABLE r_t NO FORCE ROW LEVEL SECURITY")
    assert tables.run("SELECT count(note) FROM r_t") == [(20,)]


def test_an_undo_does_not_pass_by_hidden_rows(tables: Tables) -> None:
    tables.carry_out(tables.plan(WITHOUT_COLUMN))
    tables.run(*HIDE)
    with pytest.raises(DatabaseRightsMissing, match="row-level security"):
        tables.planned_undo()


def test_the_owner_of_a_table_without_force_sees_everything(tables: Tables) -> None:
    tables.run(HIDE[0], HIDE[2])
    assert tables.migrate(WITHOUT_COLUMN).steps
