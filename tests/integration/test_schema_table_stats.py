"""What tables hold is counted; a drop takes its own tables and nothing of others."""

from __future__ import annotations

import pytest

from fbs_worker.core import errors
from fbs_worker.core.postgres import Connection
from fbs_worker.domains import load_domain
from fbs_worker.schema import create, table_stats
from fbs_worker.schema.definition import define
from tests.support.rental_tables import RENTAL, SYSTEM, everything, rental, run


def test_rows_and_sizes(connection: Connection) -> None:
    with connection:
        assert table_stats.rows_in(connection, RENTAL) == {}
        create.create(connection, rental(), owned=())
    run(connection, "INSERT INTO r_property (property_name, rent_amount) SELECT 'x', n FROM generate_series(1, 3) AS n")
    with connection:
        assert table_stats.rows_in(connection, ["r_property", "r_tenant", "nowhere", "r_lease_id_seq"]) == {
            "r_property": 3,
            "r_tenant": 0,
        }
        sizes = table_stats.table_sizes(connection, ["r_tenant", "r_property"])
    assert [(dependent["table"], dependent["rows"]) for dependent in sizes] == [("r_tenant", 0), ("r_property", 3)]
    assert sizes[1]["bytes"] > sizes[0]["bytes"] > 0


def test_a_drop_takes_its_tables_and_no_others(connection: Connection) -> None:
    nothing = everything(connection)
    run(connection, "CREATE TABLE kept (id INT)")
    kept = everything(connection)
    definition = define(load_domain("hr"), table_prefix="fbs_", business_prefix="")
    with connection:
        create.create(connection, definition, owned=())
        assert table_stats.drop(connection, ["department", "nowhere", "employee"]) == ("department", "employee")
        assert table_stats.drop(connection, [table.name for table in definition.system]) == tuple(SYSTEM)
        assert table_stats.drop(connection, ["department"]) == ()
        assert table_stats.drop(connection, []) == ()
    assert everything(connection) == kept != nothing


OF_OTHERS = {
    "view": ("CREATE VIEW mine AS SELECT id FROM r_lease", "view mine"),
    "materialized view": ("CREATE MATERIALIZED VIEW mine AS SELECT * FROM r_lease", "materialized view mine"),
    "foreign key": ("CREATE TABLE mine (lease INT REFERENCES r_lease)", "on table mine"),
    "child": ("CREATE TABLE mine () INHERITS (r_lease)", "table mine"),
    "row type": ("CREATE TABLE mine (lease r_lease)", "column lease of table mine"),
    "function": ("CREATE FUNCTION mine(r_lease) RETURNS INT LANGUAGE sql AS 'SELECT 1'", "function mine(r_lease)"),
    "default": ("CREATE TABLE mine (id INT DEFAULT nextval('r_lease_id_seq'))", ""),  # PostgreSQL itself refuses
}


@pytest.mark.parametrize(("statement", "dependent"), OF_OTHERS.values(), ids=OF_OTHERS)
def test_dependent_objects_keep_a_table(connection: Connection, statement: str, dependent: str) -> None:
    with connection:
        create.create(connection, rental(), owned=())
    run(connection, statement)
    before = everything(connection)
    with pytest.raises(errors.FBSError) as caught, connection:
        table_stats.drop(connection, RENTAL)
    if dependent:
        assert isinstance(caught.value, errors.RefusedError)
        assert dependent in caught.value.message
        assert any(dependent in one for one in caught.value.context["dependents"])
    assert everything(connection) == before


def test_own_dependent_tables_are_dropped_together(connection: Connection) -> None:
    """Triggers, policies, rules and further indexes of the tables themselves."""
    with connection:
        create.create(connection, rental(), owned=())
    for statement in (
        "CREATE INDEX more ON r_lease (lease_start_date)",
        "CREATE POLICY p ON r_lease USING (tenant_id > 0)",
        "CREATE RULE quiet AS ON DELETE TO r_lease DO ALSO SELECT count(*) FROM r_tenant",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER t BEFORE INSERT ON r_lease FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE r_tenant ADD COLUMN friend INT REFERENCES r_tenant, ADD COLUMN twice INT GENERATED ALWAYS AS (id * 2) STORED",
    ):
        run(connection, statement)
    with connection:
        assert table_stats.drop(connection, RENTAL) == tuple(RENTAL)


def test_a_view_of_an_owned_name_is_not_dropped(connection: Connection) -> None:
    run(connection, "CREATE VIEW r_lease AS SELECT 1")
    with connection:
        assert table_stats.drop(connection, RENTAL) == ()
