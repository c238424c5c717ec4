"""Status and list of active, drifted, inactive and damaged solutions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from fbs_worker.client.in_process import run_in_process
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError, SettingsError, SolutionNotFound
from fbs_worker.jobs.store import JobStore
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from fbs_worker.ops.status import list_solutions, solution_status
from tests.conftest import MakeSettings
from tests.support.made_solutions import REFRESH, MadeSolutions, check_no_secret, run
from tests.support.solutions import PASSWORD, config_of, few_models


@pytest.fixture
def made(settings: MakeSettings, postgres: EmbeddedPostgres) -> Iterator[MadeSolutions]:
    with closing(MadeSolutions(settings(), postgres)) as solutions:
        yield solutions


def test_an_active_solution(made: MadeSolutions) -> None:
    place = made.database()
    made.solution(place=place, mirror=("sale.order",), incomplete=("views",))
    run(place, "INSERT INTO rental_property (property_name, rent_amount) VALUES ('a', 1), ('b', 2)")
    result = solution_status(made.settings, "fayvad")
    check_no_secret(result)
    assert (result["solution"], result["overall_status"], result["reason"], result["hint"]) == (
        "fayvad",
        "active",
        "",
        "",
    )
    assert result["config"]["database_config"] == {**place.redacted(), "password": "***"}
    assert result["database"]["place"] == place.address()
    assert result["database"]["size"] > 1_000_000
    assert result["database"]["server_version"].startswith("18")
    tables = {one["table"]: (one["kind"], one["rows"]) for one in result["tables"]}
    assert tables["fbs_discoveries"] == ("system", 3)
    assert tables["rental_property"] == ("business", 2)
    assert tables["rental_sale_order"] == ("mirrored", 0)
    assert len(tables) == 10 + 5 + 1
    assert all(one["bytes"] > 0 for one in result["tables"])
    assert result["discoveries"] == {"model": 2, "module": 1}
    assert [section["name"] for section in result["sections_denied"]] == ["views"]
    assert result["last_refresh"] == REFRESH
    assert result["pending"] == []
    assert result["jobs"] == []
    assert result["notes"] == []


def test_after_a_setup_job(made: MadeSolutions, settings: MakeSettings, database: DatabaseConfig) -> None:
    """Run the real job on a recorded Odoo, then inspect its tables."""
    given, place = settings(odoo_url=f"recording:{few_models()}"), made.database()
    for name, where in (("home_shop", database), ("shop", place)):
        config = config_of(
            where, name, domain="ecommerce", mirror=["res.partner", "sale.order"], business_prefix="shop_"
        )
        run_in_process("fbs.setup", config, settings=given)
        result = solution_status(given, name)
        check_no_secret(result)
        assert PASSWORD not in json.dumps(result)
        assert (result["overall_status"], result["reason"], result["pending"], result["notes"]) == (
            "active",
            "",
            [],
            [],
        )
        assert result["config"]["mirrored"] == {"res.partner": "shop_res_partner", "sale.order": "shop_sale_order"}
        assert set(result["discoveries"]) == {"module", "model", "workflow", "bi_feature"}
        assert result["last_refresh"]["report"]["counts"] == result["discoveries"]
        tables = {one["table"]: one for one in result["tables"]}
        assert tables["shop_sale_order"]["kind"] == "mirrored"
        assert tables["shop_sale_order"]["links"]["partner_id"] == "shop_res_partner.odoo_id"
        assert "links" not in tables["fbs_workflow_definitions"]
        assert tables["fbs_workflow_definitions"]["rows"] == result["discoveries"]["workflow"]
    listing = list_solutions(given)
    assert listing["counts"]["active"] == 2
    run_in_process("fbs.drop", {"solution_name": "shop"}, settings=given)
    assert list(made.at_once()) == ["home_shop"]


def test_a_solution_in_the_home_database(made: MadeSolutions) -> None:
    made.solution()
    result = solution_status(made.settings, "fayvad")
    assert result["overall_status"] == "active"
    assert result["last_refresh"] == REFRESH


def test_an_unknown_name(made: MadeSolutions, settings: MakeSettings) -> None:
    with pytest.raises(SolutionNotFound):
        solution_status(made.settings, "fayvad")
    made.solution()
    with pytest.raises(SolutionNotFound) as caught:
        solution_status(made.settings, "unknown")
    assert "fayvad" in caught.value.hint
    with pytest.raises(SettingsError):
        solution_status(settings(fbs_database_url=""), "fayvad")
    with pytest.raises(SettingsError):
        list_solutions(settings(fbs_database_url=""))


def test_pending_changes_are_reported(made: MadeSolutions, database: DatabaseConfig) -> None:
    made.solution(mirror=("sale.order",))
    run(database, "ALTER TABLE rental_property DROP COLUMN city")
    result = solution_status(made.settings, "fayvad")
    assert result["overall_status"] == "active"
    assert len(result["pending"]) == 1
    assert "city" in result["pending"][0]
    run(database, "UPDATE fbs_discoveries SET is_active = FALSE WHERE name = 'sale.order'")
    result = solution_status(made.settings, "fayvad")
    assert any("rental_sale_order: the table is no longer part" in line for line in result["pending"])
    assert any("sale.order is not in the catalogue" in line for line in result["notes"])


def test_missing_information_is_a_note(
    made: MadeSolutions, settings: MakeSettings, database: DatabaseConfig, no_redis: str
) -> None:
    made.solution()
    for redis_url, words in (("", "FBS_REDIS_URL is not set"), (no_redis, "does not answer")):
        result = solution_status(settings(fbs_redis_url=redis_url), "fayvad")
        assert result["overall_status"] == "active"
        assert words in result["notes"][0]
        assert words in list_solutions(settings(fbs_redis_url=redis_url))["notes"][0]
    run(database, "UPDATE fbs_solution_schemas SET domain = 'gone'")
    result = solution_status(made.settings, "fayvad")
    assert result["overall_status"] == "active"
    assert "'gone'" in result["notes"][0]
    assert result["tables"]


def test_active_jobs_are_listed(made: MadeSolutions, redis_url: str) -> None:
    entry = made.solution()
    with JobStore(redis_url, ttl=60) as jobs:
        jobs.create("waits", action="refresh", solution="fayvad")
        jobs.create("other", action="setup", solution="other")
        jobs.create("runs", action="drop", solution="fayvad")
        jobs.start("runs", action="drop", solution="fayvad")
        jobs.create("ended", action="setup", solution="fayvad")
        claim = jobs.start("ended", action="setup", solution="fayvad")
        jobs.mark_succeeded("ended", claim.attempt, {})
        result = solution_status(made.settings, "fayvad")
        assert {(job["id"], job["state"]) for job in result["jobs"]} == {("waits", "queued"), ("runs", "running")}
        assert made.at_once()["fayvad"]["jobs"] == 2
        made.put(replace(entry, is_active=False))
        result = solution_status(made.settings, "fayvad")
        assert result["overall_status"] == "inactive"
        assert "drop" in result["reason"]


ON_BOTH_SIDES = {
    "domain = 'hr'": "domain",
    "business_prefix = ''": "business_prefix",
    """schema_definition = schema_definition || '{"odoo": "erp"}'""": "odoo",
    """schema_definition = schema_definition || '{"tables": []}'""": "tables",
}
IN_THE_OWN_ROW = {
    "database_name = 'elsewhere'": "database",
    "database_user = 'another'": "database",
    """schema_definition = schema_definition || '{"server": {"host": "h", "port": 1}}'""": "database",
    "table_prefix = 'x_'": "table_prefix",
    "is_active = FALSE": "is_active",
    "database_name = ''": "damaged",
    "schema_definition = '{}'": "row for it",
}


@pytest.mark.parametrize(
    ("side", "assignment", "words"),
    [
        *(("book", assignment, words) for assignment, words in ON_BOTH_SIDES.items()),
        ("book", "table_prefix = 'x_'", "row for it"),  # it is looked for in another table then
        *(("own", assignment, words) for assignment, words in {**ON_BOTH_SIDES, **IN_THE_OWN_ROW}.items()),
    ],
)
def test_drift_is_detected(
    made: MadeSolutions,
    side: str,
    assignment: str,
    words: str,
) -> None:
    place = made.database()
    made.solution(place=place)
    run(place if side == "own" else made.home, f"UPDATE fbs_solution_schemas SET {assignment}")
    result = solution_status(made.settings, "fayvad")
    check_no_secret(result)
    assert result["overall_status"] == "drifted"
    assert words in result["reason"]
    assert result["hint"]
    (glance,) = list_solutions(made.settings)["solutions"]
    assert {key: glance[key] for key in ("overall_status", "reason", "hint")} == {
        key: result[key] for key in ("overall_status", "reason", "hint")
    }


def test_a_deleted_manifest_and_missing_tables(made: MadeSolutions) -> None:
    place = made.database()
    made.solution(place=place)
    run(place, "DROP TABLE rental_payment")
    result = solution_status(made.settings, "fayvad")
    assert (result["overall_status"], "rental_payment" in result["reason"]) == ("drifted", True)
    assert any("rental_payment" in line for line in result["pending"])
    run(place, "DELETE FROM fbs_solution_schemas")
    result = solution_status(made.settings, "fayvad")
    assert (result["overall_status"], "fbs_solution_schemas" in result["reason"]) == ("drifted", True)
    run(place, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    result = solution_status(made.settings, "fayvad")
    assert result["overall_status"] == "drifted"
    assert result["tables"] == []
    assert made.at_once()["fayvad"]["overall_status"] == "drifted"


def test_an_interrupted_setup(made: MadeSolutions) -> None:
    place = made.database()
    made.solution(place=place)
    run(made.home, "UPDATE fbs_solution_schemas SET is_active = FALSE")
    assert solution_status(made.settings, "fayvad")["overall_status"] == "drifted"
    run(place, "DELETE FROM fbs_solution_schemas")
    result = solution_status(made.settings, "fayvad")
    assert result["overall_status"] == "inactive"
    assert "fbs setup" in result["hint"]


def test_a_damaged_entry(made: MadeSolutions) -> None:
    made.solution("broken")
    made.solution("whole", business="whole_")
    run(made.home, "UPDATE fbs_solution_schemas SET database_name = '' WHERE solution_name = 'broken'")
    with pytest.raises(DatabaseError, match="damaged"):
        solution_status(made.settings, "broken")
    result = made.at_once()
    assert result["broken"]["overall_status"] == "drifted"
    assert "damaged" in result["broken"]["reason"]
    assert result["whole"]["overall_status"] == "active"
