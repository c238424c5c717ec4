"""The comparison that benchmarks and live tests rely on (`bench.records_equal`) finds each difference, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from bench.records_equal import Compared, Comparison
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.postgres import connect
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from tests.support.servers import fresh_database
from tests.support.solutions import run

ODOO = """
CREATE TABLE ir_model_fields (id serial, model text, name text, ttype text, company_dependent boolean, translate text,
    store boolean DEFAULT TRUE, relation_table text, column1 text, column2 text);
CREATE TABLE ir_default (field_id int, user_id int, company_id int, condition text, json_value text);
CREATE TABLE ir_attachment (id serial, res_model text, res_field text, res_id int, checksum text);
CREATE TABLE made (id int, name varchar, label jsonb, amount numeric, ratio float8, count int, flag boolean,
    seen timestamp, day date, rank jsonb, extra jsonb, parent_id int);
INSERT INTO ir_model_fields (model, name, ttype, company_dependent, translate) VALUES
    ('made', 'name', 'char', FALSE, NULL), ('made', 'label', 'char', FALSE, 'standard'),
    ('made', 'amount', 'monetary', FALSE, NULL), ('made', 'ratio', 'float', FALSE, NULL),
    ('made', 'count', 'integer', FALSE, NULL), ('made', 'flag', 'boolean', FALSE, NULL),
    ('made', 'seen', 'datetime', FALSE, NULL), ('made', 'day', 'date', FALSE, NULL),
    ('made', 'rank', 'integer', TRUE, NULL), ('made', 'extra', 'json', FALSE, NULL),
    ('made', 'parent_id', 'many2one', FALSE, NULL), ('made', 'image', 'binary', FALSE, NULL);
INSERT INTO ir_model_fields (model, name, ttype, relation_table, column1, column2)
    VALUES ('made', 'tag_ids', 'many2many', 'made_tag_rel', 'made_id', 'tag_id');
INSERT INTO ir_default (field_id, json_value) SELECT id, '7' FROM ir_model_fields WHERE name = 'rank';
CREATE TABLE made_tag_rel (made_id int, tag_id int);
INSERT INTO made VALUES
    (1, 'one', '{"en_US": "One", "de_DE": "Eins"}', 12345678901234567890.5, 0.1, NULL, NULL,
        '2026-01-02 03:04:05.678', '0044-03-15', '{"1": 3, "2": 4}', '{"a": 40.50}', NULL),
    (2, '', NULL, NULL, 1e30, 0, TRUE, NULL, NULL, NULL, NULL, 99);
INSERT INTO made_tag_rel VALUES (1, 5), (1, 5), (2, 6);
INSERT INTO ir_attachment (res_model, res_field, res_id, checksum)
    VALUES ('made', 'image', 1, '5ba93c9db0cff93f52b521d7420e43f6eda2784f');
"""

OURS = r"""
CREATE TABLE b_made (id serial, odoo_id int, name varchar, label varchar, amount numeric, ratio numeric, count int,
    flag boolean, seen timestamp, day date, rank int, extra jsonb, parent_id int, image bytea, mine text,
    created_at timestamp, updated_at timestamp);
CREATE TABLE b_made__tag_ids (from_id int, to_id int);
CREATE TABLE fbs_rejected_records (table_name text, odoo_id int);
INSERT INTO b_made (odoo_id, name, label, amount, ratio, count, flag, seen, day, rank, extra, parent_id, image) VALUES
    (1, 'one', 'One', 12345678901234567000, 0.1, 0, FALSE, '2026-01-02 03:04:05', '0044-03-15', 3, '{"a": 40.5}',
        NULL, '\x00'),
    (2, '', NULL, 0, 1000000000000000000000000000000, 0, TRUE, NULL, NULL, 7, NULL, 99, NULL);
INSERT INTO b_made__tag_ids VALUES (1, 5), (2, 6);
"""


@pytest.fixture
def two(postgres: EmbeddedPostgres) -> Iterator[tuple[DatabaseConfig, DatabaseConfig]]:
    """A database such as Odoo's, and a solution's that equals it."""
    with fresh_database(postgres) as odoo, fresh_database(postgres) as ours:
        run(odoo, ODOO)
        run(ours, OURS)
        yield odoo, ours


def compared(odoo: DatabaseConfig, ours: DatabaseConfig, *, language: str = "en_US") -> tuple[Compared, Compared]:
    with closing(connect(odoo)) as one, closing(connect(ours)) as other:
        rows, links = Comparison(one, other, language=language, binary=True).compare({"made": "b_made"})
    return rows, links


def test_equal_values_of_all_kinds(two: tuple[DatabaseConfig, DatabaseConfig]) -> None:
    rows, links = compared(*two)
    assert (rows.rows, rows.values, rows.differing, rows.skipped) == (2, 2 * 11 + 1, 0, ["mine"])
    assert (links.rows, links.differing) == (2, 0)
    rows, _ = compared(*two, language="de_DE")
    (difference,) = rows.first
    assert (difference.odoo_id, difference.field, difference.odoo, difference.ours) == (1, "label", "Eins", "One")


@pytest.mark.parametrize(
    ("change", "number", "field"),
    [
        ("UPDATE b_made SET name = NULL WHERE odoo_id = 2", 2, "name"),
        ("UPDATE b_made SET label = '' WHERE odoo_id = 2", 2, "label"),
        ("UPDATE b_made SET amount = 12345678901234567890.5 WHERE odoo_id = 1", 1, "amount"),  # RPC cannot tell that
        ("UPDATE b_made SET ratio = 0.1000000000000000055 WHERE odoo_id = 1", 1, "ratio"),
        ("UPDATE b_made SET count = 1 WHERE odoo_id = 1", 1, "count"),
        ("UPDATE b_made SET flag = TRUE WHERE odoo_id = 1", 1, "flag"),
        ("UPDATE b_made SET seen = seen + INTERVAL '1 second' WHERE odoo_id = 1", 1, "seen"),
        ("UPDATE b_made SET day = '2044-03-15' WHERE odoo_id = 1", 1, "day"),
        ("UPDATE b_made SET rank = 4 WHERE odoo_id = 1", 1, "rank"),
        ("UPDATE b_made SET rank = NULL WHERE odoo_id = 2", 2, "rank"),
        ("UPDATE b_made SET extra = '{\"a\": 40.51}' WHERE odoo_id = 1", 1, "extra"),
        ("UPDATE b_made SET parent_id = NULL WHERE odoo_id = 2", 2, "parent_id"),
        (r"UPDATE b_made SET image = '\x01' WHERE odoo_id = 1", 1, "image"),
        ("DELETE FROM b_made WHERE odoo_id = 2", 2, ""),
        ("INSERT INTO b_made (odoo_id) VALUES (3)", 3, ""),
    ],
)
def test_a_difference(two: tuple[DatabaseConfig, DatabaseConfig], change: str, number: int, field: str) -> None:
    run(two[1], change)
    rows, links = compared(*two)
    assert (rows.differing, links.differing) == (1, 0)
    assert [(each.odoo_id, each.field) for each in rows.first] == [(number, field)]
    run(two[1], f"INSERT INTO fbs_rejected_records VALUES ('b_made', {number})")
    rows, _ = compared(*two)
    assert (rows.differing, rows.rejected) == (0, 1)


@pytest.mark.parametrize(
    "change", ["DELETE FROM b_made__tag_ids WHERE to_id = 6", "UPDATE made_tag_rel SET tag_id = 4"]
)
def test_a_link_too_few_or_too_many(two: tuple[DatabaseConfig, DatabaseConfig], change: str) -> None:
    run(two["made_tag_rel" not in change], change)
    rows, links = compared(*two)
    assert (rows.differing, bool(links.differing)) == (0, True)
