"""A domain's tables and mirrored models become the tables of a solution."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import DOMAIN, ExcludeConstraint
from sqlalchemy.schema import SchemaItem

from fbs_worker.core.errors import FBSError, SettingsError, UsageError
from fbs_worker.domains import Domain, load_domain
from fbs_worker.schema.ddl import render
from fbs_worker.schema.definition import Definition, define

FIELDS = {"fields": {"name": {"type": "char", "stored": True}}}


def domain(*entities: tuple[str, list[SchemaItem]]) -> Domain:
    def tables() -> MetaData:
        metadata = MetaData()
        for name, parts in entities:
            Table(name, metadata, *parts)
        return metadata

    return Domain(name="made", title="Made", tables=tables)


def one(*parts: SchemaItem) -> Domain:
    return domain(("thing", list(parts)))


def make(given: Domain, **mirrored: Any) -> Definition:
    return define(given, table_prefix="fbs_", business_prefix="m_", mirrored=mirrored)


def ddl(definition: Definition) -> list[str]:
    return [" ".join(statement.split()) for statement in render(definition.tables)]


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("rental", ["property", "tenant", "lease", "payment", "maintenance"]),
        ("ecommerce", ["product", "customer", "order"]),
        ("hr", ["department", "employee"]),
        ("generic", ["entity", "transaction"]),
    ],
)
@pytest.mark.parametrize("prefix", ["", "rental_", "x" * 20])
def test_the_tables_of_our_domains(name: str, tables: list[str], prefix: str) -> None:
    definition = define(load_domain(name), table_prefix="fbs_", business_prefix=prefix)
    assert sorted(definition.table_names) == sorted(prefix + table for table in tables)
    assert definition.domain == name
    assert not definition.mirrored
    made: set[str] = set()
    for table in definition.tables:  # each after those that it refers to, save where two refer to each other
        referred = {str(key.referred_table.name) for key in table.foreign_key_constraints}
        assert name == "hr" or referred <= made
        made.add(str(table.name))


def test_the_same_definition_is_written_the_same_way() -> None:
    reference = make(load_domain("rental"), **{"sale.order": FIELDS, "res.partner": FIELDS})
    again = make(load_domain("rental"), **{"res.partner": FIELDS, "sale.order": FIELDS})
    assert ddl(reference) == ddl(again)
    assert reference.table_names == again.table_names
    assert reference.mirrored == {"res.partner": "m_res_partner", "sale.order": "m_sale_order"}


def test_every_table_gets_what_every_table_has() -> None:
    definition = make(one(Column("label", String(7), nullable=False)))
    (statement,) = ddl(definition)
    assert statement == (
        'CREATE TABLE "m_thing" ( "id" SERIAL NOT NULL, "label" VARCHAR(7) NOT NULL, '
        '"created_at" TIMESTAMP WITHOUT TIME ZONE DEFAULT NOW(), '
        '"updated_at" TIMESTAMP WITHOUT TIME ZONE DEFAULT NOW(), PRIMARY KEY ("id") )'
    )


def test_a_domain_may_write_them_itself() -> None:
    plain = make(one(Column("label", String(7))))
    written = make(one(Column("id", Integer, primary_key=True), Column("label", String(7)), Column("created_at", Date)))
    assert ddl(plain) == ddl(written)


def test_what_a_domain_may_ask_for_is_kept() -> None:
    definition = make(
        domain(
            ("thing", [Column("a", Integer, ForeignKey("other.id", ondelete="CASCADE")), Column("b", Boolean)]),
            (
                "other",
                [
                    Column("x", Integer, server_default=text("7"), index=True),
                    Column("y", String, unique=True),
                    Column("z", Integer, ForeignKey("thing.id")),
                    UniqueConstraint("x", "y", name="both"),
                    CheckConstraint("x > 0", name="positive"),
                    Index("by_y", "y", unique=True),
                ],
            ),
        )
    )
    statements = "\n".join(ddl(definition))
    for part in (
        '"x" INTEGER DEFAULT 7',
        'CONSTRAINT "positive" CHECK (x > 0)',
        'CONSTRAINT "m_both" UNIQUE ("x", "y")',
        'UNIQUE ("y")',
        'CREATE INDEX "m_ix_other_x" ON "m_other" ("x")',
        'CREATE UNIQUE INDEX "m_by_y" ON "m_other" ("y")',
        'CREATE INDEX ON "m_other" ("z")',
        'CREATE INDEX ON "m_thing" ("a")',
        'ALTER TABLE "m_thing" ADD CONSTRAINT "m_thing_a_fkey" FOREIGN KEY("a") REFERENCES "m_other" ("id") ON DELETE',
        'ALTER TABLE "m_other" ADD CONSTRAINT "m_other_z_fkey" FOREIGN KEY("z") REFERENCES "m_thing" ("id")',
    ):
        assert part in statements, part
    assert statements.count("INDEX") == 4


def test_a_foreign_key_with_an_index_of_its_own_gets_no_second_one() -> None:
    for column in (
        Column("a", Integer, ForeignKey("thing.id"), unique=True),
        Column("a", Integer, ForeignKey("thing.id"), index=True),
    ):
        assert sum("INDEX" in statement for statement in ddl(make(one(column)))) == (0 if column.unique else 1)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([Column("code", String(5), primary_key=True)], "primary key of its own"),
        ([Column("a", Integer, ForeignKey("nowhere.id"))], "refers to nowhere.id"),
        ([Column("a", Integer, ForeignKey("thing.nothing"))], "refers to thing.nothing"),
        ([Column("kind", Enum("a", "b", name="kinds"))], "type"),
        ([Column("a", Integer), Column("b", Integer, Computed("a + 1"))], "calculated"),
        ([Column("a", Integer, Identity())], "calculated"),
        (
            [Column("a", String), ExcludeConstraint((func.lower(text("a")), "="))],
            "exclusion constraint on an expression",
        ),
        ([Column("a", Boolean(create_constraint=True))], "check of a boolean"),
        ([Column("a", Integer, ForeignKey("thing.id", match="FULL"))], "MATCH FULL"),
        ([Column("a", DOMAIN("short", String(3)))], "own type"),
    ],
)
def test_unsupported_features_are_rejected(parts: list[SchemaItem], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        make(one(*parts))
    assert "'thing'" in caught.value.message
    assert "'made'" in caught.value.message


@pytest.mark.parametrize("options", [{"prefixes": ["UNLOGGED"]}, {"postgresql_partition_by": "RANGE (a)"}])
def test_options_of_tables_are_rejected(options: dict[str, Any]) -> None:
    def tables() -> MetaData:
        metadata = MetaData()
        Table("thing", metadata, Column("a", Integer), **options)
        return metadata

    with pytest.raises(SettingsError, match="'thing' of the domain 'made' has options"):
        make(Domain(name="made", title="Made", tables=tables))


CLASHES: dict[str, Callable[[], Definition]] = {
    "two models": lambda: make(one(), **{"sale.order_line": FIELDS, "sale.order.line": FIELDS}),
    "model and entity": lambda: make(one(), thing=FIELDS),
    "system and model": lambda: define(one(), table_prefix="m_", business_prefix="m_", mirrored={"snapshots": FIELDS}),
    "system and entity": lambda: define(domain(("bi_dashboards", [])), table_prefix="m_", business_prefix="m_"),
    "link and model": lambda: make(
        one(),
        **{
            "a": {"fields": {"tags": {"type": "many2many", "stored": True, "relation": "b"}}},
            "b": FIELDS,
            "a._tags": FIELDS,
        },
    ),
}


@pytest.mark.parametrize("make_one", CLASHES.values(), ids=CLASHES)
def test_two_tables_of_one_name_are_refused(make_one: Callable[[], Definition]) -> None:
    with pytest.raises(UsageError, match="is used twice") as caught:
        make_one()
    assert "'m_" in caught.value.message


@pytest.mark.parametrize(
    ("table_prefix", "business_prefix"),
    [
        ('x"; DROP TABLE', "m_"),
        ("fbs_", 'x"; DROP TABLE'),
        ("", "m_"),
        ("fbs_", "Ü"),
        ("fbs_", "1a"),
        ("fbs_", "x" * 21),
    ],
)
def test_a_prefix_that_is_none_is_refused(table_prefix: str, business_prefix: str) -> None:
    with pytest.raises(UsageError, match="prefix is not valid"):
        define(one(), table_prefix=table_prefix, business_prefix=business_prefix)


@pytest.mark.parametrize("name", ["x" * 62, "Ü" * 31])
def test_a_name_that_would_be_cut_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="64 bytes"):
        make(domain((name, [])))
    with pytest.raises(UsageError, match="64 bytes"):
        make(one(), **{name: FIELDS})
    define(domain((name, [])), table_prefix="fbs_", business_prefix="m")


def test_a_domain_is_known_without_sqlalchemy() -> None:
    """The command line loads domains before it enqueues."""
    code = "import sys; from fbs_worker.domains import load_domain; load_domain('rental'); sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("given", [{}, {"fields": {}}, {"fields": None}])
def test_a_model_without_fields_is_rejected(given: dict[str, Any]) -> None:
    with pytest.raises(FBSError, match=r"The discovery of sale\.order has no fields"):
        make(one(), **{"sale.order": given})
