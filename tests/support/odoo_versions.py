"""How Odoo 14 to 19 differ: columns, arguments of methods, rights. Seen on real servers of each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from fbs_worker.connectors.recording.file_format import RecordedTable, Recording, write_recording
from tests.support.solutions import with_models

ACCESS_RIGHTS: Final = "Administration/Access Rights"
SETTINGS: Final = "Administration/Settings"

_DENIED: Final = {
    # model: the group that reads it, from which version on another user may not, and up to which
    "ir.module.module": (SETTINGS, 14, 15),
    "ir.module.module.dependency": (SETTINGS, 14, 18),
    "ir.module.category": (ACCESS_RIGHTS, 14, 18),
    "ir.model": (ACCESS_RIGHTS, 15, 19),
    "ir.model.fields": (ACCESS_RIGHTS, 15, 19),
    "ir.model.fields.selection": (ACCESS_RIGHTS, 15, 19),
    "ir.model.data": (ACCESS_RIGHTS, 15, 19),
    "ir.ui.view": (SETTINGS, 15, 19),
    "ir.actions.server": (SETTINGS, 15, 19),
    "base.automation": (SETTINGS, 14, 19),
    "ir.cron": (SETTINGS, 14, 19),
}

_SINCE: Final = {("ir.actions.server", "base_automation_id"): 17, ("ir.actions.server", "ir_cron_ids"): 19}
"""Columns that came with a version."""


def denied_to(groups: Sequence[str], series: str) -> dict[str, list[str]]:
    """The tables that an internal user with some of the two groups may not read, each with the group that may."""
    held = {*groups, ACCESS_RIGHTS} if SETTINGS in groups else {*groups}
    major = int(series.partition(".")[0])
    return {
        model: [group]
        for model, (group, first, last) in _DENIED.items()
        if group not in held and first <= major <= last
    }


def denied_column(denied: Mapping[str, Any], model: str, columns: Sequence[str]) -> str:
    """The table that a computed column reads with the user's own rights, where those do not suffice."""
    computed = model in ("ir.model", "ir.model.fields") and "modules" in columns
    return "ir.module.module" if computed and "ir.module.module" in denied else ""


def as_called(method: str, named: Mapping[str, Any], major: tuple[int, int]) -> dict[str, Any]:
    """The arguments of a method of that version, as the newest names them.

    Raises:
        TypeError: the version does not have one of them.
    """
    given = dict(named)
    own_name = "domain" if major >= (16, 0) or method not in ("search", "search_count") else "args"
    unknown = ({"domain", "args"} - {own_name}) & given.keys()
    if major < (15, 0) and method == "search_read":
        unknown |= {"load"} & given.keys()
    if unknown:
        raise TypeError(f"{method}() got an unexpected keyword argument '{min(unknown)}'")
    if own_name in given:
        given["domain"] = [_compared(term, major) for term in given.pop(own_name)]
    return given


_OFFSET: Final = re.compile(r"(Z|[+-]\d\d:?\d\d)$")

_HIDDEN_PART: Final = {"=": ("id", "=", 0), ">": ">=", "<=": "<"}
"""Before 19 the microseconds that RPC cuts off count: the row is later than the time that it shows."""


def _compared(term: Any, major: tuple[int, int]) -> Any:
    """A term of a domain as that version compares the time of the last change.

    Raises:
        ValueError: the version takes no time with an offset.
    """
    if not isinstance(term, list | tuple) or term[0] != "write_date" or not isinstance(term[2], str):
        return term
    name, operator, value = term
    if _OFFSET.search(value):
        if major >= (19, 0):
            raise ValueError(f"unconverted data remains: {_OFFSET.findall(value)[0]}")
        value = _OFFSET.sub("", value)  # ignored
    if major >= (19, 0) or operator not in _HIDDEN_PART:
        return [name, operator, value]
    other = _HIDDEN_PART[operator]
    return [name, other, value] if isinstance(other, str) else list(other)


Edit = Callable[[dict[str, Any]], None]


def record_as(series: str, path: Path, *, edits: Mapping[str, Edit] | None = None) -> Path:
    """Write the packaged recording as that of another version.

    Args:
        series: the version; its columns are those of that version.
        path: the file, `….json`.
        edits: what someone has done since, by table: called with each row.
    """
    recording = _recording()
    major = int(series.partition(".")[0])
    touched = {"ir.model.fields", "ir.actions.server", "base.automation", *(edits or ())}
    tables = {model: _rows(recording.tables[model]) for model in touched}
    absent = {column for column, since in _SINCE.items() if major < since}
    tables["ir.model.fields"] = [row for row in tables["ir.model.fields"] if (row["model"], row["name"]) not in absent]
    for row in tables["ir.actions.server"]:
        for model, column in absent:
            if model == "ir.actions.server":
                row.pop(column, None)
    if major < 17:  # a rule is a server action then
        [described] = [row for row in tables["ir.model.fields"] if row["name"] == "action_server_ids"]
        described.update(name="action_server_id", ttype="many2one")
        for row in tables["base.automation"]:
            row["action_server_id"] = row.pop("action_server_ids")[0]
    for model, edit in (edits or {}).items():
        for row in tables[model]:
            edit(row)
    changed = {model: _table(rows) for model, rows in tables.items()}
    write_recording(path, replace(recording, series=series, tables={**recording.tables, **changed}))
    return path


@cache
def _recording() -> Recording:
    """The packaged recording with a few of its models: each version is written and read many times."""
    return with_models({"hr.department", "hr.employee", "hr.job", "hr.mixin", "res.company", "res.lang", "res.users"})


def _rows(table: RecordedTable) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _table(rows: Sequence[Mapping[str, Any]]) -> RecordedTable:
    columns = tuple(rows[0])
    return RecordedTable(columns=columns, rows=[[row[column] for column in columns] for row in rows])
