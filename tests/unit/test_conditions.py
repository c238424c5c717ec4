"""In which states is a button hidden? Conditions as they stand in real views of Odoo 14 to 19."""

import ast
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fbs_worker.connectors.conditions import MAX_CHARS, any_of, evaluate, from_expression, from_modifiers
from fbs_worker.connectors.simplify import Known, text

HIDDEN, SHOWN = "hidden", "shown"


def outcome(condition: ast.expr | None, state: str) -> str:
    found = evaluate(condition, {"state": state})
    if isinstance(found, Known):
        return HIDDEN if found.value else SHOWN
    return text(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", {"draft": SHOWN, "sale": SHOWN}),
        (None, {"draft": SHOWN}),
        ("1", {"draft": HIDDEN}),
        ("True", {"draft": HIDDEN}),
        ("0", {"draft": SHOWN}),
        ("state != 'draft'", {"draft": SHOWN, "sale": HIDDEN}),
        ("state == 'sale'", {"draft": SHOWN, "sale": HIDDEN}),
        ("'draft' == state", {"draft": HIDDEN, "sale": SHOWN}),
        ("state not in ('sent', 'sale')", {"draft": HIDDEN, "sale": SHOWN}),
        ("state in ['draft', 'sent']", {"draft": HIDDEN, "sale": SHOWN}),
        ("not state", {"draft": SHOWN}),
        ("state", {"draft": HIDDEN}),
        ("locked", {"draft": "locked"}),
        ("not id or locked", {"draft": "not id or locked"}),
        ("locked or state != 'sale'", {"draft": HIDDEN, "sale": "locked"}),
        ("state != 'draft' or invoice_count >= 1", {"draft": "invoice_count >= 1", "sale": HIDDEN}),
        ("state == 'draft' and locked", {"draft": "locked", "sale": SHOWN}),
        ("not (state == 'draft' and locked)", {"draft": "not locked", "sale": HIDDEN}),
        ("(state != 'draft') or (a and not b)", {"draft": "a and not b", "sale": HIDDEN}),
        ("a or a", {"draft": "a"}),
        ("state in ('draft', other)", {"draft": HIDDEN, "sale": "state in ('draft', other)"}),
        ("state not in ('draft', other)", {"draft": SHOWN, "sale": "state not in ('draft', other)"}),
        ("parent.state == 'draft'", {"draft": "parent.state == 'draft'"}),
        ("context.get('x') or state == 'draft'", {"draft": HIDDEN, "sale": "context.get('x')"}),
        ("locked if state == 'draft' else True", {"draft": "locked", "sale": HIDDEN}),
        ("state == 'draft' == True", {"draft": SHOWN, "sale": SHOWN}),
        ("state > 3", {"draft": "state > 3"}),
        ("state != 'draft' or move_type in ('entry',)", {"draft": "move_type in ('entry',)", "sale": HIDDEN}),
        ("this is no Python", {"draft": "unknown('this is no Python')"}),
    ],
)
def test_an_expression_in_each_state(source: str | None, expected: dict[str, str]) -> None:
    condition = from_expression(source)
    assert {state: outcome(condition, state) for state in expected} == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{'invisible': [('state', '!=', 'draft')]}", {"draft": SHOWN, "sale": HIDDEN}),
        ("{'invisible': [('state', 'not in', ['draft', 'sent'])]}", {"draft": SHOWN, "sale": HIDDEN}),
        ("{'invisible': [('state', '=', 'draft'), ('locked', '=', True)]}", {"draft": "locked == True", "sale": SHOWN}),
        ("{'invisible': ['|', ('state', '!=', 'sent'), ('count', '>=', 1)]}", {"draft": HIDDEN, "sent": "count >= 1"}),
        ("{'invisible': ['&', ('a', '=', False), ('state', '=', 'draft')]}", {"draft": "not a", "sale": SHOWN}),
        ("{'invisible': ['!', ('state', '=', 'draft')]}", {"draft": SHOWN, "sale": HIDDEN}),
        (
            "{'invisible': ['|', '|', ('a', '=', 1), ('b', '!=', False), ('c', '=', 1)]}",
            {"draft": "a == 1 or b or c == 1"},
        ),
        ("{'invisible': [('name', 'ilike', 'x')]}", {"draft": """unknown("('name', 'ilike', 'x')")"""}),
        ("{'invisible': [('partner_id.active', '=', False)]}", {"draft": "not partner_id.active"}),
        ("{'invisible': True}", {"draft": HIDDEN}),
        ("{'invisible': []}", {"draft": SHOWN}),
        ("{'readonly': [('state', '=', 'draft')]}", {"draft": SHOWN}),
        ("{broken", {"draft": "unknown('{broken')"}),
    ],
)
def test_an_attrs_domain_of_odoo_16_and_earlier(source: str, expected: dict[str, str]) -> None:
    condition = from_modifiers(None, None, source)
    assert {state: outcome(condition, state) for state in expected} == expected


ORIGIN = "{'invisible': [('origin', '=', False)]}"


@pytest.mark.parametrize(
    ("invisible", "states", "attrs", "expected"),
    [
        (None, "draft,sent", None, {"draft": SHOWN, "sent": SHOWN, "sale": HIDDEN}),
        (None, "draft, sent", None, {"draft": SHOWN, "sent": HIDDEN, " sent": SHOWN}),
        (None, "", None, {"draft": SHOWN}),
        (None, "draft", ORIGIN, {"draft": SHOWN, "done": "not origin"}),
        (
            None,
            "draft",
            "{'invisible': ['|', ('a', '=', 1), ('b', '=', 1)]}",
            {"draft": SHOWN, "x": "a == 1 or b == 1"},
        ),
        (
            None,
            "draft",
            "{'invisible': ['|', ('a', '=', 1)]}",
            {"draft": "a == 1", "x": HIDDEN},
        ),  # as website_sale 14 has it
        (None, "draft", "{'invisible': []}", {"draft": SHOWN, "done": HIDDEN}),
        (None, "draft", "{'invisible': True}", {"draft": SHOWN, "done": HIDDEN}),
        (None, "draft", "{'invisible': (('a', '=', 1),)}", {"draft": SHOWN, "done": HIDDEN}),
        (None, "draft", "{'readonly': [('a', '=', 1)]}", {"draft": SHOWN, "done": HIDDEN}),
        ("1", "draft", ORIGIN, {"draft": HIDDEN, "done": HIDDEN}),
        ("0", "draft", ORIGIN, {"draft": SHOWN, "done": "not origin"}),
        ("0", None, "{'invisible': 1}", {"draft": SHOWN}),
        (None, None, "{'invisible': [(1, '=', 1), ('name', 'in', 'abc')]}", {"draft": "name in ['abc']"}),
    ],
)
def test_states_and_attrs_of_odoo_16_and_earlier_are_one_domain(
    invisible: str | None, states: str | None, attrs: str | None, expected: dict[str, str]
) -> None:
    condition = from_modifiers(invisible, states, attrs)
    assert {state: outcome(condition, state) for state in expected} == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("not rescue or rescue", HIDDEN),
        ("locked or move_type != 'one' or move_type == 'one'", HIDDEN),
        ("move_type == 'one' and move_type == 'two'", SHOWN),
        ("move_type == 'one' and move_type != 'two'", "move_type == 'one'"),
        ("move_type in ('one', 'two') and not move_type", SHOWN),
        ("a and (a or b)", "a"),
        ("(a or b) and (a or not b)", "a"),
        ("a or not a and b", "a or b"),
        ("(a and b) or (a and not b) or c", "a or c"),
        ("not (not a)", "a"),
        ("amount > 3 or amount <= 3", HIDDEN),
        ("amount > 3 and amount > 5", "amount > 5"),
        ("amount > 3 and not amount", SHOWN),
        ("not amount or amount < 3", "not amount or amount < 3"),
        ("date < '2024' or date >= '2024'", HIDDEN),
        ("one == two or two != one", HIDDEN),
        ("one < two or one >= two", HIDDEN),
        ("partner_id in other or partner_id not in other", HIDDEN),
        ("kind == True or kind == False", "kind == True or kind == False"),
        ("len(lines) > 1 or len(lines) <= 1", HIDDEN),
        ("(a or 'x') == 'x'", "(a or 'x') == 'x'"),
        ("(state or 'x') == 'draft'", HIDDEN),
        ("b if a else b", "b"),
        ("x in ()", SHOWN),
        ("-1 == x or x == -1", "-1 == x"),
    ],
)
def test_a_condition_is_simplified(source: str, expected: str) -> None:
    assert outcome(from_expression(source), "draft") == expected


def test_ancestors_hide_a_button_too() -> None:
    condition = any_of([from_expression("state != 'draft'"), None, from_expression("locked")])
    assert outcome(condition, "draft") == "locked"
    assert outcome(condition, "sale") == HIDDEN
    assert any_of([None]) is None


names = st.sampled_from(["state", "locked", "paid"])
leaves = st.one_of(
    st.sampled_from(["locked", "paid", "True", "False"]),
    st.sampled_from(["draft", "sale"]).map(lambda value: f"state == {value!r}"),
    st.sampled_from(["draft", "sale"]).map(lambda value: f"state not in [{value!r}, 'other']"),
)
expressions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        inner.map(lambda operand: f"(not {operand})"),
    ),
    max_leaves=8,
)


@given(expressions, st.sampled_from(["draft", "sale"]), st.booleans(), st.booleans())
def test_whatever_the_unknown_turns_out_to_be_the_outcome_agrees_with_python(
    source: str, state: str, locked: bool, paid: bool
) -> None:
    found = evaluate(from_expression(source), {"state": state})
    everything = {"state": state, "locked": locked, "paid": paid}
    truth = bool(eval(source, {}, everything))
    if isinstance(found, Known):
        assert bool(found.value) is truth
    else:
        assert bool(eval(text(found), {}, everything)) is truth
        assert "state" not in text(found)


NAMES = {
    "flag": (False, True),
    "kind": (False, "one", "two", "three", ""),
    "amount": (-1, 0, 0.5, 1, 2, 2.5, 3, 9),
    "date": ("2023", "2024", "2024-05", "2025", False),
    "other": (None, "one", 2),
}
comparisons = st.one_of(
    st.sampled_from(["flag", "kind", "amount", "date", "other"]),
    st.builds("flag {} {}".format, st.sampled_from(["==", "!=", "is"]), st.booleans()),
    st.builds("kind {} {!r}".format, st.sampled_from(["==", "!="]), st.sampled_from(["one", "two", False, ""])),
    st.builds("kind {} {!r}".format, st.sampled_from(["in", "not in"]), st.lists(st.sampled_from(["one", "two", ""]))),
    st.builds("amount {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "=="]), st.integers(0, 3)),
    st.builds("{1} {0} amount".format, st.sampled_from(["<", ">=", "!="]), st.integers(0, 3)),
    st.builds("date {} {!r}".format, st.sampled_from(["<", ">=", "=="]), st.sampled_from(["2024", "2025"])),
    st.sampled_from(["other == kind", "kind != other", "other is None", "kind in (other, 'one')", "0 < amount < 3"]),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {} or {})".format, inner, inner, inner),
        st.builds("not ({})".format, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    ),
    max_leaves=7,
)


@given(conditions)
@example("((flag or flag or date < '2024') and (kind and date < '2024'))")
@settings(max_examples=200)
def test_a_simplified_condition_holds_for_the_same_values(source: str) -> None:
    found = evaluate(from_expression(source), {})
    simplified = compile(repr(found.value) if isinstance(found, Known) else text(found), "simplified", "eval")
    original = compile(source, "original", "eval")
    asked = [name for name in NAMES if name in source]
    for values in product(*(NAMES[name] for name in asked)):
        world = dict(zip(asked, values, strict=True))
        try:
            truth = bool(eval(original, {}, world))
        except TypeError:  # Python does not compare False with a date
            continue
        assert bool(eval(simplified, {}, world)) is truth, (
            world,
            text(found) if isinstance(found, ast.expr) else found,
        )


@given(conditions, conditions)
def test_what_holds_always_or_never_is_found(first: str, second: str) -> None:
    assert evaluate(from_expression(f"({first}) or not ({first}) or ({second})"), {}) == Known(True)
    assert evaluate(from_expression(f"({second}) and ({first}) and not ({first})"), {}) == Known(False)


def evaluated(source: str) -> ast.expr:
    found = evaluate(from_expression(source), {})
    assert isinstance(found, ast.expr)
    return found


def test_a_large_condition_stays_in_bounds() -> None:
    wide = " or ".join(f"(n{number} and n{number + 1})" for number in range(60))
    assert text(evaluated(wide)) == wide
    nested = "a"
    for number in range(30):
        nested = f"(a{number} if ({nested}) else b{number})"
    assert len(text(evaluated(nested))) < MAX_CHARS
