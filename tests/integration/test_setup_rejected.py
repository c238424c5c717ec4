"""What the job `fbs.setup` refuses, and that it changes nothing then."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    DatabaseMissing,
    DatabaseRightsMissing,
    ForeignTableError,
    RefusedError,
    SecretError,
    SettingsError,
    SolutionConflict,
    UsageError,
)
from fbs_worker.core.settings import Settings
from fbs_worker.ops.local.embedded import EmbeddedPostgres
from tests.support.solutions import (
    PASSWORD,
    Steps,
    config_of,
    contents,
    entries,
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


def test_invalid_parameters_are_rejected_before_any_connection(made: Settings) -> None:
    nowhere = DatabaseConfig(name="shop", host="127.0.0.1", port=1)
    homeless = made.model_copy(update={"fbs_database_url": "postgresql://127.0.0.1:1/home"})
    with pytest.raises(UsageError, match="table_prefix is not valid"):
        set_up({**config_of(nowhere), "table_prefix": 'x"; DROP TABLE'}, homeless)


def test_a_password_that_cannot_be_kept_is_rejected_before_any_connection(made: Settings) -> None:
    nowhere = DatabaseConfig(name="shop", host="127.0.0.1", port=1)
    with pytest.raises(SecretError, match="FBS_SECRET_KEYS is not set"):
        set_up(config_of(nowhere), made.model_copy(update={"fbs_secret_keys": SecretStr("")}))
    with pytest.raises(SecretError, match="NOT_SET"):
        set_up(config_of(nowhere, password="env:NOT_SET"), made)


def test_a_password_that_is_too_long_is_rejected_and_nothing_is_changed(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    with pytest.raises(SecretError, match="at most 255 can be stored") as caught:
        set_up(config_of(target, password="x" * 200), made)
    assert "xxx" not in str(caught.value) + caught.value.hint
    assert tables_of(target) == []
    assert entries(database) == {}


def test_without_a_home_database_it_says_how_to_get_one(made: Settings, target: DatabaseConfig) -> None:
    with pytest.raises(SettingsError, match="No home database") as caught:
        set_up(config_of(target), made.model_copy(update={"fbs_database_url": ""}))
    assert "fbs up" in caught.value.hint
    assert tables_of(target) == []


def test_a_missing_database_shows_how_to_create_it(made: Settings, target: DatabaseConfig) -> None:
    config = config_of(target.model_copy(update={"name": "not_there"}))
    with pytest.raises(DatabaseMissing, match="not_there") as caught:
        set_up(config, made)
    assert "CREATE DATABASE not_there" in caught.value.hint


@pytest.mark.parametrize("refresh", [False, True])
def test_missing_rights_are_reported(made: Settings, target: DatabaseConfig, refresh: bool) -> None:
    role = f"poor_{target.name}"
    run(target, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    poor = target.model_copy(update={"user": role})
    steps = Steps()
    try:
        with pytest.raises(DatabaseRightsMissing, match="may not create tables") as caught:
            set_up(config_of(poor, refresh_discoveries=refresh), made, steps)
        assert "GRANT CREATE ON SCHEMA" in caught.value.hint
        assert steps.names == ["connect"]  # before the long read
    finally:
        run(target, f"DROP ROLE {role}")


@pytest.mark.parametrize("refresh", [False, True])
def test_foreign_tables_are_rejected_and_not_changed(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig, refresh: bool
) -> None:
    run(
        target,
        "CREATE TABLE hr_employee (id integer, odoo text)",
        "INSERT INTO hr_employee VALUES (1, 'mine')",
        "CREATE VIEW hr_department AS SELECT 1 AS id",
        "CREATE TABLE fbs_snapshots (id integer)",
    )
    before = contents(target), writes(target)
    with pytest.raises(ForeignTableError) as caught:
        set_up(config_of(target, refresh_discoveries=refresh), made)
    for name in ("hr_employee", "hr_department", "fbs_snapshots"):
        assert name in caught.value.message
    assert (contents(target), writes(target)) == before
    assert tables_of(database) == []


def test_a_mirrored_table_can_conflict_too(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    run(target, "CREATE TABLE hr_hr_job (id integer)")
    before = contents(target)
    with pytest.raises(ForeignTableError, match="hr_hr_job"):
        set_up(config_of(target, refresh_discoveries=True, mirror=["hr.job"]), made)
    assert contents(target) == before
    assert entries(database) == {}


@pytest.mark.parametrize(
    "changed",
    [{"domain": "rental"}, {"table_prefix": "x_"}, {"business_prefix": "x_"}, {"elsewhere": True}],
    ids=str,
)
def test_a_name_means_one_solution(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig, other: DatabaseConfig, changed: dict[str, Any]
) -> None:
    set_up(config_of(target), made)
    before = writes(database), writes(target)
    place = other if changed.pop("elsewhere", False) else target
    with pytest.raises(SolutionConflict, match="'shop' already exists") as caught:
        set_up({**config_of(place), **changed}, made)
    assert "fbs drop shop" in caught.value.hint
    assert (writes(database), writes(target)) == before
    assert tables_of(other) == []


def test_one_server_has_many_addresses(made: Settings, postgres: EmbeddedPostgres, target: DatabaseConfig) -> None:
    set_up(config_of(target), made)
    folder = target.host
    alias = target.model_copy(update={"host": f"{folder}/."})
    assert set_up(config_of(alias), made)["changed"]  # found there, so it is the same: the new address is kept
    assert not set_up(config_of(alias), made)["changed"]


def test_no_table_belongs_to_two_solutions(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    set_up(config_of(target), made)
    before = contents(target)
    for prefix in ("fbs_", "other_"):
        with pytest.raises(SolutionConflict, match="'shop'") as caught:
            set_up(config_of(target, "another"), made, table_prefix=prefix)
        assert "--business-prefix" in caught.value.hint
    assert contents(target) == before
    assert list(entries(database)) == ["shop"]


def test_solutions_stand_side_by_side(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    for letter in "ab":
        set_up(config_of(target, f"company_{letter}"), made, business_prefix=f"company_{letter}_")
    set_up(config_of(target, "company_c"), made, business_prefix="company_c_", table_prefix="c_")
    assert {"company_a_employee", "company_b_employee", "company_c_employee", "c_discoveries"} <= set(tables_of(target))
    assert list(entries(database)) == ["company_a", "company_b", "company_c"]
    assert list(entries(target)) == ["company_a", "company_b"]


def test_two_odoos_do_not_share_a_catalogue(made: Settings, target: DatabaseConfig) -> None:
    set_up(config_of(target, "a"), made, business_prefix="a_", refresh_discoveries=True)
    run(target, "UPDATE fbs_snapshots SET source = jsonb_set(source, '{url}', '\"http://elsewhere\"')")
    second = config_of(target, "b", business_prefix="b_", refresh_discoveries=True)
    before = contents(target)
    with pytest.raises(SolutionConflict, match="http://elsewhere") as caught:
        set_up(second, made)
    assert "--odoo-moved" in caught.value.hint
    assert contents(target) == before
    assert set_up(second, made, odoo_moved=True)["changed"]


def test_where_it_may_not_create_it_says_what_to_run(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    careful = made.model_copy(update={"fbs_auto_create_tables": False})
    with pytest.raises(RefusedError, match="FBS_AUTO_CREATE_TABLES is false") as caught:
        set_up(config_of(target), careful)
    assert tables_of(target) == []
    statements = caught.value.context["statements"]
    run(target, *statements)
    assert tables_of(target) == sorted([*SYSTEM, *HR])
    result = set_up(config_of(target), careful)
    assert result["created"] == []
    assert result["changed"]
    assert not set_up(config_of(target), careful)["changed"]
    run(target, "ALTER TABLE hr_employee DROP COLUMN salary")
    assert set_up(config_of(target), careful)["pending"]  # ours by now


def test_where_it_may_not_create_only_what_fits_is_taken_over(made: Settings, target: DatabaseConfig) -> None:
    careful = made.model_copy(update={"fbs_auto_create_tables": False})
    set_up(config_of(target, "other", business_prefix="other_"), made)
    run(target, "CREATE TABLE hr_employee (id integer)")
    with pytest.raises(RefusedError, match="hr_employee: the column"):
        set_up(config_of(target), careful)
