"""What is discovered equals what Odoo's own database and Odoo's own combined views say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
from lxml import etree

from fbs_worker.catalogue.model import Discovery, DiscoveryType, SectionStatus
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.domains import load_domain
from tests.live.conftest import Sql
from tests.support.worked_example import SALE_ORDER

pytestmark = pytest.mark.live

DOMAINS = ("rental", "hr", "ecommerce", "generic")

BUTTONS_OF_EMBEDDED_FORMS: dict[str, set[str]] = {}
"""Header buttons that Odoo's combined form has and we do not, by model: none on this server."""

_found: dict[str, list[Discovery]] = {}


def discovered(transport: Transport, domain: str, kind: DiscoveryType) -> dict[str, Discovery]:
    if domain not in _found:
        snapshot = OdooConnector(transport).read(load_domain(domain))
        _found[domain] = list(snapshot)
        assert all(section.status is SectionStatus.COMPLETE for section in snapshot.sections)
    return {row.name: row for row in _found[domain] if row.discovery_type is kind}


def core_modules(sql: Sql, domain: str) -> set[str]:
    """The installed core modules of a domain, worked out from SQL alone."""
    selector = load_domain(domain).modules
    rows = sql(
        """
        WITH RECURSIVE path(id, text) AS (
            SELECT id, name->>'en_US' FROM ir_module_category WHERE parent_id IS NULL
            UNION ALL
            SELECT c.id, path.text || ' / ' || (c.name->>'en_US') FROM ir_module_category c JOIN path ON c.parent_id = path.id
        )
        SELECT m.name, coalesce(path.text, ''), m.application OR m.name <> 'base' AND EXISTS (
            SELECT FROM ir_ui_menu u JOIN ir_model_data d ON d.model = 'ir.ui.menu' AND d.res_id = u.id
            WHERE u.parent_id IS NULL AND d.module = m.name
        )
        FROM ir_module_module m LEFT JOIN path ON path.id = m.category_id WHERE m.state = 'installed'
        """
    )
    return {
        name
        for name, category, has_menu in rows
        if (selector.applications and has_menu)
        or any(fnmatchcase(name, glob) for glob in selector.names)
        or any(fnmatchcase(category, glob) for glob in selector.categories)
    }


@pytest.mark.parametrize("domain", DOMAINS)
def test_models_equal_sql(transport: Transport, sql: Sql, domain: str) -> None:
    core = sorted(core_modules(sql, domain))
    rows = sql(
        """
        SELECT m.model, m.name->>'en_US', m.transient, (array_agg(d.module ORDER BY d.id))[1], array_agg(DISTINCT d.module)
        FROM ir_model m JOIN ir_model_data d ON d.model = 'ir.model' AND d.res_id = m.id
        GROUP BY m.id HAVING array_agg(d.module::text) && %s
        """,
        core,
    )
    expected = {}
    for model, title, transient, defined_by, modules in rows:
        others = sorted(set(modules) - {defined_by})
        expected[model] = (title, bool(transient), defined_by, others)
    found = {
        name: (
            row.metadata["title"],
            row.metadata.get("transient", False),
            row.metadata["defined_by"],
            row.metadata.get("extended_by", []),
        )
        for name, row in discovered(transport, domain, DiscoveryType.MODEL).items()
    }
    assert found == expected
    assert len(found) > 100


@pytest.mark.parametrize("domain", DOMAINS)
def test_fields_equal_sql(transport: Transport, sql: Sql, domain: str) -> None:
    models = discovered(transport, domain, DiscoveryType.MODEL)
    rows = sql(
        """
        WITH RECURSIVE walk(id, model, path) AS (
            SELECT id, model, string_to_array(related, '.') FROM ir_model_fields WHERE related IS NOT NULL
            UNION ALL
            SELECT w.id, CASE WHEN cardinality(w.path) > 1 THEN n.relation ELSE w.model END,
                CASE WHEN cardinality(w.path) > 1 THEN w.path[2:] ELSE string_to_array(n.related, '.') END
            FROM walk w JOIN ir_model_fields n ON n.model = w.model AND n.name = w.path[1]
            WHERE cardinality(w.path) > 1 OR n.related IS NOT NULL
        ), source AS (
            SELECT w.id, n.id AS values_of FROM walk w JOIN ir_model_fields n ON n.model = w.model AND n.name = w.path[1]
            WHERE cardinality(w.path) = 1 AND n.related IS NULL
        )
        SELECT f.model, f.name, f.ttype, f.field_description->>'en_US', f.required, f.readonly, f.store, f.index, f.size,
            f.relation, f.relation_field, f.on_delete, f.translate, f.company_dependent, f.currency_field,
            (SELECT array_agg(DISTINCT d.module::text) FROM ir_model_data d WHERE d.model = 'ir.model.fields' AND d.res_id = f.id),
            (SELECT json_agg(json_build_array(s.value, s.name->>'en_US') ORDER BY s.sequence, s.id)
             FROM ir_model_fields_selection s WHERE s.field_id = coalesce(source.values_of, f.id))
        FROM ir_model_fields f LEFT JOIN source ON source.id = f.id WHERE f.model = ANY(%s)
        """,
        sorted(models),
    )
    keys = (
        "type", "label", "required", "readonly", "stored", "indexed", "size", "relation", "relation_field", "on_delete",
        "translate", "company_dependent", "currency_field", "modules", "selection",
    )  # fmt: skip
    expected: dict[str, dict[str, Any]] = {}
    for model, name, *values in rows:
        facts = {key: value for key, value in zip(keys, values, strict=True) if value}
        if "modules" in facts:
            facts["modules"] = sorted(facts["modules"])
        # `translate` is a word in the table and a yes or no over RPC, and so for all but its presence
        if "translate" in facts:
            facts["translate"] = True
        expected.setdefault(model, {})[name] = facts
    found: dict[str, dict[str, Any]] = {}
    for name, row in models.items():
        assert row.schema_definition is not None
        found[name] = {
            field: {**facts, "translate": True} if facts.get("translate") else facts
            for field, facts in row.schema_definition["fields"].items()
        }
    assert found.keys() == expected.keys()
    for model, fields in expected.items():
        assert found[model] == fields, model


@pytest.mark.parametrize("domain", DOMAINS)
def test_modules_equal_sql(transport: Transport, sql: Sql, domain: str) -> None:
    found = discovered(transport, domain, DiscoveryType.MODULE)
    installed_core = {
        name for name, row in found.items() if row.metadata["role"] == "core" and row.metadata["state"] == "installed"
    }
    assert installed_core == core_modules(sql, domain)
    versions: dict[str, str] = dict(sql("SELECT name, latest_version FROM ir_module_module WHERE state = 'installed'"))
    states: dict[str, str] = dict(sql("SELECT name, state FROM ir_module_module"))
    below = sql(
        """
        WITH RECURSIVE below(name) AS (
            SELECT d.name FROM ir_module_module m JOIN ir_module_module_dependency d ON d.module_id = m.id WHERE m.name = ANY(%s)
            UNION
            SELECT d.name FROM below JOIN ir_module_module m ON m.name = below.name
                JOIN ir_module_module_dependency d ON d.module_id = m.id
        ) SELECT name FROM below
        """,
        sorted(installed_core),
    )
    for name, row in found.items():
        assert row.metadata["state"] == states[name]
        if name in versions:
            assert row.version == versions[name]
    core = {name for name, row in found.items() if row.metadata["role"] == "core"}
    assert {name for name, row in found.items() if row.metadata["role"] == "dependency"} == {n for (n,) in below} - core


def header_buttons(arch: str) -> Iterable[etree._Element]:
    form = etree.fromstring(arch)
    for header in form.iter("header"):
        if next(header.iterancestors("field"), None) is None:
            yield from (button for button in header.iter("button") if button.get("name"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_transitions_equal_the_header_buttons_of_the_combined_forms(transport: Transport, domain: str) -> None:
    """`get_views` as the administrator leaves out what the administrator's groups hide; only that may differ."""
    workflows = discovered(transport, domain, DiscoveryType.WORKFLOW)
    compared = 0
    for model, row in workflows.items():
        definition = row.schema_definition or {}
        if "state_field" not in definition:
            continue
        views = transport.call(model, "get_views", views=[[False, "form"]])
        shown: dict[str, list[etree._Element]] = {}
        for button in header_buttons(views["views"]["form"]["arch"]):
            name = button.get("name") or ""
            if button.get("type") == "action" and name.isdecimal():
                name = action_name(transport, int(name)) or name
            shown.setdefault(name, []).append(button)
        never = {name for name, buttons in shown.items() if all(b.get("invisible") in {"1", "True"} for b in buttons)}
        ours: dict[str, list[dict[str, Any]]] = {}
        for transition in definition.get("transitions", []):
            if "place" not in transition:
                ours.setdefault(transition["button"], []).append(transition)
        by_group = {name for name, several in ours.items() if any("groups" in one for one in several)}
        expected = shown.keys() - never - BUTTONS_OF_EMBEDDED_FORMS.get(model, set())
        assert expected <= ours.keys(), (model, expected - ours.keys())
        assert ours.keys() - by_group <= expected, (model, ours.keys() - by_group - expected)
        compared += len(expected)
        for name in expected & ours.keys():
            check_states(ours[name], shown[name], definition)
    assert compared > 10


def action_name(transport: Transport, number: int) -> str:
    """The external name of an action, as Odoo itself derives it: by the action's own type."""
    [action] = transport.call("ir.actions.actions", "search_read", domain=[("id", "=", number)], fields=["type"])
    found = transport.call(action["type"], "get_external_id", ids=[number])
    return str(found[str(number)])


def check_states(
    transitions: list[dict[str, Any]], buttons: list[etree._Element], definition: Mapping[str, Any]
) -> None:
    """Where the conditions ask for the state alone, Python itself says in which states the button shows."""
    field, states = definition["state_field"], [state["value"] for state in definition.get("states", [])]
    if not states or any(next(b.iterancestors("div", "t"), None) is not None for b in buttons):
        return
    visible = set()
    for state in states:
        for button in buttons:
            try:
                hidden = eval(button.get("invisible") or "False", {}, {field: state})
            except NameError:
                return
            if not hidden:
                visible.add(state)
    if not any("groups" in transition for transition in transitions):
        assert {state for transition in transitions for state in transition["from"]} == visible, transitions


def test_sale_order_reads_as_documented(transport: Transport) -> None:
    row = discovered(transport, "rental", DiscoveryType.WORKFLOW)["sale.order"]
    definition = row.schema_definition or {}
    assert definition["state_field"] == "state"
    assert definition["states"] == [
        {"value": "draft", "label": "Quotation", "shown": True},
        {"value": "sent", "label": "Quotation Sent", "shown": True},
        {"value": "sale", "label": "Sales Order", "shown": True},
        {"value": "cancel", "label": "Cancelled"},
    ]
    for transition in SALE_ORDER:
        assert transition in definition["transitions"]
    assert {
        "name": "Thank for a large order",
        "trigger": "on_create_or_write",
        "filter": "[('amount_total', '>', 1000)]",
        "action": ["Write a note"],
        "active": True,
    } in definition["automations"]


GROUPABLE = {"boolean", "char", "date", "datetime", "integer", "many2one", "many2many", "selection", "tags"}


def described(transport: Transport, model: str) -> dict[str, str]:
    found = transport.call(model, "fields_get", attributes=["type"])
    return {name: str(facts["type"]) for name, facts in found.items()}


@pytest.mark.parametrize("domain", DOMAINS)
def test_charts_equal_the_combined_views(transport: Transport, sql: Sql, domain: str) -> None:
    """Measures and dimensions of each default graph and pivot, as Odoo's own combined view has them."""
    rows = discovered(transport, domain, DiscoveryType.BI_FEATURE)
    by_xml_id = {
        f"{module}.{name}": number
        for number, module, name in sql("SELECT res_id, module, name FROM ir_model_data WHERE model = 'ir.ui.view'")
    }
    compared = 0
    for name, row in rows.items():
        definition = row.schema_definition or {}
        if definition["kind"] not in {"graph", "pivot"} or name not in by_xml_id:
            continue
        views = transport.call(definition["model"], "get_views", views=[[by_xml_id[name], definition["kind"]]])
        fields = [
            field
            for field in etree.fromstring(views["views"][definition["kind"]]["arch"]).iter("field")
            if field.get("invisible") not in {"1", "True"}
        ]
        types = described(transport, definition["model"])
        is_pivot = definition["kind"] == "pivot"
        measured = [f for f in fields if f.get("type") == "measure" or (is_pivot and f.get("operator"))]
        grouped = [f for f in fields if f.get("type") in {"row", "col"}] if is_pivot else [
            f for f in fields
            if f.get("type") != "measure" and f.get("name") != "id" and types[str(f.get("name"))] in GROUPABLE
        ]  # fmt: skip
        assert definition.get("measures", []) == list(dict.fromkeys(str(f.get("name")) for f in measured)), name
        if measured and not is_pivot:
            assert definition["default_measure"] == measured[-1].get("name"), name
        ours = definition.get("dimensions", [])
        names = list(dict.fromkeys(str(f.get("name")) for f in grouped))
        by_group = {dimension["name"] for dimension in ours if "groups" in dimension}
        found = list(dict.fromkeys(dimension["name"] for dimension in ours))
        assert [one for one in found if one not in by_group - set(names)] == names, name
        compared += 1
    assert compared > 5


@pytest.mark.parametrize("domain", DOMAINS)
def test_reports_equal_sql(transport: Transport, sql: Sql, domain: str) -> None:
    rows = discovered(transport, domain, DiscoveryType.BI_FEATURE)
    models = sorted(discovered(transport, domain, DiscoveryType.MODEL))
    expected = sql("SELECT report_name FROM ir_act_report_xml WHERE model = ANY(%s)", models)
    found = [
        row.schema_definition["template"]
        for row in rows.values()
        if row.schema_definition and row.schema_definition["kind"] == "report"
    ]
    assert sorted(found) == sorted(name for (name,) in expected)
