"""Type conversions of columns: the USING expression, its risks, and the reverse conversion. Pure.

Text is converted to a JSON string, not parsed as JSON: every value is convertible in both directions. Timestamps
without a zone are in UTC, as in Odoo.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

INPUT_CHECK_SINCE: Final = 160_000
"""The first server version with pg_input_is_valid()."""

_TYPE: Final = re.compile(
    r"(?P<base>[^(\[]+?)\s*(?:\((?P<numbers>[\d,]+)\))?(?P<zone> with(?:out)? time zone)?(?P<array>\[\])*"
)

_INTEGERS: Final = {"smallint": 15, "integer": 31, "bigint": 63}
_FLOATS: Final = {"real": "3.4028234e38", "double precision": "1.7976931348623157e308"}
_TEXTS: Final = frozenset(("text", "character varying", "character"))
_JSON: Final = frozenset(("json", "jsonb"))
_TIMESTAMPS: Final = frozenset(("timestamp without time zone", "timestamp with time zone"))
_TIMES: Final = _TIMESTAMPS | {"time without time zone", "time with time zone", "interval"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A parsed type.

    Attributes:
        base: the name without its modifiers.
        numbers: the modifiers, e.g. precision and scale.
    """

    base: str
    numbers: tuple[int, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether it is numeric."""
        return self.base in _INTEGERS or self.base in _FLOATS or self.base == "numeric"

    @property
    def length(self) -> int | None:
        """Of a text type: maximum number of characters; None if unlimited."""
        return self.numbers[0] if self.numbers else (1 if self.base == "character" else None)

    @property
    def scale(self) -> int | None:
        """Of a numeric type: digits behind the point; None if unlimited."""
        if self.base == "numeric" and self.numbers:
            return self.numbers[1] if len(self.numbers) > 1 else 0
        return 0 if self.base in _INTEGERS else None

    @property
    def whole_digits(self) -> int | None:
        """Of a numeric type: digits before the point; None if unlimited."""
        if self.base == "numeric" and self.numbers:
            return self.numbers[0] - (self.scale or 0)
        return {"smallint": 5, "integer": 10, "bigint": 19}.get(self.base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A conversion of a column's values to another type.

    Attributes:
        value: the new value as an SQL expression.
        implicit: an assignment cast exists, and it rejects values that do not fit: no USING needed.
        may_fail: some values may not be convertible.
        fails_where: condition for values that are not convertible; empty if unknown.
        lossy: the old value may not be derivable from the new one.
        reverse: expression of the reverse conversion, which rejects values that do not fit; None if it may lose data.
    """

    value: str
    implicit: bool = False
    may_fail: bool = False
    fails_where: str = ""
    lossy: bool = False
    reverse: str | None = None


@lru_cache(maxsize=1024)
def parse_type(written: str) -> Type:
    """Parse a type as written by format_type()."""
    match = _TYPE.fullmatch(written)
    if match is None or match["array"]:
        return Type(base=written)
    numbers = tuple(map(int, match["numbers"].split(","))) if match["numbers"] else ()
    return Type(base=f"{match['base']}{match['zone'] or ''}", numbers=numbers)


def conversion(before: str, after: str, column: str, *, server_version: int = INPUT_CHECK_SINCE) -> Conversion:
    """Find the conversion from one type to another.

    Args:
        before: current type, as written by format_type().
        after: desired type, as written by format_type().
        column: quoted column name, or an expression.
        server_version: as reported by libpq, e.g. 180004; decides whether pg_input_is_valid() can be used.
    """
    if before.endswith("[]") and after.endswith("[]") and (found := _array(before, after, column)):
        return found
    source, target = parse_type(before), parse_type(after)
    for rule in _RULES:
        result = rule(source, target, column, after)
        if result is not None:
            return result
    return _by_text(source, before, column, after, can_validate=server_version >= INPUT_CHECK_SINCE)


def reverse_conversion(
    now: str, former: str, column: str, *, server_version: int = INPUT_CHECK_SINCE, archived: bool = False
) -> Conversion:
    """Find the conversion that reverts the one from `former` to `now`.

    It is lossy where the former values cannot be derived for sure: only the rows show whether they can.

    Args:
        now: current type, as written by format_type().
        former: the type before.
        column: quoted column name.
        server_version: as for `conversion`.
        archived: the values that it does not restore are archived, so it may cut off what does not fit.
    """
    direct = conversion(now, former, column, server_version=server_version)
    if archived:
        if direct.implicit and not direct.fails_where:
            return replace(direct, lossy=False)
        return Conversion(value=f"({direct.value})::{former}")
    reverse = conversion(former, now, column).reverse
    if reverse is None or reverse in {column, direct.value}:
        return replace(direct, lossy=reverse is None)
    return Conversion(value=reverse, may_fail=True)


def _array(before: str, after: str, column: str) -> Conversion | None:
    """Arrays whose elements have an assignment cast have one, too."""
    one = conversion(before.removesuffix("[]"), after.removesuffix("[]"), "element")
    if not one.implicit:
        return None
    return replace(
        one,
        value=f"{column}::{after}",
        fails_where=one.fails_where and f"EXISTS (SELECT FROM unnest({column}) AS element WHERE {one.fails_where})",
        reverse=column if one.reverse == "element" else None,
    )


def _text_to_text(source: Type, target: Type, column: str, after: str) -> Conversion | None:
    if not (source.base in _TEXTS and target.base in _TEXTS):
        return None
    value = f"{column}::{after}"
    if target.length is None or (source.length is not None and source.length <= target.length):
        return Conversion(value=value, implicit=True, reverse=column)
    fails_where = f"char_length({column}) > {target.length}"
    return Conversion(value=value, implicit=True, may_fail=True, fails_where=fails_where, reverse=column)


def _number_to_number(source: Type, target: Type, column: str, after: str) -> Conversion | None:
    if not (source.is_number and target.is_number):
        return None
    if source.base == target.base == "numeric" and _fits(target, source) and target.scale in {None, source.scale}:
        return Conversion(value=f"{column}::{after}", implicit=True, reverse=column)
    fails_where = "" if _fits(target, source) else _too_large(source, target, column)
    return Conversion(
        value=f"{column}::{after}",
        implicit=True,
        may_fail=bool(fails_where),
        fails_where=fails_where,
        lossy=_loses_digits(source, target),
        reverse=None if _loses_digits(target, source) or _loses_digits(source, target) else column,
    )


def _fits(target: Type, source: Type) -> bool:
    """Whether every number of the source type is in the range of the target type."""
    if target.base in _INTEGERS and source.base in _INTEGERS:
        return _INTEGERS[target.base] >= _INTEGERS[source.base]
    if target.base in _FLOATS:
        return source.base in _INTEGERS or source.base in {"real", target.base}
    if target.base != "numeric" or source.whole_digits is None or target.whole_digits is None:
        return target.base == "numeric" and not target.numbers
    # rounding may add a digit
    rounded = source.scale is None or (target.scale is not None and source.scale > target.scale)
    return target.whole_digits >= source.whole_digits + rounded


def _loses_digits(source: Type, target: Type) -> bool:
    if target.base in _FLOATS:
        exact = {"double precision": {"smallint", "integer", "real"}, "real": {"smallint"}}
        return source.base != target.base and source.base not in exact[target.base]
    if source.base in _FLOATS:
        return True
    return target.scale is not None and (source.scale is None or source.scale > target.scale)


def _too_large(source: Type, target: Type, column: str) -> str:
    """Condition for numbers out of range; NaN compares greater than all others."""
    if target.base in _INTEGERS:
        bits = _INTEGERS[target.base]
        rounded = column if source.base in _INTEGERS else f"round({column}::numeric)"
        return f"{rounded} NOT BETWEEN {-(2**bits)} AND {2**bits - 1}"
    if target.base in _FLOATS:
        endless = "('NaN', 'Infinity', '-Infinity')"
        return f"abs({column}) > {_FLOATS[target.base]}::numeric AND {column}::text NOT IN {endless}"
    rounded = f"round({column}::numeric, {target.scale})"
    return f"abs({rounded}) >= 1e{target.whole_digits}::numeric AND {column}::numeric <> 'NaN'"


def _boolean(source: Type, target: Type, column: str, after: str) -> Conversion | None:
    if source.base == "boolean" and target.is_number:
        number = f"{column}::integer"
        tight = target.whole_digits is not None and target.whole_digits < 1
        value = number if target.base == "integer" else f"{number}::{after}"
        return Conversion(value=value, may_fail=tight, fails_where=column if tight else "")
    if source.is_number and target.base == "boolean":
        return Conversion(value=f"{column} <> 0", lossy=True)
    return None


def _time_to_time(source: Type, target: Type, column: str, after: str) -> Conversion | None:
    if source.base == target.base and source.base in _TIMES:
        finer = not target.numbers or (bool(source.numbers) and source.numbers[0] <= target.numbers[0])
        if finer:
            return Conversion(value=f"{column}::{after}", implicit=True, reverse=column)
        return Conversion(value=f"{column}::{after}", implicit=True, lossy=True)
    if source.base in _TIMESTAMPS and target.base in _TIMESTAMPS:
        coarser = bool(target.numbers) and source.numbers != target.numbers
        at_utc = f"({column} AT TIME ZONE 'UTC')"
        value = f"{at_utc}::{after}" if target.numbers else at_utc
        return Conversion(value=value, lossy=coarser, reverse=None if coarser else f"{column} AT TIME ZONE 'UTC'")
    if source.base == "date" and target.base in _TIMESTAMPS:
        plain = f"{column}::timestamp without time zone"
        with_zone = target.base == "timestamp with time zone"
        return Conversion(value=f"({plain} AT TIME ZONE 'UTC')" if with_zone else f"{column}::{after}")
    if source.base in _TIMESTAMPS and target.base == "date":
        utc = f"({column} AT TIME ZONE 'UTC')" if source.base == "timestamp with time zone" else column
        return Conversion(value=f"{utc}::date", lossy=True)
    return None


def _json(source: Type, target: Type, column: str, after: str) -> Conversion | None:
    if source.base in _JSON and target.base in _JSON:
        return Conversion(value=f"{column}::{after}", reverse=f"{column}::{source.base}")
    if target.base in _JSON:
        reverse = f"({column} #>> '{{}}')" if source.base in _TEXTS else f"({column} #>> '{{}}')::{source.base}"
        return Conversion(value=f"to_{target.base}({column})", reverse=None if _rounds(source) else reverse)
    return None


def _rounds(target: Type) -> bool:
    """Whether a cast to this type may cut digits off."""
    return target.base in _FLOATS or (bool(target.numbers) and target.base not in _TEXTS)


def _bytes(source: Type, target: Type, column: str, _: str) -> Conversion | None:
    if source.base in _TEXTS and target.base == "bytea":
        return Conversion(value=f"convert_to({column}, 'UTF8')", reverse=f"convert_from({column}, 'UTF8')")
    if source.base == "bytea" and target.base in _TEXTS:
        return _as_text(f"encode({column}, 'base64')", target, reverse=f"decode({column}, 'base64')")
    return None


_RULES: Final[tuple[Callable[[Type, Type, str, str], Conversion | None], ...]] = (
    _text_to_text,
    _number_to_number,
    _boolean,
    _time_to_time,
    _json,
    _bytes,
)


def _by_text(source: Type, before: str, column: str, after: str, *, can_validate: bool) -> Conversion:
    """Fallback: convert by the text form of the values."""
    target = parse_type(after)
    written = f"({column} #>> '{{}}')" if source.base in _JSON else f"{column}::text"
    if target.base in _TEXTS:
        # the string "1" and the number 1 have the same text form
        reverse = None if source.base in _JSON or _rounds(source) else f"{column}::{before}"
        return _as_text(written, target, reverse=reverse)
    if source.base in _TEXTS:
        written = column
    fails_where = f"NOT pg_input_is_valid({written}, '{after}')" if can_validate else ""
    return Conversion(value=f"{written}::{after}", may_fail=True, fails_where=fails_where, lossy=True)


def _as_text(written: str, target: Type, *, reverse: str | None) -> Conversion:
    """Without a cast: PostgreSQL rejects long values on assignment, a cast would truncate them silently."""
    fails_where = "" if target.length is None else f"char_length({written}) > {target.length}"
    return Conversion(value=written, may_fail=bool(fails_where), fails_where=fails_where, reverse=reverse)
