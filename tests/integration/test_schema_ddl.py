"""Tables are created, looked at and dropped on a real PostgreSQL, and nothing of others is touched."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from fbs_worker.core import errors
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.domains import Domain, load_domain
from fbs_worker.schema import create
from fbs_worker.schema.definition import define
from fbs_worker.schema.model import NOT_ENFORCED_SINCE
from fbs_worker.schema.system_tables import ensure_tables, missing_tables
from tests.support.recorded_models import recorded_models
from tests.support.rental_tables import RENTAL, SYSTEM, everything, rental, run
from tests.support.together import Meet, together

# creating


def test_a_set_up_makes_everything_once(connection: Connection) -> None:
    definition = rental()
    with connection:
        planned = create.plan(connection, definition, owned=())
        report = create.create(connection, definition, owned=())
    assert report == planned
    assert report.created == (*SYSTEM, *RENTAL)
    assert (report.existing, report.pending, report.changed) == ((), (), True)
    before = everything(connection)
    with connection:
        again = create.create(connection, definition, owned=RENTAL)
        assert create.plan(connection, definition, owned=RENTAL) == again
    assert again.to_dict() == {"created": [], "existing": [*SYSTEM, *RENTAL], "pending": [], "changed": False}
    assert everything(connection) == before


def test_the_statements_run_by_themselves(connection: Connection) -> None:
    definition = rental()
    for statement in create.statements(definition):
        run(connection, statement)
    with connection:
        assert not create.create(connection, definition, owned=RENTAL).changed


def test_what_is_rolled_back_leaves_nothing(connection: Connection) -> None:
    before = everything(connection)
    create.create(connection, rental(), owned=())
    connection.rollback()
    assert everything(connection) == before


def test_only_what_is_missing_is_made(connection: Connection) -> None:
    with connection:
        create.create(connection, rental(), owned=())
    run(connection, "DROP TABLE r_payment, r_tenant, fbs_snapshots CASCADE")
    with connection:
        report = create.create(connection, rental(), owned=RENTAL)
    assert report.created == ("fbs_snapshots", "r_tenant", "r_payment")
    assert report.pending == (
        "r_lease: the foreign key (tenant_id) to r_tenant is missing",
        "r_maintenance: the foreign key (tenant_id) to r_tenant is missing",
    )
    with connection:
        assert create.plan(connection, rental(), owned=RENTAL).pending == report.pending


def test_solutions_side_by_side(connection: Connection) -> None:
    with connection:
        first = create.create(connection, rental("company_a_"), owned=())
        second = create.create(connection, rental("company_b_"), owned=())
        third = create.create(
            connection, define(load_domain("hr"), table_prefix="other_", business_prefix="company_a_"), owned=()
        )
    assert len(first.created) == 15
    assert second.existing == tuple(SYSTEM)
    assert second.created == tuple(name.replace("r_", "company_b_", 1) for name in RENTAL)
    assert len(third.created) == 12


def test_two_sessions_set_up_at_once(database: DatabaseConfig) -> None:
    def make(prefix: str, meet: Meet) -> int:
        with closing(connect(database)) as connection:
            meet()
            with connection:
                return len(create.create(connection, rental(prefix), owned=()).created)

    assert sorted(together(make, ("a_", "b_", "c_")), key=str) == [15, 5, 5]


def test_tables_that_another_session_makes_meanwhile_are_no_conflict(
    database: DatabaseConfig, connection: Connection
) -> None:
    """Between two statements of an inspection another session may commit what the first one did not find."""

    class Overtaken(psycopg2.extensions.cursor):
        def execute(self, *given: Any) -> None:
            super().execute(*given)
            if pending:
                with closing(connect(pending.pop())) as other:
                    ensure_tables(other, "fbs_")
                    other.commit()

    pending = [database]
    connection.cursor_factory = Overtaken
    assert missing_tables(connection, "fbs_")
    assert not pending
    assert not missing_tables(connection, "fbs_")


def test_the_loser_of_a_race_for_the_same_tables_gets_an_error(
    database: DatabaseConfig, connection: Connection
) -> None:
    """The tables were not there when it looked, and are there, of another, when it may go on."""
    create.create(connection, rental(), owned=())
    raised: list[errors.FBSError] = []

    def lose() -> None:
        with closing(connect(database, application_name="loser")) as other:
            try:
                create.create(other, rental(), owned=())
            except errors.FBSError as exc:
                raised.append(exc)

    thread = threading.Thread(target=lose)
    thread.start()
    with closing(connect(database)) as watching:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'loser' AND wait_event = 'advisory'"
        while thread.is_alive() and not run(watching, waiting):
            thread.join(0.01)
    connection.commit()
    thread.join()
    (error,) = raised
    assert isinstance(error, errors.ForeignTableError)
    assert error.context["tables"] == sorted(RENTAL)


def test_tables_that_may_not_be_made(connection: Connection) -> None:
    role = f"limited_{connection.info.dbname}"
    run(connection, f"CREATE ROLE {role}")
    try:
        run(connection, f"SET ROLE {role}")
        with pytest.raises(errors.DatabaseRightsMissing, match="may not create tables") as caught:
            create.create(connection, rental(), owned=())
        assert f'GRANT CREATE ON SCHEMA "public" TO "{role}"' in caught.value.hint
        connection.rollback()
        run(connection, "SET search_path = nowhere")
        with pytest.raises(errors.DatabaseRightsMissing, match="no schema"):
            create.create(connection, rental(), owned=())
    finally:
        connection.rollback()
        run(connection, "RESET ROLE")
        run(connection, f"DROP ROLE {role}")


# what others made

IN_THE_WAY = {
    "a table": "CREATE TABLE r_lease (id SERIAL PRIMARY KEY)",
    "an empty table": "CREATE TABLE r_lease ()",
    "a partitioned table": "CREATE TABLE r_lease (id INT) PARTITION BY RANGE (id)",
    "a view": "CREATE VIEW r_lease AS SELECT 1 AS id",
    "a materialized view": "CREATE MATERIALIZED VIEW r_lease AS SELECT 1 AS id",
    "a sequence": "CREATE SEQUENCE r_lease",
    "an index": "CREATE TABLE t (id INT); CREATE INDEX r_lease ON t (id)",
    "a composite type": "CREATE TYPE r_lease AS (id INT)",
    "an enum": "CREATE TYPE r_lease AS ENUM ('a')",
    "a domain": "CREATE DOMAIN r_lease AS INT",
    "a system table": "CREATE TABLE fbs_bi_dashboards (id INT)",
    "a system view": "CREATE VIEW fbs_solution_schemas AS SELECT 1 AS id",
    "one of ours with another column": None,
}


@pytest.mark.parametrize("statement", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_a_foreign_table_rejects_the_whole_setup(connection: Connection, statement: str | None) -> None:
    if statement is None:
        with connection:
            create.create(
                connection, define(Domain(name="d", title="D"), table_prefix="fbs_", business_prefix=""), owned=()
            )
        statement = "ALTER TABLE fbs_workflow_definitions ADD COLUMN mine INT"
    run(connection, statement)
    before = everything(connection)
    for look in (create.plan, create.create):
        with pytest.raises(errors.ForeignTableError) as caught, connection:
            look(connection, rental(), owned=())
        (name,) = caught.value.context["tables"]
        assert name in caught.value.message
        assert ("--table-prefix" in caught.value.hint) == name.startswith("fbs_")
        assert ("--business-prefix" in caught.value.hint) == name.startswith("r_")
        assert caught.value.exit_code == errors.EXIT_REFUSED
    assert everything(connection) == before


def test_all_name_conflicts_are_reported(connection: Connection) -> None:
    run(
        connection,
        "CREATE TABLE hr_employee (id INT); CREATE VIEW hr_department AS SELECT 1; CREATE TABLE fbs_snapshots ()",
    )
    definition = define(load_domain("hr"), table_prefix="fbs_", business_prefix="hr_")
    with pytest.raises(errors.ForeignTableError) as caught, connection:
        create.create(connection, definition, owned=["hr_department"])  # owned, but no table any more
    assert caught.value.context == {"tables": ["fbs_snapshots", "hr_department", "hr_employee"]}
    assert "'hr_department' (a view), 'hr_employee' (a table)" in caught.value.message
    assert "nothing was changed" in caught.value.message
    assert "--table-prefix and another --business-prefix" in caught.value.hint


def test_a_mirrored_table_of_odoo_itself_is_left_alone(connection: Connection) -> None:
    """An Odoo may live in the same database."""
    run(connection, "CREATE TABLE res_partner (id SERIAL PRIMARY KEY, name VARCHAR)")
    definition = rental("", res__partner={"name": {"type": "char", "stored": True}})
    with pytest.raises(errors.ForeignTableError, match="'res_partner'"), connection:
        create.create(connection, definition, owned=())


def test_relations_without_a_name_conflict(connection: Connection) -> None:
    run(connection, "CREATE SCHEMA other")
    run(connection, "CREATE TABLE other.r_lease (id INT)")
    run(connection, "CREATE TABLE property (id INT)")  # PostgreSQL calls the type of its arrays _property
    run(
        connection,
        "CREATE TABLE t (a INT); CREATE INDEX r_lease_property_id_idx ON t (a); CREATE SEQUENCE r_tenant_id_seq",
    )
    with connection:
        assert create.create(connection, rental(), owned=()).changed
        assert "_property" in create.create(connection, rental("_"), owned=()).created
        assert create.plan(connection, rental(), owned=RENTAL).pending == ()


def test_a_table_later_in_the_search_path_conflicts(connection: Connection) -> None:
    run(connection, "CREATE SCHEMA first; CREATE TABLE r_lease (id INT)")
    run(connection, "SET search_path = first, public")
    with pytest.raises(errors.ForeignTableError, match="'r_lease'"), connection:
        create.create(connection, rental(), owned=())


# what differs


def test_differences_are_reported_and_left_alone(connection: Connection) -> None:
    with connection:
        create.create(connection, rental(), owned=())
    for statement in (
        "ALTER TABLE r_property DROP COLUMN city, ALTER COLUMN zip_code TYPE TEXT, ALTER COLUMN state SET NOT NULL",
        "ALTER TABLE r_property ALTER COLUMN rent_amount TYPE NUMERIC(12, 2), ADD COLUMN mine INT",
        "ALTER TABLE r_tenant DROP CONSTRAINT r_tenant_email_key, ALTER COLUMN email DROP NOT NULL",
        "ALTER TABLE r_lease DROP CONSTRAINT r_lease_tenant_id_fkey",
        "ALTER TABLE r_payment DROP CONSTRAINT r_payment_pkey",
        "DROP INDEX r_lease_property_id_idx",
        "ALTER TABLE r_maintenance ALTER COLUMN status SET DEFAULT 'x'",
        "CREATE TABLE r_former (id INT)",
    ):
        run(connection, statement)
    before = everything(connection)
    with connection:
        report = create.create(connection, rental(), owned=[*RENTAL, "r_former", "r_gone"])
    assert report.created == ()
    assert report.pending == (
        "r_property: the column city (character varying(100)) is missing",
        "r_property: the column state is NOT NULL, not NULL allowed",
        "r_property: the column zip_code is text, not character varying(20)",
        "r_property: the column rent_amount is numeric(12,2), not numeric(10,2)",
        "r_tenant: the column email is NULL allowed, not NOT NULL",
        "r_tenant: the unique key (email) is missing",
        "r_lease: the foreign key (tenant_id) to r_tenant is missing",
        "r_lease: the index on (property_id) is missing",
        "r_maintenance: the column status has the default 'x'::character varying, not 'open'::character varying",
        "r_payment: the primary key (id) is missing",
        "r_former: the table is no longer part of the definition",
    )
    assert everything(connection) == before


def test_what_a_later_mirror_asks_of_an_older_one(connection: Connection) -> None:
    order = {
        "partner_id": {"type": "many2one", "stored": True, "relation": "res.partner"},
        "tag_ids": {"type": "many2many", "stored": True, "relation": "res.partner"},
    }
    with connection:
        first = rental(sale__order=order)
        create.create(connection, first, owned=())
        second = rental(sale__order=order, res__partner={"name": {"type": "char", "stored": True}})
        report = create.create(connection, second, owned=first.table_names)
    assert report.created == ("r_res_partner", "r_sale_order__tag_ids")
    link = "r_sale_order: the foreign key (partner_id) to r_res_partner NOT ENFORCED is missing"
    assert report.pending == (
        *([link] if connection.info.server_version >= NOT_ENFORCED_SINCE else []),
        "r_sale_order: the index on (partner_id) is missing",
    )


def test_models_of_an_odoo_can_be_mirrored(connection: Connection) -> None:
    models = recorded_models()
    chosen = {
        *list(models)[::5],
        *sorted(models, key=len)[-20:],
        *sorted(models, key=lambda name: len(str(models[name])))[-10:],
    }
    mirrored = {name: models[name] for name in models if name in chosen}
    definition = define(load_domain("generic"), table_prefix="fbs_", business_prefix="x" * 20, mirrored=mirrored)
    report = create.create(connection, definition, owned=())
    assert set(definition.mirrored.values()) < set(report.created)
    assert len(definition.mirrored) > 90
    assert all(len(name.encode()) <= 63 for name in definition.table_names)
    assert create.plan(connection, definition, owned=definition.table_names).pending == ()
    connection.rollback()


def test_errors_are_translated(database: DatabaseConfig, connection: Connection) -> None:
    with closing(connect(database)) as other:
        run(
            other,
            sql.SQL("SELECT pg_terminate_backend({})")
            .format(sql.Literal(connection.info.backend_pid))
            .as_string(other),
        )
    with pytest.raises(errors.DatabaseUnreachable):
        create.create(connection, rental(), owned=())
