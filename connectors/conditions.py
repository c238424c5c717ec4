"""Partial evaluation of visibility conditions: in which states is a button hidden?

Odoo 17 and later write a condition as a Python expression (`invisible="state != 'draft' or locked"`), 16 and earlier
as a list of states (`states="draft,sent"`) or a domain (`attrs="{'invisible': [('state', '!=', 'draft')]}"`). All
three are parsed into one Python expression and evaluated in three-valued logic: the state field has a value, every
other name is unknown, and the undecided part is simplified and returned as the residual condition.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from fbs_worker.connectors.arch import ArchError
from fbs_worker.connectors.simplify import COMPARISONS, Known, Outcome, simplify, text

MAX_CHARS: Final = 10_000
"""Maximum length of a condition."""
MAX_DEPTH: Final = 100
"""Maximum depth of a condition: its evaluation recurses."""
MAX_CHOICE: Final = 1_000
"""Maximum size of `a if b else c` written with `and` and `or`, in nodes."""
MAX_BITS: Final = 256
"""Maximum size of a number in a condition."""

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


def from_modifiers(invisible: str | None, states: str | None, attrs: str | None) -> ast.expr | None:
    """Combine the three attributes that hide a node, as the server of Odoo 16 and earlier does.

    `transfer_node_to_modifiers`: `states` is split at commas, without stripping, and is one more term of the domain in
    `attrs`, so both must hold, unless that domain lacks an operand; it replaces a value there that is no domain. A true
    `invisible` hides in any case; a false one counts only where there is no domain.

    Args:
        invisible: the attribute of that name; the only one of Odoo 17 and later.
        states: e.g. `draft,sent`: hidden in every other value of `state`.
        attrs: a dictionary, e.g. `{'invisible': [('state', '!=', 'draft')]}`.

    Returns:
        The condition; None without one.

    Raises:
        ArchError: a condition is too long or nested too deeply.
    """
    always = from_expression(invisible)
    domain = _invisible_of_attrs(attrs)
    if states:
        listed = ast.List(elts=[ast.Constant(state) for state in states.split(",")], ctx=ast.Load())
        term = ast.Tuple(elts=[ast.Constant("state"), ast.Constant("not in"), listed], ctx=ast.Load())
        before: list[ast.expr] = []  # a literal that is no list is replaced
        if domain is not None and not isinstance(domain, ast.Constant | ast.Tuple):
            before = domain.elts if isinstance(domain, ast.List) else [domain]
        domain = ast.List(elts=[*before, term], ctx=ast.Load())
    elif always is not None and isinstance(domain, ast.Constant):
        domain = None
    return any_of([always, None if domain is None else _from_domain(domain)])


def _invisible_of_attrs(text: str | None) -> ast.expr | None:
    """The value of `invisible` in an `attrs` dictionary."""
    if not text or not text.strip():
        return None
    parsed = _parsed(text)
    if not isinstance(parsed, ast.Dict):
        return _opaque(text)
    pairs = zip(parsed.keys, parsed.values, strict=True)
    return next((value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "invisible"), None)


def any_of(conditions: Sequence[ast.expr | None]) -> ast.expr | None:
    """Combine the conditions of a button and its ancestors with `or`."""
    present = [condition for condition in conditions if condition is not None]
    if not present:
        return None
    return present[0] if len(present) == 1 else ast.BoolOp(op=ast.Or(), values=present)


def evaluate(condition: ast.expr | None, known: Mapping[str, Any], booleans: Set[str] = frozenset()) -> Outcome:
    """Evaluate a condition when only some names are known.

    Args:
        condition: the condition; None counts as false (never hidden).
        known: values by name, e.g. `{"state": "draft"}`.
        booleans: other names that are true or false and nothing else.

    Returns:
        `Known(value)` where the condition is decided, else the residual expression, simplified.
    """
    if condition is None:
        return Known(False)
    outcome = _holds(condition, known)
    return outcome if isinstance(outcome, Known) else simplify(outcome, booleans)


def all_of(outcomes: Sequence[Outcome], booleans: Set[str] = frozenset()) -> Outcome:
    """Combine the outcomes of equivalent buttons with `and`: all must hold to hide the action."""
    outcome = _joined(outcomes, decided_by=False)
    return outcome if isinstance(outcome, Known) or len(outcomes) == 1 else simplify(outcome, booleans)


_SPELLED: Final = {"true": True, "false": False}
"""The JavaScript spelling, in some archs."""


def _holds(node: ast.expr, known: Mapping[str, Any]) -> Outcome:
    """Whether an expression counts as true."""
    match node:
        case ast.BoolOp(op=op, values=values):
            return _holds_joined(values, known, decided_by=isinstance(op, ast.Or))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _holds(operand, known)
            return Known(not inner.value) if isinstance(inner, Known) else ast.UnaryOp(op=ast.Not(), operand=inner)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _holds_choice(node, [_holds(part, known) for part in (test, body, orelse)])
        case ast.Compare(left=left, ops=ops, comparators=rest) if len(ops) > 1:
            pairs = zip(ops, [left, *rest], rest, strict=False)
            chain = [ast.Compare(left=one, ops=[op], comparators=[other]) for op, one, other in pairs]
            return _holds_joined(chain, known, decided_by=False)
    outcome = _value(node, known)
    return Known(bool(outcome.value)) if isinstance(outcome, Known) else outcome


def _holds_joined(values: Sequence[ast.expr], known: Mapping[str, Any], *, decided_by: bool) -> Outcome:
    outcomes = []
    for value in values:
        outcomes.append(_holds(value, known))
        if outcomes[-1] == Known(decided_by):
            return Known(decided_by)
    return _joined(outcomes, decided_by=decided_by)


def _joined(outcomes: Sequence[Outcome], *, decided_by: bool) -> Outcome:
    """One true operand decides `or`, one false operand decides `and`; other decided operands are dropped."""
    undecided: dict[str, ast.expr] = {}
    for outcome in outcomes:
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


def _holds_choice(node: ast.IfExp, outcomes: Sequence[Outcome]) -> Outcome:
    """`a if test else b` as `test and a or not test and b`; as it stands where that is too large."""
    test, body, orelse = outcomes
    if isinstance(test, Known):
        return body if test.value else orelse
    first = _joined([test, body], decided_by=False)
    second = _joined([ast.UnaryOp(op=ast.Not(), operand=test), orelse], decided_by=False)
    chosen = _joined([first, second], decided_by=True)
    is_large = not isinstance(chosen, Known) and sum(1 for _ in ast.walk(chosen)) > MAX_CHOICE
    return node if is_large else chosen


def _value(node: ast.expr, known: Mapping[str, Any]) -> Outcome:  # noqa: PLR0912 -- a case for each kind of node
    """The value of an expression, as Python has it: `state or 'draft'` is a text."""
    match node:
        case ast.Constant(value=value):
            return Known(value)
        case ast.Name(id=name) if name in known or name in _SPELLED:
            return Known(known[name] if name in known else _SPELLED[name])
        case ast.BoolOp(op=op, values=values):
            for operand in values:
                outcome = _value(operand, known)
                if not isinstance(outcome, Known):
                    return node
                if bool(outcome.value) is isinstance(op, ast.Or):
                    break
            return outcome
        case ast.Compare(ops=[_]):
            return _compared(node, known)
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            outcome = _holds(node, known)
            return outcome if isinstance(outcome, Known) else node
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return Known(-number)
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            outcomes = [_value(element, known) for element in elements]
            if all(isinstance(outcome, Known) for outcome in outcomes):
                return Known(tuple(outcome.value for outcome in outcomes if isinstance(outcome, Known)))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            decided = _holds(test, known)
            if isinstance(decided, Known):
                return _value(body if decided.value else orelse, known)
    return node


def _compared(node: ast.Compare, known: Mapping[str, Any]) -> Outcome:
    op, right = node.ops[0], node.comparators[0]
    left_value, right_value = _value(node.left, known), _value(right, known)
    if isinstance(left_value, Known) and isinstance(right_value, Known):
        try:
            return Known(bool(COMPARISONS[type(op)](left_value.value, right_value.value)))
        except TypeError:
            return node
    if isinstance(left_value, Known) and isinstance(op, (ast.In, ast.NotIn)) and _has(right, left_value, known):
        return Known(isinstance(op, ast.In))
    return node


def _has(collection: ast.expr, item: Known, known: Mapping[str, Any]) -> bool:
    """Whether a collection with unknown elements certainly contains a value."""
    if not isinstance(collection, (ast.List, ast.Tuple, ast.Set)):
        return False
    outcomes = [_value(element, known) for element in collection.elts]
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
    if isinstance(field, ast.Constant) and isinstance(field.value, int):  # (1, '=', 1) and (0, '=', 1)
        return ast.Compare(left=field, ops=[ast.Eq()], comparators=[value])
    if not (isinstance(field, ast.Constant) and isinstance(field.value, str) and isinstance(operator, ast.Constant)):
        return _opaque(ast.unparse(node))
    name = _name(field.value)
    if isinstance(value, ast.Constant) and value.value is False and operator.value in {"=", "!="}:
        return ast.UnaryOp(op=ast.Not(), operand=name) if operator.value == "=" else name
    comparison = _DOMAIN_COMPARISONS.get(str(operator.value))
    if comparison is None:
        return _opaque(ast.unparse(node))
    if isinstance(comparison, ast.In | ast.NotIn) and isinstance(value, ast.Constant):
        value = ast.List(elts=[value], ctx=ast.Load())  # never a part of a text
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
