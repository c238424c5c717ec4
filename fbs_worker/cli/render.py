"""What a job yielded, as tables and sentences: pure, printed by `output`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.cli.output import Block, Table

MOST_ROWS: Final = 20
"""Rows of a table that are shown; JSON has them all."""

PLURALS: Final = {
    DiscoveryType.MODULE: "modules",
    DiscoveryType.MODEL: "models",
    DiscoveryType.WORKFLOW: "workflows",
    DiscoveryType.BI_FEATURE: "BI features",
}


def discovery_blocks(result: Mapping[str, Any], *, domain: str, since: str = "the last discovery") -> list[Block]:
    """The result of a discovery for a person.

    Args:
        result: what the job yielded, with a `report` where it was saved, with `found` where it was not.
        domain: the domain that was discovered.
        since: what an unchanged discovery is compared with, in words.
    """
    report = result.get("report")
    blocks: list[Block] = [_head(result, domain)]
    blocks += _saved(report, domain, since) if report is not None else _found(result)
    blocks += section_blocks(report["sections"] if report is not None else result.get("sections", ()))
    if report is not None:
        blocks += _skipped(report["skipped"])
    else:
        blocks.append("Nothing was saved: give a database (--database-name …) to keep it.")
    return blocks


def job_blocks(records: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Jobs as a table.

    Args:
        records: `JobRecord.to_dict()` of each.
    """
    if not records:
        return ["There are no jobs."]
    rows = [
        (
            str(record["id"]),
            str(record["action"]),
            str(record["solution"] or record["domain"]),
            ": ".join(filter(None, (str(record["state"]), _progress(record)))),
            local_time(record["created_at"])[5:-3],  # jobs are kept for days: neither the year nor the second tells
        )
        for record in records
    ]
    return [
        Table(title="Jobs", columns=("id", "action", "for", "state", "enqueued"), rows=rows, whole=("id", "enqueued"))
    ]


def job_lines(record: Mapping[str, Any]) -> list[Block]:
    """One job, everything that a person wants to know of it.

    Args:
        record: `JobRecord.to_dict()`.
    """
    error = record["error"] or {}
    facts = {
        "job": record["id"],
        "action": record["action"],
        "for": record["solution"] or record["domain"],
        "state": record["state"],
        "progress": _progress(record),
        "message": record["message"],
        "attempts": record["attempts"],
        "enqueued": local_time(record["created_at"]),
        "started": local_time(record["started_at"]),
        "finished": local_time(record["finished_at"]),
        "error": error.get("message"),
        "hint": error.get("hint"),
    }
    return [f"{name:<9} {value}" for name, value in facts.items() if value]


def section_blocks(sections: Iterable[Mapping[str, Any]]) -> list[Block]:
    """What of a read of Odoo was denied, or read in part; nothing when it was complete."""
    rows = [
        (str(section["name"]), str(section["status"]), str(section.get("needs", "")), str(section.get("detail", "")))
        for section in sections
        if section["status"] != "complete"
    ]
    if not rows:
        return []
    return [Table(title="Not read in full", columns=("section", "status", "needs the group", "missing"), rows=rows)]


def more(items: Sequence[Any]) -> str:
    """The line below a table that shows only the first of these."""
    return f"… and {len(items) - MOST_ROWS:,} more (all with --output-format json)" if len(items) > MOST_ROWS else ""


def number(count: int) -> str:
    """A count; a dash for none, so that the others stand out."""
    return f"{count:,}" if count else "-"


def local_time(text: str | None) -> str:
    """The local time, to the second, of an ISO time in UTC; empty for None."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S") if text else ""


def _head(result: Mapping[str, Any], domain: str) -> str:
    source = result.get("source", {})
    place = f" of {source['url']}" if source.get("url") else ""
    database = f", database {source['database']}" if source.get("database") else ""
    series = f" (Odoo {source['series']}{database})" if source.get("series") else ""
    cost = ""
    if "calls" in result and "seconds" in result:
        cost = f": {result['calls']} calls, {result['seconds']:.1f} s"
    return f"Domain {domain}{place}{series}{cost}."


def _saved(report: Mapping[str, Any], domain: str, since: str) -> list[Block]:
    kinds = ("added", "changed", "removed")
    counted = {kind: _count(report[kind]) for kind in kinds}
    rows = [
        (PLURALS[kind], *(number(count) for count in (total, *(counted[change].get(kind, 0) for change in kinds))))
        for kind in DiscoveryType
        if (total := report["counts"].get(kind, 0)) or any(counted[change].get(kind) for change in kinds)
    ]
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(title="Found", columns=("type", "active", *kinds), rows=rows))
    else:
        blocks.append(f"Odoo has nothing for the domain {domain}.")
    if not any(report[kind] for kind in kinds):
        how = "" if report["read"] else " (its fingerprint is the same, so nothing was read)"
        blocks.append(f"Nothing changed since {since}{how}.")
        return blocks
    blocks.extend(_changes(kind, report[kind]) for kind in kinds if report[kind])
    return blocks


def _changes(kind: str, changes: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        title=f"{kind.capitalize()} ({len(changes):,})",
        columns=("type", "name", "version", "what") if kind == "changed" else ("type", "name", "version"),
        rows=[_change(change, with_fields=kind == "changed") for change in _samples(changes)],
        footnote=more(changes),
    )


def _samples(changes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As many as a table shows: the breaking ones first, which a reader must not miss, then some of each type."""
    order = {str(kind): place for place, kind in enumerate(DiscoveryType)}
    seen: dict[str, int] = {}
    ranked = []
    for change in changes:
        kind = change["type"]
        seen[kind] = seen.get(kind, 0) + 1
        ranked.append((not change["breaking"], seen[kind], order.get(kind, len(order)), change))
    chosen = sorted(ranked, key=lambda rank: rank[:3])[:MOST_ROWS]
    chosen.sort(key=lambda rank: (rank[0], rank[2], rank[1]))
    return [rank[-1] for rank in chosen]


def _change(change: Mapping[str, Any], *, with_fields: bool) -> tuple[str, ...]:
    version, before = str(change["version"]), change["previous_version"]
    moved = f"{before} → {version}" if before and before != version else version
    told = (str(change["type"]), str(change["name"]), moved)
    if not with_fields:
        return told
    fields = list(change["fields"])
    some = ", ".join(fields[:3]) + (f" and {len(fields) - 3:,} more" if len(fields) > 3 else "")
    return (*told, f"BREAKING: {some}" if change["breaking"] else some)


def _found(result: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for kind in DiscoveryType:
        names = result["found"].get(kind)
        if names is None:
            continue
        rows = [(str(told["name"]), str(told["title"]), str(told.get("version", ""))) for told in names[:MOST_ROWS]]
        title = f"{PLURALS[kind][0].upper()}{PLURALS[kind][1:]} ({len(names):,})"
        if rows:
            with_version = any(row[2] for row in rows)
            columns = ("name", "title", "version") if with_version else ("name", "title")
            rows_shown = [row[: len(columns)] for row in rows]
            blocks.append(Table(title=title, columns=columns, rows=rows_shown, footnote=more(names)))
        else:
            blocks.append(f"{title}: none.")
    return blocks


def _skipped(skipped: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not skipped:
        return []
    rows = [(str(skip["type"]), str(skip["name"]), str(skip["reason"])) for skip in skipped[:MOST_ROWS]]
    title = f"Found, but not saved ({len(skipped):,})"
    return [Table(title=title, columns=("type", "name", "reason"), rows=rows, footnote=more(skipped))]


def _count(changes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for change in changes:
        counted[change["type"]] = counted.get(change["type"], 0) + 1
    return counted


def _progress(record: Mapping[str, Any]) -> str:
    if record["finished_at"]:
        return ""
    done = f" {record['percent']}%" if record["percent"] is not None else ""
    return f"{record['step']}{done}".strip()
