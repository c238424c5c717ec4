"""Simplify a condition: drop the operands that change nothing, and find out whether anything is left of it. Pure.

The leaves of a condition compare a name with constants (`move_type != 'entry'`), ask whether it is set (`locked`), or
are anything else. For each name, all values fall into few classes: those for which all leaves of the name give the same
answers. So a table of all combinations of classes is small and complete: two conditions with the same table are equal
for all values. A leaf of any other kind counts as a name with the values true and false, which may miss a
simplification and never makes a wrong one.

A comparison that Python refuses (`None < 3`) is neither true nor false, and `and` and `or` stop at the first operand
that decides, as in Python: so guards as in `not amount or amount < 3` stay. Values that the condition itself refuses do
not count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from operator import eq, ge, gt, is_, is_not, le, lt, ne
from typing import Any, Final

MAX_ROWS: Final = 4_096
"""Maximum size of a table; a condition with more combinations of values stays as it is."""
MAX_LEAVES: Final = 64
"""Maximum number of leaves of a condition that is simplified."""

COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: eq,
    ast.NotEq: ne,
    ast.Lt: lt,
    ast.LtE: le,
    ast.Gt: gt,
    ast.GtE: ge,
    ast.Is: is_,
    ast.IsNot: is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_ORDER: Final = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_MIRRORED: Final[Mapping[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE,
}  # fmt: skip
_NEGATED: Final[Mapping[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.NotEq: ast.Eq, ast.IsNot: ast.Is, ast.NotIn: ast.In, ast.GtE: ast.Lt, ast.LtE: ast.Gt,
}  # fmt: skip
_SIMPLE: Final = (str, int, float, type(None))
_ANY_VALUES: Final = (False, None, "", True, "\uffff any other text", -7.0625)


@dataclass(frozen=True, slots=True)
class Known:
    """A decided value: it depends on no unknown name."""

    value: Any


_RENDERED: Final = "rendered"
"""The attribute of a node that keeps its text: nodes are not changed, and are rendered again for each state."""

_Bits = tuple[int, int]
"""Rows of a table in which a condition is true, and those in which it is false."""

Outcome = Known | ast.expr
"""Result of an evaluation: a decided value, or the residual expression."""


def text(node: ast.expr) -> str:
    """Render an expression identically on every Python version (`ast.unparse` differs in parentheses); once a node."""
    rendered: str | None = node.__dict__.get(_RENDERED)
    if rendered is None:
        rendered = node.__dict__[_RENDERED] = _text(node)
    return rendered


def _text(node: ast.expr) -> str:
    match node:
        case ast.BoolOp(op=op, values=values):
            return (" and " if isinstance(op, ast.And) else " or ").join(map(_operand, values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"not {_operand(operand)}"
        case _:
            return ast.unparse(node)


def _operand(node: ast.expr) -> str:
    loose = isinstance(node, ast.BoolOp | ast.IfExp | ast.Lambda | ast.NamedExpr)
    return f"({text(node)})" if loose else text(node)


def constant(node: ast.expr) -> Any:
    """The value of a literal, a list as a tuple; raises ValueError for any other expression."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            return tuple(map(constant, elements))
    raise ValueError


_WORD: Final = re.compile(r"\w+")


def simplify(condition: ast.expr, booleans: Set[str] = frozenset()) -> Outcome:
    """Simplify a condition without changing when it holds.

    Args:
        condition: the condition; `and`, `or`, `not` and their leaves.
        booleans: names that are true or false and nothing else.

    Returns:
        `Known(True)` or `Known(False)` where it always or never holds, else the condition without idle operands.
    """
    source = text(condition)
    return _simplified(source, frozenset(booleans & set(_WORD.findall(source))))


@lru_cache(maxsize=4_096)
def _simplified(source: str, booleans: frozenset[str]) -> Outcome:
    try:
        condition = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # only as deep as its own rendering
        return ast.Call(func=ast.Name(id="unknown", ctx=ast.Load()), args=[ast.Constant(source)], keywords=[])
    if sum(1 for _ in _leaves(condition)) > MAX_LEAVES:
        return condition
    return _simplify(condition, booleans)


def _simplify(node: ast.expr, booleans: frozenset[str]) -> Outcome:
    """Simplify operands that share no name apart from one another: each has a small table."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _negation(_simplify(node.operand, booleans))
    if not isinstance(node, ast.BoolOp):
        return _Table([node], booleans).simplified(node)
    decisive = isinstance(node.op, ast.Or)
    parts: list[ast.expr] = []
    for group in _sharing_names(node.values):
        # an operand alone is simplified within; several that share names are one table
        joined = ast.BoolOp(op=node.op, values=group)
        outcome = _simplify(group[0], booleans) if len(group) == 1 else _Table(group, booleans).simplified(joined)
        if not isinstance(outcome, Known):
            parts += outcome.values if isinstance(outcome, ast.BoolOp) and _alike(outcome, node) else [outcome]
        elif outcome.value is decisive:
            return outcome
    return (parts[0] if len(parts) == 1 else ast.BoolOp(op=node.op, values=parts)) if parts else Known(not decisive)


def _alike(one: ast.BoolOp, other: ast.BoolOp) -> bool:
    return isinstance(one.op, ast.Or) is isinstance(other.op, ast.Or)


def _sharing_names(nodes: Sequence[ast.expr]) -> list[list[ast.expr]]:
    """Group nodes that share a name, directly or through others; in the order of their first nodes.

    A comparison that Python may refuse does not come before a node that may have spared it: that joins the group.
    """
    groups: list[tuple[set[str], list[ast.expr]]] = []
    for node in nodes:
        names = {_Leaf.of(leaf).name for leaf in _leaves(node)}
        touching = [group for group in groups if group[0] & names]
        if not touching:
            groups.append((names, [node]))
            continue
        first = touching[0]
        moved = [node, *(one for group in touching[1:] for one in group[1])]
        if any(_Leaf.of(leaf).compare in _ORDER for one in moved for leaf in _leaves(one)):
            touching = groups[groups.index(first) :]
        for other in touching[1:]:
            first[0].update(other[0])
            first[1].extend(other[1])
            groups.remove(other)
        first[0].update(names)
        first[1].append(node)
    order = {id(node): number for number, node in enumerate(nodes)}
    return [sorted(group, key=lambda node: order[id(node)]) for _, group in groups]


def _leaves(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                yield from _leaves(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _leaves(operand)
        case _:
            yield node


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf of a condition.

    Attributes:
        name: what it asks about.
        compare: its comparison; None where it asks whether the name is set.
        value: the constant on its other side.
        negated: of a leaf of any other kind: it holds where the one of that name does not.
    """

    name: str
    compare: type[ast.cmpop] | None = None
    value: Any = None
    negated: bool = False

    @classmethod
    def of(cls, node: ast.expr) -> _Leaf:
        """Classify a leaf."""
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            try:
                return cls("", None, constant(node))
            except ValueError:
                return cls(text(node))
        compare, left, right = type(node.ops[0]), node.left, node.comparators[0]
        for name, other, kind in ((left, right, compare), (right, left, _MIRRORED.get(compare, compare))):
            try:
                value = constant(other)
            except ValueError:
                continue
            is_list = isinstance(value, tuple)
            simple = all(isinstance(one, _SIMPLE) for one in (value if is_list else (value,)))
            comparable = value is not None or kind not in _ORDER
            if simple and comparable and is_list is (kind in {ast.In, ast.NotIn}) and not (is_list and other is left):
                return cls(text(name), kind, value)
        sides = [text(left), text(right)]
        kind = _NEGATED.get(compare, compare)
        negated = kind is not compare
        if kind is ast.Gt:
            kind, sides = ast.Lt, sides[::-1]
        if kind is ast.Eq:
            sides.sort()
        return cls(f"{sides[0]} {kind.__name__} {sides[1]}", negated=negated)

    def holds(self, value: Any) -> bool | None:
        """Whether it holds for a value of its name; None where Python refuses to compare."""
        if self.compare is None:
            return bool(value) is not self.negated
        try:
            return bool(COMPARISONS[self.compare](value, self.value))
        except TypeError:
            return None


def _classes(leaves: Sequence[_Leaf], *, is_boolean: bool) -> set[tuple[bool | None, ...]]:
    """The different answers that the leaves of one name can give together."""
    if not leaves[0].name:
        return {tuple(bool(leaf.value) for leaf in leaves)}
    if is_boolean:
        return {tuple(leaf.holds(value) for leaf in leaves) for value in (False, True)}
    values: list[Any] = list(_ANY_VALUES)
    for leaf in leaves:
        values += leaf.value if isinstance(leaf.value, tuple) else [leaf.value]
    numbers = sorted({value for value in values if isinstance(value, int | float)})
    between = [(low + high) / 2 for low, high in pairwise(numbers)]
    after = [f"{value}\0" for value in values if isinstance(value, str)]
    return {
        tuple(leaf.holds(value) for leaf in leaves)
        for value in (*values, *after, *between, numbers[0] - 1, numbers[-1] + 1)
    }


class _Table:
    """All combinations of the classes of the names in some conditions, as bits of numbers."""

    def __init__(self, nodes: Sequence[ast.expr], booleans: frozenset[str]) -> None:
        by_name: dict[str, dict[str, _Leaf]] = {}
        for node in nodes:
            for leaf in _leaves(node):
                found = _Leaf.of(leaf)
                by_name.setdefault(found.name, {})[text(leaf)] = found
        classes = [_classes([*leaves.values()], is_boolean=name in booleans) for name, leaves in by_name.items()]
        rows = prod(map(len, classes))
        self._is_small = rows <= MAX_ROWS
        if not self._is_small:
            return
        self._all = (1 << rows) - 1
        self._leaves: dict[str, _Bits] = {}
        block = 1
        for leaves, answers in zip(by_name.values(), classes, strict=True):
            period = block * len(answers)
            begins = self._all // ((1 << period) - 1)
            masks = [begins * (((1 << block) - 1) << (block * number)) for number in range(len(answers))]
            for column, source in enumerate(leaves):
                true, false = (
                    sum(mask for mask, answer in zip(masks, answers, strict=True) if answer[column] is value)
                    for value in (True, False)
                )
                self._leaves[source] = (true, false)
            block = period

    def simplified(self, node: ast.expr) -> Outcome:
        """Simplify a condition whose leaves are in the table."""
        return self._reduced(node, lambda bits: bits) if self._is_small else node

    def _bits(self, node: ast.expr) -> _Bits:
        match node:
            case ast.BoolOp(op=op, values=values):
                return self._joined(op, [self._bits(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._bits(operand)[::-1]
        return self._leaves[text(node)]

    def _joined(self, op: ast.boolop, parts: Iterable[_Bits]) -> _Bits:
        true, false = (0, self._all) if isinstance(op, ast.Or) else (self._all, 0)
        for is_true, is_false in parts:
            if isinstance(op, ast.Or):
                true, false = true | (false & is_true), false & is_false
            else:
                true, false = true & is_true, false | (true & is_false)
        return true, false

    def _reduced(self, node: ast.expr, whole: Callable[[_Bits], _Bits]) -> Outcome:
        """Reduce a node; `whole` derives the bits of the whole condition from those of the node."""
        true, false = self._bits(node)
        if not true or not false:
            return Known(bool(true))
        match node:
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _negation(self._reduced(operand, lambda bits: whole(bits[::-1])))
            case ast.BoolOp(op=op):
                return self._reduced_operands(op, _flat(node), whole)
        return node

    def _reduced_operands(self, op: ast.boolop, values: list[ast.expr], whole: Callable[[_Bits], _Bits]) -> Outcome:
        before = ""
        while before != (before := " ; ".join(map(text, values))):
            values = self._without_idle(op, values, whole)
            for value in tuple(values):
                number, bits = values.index(value), [self._bits(one) for one in values]

                def in_place(found: _Bits, number: int = number, bits: list[_Bits] = bits) -> _Bits:
                    return whole(self._joined(op, [*bits[:number], found, *bits[number + 1 :]]))

                outcome = self._reduced(value, in_place)
                if not isinstance(outcome, Known):
                    values[number] = outcome
                elif outcome.value is isinstance(op, ast.Or) or len(values) == 1:
                    return outcome
                else:
                    del values[number]
        return values[0] if len(values) == 1 else ast.BoolOp(op=op, values=values)

    def _without_idle(self, op: ast.boolop, values: list[ast.expr], whole: Callable[[_Bits], _Bits]) -> list[ast.expr]:
        true, false = whole(self._joined(op, map(self._bits, values)))
        for value in reversed(values):
            others = [one for one in values if one is not value]
            found = whole(self._joined(op, map(self._bits, others)))
            if others and not true & ~found[0] and not false & ~found[1]:
                values = others
        return values


def _flat(node: ast.BoolOp) -> list[ast.expr]:
    parts: list[ast.expr] = []
    for value in node.values:
        parts += _flat(value) if isinstance(value, ast.BoolOp) and _alike(value, node) else [value]
    return parts


def _negation(outcome: Outcome) -> Outcome:
    if isinstance(outcome, Known):
        return Known(not outcome.value)
    if isinstance(outcome, ast.UnaryOp) and isinstance(outcome.op, ast.Not):
        return outcome.operand
    return ast.UnaryOp(op=ast.Not(), operand=outcome)
