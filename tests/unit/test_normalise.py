"""Rows of Odoo become discoveries."""

from typing import Any

import pytest

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.connectors.arch import parse
from fbs_worker.connectors.modules import Module, ModuleGraph
from fbs_worker.connectors.normalise import Normaliser, WorkflowFacts, field_definition, workflow_definition
from fbs_worker.connectors.transitions import Form, header_buttons, statusbar_fields
from fbs_worker.domains import load_domain

SOURCE = {"url": "http://odoo.example", "database": "db", "series": "19.0"}
NORMALISER = Normaliser(domain="rental", source=SOURCE)


def installed(name: str, *depends: str) -> Module:
    return Module(name=name, title=name.title(), state="installed", version="19.0.1.0", category="", depends=depends)


GRAPH = ModuleGraph.for_domain([installed("base"), installed("sale", "base")], load_domain("rental"))


def form(header: str) -> Form:
    tree = parse(f"<form><header>{header}</header></form>")
    return Form(statusbars=tuple(statusbar_fields(tree)), buttons=tuple(header_buttons(tree)))


def facts(**given: Any) -> WorkflowFacts:
    return WorkflowFacts(**{"forms": {}, "action_names": {}, "automations": {}, "schedules": {}, **given})


STATE = {"id": 7, "name": "state", "ttype": "selection"}
STAGE = {"id": 8, "name": "stage_id", "ttype": "many2one", "relation": "m.stage"}
VALUES = {
    7: [
        {"id": 2, "sequence": 1, "value": "done", "name": "Done"},
        {"id": 1, "sequence": 0, "value": "draft", "name": "Draft"},
    ]
}


def test_a_module_row() -> None:
    found = NORMALISER.module(installed("sale", "base"), "core", ())
    assert found.discovery_type is DiscoveryType.MODULE
    assert (found.name, found.version, found.schema_definition) == ("sale", "19.0.1.0", None)
    assert found.metadata == {
        "title": "Sale",
        "state": "installed",
        "role": "core",
        "depends": ["base"],
        "source": SOURCE,
    }


def test_a_model_row_leaves_out_what_is_empty() -> None:
    row = {
        "id": 1,
        "model": "sale.order",
        "name": "Order",
        "modules": "sale, base",
        "transient": False,
        "state": "base",
    }
    fields = [
        {"id": 7, "name": "state", "ttype": "selection", "field_description": "Status", "required": True, "modules": "sale", "size": 0},
        {"id": 6, "name": "amount", "ttype": "monetary", "currency_field": "currency_id", "index": False},
    ]  # fmt: skip
    found = NORMALISER.model(row, fields, VALUES, GRAPH, ("fields",))
    assert found.metadata == {
        "title": "Order",
        "defined_by": "base",
        "extended_by": ["sale"],
        "incomplete": ["fields"],
        "source": SOURCE,
    }
    assert found.schema_definition == {
        "fields": {
            "amount": {"type": "monetary", "currency_field": "currency_id"},
            "state": {
                "type": "selection",
                "label": "Status",
                "required": True,
                "selection": [["draft", "Draft"], ["done", "Done"]],
                "modules": ["sale"],
            },
        }
    }
    assert list(found.schema_definition["fields"]) == ["amount", "state"]


def test_every_fact_of_a_field_is_kept() -> None:
    facts = [
        ("type", "ttype", "many2one"),
        ("label", "field_description", "X"),
        ("required", "required", True),
        ("readonly", "readonly", True),
        ("stored", "store", True),
        ("indexed", "index", True),
        ("size", "size", 64),
        ("digits", "digits", [10, 7]),
        ("relation", "relation", "res.partner"),
        ("relation_field", "relation_field", "y"),
        ("on_delete", "on_delete", "cascade"),
        ("currency_field", "currency_field", "currency_id"),
        ("translate", "translate", "standard"),
        ("company_dependent", "company_dependent", True),
    ]
    row = {"id": 1, "name": "x", "modules": "b, a", **{column: value for _, column, value in facts}}
    assert field_definition(row, ()) == {**{key: value for key, _, value in facts}, "modules": ["a", "b"]}


def test_a_workflow_by_state_keeps_odoos_order_of_states() -> None:
    header = '<button name="go" string="Go" invisible="state != \'draft\'"/><field name="state" widget="statusbar" statusbar_visible="draft"/>'
    found = workflow_definition("m", [STATE], VALUES, facts(forms={"m": form(header)}))
    assert found["state_field"] == "state"
    assert found["states"] == [{"value": "draft", "label": "Draft", "shown": True}, {"value": "done", "label": "Done"}]
    assert found["transitions"] == [{"button": "go", "label": "Go", "kind": "object", "from": ["draft"]}]


def test_an_empty_text_is_a_state() -> None:
    values = {7: [{"id": 0, "sequence": 0, "value": "", "name": "None"}, *VALUES[7]]}
    found = workflow_definition("m", [STATE], values, facts(forms={"m": form('<button name="go" invisible="state"/>')}))
    assert {"value": "", "label": "None", "shown": True} in found["states"]
    assert found["transitions"] == [{"button": "go", "kind": "object", "from": [""]}]


def test_a_boolean_field_is_true_or_false() -> None:
    header = """<button name="go" attrs="{'invisible': ['|', ('rescue', '=', False), ('rescue', '=', True)]}"/>
    <button name="on" invisible="state == 'done' or other == True or not other"/>"""
    fields = [STATE, {"id": 9, "name": "rescue", "ttype": "boolean"}, {"id": 10, "name": "other", "ttype": "char"}]
    found = workflow_definition("m", fields, VALUES, facts(forms={"m": form(header)}))
    condition = "other == True or not other"
    assert found["transitions"] == [{"button": "on", "kind": "object", "from": ["draft"], "condition": condition}]


def test_a_workflow_by_stage_has_no_states() -> None:
    header = '<button name="go" string="Go"/><field name="stage_id" widget="statusbar"/>'
    found = workflow_definition("m", [STAGE, STATE], VALUES, facts(forms={"m": form(header)}))
    assert found["state_field"] == "stage_id"
    assert found["states"] == []
    assert found["transitions"] == [{"button": "go", "label": "Go", "kind": "object"}]


def test_a_selection_called_state_counts_where_the_header_has_buttons() -> None:
    with_buttons = facts(forms={"m": form('<button name="go" string="Go"/>')})
    assert workflow_definition("m", [STATE], VALUES, with_buttons)["state_field"] == "state"
    assert (
        NORMALISER.workflow("m", "M", workflow_definition("m", [STATE], VALUES, facts(forms={"m": Form()})), ()) is None
    )


def test_without_views_only_states_are_derived() -> None:
    found = workflow_definition("m", [STATE], VALUES, facts(forms=None))
    assert [state["value"] for state in found["states"]] == ["draft", "done"]
    row = NORMALISER.workflow("m", "M", found, ("views",))
    assert row is not None
    assert row.metadata["incomplete"] == ["views"]


def test_automations_alone_make_a_workflow_and_bring_the_schedules_along() -> None:
    automation = {
        "id": 1,
        "name": "Thank",
        "trigger": "on_create",
        "filter_domain": "[('x', '=', 1)]",
        "filter_pre_domain": False,
        "action_server_ids": [{"id": 2, "name": "Write"}, {"id": 1, "name": "Mail"}],
        "active": True,
    }
    schedule = {"id": 3, "name": "Nightly", "interval_number": 1, "interval_type": "days", "active": False}
    given = facts(automations={"m": [automation]}, schedules={"m": [schedule], "other": [schedule]})
    row = NORMALISER.workflow("m", "M", workflow_definition("m", [], {}, given), ())
    assert row is not None
    assert row.schema_definition == {
        "automations": [
            {
                "name": "Thank",
                "trigger": "on_create",
                "filter": "[('x', '=', 1)]",
                "action": ["Mail", "Write"],
                "active": True,
            }
        ],
        "schedules": [{"name": "Nightly", "every": 1, "unit": "days"}],
    }
    alone = NORMALISER.workflow("other", "O", workflow_definition("other", [], {}, given), ())
    assert alone is not None
    assert alone.schema_definition == {"schedules": row.schema_definition["schedules"]}
    assert NORMALISER.workflow("none", "N", workflow_definition("none", [], {}, given), ()) is None


TIMED = {"trg_date_id": 5, "trg_date_range": -2, "trg_date_range_type": "day", "trg_date_range_mode": "before"}


@pytest.mark.parametrize(
    ("automation", "told"),
    [
        (
            {"trigger": "on_time", **TIMED},
            {"date_field": "date_end", "delay": -2, "delay_unit": "day", "delay_mode": "before"},
        ),
        ({"trigger": "on_time", "trg_date_id": [5, "End"], "trg_date_range_type": "hour"}, {"date_field": "date_end"}),
        ({"trigger": "on_time_created", "trg_date_id": 99, "trg_date_range": 0}, {}),
        ({"trigger": "on_write", **TIMED, "trigger_field_ids": [7, 5, 99]}, {"trigger_fields": ["date_end", "state"]}),
        ({"trigger": "on_change", "on_change_field_ids": [7], "trigger_field_ids": [5]}, {"trigger_fields": ["state"]}),
    ],
)
def test_an_automation_has_its_date_or_its_trigger_fields(automation: dict[str, Any], told: dict[str, Any]) -> None:
    fields = [STATE, {"id": 5, "name": "date_end", "ttype": "date"}]
    given = facts(automations={"m": [{"name": "A", **automation}]})
    (found,) = workflow_definition("m", fields, {}, given)["automations"]
    assert found == {"name": "A", "trigger": automation["trigger"], **told}


def test_a_report_is_named_by_its_external_name() -> None:
    row = {
        "id": 4,
        "name": "Invoice",
        "model": "account.move",
        "report_type": "qweb-pdf",
        "report_name": "account.report",
    }
    assert NORMALISER.report({**row, "xml_id": "account.pdf"}, ()).name == "account.pdf"
    found = NORMALISER.report({**row, "xml_id": False}, ())
    assert found.name == "account.report.4"
    assert found.schema_definition == {
        "kind": "report",
        "model": "account.move",
        "report_type": "qweb-pdf",
        "template": "account.report",
    }
