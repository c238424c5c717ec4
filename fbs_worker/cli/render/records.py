"""Rendering of records: the result of a sync, and the state of mirrored tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render.formats import MAX_ROWS, count, local_time, more_rows
from fbs_worker.core.errors import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED

_OK: Final = "ok"
_REVIEW: Final = "needs review"
_FAILED: Final = "failed"
_STOPPED: Final = "stopped"
"""Values of `replication.state.Status`, whose import takes time."""

_DONE: Final = ("read", "inserted", "updated", "deleted", "rejected")


def sync_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a sync."""
    name, tables = result["solution"], result["tables"]
    if not tables:
        return [f"{name} mirrors no model. To mirror one: fbs migrate --solution-name {name} --mirror MODEL"]
    counts = ", ".join(f"{result[key]:,} {key}" for key in ("read", "written", "deleted", "rejected"))
    blocks: list[Block] = [f"Records of {name}: {counts}; {result['calls']:,} calls, {result['seconds']:.1f} s."]
    rows = [
        (
            table["table"],
            _status(table),
            count(table["rows"]),
            *(count(table["last_run"].get(key) or 0) for key in _DONE),
        )
        for table in _by_urgency(tables)
    ]
    columns = ("table", "status", "rows", *_DONE)
    blocks.append(Table(title="Tables", columns=columns, rows=rows[:MAX_ROWS], footnote=more_rows(rows)))
    return [*blocks, *review_lines(tables, name)]


def sync_exit_code(result: Mapping[str, Any]) -> int:
    """The exit code of a sync: 1 if a table failed or differs from Odoo, 4 if one needs review or cannot be copied."""
    statuses = {table["status"] for table in result["tables"]}
    if _FAILED in statuses or any(_difference(table) for table in result["tables"]):
        return EXIT_FAILED
    return EXIT_REFUSED if statuses & {_REVIEW, _STOPPED} else EXIT_DONE


def records_blocks(tables: Sequence[Mapping[str, Any]], name: str) -> list[Block]:
    """The state of a solution's mirrored tables; nothing if it has none.

    Args:
        tables: the states, as `TableState.to_dict`.
        name: the solution.
    """
    if not tables:
        return []
    rows = [
        (
            table["table"],
            table["status"],
            count(table["rows"]),
            count(table["rejected"]),
            lag_text(table["lag_seconds"]) or "-",
            local_time(table["synced_at"], seconds=False) or "-",
        )
        for table in _by_urgency(tables)
    ]
    columns = ("table", "status", "rows", "rejected", "lag", "synced")
    records = Table(title="Records", columns=columns, rows=rows[:MAX_ROWS], footnote=more_rows(rows))
    return [records, *review_lines(tables, name)]


def review_lines(tables: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """What is wrong with tables, and what to do.

    Args:
        tables: the states, as `TableState.to_dict`.
        name: the solution.
    """
    lines: list[str] = []
    for table in tables:
        again = f"fbs sync {name} --model {table['model']}"
        difference = _difference(table)
        hints = {
            _REVIEW: "",  # the reason says what to do
            _FAILED: f"The next sync goes on; now: {again}",
            _STOPPED: f"To stop mirroring it: fbs migrate --solution-name {name} --no-mirror {table['model']}",
        }
        if table["status"] in hints:
            lines.append(f"{table['table']} {_words(table)}: {table['reason']}")
            if hints[table["status"]] and "fbs " not in table["reason"]:
                lines.append(f"hint: {hints[table['status']]}")
        elif difference:
            lines += [f"{table['table']} differs from Odoo: {difference}", f"hint: {again} --full"]
    return lines


def summary_text(records: Mapping[str, Any] | None) -> str:
    """The copies of a solution in short: `1,200 rows, 2 min`, and what is wrong; empty without any.

    Args:
        records: as in `list_solutions`.
    """
    if not records:
        return ""
    wrong = [f"{records[key]} {word}" for key, word in (("needs_review", _REVIEW), ("failed", _FAILED)) if records[key]]
    return ", ".join(filter(None, (f"{records['rows']:,} rows", lag_text(records["lag_seconds"]), *wrong)))


def lag_text(seconds: float | None) -> str:
    """A lag as `40 s`, `12 min`, `3 h` or `2 d`; empty for None."""
    if seconds is None:
        return ""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"


def _by_urgency(tables: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are not well first, because a long table is cut."""
    return sorted(tables, key=lambda table: table["status"] == _OK)


def _status(table: Mapping[str, Any]) -> str:
    verified = table["last_run"].get("verified")
    if not verified or table["status"] != _OK:
        return str(table["status"])
    return "equal" if verified["equal"] else "differs"


def _words(table: Mapping[str, Any]) -> str:
    return "is stopped" if table["status"] == _STOPPED else str(table["status"])


def _difference(table: Mapping[str, Any]) -> str:
    verified = table["last_run"].get("verified")
    return "" if not verified or verified["equal"] else str(verified["difference"])
