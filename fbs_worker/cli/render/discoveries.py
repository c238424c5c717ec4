"""Rendering of discoveries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fbs_worker.catalogue.model import DiscoveryType
from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render.formats import MAX_ROWS, count, more_rows

PLURALS: Final = {
    DiscoveryType.MODULE: "modules",
    DiscoveryType.MODEL: "models",
    DiscoveryType.WORKFLOW: "workflows",
    DiscoveryType.BI_FEATURE: "BI features",
}


def discovery_blocks(result: Mapping[str, Any], *, domain: str, since: str = "the last discovery") -> list[Block]:
    """The result of a discovery.

    Args:
        result: the job's result: with a `report` if it was saved, else with `found`.
        domain: the discovered domain.
        since: the baseline of an unchanged discovery, as a phrase.
    """
    report = result.get("report")
    blocks: list[Block] = [_head(result, domain)]
    blocks += _changes_since(report, domain, since) if report is not None else _names(result)
    blocks += section_blocks(report["sections"] if report is not None else result.get("sections", ()))
    if report is not None:
        blocks += _skipped(report["skipped"])
    else:
        blocks.append("Nothing was saved: to save it, pass a database (--database-name …).")
    return blocks


def section_blocks(sections: Iterable[Mapping[str, Any]]) -> list[Block]:
    """The sections of Odoo that were denied or read in part; empty if all are complete."""
    rows = [
        (str(section["name"]), str(section["status"]), str(section.get("needs", "")), str(section.get("detail", "")))
        for section in sections
        if section["status"] != "complete"
    ]
    if not rows:
        return []
    return [Table(title="Not read in full", columns=("section", "status", "needs the group", "missing"), rows=rows)]


def _head(result: Mapping[str, Any], domain: str) -> str:
    source = result.get("source", {})
    url = f" of {source['url']}" if source.get("url") else ""
    database = f", database {source['database']}" if source.get("database") else ""
    series = f" (Odoo {source['series']}{database})" if source.get("series") else ""
    cost = ""
    if "calls" in result and "seconds" in result:
        cost = f": {result['calls']} calls, {result['seconds']:.1f} s"
    return f"Domain {domain}{url}{series}{cost}."


def _changes_since(report: Mapping[str, Any], domain: str, since: str) -> list[Block]:
    kinds = ("added", "changed", "removed")
    counted = {kind: _counts_by_type(report[kind]) for kind in kinds}
    rows = [
        (PLURALS[kind], *(count(number) for number in (total, *(counted[change].get(kind, 0) for change in kinds))))
        for kind in DiscoveryType
        if (total := report["counts"].get(kind, 0)) or any(counted[change].get(kind) for change in kinds)
    ]
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(title="Found", columns=("type", "active", *kinds), rows=rows))
    else:
        blocks.append(f"Odoo has nothing for the domain {domain}.")
    if not any(report[kind] for kind in kinds):
        skipped = "" if report["read"] else " (its fingerprint is the same, so nothing was read)"
        blocks.append(f"Nothing changed since {since}{skipped}.")
        return blocks
    blocks.extend(_changes(kind, report[kind]) for kind in kinds if report[kind])
    return blocks


def _changes(kind: str, changes: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        title=f"{kind.capitalize()} ({len(changes):,})",
        columns=("type", "name", "version", "fields") if kind == "changed" else ("type", "name", "version"),
        rows=[_change(change, with_fields=kind == "changed") for change in _samples(changes)],
        footnote=more_rows(changes),
    )


def _samples(changes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Select `MAX_ROWS` changes: the breaking ones first, then some of each type."""
    order = {str(kind): rank for rank, kind in enumerate(DiscoveryType)}
    seen: dict[str, int] = {}
    ranked = []
    for change in changes:
        kind = change["type"]
        seen[kind] = seen.get(kind, 0) + 1
        ranked.append((not change["breaking"], seen[kind], order.get(kind, len(order)), change))
    chosen = sorted(ranked, key=lambda rank: rank[:3])[:MAX_ROWS]
    chosen.sort(key=lambda rank: (rank[0], rank[2], rank[1]))
    return [rank[-1] for rank in chosen]


def _change(change: Mapping[str, Any], *, with_fields: bool) -> tuple[str, ...]:
    version, before = str(change["version"]), change["previous_version"]
    moved = f"{before} → {version}" if before and before != version else version
    cells = (str(change["type"]), str(change["name"]), moved)
    if not with_fields:
        return cells
    fields = list(change["fields"])
    some = ", ".join(fields[:3]) + (f" and {len(fields) - 3:,} more" if len(fields) > 3 else "")
    return (*cells, f"BREAKING: {some}" if change["breaking"] else some)


def _names(result: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    for kind in DiscoveryType:
        names = result["found"].get(kind)
        if names is None:
            continue
        rows = [(str(row["name"]), str(row["title"]), str(row.get("version", ""))) for row in names[:MAX_ROWS]]
        title = f"{PLURALS[kind][0].upper()}{PLURALS[kind][1:]} ({len(names):,})"
        if rows:
            with_version = any(row[2] for row in rows)
            columns = ("name", "title", "version") if with_version else ("name", "title")
            rows_shown = [row[: len(columns)] for row in rows]
            blocks.append(Table(title=title, columns=columns, rows=rows_shown, footnote=more_rows(names)))
        else:
            blocks.append(f"{title}: none.")
    return blocks


def _skipped(skipped: Sequence[Mapping[str, Any]]) -> list[Block]:
    if not skipped:
        return []
    rows = [(str(skip["type"]), str(skip["name"]), str(skip["reason"])) for skip in skipped[:MAX_ROWS]]
    title = f"Found, but not saved ({len(skipped):,})"
    return [Table(title=title, columns=("type", "name", "reason"), rows=rows, footnote=more_rows(skipped))]


def _counts_by_type(changes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for change in changes:
        counted[change["type"]] = counted.get(change["type"], 0) + 1
    return counted
