"""Odoo's fields become columns."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Table

from fbs_worker.core.errors import UsageError
from fbs_worker.domains import Domain
from fbs_worker.schema.columns import type_of
from fbs_worker.schema.ddl import render
from fbs_worker.schema.definition import Definition, define
from fbs_worker.schema.model import FOREIGN, NOT_ENFORCED_SINCE, schema_of

EMPTY = Domain(name="made", title="Made")


def field(kind: str, **facts: Any) -> dict[str, Any]:
    return {"type": kind, "stored": True, **facts}


def mirror(**models: dict[str, Any]) -> Definition:
    mirrored = {name.replace("__", "."): {"fields": fields} for name, fields in models.items()}
    return define(EMPTY, table_prefix="fbs_", business_prefix="", mirrored=mirrored)


def table(definition: Definition, name: str) -> Table:
    return definition.business.tables[name]


def column(kind: str, **facts: Any) -> tuple[str, bool] | None:
    made = table(mirror(a={"it": field(kind, **facts)}), "a").c
    return (type_of(made.it), bool(made.it.nullable)) if "it" in made else None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("char", "character varying"),
        ("text", "text"),
        ("html", "text"),
        ("integer", "integer"),
        ("float", "numeric"),
        ("monetary", "numeric"),
        ("boolean", "boolean"),
        ("date", "date"),
        ("datetime", "timestamp without time zone"),
        ("binary", "bytea"),
        ("image", "bytea"),
        ("selection", "character varying"),
        ("reference", "character varying"),
        ("many2one", "integer"),
        ("many2one_reference", "integer"),
        ("json", "jsonb"),
        ("properties", "jsonb"),
        ("properties_definition", "jsonb"),
        ("serialized", "jsonb"),
        ("of_a_later_odoo", "jsonb"),
    ],
)
def test_the_type_of_each_type(kind: str, expected: str) -> None:
    assert column(kind) == (expected, True)
    assert column(kind, required=True) == (expected, False)
    assert column(kind, required=True, company_dependent=True) == (expected, True)


@pytest.mark.parametrize("kind", ["one2many", "many2many"])
def test_what_is_no_column(kind: str) -> None:
    assert column(kind, relation="nowhere") is None
    assert column(kind, relation="nowhere", required=True) is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (2, "character varying(2)"),
        (10_485_760, "character varying(10485760)"),
        (10_485_761, "character varying"),
        (0, "character varying"),
        (-1, "character varying"),
        (None, "character varying"),
    ],
)
def test_the_size_of_a_char(size: int | None, expected: str) -> None:
    assert column("char", size=size) == (expected, True)


def test_every_table_has_the_id_of_odoo() -> None:
    made = table(mirror(a={"id": field("integer"), "name": field("char")}), "a")
    assert list(made.c.keys()) == ["id", "odoo_id", "name", "created_at", "updated_at"]
    assert made.c.odoo_id.unique
    assert not made.c.odoo_id.nullable
    assert [part.name for part in made.primary_key.columns] == ["id"]


def test_what_is_not_stored_is_left_out() -> None:
    made = table(mirror(a={"kept": field("char"), "computed": {"type": "char"}}), "a")
    assert "computed" not in made.c


def test_names_that_a_column_may_not_have() -> None:
    names = ["created_at", "odoo_created_at", "odoo_id", "updated_at", "xmin", "ctid", "tableoid"]
    made = table(mirror(a={name: field("char") for name in names}), "a")
    assert set(made.c.keys()) == {
        "id",
        "odoo_id",
        "created_at",
        "updated_at",
        "odoo_created_at",
        "odoo_odoo_created_at",
        "odoo_odoo_id",
        "odoo_updated_at",
        "odoo_xmin",
        "odoo_ctid",
        "odoo_tableoid",
    }
    assert type_of(made.c.created_at) == "timestamp without time zone"


@pytest.mark.parametrize("name", ["x" * 64, "a\x00b"])
def test_a_column_name_that_would_be_cut_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="column name"):
        mirror(a={name: field("char")})


@pytest.mark.parametrize("facts", [{}, {"on_delete": "cascade"}, {"on_delete": "set null", "required": True}])
def test_a_many2one_refers_to_the_other_table_where_there_is_one(facts: dict[str, Any]) -> None:
    order = {"partner_id": field("many2one", relation="res.partner", **facts), "name": field("char", label="Name")}
    alone = table(mirror(sale__order=order), "sale_order")
    assert not alone.foreign_key_constraints
    assert not alone.indexes
    assert alone.c.partner_id.comment == "→ res.partner"
    order["partner_id"]["label"] = "Customer"
    assert table(mirror(sale__order=order), "sale_order").c.partner_id.comment == "Customer (→ res.partner)"
    both = table(mirror(sale__order=order, res__partner={"name": field("char")}), "sale_order")
    assert [list(index.columns.keys()) for index in both.indexes] == [["partner_id"]]
    assert both.c.partner_id.comment == "Customer (→ res.partner, res_partner.odoo_id)"
    (key,) = [key for key in schema_of([both])["sale_order"].keys if key.kind == FOREIGN]
    assert (key.target, key.detail, key.enforced) == (("res_partner", ("odoo_id",)), "", False)


def test_a_table_says_what_it_holds() -> None:
    limit = field("float", company_dependent=True)
    (told,) = [table.comment for table in mirror(a={"active": field("boolean"), "odoo_id": limit, "x": limit}).tables]
    assert told == (
        "Records of Odoo's model a as Odoo shows them to the user of the connection, archived ones with active = false."
        " Columns with the value of that user's company: odoo_odoo_id, x."
        " Text is in the language of the Odoo connection; no foreign key is enforced."
    )
    (told,) = [table.comment for table in mirror(a={"active": {"type": "boolean"}, "name": field("char")}).tables]
    assert "archived" not in str(told)
    assert "company" not in str(told)


def test_a_many2many_is_a_link_table_where_the_other_model_is_mirrored() -> None:
    order = {
        "tag_ids": field("many2many", relation="crm.tag"),
        "other_ids": field("many2many", relation="not.mirrored"),
        "calculated_ids": {"type": "many2many", "relation": "crm.tag"},
        "linked_ids": field("many2many", relation="sale.order"),
    }
    definition = mirror(sale__order=order, crm__tag={"name": field("char")})
    assert set(definition.table_names) == {
        "crm_tag",
        "sale_order",
        "sale_order__linked_ids",
        "sale_order__tag_ids",
    }
    assert definition.mirrored == {"crm.tag": "crm_tag", "sale.order": "sale_order"}
    statements = [" ".join(text.split()) for text in render(definition.tables)]
    begin = statements.index(
        'CREATE TABLE "sale_order__tag_ids" ( "from_id" INTEGER NOT NULL, "to_id" INTEGER NOT NULL, '
        'PRIMARY KEY ("from_id", "to_id") )'
    )
    told = (
        "Links of the field tag_ids of Odoo''s model sale.order: a row for each crm.tag of a record."
        " No foreign key is enforced: the Odoo user may not see each of them."
    )
    assert statements[begin + 1 : begin + 5] == [
        'CREATE INDEX ON "sale_order__tag_ids" ("to_id")',
        f"COMMENT ON TABLE \"sale_order__tag_ids\" IS '{told}'",
        'COMMENT ON COLUMN "sale_order__tag_ids"."from_id" IS \'→ sale.order, sale_order.odoo_id\'',
        'COMMENT ON COLUMN "sale_order__tag_ids"."to_id" IS \'→ crm.tag, crm_tag.odoo_id\'',
    ]
    added = [text for text in statements if "FOREIGN KEY" in text]
    assert added == statements[-4:]
    assert [text for text in added if "tag_ids_" in text] == [
        f'ALTER TABLE "sale_order__tag_ids" ADD CONSTRAINT "sale_order__tag_ids_{column}_fkey" FOREIGN KEY ("{column}")'
        f' REFERENCES "{target}" ("odoo_id") NOT ENFORCED'
        for column, target in (("from_id", "sale_order"), ("to_id", "crm_tag"))
    ]
    before = [" ".join(text.split()) for text in render(definition.tables, server_version=NOT_ENFORCED_SINCE - 1)]
    assert before == statements[:-4]


def test_fields_that_would_give_one_name_to_two_things_do_not() -> None:
    """Index and link table of `line_tag_ids` of one model and of `tag_ids` of the next would read alike."""
    many, one = field("many2many", relation="t"), field("many2one", relation="t")
    definition = mirror(
        t={"name": field("char")},
        sale__order={"line_tag_ids": many, "line_tag_id": one},
        sale__order__line={"tag_ids": many, "tag_id": one},
    )
    assert {"sale_order__line_tag_ids", "sale_order_line__tag_ids"} < set(definition.table_names)


def test_a_link_table_whose_name_is_too_long_gets_a_hash() -> None:
    model = "x" * 50
    definition = define(
        EMPTY,
        table_prefix="fbs_",
        business_prefix="",
        mirrored={model: {"fields": {"many_many_tags": field("many2many", relation=model)}}},
    )
    (link,) = set(definition.table_names) - {model}
    assert len(link) == 63
    assert link.startswith(model + "__ma")
