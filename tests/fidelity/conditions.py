"""Visibility of buttons by brute force: conditions are evaluated for combinations of the values of all their names.

An expression is Python's own, compiled, with each part that is no logic, comparison or literal (a name, `parent.x`, a
call) taken for an unknown of its own. A domain of Odoo 14 to 16 is evaluated as Odoo's ORM does. Combinations that
the server's condition refuses (`None < 3`) do not count.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from math import prod
from typing import Any, Final

MAX_ASSIGNMENTS: Final = 20_000
"""Maximum number of combinations; of more, so many are sampled."""
SEED: Final = 13
OTHER: Final = "any other"

Values = Mapping[str, Any]
Condition = Callable[[Values], bool]

_LOGIC: Final = (ast.BoolOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.List, ast.Tuple, ast.Set, ast.Constant)
_NUMBERS: Final = ("integer", "float", "monetary")
_BY_TYPE: Final[Mapping[str, tuple[Any, ...]]] = {
    "boolean": (False, True),
    **dict.fromkeys(_NUMBERS, (0, 1, -1)),
    **dict.fromkeys(("many2one", "many2one_reference"), (False, 7)),
    **dict.fromkeys(("one2many", "many2many"), ([], [7])),
    **dict.fromkeys(("date", "datetime"), (False, "2001-02-03", "2041-05-06")),
    **dict.fromkeys(("char", "text", "html", "selection", "reference", "binary"), (False, OTHER)),
}


@dataclass(slots=True)
class Names:
    """The unknowns of some conditions, with the literals that each is compared with.

    Attributes:
        types: types of the model's fields.
        selections: values of its selections.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    selections: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _literals: dict[str, list[Any]] = field(default_factory=dict)
    _together: list[set[str]] = field(default_factory=list)

    def add(self, name: str, *literals: Any) -> None:
        """Note an unknown."""
        self._literals.setdefault(name, []).extend(literals)

    def tie(self, one: str, other: str) -> None:
        """Note that two unknowns are compared with one another."""
        self._together.append({one, other})

    def add_all(self, other: Names) -> None:
        """Take over the unknowns of other conditions."""
        for name, literals in other._literals.items():
            self.add(name, *literals)
        self._together += other._together

    def values(self, *, without: str = "") -> dict[str, list[Any]]:
        """The values to try of each unknown but one."""
        found = {name: self._values(name, literals) for name, literals in self._literals.items() if name != without}
        for pair in self._together:
            if pair <= found.keys():
                joined = _distinct(value for name in sorted(pair) for value in found[name])
                found |= dict.fromkeys(pair, joined)
        return found

    def _values(self, name: str, literals: Sequence[Any]) -> list[Any]:
        if name.startswith(GROUP):
            return [False, True]
        kind = self.types.get(name, "")
        values = [*self.selections.get(name, ()), *_BY_TYPE.get(kind, (False, True, OTHER))]
        if kind == "boolean":
            return values
        numbers = [one for one in literals if isinstance(one, int | float) and not isinstance(one, bool)]
        return _distinct([*values, *literals, *(number + step for number in numbers for step in (-1, 1))])


GROUP: Final = "group:"
"""Prefix of unknowns that are memberships of groups."""


def _distinct(values: Iterable[Any]) -> list[Any]:
    return [value for _, value in {(type(value).__name__, str(value)): value for value in values}.items()]


def expression(text: str, names: Names) -> Condition:
    """Compile a condition that is a Python expression."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        tree = _unknown(text)
    return _compiled(tree, names)


def _unknown(text: str) -> ast.expr:
    return ast.parse(f"unknown({' '.join(text.split())!r})", mode="eval").body


def _compiled(tree: ast.expr, names: Names) -> Condition:
    places: dict[str, str] = {}
    body = _Unknowns(names, places).visit(tree)
    code = compile(ast.fix_missing_locations(ast.Expression(body)), "condition", "eval")
    return lambda values: bool(eval(code, {place: values[name] for name, place in places.items()}))


class _Unknowns(ast.NodeTransformer):
    """Puts a variable in the place of each unknown."""

    def __init__(self, names: Names, places: dict[str, str]) -> None:
        self._names, self._places = names, places

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for one, other in pairwise(sides):
                self._note(one, other)
                self._note(other, one)
        if isinstance(node, ast.Name) and node.id in {"true", "false"}:
            return ast.Constant(node.id == "true")
        is_number = isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not | ast.USub)
        if isinstance(node, ast.expr) and (not isinstance(node, _LOGIC) or is_number):
            name = ast.unparse(node)
            self._names.add(name)
            return ast.Name(self._places.setdefault(name, f"_{len(self._places)}"), ast.Load())
        return self.generic_visit(node)

    def _note(self, one: ast.expr, other: ast.expr) -> None:
        if isinstance(one, _LOGIC):
            return
        try:
            value = ast.literal_eval(other)
        except (ValueError, TypeError):
            if not isinstance(other, _LOGIC):
                self._names.tie(ast.unparse(one), ast.unparse(other))
                for side in (one, other):
                    self._names.add(ast.unparse(side), 0, 1)
            for node in other.elts if isinstance(other, ast.List | ast.Tuple | ast.Set) else ():
                self._note(one, node)
            return
        self._names.add(ast.unparse(one), *(value if isinstance(value, list | tuple | set) else [value]))


def modifiers(invisible: str, states: str, attrs: str, names: Names) -> Condition | None:
    """Combine what hides a node, as `transfer_node_to_modifiers` of Odoo 14 to 16; later ones have `invisible` alone."""
    domain: ast.expr | None = None
    if attrs.strip():
        tree = ast.parse(attrs.strip(), mode="eval").body
        if isinstance(tree, ast.Dict):
            by_key = {ast.literal_eval(key): value for key, value in zip(tree.keys, tree.values, strict=True) if key}
            domain = by_key.get("invisible")
    if states:
        term = ast.parse(repr(("state", "not in", states.split(","))), mode="eval").body
        domain = ast.List([*(domain.elts if isinstance(domain, ast.List) else ()), term], ast.Load())
    dynamic = None
    if isinstance(domain, ast.List):
        dynamic = _domain(domain.elts, names) if domain.elts else None
    elif domain is not None and not invisible.strip():
        dynamic = _compiled(domain, names)
    if not invisible.strip():
        return dynamic
    always = expression(invisible, names)
    return always if dynamic is None else lambda values: always(values) or dynamic(values)


def _domain(items: Sequence[ast.expr], names: Names) -> Condition:
    stack: list[Condition] = []
    for item in reversed(items):
        operator = item.value if isinstance(item, ast.Constant) else None
        if operator == "!":
            stack.append(_negated(stack.pop()))
        elif operator in {"&", "|"}:
            stack.append(_joined(operator == "|", stack.pop(), stack.pop()))
        else:
            stack.append(_term(item, names))
    terms = stack[::-1]
    return lambda values: all(term(values) for term in terms)


def _negated(condition: Condition) -> Condition:
    return lambda values: not condition(values)


def _joined(either: bool, one: Condition, other: Condition) -> Condition:
    if either:
        return lambda values: one(values) or other(values)
    return lambda values: one(values) and other(values)


def _term(node: ast.expr, names: Names) -> Condition:
    if isinstance(node, ast.Constant):
        return lambda _: bool(node.value)
    try:
        path, operator, value = ast.literal_eval(node)
    except (ValueError, TypeError):
        path, operator, value = None, "", None
    if isinstance(path, int):
        return lambda _: path == value
    if not isinstance(path, str) or operator not in _OPERATORS:
        return _compiled(_unknown(ast.unparse(node)), names)
    listed = value if isinstance(value, list | tuple) else [value]
    names.add(path, *listed)
    return lambda values: _OPERATORS[operator](values[path], value, listed)


def _equal(found: Any, value: Any, _: Sequence[Any]) -> bool:
    return not found if value is False else bool(found == value)


def _one_of(found: Any, _: Any, listed: Sequence[Any]) -> bool:
    return any(one in listed for one in found) if isinstance(found, list) else found in listed


_OPERATORS: Final[Mapping[str, Callable[[Any, Any, Sequence[Any]], bool]]] = {
    "=": _equal,
    "==": _equal,
    "!=": lambda found, value, listed: not _equal(found, value, listed),
    "<>": lambda found, value, listed: not _equal(found, value, listed),
    "<": lambda found, value, _: bool(found < value),
    "<=": lambda found, value, _: bool(found <= value),
    ">": lambda found, value, _: bool(found > value),
    ">=": lambda found, value, _: bool(found >= value),
    "in": _one_of,
    "not in": lambda found, value, listed: not _one_of(found, value, listed),
}


def members(groups: Iterable[Iterable[str]], names: Names) -> Condition:
    """Who sees something: of each of these lists one group is needed; `!` before a name excludes it."""
    lists = [[name for name in names_ if name] for names_ in groups]
    for name in (name.removeprefix("!") for one in lists for name in one):
        names.add(GROUP + name)
    return lambda values: all(
        any(values[GROUP + name.removeprefix("!")] is not name.startswith("!") for name in one) for one in lists if one
    )


def assignments(values: Mapping[str, Sequence[Any]]) -> tuple[Iterator[dict[str, Any]], bool]:
    """The combinations of values, and whether these are all of them."""
    if prod(map(len, values.values())) <= MAX_ASSIGNMENTS:
        return (dict(zip(values, one, strict=True)) for one in product(*values.values())), True
    chance = random.Random(SEED)
    return ({name: chance.choice(some) for name, some in values.items()} for _ in range(MAX_ASSIGNMENTS)), False
