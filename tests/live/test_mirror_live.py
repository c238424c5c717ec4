"""Models of the live Odoo as tables: their columns suit Odoo's own, and what Odoo holds fits into them unchanged."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import orjson
import pytest
from psycopg2 import sql as SQL  # noqa: N812 -- `sql` asks Odoo's own database here
from psycopg2.extras import Json
from sqlalchemy import Table

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.domains import Domain, ModuleSelector
from fbs_worker.schema import create, mirror
from fbs_worker.schema.columns import type_of
from fbs_worker.schema.definition import Definition, define
from tests.live.conftest import Sql

pytestmark = pytest.mark.live

EVERYTHING = Domain(name="everything", title="Everything", modules=ModuleSelector(names=("*",)))

# what PostgreSQL calls the column in Odoo's own table → what it may be in ours
SUITS = {
    "double precision": {"numeric"},  # float without digits
    "jsonb": {"jsonb", "character varying", "text"},  # a translated text is a value per language there
}

# models that refer to each other, and have fields of most types
MIRRORED = (
    "res.country",
    "res.country.group",
    "res.country.state",
    "res.currency",
    "res.company",
    "res.groups",
    "res.lang",
    "res.partner",
    "res.partner.category",
    "res.users",
    "digest.digest",
    "ir.attachment",
    "ir.cron",
    "ir.ui.menu",
    "account.analytic.line",
    "account.journal",
    "account.move",
    "account.tax",
    "mail.message",
    "product.category",
    "product.product",
    "product.tag",
    "product.template",
    "project.project",
    "project.task",
    "sale.order",
    "sale.order.line",
    "stock.picking.type",
    "uom.uom",
)


IN_JSON = {"json", "properties", "properties_definition", "serialized"}


@pytest.fixture(scope="module")
def models(transport: Transport) -> Mapping[str, Mapping[str, Any]]:
    """Every model of the live Odoo."""
    rows = OdooConnector(transport).read(EVERYTHING)
    return {row.name: row.schema_definition or {} for row in rows if row.discovery_type is DiscoveryType.MODEL}


@pytest.fixture
def connection(database: DatabaseConfig) -> Iterator[Connection]:
    with closing(connect(database)) as opened:
        yield opened


def definition_of(models: Mapping[str, Mapping[str, Any]], *names: str) -> Definition:
    mirrored = {name: models[name] for name in names} if names else models
    return define(EVERYTHING, table_prefix="fbs_", business_prefix="", mirrored=mirrored)


def test_every_type_of_field_is_documented(sql: Sql) -> None:
    types = {kind for (kind,) in sql("SELECT DISTINCT ttype FROM ir_model_fields")}
    assert len(types) > 15
    words = (mirror.__doc__ or "").replace(",", " ").split()
    assert types <= set(words)


def test_columns_suit_those_of_odoo(models: Mapping[str, Mapping[str, Any]], sql: Sql) -> None:
    rows = sql(
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        """
    )
    odoo = {(table, column): kind for table, column, kind in rows}
    definition = definition_of(models)
    compared = 0
    for model, name in definition.mirrored.items():
        table = definition.business.tables[name]
        for field, facts in models[model]["fields"].items():
            kind = odoo.get((model.replace(".", "_"), field))
            if kind is None or field == "id" or not facts.get("stored"):
                continue
            ours = type_of(table.c[field])
            per_company = kind == "jsonb" and facts.get("company_dependent")
            if not per_company and ours != kind.partition("(")[0]:  # a limit that only Odoo's table knows
                assert {ours, ours.partition("(")[0]} & SUITS.get(kind, {kind}), (model, field, kind)
            compared += 1
    assert compared > 4000


def test_what_odoo_holds_fits_in(
    connection: Connection, transport: Transport, models: Mapping[str, Mapping[str, Any]]
) -> None:
    definition = definition_of(models, *MIRRORED)
    with connection:
        create.create(connection, definition, owned=())
    types: set[str] = set()
    rows = 0
    with connection, connection.cursor() as cursor:
        for model in MIRRORED:
            readable = transport.call(model, "fields_get", attributes=["type"])  # passwords are not readable
            fields = {name: facts for name, facts in models[model]["fields"].items() if facts.get("stored")}
            selected = fields.keys() & readable.keys() - {"id"}
            kept = {name: facts for name, facts in fields.items() if name in selected and facts["type"] != "one2many"}
            records = read(transport, model, list(kept))
            rows += len(records)
            for record in records:
                insert(cursor, definition, model, kept, record)
                types |= {facts["type"] for name, facts in kept.items() if record[name]}
            check_back(cursor, definition, model, kept, records)
    with connection, connection.cursor() as cursor:
        for table in definition.tables:
            check_foreign_keys(cursor, table)
    assert rows > 500
    # those that this Odoo has a value of
    assert types >= {
        "binary",
        "boolean",
        "char",
        "date",
        "datetime",
        "float",
        "html",
        "integer",
        "monetary",
        "selection",
    }
    assert types >= {"many2many", "many2one", "many2one_reference", "reference", "text"}


def read(transport: Transport, model: str, fields: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = transport.call(
        model, "search_read", domain=[], fields=fields, limit=2000, context={"active_test": False}
    )
    return found


def insert(cursor: Any, definition: Definition, model: str, fields: Mapping[str, Any], record: dict[str, Any]) -> None:
    values = {"odoo_id": record["id"]}
    for name, facts in fields.items():
        if facts["type"] == "many2many":
            if facts["relation"] in definition.mirrored:
                link = mirror.link_names(model, {"fields": fields}, names=definition.mirrored)[name]
                for other in record[name]:
                    cursor.execute(
                        SQL.SQL("INSERT INTO {} VALUES (%s, %s)").format(SQL.Identifier(link)), (record["id"], other)
                    )
        else:
            values[name] = converted(facts["type"], record[name])
    cursor.execute(
        SQL.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            SQL.Identifier(definition.mirrored[model]),
            SQL.SQL(", ").join(map(SQL.Identifier, values)),
            SQL.SQL(", ").join([SQL.Placeholder()] * len(values)),
        ),
        list(values.values()),
    )


def converted(kind: str, value: Any) -> Any:
    """What RPC answers, as it goes into a column: False is how Odoo says NULL."""
    if kind == "boolean":
        return bool(value)
    if value is False:
        return None
    if kind == "many2one":
        return value[0]
    if kind == "binary":
        return base64.b64decode(value)
    if kind in IN_JSON:
        return Json(value, dumps=lambda given: orjson.dumps(given).decode())
    return value


def check_back(
    cursor: Any, definition: Definition, model: str, fields: Mapping[str, Any], records: list[dict[str, Any]]
) -> None:
    """Each value comes out as it went in."""
    table = definition.business.tables[definition.mirrored[model]]
    columns = [name for name in fields if name in table.c]
    cursor.execute(
        SQL.SQL("SELECT {} FROM {} ORDER BY odoo_id").format(
            SQL.SQL(", ").join([SQL.Identifier("odoo_id"), *map(SQL.Identifier, columns)]),
            SQL.Identifier(table.name),
        )
    )
    for record, (number, *values) in zip(sorted(records, key=lambda row: row["id"]), cursor.fetchall(), strict=True):
        assert record["id"] == number
        for name, value in zip(columns, values, strict=True):
            kind = fields[name]["type"]
            sent = record[name] if kind in IN_JSON else converted(kind, record[name])
            sent = None if kind != "boolean" and sent is False else sent
            assert (value if value is None else COME_BACK.get(kind, same)(value)) == sent, (model, number, name)


def same(value: Any) -> Any:
    return value


COME_BACK: Mapping[str, Callable[[Any], Any]] = {
    "float": float,
    "monetary": float,
    "date": str,
    "datetime": str,
    "binary": bytes,
}
"""How Python shows what the driver gives, as RPC would."""


def check_foreign_keys(cursor: Any, table: Table) -> None:
    for key in table.foreign_key_constraints:
        (element,) = key.elements
        cursor.execute(
            SQL.SQL(
                "SELECT array_agg({0}) FROM {1} a WHERE NOT EXISTS (SELECT FROM {2} b WHERE b.odoo_id = a.{0})"
                " AND {0} IS NOT NULL"
            ).format(
                SQL.Identifier(key.column_keys[0]),
                SQL.Identifier(table.name),
                SQL.Identifier(element.column.table.name),
            )
        )
        assert cursor.fetchone() == (None,), (table.name, key.name)
