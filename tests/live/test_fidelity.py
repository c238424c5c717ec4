"""What is discovered equals what Odoo's own database and Odoo's own combined views say: `tests/fidelity` on real Odoos."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from fbs_worker.catalogue.model import Discovery, DiscoveryType
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.core.settings import OdooConnection
from fbs_worker.domains import load_domain
from tests.fidelity.__main__ import report
from tests.fidelity.database import opened
from tests.fidelity.sections import SECTIONS, Comparison, Outcome
from tests.fidelity.views import Server
from tests.live.conftest import LiveOdoo
from tests.support.worked_example import SALE_ORDER

pytestmark = pytest.mark.live

DOMAINS = ("rental", "hr", "ecommerce", "generic")
LEAST = {"modules": 30, "models": 100, "fields": 4_000, "selections": 250, "states": 8, "transitions": 50, "charts": 20}
"""Of these sections at least so much is compared in each domain."""


def compared(live: LiveOdoo, connection: OdooConnection, domain: str) -> dict[str, Outcome]:
    transport = open_transport(connection)
    try:
        with opened(live.dsn) as database:
            selected = load_domain(domain)
            snapshot = OdooConnector(transport).read(selected)
            outcomes = Comparison(snapshot, selected, database, Server(transport), connection.user).run()
    finally:
        transport.close()
    print(report(outcomes))
    assert not [difference for outcome in outcomes.values() for difference in outcome.differences]
    return outcomes


def check_counts(outcomes: dict[str, Outcome], *, denied: Collection[str] = ()) -> None:
    assert {name for name, outcome in outcomes.items() if outcome.denied} == set(denied)
    for name, least in LEAST.items():
        assert name in denied or outcomes[name].equal >= least, (name, outcomes[name].equal)


@pytest.mark.parametrize("domain", DOMAINS)
def test_odoos_own_modules(live: LiveOdoo, domain: str) -> None:
    outcomes = compared(live, live.connection(timeout=600), domain)
    check_counts(outcomes)
    assert not any(outcome.exceptions for outcome in outcomes.values())


@pytest.mark.parametrize("domain", DOMAINS)
def test_modules_of_other_authors(others: LiveOdoo, domain: str) -> None:
    check_counts(compared(others, others.connection(timeout=600), domain))


def test_a_user_with_few_rights(live: LiveOdoo) -> None:
    outcomes = compared(live, live.connection(user="restricted", password="restricted"), "rental")
    of_views = {name for name, (needs, _) in SECTIONS.items() if needs == "views"}
    check_counts(outcomes, denied=of_views | {"automations", "schedules"})


def test_json2_reads_the_same(live: LiveOdoo) -> None:
    def read(connection: OdooConnection) -> list[Discovery]:
        transport = open_transport(connection)
        try:
            return list(OdooConnector(transport).read(load_domain("rental")))
        finally:
            transport.close()

    assert read(live.connection(password="", api_key=live.api_key, protocol="json2")) == read(live.connection())


def test_sale_order_reads_as_documented(live: LiveOdoo) -> None:
    transport = open_transport(live.connection())
    rows = list(OdooConnector(transport).read(load_domain("rental"), types=(DiscoveryType.WORKFLOW,)))
    transport.close()
    definition = next(row for row in rows if row.name == "sale.order").schema_definition or {}
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
