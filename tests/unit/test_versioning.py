"""The rule that numbers versions."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbs_worker.catalogue.versioning import Difference, compare, next_version

MODEL: dict[str, Any] = {
    "metadata": {"title": "Order", "defined_by": ["sale"], "extended_by": ["sale_stock"]},
    "schema_definition": {
        "fields": {
            "name": {"type": "char", "label": "Number", "required": True, "stored": True},
            "partner_id": {"type": "many2one", "relation": "res.partner", "modules": ["sale", "sale_stock"]},
            "state": {"type": "selection", "selection": [["draft", "Quotation"], ["sale", "Sales Order"]]},
            "type": {"type": "char", "size": 3},
        }
    },
}
WORKFLOW: dict[str, Any] = {
    "metadata": {"title": "Order"},
    "schema_definition": {
        "state_field": "state",
        "states": [{"value": "draft", "label": "Quotation", "shown": True}, {"value": "sale", "label": "Order"}],
        "transitions": [
            {"button": "action_cancel", "kind": "object", "label": "Cancel", "from": ["draft", "sale"]},
            {"button": "action_confirm", "kind": "object", "label": "Confirm", "from": ["draft"]},
        ],
        "automations": [{"name": "Remind", "trigger": "on_time"}],
    },
}
FEATURE: dict[str, Any] = {
    "schema_definition": {
        "kind": "pivot",
        "model": "sale.report",
        "measures": [{"name": "price_total"}, {"name": "nbr"}],
        "dimensions": [{"name": "date", "interval": "month"}],
    }
}
MODULE: dict[str, Any] = {"metadata": {"title": "Sales", "state": "installed", "depends": ["base", "product"]}}


def put(path: str, value: Any) -> Any:
    """A change that sets what lies at a path; list positions are numbers."""

    def change(state: dict[str, Any]) -> None:
        *before, last = path.split("/")
        target: Any = state
        for part in before:
            target = target[int(part) if part.isdecimal() else part]
        if value is ...:
            del target[int(last) if last.isdecimal() else last]
        elif isinstance(target, list) and int(last) == len(target):
            target.append(value)
        else:
            target[int(last) if last.isdecimal() else last] = value

    return change


FIELDS = "schema_definition/fields"
FLOW = "schema_definition"

CASES: list[tuple[str, dict[str, Any], Any, list[str], bool]] = [
    ("a field more", MODEL, put(f"{FIELDS}/note", {"type": "text"}), ["fields.note"], False),
    ("a required field more", MODEL, put(f"{FIELDS}/x", {"type": "char", "required": True}), ["fields.x"], False),
    ("a field less", MODEL, put(f"{FIELDS}/name", ...), ["fields.name"], True),
    ("all fields less", MODEL, put(FIELDS, ...), [f"fields.{f}" for f in ("name", "partner_id", "state", "type")], True),
    ("a field retyped", MODEL, put(f"{FIELDS}/name/type", "text"), ["fields.name.type"], True),
    ("another relation", MODEL, put(f"{FIELDS}/partner_id/relation", "x"), ["fields.partner_id.relation"], True),
    ("no relation", MODEL, put(f"{FIELDS}/partner_id/relation", ...), ["fields.partner_id.relation"], True),
    ("a field relabelled", MODEL, put(f"{FIELDS}/name/label", "No."), ["fields.name.label"], False),
    ("a field named type relabelled", MODEL, put(f"{FIELDS}/type/label", "T"), ["fields.type.label"], False),
    ("newly required", MODEL, put(f"{FIELDS}/state/required", True), ["fields.state.required"], True),
    ("no longer required", MODEL, put(f"{FIELDS}/name/required", ...), ["fields.name.required"], False),
    ("required false is not required", MODEL, put(f"{FIELDS}/type/required", False), ["fields.type.required"], False),
    ("no longer stored", MODEL, put(f"{FIELDS}/name/stored", ...), ["fields.name.stored"], False),
    ("another size", MODEL, put(f"{FIELDS}/type/size", 4), ["fields.type.size"], False),
    ("digits told", MODEL, put(f"{FIELDS}/type/digits", [16, 2]), ["fields.type.digits"], False),
    ("other digits", {FLOW: {"fields": {"a": {"digits": [16, 2]}}}}, put(f"{FIELDS}/a/digits", [10, 7]), ["fields.a.digits"], False),
    ("no digits", {FLOW: {"fields": {"a": {"digits": [16, 2]}}}}, put(f"{FIELDS}/a/digits", ...), ["fields.a.digits"], False),
    ("a selection more", MODEL, put(f"{FIELDS}/state/selection/2", ["x", "X"]), ["fields.state.selection.x"], False),
    ("a selection less", MODEL, put(f"{FIELDS}/state/selection/1", ...), ["fields.state.selection.sale"], True),
    ("no selection", MODEL, put(f"{FIELDS}/state/selection", ...), ["fields.state.selection.draft", "fields.state.selection.sale"], True),
    ("a selection relabelled", MODEL, put(f"{FIELDS}/state/selection/0/1", "Offer"), ["fields.state.selection.draft"], False),
    ("a module less behind a field", MODEL, put(f"{FIELDS}/partner_id/modules/1", ...), ["fields.partner_id.modules.sale_stock"], False),
    ("no definition any more", FEATURE, put("schema_definition", None), ["dimensions.date", "kind", "measures.nbr", "measures.price_total", "model"], True),
    ("a state more", WORKFLOW, put(f"{FLOW}/states/2", {"value": "done"}), ["states.done"], False),
    ("a state less", WORKFLOW, put(f"{FLOW}/states/0", ...), ["states.draft"], True),
    ("a state relabelled", WORKFLOW, put(f"{FLOW}/states/0/label", "Offer"), ["states.draft.label"], False),
    ("a state hidden", WORKFLOW, put(f"{FLOW}/states/0/shown", ...), ["states.draft.shown"], False),
    ("a transition less", WORKFLOW, put(f"{FLOW}/transitions/1", ...), ["transitions.action_confirm"], True),
    ("a from-state less", WORKFLOW, put(f"{FLOW}/transitions/0/from/1", ...), ["transitions.action_cancel.from.sale"], True),
    ("a from-state more", WORKFLOW, put(f"{FLOW}/transitions/1/from/1", "sale"), ["transitions.action_confirm.from.sale"], False),
    ("a condition more", WORKFLOW, put(f"{FLOW}/transitions/1/condition", "not id"), ["transitions.action_confirm.condition"], False),
    ("two lists of groups instead of one", WORKFLOW, put(f"{FLOW}/transitions/1/groups", [["a.x"], ["b.y", "b.z"]]), ["transitions.action_confirm.groups.a.x", "transitions.action_confirm.groups.b.y or b.z"], False),
    ("another kind of button", WORKFLOW, put(f"{FLOW}/transitions/1/kind", "action"), ["transitions.action_confirm.kind"], True),
    ("the first automations", {"schema_definition": {}}, put(f"{FLOW}/automations", [{"name": "A"}]), ["automations.A"], False),
    ("another trigger", WORKFLOW, put(f"{FLOW}/automations/0/trigger", "on_create"), ["automations.Remind.trigger"], False),
    ("no automations", WORKFLOW, put(f"{FLOW}/automations", ...), ["automations.Remind"], True),
    ("another state field", WORKFLOW, put(f"{FLOW}/state_field", "stage_id"), ["state_field"], True),
    ("a measure less", FEATURE, put(f"{FLOW}/measures/1", ...), ["measures.nbr"], True),
    ("another interval", FEATURE, put(f"{FLOW}/dimensions/0/interval", "year"), ["dimensions.date.interval"], False),
    ("a title", MODEL, put("metadata/title", "Sale"), ["metadata.title"], False),
    ("a dependency less", MODULE, put("metadata/depends/1", ...), ["metadata.depends.product"], False),
    ("uninstalled", MODULE, put("metadata/state", "uninstalled"), ["metadata.state"], False),
    ("no metadata", MODULE, put("metadata", None), ["metadata.depends.base", "metadata.depends.product", "metadata.state", "metadata.title"], False),
    ("another source", MODULE, put("metadata/source", {"url": "http://b"}), [], False),
    ("less to be seen", MODULE, put("metadata/incomplete", ["views"]), [], False),
    ("true is not one", {"schema_definition": {"a": 1}}, put(f"{FLOW}/a", True), ["a"], False),
]  # fmt: skip


@pytest.mark.parametrize(("start", "change", "fields", "breaking"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_difference_is_named_and_weighed(
    start: dict[str, Any], change: Any, fields: list[str], breaking: bool
) -> None:
    state = copy.deepcopy(start)
    change(state)
    assert compare(start, state) == Difference(fields=tuple(fields), breaking=breaking)
    assert compare(state, start).fields == tuple(fields)


def test_another_order_is_reported_and_not_breaking() -> None:
    state = copy.deepcopy(WORKFLOW)
    state["schema_definition"]["states"].reverse()
    assert compare(WORKFLOW, state) == Difference(fields=("states",), breaking=False)


def test_two_of_one_name_are_distinguished() -> None:
    one = {"schema_definition": {"schedules": [{"name": "Nightly", "interval": 1}]}}
    two = {"schema_definition": {"schedules": [{"name": "Nightly", "interval": 1}, {"name": "Nightly", "interval": 2}]}}
    assert compare(one, two) == Difference(fields=("schedules.Nightly#2",), breaking=False)
    assert compare(two, one) == Difference(fields=("schedules.Nightly#2",), breaking=True)


def test_no_difference_is_false() -> None:
    assert not compare(MODEL, MODEL)
    assert compare(MODEL, {})


@pytest.mark.parametrize(
    ("previous", "breaking", "expected"),
    [
        (None, False, "1.0"),
        (None, True, "1.0"),
        ("1.0", False, "1.1"),
        ("1.9", False, "1.10"),
        ("1.9", True, "2.0"),
        ("9.3", True, "10.0"),
    ],
)
def test_the_next_version(previous: str | None, breaking: bool, expected: str) -> None:
    assert next_version(previous, breaking=breaking) == expected


@pytest.mark.parametrize("previous", ["", "1", "1.0.0", "v1.0", "1.x", "-1.0", "1.0 "])
def test_a_strange_version_has_no_next(previous: str) -> None:
    with pytest.raises(ValueError, match=r"major\.minor"):
        next_version(previous, breaking=False)


scalars = st.booleans() | st.integers(-5, 5) | st.text("abc", max_size=3) | st.floats(-1, 1)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4)
)
states = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.dictionaries(st.sampled_from(["title", "depends", "source", "incomplete"]), json_values),
        "schema_definition": st.none()
        | st.dictionaries(st.sampled_from(["fields", "states", "transitions", "kind"]), json_values),
    },
)
names = st.text("abcdef_.", min_size=1, max_size=4)
attributes = st.fixed_dictionaries(
    {"type": st.sampled_from(["char", "integer"])},
    optional={"required": st.booleans(), "label": st.text(max_size=3), "selection": st.just([["a", "A"]])},
)
models = st.dictionaries(names, attributes, max_size=6)


def comparable(state: dict[str, Any]) -> bytes:
    """A state as bytes that are equal for equal states; an empty object or list says no more than its absence."""
    metadata = {k: v for k, v in (state.get("metadata") or {}).items() if k not in {"source", "incomplete"}}
    return orjson.dumps([metadata, state.get("schema_definition") or {}], option=orjson.OPT_SORT_KEYS)


@given(states, states)
def test_a_difference_is_the_same_both_ways_and_none_between_equals(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert compare(one, copy.deepcopy(one)) == Difference()
    assert compare(one, other).fields == compare(other, one).fields
    if comparable(one) == comparable(other):
        assert not compare(one, other)


@given(models, models)
def test_adding_never_breaks_and_removing_always_does(some: dict[str, Any], more: dict[str, Any]) -> None:
    fewer, all_of_them = {"schema_definition": {"fields": some}}, {"schema_definition": {"fields": {**more, **some}}}
    added = compare(fewer, all_of_them)
    assert not added.breaking
    assert set(added.fields) == {f"fields.{name}" for name in more.keys() - some.keys()}
    removed = compare(all_of_them, fewer)
    assert removed.breaking == bool(added)
    assert removed.fields == added.fields
