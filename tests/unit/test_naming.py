"""Names of tables and of what belongs to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbs_worker.core.errors import UsageError
from fbs_worker.schema.naming import checked_name, derived_name


@pytest.mark.parametrize("name", ["rental_lease", "order", 'x"y', "Straße", "a b", "%s", "Ü" * 31, "x" * 63, "select"])
def test_any_text_of_63_bytes_is_a_name(name: str) -> None:
    assert checked_name(name) == name
    assert checked_name(name).quote is True


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "is empty"),
        ("a\x00b", "control characters"),
        ("a\nb", "control characters"),
        ("a\x85b", "control characters"),
        ("\ud800", "Unicode"),
        ("x" * 64, "64 bytes"),
        ("Ü" * 32, "64 bytes"),
    ],
)
def test_what_postgresql_would_change_is_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        checked_name(name, "column")
    assert "column name" in caught.value.message
    assert caught.value.hint


def test_a_derived_name_that_fits_stays_as_it_is() -> None:
    assert derived_name("rental_lease_tenant_id", "_fkey") == "rental_lease_tenant_id_fkey"
    assert derived_name("x" * 58, "_fkey") == "x" * 58 + "_fkey"
    assert derived_name("x" * 63) == "x" * 63


def test_a_long_derived_name_keeps_its_ends_and_gets_a_hash() -> None:
    assert derived_name("x" * 70, "_fkey") == "x" * 49 + "_dd534b09_fkey"


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=90), st.sampled_from(["", "_key"]))
def test_a_derived_name_always_fits(whole: str, end: str) -> None:
    name = derived_name(whole, end)
    assert checked_name(name) == name
    assert name.endswith(end)
    assert derived_name(whole + "x", end) != name
