"""Net changes of successive refreshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fbs_worker.catalogue.model import Change, ChangeReport, DiscoveryType
from fbs_worker.web.pages.changes import NetChange, summarise_changes


def report(
    *, added: Sequence[Change] = (), changed: Sequence[Change] = (), removed: Sequence[Change] = ()
) -> dict[str, Any]:
    return ChangeReport(domain="rental", added=added, changed=changed, removed=removed).to_dict()


def change(name: str = "sale.order", version: str = "1.0", before: str | None = None, *fields: str, breaking: bool = False,
           kind: DiscoveryType = DiscoveryType.MODEL) -> Change:  # fmt: skip
    return Change(
        discovery_type=kind, name=name, version=version, previous_version=before, fields=fields, breaking=breaking
    )


def net(*reports: dict[str, Any]) -> list[NetChange]:
    summary = summarise_changes(reports, limit=100)
    return [one for changes in summary.shown.values() for one in changes]


def test_one_refresh_is_unchanged() -> None:
    one = report(
        added=[change("a")],
        changed=[change("b", "1.1", "1.0", "fields.x")],
        removed=[change("c", "2.0", "2.0")],
    )
    summary = summarise_changes([one], limit=100)
    assert summary.counts == {"added": 1, "changed": 1, "removed": 1}
    assert summary.shown["changed"][0].fields == ("fields.x",)
    assert summary.shown["removed"][0].name == "c"


def test_added_then_removed_is_nothing() -> None:
    assert summarise_changes([report(added=[change()]), report(removed=[change()])], limit=9).empty
    assert summarise_changes([], limit=9).empty
    assert summarise_changes([{}], limit=9).empty


def test_added_then_changed_is_added() -> None:
    summary = net(
        report(added=[change()]), report(changed=[change("sale.order", "2.0", "1.0", "fields.x", breaking=True)])
    )
    assert summary == [NetChange(kind="added", type="model", name="sale.order", version="2.0")]


def test_successive_changes_are_one() -> None:
    summary = net(
        report(changed=[change("m", "2.0", "1.0", "fields.a", breaking=True)]),
        report(changed=[change("m", "2.1", "2.0", "fields.b")]),
    )
    assert summary == [
        NetChange(kind="changed", type="model", name="m", version="2.1", previous="1.0", fields=("fields.a", "fields.b"), breaking=True)
    ]  # fmt: skip


def test_changed_then_removed_is_removed() -> None:
    summary = net(report(changed=[change("m", "1.1", "1.0", "fields.a")]), report(removed=[change("m", "1.1", "1.1")]))
    assert [(one.kind, one.previous) for one in summary] == [("removed", "1.0")]


def test_removed_then_added_is_changed() -> None:
    summary = net(report(removed=[change("m", "1.0", "1.0")]), report(added=[change("m", "1.1", "1.0", "fields.a")]))
    assert [(one.kind, one.previous, one.version) for one in summary] == [("changed", "1.0", "1.1")]


def test_order_is_breaking_then_type() -> None:
    module, feature = DiscoveryType.MODULE, DiscoveryType.BI_FEATURE
    changed = [
        change("a", "1.1", "1.0", kind=feature),
        change("z", "1.1", "1.0", kind=module),
        change("y", "1.1", "1.0"),
        change("x", "2.0", "1.0", breaking=True, kind=feature),
    ]
    summary = summarise_changes([report(changed=changed)], limit=3)
    assert [one.name for one in summary.shown["changed"]] == ["x", "z", "y"]
    assert summary.counts["changed"] == 4
