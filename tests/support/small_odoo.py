"""A recording small enough to know by heart, for tests of the transports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fbs_worker.connectors.recording.file_format import RecordedTable, Recording, write_recording

_WRITTEN: Final = "2026-01-0{} 10:00:00"

TABLES: Final[Mapping[str, RecordedTable]] = {
    "ir.model": RecordedTable(
        columns=("id", "model", "name", "transient", "write_date"),
        rows=(
            (1, "ir.model", "Models", False, _WRITTEN.format(1)),
            (2, "ir.model.fields", "Fields", False, _WRITTEN.format(2)),
            (3, "ir.module.module", "Module", False, _WRITTEN.format(3)),
            (4, "res.partner", "Contact", False, _WRITTEN.format(4)),
            (5, "ir.ui.view", "View", False, False),
        ),
    ),
    "ir.module.module": RecordedTable(
        columns=("id", "name", "state", "category_id", "dependencies_id", "write_date"),
        rows=(
            (10, "sale", "installed", 31, [51, 52], _WRITTEN.format(5)),
            (11, "base", "installed", False, [], _WRITTEN.format(5)),
            (12, "fleet", "uninstalled", 30, [53], _WRITTEN.format(6)),
        ),
    ),
    "ir.module.category": RecordedTable(
        columns=("id", "name", "parent_id"),
        rows=((30, "Human Resources", False), (31, "Sales", 32), (32, "Apps", False)),
    ),
    "ir.module.module.dependency": RecordedTable(
        columns=("id", "name", "module_id"), rows=((51, "account", 10), (52, "product", 10), (53, "mail", 12))
    ),
    "ir.ui.view": RecordedTable(
        columns=("id", "name", "active", "inherit_id"),
        rows=((70, "partner form", True, False), (71, "partner form more", True, 70), (72, "old", False, 70)),
    ),
}


def _described(**fields: str) -> dict[str, dict[str, Any]]:
    described: dict[str, dict[str, Any]] = {}
    for name, text in fields.items():
        kind, _, relation = text.partition(" ")
        described[name] = {"type": kind, "string": name.replace("_", " ").title()}
        if relation:
            described[name]["relation"] = relation
    return described


FIELDS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "ir.model": _described(id="integer", model="char", name="char", transient="boolean", write_date="datetime"),
    "ir.module.module": _described(
        id="integer",
        name="char",
        state="selection",
        category_id="many2one ir.module.category",
        dependencies_id="one2many ir.module.module.dependency",
        write_date="datetime",
    ),
    "ir.module.category": _described(id="integer", name="char", parent_id="many2one ir.module.category"),
    "ir.module.module.dependency": _described(id="integer", name="char", module_id="many2one ir.module.module"),
    "ir.ui.view": _described(id="integer", name="char", active="boolean", inherit_id="many2one ir.ui.view"),
}

AVAILABLE: Final = ({"model": "res.partner", "display_name": "Contact"},)


def write_small_recording(
    path: Path, *, series: str = "19.0", denied: Mapping[str, Sequence[str]] | None = None
) -> Path:
    """Write the recording of this module; tables that are denied are left out of it."""
    denied = denied or {}
    tables = {model: table for model, table in TABLES.items() if model not in denied}
    recorded = Recording(
        series=series, database="live", tables=tables, fields=FIELDS, available=AVAILABLE, denied=denied
    )
    write_recording(path, recorded)
    return path
