"""Rows in the binary format of COPY: which discoveries fit, and their JSON."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbs_worker.catalogue.copy_rows import CHUNK_BYTES, RowStream, encode_row, misfit, to_json
from fbs_worker.catalogue.model import Discovery, DiscoveryType
from fbs_worker.core.errors import JobCancelled

ALL = frozenset(DiscoveryType)


def model(name: str = "sale.order", **given: Any) -> Discovery:
    return Discovery(**{"discovery_type": DiscoveryType.MODEL, "domain": "rental", "name": name, **given})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [1.5, None, True]}, b'{"a":[1.5,null,true],"b":1}'),
        ({"a": 'ü \N{GRINNING FACE} \t \\ "'}, '{"a":"ü \N{GRINNING FACE} \\t \\\\ \\""}'.encode()),
        ({"a": "x\0y"}, '{"a":"x\N{REPLACEMENT CHARACTER}y"}'.encode()),
        ({"x\0": "\0"}, '{"x\N{REPLACEMENT CHARACTER}":"\N{REPLACEMENT CHARACTER}"}'.encode()),
        ({"a": r"\u0000"}, rb'{"a":"\\u0000"}'),
        ({"a": "\ud800"}, '{"a":"\N{REPLACEMENT CHARACTER}"}'.encode()),
        ({"a": 2**70}, b'{"a":1180591620717411303424}'),
        ({"a": [2**70, float("nan")]}, b'{"a":[1180591620717411303424,null]}'),
        ({"a": float("inf")}, b'{"a":null}'),
        (MappingProxyType({"b": (1, 2), "a": frozenset({"y", "x"})}), b'{"a":["x","y"],"b":[1,2]}'),
    ],
)
def test_json_that_jsonb_takes(value: Any, expected: bytes) -> None:
    assert to_json(value) == expected


texts = st.text('aü\u2028\t"\\u0', max_size=5)


@given(st.dictionaries(texts, texts | st.integers() | st.none() | st.lists(texts | st.booleans(), max_size=3)))
def test_json_is_what_it_was_made_of(value: dict[str, Any]) -> None:
    assert json.loads(to_json(value)) == value


@pytest.mark.parametrize(
    ("discovery", "expected"),
    [
        (model(), ""),
        (model("x" * 100, version="1" * 20), ""),
        (model("ü" * 100), ""),
        (model("a\tb\n\\."), ""),
        (model("x" * 101), "its name has 101 characters; at most 100 fit"),
        (model(version="1" * 21), "its version '111111111111111111111' has 21 characters; at most 20 fit"),
        (model(""), "it has no name"),
        (model("a\0b"), "its name or version has characters that PostgreSQL cannot store"),
        (model("a\udc80"), "its name or version has characters that PostgreSQL cannot store"),
        (model(domain="hr"), "it is of the domain 'hr', not 'rental'"),
        (model(domain="x" * 101), f"it is of the domain '{'x' * 100}', not 'rental'"),
    ],
)
def test_a_misfit_has_a_reason(discovery: Discovery, expected: str) -> None:
    assert misfit(discovery, "rental", ALL) == expected


def test_a_type_that_the_snapshot_is_not_of_does_not_fit() -> None:
    assert "'model'" in misfit(model(), "rental", frozenset({DiscoveryType.MODULE}))


def test_a_row_in_binary() -> None:
    row = encode_row(7, model("m", metadata={"a": 1}))
    assert row == struct.pack("!hiii5si1sii8si", 6, 4, 7, 5, b"model", 1, b"m", -1, 8, b'\x01{"a":1}', -1)


def test_a_module_without_a_version_gets_the_first() -> None:
    row = encode_row(0, model("m", discovery_type=DiscoveryType.MODULE))
    assert struct.pack("!i3s", 3, b"1.0") in row


def test_the_stream_comes_in_portions_and_is_drawn_only_as_it_is_read() -> None:
    drawn = 0

    def discoveries() -> Iterator[Discovery]:
        nonlocal drawn
        for drawn in range(1, 41):
            yield model(f"m{drawn}", metadata={"text": "x" * (CHUNK_BYTES // 10)})

    stream = RowStream(discoveries(), domain="rental", types=ALL)
    first = stream.read(8192)
    assert first.startswith(b"PGCOPY\n\xff\r\n\0")
    assert drawn == 10
    rest = b"".join(iter(stream.read, b""))
    assert rest.endswith(b"\xff\xff")
    assert (stream.rows, drawn) == (40, 40)
    stream.raise_error()


def test_misfits_are_left_out() -> None:
    stream = RowStream([model("x" * 101), model("fits"), model("")], domain="rental", types=ALL)
    assert b"fits" in stream.read()
    assert stream.read() == b""
    assert stream.rows == 1
    assert [(skip.name, bool(skip.reason)) for skip in stream.skipped] == [("x" * 101, True), ("", True)]


def test_an_error_ends_the_stream_and_is_kept() -> None:
    def discoveries() -> Iterator[Discovery]:
        yield model()
        raise JobCancelled("Cancelled.")

    stream = RowStream(discoveries(), domain="rental", types=ALL)
    assert stream.read() == b""
    assert stream.read() == b""
    with pytest.raises(JobCancelled):
        stream.raise_error()
