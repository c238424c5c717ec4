"""Odoo 14 to 19 as users with few rights meet them, over HTTP; and what a refresh asks each version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fbs_worker.catalogue.model import Discovery, DiscoveryType, Section, SectionStatus, incomplete_types
from fbs_worker.connectors.base import Transport
from fbs_worker.connectors.connect import open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.connectors.recording.transport import RecordingTransport
from fbs_worker.core.errors import OdooCallFailed
from fbs_worker.core.settings import OdooConnection
from fbs_worker.domains import load_domain
from tests.support.odoo_server import OdooServer, OdooUser
from tests.support.odoo_versions import ACCESS_RIGHTS, SETTINGS, denied_to, record_as

SERIES = ("14.0", "15.0", "16.0", "17.0", "18.0", "19.0")
RIGHTS = {"internal": (), "access rights": (ACCESS_RIGHTS,), "settings": (SETTINGS,)}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("versions")
    return {series: record_as(series, folder / f"{series}.json") for series in SERIES}


@contextmanager
def opened(recording: Path, groups: tuple[str, ...] = (SETTINGS,)) -> Iterator[Transport]:
    """The way of a user with these groups to an Odoo."""
    backend = RecordingTransport(recording)
    user = OdooUser(login="user", password="pw", denied=denied_to(groups, backend.server.series))
    with OdooServer(backend, users=[user]) as odoo:
        transport = open_transport(
            OdooConnection(url=odoo.url, db=odoo.database, user="user", password=SecretStr("pw"))
        )
        yield transport
        transport.close()


def read(recording: Path, groups: tuple[str, ...]) -> tuple[list[Discovery], dict[str, Section], Any]:
    with opened(recording, groups) as transport:
        snapshot = OdooConnector(transport).read(load_domain("hr"))
        return [*snapshot], {section.name: section for section in snapshot.sections}, snapshot.fingerprint


@pytest.mark.parametrize("user", RIGHTS)
@pytest.mark.parametrize("series", SERIES)
def test_every_user_gets_what_he_may_read(recordings: dict[str, Path], series: str, user: str) -> None:
    rows, sections, fingerprint = read(recordings[series], RIGHTS[user])
    kinds = {row.discovery_type for row in rows}
    models = {row.name: row.schema_definition or {} for row in rows if row.discovery_type is DiscoveryType.MODEL}
    major = int(series.partition(".")[0])
    for section in sections.values():
        assert bool(section.needs) is (section.status is not SectionStatus.COMPLETE), section
    if user == "settings":
        assert kinds == set(DiscoveryType)
        assert {section.status for section in sections.values()} == {SectionStatus.COMPLETE}
        assert fingerprint is not None
        return
    expected = SectionStatus.DENIED if major < 16 else SectionStatus.PARTIAL if major < 19 else SectionStatus.COMPLETE
    assert sections["modules"].status is expected
    assert fingerprint is None or sections["automations"].status is SectionStatus.DENIED
    assert (DiscoveryType.MODULE in kinds) is (major >= 16)
    assert DiscoveryType.BI_FEATURE in kinds, "reports are for everybody"
    if major == 15 and user == "internal":  # no table of models, and no method that lists them
        assert sections["models"].status is SectionStatus.PARTIAL
        assert models["hr.employee"]["fields"]["department_id"]["relation"] == "hr.department"
        return
    assert models["hr.job"]["fields"]["department_id"]["relation"] == "hr.department"
    assert models["hr.job"]["fields"]["name"]["label"] == "Job Position"
    of_any_module = major < 16 or user == "internal"
    assert ("res.lang" in models) is of_any_module
    for name in ("models", "fields"):
        assert sections[name].status is (SectionStatus.PARTIAL if of_any_module else SectionStatus.COMPLETE)
    if major < 19:
        assert incomplete_types(tuple(sections.values())) == set(DiscoveryType), "nothing is reported as removed"


def test_the_defining_module_is_left_out_where_dependencies_are_not_readable(recordings: dict[str, Path]) -> None:
    rows, _, _ = read(recordings["17.0"], RIGHTS["access rights"])
    [employee] = [row for row in rows if (row.discovery_type, row.name) == (DiscoveryType.MODEL, "hr.employee")]
    assert not {"defined_by", "extended_by"} & employee.metadata.keys()


@cache
def fingerprint_of(recording: Path) -> Any:
    snapshot = OdooConnector(RecordingTransport(recording)).read(load_domain("hr"))
    list(snapshot)
    assert snapshot.fingerprint is not None
    return snapshot.fingerprint


def later(**changes: Any) -> Any:
    """An edit of a row of a table, dated after everything else."""
    return lambda row: row.update(changes, write_date="2099-01-01 00:00:00")


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("base.automation", {"active": False}),
        ("base.automation", {"trigger": "on_unlink"}),
        ("ir.actions.server", {"name": "renamed"}),
        ("ir.cron", {"interval_number": 99}),
        ("ir.model.fields.selection", {"name": "renamed"}),
    ],
)
@pytest.mark.parametrize("series", SERIES)
def test_a_change_is_noticed_by_each_version(
    recordings: dict[str, Path], tmp_path: Path, series: str, table: str, change: dict[str, Any]
) -> None:
    fingerprint = fingerprint_of(recordings[series])
    changed = record_as(series, tmp_path / "changed.json", edits={table: later(**change)})
    for path in (recordings[series], changed):
        with opened(path) as transport:
            assert OdooConnector(transport).unchanged(fingerprint) is (path != changed)
            assert transport.calls <= (4 if series == "19.0" else 5)


def test_a_model_without_a_row_of_its_fields_is_a_row_without_fields(tmp_path: Path) -> None:
    def forget(row: dict[str, Any]) -> None:
        row["model"] = "gone" if row["model"] == "hr.mixin" else row["model"]

    path = record_as("19.0", tmp_path / "abstract.json", edits={"ir.model.fields": forget})
    for page_size in (20_000, 500):
        snapshot = OdooConnector(RecordingTransport(path), page_size=page_size).read(
            load_domain("hr"), types=[DiscoveryType.MODEL]
        )
        found = {row.name: row for row in snapshot}
        assert found["hr.mixin"].schema_definition == {"fields": {}}


@pytest.mark.parametrize("series", SERIES)
def test_the_test_server_takes_the_arguments_of_its_version(recordings: dict[str, Path], series: str) -> None:
    named, other = ("args", "domain") if series in ("14.0", "15.0") else ("domain", "args")
    unknown: dict[str, Any] = {other: []}
    with opened(recordings[series]) as transport:
        asked: dict[str, Any] = {named: [("id", "=", 0)]}
        assert transport.call("ir.cron", "search_count", **asked) == 0
        with pytest.raises(OdooCallFailed, match=other):
            transport.call("ir.cron", "search_count", **unknown)
        if series == "14.0":
            with pytest.raises(OdooCallFailed, match="load"):
                transport.call("ir.cron", "search_read", domain=[], load="")
        else:
            [row] = transport.call(
                "ir.cron", "search_read", domain=[], fields=["ir_actions_server_id"], limit=1, load=""
            )
            assert isinstance(row["ir_actions_server_id"], int)


@pytest.mark.parametrize("series", SERIES)
def test_the_test_server_compares_times_as_its_version(recordings: dict[str, Path], series: str) -> None:
    """With the time that RPC gives for a row, only `>=` and `<` find the same everywhere (measured, 14 to 19)."""
    argument = "args" if series in ("14.0", "15.0") else "domain"

    def found(operator: str, value: str) -> bool:
        asked: dict[str, Any] = {argument: [("id", "=", row["id"]), ("write_date", operator, value)]}
        return bool(transport.call("ir.cron", "search_count", **asked))

    with opened(recordings[series]) as transport:
        [row] = transport.call("ir.cron", "search_read", domain=[], fields=["write_date"], limit=1)
        known = {operator: found(operator, row["write_date"]) for operator in ("=", ">", ">=", "<=", "<")}
        newest = series == "19.0"
        assert known == {"=": newest, ">": not newest, ">=": True, "<=": newest, "<": False}
        if newest:
            with pytest.raises(OdooCallFailed, match="unconverted"):
                found(">=", f"{row['write_date']}Z")
        else:
            assert found(">=", f"{row['write_date']}+02:00"), "the offset is ignored"
