"""What a save does to the catalogue, on a real PostgreSQL: each rule of versions, vanishing and rights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fbs_worker.catalogue.model import Change, ChangeReport, Discovery, DiscoveryType
from fbs_worker.core.postgres import Connection
from tests.support.snapshots import (
    DOMAIN,
    FEATURE,
    MODEL,
    MODULE,
    SOURCE,
    WORKFLOW,
    ListedCatalogue,
    MadeSnapshot,
    model,
    thing,
)


@pytest.fixture
def catalogue(connection: Connection) -> ListedCatalogue:
    return ListedCatalogue(connection)


def versions(catalogue: ListedCatalogue, name: str = "sale.order") -> list[tuple[str, bool]]:
    return [(row.version, row.is_active) for row in catalogue.rows(active=None) if row.name == name]


def written(connection: Connection) -> list[tuple[Any, ...]]:
    """Each row with the transaction that wrote it: equal lists mean that nothing was written."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, xmin::text, ctid::text FROM fbs_discoveries ORDER BY id")
        return cursor.fetchall()


def as_tuples(changes: Sequence[Change]) -> list[tuple[str, str, str | None, tuple[str, ...], bool]]:
    return [(c.name, c.version, c.previous_version, tuple(c.fields), c.breaking) for c in changes]


def test_before_the_first_save_there_is_nothing_and_nothing_is_made(
    catalogue: ListedCatalogue, connection: Connection
) -> None:
    assert catalogue.last_snapshot(DOMAIN) is None
    assert catalogue.unchanged_report(DOMAIN) == ChangeReport(domain=DOMAIN, read=False)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'fbs%'")
        assert cursor.fetchone() == (0,)


def test_the_first_save_adds_everything(catalogue: ListedCatalogue) -> None:
    report = catalogue.save(
        MadeSnapshot(
            thing(WORKFLOW, "sale.order", state_field="state"),
            model("name", name="b"),
            model("name", name="a"),
            thing(MODULE, "sale", version="19.0.1.2"),
            thing(MODULE, "no_version"),
            thing(FEATURE, "sale.report.pivot", chart_type="bar"),
            fingerprint={"modules": [1, None]},
        )
    )
    assert [(change.discovery_type, change.name, change.version) for change in report.added] == [
        (FEATURE, "sale.report.pivot", "1.0"),
        (MODEL, "a", "1.0"),
        (MODEL, "b", "1.0"),
        (MODULE, "no_version", "1.0"),
        (MODULE, "sale", "19.0.1.2"),
        (WORKFLOW, "sale.order", "1.0"),
    ]
    assert all(c.previous_version is None and not c.fields and not c.breaking for c in report.added)
    assert (report.removed, report.changed, report.unchanged, report.skipped) == ((), (), 0, ())
    assert report.counts == {"bi_feature": 1, "model": 2, "module": 2, "workflow": 1}
    assert report.read
    assert [section.name for section in report.sections] == ["modules", "models", "fields", "views", "reports"]
    stored = {row.name: row for row in catalogue.rows(discovery_type=MODEL)}
    assert stored["a"].metadata == {"source": SOURCE, "title": "Order"}
    assert stored["a"].schema_definition == {"fields": {"name": {"type": "char"}}}
    assert stored["a"].is_active
    assert stored["a"].created_at == stored["a"].updated_at == stored["a"].discovered_at
    assert catalogue.rows(discovery_type=MODULE)[0].schema_definition is None


def test_saving_the_same_again_writes_no_row(catalogue: ListedCatalogue, connection: Connection) -> None:
    discoveries = (model("name"), thing(MODULE, "sale", version="19.0.1.2"), thing(MODULE, "x"), thing(WORKFLOW, "w"))
    catalogue.save(MadeSnapshot(*discoveries))
    before = written(connection)
    report = catalogue.save(MadeSnapshot(*discoveries))
    assert report.nothing_changed
    assert report.unchanged == 4
    assert report.counts == {"model": 1, "module": 2, "workflow": 1}
    assert written(connection) == before


def test_another_source_alone_is_no_change(catalogue: ListedCatalogue, connection: Connection) -> None:
    catalogue.save(MadeSnapshot(model("name")))
    before = written(connection)
    assert catalogue.save(MadeSnapshot(model("name", source={"url": "http://moved"}))).nothing_changed
    assert written(connection) == before


def test_something_added_is_a_minor_version(catalogue: ListedCatalogue) -> None:
    catalogue.save(MadeSnapshot(model("name")))
    report = catalogue.save(MadeSnapshot(model("name", "note")))
    assert as_tuples(report.changed) == [("sale.order", "1.1", "1.0", ("fields.note",), False)]
    assert (report.added, report.removed, report.unchanged) == ((), (), 0)
    assert report.counts == {"model": 1}
    assert versions(catalogue) == [("1.0", False), ("1.1", True)]
    old, new = catalogue.rows(active=None)
    assert old.schema_definition == {"fields": {"name": {"type": "char"}}}
    assert old.updated_at == new.created_at


def test_a_removal_is_a_major_version(catalogue: ListedCatalogue) -> None:
    for fields in (["a", "b"], ["a", "b", "c"], ["a"], ["a", "d"]):
        report = catalogue.save(MadeSnapshot(model(*fields)))
    assert versions(catalogue) == [("1.0", False), ("1.1", False), ("2.0", False), ("2.1", True)]
    assert as_tuples(report.changed) == [("sale.order", "2.1", "2.0", ("fields.d",), False)]


def test_what_vanished_is_inactive_and_what_returns_is_active_again(catalogue: ListedCatalogue) -> None:
    catalogue.save(MadeSnapshot(model("name"), model("name", name="stays")))
    report = catalogue.save(MadeSnapshot(model("name", name="stays")))
    assert as_tuples(report.removed) == [("sale.order", "1.0", "1.0", (), True)]
    assert report.counts == {"model": 1}
    assert versions(catalogue) == [("1.0", False)]
    assert catalogue.save(MadeSnapshot(model("name", name="stays"))).nothing_changed

    report = catalogue.save(MadeSnapshot(model("name"), model("name", name="stays")))
    assert as_tuples(report.added) == [("sale.order", "1.0", "1.0", (), False)]
    assert versions(catalogue) == [("1.0", True)]


def test_what_returns_otherwise_is_a_new_version(catalogue: ListedCatalogue) -> None:
    catalogue.save(MadeSnapshot(model("a", "b")))
    catalogue.save(MadeSnapshot())
    report = catalogue.save(MadeSnapshot(model("a")))
    assert as_tuples(report.added) == [("sale.order", "2.0", "1.0", ("fields.b",), True)]
    assert versions(catalogue) == [("1.0", False), ("2.0", True)]


def test_types_that_a_snapshot_does_not_cover_are_left_alone(
    catalogue: ListedCatalogue, connection: Connection
) -> None:
    catalogue.save(MadeSnapshot(model("name"), thing(WORKFLOW, "w"), thing(MODULE, "m")))
    report = catalogue.save(MadeSnapshot(types=[MODULE]))
    assert [change.name for change in report.removed] == ["m"]
    assert report.counts == {"model": 1, "workflow": 1}


def test_domains_are_apart(catalogue: ListedCatalogue) -> None:
    catalogue.save(MadeSnapshot(model("name")))
    other = Discovery(discovery_type=MODEL, domain="hr", name="sale.order")
    assert len(catalogue.save(MadeSnapshot(other, domain="hr")).added) == 1
    assert catalogue.save(MadeSnapshot(domain="hr")).counts == {}
    assert [row.domain for row in catalogue.rows()] == [DOMAIN]
    assert [row.domain for row in catalogue.rows(active=None, domain="hr")] == ["hr"]


class TestModules:
    """A module's version is Odoo's own."""

    def test_an_upgrade_is_a_new_row(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="19.0.1.2", meta={"state": "installed"})))
        report = catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="19.0.1.3", meta={"state": "to upgrade"})))
        assert as_tuples(report.changed) == [("sale", "19.0.1.3", "19.0.1.2", ("metadata.state", "version"), False)]
        assert versions(catalogue, "sale") == [("19.0.1.2", False), ("19.0.1.3", True)]

    def test_an_upgrade_that_changes_nothing_else(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="1")))
        report = catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="2")))
        assert as_tuples(report.changed) == [("sale", "2", "1", ("version",), False)]

    def test_another_state_is_written_in_place(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="1", meta={"state": "uninstalled"})))
        report = catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="1", meta={"state": "installed"})))
        assert as_tuples(report.changed) == [("sale", "1", "1", ("metadata.state",), False)]
        (row,) = catalogue.rows(active=None)
        assert row.metadata["state"] == "installed"
        assert row.updated_at > row.created_at

    @pytest.mark.parametrize("meta", [{}, {"state": "installed"}])
    def test_a_downgrade_uses_the_row_that_is_there(self, catalogue: ListedCatalogue, meta: dict[str, str]) -> None:
        for version in ("1", "2"):
            catalogue.save(MadeSnapshot(thing(MODULE, "sale", version=version)))
        report = catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="1", meta=meta)))
        fields = (*(f"metadata.{key}" for key in meta), "version")
        assert as_tuples(report.changed) == [("sale", "1", "2", fields, False)]
        assert versions(catalogue, "sale") == [("1", True), ("2", False)]
        assert catalogue.rows()[0].metadata.get("state") == meta.get("state")
        assert catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="1", meta=meta))).nothing_changed

    @pytest.mark.parametrize("version", ["1", "2"])
    def test_a_module_that_returns(self, catalogue: ListedCatalogue, version: str) -> None:
        catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="1")))
        catalogue.save(MadeSnapshot())
        report = catalogue.save(MadeSnapshot(thing(MODULE, "sale", version=version)))
        fields = () if version == "1" else ("version",)
        assert as_tuples(report.added) == [("sale", version, "1", fields, False)]
        assert report.counts == {"module": 1}

    def test_a_module_that_returns_with_other_facts(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="1")))
        catalogue.save(MadeSnapshot())
        report = catalogue.save(MadeSnapshot(thing(MODULE, "sale", version="1", meta={"state": "installed"})))
        assert as_tuples(report.added) == [("sale", "1", "1", ("metadata.state",), False)]
        assert catalogue.rows()[0].metadata["state"] == "installed"


class TestRights:
    """Poorer knowledge never replaces better."""

    def test_what_a_denied_section_hides_is_not_gone(self, catalogue: ListedCatalogue, connection: Connection) -> None:
        catalogue.save(MadeSnapshot(model("name"), thing(WORKFLOW, "w"), thing(FEATURE, "f"), thing(MODULE, "m")))
        before = written(connection)
        report = catalogue.save(MadeSnapshot(thing(MODULE, "m"), incomplete=["models"]))
        assert report.nothing_changed
        assert report.counts == {"bi_feature": 1, "model": 1, "module": 1, "workflow": 1}
        assert written(connection) == before
        report = catalogue.save(MadeSnapshot(thing(MODULE, "m"), incomplete=["reports"]))
        assert [change.name for change in report.removed] == ["sale.order", "w"]

    def test_a_poorer_row_replaces_no_better_one(self, catalogue: ListedCatalogue, connection: Connection) -> None:
        catalogue.save(MadeSnapshot(model("a", "b"), thing(MODULE, "m", version="1", meta={"author": "x"})))
        before = written(connection)
        poorer = (
            model("a", incomplete=["fields"]),
            thing(MODULE, "m", version="1", meta={"incomplete": ["modules"]}),
        )
        report = catalogue.save(MadeSnapshot(*poorer, incomplete=["fields", "modules"]))
        assert report.nothing_changed
        assert report.unchanged == 2
        assert written(connection) == before

    def test_a_poorer_module_of_another_version_replaces_no_better_one(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(thing(MODULE, "m", version="1")))
        report = catalogue.save(MadeSnapshot(thing(MODULE, "m", version="2", meta={"incomplete": ["modules"]})))
        assert report.nothing_changed
        assert versions(catalogue, "m") == [("1", True)]

    def test_an_equally_poor_row_replaces_its_like(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(model("a", incomplete=["fields", "views"])))
        report = catalogue.save(MadeSnapshot(model("a", "b", incomplete=["fields", "views"])))
        assert as_tuples(report.changed) == [("sale.order", "1.1", "1.0", ("fields.b",), False)]
        report = catalogue.save(MadeSnapshot(model("a", "b", "c", incomplete=["fields"])))
        assert as_tuples(report.changed) == [("sale.order", "1.2", "1.1", ("fields.c",), False)]
        report = catalogue.save(MadeSnapshot(model("a", "d", incomplete=["fields", "selections"])))
        assert report.nothing_changed

    def test_a_richer_row_replaces_a_poorer_one(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(model("a", incomplete=["fields"])))
        report = catalogue.save(MadeSnapshot(model("a", "b")))
        assert as_tuples(report.changed) == [("sale.order", "1.1", "1.0", ("fields.b",), False)]
        assert "incomplete" not in catalogue.rows()[0].metadata

    def test_knowing_that_nothing_was_hidden_is_written_in_place(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(model("a", incomplete=["fields"])))
        report = catalogue.save(MadeSnapshot(model("a")))
        assert as_tuples(report.changed) == [("sale.order", "1.0", "1.0", ("metadata.incomplete",), False)]
        assert "incomplete" not in catalogue.rows()[0].metadata
        assert catalogue.save(MadeSnapshot(model("a", incomplete=["fields"]))).nothing_changed

    @pytest.mark.parametrize("fields", [["a", "b"], ["a"]])
    def test_what_returns_poorer_is_as_it_was(self, catalogue: ListedCatalogue, fields: list[str]) -> None:
        catalogue.save(MadeSnapshot(model("a", "b")))
        catalogue.save(MadeSnapshot())
        report = catalogue.save(MadeSnapshot(model(*fields, incomplete=["fields"])))
        assert as_tuples(report.added) == [("sale.order", "1.0", "1.0", (), False)]
        assert catalogue.rows()[0].schema_definition == {"fields": {"a": {"type": "char"}, "b": {"type": "char"}}}


class TestWhatDoesNotFit:
    def test_it_is_reported_and_skipped(self, catalogue: ListedCatalogue) -> None:
        report = catalogue.save(
            MadeSnapshot(
                model("a", name="x" * 101), model("a", name="x" * 100), thing(MODULE, "m", version="1" * 21), model("a")
            )
        )
        assert [(skip.name, skip.reason) for skip in report.skipped] == [
            ("x" * 101, "its name has 101 characters; at most 100 fit"),
            ("m", f"its version '{'1' * 21}' has 21 characters; at most 20 fit"),
        ]
        assert [change.name for change in report.added] == ["sale.order", "x" * 100]

    def test_what_is_skipped_is_not_gone(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(thing(MODULE, "m", version="1")))
        report = catalogue.save(MadeSnapshot(thing(MODULE, "m", version="1" * 21), model("a", name="\0")))
        assert len(report.skipped) == 2
        assert report.nothing_changed
        assert report.counts == {"module": 1}

    def test_of_two_of_one_name_the_first_counts(self, catalogue: ListedCatalogue) -> None:
        twice = (model("a"), model("b"), thing(WORKFLOW, "sale.order"), model("c"))
        report = catalogue.save(MadeSnapshot(*twice))
        assert [(skip.discovery_type, skip.name) for skip in report.skipped] == [(MODEL, "sale.order")] * 2
        assert report.counts == {"model": 1, "workflow": 1}
        assert catalogue.rows(discovery_type=MODEL)[0].schema_definition == {"fields": {"a": {"type": "char"}}}
        again = catalogue.save(MadeSnapshot(*twice))
        assert again.nothing_changed
        assert again.unchanged == 2


class TestMemory:
    """The table of snapshots."""

    def snapshots(self, connection: Connection) -> list[tuple[Any, ...]]:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT types, fingerprint, changes FROM fbs_snapshots ORDER BY id")
            return cursor.fetchall()

    def test_the_last_one_is_remembered(self, catalogue: ListedCatalogue) -> None:
        saved = catalogue.save(MadeSnapshot(model("a"), fingerprint={"models": [1, None]}, incomplete=["views"]))
        record = catalogue.last_snapshot(DOMAIN)
        assert record is not None
        assert (record.domain, record.types, record.source) == (DOMAIN, frozenset(DiscoveryType), SOURCE)
        assert record.fingerprint == {"models": [1, None]}
        assert record.sections == saved.sections
        assert record.taken_at.tzinfo is not None
        assert catalogue.last_snapshot("hr") is None

    def test_a_read_that_changes_nothing_only_moves_time_and_fingerprint(
        self, catalogue: ListedCatalogue, connection: Connection
    ) -> None:
        report = catalogue.save(MadeSnapshot(model("a"), fingerprint={"n": 1}))
        first = catalogue.last_snapshot(DOMAIN)
        catalogue.save(MadeSnapshot(model("a"), fingerprint={"n": 2}))
        second = catalogue.last_snapshot(DOMAIN)
        assert first is not None
        assert second is not None
        assert second.taken_at > first.taken_at
        assert second.fingerprint == {"n": 2}
        assert self.snapshots(connection) == [(sorted(DiscoveryType), {"n": 2}, report.to_dict())]
        catalogue.save(MadeSnapshot(model("b")))
        assert len(self.snapshots(connection)) == 2
        third = catalogue.last_snapshot(DOMAIN)
        assert third is not None
        assert third.fingerprint is None

    def test_the_last_one_that_covered_what_is_asked_for(self, catalogue: ListedCatalogue) -> None:
        catalogue.save(MadeSnapshot(model("a"), fingerprint={"n": 1}))
        catalogue.save(MadeSnapshot(types=[MODULE], fingerprint={"n": 2}))
        narrow, wide = catalogue.last_snapshot(DOMAIN), catalogue.last_snapshot(DOMAIN, types=[MODULE, MODEL])
        assert narrow is not None
        assert wide is not None
        assert (narrow.fingerprint, wide.fingerprint) == ({"n": 2}, {"n": 1})

    def test_an_unchanged_report_counts_what_is_there(self, catalogue: ListedCatalogue) -> None:
        sections = catalogue.save(MadeSnapshot(model("a"), thing(MODULE, "m"))).sections
        report = catalogue.unchanged_report(DOMAIN, sections=sections)
        assert report == ChangeReport(
            domain=DOMAIN, unchanged=2, counts={"model": 1, "module": 1}, sections=sections, read=False
        )
        assert catalogue.unchanged_report(DOMAIN, types=[MODEL]).unchanged == 1
