"""A fingerprint sees each way in which an Odoo changes. These tests change the live Odoo: its database is a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fbs_worker.catalogue.model import Discovery, DiscoveryType
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.domains import load_domain
from tests.live.conftest import LiveOdoo

pytestmark = pytest.mark.live

SMALL_MODULE = "hr_hourly_cost"
"""A module that is quickly installed, that nothing installed here brings along, and that gives employees a field."""


@pytest.fixture
def read(transport: Transport) -> Callable[[], tuple[Mapping[str, Any], dict[tuple[str, str], Discovery]]]:
    """Reads a domain and returns its fingerprint, once it is final, and its rows."""

    def reading(domain: str = "rental") -> tuple[Mapping[str, Any], dict[tuple[str, str], Discovery]]:
        for _ in range(10):
            snapshot = OdooConnector(transport).read(load_domain(domain))
            rows = {(str(row.discovery_type), row.name): row for row in snapshot}
            assert snapshot.fingerprint is not None
            if snapshot.fingerprint["settled"]:
                return snapshot.fingerprint, rows
        raise AssertionError("the server's clock stands still")

    return reading


def calls_of(transport: Transport, ask: Callable[[], bool]) -> tuple[bool, int]:
    before = transport.calls
    return ask(), transport.calls - before


def test_an_unchanged_odoo_is_recognised_in_at_most_four_calls(transport: Transport, read: Any) -> None:
    fingerprint, _ = read()
    connector = OdooConnector(transport)
    assert calls_of(transport, lambda: connector.unchanged(fingerprint)) == (True, 4)
    again, _ = read()
    assert again == fingerprint


def test_a_whole_read_is_at_most_twelve_calls(live: LiveOdoo) -> None:
    for domain in ("rental", "hr", "ecommerce", "generic"):
        transport = open_transport(live.connection())
        list(OdooConnector(transport).read(load_domain(domain)))
        assert transport.calls <= 12, domain
        transport.close()


def test_installing_then_upgrading_a_module(transport: Transport, editor: Transport, read: Any) -> None:
    fingerprint, rows = read("hr")
    assert rows["module", SMALL_MODULE].metadata["state"] == "uninstalled"
    assert "hourly_cost" not in rows["model", "hr.employee"].schema_definition["fields"]
    connector = OdooConnector(transport)
    [number] = editor.call("ir.module.module", "search", domain=[("name", "=", SMALL_MODULE)])
    editor.call("ir.module.module", "button_immediate_install", ids=[number])
    assert not connector.unchanged(fingerprint)
    fingerprint, rows = read("hr")
    assert rows["module", SMALL_MODULE].metadata["state"] == "installed"
    assert rows["model", "hr.employee"].schema_definition["fields"]["hourly_cost"]["modules"] == [SMALL_MODULE]
    assert connector.unchanged(fingerprint)
    editor.call("ir.module.module", "button_immediate_upgrade", ids=[number])
    assert not connector.unchanged(fingerprint)


def test_a_field_made_and_removed_by_hand(transport: Transport, editor: Transport, read: Any) -> None:
    connector = OdooConnector(transport)
    fingerprint, before = read()
    [model] = transport.call("ir.model", "search", domain=[("model", "=", "sale.order")])
    values = {
        "name": "x_by_hand",
        "model_id": model,
        "ttype": "char",
        "field_description": "By hand",
        "state": "manual",
    }
    created = editor.call("ir.model.fields", "create", vals_list=[values])
    assert not connector.unchanged(fingerprint)
    fingerprint, rows = read()
    assert rows["model", "sale.order"].schema_definition["fields"]["x_by_hand"]["label"] == "By hand"
    editor.call("ir.model.fields", "write", ids=created, vals={"field_description": "By another hand"})
    assert not connector.unchanged(fingerprint)
    fingerprint, rows = read()
    assert rows["model", "sale.order"].schema_definition["fields"]["x_by_hand"]["label"] == "By another hand"
    editor.call("ir.model.fields", "unlink", ids=created)
    assert not connector.unchanged(fingerprint)
    _, rows = read()
    assert rows["model", "sale.order"] == before["model", "sale.order"]


def test_a_view_edited_by_hand(transport: Transport, editor: Transport, read: Any) -> None:
    connector = OdooConnector(transport)
    fingerprint, rows = read()
    [base] = transport.call(
        "ir.model.data",
        "search_read",
        domain=[("module", "=", "sale"), ("name", "=", "view_order_form")],
        fields=["res_id"],
    )
    arch = '<button name="action_draft" position="attributes"><attribute name="invisible">state != \'sent\'</attribute></button>'
    values = {"name": "by hand", "model": "sale.order", "inherit_id": base["res_id"], "mode": "extension", "arch": arch}
    created = editor.call("ir.ui.view", "create", vals_list=[values])
    assert not connector.unchanged(fingerprint)
    fingerprint, rows = read()
    assert from_states(rows, "action_draft") == ["sent"]
    editor.call("ir.ui.view", "write", ids=created, vals={"arch": arch.replace("sent", "sale")})
    assert not connector.unchanged(fingerprint)
    _, rows = read()
    assert from_states(rows, "action_draft") == ["sale"]
    editor.call("ir.ui.view", "unlink", ids=created)


def from_states(rows: Mapping[tuple[str, str], Discovery], button: str) -> list[str]:
    definition = rows["workflow", "sale.order"].schema_definition
    assert definition is not None
    [found] = [transition for transition in definition["transitions"] if transition["button"] == button]
    return list(found["from"])


def test_automations_and_schedules_changed_by_hand(transport: Transport, editor: Transport, read: Any) -> None:
    connector = OdooConnector(transport)
    fingerprint, before = read()
    [model] = editor.call("ir.model", "search", domain=[("model", "=", "res.partner")])
    action = {"name": "Note", "model_id": model, "state": "code", "code": "pass"}
    rule = {"name": "By hand", "model_id": model, "trigger": "on_create", "action_server_ids": [[0, 0, action]]}
    created = editor.call("base.automation", "create", vals_list=[rule])
    [acting] = editor.call("ir.actions.server", "search", domain=[("base_automation_id", "in", created)])
    [nightly] = editor.call(
        "ir.cron", "search", domain=[("cron_name", "=", "Sales: Send pending emails")], context={"active_test": False}
    )
    for table, ids, values in (
        ("base.automation", created, {"trigger": "on_unlink"}),
        ("ir.actions.server", [acting], {"name": "A longer note"}),
        ("ir.cron", [nightly], {"interval_number": 3}),
    ):
        assert not connector.unchanged(fingerprint)
        fingerprint, _ = read()
        assert connector.unchanged(fingerprint)
        editor.call(table, "write", ids=ids, vals=values)
    assert not connector.unchanged(fingerprint)
    editor.call("base.automation", "unlink", ids=created)
    editor.call("ir.cron", "write", ids=[nightly], vals={"interval_number": 1})
    _, after = read()
    assert after == before


def test_types_that_were_not_asked_for_are_not_read(live: LiveOdoo) -> None:
    transport = open_transport(live.connection())
    snapshot = OdooConnector(transport).read(load_domain("hr"), types=[DiscoveryType.MODULE])
    assert {row.discovery_type for row in snapshot} == {DiscoveryType.MODULE}
    assert transport.calls == 1
    transport.close()
