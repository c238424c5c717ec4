"""The job `fbs.refresh`: by name alone, everything in one transaction, and nothing at all when nothing changed."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from celery import Celery

from fbs_worker.client.client import Client
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import (
    JobCancelled,
    JobFailed,
    SettingsError,
    SolutionConflict,
    SolutionNotFound,
    UsageError,
)
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.ops.status import list_solutions, solution_status
from tests.conftest import StartWorker
from tests.support.solutions import (
    Steps,
    config_of,
    contents,
    die,
    few_models,
    inline,
    killed,
    rows,
    run,
    tables_of,
    writes,
)
from tests.support.waiting import PATIENCE

STEPS = 8


def set_up(target: DatabaseConfig, settings: Settings, **more: Any) -> dict[str, Any]:
    return inline("setup", config_of(target, **more), settings)


def refresh(settings: Settings, progress: Steps | None = None, **more: Any) -> dict[str, Any]:
    return inline("refresh", {"solution_name": "shop", **more}, settings, progress)


def make_it_look_changed(target: DatabaseConfig) -> None:
    """Let the catalogue know less and other than Odoo has, and the derived tables more."""
    run(
        target,
        "DELETE FROM fbs_discoveries WHERE discovery_type = 'workflow' AND name = 'hr.leave'",
        "UPDATE fbs_discoveries SET schema_definition = schema_definition #- '{fields,name}'"
        " WHERE discovery_type = 'model' AND name = 'hr.job'",
        "INSERT INTO fbs_discoveries (discovery_type, domain, name) VALUES ('workflow', 'hr', 'gone.model')",
        "INSERT INTO fbs_workflow_definitions (workflow_name, domain) VALUES ('hr.gone.model', 'hr')",
        "DELETE FROM fbs_workflow_definitions WHERE workflow_name = 'hr.hr.leave'",
        "UPDATE fbs_bi_dashboards SET chart_definitions = '{}' WHERE dashboard_name = 'hr.hr.employee'",
    )


def freshness(settings: Settings) -> tuple[str | None, str | None]:
    """When the solution was last checked and when that last found something, as `fbs status` and `fbs list` say."""
    status, (listed,) = solution_status(settings, "shop"), list_solutions(settings)["solutions"]
    told = [(each["last_checked"], each["last_change"]) for each in (status, listed)]
    assert told[0] == told[1]
    return told[0]


def make_it_older(target: DatabaseConfig) -> None:
    """Let the last refresh be of the year 2000."""
    times = '"checked_at": "2000-01-01T00:00:00+00:00", "changed_at": "2000-01-01T00:00:00+00:00"'
    run(
        target,
        "UPDATE fbs_solution_schemas SET schema_definition = jsonb_set(schema_definition, '{last_refresh}',"
        f" schema_definition -> 'last_refresh' || '{{{times}}}')",
    )


@pytest.mark.parametrize("full", [False, True])
def test_every_refresh_is_a_check_and_some_find_a_change(made: Settings, target: DatabaseConfig, full: bool) -> None:
    set_up(target, made, refresh_discoveries=False)
    assert freshness(made) == (None, None)
    refresh(made)
    checked, changed = freshness(made)
    assert checked == changed != None  # noqa: E711 -- both are the same time
    make_it_older(target)
    refresh(made, full=full)
    assert freshness(made)[0] >= checked  # type: ignore[operator]
    assert freshness(made)[1] == "2000-01-01T00:00:00+00:00"
    make_it_look_changed(target)
    refresh(made, full=True)
    assert freshness(made)[1] >= checked  # type: ignore[operator]


def test_nothing_new_writes_only_when_it_was_checked(
    made: Settings, database: DatabaseConfig, target: DatabaseConfig
) -> None:
    set_up(target, made)
    before = writes(database), writes(target)
    before[1].pop("fbs_solution_schemas")
    result = refresh(made)
    assert result["solution"] == "shop"
    assert not result["report"]["read"]
    assert result["report"]["unchanged"] > 0
    assert result["calls"] <= 4
    after = writes(database), writes(target)
    after[1].pop("fbs_solution_schemas")
    assert after == before


def test_the_result_says_what_changed(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    set_up(target, made)
    whole, registry = contents(target), writes(database)
    make_it_look_changed(target)
    result = refresh(made, full=True)
    report = result["report"]
    assert [change["name"] for change in report["added"]] == ["hr.leave"]
    assert [change["name"] for change in report["removed"]] == ["gone.model"]
    assert [(change["name"], change["fields"]) for change in report["changed"]] == [("hr.job", ["fields.name"])]
    assert (result["workflows"]["added"], result["workflows"]["removed"]) == (1, 1)
    assert result["dashboards"]["changed"] == 1
    ((gone,),) = rows(target, "SELECT is_active FROM fbs_workflow_definitions WHERE workflow_name = 'hr.gone.model'")
    assert not gone
    ((kept,),) = rows(target, "SELECT schema_definition -> 'last_refresh' -> 'report' FROM fbs_solution_schemas")
    assert (kept["added"], kept["removed"], kept["changed"]) == (1, 1, 1)
    assert {section["status"] for section in kept["sections"]} == {"complete"}
    assert writes(database) == registry  # a refresh does not write the registry
    assert contents(target)["shape"] == whole["shape"]


def test_what_a_discovery_found_meanwhile_is_derived(made: Settings, target: DatabaseConfig) -> None:
    set_up(target, made, refresh_discoveries=False)
    place = config_of(target)["database_config"]
    inline("discover", {"domain": "hr", "database_config": place}, made)
    assert rows(target, "SELECT count(*) FROM fbs_workflow_definitions") == [(0,)]
    result = refresh(made)
    assert not result["report"]["read"]
    assert result["workflows"]["added"] == rows(target, "SELECT count(*) FROM fbs_workflow_definitions")[0][0] > 0


def test_a_system_table_that_is_gone_is_made_again(made: Settings, target: DatabaseConfig) -> None:
    set_up(target, made)
    before = tables_of(target)
    run(target, "DROP TABLE fbs_bi_dashboards")
    assert refresh(made)["dashboards"]["added"] > 0
    assert tables_of(target) == before


def test_an_unknown_solution_is_rejected(made: Settings, target: DatabaseConfig) -> None:
    with pytest.raises(SolutionNotFound, match="'shop'"):
        refresh(made)
    set_up(target, made, refresh_discoveries=False)
    with pytest.raises(SolutionNotFound, match="'other'") as caught:
        refresh(made, solution_name="other")
    assert "shop" in caught.value.hint


def test_a_solution_without_a_manifest_is_rejected(made: Settings, target: DatabaseConfig) -> None:
    set_up(target, made, refresh_discoveries=False)
    run(target, "DELETE FROM fbs_solution_schemas")
    with pytest.raises(SolutionNotFound, match="does not hold the solution 'shop'") as caught:
        refresh(made)
    assert "fbs setup" in caught.value.hint


def test_invalid_parameters_are_rejected(made: Settings) -> None:
    with pytest.raises(UsageError, match="surprise is not known"):
        refresh(made, surprise=1)


def test_the_solution_s_own_odoo_is_read(made: Settings, target: DatabaseConfig) -> None:
    named = made.model_copy(
        update={
            "odoo_url": "http://127.0.0.1:1",
            "fbs_odoo": {"branch": OdooConnection(url=f"recording:{few_models()}")},
        }
    )
    set_up(target, named, odoo="branch")
    assert refresh(named)["source"]["url"] == "recording:odoo19.json"
    with pytest.raises(SettingsError, match="'branch'"):
        refresh(made)


def test_setting_up_again_keeps_the_odoo_that_a_solution_has(made: Settings, target: DatabaseConfig) -> None:
    named = made.model_copy(
        update={
            "odoo_url": "http://127.0.0.1:1",
            "fbs_odoo": {"branch": OdooConnection(url=f"recording:{few_models()}")},
        }
    )
    set_up(target, named, odoo="branch")
    again = inline("setup", {**config_of(target), "odoo_expected": {"url": "http://127.0.0.1:1"}}, named)
    assert again["refresh"]["source"]["url"] == "recording:odoo19.json"
    stored = rows(target, "SELECT schema_definition ->> 'odoo' FROM fbs_solution_schemas")
    assert stored == [("branch",)]
    with pytest.raises(SettingsError, match="No Odoo database"):
        inline("setup", {**config_of(target), "odoo": "default"}, named)


def test_another_odoo_is_refused_until_it_is_said_to_have_moved(made: Settings, target: DatabaseConfig) -> None:
    set_up(target, made)
    run(target, "UPDATE fbs_snapshots SET source = jsonb_set(source, '{url}', '\"http://elsewhere\"')")
    before = contents(target)
    with pytest.raises(SolutionConflict, match="http://elsewhere"):
        refresh(made)
    assert contents(target) == before
    assert refresh(made, odoo_moved=True)["report"]["read"]
    assert not refresh(made)["report"]["read"]


def test_an_end_at_any_step_changes_nothing(made: Settings, database: DatabaseConfig, target: DatabaseConfig) -> None:
    def end() -> None:
        raise JobCancelled("Enough.")

    set_up(target, made)
    make_it_look_changed(target)
    before = writes(database), writes(target)
    for at in range(STEPS):
        with pytest.raises(JobCancelled):
            refresh(made, Steps(end, at=at), full=True)
        assert (writes(database), writes(target)) == before, at
    steps = Steps(end, at=STEPS)
    assert refresh(made, steps, full=True)["report"]["added"]
    assert len(steps.names) == STEPS, steps.names


@pytest.mark.faults
@pytest.mark.parametrize("at", [STEPS - 3, STEPS - 1])
def test_a_worker_killed_within_changes_nothing(made: Settings, target: DatabaseConfig, at: int) -> None:
    set_up(target, made)
    make_it_look_changed(target)
    before = writes(target)
    assert killed(lambda: refresh(made, Steps(die, at=at), full=True))
    assert writes(target) == before
    assert refresh(made, full=True)["report"]["added"]
    after = contents(target)
    refresh(made, full=True)
    assert contents(target) == after


def test_another_application_needs_celery_and_a_name(
    made: Settings, target: DatabaseConfig, start_worker: StartWorker
) -> None:
    start_worker(made.model_copy(update={"fbs_secret_references": "env:HO*"}))
    with Client(settings=made) as client:
        setup = client.setup(config_of(target, business_prefix="hr_"))
        assert setup.wait(PATIENCE)["changed"]
        assert (setup.status().action, setup.status().solution, setup.status().domain) == ("setup", "shop", "hr")
        again = client.setup(config_of(target), business_prefix="hr_", refresh_discoveries=False).wait(PATIENCE)
        assert not again["changed"]
        assert not client.refresh("shop").wait(PATIENCE)["report"]["read"]
        with pytest.raises(JobFailed, match="'missing'") as caught:
            client.refresh("missing").wait(PATIENCE)
        assert caught.value.context["error"]["code"] == SolutionNotFound.code
    with Celery("other", broker=made.fbs_redis_url, backend=made.fbs_redis_url, set_as_current=False) as other:
        try:
            options = {"queue": "fbs.discovery"}
            sent = other.send_task("fbs.refresh", kwargs={"solution_name": "shop"}, **options)
            assert sent.get(timeout=PATIENCE)["solution"] == "shop"
            dictionary = {**config_of(target, password="env:HOME"), "business_prefix": "hr_"}
            sent = other.send_task("fbs.setup", kwargs={"config": dictionary}, queue="fbs.schema")
            assert sent.get(timeout=PATIENCE)["solution"] == "shop"
        finally:
            other.backend.result_consumer.stop()
    with Client(settings=made) as client, closing(client):
        assert client.job(sent.id).status().solution == "shop"
        assert client.drop("shop", dry_run=True).wait(PATIENCE)["dry_run"]
        assert client.drop("shop").wait(PATIENCE)["dropped"]
    assert tables_of(target) == []
