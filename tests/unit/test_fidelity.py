"""The harness of `make fidelity` sees what is not so."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from lxml import etree

from tests.fidelity.conditions import Names, assignments
from tests.fidelity.sections import Outcome, transitions_of, visibility
from tests.fidelity.views import buttons, chart, lists_of, same_groups

STATES = ["draft", "done", ""]
TYPES = {"state": "selection", "locked": "boolean", "amount": "float", "origin": "char", "lines": "one2many"}
UNKNOWN = partial(Names, TYPES, {"state": STATES})


def shown_alike(button: str, *rows: dict[str, Any], states: list[str] = STATES) -> bool:
    """Whether a form's header and rows of the catalogue agree; the rows are of `x`, labelled `X`."""
    form = etree.fromstring(f"<form><header>{button}</header></form>")
    found = buttons(form, UNKNOWN, {"310": "x"})
    return not visibility(found, rows, UNKNOWN(), "state", states).difference


@pytest.mark.parametrize(
    ("attributes", "right", "wrong"),
    [
        ("invisible=\"state != 'draft'\"", {"from": ["draft"]}, {"from": ["done"]}),
        ("invisible=\"state == 'draft' or locked\"", {"from": ["done", ""], "condition": "locked"}, {"from": ["done", ""], "condition": "not locked"}),
        ("invisible=\"locked if state == 'done' else not lines\"", {"from": STATES, "conditions": {"draft": "not lines", "done": "locked", "": "not lines"}}, {"from": STATES, "condition": "locked"}),
        ('invisible="amount &gt; 3 and amount &lt; 5"', {"from": STATES, "condition": "3 &lt; amount &lt; 5".replace("&lt;", "<")}, {"from": STATES, "condition": "amount > 3"}),
        ("invisible=\"parent.state == 'a' or not (locked or not locked)\"", {"from": STATES, "condition": "parent.state == 'a'"}, {"from": STATES}),
        ('invisible="state"', {"from": [""]}, {"from": []}),
        ('groups="a.x,b.y"', {"from": STATES, "groups": ["b.y", "a.x"]}, {"from": STATES, "groups": [["a.x"], ["b.y"]]}),
        ('groups="a.x,!b.y"', {"from": STATES, "groups": [["a.x"], ["!b.y"]]}, {"from": STATES, "groups": ["a.x", "!b.y"]}),
        # Odoo 14 to 16
        ("states=\"draft\" attrs=\"{'invisible': [('origin', '=', False)]}\"", {"from": STATES, "conditions": {"done": "not origin", "": "not origin"}}, {"from": ["draft"], "condition": "not origin"}),
        ('states="draft, done"', {"from": ["draft"]}, {"from": ["draft", "done"]}),
        ("attrs=\"{'invisible': ['|', ('locked', '=', True), '!', ('state', 'in', ['draft'])]}\"", {"from": ["draft"], "condition": "locked"}, {"from": ["draft"]}),
        ("invisible=\"0\" attrs=\"{'invisible': [('amount', '&gt;', 2)]}\"", {"from": STATES, "condition": "amount > 2"}, {"from": STATES}),
    ],
)  # fmt: skip
def test_visibility_is_tried_with_all_values(attributes: str, right: dict[str, Any], wrong: dict[str, Any]) -> None:
    button = f'<button name="x" {attributes}/>'
    assert shown_alike(button, right)
    assert not shown_alike(button, wrong)
    assert not shown_alike(button)


def test_what_stands_around_a_button_hides_it_too_and_any_of_several_shows() -> None:
    outer = '<div invisible="locked" groups="a.x"><button name="x"/></div>'
    assert shown_alike(outer, {"from": STATES, "condition": "locked", "groups": ["a.x"]})
    both = outer + '<button name="x" groups="a.x" invisible="not locked"/>'
    assert shown_alike(both, {"from": STATES, "groups": ["a.x"]})


def test_values_that_the_condition_refuses_do_not_count_but_a_refusing_row_differs() -> None:
    assert shown_alike('<button name="x" invisible="origin &lt; 3"/>', {"from": STATES, "condition": "origin < 3"})
    guarded = '<button name="x" invisible="not amount or amount &lt; 3"/>'
    assert not shown_alike(guarded, {"from": STATES, "condition": "amount < origin"})


def test_many_combinations_are_sampled_alike_each_time() -> None:
    values = {f"n{number}": [False, True, "other"] for number in range(12)}
    (one, is_all), (other, _) = assignments(values), assignments(values)
    assert (list(one) == list(other), is_all) == (True, False)


def test_a_button_of_the_body_counts_if_it_depends_on_the_state() -> None:
    form = etree.fromstring(
        '<form><header><button name="310" type="action" string="X"/></header>'
        '<button name="a" invisible="state == \'done\'"/><button name="b" invisible="locked"/>'
        "<button name=\"c\" invisible=\"state == 'done' or state != 'done'\"/>"
        '<field name="lines"><list><button name="d"/></list></field></form>'
    )
    kept = transitions_of(buttons(form, UNKNOWN, {"310": "m.x"}), "state", STATES)
    assert [(button.key.name, button.key.place) for button in kept] == [("m.x", ""), ("a", "body")]


def test_charts_as_the_web_client_reads_them() -> None:
    tree = etree.fromstring(
        '<graph><field name="id"/><field name="user"/><field name="date" interval="week" groups="a.x"/><field name="n" type="measure"/></graph>'
    )
    found = chart(tree, {"user": "many2one", "date": "date", "n": "float", "id": "integer"})
    assert [one["name"] for one in found["dimensions"]] == ["user", "date"]
    assert (found["measures"], found["default_measure"], found["chart"]) == (["n"], "n", "bar")
    assert same_groups(found["dimensions"][1]["groups"], lists_of(["a.x"]))
    assert not same_groups([["a.x"], ["b.y"]], lists_of(["a.x", "b.y"]))


def test_an_outcome_counts_and_names_what_differs() -> None:
    outcome = Outcome(section="models")
    outcome.take_all({"a": {"x": 1, "y": 2}, "b": {}}, {"a": {"x": 1, "y": 3}, "b": {}, "c": {"z": 1}})
    assert (outcome.equal, outcome.compared) == (1, 3)
    assert outcome.differences == ['a: Odoo has {"y": 2}, found {"y": 3}', 'c: Odoo has nothing, found {"z": 1}']
