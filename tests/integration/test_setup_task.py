"""The job `fbs.setup`, on a real PostgreSQL: what it makes, what it refuses, and that nothing is ever half made."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.connectors.reader import Reader
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.core.vault import Vault
from tests.support.solutions import (
    PASSWORD,
    Steps,
    config_of,
    contents,
    entries,
    inline,
    rows,
    run,
    set_up,
    tables_of,
    writes,
)

SYSTEM = [
    "fbs_bi_dashboards",
    "fbs_deleted_records",
    "fbs_discoveries",
    "fbs_file_checksums",
    "fbs_rejected_records",
    "fbs_replication",
    "fbs_schema_migrations",
    "fbs_snapshots",
    "fbs_solution_schemas",
    "fbs_workflow_definitions",
]
HR = ["hr_department", "hr_employee"]


# ------------------------------------------------------------------------------------------------------- what it makes


def test_tables_and_both_rows_are_made(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    result = set_up(config_of(target), made)
    assert sorted(result["created"]) == sorted([*SYSTEM, *HR]) == tables_of(target)
    assert (result["existing"], result["changed"], result["pending"], result["refresh"]) == ([], True, [], None)
    assert result["solution"] == "shop"
    assert result["database"]["password"] == "***"
    assert tables_of(database) == ["fbs_solution_schemas"]
    assert entries(database) == entries(target) == {"shop": True}
    vault = Vault.from_text(made.fbs_secret_keys.get_secret_value())
    for place in (database, target):
        ((password, owned),) = rows(
            place, "SELECT database_password, schema_definition -> 'tables' FROM fbs_solution_schemas"
        )
        assert PASSWORD not in password
        assert vault.resolve(password) == PASSWORD
        assert owned == HR


def test_a_second_run_changes_nothing_and_says_so(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    config = config_of(target, refresh_discoveries=True, mirror=["hr.job"])
    first = set_up(config, made)
    assert first["changed"]
    assert first["refresh"]["report"]["added"]
    before = writes(database), writes(target)
    again = set_up(config, made)
    assert (again["changed"], again["created"]) == (False, [])
    assert sorted(again["existing"]) == sorted(first["created"])
    assert not again["refresh"]["report"]["read"]
    after = writes(database), writes(target)
    assert after[0] == before[0]
    assert {name for name in after[1] if after[1][name] != before[1][name]} <= {"fbs_solution_schemas"}


def test_a_full_read_that_finds_nothing_is_no_change(made: Settings, target: DatabaseConfig) -> None:
    config = config_of(target, refresh_discoveries=True)
    set_up(config, made)
    again = set_up(config, made.model_copy(update={"fbs_full_after": 0}))
    assert again["refresh"]["report"]["read"]
    assert not again["changed"]


def test_with_refresh_the_catalogue_is_filled_in_the_same_job(made: Settings, target: DatabaseConfig) -> None:
    steps = Steps()
    result = set_up(config_of(target, refresh_discoveries=True, mirror=["hr.job", "hr.department"]), made, steps)
    refresh = result["refresh"]
    assert refresh["solution"] == "shop"
    assert refresh["source"] == {"url": "recording:odoo19.json", "database": "live", "series": "19.0"}
    assert refresh["calls"] > 0
    counts = refresh["report"]["counts"]
    assert sum(counts.values()) == rows(target, "SELECT count(*) FROM fbs_discoveries WHERE is_active")[0][0]
    assert refresh["workflows"]["added"] == rows(target, "SELECT count(*) FROM fbs_workflow_definitions")[0][0] > 0
    assert refresh["dashboards"]["added"] == rows(target, "SELECT count(*) FROM fbs_bi_dashboards")[0][0] > 0
    assert {"hr_hr_job", "hr_hr_department"} <= set(result["created"]) <= set(tables_of(target))
    ((definition,),) = rows(target, "SELECT schema_definition FROM fbs_solution_schemas")
    assert definition["mirrored"] == {"hr.job": "hr_hr_job", "hr.department": "hr_hr_department"}
    assert definition["source"] == refresh["source"]
    assert definition["last_refresh"]["report"]["counts"] == counts
    assert steps.names[:1] == ["connect"]
    assert steps.names[-4:] == ["compare", "save", "tables", "derive"]


def test_a_mirror_is_added_later_and_none_is_lost(made: Settings, target: DatabaseConfig) -> None:
    config = config_of(target, refresh_discoveries=True)
    set_up(config, made, mirror=["hr.job"])
    result = set_up(config, made, mirror=["res.users"])
    assert "hr_res_users" in result["created"]  # and the tables that link the two
    assert all(name == "hr_res_users" or "__" in name for name in result["created"])
    assert result["changed"]
    third = set_up(config, made, refresh_discoveries=False)
    assert not third["changed"]
    ((mirrored,),) = rows(target, "SELECT schema_definition -> 'mirrored' FROM fbs_solution_schemas")
    assert sorted(mirrored) == ["hr.job", "res.users"]


def test_the_definition_of_a_mirrored_model_has_its_digits(
    made: Settings, target: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def digits(_reader: Reader, model: str) -> dict[str, list[int]]:
        asked.append(model)
        return {"number_of_days": [10, 7]}

    def told() -> dict[str, Any]:
        statement = (
            "SELECT name, schema_definition -> 'fields' -> 'number_of_days' -> 'digits' FROM fbs_discoveries"
            " WHERE is_active AND discovery_type = 'model' AND name LIKE 'hr.leave%%'"
        )
        return {name: found for name, found in rows(target, statement) if found}

    monkeypatch.setattr(Reader, "digits", digits)
    config = config_of(target, refresh_discoveries=True)
    set_up(config, made)
    assert (told(), asked) == ({}, [])
    again = set_up(config, made, mirror=["hr.leave"])
    assert [change["fields"] for change in again["refresh"]["report"]["changed"]] == [["fields.number_of_days.digits"]]
    assert told() == {"hr.leave": [10, 7]}
    place = config_of(target)["database_config"]
    for task, request in (
        ("refresh", {"solution_name": "shop", "full": True}),
        ("discover", {"domain": "hr", "database_config": place, "full": True}),
    ):
        report = inline(task, request, made)["report"]
        assert (report["read"], report["changed"]) == (True, [])
    assert asked == ["hr.leave"] * 3
    assert not set_up(config, made)["refresh"]["report"]["read"]


def test_modules_that_a_user_takes_and_leaves_out_are_kept(made: Settings, target: DatabaseConfig) -> None:
    def models() -> set[str]:
        found = rows(target, "SELECT name FROM fbs_discoveries WHERE is_active AND discovery_type = 'model'")
        return {name for (name,) in found}

    config = config_of(target, refresh_discoveries=True)
    set_up(config, made)
    assert "crm.lead" not in models()
    assert "hr.leave" in models()
    changed = set_up(config, made, include_modules=["crm*"], exclude_modules="hr_holidays*")
    assert changed["refresh"]["report"]["read"], "the fingerprint knows which modules were meant"
    assert "crm.lead" in models()
    assert "hr.leave" not in models()
    kept = set_up(config, made)
    assert not kept["changed"]
    assert not inline("refresh", {"solution_name": "shop"}, made)["report"]["read"]
    refreshed = inline("refresh", {"solution_name": "shop", "full": True}, made)["report"]
    assert refreshed["added"] == refreshed["removed"] == []
    ((patterns,),) = rows(target, "SELECT schema_definition -> 'modules' FROM fbs_solution_schemas")
    assert patterns == {"include": ["crm*"], "exclude": ["hr_holidays*"]}


def test_what_is_not_discovered_cannot_be_mirrored(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    with pytest.raises(UsageError, match=r"no model no\.such\.model") as caught:
        set_up(config_of(target, refresh_discoveries=True, mirror=["hr.job", "no.such.model"]), made)
    assert "installed" in caught.value.hint
    with pytest.raises(UsageError, match=r"no model hr\.job") as caught:
        set_up(config_of(target, mirror=["hr.job"]), made)
    assert "--no-refresh-discoveries" in caught.value.hint
    assert tables_of(target) == []
    assert entries(database) == {}


def test_earlier_discoveries_do(made: Settings, target: DatabaseConfig) -> None:
    place = config_of(target)["database_config"]
    inline("discover", {"domain": "hr", "database_config": place}, made)
    result = set_up(config_of(target, mirror=["hr.job"]), made)
    assert "hr_hr_job" in result["created"]
    assert result["existing"] == ["fbs_discoveries", "fbs_snapshots"]


def test_a_table_that_is_gone_is_made_again(made: Settings, target: DatabaseConfig) -> None:
    set_up(config_of(target), made)
    run(target, "DROP TABLE hr_department, hr_employee CASCADE", "DROP TABLE fbs_schema_migrations")
    assert set_up(config_of(target), made)["created"] == ["fbs_schema_migrations", *HR]


def test_differences_are_reported_and_kept(made: Settings, target: DatabaseConfig) -> None:
    set_up(config_of(target), made)
    run(target, "ALTER TABLE hr_employee DROP COLUMN salary")
    before = contents(target)
    result = set_up(config_of(target), made)
    assert not result["changed"]
    assert len(result["pending"]) == 1
    assert "salary" in result["pending"][0]
    assert contents(target) == before


def test_one_database_can_be_home_and_target(made: Settings, database: DatabaseConfig) -> None:
    config = config_of(database, refresh_discoveries=True)
    assert set_up(config, made)["changed"]
    assert tables_of(database) == sorted([*SYSTEM, *HR])
    assert entries(database) == {"shop": True}
    before = writes(database)
    assert not set_up(config, made)["changed"]
    after = writes(database)
    assert {name for name in after if after[name] != before[name]} <= {"fbs_solution_schemas"}  # when it was checked


def test_the_registry_is_repaired(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    set_up(config_of(target), made)
    expected = contents(database)
    run(database, "DROP TABLE fbs_solution_schemas")
    assert set_up(config_of(target), made)["changed"]
    assert contents(database) == expected


def test_a_new_password_is_kept(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    set_up(config_of(target), made)
    result = set_up(config_of(target, password="another one"), made)
    assert result["changed"]
    vault = Vault.from_text(made.fbs_secret_keys.get_secret_value())
    for place in (database, target):
        assert vault.resolve(rows(place, "SELECT database_password FROM fbs_solution_schemas")[0][0]) == "another one"
