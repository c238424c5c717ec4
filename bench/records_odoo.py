"""A live Odoo 19 with many records: filled by SQL in a minute or two, then changed at random, deterministic by seed.

The first record of each model is made by the ORM and is the pattern of the others, so that every required column has a
proper value; `INSERT … SELECT … generate_series` makes the others, with values of their own in some 50 columns of
`res.partner`: archived rows, NULL beside 0, false and '', tabs, newlines, emoji, numbers of 20 digits, the year 44.

Changes come by the ORM over RPC and by SQL, some without `write_date`: found by a sweep, or only by a whole reading.

    python -m bench.records_odoo fill [PARTNERS]  # the Odoo of FBS_LIVE_…, as `tests/live/live-odoo start` prints
    python -m bench.records_odoo change [NUMBER [SEED]]
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 -- a class in all but spelling
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from bench.live import connection_of
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport

MODELS: Final = (
    "account.tax",
    "crm.tag",
    "product.product",
    "res.country",
    "res.partner",
    "res.partner.category",
    "sale.order",
    "sale.order.line",
)
"""The models that are filled, and those that their links lead to."""

CATEGORIES: Final = 300
TAGS: Final = 200
BATCH: Final = 25
PARTNER_CATEGORY: Final = "res_partner_res_partner_category_rel"
_IMAGE_BYTES: Final = 16_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many records to make; each order has three lines."""

    partners: int = 200_000
    orders: int = 50_000
    images: int = 2_000

    @classmethod
    def of(cls, partners: int) -> Sizes:
        """The usual proportions."""
        return cls(partners=partners, orders=partners // 4, images=partners // 100)


_SPECIAL: Final = r"""(ARRAY['plain', E'a\ttab', E'two\nlines', E'back\\slash \\N', U&'line\2028separator', '😀 emoji',
    '', ' ', '"quoted", {{braces}}', E'carriage\r\nreturn', 'NULL', 'Ünïcödé 漢字'])[1 + n % 12]"""

# {base}: the id before the first; {half}: half their number. What is not here is as in the pattern.
_PARTNER: Final = {
    "name": "'Partner ' || n",
    "complete_name": "'Partner ' || n",
    "active": "n % 20 <> 0",
    "parent_id": "CASE WHEN n % 10 = 7 THEN {base} + n - 3 END",
    "commercial_partner_id": "{base} + n - CASE WHEN n % 10 = 7 THEN 3 ELSE 0 END",
    "create_date": "TIMESTAMP '2024-01-01' + n * INTERVAL '91.123457 seconds'",
    "write_date": "TIMESTAMP '2025-01-01' + n * INTERVAL '97.654321 seconds'",
    "ref": "'R' || lpad(n::text, 8, '0')",
    "color": "NULLIF(n % 12, 5)",
    "function": _SPECIAL,
    "street": "n || ' Long Street'",
    "street2": _SPECIAL,
    "zip": "lpad((n % 99999)::text, 5, '0')",
    "city": "'City ' || n % 977",
    "country_id": "({countries})[1 + n % 100]",
    "industry_id": "({industries})[1 + n % 10]",
    "user_id": "CASE WHEN n % 3 = 0 THEN 2 END",
    "buyer_id": "CASE WHEN n % 7 = 0 THEN 2 END",
    "vat": "CASE WHEN n % 4 = 0 THEN 'BE' || n END",
    "company_registry": "CASE WHEN n % 4 = 1 THEN 'CR' || n END",
    "website": "'https://example.com/' || n",
    "email": "'partner' || n || '@example.com'",
    "email_normalized": "'partner' || n || '@example.com'",
    "phone": "'+32 2 ' || n",
    "phone_sanitized": "'+322' || n",
    "company_name": "CASE WHEN n % 5 = 0 THEN 'Company ' || n END",
    "commercial_company_name": "CASE WHEN n % 5 = 0 THEN 'Company ' || n END",
    "type": "(ARRAY['contact', 'invoice', 'delivery', 'other'])[1 + n % 4]",
    "lang": "CASE WHEN n % 9 <> 0 THEN 'en_US' END",
    "tz": "(ARRAY['Europe/Brussels', 'UTC', NULL])[1 + n % 3]",
    "comment": "CASE WHEN n % 3 > 0 THEN '<p>About <b>' || n || '</b> &amp; more</p>' END",
    "partner_latitude": "(ARRAY[n / 7.0, 0, NULL, 12345678901234567890.0, 1e30, -n / 1000000.0])[1 + n % 6]",
    "partner_longitude": "NULLIF(n % 3600 / 10.0 - 180, 0)",
    "employee": "NULLIF(n % 3, 2)::boolean",
    "is_company": "n % 2 = 0",
    "is_published": "NULLIF(n % 3, 1)::boolean",
    "is_pickup_location": "NULLIF(n % 3, 0)::int = 1",
    "date_localization": "CASE n % 9 WHEN 1 THEN DATE '0044-03-15' WHEN 2 THEN NULL ELSE DATE '1999-1-1' + n % 99 END",
    "calendar_last_notif_ack": "TIMESTAMP '2026-01-01' + n * INTERVAL '1.5 seconds'",
    "message_bounce": "NULLIF(n % 4, 3)",
    "supplier_rank": "n % 5",
    "customer_rank": "NULLIF(n % 6, 1)",
    "suggest_days": "n % 30",
    "suggest_percent": "n % 100",
    "global_location_number": "CASE WHEN n % 2 = 0 THEN lpad(n::text, 13, '4') END",
    "peppol_endpoint": "CASE WHEN n % 8 = 0 THEN '0208:' || n END",
    "picking_warn_msg": _SPECIAL,
    "purchase_warn_msg": "CASE WHEN n % 11 = 0 THEN 'Careful' END",
    "sale_warn_msg": "CASE WHEN n % 13 = 0 THEN 'Careful' END",
    "barcode": "CASE WHEN n % 3 = 0 THEN jsonb_build_object('1', 'B' || n) END",
    "credit_limit": "CASE WHEN n % 4 < 2 THEN jsonb_build_object('1', n % 2 * n / 8.0) END",
    "trust": "CASE WHEN n % 2 = 0 THEN jsonb_build_object('1', 'good') END",
    "ignore_abnormal_invoice_date": "CASE WHEN n % 5 = 0 THEN jsonb_build_object('1', n % 2 = 0) END",
    "property_payment_term_id": "CASE WHEN n % 4 = 0 THEN jsonb_build_object('1', {term}) END",
    "reminder_date_before_receipt": "CASE WHEN n % 5 = 0 THEN jsonb_build_object('1', n % 7) END",
}

_ORDER: Final = {
    "name": "'S' || lpad(n::text, 7, '0')",
    "partner_id": "{partner} + 1 + n % {half}",
    "partner_invoice_id": "{partner} + 1 + n % {half}",
    "partner_shipping_id": "{partner} + 1 + n % {half}",
    "state": "(ARRAY['draft', 'sent', 'sale', 'cancel'])[1 + n % 4]",
    "date_order": "TIMESTAMP '2025-01-01' + n * INTERVAL '433 seconds'",
    "create_date": "TIMESTAMP '2025-01-01' + n * INTERVAL '433.5 seconds'",
    "write_date": "TIMESTAMP '2025-02-01' + n * INTERVAL '433.25 seconds'",
    "validity_date": "CASE WHEN n % 3 = 0 THEN DATE '2026-01-01' + n % 365 END",
    "commitment_date": "CASE WHEN n % 5 = 0 THEN TIMESTAMP '2026-06-01' + n * INTERVAL '1 second' END",
    "client_order_ref": _SPECIAL,
    "note": "CASE WHEN n % 2 = 0 THEN '<p>Order ' || n || '</p>' END",
    "amount_untaxed": "round(n * 1.37, 2)",
    "amount_tax": "round(n * 0.2877, 2)",
    "amount_total": "round(n * 1.6577, 2)",
    "currency_rate": "1.0 / (1 + n % 7)",
    "shipping_weight": "n / 3.0",
    "prepayment_percent": "0.1 + n % 3",
    "access_token": "md5('order' || n)",
    "locked": "n % 4 > 1 AND NULLIF(n % 3, 2)::boolean",
}

_LINE: Final = {
    "order_id": "{order} + 1 + (n - 1) / 3",
    "order_partner_id": "{partner} + 1 + (1 + (n - 1) / 3) % {half}",
    "name": "'Line ' || n || E'\\nof an order'",
    "sequence": "10 + n % 3",
    "create_date": "TIMESTAMP '2025-01-01' + n * INTERVAL '145 seconds'",
    "write_date": "TIMESTAMP '2025-02-01' + n * INTERVAL '145.125 seconds'",
    "product_uom_qty": "1 + n % 9",
    "price_unit": "round(n % 100000 / 7.0, 2)",
    "discount": "NULLIF(n % 20, 10)",
    "price_subtotal": "round(n / 3.0, 2)",
    "price_tax": "n / 15.0",
    "price_total": "round(n / 2.5, 2)",
    "qty_delivered": "NULLIF(n % 4, 2)",
    "is_downpayment": "NULLIF(n % 3, 2)::boolean AND FALSE",
    "analytic_distribution": "CASE WHEN n % 9 = 0 THEN jsonb_build_object('1', 40.5, '2', 59.5) END",
}


def sql_dsn() -> str:
    """How psycopg2 reaches the database of the Odoo of FBS_LIVE_…."""
    return f"host={os.environ['FBS_LIVE_SQL_HOST']} user=odoo dbname={os.environ['FBS_LIVE_DB']}"


def is_filled(odoo: Connection) -> bool:
    """Whether `fill` has been there."""
    with odoo, odoo.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM res_partner WHERE name = 'Partner 1')")
        return bool((cursor.fetchone() or (False,))[0])


def fill(odoo: Connection, editor: Transport, sizes: Sizes) -> dict[str, int]:
    """Make the records, and return the number of rows by table.

    Args:
        odoo: Odoo's own database, as its owner.
        editor: creates the first record of each model; JSON-2, which takes the arguments of `create` by name.
        sizes: how many records.
    """
    term, product = (
        editor.call(model, "search", domain=[], limit=1)[0] for model in ("account.payment.term", "product.product")
    )
    first = partial(_create, editor)
    patterns = {
        "res_partner_category": first("res.partner.category", name="Category 0"),
        "crm_tag": first("crm.tag", name="Tag 0"),
        "res_partner": first("res.partner", name="Partner 0", street="Street"),
    }
    line = {"product_id": product, "product_uom_qty": 2, "price_unit": 10}
    order = first("sale.order", partner_id=patterns["res_partner"], order_line=[[0, 0, line]])
    half, lines = max(1, sizes.partners // 2), 3 * sizes.orders
    made: dict[str, int] = {}
    with odoo, odoo.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute("SELECT id FROM sale_order_line WHERE order_id = %s", (order,))
        (pattern_line,) = cursor.fetchone() or (0,)

        def clone(table: str, pattern: int, count: int, changes: Mapping[str, str], **names: object) -> int:
            made[table] = count
            return _clone(cursor, table, pattern, count, changes, names)

        named = {"name": "jsonb_build_object('en_US', 'Number ' || n)", "color": "n % 11"}
        category = clone(
            "res_partner_category",
            patterns["res_partner_category"],
            CATEGORIES,
            {**named, "active": "n % 10 <> 0", "parent_path": "({base} + n) || '/'"},
        )
        tag = clone("crm_tag", patterns["crm_tag"], TAGS, named)
        partners = clone(
            "res_partner",
            patterns["res_partner"],
            sizes.partners,
            _PARTNER,
            countries="SELECT array_agg(id ORDER BY id) FROM res_country",
            industries="SELECT array_agg(id ORDER BY id) FROM res_partner_industry",
            term=term,
        )
        orders = clone("sale_order", order, sizes.orders, _ORDER, partner=partners, half=half)
        clone("sale_order_line", pattern_line, lines, _LINE, order=orders, partner=partners, half=half)
        for table, columns, one, other, count, most in (
            (PARTNER_CATEGORY, "partner_id, category_id", partners, category, sizes.partners, CATEGORIES),
            ("sale_order_tag_rel", "order_id, tag_id", orders, tag, sizes.orders, TAGS),
        ):
            cursor.execute(
                f"INSERT INTO {table} ({columns}) SELECT {one} + n, {other} + 1 + (n * k) % {most}"
                f" FROM generate_series(1, {count}) n, generate_series(1, 3) k WHERE n % 4 >= k ON CONFLICT DO NOTHING"
            )
            made[table] = cursor.rowcount
        cursor.execute(
            "INSERT INTO account_tax_sale_order_line_rel (sale_order_line_id, account_tax_id)"
            " SELECT id, (SELECT min(id) FROM account_tax) FROM sale_order_line WHERE id % 2 = 0 ON CONFLICT DO NOTHING"
        )
        made["account_tax_sale_order_line_rel"] = cursor.rowcount
        made["images"] = _images(cursor, range(partners + 1, partners + 1 + sizes.images))
        cursor.execute("ANALYZE")
    return made


def _create(editor: Transport, model: str, **values: Any) -> int:
    found = editor.call(model, "search", domain=[["name", "=", values["name"]]]) if "name" in values else []
    return int((found or editor.call(model, "create", vals_list=[values]))[0])


def _clone(
    cursor: Cursor, table: str, pattern: int, count: int, changes: Mapping[str, str], names: Mapping[str, object]
) -> int:
    """Insert copies of a row, and return the id before their first."""
    cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", (table,))
    (base,) = cursor.fetchone() or (0,)
    cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", (table, base + count))
    cursor.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        (table,),
    )
    values = {"id": "{base} + n", **changes}
    columns = dict(cursor.fetchall())
    chosen = [
        f"({values[name].format(base=base, **names)})::{kind}" if name in values else f'p."{name}"'
        for name, kind in columns.items()
    ]
    listed = ", ".join(f'"{name}"' for name in columns)
    cursor.execute(
        f"INSERT INTO {table} ({listed}) SELECT {', '.join(chosen)}"
        f" FROM {table} p, generate_series(1, {count}) n WHERE p.id = {pattern}"
    )
    return int(base)


def _images(cursor: Cursor, partners: range) -> int:
    """Attachments of the fields `image_1920` and `image_128`, in the database; Odoo does not look into them."""
    chance = random.Random(1)
    rows = []
    for partner in partners:
        for field, size in (("image_1920", _IMAGE_BYTES), ("image_128", _IMAGE_BYTES // 8)):
            content = chance.randbytes(size)
            rows.append((field, partner, len(content), hashlib.sha1(content).hexdigest(), content))
    # the files of the others are not there: the live database is a copy
    cursor.execute("DELETE FROM ir_attachment WHERE res_model = 'res.partner' AND store_fname IS NOT NULL")
    cursor.executemany(
        "INSERT INTO ir_attachment (name, type, res_model, res_field, res_id, file_size, checksum, db_datas, mimetype,"
        " create_uid, write_uid, create_date, write_date)"
        " VALUES ('image', 'binary', 'res.partner', %s, %s, %s, %s, %s, 'image/png', 2, 2, NOW(), NOW())",
        rows,
    )
    return len(rows)


class Changes:
    """Random changes, deterministic by seed and by what is there.

    Args:
        odoo: Odoo's own database, as its owner; changes by SQL are committed one by one.
        editor: changes by the ORM; JSON-2.
        seed: of the random numbers.
        silent: also what moves no `write_date`, which a sync sees in a sweep, or only when it reads everything again.
    """

    def __init__(self, odoo: Connection, editor: Transport, *, seed: int = 16, silent: bool = True) -> None:
        self._odoo = odoo
        self._editor = editor
        self._chance = random.Random(seed)
        self._number = seed * 1_000_000
        self._partners = self._ids("SELECT id FROM res_partner p WHERE name LIKE 'Partner %' AND parent_id IS NULL")
        self._free = self._ids(
            "SELECT id FROM res_partner p WHERE name LIKE 'Partner %' AND NOT EXISTS (SELECT FROM sale_order o"
            " WHERE p.id IN (o.partner_id, o.partner_invoice_id, o.partner_shipping_id))"
        )
        self._orders = self._ids("SELECT id FROM sale_order WHERE state IN ('draft', 'sent')")
        self._lines = self._ids("SELECT l.id FROM sale_order_line l JOIN sale_order o ON o.id = l.order_id"
                                " WHERE o.state IN ('draft', 'sent')")  # fmt: skip
        self._categories = self._ids("SELECT id FROM res_partner_category")
        self._tags = self._ids("SELECT id FROM crm_tag")
        loud: dict[str, Callable[[], int]] = {
            "created": self._create_partners,
            "written": self._write_partners,
            "orders written": self._write_orders,
            "lines written": self._write_lines,
            "orders created": self._create_orders,
            "deleted": self._delete_partners,
            "lines deleted": self._delete_lines,
            "archived": self._archive,
            "linked": self._link,
            "tagged": self._tag,
            "written by SQL": partial(self._write_by_sql, moved=True),
            "created by SQL": self._create_by_sql,
            "deleted by SQL": self._delete_by_sql,
        }
        quiet: dict[str, Callable[[], int]] = {
            "written by SQL, in silence": partial(self._write_by_sql, moved=False),
            "archived by SQL, in silence": self._archive_by_sql,
            "linked by SQL": self._link_by_sql,
            "linked from the other side": self._link_from_category,
            "category deleted": self._delete_category,
        }
        self._kinds = {**loud, **quiet} if silent else loud

    def make(self, number: int) -> Counter[str]:
        """Change at least so many records; return how many by kind."""
        made: Counter[str] = Counter()
        kinds = list(self._kinds)
        while made.total() < number:
            kind = kinds.pop(0) if kinds else self._chance.choice(list(self._kinds))  # each at least once
            made[kind] += self._kinds[kind]()
        return made

    def late(self) -> Callable[[], int]:
        """Write a row in a transaction that stays open; the result commits it, and returns the row's id.

        Its `write_date` and its id are then older than those of rows that were committed before.
        """
        slow = psycopg2.connect(self._odoo.dsn)
        with slow.cursor() as cursor:
            made = self._insert(cursor, 1)

        def commit() -> int:
            slow.commit()
            slow.close()
            return made[0]

        return commit

    # -- by the ORM

    def _create_partners(self) -> int:
        rows = [self._values() | {"category_id": [[6, 0, self._some(self._categories, 2)]]} for _ in range(BATCH)]
        made = self._editor.call("res.partner", "create", vals_list=rows)
        self._partners += made
        self._free += made
        return len(made)

    def _values(self) -> dict[str, Any]:
        self._number += 1
        text = self._chance.choice(["new", "a\ttab", "two\nlines", "\\N", "😀", "line\u2028separator", ""])
        return {
            "name": f"Partner n{self._number}",
            "street": f"{self._number} Street",
            "street2": text,
            "comment": f"<p>{self._number}</p>",
            "color": self._chance.randrange(12),
            "partner_latitude": self._chance.uniform(-90, 90),
            "credit_limit": self._chance.choice([0, 0.1, 1234.5]),
            "ref": False if self._chance.random() < 0.3 else f"N{self._number}",
        }

    def _write_partners(self) -> int:
        ids = self._some(self._partners, BATCH)
        self._editor.call("res.partner", "write", ids=ids, vals={**self._values(), "name": "Partner changed"})
        return len(ids)

    def _write_orders(self) -> int:
        ids = self._some(self._orders, BATCH)
        self._number += 1
        date = f"2026-0{1 + self._number % 9}-11 10:11:12"
        self._editor.call(
            "sale.order", "write", ids=ids, vals={"client_order_ref": f"C{self._number}", "date_order": date}
        )
        return len(ids)

    def _write_lines(self) -> int:
        ids = self._some(self._lines, 5)  # each order is computed anew
        values = {"product_uom_qty": self._chance.randrange(1, 50), "price_unit": self._chance.randrange(1, 9999) / 100}
        self._editor.call("sale.order.line", "write", ids=ids, vals=values)
        return len(ids)

    def _create_orders(self) -> int:
        product = self._editor.call("product.product", "search", domain=[], limit=1)[0]
        lines = [
            [0, 0, {"product_id": product, "product_uom_qty": count, "price_unit": count * 1.1}] for count in (1, 2)
        ]
        partner = self._chance.choice(self._partners)
        self._free = [one for one in self._free if one != partner]
        made = self._editor.call("sale.order", "create", vals_list=[{"partner_id": partner, "order_line": lines}] * 3)
        self._orders += made
        return 3 * len(made)

    def _delete_partners(self) -> int:
        ids = self._take(self._free, BATCH)
        self._editor.call("res.partner", "unlink", ids=ids)
        return len(ids)

    def _delete_lines(self) -> int:
        ids = self._take(self._lines, 5)
        self._editor.call("sale.order.line", "unlink", ids=ids)
        return len(ids)

    def _archive(self) -> int:
        ids = self._some(self._free, BATCH)
        active = self._chance.random() < 0.3
        self._editor.call("res.partner", "write", ids=ids, vals={"active": active})
        return len(ids)

    def _link(self) -> int:
        ids = self._some(self._partners, BATCH)
        command = self._chance.choice(
            [[4, self._chance.choice(self._categories)], [6, 0, self._some(self._categories, 2)], [5]]
        )
        self._editor.call("res.partner", "write", ids=ids, vals={"category_id": [command]})
        return len(ids)

    def _tag(self) -> int:
        ids = self._some(self._orders, BATCH)
        command = self._chance.choice([[4, self._chance.choice(self._tags)], [6, 0, self._some(self._tags, 3)], [5]])
        self._editor.call("sale.order", "write", ids=ids, vals={"tag_ids": [command]})
        return len(ids)

    def _link_from_category(self) -> int:
        ids = self._some(self._partners, 10)
        command = self._chance.choice([4, 3])
        values = {"partner_ids": [[command, partner] for partner in ids]}
        self._editor.call("res.partner.category", "write", ids=self._some(self._categories, 1), vals=values)
        return len(ids)

    def _delete_category(self) -> int:
        if len(self._categories) < CATEGORIES // 2:
            return self._link_from_category()
        self._editor.call("res.partner.category", "unlink", ids=self._take(self._categories, 1))
        return 1

    # -- by SQL

    def _write_by_sql(self, *, moved: bool) -> int:
        self._number += 1
        when = ", write_date = NOW() AT TIME ZONE 'UTC'" if moved else ""
        return self._sql(
            f"UPDATE res_partner SET city = %s, function = NULL, employee = NULL, customer_rank = 0{when}"
            " WHERE id = ANY(%s)",
            f"SQL {self._number}",
            self._some(self._partners, BATCH),
        )

    def _create_by_sql(self) -> int:
        with self._odoo, self._odoo.cursor() as cursor:
            made = self._insert(cursor, BATCH)
        self._partners += made
        self._free += made
        return len(made)

    def _insert(self, cursor: Cursor, count: int) -> list[int]:
        self._number += 1
        changes = {
            "name": f"'Partner s{self._number}'",
            "create_date": "NOW() AT TIME ZONE 'UTC'",
            "write_date": "NOW() AT TIME ZONE 'UTC'",
            "parent_id": "NULL",
            "commercial_partner_id": "{base} + n",
        }
        base = _clone(cursor, "res_partner", self._chance.choice(self._partners), count, changes, {})
        return list(range(base + 1, base + 1 + count))

    def _delete_by_sql(self) -> int:
        ids = self._take(self._free, BATCH)
        return self._sql("DELETE FROM res_partner WHERE id = ANY(%s)", ids)

    def _archive_by_sql(self) -> int:
        return self._sql("UPDATE res_partner SET active = NOT active WHERE id = ANY(%s)", self._some(self._free, BATCH))

    def _link_by_sql(self) -> int:
        ids, category = self._some(self._partners, BATCH), self._chance.choice(self._categories)
        table = PARTNER_CATEGORY
        if self._chance.random() < 0.5:
            return self._sql(f"DELETE FROM {table} WHERE partner_id = ANY(%s)", ids)
        return self._sql(
            f"INSERT INTO {table} (partner_id, category_id) SELECT unnest(%s), %s ON CONFLICT DO NOTHING", ids, category
        )

    # -- helpers

    def _ids(self, statement: str) -> list[int]:
        with self._odoo, self._odoo.cursor() as cursor:
            cursor.execute(f"{statement} ORDER BY 1")
            return [row[0] for row in cursor.fetchall()]

    def _sql(self, statement: str, *values: Any) -> int:
        with self._odoo, self._odoo.cursor() as cursor:
            cursor.execute(statement, values)
            return int(cursor.rowcount)

    def _some(self, ids: list[int], count: int) -> list[int]:
        return self._chance.sample(ids, min(count, len(ids)))

    def _take(self, ids: list[int], count: int) -> list[int]:
        """Some that are gone then."""
        gone = self._some(ids, count)
        without = set(gone)
        for known in (self._partners, self._free) if ids is self._free else (ids,):
            known[:] = [one for one in known if one not in without]
        return gone


def main(arguments: list[str]) -> int:
    """Fill, or change, the Odoo of FBS_LIVE_…."""
    numbers = [int(argument) for argument in arguments[1:]]
    key = connection_of(os.environ, by_key=True)
    with closing(psycopg2.connect(sql_dsn())) as odoo, closing(open_transport(key)) as editor:
        if arguments[:1] == ["fill"]:
            made: Mapping[str, int] = fill(odoo, editor, Sizes.of(*numbers) if numbers else Sizes())
        elif arguments[:1] == ["change"]:
            made = Changes(odoo, editor, seed=(numbers[1:] or [16])[0]).make((numbers or [10_000])[0])
        else:
            print(__doc__, file=sys.stderr)
            return 2
    print(json.dumps(made, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
