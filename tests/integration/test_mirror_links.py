"""Links between mirrored tables: told, indexed and not enforced, whatever they were before."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Column, Integer

from fbs_worker.core.postgres import Connection
from fbs_worker.migration.model.plan import Lock, Plan
from fbs_worker.schema.definition import Definition
from fbs_worker.schema.model import NOT_ENFORCED_SINCE, schema_of, to_json
from tests.support.planned import Tables, defined, fresh_picture, hazards, picture, swept, table

pytestmark = pytest.mark.postgres

_KEYS = """
SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' ORDER BY conname
"""


LINK = "foreign key (partner_id) to r_res_partner"


def mirrored(**more: Any) -> Definition:
    """Three tables: orders with a customer and tags, customers, and the links of the tags."""

    def field(kind: str, **facts: Any) -> dict[str, Any]:
        return {"type": kind, "stored": True, **facts}

    return defined(
        sale__order={
            "partner_id": field("many2one", relation="res.partner", label="Customer", **more),
            "tag_ids": field("many2many", relation="res.partner"),
        },
        res__partner={"parent_id": field("many2one", relation="res.partner"), "active": field("boolean")},
    )


def enforced(definition: Definition) -> Definition:
    """As earlier versions made these tables."""
    for made in definition.tables:
        made.comment = None
        for key in made.foreign_key_constraints:
            key.info.clear()
            key.ondelete = "CASCADE"
    return definition


@pytest.fixture
def connection(shared: Connection) -> Connection:
    return swept(shared)


@pytest.fixture
def knows(connection: Connection) -> bool:
    """Whether this PostgreSQL has keys that are not enforced."""
    return connection.info.server_version >= NOT_ENFORCED_SINCE


@pytest.fixture(params=[True, False], ids=["recorded", "not recorded"])
def former(connection: Connection, request: pytest.FixtureRequest) -> Tables:
    """Tables of an earlier version, with rows."""
    tables = Tables(connection, enforced(mirrored()), recorded=request.param)
    tables.run(
        "INSERT INTO r_res_partner (odoo_id) VALUES (1), (2)",
        "INSERT INTO r_sale_order (odoo_id, partner_id) VALUES (1, 1), (2, 2), (3, NULL)",
        "INSERT INTO r_sale_order__tag_ids VALUES (1, 1), (1, 2)",
    )
    return tables


def steps(plan: Plan, kind: str) -> list[str]:
    return [step.sql for step in plan.steps if step.kind == kind]


def test_enforced_keys_go(former: Tables, knows: bool) -> None:
    plan = former.migrate(mirrored())
    assert hazards(plan) == set()
    assert not any(step.kind.startswith("validate") or step.check for step in plan.steps)
    assert len(steps(plan, "drop_foreign_key")) == 4
    assert len(steps(plan, "add_foreign_key")) == (4 if knows else 0)
    locks = {step.kind: step.lock for step in plan.steps}
    assert locks["drop_foreign_key"] is Lock.ACCESS_EXCLUSIVE
    assert locks.get("add_foreign_key", Lock.SHARE_ROW_EXCLUSIVE) is Lock.SHARE_ROW_EXCLUSIVE
    reasons = {step.reason for step in plan.steps if step.kind == "drop_foreign_key" and step.table == "r_sale_order"}
    assert reasons == {"sale.order.partner_id of Odoo is a link that no foreign key enforces"}
    known = [line for summary in plan.summary for line in summary.changes if LINK in line]
    assert known == [f"- {LINK}", *[f"+ {LINK} NOT ENFORCED"] * knows]
    found = [definition for _, definition in former.run(_KEYS)]
    assert len(found) == (4 if knows else 0)
    assert all(definition.endswith("(odoo_id) NOT ENFORCED") for definition in found)
    assert picture(former.connection) == fresh_picture(former.connection, mirrored())


def test_dangling_ids_are_no_drift(connection: Connection) -> None:
    tables = Tables(connection, mirrored())
    tables.run(
        "INSERT INTO r_sale_order (odoo_id, partner_id) VALUES (1, 99)",
        "INSERT INTO r_sale_order__tag_ids VALUES (7, 8)",
    )
    plan = tables.plan(mirrored())
    assert (plan.steps, plan.drift) == ((), ())


def test_comments_follow(connection: Connection) -> None:
    """Of a table as of a column: those of FBS change along, a user's own stays and is told."""
    tables = Tables(connection, mirrored())
    other = mirrored(company_dependent=True)
    plan = tables.migrate(other)
    assert [step.kind for step in plan.steps] == ["comment"]
    assert "company: partner_id." in plan.steps[0].sql
    assert picture(connection) == fresh_picture(connection, other)
    tables.run("COMMENT ON TABLE r_sale_order IS 'mine'")
    assert tables.plan(other).drift == ("r_sale_order: the table has another comment; changed by hand, left as it is",)
    assert tables.plan(mirrored()).steps == ()
    tables.migrate(other, restore=True)
    assert picture(connection) == fresh_picture(connection, other)


def test_a_key_that_a_user_enforces_is_drift(connection: Connection, knows: bool) -> None:
    if not knows:
        pytest.skip("this PostgreSQL has no keys that are not enforced")
    tables = Tables(connection, mirrored())
    tables.run("ALTER TABLE r_sale_order ALTER CONSTRAINT r_sale_order_partner_id_fkey ENFORCED")
    assert tables.plan(mirrored()).drift[-1] == (
        f"r_sale_order: the {LINK} NOT ENFORCED differs: ENFORCED → NOT ENFORCED; changed by hand, left as it is"
    )
    tables.migrate(mirrored(), restore=True)
    assert picture(connection) == fresh_picture(connection, mirrored())


def test_a_check_that_a_user_does_not_enforce_is_another(connection: Connection, knows: bool) -> None:
    if not knows:
        pytest.skip("this PostgreSQL has no checks that are not enforced")
    definition = defined(table("t", lambda: Column("a", Integer), lambda: CheckConstraint("a > 0")))
    tables = Tables(connection, definition)
    tables.run("ALTER TABLE r_t DROP CONSTRAINT r_t_a_check, ADD CHECK (a > 0) NOT ENFORCED")
    assert tables.plan(definition).drift[-1] == (
        "r_t: the check (a > 0) differs: NOT ENFORCED → ENFORCED; changed by hand, left as it is"
    )
    tables.migrate(definition, restore=True)
    assert picture(connection) == fresh_picture(connection, definition)


def test_another_version_of_postgresql(former: Tables, knows: bool) -> None:
    """What a dump brings along is taken as it is: the shape of 18 on 15, and that of 15 on 18."""
    tables = former
    tables.migrate(mirrored())
    recorded: dict[str, Any] = dict(tables.last_applied or {})
    tables.run(
        *(
            "ALTER TABLE {} DROP CONSTRAINT {}".format(*key)
            for key in tables.run("SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f'")
        )
    )
    for shape in recorded.values():
        shape["keys"] = [key for key in shape["keys"] if key[0] != "f"]
    assert len(steps(tables.migrate(mirrored()), "add_foreign_key")) == (4 if knows else 0)
    assert picture(tables.connection) == fresh_picture(tables.connection, mirrored())
    tables.last_applied = to_json(schema_of(mirrored().tables))
    plan = tables.plan(mirrored())
    assert (plan.steps, plan.drift) == ((), ())


@pytest.mark.parametrize("cleaned", [True, False])
def test_undo_enforces_what_can_be(former: Tables, knows: bool, cleaned: bool) -> None:
    before = picture(former.connection)
    former.carry_out(former.plan(mirrored()))
    after = picture(former.connection)
    former.run("INSERT INTO r_sale_order (odoo_id, partner_id) VALUES (4, 99)")
    if cleaned:
        former.run("DELETE FROM r_sale_order WHERE odoo_id = 4")
    undo = former.undo()
    assert undo.not_reverted == (
        () if cleaned else (f"r_sale_order: the {LINK} is not restored: rows refer to others that are not there.",)
    )
    found = [definition for name, definition in former.run(_KEYS) if name == "r_sale_order"]
    key = "FOREIGN KEY (partner_id) REFERENCES r_res_partner(odoo_id)"
    assert found == ([f"{key} ON DELETE CASCADE"] if cleaned else [f"{key} NOT ENFORCED"] * knows)
    assert (picture(former.connection) == before) is cleaned
    if cleaned:
        assert former.plan(enforced(mirrored())).empty
    former.migrate(mirrored())
    assert picture(former.connection) == after
