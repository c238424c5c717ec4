"""The API's routes of discoveries, and reading a catalogue by pages, on a real PostgreSQL."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi import FastAPI

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.catalogue.queries import one, page, snapshot, snapshots
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import UsageError
from fbs_worker.core.postgres import Connection
from fbs_worker.web.api.response_models import DiscoveriesAnswer
from tests.support.api_stage import SHOP, ApiStage
from tests.support.asgi import Asking
from tests.support.snapshots import FEATURE, MODEL, MODULE, WORKFLOW, ListedCatalogue, MadeSnapshot, model, thing
from tests.support.solutions import rows

RENTAL = "/api/v1/discoveries/rental/model/"


def save(connection: Connection, *things: Any, **more: Any) -> None:
    Catalogue(connection).save(MadeSnapshot(*things, **more))


def names(found: Any) -> list[str]:
    return [row["name"] for row in found.rows]


def test_pages_follow_each_other(connection: Connection) -> None:
    save(connection, *(model("name", name=f"m.{number}") for number in range(7)), thing(MODULE, "sale"))
    found, cursor, pages = [], "", 0
    while pages < 10:
        part = page(connection, "fbs_", domain="rental", discovery_type=MODEL, cursor=cursor, limit=3)
        found += names(part)
        pages += 1
        if part.next is None:
            break
        cursor = part.next
    assert (sorted(found), pages) == ([f"m.{number}" for number in range(7)], 3)
    assert len(found) == len(set(found))
    assert page(connection, "fbs_", limit=8).next is None
    assert page(connection, "other_") == page(connection, "fbs_", domain="elsewhere"), "no tables, and no rows"


def test_a_page_has_what_the_catalogue_has(connection: Connection) -> None:
    save(connection, model("name", name="sale.order"), thing(WORKFLOW, "w", states=[]), thing(FEATURE, "b", model="x"))
    stored = {row.name: row for row in ListedCatalogue(connection).rows()}
    for row in page(connection, "fbs_").rows:
        kept = stored[row["name"]]
        assert row["metadata"] == kept.metadata
        assert row["schema_definition"] == kept.schema_definition
        assert (row["id"], row["version"], row["discovery_type"]) == (kept.id, kept.version, kept.discovery_type)
        assert row["created_at"].startswith(kept.created_at.isoformat(timespec="seconds"))
    assert "schema_definition" not in page(connection, "fbs_", full=False).rows[0]


def test_pages_are_filtered(connection: Connection) -> None:
    sale = [thing(MODULE, "sale", version=version, meta={"title": "Sales"}) for version in "12"]
    save(connection, model("name", name="sale.order"), model("partner_id", name="res.partner"), sale[0])
    save(connection, model("name", "note", name="sale.order"), sale[1])

    def found(**asked: Any) -> set[tuple[str, str]]:
        return {(row["name"], row["version"]) for row in page(connection, "fbs_", **asked).rows}

    assert found() == {("sale.order", "1.1"), ("sale", "2")}
    assert found(active=False) == {("sale.order", "1.0"), ("res.partner", "1.0"), ("sale", "1")}
    assert found(active=None) == found() | found(active=False)
    assert found(discovery_type=MODULE) == {("sale", "2")}
    assert found(text="SALE ord") == {("sale.order", "1.1")}
    assert found(text="note") == {("sale.order", "1.1")}, "by a field"
    assert found(text="partner", active=None) == {("res.partner", "1.0")}
    assert found(text="ale") == set(), "not within a word"
    assert found(text="…!") == found(text="\0") == set()


def test_a_cursor_that_is_none_is_refused(connection: Connection) -> None:
    assert page(connection, "fbs_", cursor="MA").rows == [], "0: the beginning"
    for cursor in ("x", "é", "LTE", "WzFd", "dHJ1ZQ", "OTk5OTk5OTk5OQ", "MS41", "\ud800"):
        with pytest.raises(UsageError, match="cursor"):
            page(connection, "fbs_", cursor=cursor)


def test_one_thing_and_its_versions(connection: Connection) -> None:
    save(connection, model("name", name="sale.order"))
    save(connection, model("name", "note", name="sale.order"))
    found = one(connection, "fbs_", domain="rental", discovery_type=MODEL, name="sale.order")
    assert found is not None
    assert (found["version"], list(found["schema_definition"]["fields"])) == ("1.1", ["name", "note"])
    assert [(kept["version"], kept["is_active"]) for kept in found["versions"]] == [("1.1", True), ("1.0", False)]
    save(connection)
    gone = one(connection, "fbs_", domain="rental", discovery_type=MODEL, name="sale.order")
    assert gone is not None
    assert (gone["version"], gone["is_active"]) == ("1.1", False)
    for name in ("missing", "a\0b"):
        assert one(connection, "fbs_", domain="rental", discovery_type=MODEL, name=name) is None
    assert one(connection, "no_", domain="rental", discovery_type=MODEL, name="sale.order") is None


def test_the_reads_of_a_domain(connection: Connection) -> None:
    assert snapshots(connection, "fbs_", "rental") == []
    save(connection, model("name", name="sale.order"))
    save(connection, model("name", "note", name="sale.order"))
    newest, first = snapshots(connection, "fbs_", "rental")
    assert newest["changes"]["changed"][0]["name"] == "sale.order"
    assert newest["types"] == sorted(DiscoveryType)
    assert snapshots(connection, "fbs_", "rental", 1) == [newest]
    assert snapshot(connection, "fbs_", first["id"]) == first
    assert snapshot(connection, "fbs_", 10**12) is None


def test_a_solutions_discoveries(api_stage: ApiStage) -> None:
    base, found, cursor = f"/api/v1/solutions/{SHOP}/discoveries/", [], ""
    while True:
        answer = api_stage.asking.get(f"{base}?limit=40&cursor={cursor}")
        assert answer.status_code == 200, answer.text
        result = DiscoveriesAnswer.model_validate(answer.json())
        assert (result.solution, result.domain) == (SHOP, "hr")
        found += answer.json()["discoveries"]
        if result.next is None:
            break
        cursor = result.next
    counts = api_stage.client.status(SHOP)["discoveries"]
    assert len(found) == sum(counts.values()) > 80
    assert [one["id"] for one in found] == sorted({one["id"] for one in found})
    models = api_stage.asking.get(f"{base}?type=model&limit=1000&full=false").json()["discoveries"]
    assert len(models) == counts["model"]
    assert {one["name"] for one in models} >= {"hr.employee", "hr.job"}
    assert not any("schema_definition" in one for one in models)
    text = api_stage.asking.get(f"{base}?text=hr+empl&type=model").json()["discoveries"]
    assert "hr.employee" in {one["name"] for one in text}


@pytest.mark.parametrize(
    "query", ["?type=thing", "?limit=0", "?limit=1001", "?active=maybe", "?cursor=x", "?more=1", "?text=" + "a" * 201]
)
def test_what_is_asked_must_be_known(api_stage: ApiStage, query: str) -> None:
    answer = api_stage.asking.get(f"/api/v1/solutions/{SHOP}/discoveries/{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "usage")


def test_a_refresh_is_enqueued(api_stage: ApiStage) -> None:
    base = f"/api/v1/solutions/{SHOP}/discoveries"
    answer = api_stage.asking.post(f"{base}?wait=60", json={"action": "refresh"})
    assert answer.status_code == 200, answer.text
    result = answer.json()["job"]
    assert (result["action"], result["solution"], result["state"]) == ("refresh", SHOP, "succeeded")
    wrong: list[Any] = [{}, {"action": "forget"}, {"action": "refresh", "full": 1}, []]
    for body in wrong:
        assert api_stage.asking.post(base, json=body).status_code == 422
    assert api_stage.asking.post(base, content=b"{").status_code == 415
    assert api_stage.asking.post(base, content=b"{", headers={"Content-Type": "application/json"}).status_code == 422


def test_a_domain_and_type_in_the_home_database(
    asking: Asking, connection: Connection, database: DatabaseConfig
) -> None:
    assert asking.get(RENTAL).json() == {"solution": None, "domain": "rental", "discoveries": [], "next": None}
    save(connection, model("name", name="sale.order"), thing(MODULE, "sale"))
    until = time.monotonic() + 30
    while not (found := asking.get(RENTAL[:-1]).json()["discoveries"]):  # no job has result that something was saved
        assert time.monotonic() < until
        time.sleep(0.05)
    assert [one["name"] for one in found] == ["sale.order"]
    for path in ("/api/v1/discoveries/nowhere/model/", "/api/v1/discoveries/rental/thing/"):
        assert asking.get(path).status_code == 422


def test_a_domain_and_type_of_a_solution(api_stage: ApiStage) -> None:
    answer = api_stage.asking.get(f"/api/v1/discoveries/hr/workflow/?solution={SHOP}")
    assert {one["discovery_type"] for one in answer.json()["discoveries"]} == {"workflow"}
    other = api_stage.asking.get(f"/api/v1/discoveries/rental/workflow/?solution={SHOP}")
    assert (other.status_code, other.json()["code"]) == (422, "usage")
    assert api_stage.asking.get("/api/v1/discoveries/hr/workflow/?solution=missing").status_code == 404


def test_a_discovery_is_enqueued_and_kept_where_it_was_asked(api_stage: ApiStage, target: DatabaseConfig) -> None:
    path = "/api/v1/discoveries/hr/workflow/?wait=60"
    counted = api_stage.asking.post(path)
    assert counted.status_code == 200, counted.text
    place = api_stage.place(target)
    kept = api_stage.asking.post(path, json={"database_config": place, "table_prefix": "my_"})
    assert kept.status_code == 200, kept.text
    found = rows(target, "SELECT DISTINCT discovery_type FROM my_discoveries")
    assert found == [("workflow",)]
    refused = api_stage.asking.post(path, json={"database_config": {**place, "host": "db.example.org"}})
    assert (refused.status_code, refused.json()["code"]) == (403, "host_refused")
    unknown = api_stage.asking.post("/api/v1/discoveries/hr/workflow/", json={"odoo": "no such"})
    assert unknown.status_code == 422


def test_an_unreachable_database_is_reported_and_recovers(asking: Asking, connection: Connection) -> None:
    """Connections that are kept, and that the server has ended meanwhile, are replaced."""
    save(connection, model("name", name="sale.order"))
    assert asking.get(RENTAL).status_code == 200
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'fbs-worker api' AND datname = current_database()"
        )
        assert cursor.rowcount == 1
    assert asking.get(f"{RENTAL}?limit=7").status_code == 200


def test_a_locked_catalogue_does_not_hold_up_for_ever(
    app: FastAPI, asking: Asking, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(connection, model("name", name="sale.order"))
    monkeypatch.setattr(app.state.databases._pools, "_seconds", 0.5)
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE fbs_discoveries")
    began = time.monotonic()
    answer = asking.get(RENTAL)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_busy")
    assert time.monotonic() - began < 5
    connection.rollback()
    assert asking.get(RENTAL).status_code == 200, "an error is not kept"
