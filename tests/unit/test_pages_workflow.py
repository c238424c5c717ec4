"""Transitions derived from a workflow definition."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.web.pages.workflow import Transition, read_workflow

ORDER: dict[str, Any] = {
    "state_field": "state",
    "states": [
        {"value": "draft", "label": "Quotation", "shown": True},
        {"value": "sent", "label": "Quotation Sent", "shown": True},
        {"value": "sale", "label": "Sales Order", "shown": True},
        {"value": "cancel", "label": "Cancelled"},
    ],
    "transitions": [
        {"button": "action_cancel", "label": "Cancel", "kind": "object", "from": ["draft", "sale", "sent"], "condition": "not id or locked"},
        {"button": "action_confirm", "label": "Confirm", "kind": "object", "from": ["draft", "sent"], "groups": ["sales.team"]},
        {"button": "action_draft", "label": "Set to Quotation", "kind": "object", "from": ["cancel"]},
        {"button": "action_preview", "label": "Preview", "kind": "object", "from": ["cancel", "draft", "sale", "sent"]},
        {"button": "sale.report", "label": "Print", "kind": "action", "from": ["draft"], "conditions": {"draft": "locked"}},
    ],
}  # fmt: skip


def one(
    button: str, label: str, sources: list[str], states: dict[str, str], *, kind: str = "object", model: str = ""
) -> Transition:
    definition = {
        "states": [{"value": value, "label": text} for value, text in states.items()],
        "transitions": [{"button": button, "label": label, "kind": kind, "from": sources}],
    }
    return read_workflow(definition, model=model).transitions[0]


def test_a_sales_order() -> None:
    workflow = read_workflow(ORDER, model="sale.order")
    assert workflow.state_field == "state"
    assert [(state.value, state.shown, state.first) for state in workflow.states] == [
        ("draft", True, True),
        ("sent", True, False),
        ("sale", True, False),
        ("cancel", False, False),
    ]
    result = {
        transition.button: (transition.sources, transition.target, transition.in_all_states)
        for transition in workflow.transitions
    }
    assert result == {
        "action_cancel": (("draft", "sent", "sale"), "cancel", False),
        "action_confirm": (("draft", "sent"), "", False),
        "action_draft": (("cancel",), "draft", False),
        "action_preview": (("draft", "sent", "sale", "cancel"), "", True),
        "sale.report": (("draft",), "", False),
    }
    assert workflow.transitions[0].conditions == (("", "not id or locked"),)
    assert workflow.transitions[1].groups == ("sales.team",)
    assert workflow.transitions[4].conditions == (("draft", "locked"),)


STATES = {
    "draft": "Draft", "confirmed": "Confirmed", "posted": "Posted", "approved": "Approved", "refuse": "Refused",
    "done": "Done", "cancel": "Cancelled",
}  # fmt: skip


@pytest.mark.parametrize(
    ("button", "label", "sources", "target"),
    [
        ("action_cancel", "Cancel", ["draft"], "cancel"),
        ("button_x", "Cancelling", ["draft"], "cancel"),
        ("action_approve", "Approve", ["confirmed"], "approved"),
        ("action_refuse", "Refuse", ["confirmed"], "refuse"),
        ("action_post", "Post Journal Entries", ["draft"], "posted"),
        ("action_confirm", "Mark as Todo", ["draft"], "confirmed"),
        ("button_mark_done", "Produce", list(STATES), "done"),
        ("action_cancel", "Cancel", list(STATES), "cancel"),
        ("button_draft", "Reset to Draft", ["draft", "cancel"], "draft"),
        ("action_cancel_draft", "Set to Draft", ["cancel"], "draft"),
        # nothing is said, several are, it is about one, or it stands in that one already
        ("action_start", "Start", ["draft"], ""),
        ("action_request_cancel", "Request Cancel", ["posted"], ""),
        ("action_done_cancel", "Done or Cancel", ["draft"], ""),
        ("history", "Draft History", list(STATES), ""),
        ("action_cancel", "Cancel", ["cancel"], ""),
    ],
)
def test_targets_are_derived_from_names(button: str, label: str, sources: list[str], target: str) -> None:
    assert one(button, label, sources, STATES).target == target


def test_an_action_button_has_no_target() -> None:
    assert one("sale.cancel", "Cancel", ["draft"], STATES, kind="action").target == ""


def test_words_of_the_model_are_ignored() -> None:
    states = {"confirmed": "Confirmed", "under": "Under Repair", "done": "Repaired"}
    assert one("action_repair_start", "Start Repair", ["confirmed"], states).target == "done"
    assert one("action_repair_start", "Start Repair", ["confirmed"], states, model="repair.order").target == ""


def test_final_and_unconnected_states() -> None:
    states = {"active": "Active", "revoked": "Revoked", "expired": "Expired"}
    definition = {
        "states": [{"value": value, "label": label} for value, label in states.items()],
        "transitions": [{"button": "action_revoke", "label": "Revoke", "kind": "object", "from": ["active"]}],
    }
    found = read_workflow(definition).states
    assert [(state.final, state.connected) for state in found] == [(False, True), (True, True), (False, False)]


def test_stages_have_no_states() -> None:
    workflow = read_workflow({"state_field": "stage_id", "transitions": [{"button": "archive", "label": "Cancel"}]})
    assert workflow.states == ()
    assert workflow.transitions[0].in_all_states
    assert workflow.transitions[0].kind == "object"


@pytest.mark.parametrize(
    "definition",
    [
        {},
        {"states": None, "transitions": "none"},
        {"states": [None, {"label": "x"}], "transitions": [3, {}]},
        {"states": [{"value": 1}], "transitions": [{"button": None, "label": 2, "from": "draft", "conditions": [1]}]},
    ],
)
def test_malformed_definitions_are_skipped(definition: dict[str, Any]) -> None:
    workflow = read_workflow(definition)
    assert all(state.label for state in workflow.states)
    assert workflow.label("unknown") == "unknown"


def test_groups_that_are_needed_together_are_one_text() -> None:
    button = {"button": "go", "groups": [["a.x"], ["b.y", "b.z"]], "place": "body"}
    [transition] = read_workflow({"transitions": [button]}).transitions
    assert (transition.groups, transition.place) == (("a.x and (b.y or b.z)",), "body")
