"""As a user with few rights: what is readable is discovered, what is not is named with the group that it needs."""

from __future__ import annotations

import pytest

from fbs_worker.catalogue.model import DiscoveryType, SectionStatus
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.domains import load_domain
from tests.live.conftest import LiveOdoo

pytestmark = pytest.mark.live


def test_a_plain_internal_user(live: LiveOdoo) -> None:
    transport = open_transport(live.connection(user="restricted", password="restricted"))
    snapshot = OdooConnector(transport).read(load_domain("rental"))
    rows = list(snapshot)
    available = {entry["model"] for entry in transport.call("ir.model", "get_available_models")}
    partner = transport.call("res.partner", "fields_get", attributes=["type"])
    transport.close()
    status = {section.name: section for section in snapshot.sections}
    assert {name for name, section in status.items() if section.status is SectionStatus.DENIED} == {
        "views",
        "automations",
        "schedules",
    }
    assert {name for name, section in status.items() if section.status is SectionStatus.PARTIAL} == {
        "models",
        "fields",
        "dashboards",
    }
    for section in snapshot.sections:
        assert (section.needs == "") is (section.status is SectionStatus.COMPLETE), section
    assert "Administrator" in status["views"].needs
    assert "Access Rights" in status["models"].needs
    models = {row.name: row for row in rows if row.discovery_type is DiscoveryType.MODEL}
    assert models.keys() == available
    definition = models["res.partner"].schema_definition
    assert definition is not None
    assert {name: field["type"] for name, field in definition["fields"].items()} == {
        name: field["type"] for name, field in partner.items()
    }
    assert all("fields" in row.metadata["incomplete"] for row in models.values())
    assert any(row.discovery_type is DiscoveryType.MODULE for row in rows)
    assert any(row.discovery_type is DiscoveryType.WORKFLOW for row in rows)
    assert snapshot.fingerprint is None
