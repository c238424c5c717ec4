"""The connector over the recording of a real Odoo 19 that the package carries."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fbs_worker.catalogue.model import Discovery, DiscoveryType, SectionStatus, incomplete_types
from fbs_worker.connectors.base import ServerInfo, Transport
from fbs_worker.connectors.fingerprint import Fingerprint
from fbs_worker.connectors.modules import Module, ModuleGraph
from fbs_worker.connectors.odoo import OdooConnector, is_assigned_to
from fbs_worker.connectors.recording.recorder import record
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import JobCancelled, OdooAccessDenied, OdooUnreachable
from fbs_worker.core.progress import NullProgress
from fbs_worker.domains import domain_names, load_domain
from tests.support.solutions import RECORDING, few_models


class Changed:
    """The recorded Odoo with changes: another series, denied tables, a failing call."""

    def __init__(
        self,
        inner: Transport,
        *,
        series: str = "19.0",
        denied: tuple[str, ...] = (),
        hidden: tuple[str, ...] = (),
        fail_at: int = 0,
        clock: str = "",
    ) -> None:
        self._inner = inner
        self.clock = clock
        self.uid, self.waits, self.held = 0, "", 0
        major, minor = series.split(".")
        server = inner.server
        self.server = ServerInfo(
            series=series, major=(int(major), int(minor)), url=server.url, database=server.database
        )
        self._denied = denied
        self._hidden = hidden
        self._fail_at = fail_at
        self.asked: list[tuple[str, str]] = []

    @property
    def calls(self) -> int:
        return self._inner.calls

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        self.asked.append((model, method))
        if len(self.asked) == self._fail_at:
            raise OdooUnreachable("The server went away.")
        if model in self._denied and method not in ("fields_get", "get_available_models"):
            raise OdooAccessDenied("No.", groups=["Some / Group"])
        if model in self._hidden and method == "web_search_read":
            return {"length": 0, "records": []}
        return [] if model in self._hidden else self._inner.call(model, method, ids=ids, **arguments)

    def close(self) -> None:
        self._inner.close()


class More(Changed):
    """The recorded Odoo with further rows of some tables."""

    more: dict[str, list[dict[str, Any]]]

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        answer = super().call(model, method, ids=ids, **arguments)
        if method != "search_read":
            return answer
        excluded = next((term[2] for term in arguments["domain"] if term[:2] == ("model", "not in")), ())
        return [*answer, *(row for row in self.more.get(model, ()) if row["model"] not in excluded)]


@pytest.fixture(scope="module")
def whole() -> RecordingTransport:
    return RecordingTransport(RECORDING)


@pytest.fixture(scope="module")
def odoo(run_folder: Path) -> RecordingTransport:
    """With a few of its models."""
    return RecordingTransport(few_models())


def rows(transport: Transport, domain: str = "rental", **how: Any) -> dict[tuple[str, str], Discovery]:
    snapshot = OdooConnector(transport, **how).read(load_domain(domain))
    found = [*snapshot]
    by_name = {(str(row.discovery_type), row.name): row for row in found}
    assert len(by_name) == len(found), "a name stands twice"
    return by_name


unchanged = cache(rows)
"""The rows as nothing has changed them."""


def apart_from_source(found: dict[tuple[str, str], Discovery]) -> dict[tuple[str, str], Any]:
    return {
        key: (
            row.version,
            {name: value for name, value in row.metadata.items() if name != "source"},
            row.schema_definition,
        )
        for key, row in found.items()
    }


def test_the_recording_is_small_and_holds_no_layout_and_no_help(whole: RecordingTransport) -> None:
    assert RECORDING.stat().st_size < 1_000_000
    archs = [row["arch_db"] for row in whole.call("ir.ui.view", "search_read", domain=[], fields=["arch_db"])]
    assert archs
    assert not any(word in arch for arch in archs for word in ("<sheet", "<group", "help=", "placeholder="))
    assert "help" not in whole.call("ir.model.fields", "search_read", domain=[], limit=1)[0]


@pytest.mark.parametrize("domain", domain_names())
def test_every_domain_is_read_whole_in_a_dozen_calls(domain: str) -> None:
    transport = RecordingTransport(RECORDING)
    snapshot = OdooConnector(transport).read(load_domain(domain))
    kinds = {row.discovery_type for row in snapshot}
    assert kinds == set(DiscoveryType)
    assert transport.calls <= 12
    assert all(section.status is SectionStatus.COMPLETE for section in snapshot.sections)
    assert snapshot.fingerprint is not None
    assert OdooConnector(transport).unchanged(snapshot.fingerprint)


@pytest.mark.parametrize("domain", ["rental", "generic"])
def test_related_selections_have_the_values_of_their_source(whole: RecordingTransport, domain: str) -> None:
    known = {
        (row["model"], row["name"]): row
        for row in whole.call(
            "ir.model.fields", "search_read", domain=[], fields=["model", "name", "relation", "related"]
        )
    }
    values: dict[int, list[list[str]]] = {}
    for row in whole.call("ir.model.fields.selection", "search_read", domain=[], fields=["field_id", "value", "name"]):
        values.setdefault(row["field_id"][0], []).append([row["value"], row["name"]])
    told = unchanged(whole, domain)
    checked = 0
    for (kind, model), row in told.items():
        for name, definition in (row.schema_definition or {}).get("fields", {}).items() if kind == "model" else ():
            if definition["type"] == "selection" and known[model, name]["related"]:
                at = (model, name)
                while path := known[at]["related"]:
                    where = at[0]
                    for step in path.split(".")[:-1]:
                        where = known[where, step]["relation"]
                    at = (where, path.rpartition(".")[2])
                expected = sorted(values.get(known[at]["id"], []))
                assert sorted(definition.get("selection", [])) == expected, (model, name)
                checked += bool(expected)
    assert checked > 20
    if domain == "generic":
        states = (told["workflow", "stock.move.line"].schema_definition or {})["states"]
        assert [state["value"] for state in states][:2] == ["draft", "waiting"]


SALES = "spreadsheet_dashboard_sale.spreadsheet_dashboard_sales"
EXPENSES = "spreadsheet_dashboard_hr_expense.spreadsheet_dashboard_expense"


@pytest.mark.parametrize(("domain", "told", "not_told"), [("rental", SALES, EXPENSES), ("hr", EXPENSES, SALES)])
def test_dashboards_have_their_external_names(odoo: RecordingTransport, domain: str, told: str, not_told: str) -> None:
    found = unchanged(odoo, domain)
    group = (found["bi_feature", told].schema_definition or {})["group"]
    assert group.startswith("spreadsheet_dashboard.spreadsheet_dashboard_group_")
    assert ("bi_feature", not_told) not in found
    assert not any(name.startswith("spreadsheet.dashboard.") for _, name in found)


def made(name: str, *depends: str) -> Module:
    return Module(name=name, title=name, state="installed", version="1", category="", depends=depends)


DASHBOARD_MODULES = [
    made("spreadsheet_dashboard", "spreadsheet"),
    made("spreadsheet_dashboard_sale", "spreadsheet_dashboard", "sale"),
    made("spreadsheet_dashboard_hr_expense", "spreadsheet_dashboard", "sale_expense"),
    *(made(name) for name in ("sale", "sale_expense", "hr", "hr_expense", "mine")),
]


@pytest.mark.parametrize(
    ("dashboard", "domains"),
    [
        ({"xml_id": "spreadsheet_dashboard_sale.a"}, {"rental"}),
        ({"xml_id": "spreadsheet_dashboard_hr_expense.a"}, {"hr"}),
        ({"group_xml_id": "spreadsheet_dashboard.spreadsheet_dashboard_group_hr"}, {"hr"}),
        ({"group_xml_id": "spreadsheet_dashboard.spreadsheet_dashboard_group_finance"}, {"hr", "rental"}),
        ({"xml_id": "mine.a"}, set()),
        ({}, {"hr", "rental"}),
        ({"main_data_model_ids": [1]}, set()),
    ],
)
def test_a_dashboard_is_assigned_to_the_domain_of_its_module_or_group(
    dashboard: dict[str, Any], domains: set[str]
) -> None:
    graphs = {name: ModuleGraph.for_domain(DASHBOARD_MODULES, load_domain(name)) for name in ("hr", "rental")}
    assert {name for name, graph in graphs.items() if is_assigned_to(graph, {"id": 1, **dashboard})} == domains


@pytest.mark.parametrize(("of", "domain", "page_size"), [("odoo", "rental", 100), ("whole", "generic", 5_000)])
def test_small_pages_give_the_same(request: pytest.FixtureRequest, of: str, domain: str, page_size: int) -> None:
    odoo = request.getfixturevalue(of)
    assert rows(odoo, domain, page_size=page_size) == unchanged(odoo, domain)


def test_reading_twice_gives_the_same_in_the_same_order(odoo: RecordingTransport) -> None:
    first = list(OdooConnector(odoo).read(load_domain("hr")))
    assert first == list(OdooConnector(odoo).read(load_domain("hr")))


@pytest.mark.parametrize("series", ["14.0", "15.0", "16.0"])
def test_an_older_odoo_is_read_with_its_own_methods_to_the_same_result(odoo: RecordingTransport, series: str) -> None:
    """No nested reads, no `load`, `read_group`: all that 14 to 16 lack. Actions of automations are then not named."""
    older = Changed(odoo, series=series)
    assert apart_from_source(rows(older, "hr")) == apart_from_source(unchanged(odoo, "hr"))
    methods = {method for _, method in older.asked}
    assert "web_search_read" not in methods
    snapshot = OdooConnector(older).read(load_domain("hr"))
    list(snapshot)
    assert snapshot.fingerprint is not None
    assert OdooConnector(older).unchanged(snapshot.fingerprint)
    assert ("ir.module.module", "read_group") in older.asked


class French(Changed):
    """The recorded Odoo as one that has French beside English."""

    def call(self, model: str, method: str, *, ids: list[int] | None = None, **arguments: Any) -> Any:
        answer = super().call(model, method, ids=ids, **arguments)
        if (arguments.get("context") or {}).get("lang") != "fr_FR" or model not in (
            "ir.module.module",
            "ir.module.category",
            "ir.model",
        ):
            return answer
        specification = arguments.get("specification", {})
        for row in answer["records"] if specification else answer:
            label = "shortdesc" if model == "ir.module.module" else "name"
            if label in row:
                row[label] = f"fr {row[label]}"
            category = row.get("category_id")
            if isinstance(category, dict) and "context" not in specification["category_id"]:
                category["name"] = f"fr {category['name']}"
        return answer


@pytest.mark.parametrize("series", ["16.0", "19.0"])
def test_the_language_changes_nothing_but_labels(odoo: RecordingTransport, series: str) -> None:
    french = French(odoo, series=series)
    english, translated = unchanged(odoo, "hr"), rows(french, "hr", lang="fr_FR")
    assert translated.keys() == english.keys()
    for key, row in translated.items():
        differing = {name for name, value in row.metadata.items() if value != english[key].metadata[name]}
        assert differing <= {"title", "source"}
        assert ("title" in differing) is (key[0] != "bi_feature")
        assert row.schema_definition == english[key].schema_definition


def test_another_language_is_a_change(odoo: RecordingTransport) -> None:
    snapshot = OdooConnector(odoo).read(load_domain("hr"))
    list(snapshot)
    assert OdooConnector(odoo).unchanged(snapshot.fingerprint or {})
    assert not OdooConnector(odoo, lang="fr_FR").unchanged(snapshot.fingerprint or {})


@pytest.mark.parametrize(
    ("table", "section", "kinds"),
    [
        ("ir.ui.view", "views", {"workflow", "bi_feature"}),
        ("base.automation", "automations", {"workflow"}),
        ("ir.cron", "schedules", {"workflow"}),
        ("ir.actions.report", "reports", {"bi_feature"}),
        ("spreadsheet.dashboard", "dashboards", {"bi_feature"}),
    ],
)
def test_a_denied_section_is_named_and_marks_what_lacks_it(
    odoo: RecordingTransport, table: str, section: str, kinds: set[str]
) -> None:
    snapshot = OdooConnector(Changed(odoo, denied=(table,))).read(load_domain("rental"))
    found = list(snapshot)
    [denied] = [section for section in snapshot.sections if section.status is not SectionStatus.COMPLETE]
    assert (denied.name, denied.status, denied.needs) == (section, SectionStatus.DENIED, "Some / Group")
    for row in found:
        assert row.metadata.get("incomplete", []) == ([section] if row.discovery_type in kinds else [])


@pytest.mark.parametrize(
    ("table", "section"),
    [("spreadsheet.dashboard", "dashboards"), ("ir.cron", "schedules"), ("ir.actions.report", "reports")],
)
def test_rows_that_a_record_rule_hides_are_said_and_count_as_missing(
    odoo: RecordingTransport, table: str, section: str
) -> None:
    snapshot = OdooConnector(Changed(odoo, hidden=(table,))).read(load_domain("rental"))
    list(snapshot)
    [partial] = [section for section in snapshot.sections if section.status is not SectionStatus.COMPLETE]
    total = odoo.call(table, "search_count", domain=[], context={"active_test": False})
    assert (partial.name, partial.status) == (section, SectionStatus.PARTIAL)
    assert partial.detail == f"record rules hide {total} of {total} rows from this user"
    assert incomplete_types(snapshot.sections), "so nothing of it is reported as removed"


def view_of(odoo: RecordingTransport, model: str, kind: str) -> dict[str, Any]:
    criteria = [("model", "=", model), ("type", "=", kind), ("mode", "=", "primary")]
    found: list[dict[str, Any]] = odoo.call("ir.ui.view", "search_read", domain=criteria, fields=["priority", "name"])
    return min(found, key=lambda view: (view["priority"], view["name"], view["id"]))


@pytest.mark.parametrize(
    ("kind", "arch", "key"),
    [
        ("form", '<xpath expr="//header', "workflow"),
        ("form", '<xpath expr="//header[" position="inside"/>', "workflow"),
        ("form", '<field name="gone" position="after"><button name="more"/></field>', "workflow"),
        ("graph", "<graph><field", "bi_feature"),
    ],
)
def test_a_broken_view_is_said_and_marks_what_it_may_take_away(
    odoo: RecordingTransport, kind: str, arch: str, key: str
) -> None:
    model = "sale.order" if kind == "form" else "sale.report"
    base = view_of(odoo, model, kind)
    transport = More(odoo)
    common = {"type": kind, "model": model, "inherit_id": base["id"], "mode": "extension", "priority": 16}
    transport.more = {"ir.ui.view": [{**common, "id": 900_000, "name": "bad", "arch_db": arch, "xml_id": "mod.bad"}]}
    snapshot = OdooConnector(transport).read(load_domain("rental"))
    found = list(snapshot)
    [views] = [section for section in snapshot.sections if section.status is not SectionStatus.COMPLETE]
    assert (views.name, views.status) == ("views", SectionStatus.PARTIAL)
    assert "mod.bad" in views.detail
    assert {DiscoveryType.WORKFLOW, DiscoveryType.BI_FEATURE} == incomplete_types(snapshot.sections)
    [marked] = [row for row in found if "incomplete" in row.metadata]
    assert (marked.discovery_type, marked.metadata["incomplete"]) == (key, ["views"])


def test_the_first_name_of_an_action_counts_and_none_of_what_is_no_action(odoo: RecordingTransport) -> None:
    actions = odoo.call("ir.model.data", "search_read", domain=[("model", "=like", "ir.actions.%")], fields=["res_id"])
    named: list[dict[str, Any]] = [
        {"id": 900_000 + row["res_id"], "module": "b", "name": "y", "res_id": row["res_id"], "model": model}
        for row in actions
        for model in ("ir.actions.act_window.view", "ir.actions.todo", "ir.actions.act_window")
    ]
    transport = More(odoo)
    transport.more = {"ir.model.data": named}
    assert apart_from_source(rows(transport)) == apart_from_source(unchanged(odoo, "rental"))


def test_a_user_without_access_rights_gets_models_and_fields_from_descriptions(odoo: RecordingTransport) -> None:
    tables = ("ir.model", "ir.model.fields", "ir.model.fields.selection")
    snapshot = OdooConnector(Changed(odoo, denied=tables)).read(load_domain("hr"), types=[DiscoveryType.MODEL])
    found = {row.name: row for row in snapshot}
    assert {section.name: section.status for section in snapshot.sections} == {
        "modules": SectionStatus.COMPLETE,
        "models": SectionStatus.PARTIAL,
        "fields": SectionStatus.PARTIAL,
    }
    known = unchanged(odoo, "hr")["model", "hr.job"].schema_definition
    described = found["hr.job"].schema_definition
    assert known is not None
    assert described is not None
    assert described["fields"].keys() == known["fields"].keys()
    for name, field in described["fields"].items():
        assert field.items() <= known["fields"][name].items()
    assert found["hr.job"].metadata["incomplete"] == ["fields", "models"]
    assert snapshot.fingerprint is None


def test_only_the_types_asked_for_are_read(odoo: RecordingTransport) -> None:
    for kind in DiscoveryType:
        transport = Changed(odoo)
        snapshot = OdooConnector(transport).read(load_domain("rental"), types=[kind])
        found = list(snapshot)
        assert {row.discovery_type for row in found} == {kind}
        if kind is not DiscoveryType.MODULE:  # a read of modules is one call: there is nothing to spare
            assert snapshot.fingerprint is not None
            assert OdooConnector(odoo).unchanged(snapshot.fingerprint)
        read_views = ("ir.ui.view", "search_read") in transport.asked
        assert read_views is (kind in {DiscoveryType.WORKFLOW, DiscoveryType.BI_FEATURE})


def test_a_fault_at_any_call_comes_out_as_it_is(odoo: RecordingTransport) -> None:
    asked = Changed(odoo)
    rows(asked)
    for number in range(1, len(asked.asked) + 1):
        snapshot = OdooConnector(Changed(odoo, fail_at=number)).read(load_domain("rental"))
        with pytest.raises(OdooUnreachable):
            list(snapshot)
        assert snapshot.fingerprint is None


def test_a_job_that_is_cancelled_stops_reading(odoo: RecordingTransport) -> None:
    class Impatient(NullProgress):
        def step(self, name: str, *, total: int | None = None, message: str = "") -> None:
            if name == "views":
                raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        list(OdooConnector(odoo).read(load_domain("rental"), progress=Impatient()))


def test_a_fingerprint_of_another_version_or_with_a_question_that_fails_counts_as_a_change(
    odoo: RecordingTransport,
) -> None:
    snapshot = OdooConnector(odoo).read(load_domain("hr"))
    list(snapshot)
    fingerprint = dict(snapshot.fingerprint or {})
    assert OdooConnector(odoo).unchanged(fingerprint)
    assert not OdooConnector(odoo).unchanged({**fingerprint, "version": 0})
    assert not OdooConnector(odoo).unchanged({**fingerprint, "structure_since": "2000-01-01 00:00:00"})
    assert not OdooConnector(odoo).unchanged({**fingerprint, "workflow_since": "2000-01-01 00:00:00"})
    assert not OdooConnector(Changed(odoo, denied=("ir.actions.server",))).unchanged(fingerprint)
    fewer = {**fingerprint["answers"], "counts": {**fingerprint["answers"]["counts"], "ir.cron": 1}}
    assert not OdooConnector(odoo).unchanged({**fingerprint, "answers": fewer})
    with pytest.raises(OdooUnreachable):
        OdooConnector(Changed(odoo, fail_at=1)).unchanged(fingerprint)


@pytest.mark.parametrize(("later", "conclusive"), [(1, True), (0, False), (-1, False)])
def test_a_fingerprint_is_conclusive_once_its_newest_date_has_passed(
    odoo: RecordingTransport, later: int, conclusive: bool
) -> None:
    snapshot = OdooConnector(odoo).read(load_domain("hr"))
    list(snapshot)
    fingerprint = snapshot.fingerprint or {}
    since = [fingerprint["structure_since"], fingerprint["workflow_since"]]
    newest = max(datetime.fromisoformat(text) - timedelta(seconds=1) for text in since)
    newest = max(
        newest,
        *(
            datetime.fromisoformat(fingerprint["answers"][name]["newest"])
            for name in ("ir.module.module", "ir.ui.view")
        ),
    )
    at = Changed(odoo, clock=str(newest + timedelta(seconds=later)))
    snapshot = OdooConnector(at).read(load_domain("hr"))
    list(snapshot)
    assert snapshot.fingerprint is not None
    assert snapshot.fingerprint["settled"] is conclusive
    assert OdooConnector(at).unchanged(snapshot.fingerprint) is conclusive


def test_a_server_without_dates_has_a_fingerprint_too() -> None:
    empty = Fingerprint()
    empty.add_table("ir.module.module", [])
    assert empty.to_dict()["structure_since"] == "1970-01-01 00:00:00"


def test_a_recording_of_a_recording_reads_the_same(whole: RecordingTransport, tmp_path: Path) -> None:
    report = record(whole, tmp_path / "again.json", progress=NullProgress())
    again = RecordingTransport(tmp_path / "again.json")
    first, second = rows(whole, "ecommerce"), rows(again, "ecommerce")
    assert apart_from_source(first) == apart_from_source(second)
    assert report["rows"]["ir.model.fields"] > 10_000
    assert report["denied"] == {}
