"""As a user with few rights: what is readable is discovered, what is not is named with the group that it needs."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.catalogue.model import DiscoveryType, SectionStatus
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.domains import load_domain
from fbs_worker.solutions.odoo_connections import add_odoo
from fbs_worker.solutions.odoo_requests import OdooAddRequest
from tests.conftest import MakeSettings
from tests.live.conftest import LiveOdoo
from tests.support.solutions import inline

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


@pytest.mark.parametrize(
    ("credentials", "protocol"),
    [
        ({"user": "restricted", "password": "restricted"}, "odoorpc, web session"),
        ({"user": "admin"}, "odoorpc, web session"),
        ({"api_key": "key"}, "JSON-2"),
        ({"user": "admin", "api_key": "key", "protocol": "odoorpc"}, "odoorpc, /jsonrpc"),
    ],
)
def test_a_stored_connection_is_tested(
    live: LiveOdoo, settings: MakeSettings, credentials: dict[str, Any], protocol: str
) -> None:
    """What a test says of the rights is what a read says."""
    if "api_key" in credentials:
        credentials = {**credentials, "api_key": live.api_key}
    elif "password" not in credentials:
        credentials = {**credentials, "user": live.user, "password": live.password}
    plain = settings()
    given: dict[str, Any] = {"name": "live", "url": live.url, "db": live.db, **credentials}
    add_odoo(plain, OdooAddRequest(**given))
    result = inline("test_odoo", {"name": "live"}, plain)
    assert result["source"] == {"url": live.url, "database": live.db, "series": "19.0"}
    assert (result["protocol"], result["origin"]) == (protocol, "database")
    assert 0 < result["call_ms"] < 5_000
    transport = open_transport(live.connection(**{"password": "", **credentials}))
    snapshot = OdooConnector(transport).read(load_domain("hr"))
    assert len(list(snapshot)) > 10
    transport.close()
    read = {section.name: (str(section.status), section.needs) for section in snapshot.sections}
    read.pop("selections", None)
    assert {each["name"]: (each["status"], each.get("needs", "")) for each in result["sections"]} == read
