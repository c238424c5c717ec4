"""Evaluate Odoo's search domains on recorded rows. Pure.

Paths through relations and all comparisons are supported; the operators that search on the client's behalf (`child_of`,
`any`, `=?`) are not. An unset value equals False, '' and 0, and compares with nothing; negations are true for it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from fbs_worker.connectors.recording.rows import Record

Predicate = Callable[["Record"], bool]
Test = Callable[[Any], bool]

_NEGATIONS: Final = {"!=": "=", "not in": "in"} | {f"not {like}": like for like in ("like", "ilike", "=like", "=ilike")}
_ORDERINGS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class DomainError(ValueError):
    """A domain that Odoo, or the replay of a recording, does not accept."""


def predicate(domain: Sequence[Any]) -> Predicate:
    """Compile a domain to a predicate of records.

    Args:
        domain: in Odoo's prefix notation; terms without an operator are joined by `&`.

    Returns:
        The predicate; it raises DomainError for an unknown field.

    Raises:
        DomainError: the domain is malformed, or has an unsupported operator.
    """
    stack: list[Predicate] = []
    try:
        for item in reversed(domain):
            if isinstance(item, list | tuple) and len(item) == 3:
                stack.append(_condition(*item))
            elif item == "!":
                stack.append(_not(stack.pop()))
            elif item in ("&", "|"):
                stack.append((_both if item == "&" else _either)(stack.pop(), stack.pop()))
            else:
                raise DomainError(f"Domain() invalid item in domain: {item!r}")
    except IndexError:
        raise DomainError(f"Domain() malformed domain {domain!r}") from None
    return reduce(_both, reversed(stack), lambda _: True)


def fields_of(domain: Sequence[Any]) -> set[str]:
    """The fields, or dotted paths, in the conditions of a domain."""
    return {item[0] for item in domain if isinstance(item, list | tuple)}


def _not(inner: Predicate) -> Predicate:
    return lambda record: not inner(record)


def _both(first: Predicate, second: Predicate) -> Predicate:
    return lambda record: first(record) and second(record)


def _either(first: Predicate, second: Predicate) -> Predicate:
    return lambda record: first(record) or second(record)


def _condition(path: Any, name: Any, value: Any) -> Predicate:
    if not isinstance(path, str) or not path:
        raise DomainError(f"Domain() invalid item in domain: {[path, name, value]!r}")
    field, _, further = path.partition(".")
    if further:
        inner = _condition(further, name, value)
        return lambda record: any(inner(related) for related in record.related(field))
    if name in _NEGATIONS:
        return _not(_condition(field, _NEGATIONS[name], value))
    test = _test(name, value)
    return lambda record: test(record.value(field))


def _test(name: str, value: Any) -> Test:
    """A test of one value; a list is the ids of a relation to many."""
    if name in ("=", "in"):
        listed = value if isinstance(value, list | tuple | set | frozenset) else [value]
        return _is_in(frozenset(item for item in listed if item), unset=any(not item for item in listed))
    if name in _ORDERINGS:
        compare, is_text = _ORDERINGS[name], isinstance(value, str)
        # an unset text or date is False
        return lambda actual: isinstance(actual, str) == is_text and compare(actual, value)
    if name.removeprefix("=") in ("like", "ilike"):
        pattern = _like_pattern(value if name.startswith("=") else f"%{value}%", ignore_case="ilike" in name)
        return lambda actual: isinstance(actual, str) and pattern.fullmatch(actual) is not None
    raise DomainError(f"Unsupported operator {name!r} in a domain")


def _is_in(values: frozenset[Any], *, unset: bool) -> Test:
    def test(actual: Any) -> bool:
        if not actual:
            return unset
        return not values.isdisjoint(actual) if isinstance(actual, list) else actual in values

    return test


def _like_pattern(like: str, *, ignore_case: bool) -> re.Pattern[str]:
    pieces = re.findall(r"\\?.", like, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    text = "".join(wild.get(piece) or re.escape(piece[-1]) for piece in pieces)
    return re.compile(text, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
