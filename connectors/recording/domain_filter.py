"""Evaluate Odoo's search domains on recorded rows. Pure.

The rules are those of Odoo 19 (`odoo/orm/domains.py`, `odoo/orm/fields.py`); older versions differ in corner cases
only. An unset value equals False, '' and 0 of its type, sorts before any text, and never compares with a date or a
record; `not like` and `not in` are true for it; a path through an unset record is false.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

Predicate = Callable[["Record"], bool]

TO_MANY: Final = frozenset({"one2many", "many2many"})
RELATIONAL: Final = frozenset({"many2one", *TO_MANY})
_WITHOUT_ORDER_WHEN_UNSET: Final = frozenset({"date", "datetime", "selection", "reference", *RELATIONAL})

_ORDERINGS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NEGATIONS: Final = {"!=": "=", "<>": "=", "not in": "in", "not any": "any"} | {
    f"not {like}": like for like in ("like", "ilike", "=like", "=ilike")
}


class Record(Protocol):
    """A row that conditions are evaluated on."""

    def kind(self, field: str) -> str:
        """The type of a field, e.g. `char`.

        Raises:
            DomainError: the row has no such field.
        """

    def value(self, field: str) -> Any:
        """The value of a field: an id or False for a many2one, a list of ids for a one2many or many2many."""

    def related(self, field: str) -> Iterable[Record]:
        """The rows that a relational field refers to."""


class DomainError(ValueError):
    """An invalid domain, with the message of Odoo."""


def predicate(domain: Sequence[Any]) -> Predicate:
    """Compile a domain to a predicate of records.

    Args:
        domain: in Odoo's prefix notation; terms without an operator are joined by `&`.

    Returns:
        The predicate; it raises DomainError for an unknown field.

    Raises:
        DomainError: the domain is malformed.
    """
    stack: list[Predicate] = []
    try:
        for item in reversed(domain):
            if isinstance(item, list | tuple) and len(item) == 3:
                stack.append(_condition(item[0], item[1], item[2]))
            elif item == "!":
                stack.append(_not(stack.pop()))
            elif item == "&":
                stack.append(_all([stack.pop(), stack.pop()]))
            elif item == "|":
                stack.append(_any([stack.pop(), stack.pop()]))
            else:
                raise DomainError(f"Domain() invalid item in domain: {item!r}")
    except IndexError:
        raise DomainError(f"Domain() malformed domain {domain!r}") from None
    stack.reverse()
    return stack[0] if len(stack) == 1 else _all(stack)


def fields_of(domain: Sequence[Any]) -> set[str]:
    """The fields, or dotted paths, in the conditions of a domain."""
    return {item[0] for item in domain if isinstance(item, list | tuple) and len(item) == 3}


def _not(inner: Predicate) -> Predicate:
    return lambda record: not inner(record)


def _all(parts: Sequence[Predicate]) -> Predicate:
    return lambda record: all(part(record) for part in parts)


def _any(parts: Sequence[Predicate]) -> Predicate:
    return lambda record: any(part(record) for part in parts)


def _condition(path: Any, op: Any, value: Any) -> Predicate:
    if path in (0, 1) and op == "=":  # (1, '=', 1) is always true, (0, '=', 1) never
        return lambda _record: bool(path == value)
    if not isinstance(path, str) or not path or not isinstance(op, str):
        raise DomainError(f"Domain() invalid item in domain: {[path, op, value]!r}")
    op = op.lower()
    field, _, subpath = path.partition(".")
    if subpath:
        return _through(field, _condition(subpath, op, value))
    if op in _NEGATIONS:
        return _not(_condition(field, _NEGATIONS[op], value))
    if op == "=?":
        return (lambda _record: True) if not value else _condition(field, "=", value)
    if op in ("any", "any!"):
        return _through(field, predicate(value))
    if op in ("=", "in"):
        listed = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
        # ('field', '=', []) matches unset values, ('field', 'in', []) nothing
        return _is_in(field, [False] if op == "=" and not listed else listed)
    if op.removeprefix("=") in ("like", "ilike"):
        return _is_like(field, op, value)
    if op in _ORDERINGS:
        return _compares(field, _ORDERINGS[op], value)
    raise DomainError(f"Invalid operator in condition ({path!r}, {op!r}, {value!r})")


def _through(field: str, inner: Predicate) -> Predicate:
    def holds(record: Record) -> bool:
        if record.kind(field) not in RELATIONAL:
            raise DomainError(f"Cannot use 'any' with non-relational fields in condition on {field!r}")
        return any(inner(related) for related in record.related(field))

    return holds


def _is_in(field: str, listed: Sequence[Any]) -> Predicate:
    names = [item for item in listed if isinstance(item, str) and item]
    values = frozenset(item for item in listed if item)
    unset = any(not item for item in listed)

    def holds(record: Record) -> bool:
        kind = record.kind(field)
        value = record.value(field)
        if not value:
            return unset
        if kind in TO_MANY and not values.isdisjoint(value):
            return True
        if kind not in TO_MANY and value in values:
            return True
        return kind in RELATIONAL and any(related.value("display_name") in names for related in record.related(field))

    return holds


def _is_like(field: str, op: str, value: Any) -> Predicate:
    exact = op.startswith("=")
    text = "" if value is None or value is False else str(value)
    if not text:
        if exact:
            return _is_in(field, [False])
        return lambda record: record.kind(field) not in RELATIONAL or bool(record.value(field))
    pattern = _like_pattern(text if exact else f"%{text}%", ignore_case=op.endswith("ilike"))

    def holds(record: Record) -> bool:
        if record.kind(field) in RELATIONAL:
            return any(pattern.fullmatch(related.value("display_name") or "") for related in record.related(field))
        actual = record.value(field)
        return actual is not False and actual is not None and pattern.fullmatch(str(actual)) is not None

    return holds


def _like_pattern(like: str, *, ignore_case: bool) -> re.Pattern[str]:
    pieces: list[str] = []
    characters = iter(like)
    for character in characters:
        if character == "\\":
            pieces.append(re.escape(next(characters, "\\")))
        else:
            pieces.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    return re.compile("".join(pieces), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def _compares(field: str, compare: Callable[[Any, Any], bool], value: Any) -> Predicate:
    # compared with a timestamp, a date stands for its last second in `>` and `<=`
    end_of_day = f"{value} 23:59:59" if compare in (operator.gt, operator.le) and _is_day(value) else value

    def holds(record: Record) -> bool:
        actual, bound, kind = record.value(field), value, record.kind(field)
        if kind in _WITHOUT_ORDER_WHEN_UNSET:
            if _unset(actual) or _unset(bound):
                return False
            bound = end_of_day if kind == "datetime" else bound
        elif isinstance(actual, str) or isinstance(bound, str):
            actual, bound = actual or "", bound or ""
        else:
            actual, bound = actual or 0, bound or 0
        try:
            return compare(actual, bound)
        except TypeError:
            return False

    return holds


def _is_day(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None


def _unset(value: Any) -> bool:
    return value is None or value is False
