"""Values of records as text for COPY, strictly by the type of their column. Pure.

Odoo sends an empty value as false, and an empty number or boolean as 0 or false: text, dates and relations become NULL,
numbers and booleans stay 0 and false.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from fbs_worker.catalogue.copy_rows import to_json
from fbs_worker.replication.source import Record
from fbs_worker.replication.target import LinkTable, Target

NULL: Final = "\\N"

_SPECIAL: Final = re.compile(r"[\\\n\r\t]")
_ESCAPED: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_YEAR: Final = re.compile(r"(\d{1,3})(?=-\d\d-\d\d)")
_LARGEST_INTEGER: Final = 2**31 - 1

Convert = Callable[[Any], str]


class ValueRejected(Exception):
    """A value that its column cannot hold.

    Args:
        field: the field's name; empty where it is not known.
        reason: why, in one line.
        value: the value as text, or None.
    """

    def __init__(self, field: str, reason: str, value: str | None = None) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason
        self.value = value


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda found: _ESCAPED[found[0]], text) if _SPECIAL.search(text) else text


def _integer(value: Any) -> str:
    if type(value) is int:
        if -_LARGEST_INTEGER - 1 <= value <= _LARGEST_INTEGER:
            return str(value)
        raise ValueError("the number is too large for INTEGER")
    if value is False or value is None:
        return NULL
    if type(value) is float and value.is_integer():
        return _integer(int(value))
    raise ValueError("it is no integer")


def _relation(value: Any) -> str:
    if type(value) is list and value:  # [id, name]
        value = value[0]
    return _integer(value)


def _number(value: Any) -> str:
    if type(value) is float or type(value) is int:
        return repr(value) if value == value and abs(value) != math.inf else _no_number(value)  # noqa: PLR0124 -- NaN
    if value is False or value is None:
        return NULL
    raise ValueError("it is no number")


def _no_number(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _boolean(value: Any) -> str:
    if value is True:
        return "t"
    if value is False or value is None:
        return "f" if value is False else NULL
    raise ValueError("it is no boolean")


def _text(value: Any) -> str:
    if type(value) is str:
        if "\0" in value:
            raise ValueError("PostgreSQL stores no text with a NUL character")
        return _escaped(value)
    if value is False or value is None:
        return NULL
    if type(value) is int:
        return str(value)
    raise ValueError("it is no text")


def _date(value: Any) -> str:
    if type(value) is str:
        if value[4:5] != "-":  # Odoo does not pad years: `44-03-15` would be 2044
            return _YEAR.sub(lambda found: found[1].zfill(4), value, count=1)
        return value
    if value is False or value is None:
        return NULL
    raise ValueError("it is no date")


def to_json_text(value: Any) -> str:
    """A value of a JSONB column."""
    return NULL if value is False or value is None else _escaped(to_json(value).decode())


def _binary(value: Any) -> str:
    if value is False or value is None:
        return NULL
    try:
        return "\\\\x" + base64.b64decode(value, validate=False).hex()
    except (TypeError, ValueError, binascii.Error):
        raise ValueError("it is not base64") from None


_CONVERTERS: Final[Mapping[str, Convert]] = {
    "char": _text,
    "text": _text,
    "html": _text,
    "selection": _text,
    "reference": _text,
    "integer": _integer,
    "float": _number,
    "monetary": _number,
    "boolean": _boolean,
    "date": _date,
    "datetime": _date,
    "binary": _binary,
    "image": _binary,
    "many2one": _relation,
    "many2one_reference": _relation,
}


def converter(kind: str) -> Convert:
    """The conversion of a type of Odoo; types that are not known are JSON, as their column is."""
    return _CONVERTERS.get(kind, to_json_text)


def lines(records: Sequence[Record], target: Target) -> list[str]:
    """Return a line of COPY's text format per record: `odoo_id`, and the columns of the target.

    Args:
        records: the records.
        target: the columns.

    Raises:
        ValueError, KeyError: a value does not fit; `rejected` finds out which.
    """
    if not records:
        return []
    names = ["id", *(column.field for column in target.columns)]
    kinds = ["integer", *(column.type for column in target.columns)]
    required = [False, *(column.required for column in target.columns)]
    rows: Iterable[Any] = (
        map(itemgetter(*names), records) if target.columns else ((record["id"],) for record in records)
    )
    columns = [_column(values, kind) for values, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
    if any(NULL in texts for texts, needed in zip(columns, required, strict=False) if needed):
        raise ValueError("a NOT NULL column would be empty")
    return list(map("\t".join, zip(*columns, strict=True)))


def _column(values: Sequence[Any], kind: str) -> list[str]:
    """Convert the values of a column: at once where all of them are plain, which most are, else one by one."""
    convert = _CONVERTERS.get(kind, to_json_text)
    plain = _PLAIN.get(convert)
    texts = plain(values) if plain is not None else None
    return [convert(value) for value in values] if texts is None else texts


def _plain_integers(values: Sequence[Any]) -> list[str] | None:
    types = set(map(type, values))
    if types == {int}:
        texts = list(map(str, values))
    elif types <= {int, bool} and not [value for value in values if value is True]:
        texts = [NULL if value is False else str(value) for value in values]
    else:
        return None
    return texts if min(values) >= -_LARGEST_INTEGER and max(values) <= _LARGEST_INTEGER else None


def _plain_numbers(values: Sequence[Any]) -> list[str] | None:
    is_plain = set(map(type, values)) == {float} and math.isfinite(sum(values))
    return list(map(repr, values)) if is_plain else None


def _plain_booleans(values: Sequence[Any]) -> list[str] | None:
    return ["t" if value else "f" for value in values] if set(map(type, values)) == {bool} else None


def _plain_texts(values: Sequence[Any]) -> list[str] | None:
    if not set(map(type, values)) <= {str, bool} or True in values:
        return None
    texts = [NULL if value is False else value for value in values]
    joined = "".join([value for value in values if value])
    if "\0" in joined:
        return None
    return list(map(_escaped_but_null, texts)) if _SPECIAL.search(joined) else texts


def _escaped_but_null(text: str) -> str:
    return text if text is NULL else _escaped(text)


def _plain_dates(values: Sequence[Any]) -> list[str] | None:
    if not set(map(type, values)) <= {str, bool} or True in values:
        return None
    # `2026-01-31`, or with ` 12:00:00`: years of fewer or more digits are of another length
    is_plain = set(map(len, filter(None, values))) <= {10, 19}
    return [value or NULL for value in values] if is_plain else None


_PLAIN: Final[Mapping[Convert, Callable[[Sequence[Any]], list[str] | None]]] = {
    _integer: _plain_integers,
    _relation: _plain_integers,
    _number: _plain_numbers,
    _boolean: _plain_booleans,
    _text: _plain_texts,
    _date: _plain_dates,
}
"""Conversions of whole columns of plain values; None: there are others among them."""


def rejected(record: Record, target: Target) -> ValueRejected | None:
    """Return why a record's values do not fit; None if they do."""
    for column in target.columns:
        value = record.get(column.field)
        try:
            if column.field not in record:
                raise ValueError("Odoo did not answer it")
            text = converter(column.type)(value)
            text.encode()
        except UnicodeEncodeError:
            return ValueRejected(column.field, "PostgreSQL stores no half of a surrogate pair", None)
        except ValueError as exc:
            return ValueRejected(column.field, str(exc), shown(value))
        if text == NULL and column.required:
            return ValueRejected(column.field, "the column is NOT NULL, and the value is empty", None)
    for link in target.links:
        try:
            link_lines([record], link)
        except ValueError as exc:
            return ValueRejected(link.field, str(exc), shown(record.get(link.field)))
    return None


def link_lines(records: Sequence[Record], link: LinkTable) -> list[str]:
    """Return a line of COPY's text format per link of a many2many field: `from_id` and `to_id`.

    Raises:
        ValueError: a value is no list of ids.
    """
    found: list[str] = []
    for record in records:
        ids = record.get(link.field) or ()
        if not isinstance(ids, list | tuple):
            raise ValueError("it is no list of ids")  # noqa: TRY004 -- as for the other values
        start = f"{record['id']}\t"
        found.extend(start + _integer(each) for each in dict.fromkeys(ids))
    return found


def shown(value: Any) -> str:
    """A value as text, for a person; long ones are cut."""
    text = value if isinstance(value, str) else to_json(value).decode()
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= 1_000 else f"{text[:999]}…"
