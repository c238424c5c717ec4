"""A mirrored model follows a live Odoo: it gains a field, one is retyped, one is lost, its module goes and comes back.

These tests change the live Odoo: its database is a copy; what they change is as before when they end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fbs_worker.connectors.base import Transport
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.settings import Settings
from fbs_worker.ops.status import solution_status
from tests.support.mirrored import fill, migrate, plan, set_up
from tests.support.solutions import inline, rows, run, tables_of

pytestmark = pytest.mark.live

FIELD = "x_followed"
MODULE = "hr_homeworking"
"""Quickly installed, brought along by nothing that is installed here, and with a model of its own."""
MODEL = "hr.employee.location"

Field = Callable[[str | None], None]


@pytest.fixture
def settings_live(settings_live: Settings) -> Settings:
    return settings_live.model_copy(update={"fbs_business_prefix": "hr_"})


@pytest.fixture
def field(editor: Transport) -> Iterator[Field]:
    """Gives hr.job a field of a type, or takes it away; Odoo cannot give a field another type otherwise."""
    [model] = editor.call("ir.model", "search", domain=[("model", "=", "hr.job")])

    def become(kind: str | None) -> None:
        old = editor.call("ir.model.fields", "search", domain=[("model", "=", "hr.job"), ("name", "=", FIELD)])
        if old:
            editor.call("ir.model.fields", "unlink", ids=old)
        if kind is not None:
            values = {
                "name": FIELD,
                "model_id": model,
                "ttype": kind,
                "field_description": "Followed",
                "state": "manual",
            }
            editor.call("ir.model.fields", "create", vals_list=[values])

    yield become
    become(None)


@pytest.fixture
def module(editor: Transport) -> Iterator[Callable[[str], None]]:
    """Installs or uninstalls the module."""

    def become(state: str) -> None:
        [found] = editor.call("ir.module.module", "search_read", domain=[("name", "=", MODULE)], fields=["state"])
        if found["state"] != state:
            action = "button_immediate_install" if state == "installed" else "button_immediate_uninstall"
            editor.call("ir.module.module", action, ids=[found["id"]])

    yield become
    become("uninstalled")


def refresh(settings: Settings) -> dict[str, Any]:
    return inline("refresh", {"solution_name": "shop"}, settings)


def column(target: DatabaseConfig) -> str | None:
    found = rows(
        target,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'hr_hr_job'::regclass AND attname = %s AND NOT attisdropped",
        FIELD,
    )
    return str(found[0][0]) if found else None


def check_up_to_date(settings: Settings) -> None:
    """There is nothing left to do, and both rows of the solution say the same."""
    assert plan(settings)["steps"] == []
    report = solution_status(settings, "shop")
    assert (report["overall_status"], report["pending"], report["drift"]) == ("active", [], [])


def test_a_field_comes_is_retyped_and_goes(settings_live: Settings, target: DatabaseConfig, field: Field) -> None:
    set_up(target, settings_live, mirror=["hr.job"], refresh_discoveries=True)
    fill(target)
    check_up_to_date(settings_live)

    field("char")
    assert refresh(settings_live)["report"]["changed"]
    report = plan(settings_live)
    assert [step["kind"] for step in report["steps"]] == ["add_column", "comment"]
    assert f"hr.job.{FIELD} of Odoo" in report["steps"][0]["reason"]
    migrate(settings_live, fingerprint=report["fingerprint"])
    assert column(target) == "character varying"
    check_up_to_date(settings_live)
    run(target, f"UPDATE hr_hr_job SET {FIELD} = odoo_id::text")

    field("integer")
    refresh(settings_live)
    report = plan(settings_live)
    assert report["changes"] == [f"hr_hr_job: the column {FIELD} is character varying, not integer"]
    migrate(settings_live, fingerprint=report["fingerprint"], allow=report["needs"])
    assert column(target) == "integer"
    assert [value for (value,) in rows(target, f"SELECT {FIELD} FROM hr_hr_job ORDER BY 1")] == [1, 2, 3]
    check_up_to_date(settings_live)

    field(None)
    refresh(settings_live)
    report = plan(settings_live)
    assert report["needs"] == ["DELETES_DATA"]
    migrate(settings_live, fingerprint=report["fingerprint"], allow=report["needs"])
    assert column(target) is None
    check_up_to_date(settings_live)
    undo = plan(settings_live, undo=True)
    migrate(settings_live, undo=True, fingerprint=undo["fingerprint"], allow=undo["needs"])
    assert [value for (value,) in rows(target, f"SELECT {FIELD} FROM hr_hr_job ORDER BY 1")] == [1, 2, 3]


def test_a_module_is_removed_and_comes_back(
    settings_live: Settings, target: DatabaseConfig, module: Callable[[str], None]
) -> None:
    table = "hr_hr_employee_location"
    module("installed")
    set_up(target, settings_live, mirror=[MODEL], refresh_discoveries=True)
    fill(target, table=table)
    check_up_to_date(settings_live)

    module("uninstalled")
    refresh(settings_live)
    report = plan(settings_live)
    assert report["needs"] == ["DELETES_DATA"]
    assert any(f"{table}: the Odoo model {MODEL} is not in the catalogue" in line for line in report["notes"])
    (kept, *_) = migrate(settings_live, fingerprint=report["fingerprint"], allow=report["needs"])["applied"]["kept"]
    assert table not in tables_of(target)
    check_up_to_date(settings_live)

    module("installed")
    refresh(settings_live)
    report = plan(settings_live)
    assert f"{table}: the table is missing" in report["changes"]
    migrate(settings_live, fingerprint=report["fingerprint"], allow=report["needs"])
    assert rows(target, f"SELECT count(*) FROM {table}") == [(0,)]
    assert kept in tables_of(target)
    check_up_to_date(settings_live)
