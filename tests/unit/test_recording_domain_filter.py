"""Domains decided as Odoo decides them; the rules were checked by asking a real Odoo 19 the same kinds of question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fbs_worker.connectors.recording.domain_filter import DomainError, fields_of, predicate
from fbs_worker.connectors.recording.file_format import RecordedTable, Recording, write_recording
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import OdooCallFailed

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
}
ROWS = [
    (1, "Alpha", 5, 1.5, True, "a", "2026-01-01", False, False, [2, 3]),
    (2, "beta_x", 0, 0.0, False, "b", False, "2026-01-01 10:00:00", 1, []),
    (3, False, 7, 0.0, True, False, "2026-02-01", "2026-01-02 00:00:00", 1, []),
    (4, "100%", 0, 0.0, False, False, False, False, 3, []),
]

Search = Callable[[list[Any]], set[int]]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Ids of the rows of a domain."""
    path = tmp_path_factory.mktemp("recording") / "x.json"
    fields = {name: {"type": kind, "relation": "a"} for name, kind in KINDS.items()}
    table = RecordedTable(columns=list(KINDS), rows=ROWS)
    write_recording(path, Recording(series="19.0", database="x", tables={"a": table}, fields={"a": fields}))
    transport = RecordingTransport(path)
    return lambda domain: {*transport.call("a", "search", domain=domain, context={"active_test": False})}


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
    ([("size", "=", 0)], {2, 4}),
    ([("size", "=", False)], {2, 4}),
    ([("active", "=", True)], {1, 3}),
    ([("active", "=", False)], {2, 4}),
    ([("active", "!=", True)], {2, 4}),
    ([("active", "!=", False)], {1, 3}),
    ([("active", "in", [True, False])], {1, 2, 3, 4}),
    ([("kind", "=", False)], {3, 4}),
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
    ([("name", ">", "")], {1, 2, 4}),
    ([("day", "<", "2026-01-15")], {1}),
    ([("day", ">", "2000-01-01")], {1, 3}),
    ([("day", "<", False)], set()),
    ([("written", ">=", "2026-01-01")], {2, 3}),
    ([("parent", ">", 1)], {4}),
    # like
    ([("name", "like", "a")], {1, 2}),
    ([("name", "like", "A")], {1}),
    ([("name", "ilike", "A")], {1, 2}),
    ([("name", "not like", "a")], {3, 4}),
    ([("name", "not ilike", "A")], {3, 4}),
    ([("name", "=like", "A%")], {1}),
    ([("name", "=like", "a%")], set()),
    ([("name", "=ilike", "a%")], {1}),
    ([("name", "=like", "_lpha")], {1}),
    ([("name", "=like", "Alph")], set()),
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
    # ways to other rows
    ([("parent", "=", 1)], {2, 3}),
    ([("parent", "=", False)], {1}),
    ([("parent", "!=", False)], {2, 3, 4}),
    ([("parent", "!=", 1)], {1, 4}),
    ([("parent", "in", [1, False])], {1, 2, 3}),
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
]


@pytest.mark.parametrize(("domain", "expected"), CASES, ids=[str(case[0]) for case in CASES])
def test_domain_and_its_negation(search: Search, domain: list[Any], expected: set[int]) -> None:
    assert search(domain) == expected
    conditions = sum(not isinstance(item, str) for item in domain)
    binary = sum(item in ("&", "|") for item in domain)
    if domain:
        assert search(["!", *["&"] * (conditions - binary - 1), *domain]) == {1, 2, 3, 4} - expected


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
def test_an_unknown_field(search: Search, domain: list[Any]) -> None:
    with pytest.raises(OdooCallFailed):
        search(domain)


def test_fields_of_a_domain() -> None:
    assert fields_of(["|", ("active", "=", True), ["parent.name", "=", 1]]) == {"active", "parent.name"}
