"""From one type to another, in words; what PostgreSQL makes of them the matrix of plans shows."""

from __future__ import annotations

from itertools import product

import pytest

from fbs_worker.migration.model.type_conversion import Type, conversion, parse_type

TYPES = {
    "character varying(50)": Type(base="character varying", numbers=(50,)),
    "numeric(10,2)": Type(base="numeric", numbers=(10, 2)),
    "timestamp(3) without time zone": Type(base="timestamp without time zone", numbers=(3,)),
    "timestamp with time zone": Type(base="timestamp with time zone"),
    "double precision": Type(base="double precision"),
    "integer[]": Type(base="integer[]"),
    "my_type": Type(base="my_type"),
}


@pytest.mark.parametrize("written", TYPES)
def test_types_are_parsed(written: str) -> None:
    assert parse_type(written) == TYPES[written]


# before, after: may fail, loses values
CASES = {
    ("character varying(5)", "character varying(9)"): (False, False),
    ("character varying(5)", "text"): (False, False),
    ("text", "character varying"): (False, False),
    ("text", "character varying(9)"): (True, False),
    ("character varying(9)", "character varying(5)"): (True, False),
    ("character(5)", "text"): (False, False),
    ("numeric(6,2)", "numeric(9,2)"): (False, False),
    ("numeric(6,2)", "numeric"): (False, False),
    ("numeric(6,2)", "numeric(9,4)"): (False, False),
    ("numeric(6,2)", "numeric(6,4)"): (True, False),
    ("numeric(6,3)", "numeric(6,2)"): (False, True),
    ("numeric(6,3)", "numeric(5,2)"): (True, True),
    ("numeric", "numeric(9,2)"): (True, True),
    ("integer", "bigint"): (False, False),
    ("bigint", "integer"): (True, False),
    ("integer", "numeric(12,2)"): (False, False),
    ("integer", "numeric(9,2)"): (True, False),
    ("integer", "double precision"): (False, False),
    ("bigint", "double precision"): (False, True),
    ("integer", "real"): (False, True),
    ("double precision", "real"): (True, True),
    ("real", "integer"): (True, True),
    ("date", "timestamp without time zone"): (False, False),
    ("timestamp without time zone", "date"): (False, True),
    ("timestamp without time zone", "timestamp(3) without time zone"): (False, True),
    ("timestamp(3) without time zone", "timestamp without time zone"): (False, False),
    ("integer", "jsonb"): (False, False),
    ("jsonb", "integer"): (True, True),
    ("text", "date"): (True, True),
    ("uuid", "text"): (False, False),
    ("integer[]", "text[]"): (True, True),
}


@pytest.mark.parametrize("types", CASES, ids=" to ".join)
def test_what_may_happen_to_values(types: tuple[str, str]) -> None:
    found = conversion(*types, '"c"')
    assert (found.may_fail, found.lossy) == CASES[types]
    assert bool(found.fails_where) == found.may_fail
    assert not (found.lossy and found.reverse)


@pytest.mark.parametrize(("before", "after"), list(product(TYPES, TYPES)))
def test_values_are_never_truncated_silently(before: str, after: str) -> None:
    """A cast to a limited text would do so; what PostgreSQL does by itself refuses."""
    found = conversion(before, after, '"c"')
    assert found.implicit or "::character varying(" not in found.value


def test_older_servers_have_no_pg_input_is_valid() -> None:
    found = conversion("text", "integer", '"c"', server_version=150_004)
    assert (found.may_fail, found.fails_where) == (True, "")
    # comparisons work on every server version
    assert conversion("bigint", "integer", '"c"', server_version=150_004).fails_where
