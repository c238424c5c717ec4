"""Partial evaluation of visibility conditions: in which states is a button hidden?

Odoo 17 and later write a condition as a Python expression (`invisible="state != 'draft' or locked"`), 16 and earlier
as a list of states (`states="draft,sent"`) or a domain (`attrs="{'invisible': [('state', '!=', 'draft')]}"`). All
three are parsed into one Python expression and evaluated in three-valued logic: the state field has a value, every
other name is unknown, and the undecided part is returned as the residual condition.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fbs_worker.connectors.arch import ArchError

MAX_CHARS: Final = 10_000
"""Maximum length of a condition."""
MAX_DEPTH: Final = 100
"""Maximum depth of a condition: its evaluation recurses."""
MAX_BITS: Final = 256
"""Maximum size of a number in a condition."""

_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: lambda left, right: bool(left == right),
    ast.NotEq: lambda left, right: bool(left != right),
    ast.Lt: lambda left, right: bool(left < right),
    ast.LtE: lambda left, right: bool(left <= right),
    ast.Gt: lambda left, right: bool(left > right),
    ast.GtE: lambda left, right: bool(left >= right),
    ast.Is: lambda left, right: left is right,
    ast.IsNot: lambda left, right: left is not right,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_DOMAIN_COMPARISONS: Final[Mapping[str, ast.cmpop]] = {
    "=": ast.Eq(),
    "==": ast.Eq(),
    "!=": ast.NotEq(),
    "<>": ast.NotEq(),
    "<": ast.Lt(),
    "<=": ast.LtE(),
    ">": ast.Gt(),
    ">=": ast.GtE(),
    "in": ast.In(),
    "not in": ast.NotIn(),
}


@dataclass(frozen=True, slots=True)
class Known:
    """A decided value: it depends on no unknown name."""

    value: Any


Outcome = Known | ast.expr
"""Result of an evaluation: a decided value, or the residual expression."""


def from_expression(text: str | None) -> ast.expr | None:
    """Parse the condition in an attribute of Odoo 17 and later.

    Args:
        text: the attribute's value; None where the attribute is missing.

    Returns:
        The expression; None without a condition. Text that is not Python becomes an unknown.

    Raises:
        ArchError: the condition is too long or nested too deeply.
    """
    return None if text is None or not text.strip() else _parsed(text)


def from_states(text: str | None) -> ast.expr | None:
    """Parse `states="draft,sent"` (Odoo 16 and earlier): hidden in every other value of `state`."""
    states = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not states:
        return None
    listed = ast.List(elts=[ast.Constant(state) for state in states], ctx=ast.Load())
    return ast.Compare(left=_name("state"), ops=[ast.NotIn()], comparators=[listed])


def from_attrs(text: str | None) -> ast.expr | None:
    """Parse the `invisible` domain of an `attrs` dictionary (Odoo 16 and earlier)."""
    if not text or not text.strip():
        return None
    parsed = _parsed(text)
    if not isinstance(parsed, ast.Dict):
        return _opaque(text)
    for key, value in zip(parsed.keys, parsed.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "invisible":
            return _from_domain(value)
    return None


def any_of(conditions: Sequence[ast.expr | None]) -> ast.expr | None:
    """Combine the conditions of a button and its ancestors with `or`."""
    present = [condition for condition in conditions if condition is not None]
    if not present:
        return None
    return present[0] if len(present) == 1 else ast.BoolOp(op=ast.Or(), values=present)


def evaluate(condition: ast.expr | None, known: Mapping[str, Any]) -> Outcome:
    """Evaluate a condition when only some names are known.

    Args:
        condition: the condition; None counts as false (never hidden).
        known: values by name, e.g. `{"state": "draft"}`.

    Returns:
        `Known(value)` where the condition is decided, else the residual expression.
    """
    return Known(False) if condition is None else _evaluate(condition, known)


def residual_text(outcomes: Sequence[ast.expr]) -> str:
    """Combine the residual conditions of equivalent buttons with `and`: all must hold to hide the action."""
    different = list({text(outcome): outcome for outcome in outcomes}.values())
    return text(different[0] if len(different) == 1 else ast.BoolOp(op=ast.And(), values=different))


def text(node: ast.expr) -> str:
    """Render an expression identically on every Python version (`ast.unparse` differs in parentheses)."""
    match node:
        case ast.BoolOp(op=op, values=values):
            word = " and " if isinstance(op, ast.And) else " or "
            return word.join(f"({text(value)})" if isinstance(value, ast.BoolOp) else text(value) for value in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"not ({text(operand)})" if isinstance(operand, ast.BoolOp) else f"not {text(operand)}"
        case _:
            return ast.unparse(node)


def _evaluate(node: ast.expr, known: Mapping[str, Any]) -> Outcome:
    match node:
        case ast.Constant(value=value):
            return Known(value)
        case ast.Name(id=name):
            # some archs use the JavaScript spelling `true` and `false`
            spelled = {"true": True, "false": False, "True": True, "False": False, "None": None}
            if name in known:
                return Known(known[name])
            return Known(spelled[name]) if name in spelled else node
        case ast.BoolOp(op=op, values=values):
            return _evaluate_bool(values, known, decided_by=isinstance(op, ast.Or))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _evaluate(operand, known)
            return Known(not inner.value) if isinstance(inner, Known) else ast.UnaryOp(op=ast.Not(), operand=inner)
        case ast.Compare():
            return _evaluate_compare(node, known)
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            outcomes = [_evaluate(element, known) for element in elements]
            if all(isinstance(outcome, Known) for outcome in outcomes):
                return Known(tuple(outcome.value for outcome in outcomes if isinstance(outcome, Known)))
            return node
        case ast.IfExp(test=test, body=body, orelse=orelse):
            decided = _evaluate(test, known)
            if isinstance(decided, Known):
                return _evaluate(body if decided.value else orelse, known)
            return node
        case _:
            return node


def _evaluate_bool(values: Sequence[ast.expr], known: Mapping[str, Any], *, decided_by: bool) -> Outcome:
    """One true operand decides `or`, one false operand decides `and`; other decided operands are dropped."""
    undecided: dict[str, ast.expr] = {}
    for value in values:
        outcome = _evaluate(value, known)
        if not isinstance(outcome, Known):
            alike = isinstance(outcome, ast.BoolOp) and isinstance(outcome.op, ast.Or) is decided_by
            for part in outcome.values if isinstance(outcome, ast.BoolOp) and alike else (outcome,):
                undecided.setdefault(text(part), part)
        elif bool(outcome.value) is decided_by:
            return Known(decided_by)
    if not undecided:
        return Known(not decided_by)
    remaining = list(undecided.values())
    if len(remaining) == 1:
        return remaining[0]
    return ast.BoolOp(op=ast.Or() if decided_by else ast.And(), values=remaining)


def _evaluate_compare(node: ast.Compare, known: Mapping[str, Any]) -> Outcome:
    if len(node.ops) != 1:
        pairs: list[ast.expr] = []
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            pairs.append(ast.Compare(left=left, ops=[op], comparators=[right]))
            left = right
        return _evaluate_bool(pairs, known, decided_by=False)
    op, right_node = node.ops[0], node.comparators[0]
    left_value, right_value = _evaluate(node.left, known), _evaluate(right_node, known)
    if isinstance(left_value, Known) and isinstance(right_value, Known):
        try:
            return Known(_COMPARISONS[type(op)](left_value.value, right_value.value))
        except TypeError:
            return node
    if isinstance(left_value, Known) and isinstance(op, (ast.In, ast.NotIn)) and _has(right_node, left_value, known):
        return Known(isinstance(op, ast.In))
    return node


def _has(collection: ast.expr, item: Known, known: Mapping[str, Any]) -> bool:
    """Whether a collection with unknown elements certainly contains a value."""
    if not isinstance(collection, (ast.List, ast.Tuple, ast.Set)):
        return False
    outcomes = [_evaluate(element, known) for element in collection.elts]
    return any(isinstance(outcome, Known) and outcome.value == item.value for outcome in outcomes)


def _from_domain(node: ast.expr) -> ast.expr | None:
    """Convert a domain in prefix notation; terms without an operator are joined by `and`."""
    if not isinstance(node, (ast.List, ast.Tuple)):
        # 'invisible': True, or a name
        return node
    stack: list[ast.expr] = []
    for item in reversed(node.elts):
        operator = item.value if isinstance(item, ast.Constant) else None
        if operator == "!" and stack:
            stack.append(ast.UnaryOp(op=ast.Not(), operand=stack.pop()))
        elif operator in {"&", "|"} and len(stack) > 1:
            op = ast.And() if operator == "&" else ast.Or()
            stack.append(ast.BoolOp(op=op, values=[stack.pop(), stack.pop()]))
        else:
            stack.append(_from_term(item))
    if not stack:
        return None
    ordered = list(reversed(stack))
    return ordered[0] if len(ordered) == 1 else ast.BoolOp(op=ast.And(), values=ordered)


def _from_term(node: ast.expr) -> ast.expr:
    if not isinstance(node, (ast.Tuple, ast.List)) or len(node.elts) != 3:
        return node
    field, operator, value = node.elts
    if not (isinstance(field, ast.Constant) and isinstance(field.value, str) and isinstance(operator, ast.Constant)):
        return _opaque(ast.unparse(node))
    name = _name(field.value)
    if isinstance(value, ast.Constant) and value.value is False and operator.value in {"=", "!="}:
        return ast.UnaryOp(op=ast.Not(), operand=name) if operator.value == "=" else name
    comparison = _DOMAIN_COMPARISONS.get(str(operator.value))
    if comparison is None:
        return _opaque(ast.unparse(node))
    return ast.Compare(left=name, ops=[comparison], comparators=[value])


def _name(dotted: str) -> ast.expr:
    first, *rest = dotted.split(".")
    node: ast.expr = ast.Name(id=first, ctx=ast.Load())
    for part in rest:
        node = ast.Attribute(value=node, attr=part, ctx=ast.Load())
    return node


def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_CHARS:
        raise ArchError("a condition is too long")
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return _opaque(text)
    except (RecursionError, MemoryError):
        raise ArchError("a condition is nested too deeply") from None
    depth, level = 0, [parsed]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ArchError("a condition is nested too deeply")
        if any(isinstance(node, ast.Constant) and _is_large(node.value) for node in level):
            raise ArchError("a number in a condition is too large")
        level = [child for node in level for child in ast.iter_child_nodes(node)]  # type: ignore[misc]
    return parsed


def _is_large(value: Any) -> bool:
    return isinstance(value, int) and value.bit_length() > MAX_BITS


def _opaque(text: str) -> ast.expr:
    """Wrap text that cannot be evaluated, so that the residual condition still shows it."""
    return ast.Call(func=_name("unknown"), args=[ast.Constant(" ".join(text.split()))], keywords=[])
