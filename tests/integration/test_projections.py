"""Workflow definitions and dashboards from the catalogue, on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from fbs_worker.catalogue.model import Discovery
from fbs_worker.catalogue.projections import fill_dashboards, fill_workflows
from fbs_worker.catalogue.store import Catalogue
from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import DatabaseError
from fbs_worker.core.postgres import Connection, connect
from fbs_worker.schema.system_tables import SYSTEM_TABLES, ensure_tables
from tests.support.snapshots import FEATURE, SOURCE, WORKFLOW, MadeSnapshot, model
from tests.support.together import Meet, together

NOTHING: dict[str, Any] = {"added": 0, "changed": 0, "removed": 0, "unchanged": 0, "skipped": []}

STATES = [{"value": "draft", "label": "Quotation", "shown": True}, {"value": "sale", "label": "Sales Order"}]
CANCEL = {
    "button": "action_cancel",
    "label": "Cancel",
    "kind": "object",
    "from": ["sale"],
    "groups": ["z.admin", "a.b"],
}
CONFIRM = {"button": "action_confirm", "label": "Confirm", "kind": "object", "from": ["draft"]}
UNLOCK = {"button": "action_unlock", "label": "Unlock", "kind": "object", "groups": [["!c.d"], ["a.b"]]}
ORDER: dict[str, Any] = {
    "state_field": "state",
    "states": STATES,
    "transitions": [CANCEL, CONFIRM, UNLOCK],
    "automations": [{"name": "Remind", "trigger": "on_time"}],
    "schedules": [{"name": "Send", "every": 1, "unit": "days"}],
}


@pytest.fixture
def connection(database: DatabaseConfig) -> Iterator[Connection]:
    with closing(connect(database)) as opened:
        with opened:
            ensure_tables(opened, "fbs_", SYSTEM_TABLES)
        yield opened


def workflow(name: str = "sale.order", *, domain: str = "rental", **schema: Any) -> Discovery:
    return Discovery(
        discovery_type=WORKFLOW,
        domain=domain,
        name=name,
        metadata={"title": "Sales Order", "source": SOURCE},
        schema_definition=schema or ORDER,
    )


def feature(name: str, title: str = "Title", *, domain: str = "rental", **schema: Any) -> Discovery:
    return Discovery(
        discovery_type=FEATURE,
        domain=domain,
        name=name,
        metadata={"title": title, "source": SOURCE},
        schema_definition=schema,
    )


GRAPH: dict[str, Any] = {
    "kind": "graph",
    "model": "sale.report",
    "measures": ["price_total"],
    "dimensions": [{"name": "date", "interval": "month"}],
    "chart": "line",
}
PIVOT: dict[str, Any] = {
    "kind": "pivot",
    "model": "sale.report",
    "measures": ["price_total", "margin"],
    "dimensions": [{"name": "user_id", "axis": "row"}, {"name": "date", "axis": "column"}],
}
REPORT: dict[str, Any] = {
    "kind": "report",
    "model": "sale.report",
    "report_type": "qweb-pdf",
    "template": "sale.report_x",
}


def fill(connection: Connection, *discoveries: Discovery, domain: str = "rental") -> tuple[dict[str, Any], ...]:
    """Save a catalogue of these things, then derive."""
    Catalogue(connection).save(MadeSnapshot(*discoveries, domain=domain))
    with connection, connection.cursor() as cursor:
        return fill_workflows(cursor, "fbs_", domain), fill_dashboards(cursor, "fbs_", domain)


def rows(connection: Connection, table: str = "workflow_definitions") -> dict[str, tuple[Any, ...]]:
    """Each row by its name: domain, the three JSON columns, whether it is active."""
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM fbs_{table} ORDER BY id")
        return {row[1]: row[2:7] for row in cursor.fetchall()}


def written(connection: Connection) -> list[Any]:
    """Each row with the transaction that wrote it: equal lists mean that nothing was written."""
    found: list[Any] = []
    with connection, connection.cursor() as cursor:
        for table in ("workflow_definitions", "bi_dashboards"):
            cursor.execute(f"SELECT '{table}', id, xmin::text FROM fbs_{table} ORDER BY id")
            found += cursor.fetchall()
    return found


def test_a_workflow_becomes_steps_triggers_and_roles(connection: Connection) -> None:
    workflows, dashboards = fill(connection, workflow(), workflow("hr.leave", automations=[{"name": "a"}]), model("x"))
    assert workflows == {**NOTHING, "added": 2}
    assert dashboards == NOTHING
    assert rows(connection) == {
        "rental.hr.leave": (
            "rental",
            {"model": "hr.leave", "title": "Sales Order"},
            {"automations": [{"name": "a"}]},
            {},
            True,
        ),
        "rental.sale.order": (
            "rental",
            {
                "model": "sale.order",
                "title": "Sales Order",
                "state_field": "state",
                "states": STATES,
                "transitions": [CANCEL, CONFIRM, UNLOCK],
            },
            {"automations": ORDER["automations"], "schedules": ORDER["schedules"]},
            {
                "groups": ["a.b", "z.admin"],
                "transitions": [
                    {"button": "action_cancel", "label": "Cancel", "groups": ["z.admin", "a.b"]},
                    {"button": "action_unlock", "label": "Unlock", "groups": [["!c.d"], ["a.b"]]},
                ],
            },
            True,
        ),
    }


def test_a_models_features_become_one_dashboard(connection: Connection) -> None:
    _, dashboards = fill(
        connection,
        feature("sale.graph", "Sales", **GRAPH),
        feature("sale.pivot", "Analysis", **PIVOT),
        feature("sale.print", "Print", **REPORT),
        feature("partner.print", "Labels", kind="report", model="res.partner"),
        feature("spreadsheet.dashboard.1", "Overview", kind="dashboard", models=["res.partner", "sale.report"]),
        feature("spreadsheet.dashboard.2", "Mute", kind="dashboard"),
    )
    assert dashboards == {**NOTHING, "added": 3}
    overview = {"kind": "dashboard", "title": "Overview", "models": ["res.partner", "sale.report"]}
    assert rows(connection, "bi_dashboards") == {
        "rental.res.partner": (
            "rental",
            {"kinds": ["dashboard", "report"]},
            {},
            {
                "models": ["res.partner"],
                "reports": {"partner.print": {"kind": "report", "title": "Labels"}},
                "dashboards": {"spreadsheet.dashboard.1": overview},
            },
            True,
        ),
        "rental.sale.report": (
            "rental",
            {
                "kinds": ["dashboard", "graph", "pivot", "report"],
                "measures": ["margin", "price_total"],
                "dimensions": ["date", "user_id"],
            },
            {
                "sale.graph": {
                    "kind": "graph",
                    "title": "Sales",
                    "chart": "line",
                    "measures": ["price_total"],
                    "dimensions": [{"name": "date", "interval": "month"}],
                },
                "sale.pivot": {
                    "kind": "pivot",
                    "title": "Analysis",
                    "measures": ["price_total", "margin"],
                    "dimensions": [{"name": "user_id", "axis": "row"}, {"name": "date", "axis": "column"}],
                },
            },
            {
                "models": ["sale.report"],
                "reports": {
                    "sale.print": {
                        "kind": "report",
                        "title": "Print",
                        "report_type": "qweb-pdf",
                        "template": "sale.report_x",
                    }
                },
                "dashboards": {"spreadsheet.dashboard.1": overview},
            },
            True,
        ),
        "rental.spreadsheet.dashboard.2": (
            "rental",
            {"kinds": ["dashboard"]},
            {},
            {"dashboards": {"spreadsheet.dashboard.2": {"kind": "dashboard", "title": "Mute"}}},
            True,
        ),
    }


def test_what_is_so_already_is_not_written(connection: Connection) -> None:
    things = (workflow(), workflow("b"), feature("g", **GRAPH), feature("p", **PIVOT))
    fill(connection, *things)
    before = written(connection)
    assert fill(connection, *things) == ({**NOTHING, "unchanged": 2}, {**NOTHING, "unchanged": 1})
    assert written(connection) == before


def test_only_what_changed_is_written(connection: Connection) -> None:
    fill(connection, workflow(), workflow("b"), feature("g", **GRAPH), feature("r", kind="report", model="other"))
    before = written(connection)
    changed = {**ORDER, "states": STATES[:1]}
    report = fill(
        connection,
        workflow(**changed),
        workflow("b"),
        workflow("c"),
        feature("g", **{**GRAPH, "chart": "bar"}),
        feature("r", kind="report", model="other"),
    )
    assert report == (
        {**NOTHING, "added": 1, "changed": 1, "unchanged": 1},
        {**NOTHING, "changed": 1, "unchanged": 1},
    )
    assert rows(connection)["rental.sale.order"][1]["states"] == STATES[:1]
    assert len(set(before) & set(written(connection))) == 2  # one row of each table


def test_what_vanishes_turns_inactive_and_comes_back(connection: Connection) -> None:
    things = (workflow(), workflow("b"), feature("g", **GRAPH))
    fill(connection, *things)
    assert fill(connection, workflow("b")) == ({**NOTHING, "removed": 1, "unchanged": 1}, {**NOTHING, "removed": 1})
    assert rows(connection)["rental.sale.order"][-1] is False
    assert rows(connection)["rental.b"][-1] is True
    assert rows(connection, "bi_dashboards")["rental.sale.report"][-1] is False
    before = written(connection)
    assert fill(connection, workflow("b")) == ({**NOTHING, "unchanged": 1}, NOTHING)
    assert written(connection) == before
    assert fill(connection, *things) == ({**NOTHING, "added": 1, "unchanged": 1}, {**NOTHING, "added": 1})
    assert all(row[-1] for row in rows(connection).values())
    assert len(rows(connection)) == 2


def test_a_section_that_was_denied_takes_nothing_away(connection: Connection) -> None:
    fill(connection, workflow(), feature("g", **GRAPH))
    Catalogue(connection).save(MadeSnapshot(incomplete=("views",)))
    with connection, connection.cursor() as cursor:
        assert fill_workflows(cursor, "fbs_", "rental") == {**NOTHING, "unchanged": 1}
        assert fill_dashboards(cursor, "fbs_", "rental") == {**NOTHING, "unchanged": 1}


def test_two_domains_in_one_table_do_not_touch_one_another(connection: Connection) -> None:
    fill(connection, workflow(), feature("g", **GRAPH))
    before = written(connection)
    hr = (workflow(domain="hr"), feature("g", domain="hr", **GRAPH))
    assert fill(connection, *hr, domain="hr") == ({**NOTHING, "added": 1}, {**NOTHING, "added": 1})
    assert fill(connection, domain="hr") == ({**NOTHING, "removed": 1}, {**NOTHING, "removed": 1})
    assert set(before) <= set(written(connection))
    assert {name: row[-1] for name, row in rows(connection).items()} == {
        "rental.sale.order": True,
        "hr.sale.order": False,
    }


def test_names_that_do_not_fit_are_reported(connection: Connection) -> None:
    fitting, long = "x" * 93, "y" * 94
    workflows, dashboards = fill(
        connection,
        workflow(fitting),
        workflow(long),
        feature("f", kind="report", model=fitting),
        feature("g", kind="report", model=long),
    )
    for report in (workflows, dashboards):
        assert report["added"] == 1
        assert report["skipped"] == [
            {"name": f"rental.{long}", "reason": "its name has 101 characters; at most 100 fit"}
        ]
    assert list(rows(connection)) == [f"rental.{fitting}"]


def test_a_row_of_somebody_else_is_left_alone(connection: Connection) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fbs_workflow_definitions (workflow_name, domain) VALUES ('rental.sale.order', 'me')"
        )
    before = written(connection)
    workflows, _ = fill(connection, workflow())
    assert workflows["skipped"] == [
        {"name": "rental.sale.order", "reason": "a row of that name belongs to the domain me"}
    ]
    assert written(connection) == before


def test_strange_text_and_shapes_do_no_harm(connection: Connection) -> None:
    strange = "q'\" \\ %s {x} ü \N{GRINNING FACE} $ ; --"
    fill(
        connection,
        workflow(strange, state_field=strange, transitions=[{"button": strange, "groups": [strange]}]),
        workflow("odd", transitions="none", states=3),
        workflow("empty", automations=[]),
        feature(strange, strange, kind=strange, model=strange, measures=[strange], dimensions=[{"name": strange}]),
        feature("odd", kind="graph", model="m", measures="price", dimensions=[{}, 3]),
        feature("none"),
    )
    steps = rows(connection)[f"rental.{strange}"]
    assert steps[1]["state_field"] == strange
    assert steps[3]["groups"] == [strange]
    boards = rows(connection, "bi_dashboards")
    assert boards[f"rental.{strange}"][1]["measures"] == [strange]
    assert boards[f"rental.{strange}"][2][strange]["title"] == strange
    assert boards["rental.m"][1]["measures"] == ["price"]
    assert "rental.none" in boards


def test_it_is_part_of_the_callers_transaction(connection: Connection) -> None:
    Catalogue(connection).save(MadeSnapshot(workflow()))
    with connection.cursor() as cursor:
        assert fill_workflows(cursor, "fbs_", "rental")["added"] == 1
        connection.rollback()
        assert fill_workflows(cursor, "fbs_", "rental")["added"] == 1
    connection.commit()
    assert len(rows(connection)) == 1


def test_two_at_once_end_as_one_after_the_other(database: DatabaseConfig, connection: Connection) -> None:
    Catalogue(connection).save(MadeSnapshot(*(workflow(f"m{number}") for number in range(200))))

    def run(_number: int, meet: Meet) -> tuple[int, int]:
        with closing(connect(database)) as other, other, other.cursor() as cursor:
            meet()
            report = fill_workflows(cursor, "fbs_", "rental")
        return report["added"], report["unchanged"]

    assert sorted(together(run, range(3)), key=str) == [(0, 200), (0, 200), (200, 0)]


def test_without_its_table_it_says_so(connection: Connection) -> None:
    with connection.cursor() as cursor, pytest.raises(DatabaseError, match="x_"):
        fill_workflows(cursor, "x_", "rental")
