"""In which states is a button hidden? Conditions as they stand in real views of Odoo 14 to 19."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbs_worker.connectors.conditions import Known, any_of, evaluate, from_attrs, from_expression, from_states, text

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
    condition = from_attrs(source)
    assert {state: outcome(condition, state) for state in expected} == expected


def test_a_list_of_states_of_odoo_16_and_earlier() -> None:
    condition = from_states("draft, sent")
    assert [outcome(condition, state) for state in ("draft", "sent", "sale")] == [SHOWN, SHOWN, HIDDEN]
    assert from_states("") is None


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
