"""Domains decided as Odoo decides them; the rules were checked by asking a real Odoo 19 the same kinds of question."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from fbs_worker.connectors.recording.domain_filter import DomainError, fields_of, predicate

KINDS = {
    "id": "integer",
    "name": "char",
    "size": "integer",
    "ratio": "float",
    "active": "boolean",
    "kind": "selection",
    "day": "date",
    "written": "datetime",
    "parent": "many2one",
    "children": "one2many",
    "display_name": "char",
}


class Row:
    """A record of plain values; `parent` and `children` are ids of other rows."""

    def __init__(self, **values: Any) -> None:
        self.values = {
            "name": False,
            "size": 0,
            "ratio": 0.0,
            "active": False,
            "kind": False,
            "day": False,
            "written": False,
            "parent": False,
            "children": [],
            **values,
        }

    def kind(self, field: str) -> str:
        if field not in KINDS:
            raise DomainError(f"Invalid field '{field}'")
        return KINDS[field]

    def value(self, field: str) -> Any:
        self.kind(field)
        return self.values["name" if field == "display_name" else field]

    def related(self, field: str) -> Iterable[Row]:
        value = self.value(field)
        ids = value if isinstance(value, list) else [value] if value else []
        return [ROWS[number] for number in ids]


ROWS = {
    1: Row(id=1, name="Alpha", size=5, ratio=1.5, active=True, kind="a", day="2026-01-01", children=[2, 3]),
    2: Row(id=2, name="beta_x", size=0, kind="b", written="2026-01-01 10:00:00", parent=1),
    3: Row(id=3, name=False, size=7, active=True, day="2026-02-01", written="2026-01-02 00:00:00", parent=1),
    4: Row(id=4, name="100%", parent=3),
}

CASES: list[tuple[list[Any], set[int]]] = [
    ([], {1, 2, 3, 4}),
    # equality, and what is not set
    ([("name", "=", "Alpha")], {1}),
    ([("name", "=", "alpha")], set()),
    ([("name", "=", False)], {3}),
    ([("name", "=", None)], {3}),
    ([("name", "=", "")], {3}),
    ([("name", "!=", "Alpha")], {2, 3, 4}),
    ([("name", "!=", False)], {1, 2, 4}),
    ([("name", "<>", "Alpha")], {2, 3, 4}),
    ([("size", "=", 0)], {2, 4}),
    ([("size", "=", False)], {2, 4}),
    ([("active", "=", True)], {1, 3}),
    ([("active", "=", False)], {2, 4}),
    ([("active", "!=", True)], {2, 4}),
    ([("active", "!=", False)], {1, 3}),
    ([("active", "in", [True, False])], {1, 2, 3, 4}),
    ([("kind", "=", False)], {3, 4}),
    ([("name", "=?", False)], {1, 2, 3, 4}),
    ([("name", "=?", "Alpha")], {1}),
    ([("name", "=", [])], {3}),
    ([("name", "!=", [])], {1, 2, 4}),
    # in
    ([("name", "in", ["Alpha", "100%"])], {1, 4}),
    ([("name", "in", ["Alpha", False])], {1, 3}),
    ([("name", "in", [])], set()),
    ([("name", "in", "Alpha")], {1}),
    ([("name", "not in", ["Alpha"])], {2, 3, 4}),
    ([("name", "not in", ["Alpha", False])], {2, 4}),
    ([("name", "not in", [])], {1, 2, 3, 4}),
    ([("id", "in", (1, 4))], {1, 4}),
    # order
    ([("size", ">", 0)], {1, 3}),
    ([("size", ">=", 0)], {1, 2, 3, 4}),
    ([("size", "<", 1)], {2, 4}),
    ([("ratio", "<=", 1.5)], {1, 2, 3, 4}),
    ([("name", "<", "B")], {1, 3, 4}),
    ([("name", ">", "")], {1, 2, 4}),
    ([("name", ">=", "")], {1, 2, 3, 4}),
    ([("day", "<", "2026-01-15")], {1}),
    ([("day", ">", "2000-01-01")], {1, 3}),
    ([("day", "<", False)], set()),
    ([("written", ">", "2026-01-01")], {3}),
    ([("written", ">=", "2026-01-01")], {2, 3}),
    ([("written", "<=", "2026-01-01")], {2}),
    ([("written", "<", "2026-01-01")], set()),
    ([("parent", ">", 1)], {4}),
    # like
    ([("name", "like", "a")], {1, 2}),
    ([("name", "like", "A")], {1}),
    ([("name", "ilike", "A")], {1, 2}),
    ([("name", "not like", "a")], {3, 4}),
    ([("name", "not ilike", "A")], {3, 4}),
    ([("name", "like", "")], {1, 2, 3, 4}),
    ([("name", "not like", "")], set()),
    ([("name", "like", False)], {1, 2, 3, 4}),
    ([("name", "=like", "A%")], {1}),
    ([("name", "=like", "a%")], set()),
    ([("name", "=ilike", "a%")], {1}),
    ([("name", "=like", "_lpha")], {1}),
    ([("name", "=like", "Alph")], set()),
    ([("name", "=like", "")], {3}),
    ([("name", "not =like", "A%")], {2, 3, 4}),
    ([("name", "like", "beta_x")], {2}),
    ([("name", "like", r"a\_x")], {2}),
    ([("name", "like", r"0\%")], {4}),
    ([("name", "like", ".")], set()),
    # operators
    (["!", ("name", "=", "Alpha")], {2, 3, 4}),
    (["|", ("name", "=", "Alpha"), ("size", "=", 7)], {1, 3}),
    (["&", ("active", "=", True), ("size", "=", 7)], {3}),
    ([("active", "=", True), ("size", "=", 7)], {3}),
    (["|", "|", ("id", "=", 1), ("id", "=", 2), ("id", "=", 3)], {1, 2, 3}),
    (["|", ("id", "=", 1), ("id", "=", 3), ("active", "=", True), ("size", ">", 5)], {3}),
    (["!", "|", ("id", "=", 1), ("id", "=", 2)], {3, 4}),
    (["|", "!", ("active", "=", True), ("id", "=", 1)], {1, 2, 4}),
    ([(1, "=", 1)], {1, 2, 3, 4}),
    ([(0, "=", 1)], set()),
    # ways to other rows
    ([("parent", "=", 1)], {2, 3}),
    ([("parent", "=", False)], {1}),
    ([("parent", "!=", False)], {2, 3, 4}),
    ([("parent", "!=", 1)], {1, 4}),
    ([("parent", "in", [1, False])], {1, 2, 3}),
    ([("parent", "=", "Alpha")], {2, 3}),
    ([("parent", "like", "lph")], {2, 3}),
    ([("parent", "not like", "lph")], {1, 4}),
    ([("parent.name", "=", "Alpha")], {2, 3}),
    ([("parent.name", "!=", "zzz")], {2, 3, 4}),
    ([("parent.name", "=", False)], {4}),
    ([("parent.parent.name", "=", "Alpha")], {4}),
    ([("parent.id", "=", 1)], {2, 3}),
    ([("children", "=", False)], {2, 3, 4}),
    ([("children", "!=", False)], {1}),
    ([("children", "in", [3])], {1}),
    ([("children", "=", 3)], {1}),
    ([("children", "not in", [3])], {2, 3, 4}),
    ([("children.size", "=", 7)], {1}),
    ([("children.size", ">", 100)], set()),
    ([("children", "any", [("size", "=", 7)])], {1}),
    ([("children", "not any", [("size", "=", 7)])], {2, 3, 4}),
]


@pytest.mark.parametrize(("domain", "expected"), CASES, ids=[str(case[0]) for case in CASES])
def test_domain(domain: list[Any], expected: set[int]) -> None:
    holds = predicate(domain)
    assert {number for number, row in ROWS.items() if holds(row)} == expected


@pytest.mark.parametrize(("domain", "expected"), CASES, ids=[str(case[0]) for case in CASES])
def test_its_negation(domain: list[Any], expected: set[int]) -> None:
    if not domain:
        return
    conditions = sum(not isinstance(item, str) for item in domain)
    binary = sum(item in ("&", "|") for item in domain)
    whole = [*["&"] * (conditions - binary - 1), *domain]
    holds = predicate(["!", *whole])
    assert {number for number, row in ROWS.items() if holds(row)} == set(ROWS) - expected


@pytest.mark.parametrize(
    "domain",
    [
        ["|", ("id", "=", 1)],
        ["!"],
        [("id", "=")],
        ["x"],
        [("id", "~", 1)],
        [("", "=", 1)],
        [(2, "=", 1)],
        [("id", "child_of", 1)],
    ],
)
def test_an_invalid_domain(domain: list[Any]) -> None:
    with pytest.raises(DomainError):
        predicate(domain)


@pytest.mark.parametrize("domain", [[("no_field", "=", 1)], [("name.x", "=", 1)], [("no_field.x", "=", 1)]])
def test_an_unknown_field(domain: list[Any]) -> None:
    holds = predicate(domain)
    with pytest.raises(DomainError):
        holds(ROWS[1])


def test_fields_of_a_domain() -> None:
    assert fields_of(["|", ("active", "=", True), ["parent.name", "=", 1], (1, "=", 1)]) >= {"active", "parent.name"}
