"""Related selections have the values of the field that they lead to."""

from __future__ import annotations

from typing import Any

import pytest

from fbs_worker.connectors.related import RelatedSelections, sources_of


def field(number: int, name: str, ttype: str = "selection", **more: Any) -> dict[str, Any]:
    model, _, name = name.rpartition(".")
    return {"id": number, "model": model, "name": name, "ttype": ttype, "relation": False, "related": False, **more}


ROWS = (
    field(1, "payment.state", related="move_id.state"),
    field(2, "payment.move_id", "many2one", relation="move"),
    field(3, "move.state"),
    field(4, "line.state", related="payment_id.move_id.state"),
    field(5, "line.payment_id", "many2one", relation="payment", related="other_id.payment_id"),
    field(6, "report.state", related="line_ids.state"),
    field(7, "report.line_ids", "one2many", relation="line"),
    field(8, "copy.state", related="report_id.state"),
    field(9, "copy.report_id", "many2one", relation="report"),
    field(10, "copy.lost", related="nothing_id.state"),
    field(11, "copy.self", related="self"),
    field(12, "copy.round", related="report_id.round"),
    field(13, "report.round", related="copy_id.round"),
    field(14, "report.copy_id", "many2one", relation="copy"),
    field(15, "copy.name", "char", related="report_id.name"),
    field(16, "copy.own", related="alike"),
    field(17, "copy.alike", "reference"),
)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("payment.state", 3),
        ("line.state", 3),
        ("report.state", 3),
        ("copy.state", 3),
        ("copy.own", 17),
        *((name, None) for name in ("move.state", "copy.lost", "copy.self", "copy.round", "copy.name", "no.field")),
    ],
)
def test_the_source_of_a_field(name: str, source: int | None) -> None:
    related = RelatedSelections()
    related.add(ROWS)
    model, _, field_name = name.rpartition(".")
    assert related.source(model, field_name) == source


def test_the_sources_of_fields() -> None:
    related = RelatedSelections()
    related.add(ROWS)
    assert sources_of(related, ROWS) == {1: 3, 4: 3, 6: 3, 8: 3, 16: 17}
