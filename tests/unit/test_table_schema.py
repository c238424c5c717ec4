"""Table schemas and their JSON."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, text

from fbs_worker.core.errors import DatabaseError
from fbs_worker.schema.model import (
    SERIAL,
    ColumnSchema,
    KeySchema,
    TableSchema,
    from_json,
    renamed,
    schema_of,
    to_json,
)
from tests.support.rental_tables import rental


def test_a_schema_survives_json() -> None:
    definition = rental(sale__order={"note": {"type": "text", "stored": True}})
    schema = schema_of([*definition.system, *definition.tables])
    assert from_json(to_json(schema)) == schema


def test_json_form_of_a_table() -> None:
    metadata = MetaData()
    Table("o", metadata, Column("id", Integer, primary_key=True), Column("k", Integer, unique=True))
    table = Table(
        "t",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(9), server_default="x", nullable=False),
        Column("o_k", Integer, ForeignKey("o.k", ondelete="cascade", onupdate="NO ACTION")),
        CheckConstraint("o_k > 0"),
        Index("low", "name", postgresql_where=text("o_k > 1"), unique=True),
        Index("plain", "name", "o_k"),
    )
    assert to_json(schema_of([table])) == {
        "t": {
            "columns": {
                "id": ["integer", True, SERIAL],
                "name": ["character varying(9)", True, "'x'::character varying"],
                "o_k": ["integer", False, None],
            },
            "keys": [
                ["p", ["id"], None],
                ["f", ["o_k"], ["o", ["k"]], "ON DELETE CASCADE"],
                ["i", ["name"], None, "UNIQUE (name) WHERE o_k > 1"],
                ["i", ["name", "o_k"], None],
                ["c", [], None, "o_k > 0"],
            ],
        }
    }


DAMAGED: list[Any] = [
    {"t": []},
    {"t": {"columns": {}}},
    {"t": {"columns": {"a": ["text", True]}, "keys": []}},
    {"t": {"columns": {"a": [None, True, None]}, "keys": []}},
    {"t": {"columns": {"a": ["text", True, 1]}, "keys": []}},
    {"t": {"columns": {}, "keys": [["y", [], None]]}},
    {"t": {"columns": {}, "keys": [["f", ["a"], ["o"]]]}},
    {"t": {"columns": {}, "keys": [["u"]]}},
]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_manifest_is_rejected(damaged: Any) -> None:
    with pytest.raises(DatabaseError, match="is damaged") as caught:
        from_json(damaged)
    assert "schema_definition" in caught.value.hint


def test_renamed_columns() -> None:
    schema = {
        "o": TableSchema(columns={"k": ColumnSchema(type="integer")}, keys=(KeySchema(kind="u", columns=("k",)),)),
        "t": TableSchema(
            columns={"k": ColumnSchema(type="integer")},
            keys=(KeySchema(kind="f", columns=("k",), target=("o", ("k",))),),
        ),
    }
    after = renamed(schema, {("o", "k"): "number"})
    assert list(after["o"].columns) == ["number"]
    assert after["o"].keys[0].columns == ("number",)
    assert list(after["t"].columns) == ["k"]
    assert after["t"].keys[0].target == ("o", ("number",))


def test_names_are_not_part_of_a_keys_identity() -> None:
    first = KeySchema(kind="u", columns=("a",), name="one")
    assert first == KeySchema(kind="u", columns=("a",), name="two")
    assert first.label() == "unique key (a)"
    assert schema_of([Table("t", MetaData(), Column("a", Text))])["t"].keys == ()
