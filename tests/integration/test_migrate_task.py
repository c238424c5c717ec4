"""The job `fbs.migrate`: plan, apply, undo; the solution's two rows say what is there, whatever happens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import RefusedError, SolutionConflict, SolutionNotFound, UsageError
from fbs_worker.core.settings import Settings
from fbs_worker.ops.status import solution_status
from tests.support.mirrored import TABLE, fill, migrate, model_is_there, odoo_changes, plan, set_up
from tests.support.solutions import Steps, config_of, entries, inline, rows, run, tables_of, writes


@pytest.fixture
def shop(made: Settings, target: DatabaseConfig) -> DatabaseConfig:
    """The database of a solution `shop` that mirrors hr.job, with three rows."""
    set_up(target, made)
    fill(target)
    return target


def columns(target: DatabaseConfig, table: str = TABLE) -> dict[str, str]:
    return dict(
        rows(
            target,
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            table,
        )
    )


def owned(target: DatabaseConfig) -> dict[str, Any]:
    ((definition,),) = rows(target, "SELECT schema_definition FROM fbs_solution_schemas WHERE solution_name = 'shop'")
    return dict(definition)


# ----------------------------------------------------------------------------------------------------- what set-up says


def test_set_up_records_what_it_made(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    set_up(target, made, refresh_discoveries=True)
    shape = owned(target)["shape"]
    assert sorted(shape) == sorted(owned(target)["tables"])
    assert shape["hr_employee"]["columns"]["id"] == ["integer", True, "SERIAL"]
    assert ["p", ["id"], None] in shape["hr_employee"]["keys"]
    ((entry,),) = rows(database, "SELECT schema_definition FROM fbs_solution_schemas")
    assert "shape" not in entry
    report = plan(made)
    assert (report["steps"], report["changes"], report["drift"], report["notes"]) == ([], [], [], [])
    inline("refresh", {"solution_name": "shop"}, made)
    set_up(target, made, mirror=[])
    assert owned(target)["shape"] == shape


def test_a_table_that_is_made_later_is_recorded_then(made: Settings, shop: DatabaseConfig) -> None:
    before = owned(shop)["shape"]
    set_up(shop, made, mirror=["res.users"])
    after = owned(shop)["shape"]
    assert {name: after[name] for name in before} == before
    assert "hr_res_users" in after
    report = plan(made)  # now its link has something to refer to
    assert {step["kind"] for step in report["steps"]} - {"add_foreign_key"} == {"create_index", "comment"}
    assert {step["table"] for step in report["steps"]} == {TABLE}
    migrate(made)
    assert plan(made)["steps"] == []


# -------------------------------------------------------------------------------------------------------- plan and apply


def test_a_plan_changes_nothing(made: Settings, database: DatabaseConfig, shop: DatabaseConfig) -> None:
    odoo_changes(shop, x_note={"type": "text"})
    before = writes(database), writes(shop)
    report = plan(made)
    assert [step["kind"] for step in report["steps"]] == ["add_column"]
    assert "hr.job.x_note of Odoo" in report["steps"][0]["reason"]
    assert (report["applied"], report["enabled"], report["needs"]) == (None, True, [])
    assert len(report["fingerprint"]) == 16
    assert plan(made)["fingerprint"] == report["fingerprint"]
    assert (writes(database), writes(shop)) == before
    status = solution_status(made, "shop")
    assert (status["overall_status"], status["drift"]) == ("active", [])
    assert status["pending"] == [f"{TABLE}: the column x_note (text) is missing"] == report["changes"]


def test_what_was_planned_is_applied(made: Settings, database: DatabaseConfig, shop: DatabaseConfig) -> None:
    odoo_changes(shop, x_note={"type": "text"}, x_old={"type": "integer"})
    first = migrate(made, fingerprint=plan(made)["fingerprint"])
    assert (first["applied"]["executed"], first["applied"]["kept"]) == (2, [])
    assert columns(shop)["x_note"] == "text"
    assert owned(shop)["shape"][TABLE]["columns"]["x_note"] == ["text", False, None]
    assert entries(database) == entries(shop) == {"shop": True}
    recorded = rows(shop, "SELECT table_name, status FROM fbs_schema_migrations")
    assert recorded == [(TABLE, "executed")] * 2
    before = writes(database), writes(shop)
    again = migrate(made)
    assert (again["steps"], again["applied"]["executed"]) == ([], 0)
    assert (writes(database), writes(shop)) == before
    status = solution_status(made, "shop")
    assert (status["overall_status"], status["pending"]) == ("active", [])


def test_what_deletes_data_wants_to_be_allowed_and_is_brought_back(made: Settings, shop: DatabaseConfig) -> None:
    run(shop, f"UPDATE {TABLE} SET description = 'kept'")
    odoo_changes(shop, description=None)
    report = plan(made)
    assert report["needs"] == ["DELETES_DATA"]
    before = writes(shop)
    with pytest.raises(RefusedError, match="DELETES_DATA") as caught:
        migrate(made, fingerprint=report["fingerprint"])
    assert "--allow DELETES_DATA" in caught.value.hint
    assert writes(shop) == before
    applied = migrate(made, fingerprint=report["fingerprint"], allow=["DELETES_DATA"])["applied"]
    assert "description" not in columns(shop)
    assert len(applied["kept"]) == 1

    undo = plan(made, undo=True)
    assert undo["undoes"] == applied["run"]
    assert "description" not in columns(shop)
    back = migrate(made, undo=True, fingerprint=undo["fingerprint"], allow=undo["needs"])
    assert (back["undoes"], back["cannot"]) == (applied["run"], [])
    assert {value for (value,) in rows(shop, f"SELECT description FROM {TABLE}")} == {"kept"}
    assert "description" in owned(shop)["shape"][TABLE]["columns"]
    # the same once more is that undo, not one of the migration before
    assert migrate(made, undo=True, fingerprint=undo["fingerprint"])["applied"]["executed"] == 0
    assert plan(made)["fingerprint"] == report["fingerprint"]
    with pytest.raises(RefusedError, match="no migration to undo"):
        plan(made, undo=True)


def test_a_possible_rename_needs_an_answer(made: Settings, shop: DatabaseConfig) -> None:
    run(shop, f"UPDATE {TABLE} SET description = 'kept'")
    odoo_changes(shop, description=None, x_descriptions={"type": "html"})
    report = plan(made)
    assert "POSSIBLE_RENAME" in report["needs"]
    assert f"--rename {TABLE}.description=x_descriptions" in report["questions"][0]
    answer = [f"{TABLE}.description=x_descriptions"]
    answered = plan(made, renames=answer)
    assert ([step["kind"] for step in answered["steps"]], answered["needs"]) == (["rename_column"], [])
    with pytest.raises(RefusedError, match="is stale"):
        migrate(made, fingerprint=report["fingerprint"], renames=answer)
    migrate(made, fingerprint=answered["fingerprint"], renames=answer)
    assert {value for (value,) in rows(shop, f"SELECT x_descriptions FROM {TABLE}")} == {"kept"}
    assert plan(made)["steps"] == []
    with pytest.raises(UsageError, match="is not possible"):
        plan(made, renames=["hr_employee.no=yes"])


def test_rows_that_do_not_fit_are_counted(made: Settings, database: DatabaseConfig, shop: DatabaseConfig) -> None:
    odoo_changes(shop, x_code={"type": "char", "size": 20})
    migrate(made)
    run(shop, f"UPDATE {TABLE} SET x_code = 'much too long' WHERE odoo_id < 3")
    odoo_changes(shop, x_code={"type": "integer"})
    report = plan(made)
    with pytest.raises(RefusedError, match="Existing rows conflict with the plan") as caught:
        migrate(made, allow=report["needs"])
    assert caught.value.context["rows"][0]["rows"] == 2
    assert entries(database) == {"shop": True}
    assert columns(shop)["x_code"] == "character varying(20)"


def test_a_stale_plan_is_rejected(made: Settings, shop: DatabaseConfig) -> None:
    odoo_changes(shop, x_note={"type": "text"})
    report = plan(made)
    odoo_changes(shop, x_other={"type": "text"})
    with pytest.raises(RefusedError, match="is stale") as caught:
        migrate(made, fingerprint=report["fingerprint"])
    assert caught.value.context["fingerprint"] == plan(made)["fingerprint"]
    assert "x_note" not in columns(shop)


def test_drift_is_reported_and_kept_unless_restore_is_set(made: Settings, shop: DatabaseConfig) -> None:
    run(
        shop,
        "ALTER TABLE hr_employee ALTER COLUMN first_name TYPE text",
        "ALTER TABLE hr_employee ADD COLUMN mine text",
        "CREATE TABLE hr_mine (id integer)",
    )
    report = plan(made)
    assert report["steps"] == []
    assert len(report["drift"]) == 1
    assert "first_name" in report["drift"][0]
    assert solution_status(made, "shop")["drift"] == report["drift"]
    assert migrate(made)["applied"]["executed"] == 0
    assert columns(shop, "hr_employee")["first_name"] == "text"
    restoring = plan(made, restore=True)
    assert restoring["steps"]
    assert "DRIFT" in restoring["needs"]
    migrate(made, restore=True, fingerprint=restoring["fingerprint"], allow=restoring["needs"])
    assert columns(shop, "hr_employee")["first_name"].startswith("character varying")
    assert "mine" in columns(shop, "hr_employee")
    assert "hr_mine" in tables_of(shop)
    assert plan(made)["drift"] == []


def test_a_conflicting_foreign_table_is_reported_and_not_changed(made: Settings, target: DatabaseConfig) -> None:
    set_up(target, made, mirror=[])
    run(target, f"CREATE TABLE {TABLE} (x integer)")
    report = plan(made, mirror=["hr.job"])
    assert any(line.startswith(f"{TABLE}: ") and "did not create" in line for line in report["drift"])
    migrate(made, mirror=["hr.job"])
    assert columns(target) == {"x": "integer"}
    assert TABLE not in owned(target)["tables"]


# ----------------------------------------------------------------------------------------------------- models come and go


def test_a_model_is_removed_from_odoo_and_reappears(
    made: Settings, database: DatabaseConfig, shop: DatabaseConfig
) -> None:
    model_is_there(shop, there=False)
    report = plan(made)
    assert report["needs"] == ["DELETES_DATA"]
    assert "hr.job is not in the catalogue" in report["notes"][0]
    (kept,) = migrate(made, allow=["DELETES_DATA"])["applied"]["kept"]
    assert TABLE not in tables_of(shop)
    assert TABLE not in owned(shop)["tables"]
    assert owned(shop)["mirrored"] == {"hr.job": TABLE}
    status = solution_status(made, "shop")
    assert (status["overall_status"], status["pending"]) == ("active", [])
    assert "its table is created when it appears" in status["notes"][0]
    assert plan(made)["steps"] == []

    model_is_there(shop, there=True)
    report = plan(made)
    assert report["changes"] == [f"{TABLE}: the table is missing"]
    assert kept in report["notes"][0]
    migrate(made)
    assert rows(shop, f"SELECT count(*) FROM {TABLE}") == [(0,)]
    assert rows(shop, f"SELECT count(*) FROM {kept}") == [(3,)]
    assert TABLE in owned(shop)["tables"]
    ((entry,),) = rows(database, "SELECT schema_definition FROM fbs_solution_schemas")
    assert entry["tables"] == owned(shop)["tables"]


def test_its_rows_come_back_with_an_undo(made: Settings, shop: DatabaseConfig) -> None:
    model_is_there(shop, there=False)
    migrate(made, allow=["DELETES_DATA"])
    undo = plan(made, undo=True)
    migrate(made, undo=True, fingerprint=undo["fingerprint"], allow=undo["needs"])
    assert rows(shop, f"SELECT count(*) FROM {TABLE}") == [(3,)]
    assert TABLE in owned(shop)["tables"]
    assert solution_status(made, "shop")["overall_status"] == "active"


def test_models_are_mirrored_and_let_go(made: Settings, shop: DatabaseConfig) -> None:
    report = migrate(made, mirror=["res.users"])
    assert "hr_res_users" in tables_of(shop)
    assert report["applied"]["executed"] == len(report["steps"])
    assert sorted(owned(shop)["mirrored"]) == ["hr.job", "res.users"]
    assert plan(made)["steps"] == []
    migrate(made, unmirror=["hr.job"], allow=["DELETES_DATA"])
    assert sorted(owned(shop)["mirrored"]) == ["res.users"]
    assert TABLE not in tables_of(shop)
    with pytest.raises(UsageError, match=r"no model no\.such"):
        plan(made, mirror=["no.such"])
    with pytest.raises(UsageError, match=r"does not mirror hr\.job"):
        plan(made, unmirror=["hr.job"])


def test_an_empty_catalogue_takes_no_table_away(made: Settings, shop: DatabaseConfig) -> None:
    run(shop, "DELETE FROM fbs_discoveries")
    with pytest.raises(RefusedError, match="has no models: the mirrored tables cannot be determined"):
        plan(made)
    status = solution_status(made, "shop")
    assert status["pending"] == []
    assert any("has no models: the mirrored tables cannot be determined" in line for line in status["notes"])
    run(shop, "DROP TABLE fbs_discoveries")
    with pytest.raises(RefusedError, match="has no models: the mirrored tables cannot be determined"):
        migrate(made, allow=["DELETES_DATA"])


# -------------------------------------------------------------------------------------------------- older and other ones


def test_a_solution_from_before_shapes_were_kept(
    made: Settings, database: DatabaseConfig, shop: DatabaseConfig
) -> None:
    run(shop, "UPDATE fbs_solution_schemas SET schema_definition = schema_definition - 'shape'")
    run(shop, f"ALTER TABLE {TABLE} ADD COLUMN mine text")
    assert plan(made)["steps"] == []
    migrate(made)
    assert sorted(owned(shop)["shape"]) == owned(shop)["tables"]
    odoo_changes(shop, description=None)
    migrate(made, allow=["DELETES_DATA"])
    assert "mine" in columns(shop)
    assert "description" not in columns(shop)
    assert entries(database) == {"shop": True}


def test_switched_off_it_plans_only(made: Settings, shop: DatabaseConfig) -> None:
    off = made.model_copy(update={"fbs_enable_migrations": False})
    odoo_changes(shop, x_note={"type": "text"})
    report = plan(off)
    assert (len(report["steps"]), report["enabled"]) == (1, False)
    before = writes(shop)
    for request in ({}, {"fingerprint": report["fingerprint"]}, {"undo": True, "fingerprint": "0" * 16}):
        with pytest.raises(RefusedError, match="FBS_ENABLE_MIGRATIONS"):
            migrate(off, **request)
    assert writes(shop) == before


def test_tables_of_another_solution_are_refused(made: Settings, shop: DatabaseConfig) -> None:
    inline(
        "setup",
        config_of(shop, "other", refresh_discoveries=False, table_prefix="o_fbs_", business_prefix="hr_x_", mirror=[]),
        made,
    )
    run(
        shop,
        "UPDATE o_fbs_solution_schemas SET schema_definition ="
        " jsonb_set(schema_definition, '{tables}', '[\"hr_res_users\"]')",
    )
    assert plan(made)["steps"] == []
    inline("setup", config_of(shop, "third", refresh_discoveries=False, business_prefix="hr_res_"), made)
    run(
        shop,
        "UPDATE fbs_solution_schemas SET schema_definition ="
        " jsonb_set(schema_definition, '{tables}', '[\"hr_res_users\"]') WHERE solution_name = 'third'",
    )
    with pytest.raises(SolutionConflict, match="hr_res_users of 'third'"):
        plan(made, mirror=["res.users"])


def test_an_unknown_solution(made: Settings, shop: DatabaseConfig) -> None:
    with pytest.raises(SolutionNotFound, match="missing"):
        plan(made, name="missing")
    run(shop, "DELETE FROM fbs_solution_schemas")
    with pytest.raises(SolutionNotFound, match="does not hold"):
        plan(made)


def test_two_at_once_run_one_after_the_other(made: Settings, database: DatabaseConfig, shop: DatabaseConfig) -> None:
    odoo_changes(shop, x_note={"type": "text"})
    fingerprint = plan(made)["fingerprint"]
    both = [Steps(), Steps()]
    with ThreadPoolExecutor(2) as pool:
        report = list(pool.map(lambda steps: migrate(made, steps, fingerprint=fingerprint), both))
    assert sorted(one["applied"]["executed"] for one in report) == [0, 1]
    assert rows(shop, "SELECT status FROM fbs_schema_migrations") == [("executed",)]
    assert entries(database) == {"shop": True}


def test_what_was_taken_away_goes_with_the_solution(made: Settings, shop: DatabaseConfig) -> None:
    odoo_changes(shop, description=None)
    (kept,) = migrate(made, allow=["DELETES_DATA"])["applied"]["kept"]
    report = inline("drop", {"solution_name": "shop", "dry_run": True}, made)
    assert kept in report["dropped"]
    inline("drop", {"solution_name": "shop", "with_data": True}, made)
    assert tables_of(shop) == []
