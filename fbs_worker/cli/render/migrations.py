"""Rendering of migrations and their plans."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render.formats import MAX_ROWS, more_rows, size
from fbs_worker.migration.model.plan import apply_command


def migrate_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a migration: the plan if it was only planned, else the applied changes."""
    if result["applied"] is None:
        return plan_blocks(result)
    name, applied, undoes = result["solution"], result["applied"], result["undoes"]
    count = applied["executed"]
    if undoes:
        head = f"Migration {undoes} of {name} is undone: {_statements(count)} in {applied['seconds']:.1f} s."
    elif count:
        head = f"The tables of {name} match their definition now: {_statements(count)} in {applied['seconds']:.1f} s."
    else:
        head = f"There was nothing to change in the tables of {name}."
    blocks: list[Block] = [head]
    if applied["kept"]:
        archives = ", ".join(applied["kept"])
        blocks.append(f"Removed values are archived in {archives}.")
    if count and not undoes:
        blocks.append(f"To undo it: fbs migrate --solution-name {name} --undo")
    return [*blocks, *_remarks(result)]


def plan_blocks(result: Mapping[str, Any]) -> list[Block]:
    """A plan, with the command that applies it."""
    name, steps, undoes = result["solution"], result["steps"], result["undoes"]
    if not steps:
        nothing = f"There is nothing to change in the tables of {name}."
        return [f"Nothing of migration {undoes} can be undone." if undoes else nothing, *_remarks(result)]
    purpose = f"undoes migration {undoes} of" if undoes else "for"
    groups = [list(group) for _, group in groupby(steps, key=lambda step: step["transaction"])]
    count = _statements(len(steps)) + (f" in {len(groups)} transactions" if len(groups) > 1 else "")
    blocks: list[Block] = [f"Plan {result['fingerprint']} {purpose} {name} ({count}):", *_summary(result["summary"])]
    sizes = {table["table"]: table for table in result["summary"]}
    for number, group in enumerate(groups, 1):
        first = sum(map(len, groups[: number - 1])) + 1
        blocks.append(f"Transaction {number}: {_waiting(group, sizes)}")
        blocks += [_step(place, step) for place, step in enumerate(group, first)]
    blocks += _remarks(result)
    if not result["enabled"]:
        return [*blocks, "Migrations are switched off where this was planned (FBS_ENABLE_MIGRATIONS)."]
    if result.get("blockers"):
        return [*blocks, "It cannot be applied: PostgreSQL would refuse it. Drop first what stands in the way."]
    if result["needs"]:
        blocks.append(f"It has hazards that must be allowed by name: {', '.join(result['needs'])}.")
    return [*blocks, f"Apply it: {apply_command(result)}"]


def drift_blocks(drift: Collection[str]) -> list[Block]:
    """Manual changes of a solution's tables."""
    return _listed("Changed by hand", drift)


def _summary(tables: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What happens to each table."""
    rows = []
    for table in tables:
        known = "" if not table["bytes"] else "?" if table["rows"] is None else f"~{table['rows']:,}"
        large = size(table["bytes"]) if table["bytes"] else "new"
        first, *others = table["changes"] or ("",)
        rows += [(table["table"], known, large, first), *(("", "", "", change) for change in others)]
    if not rows:
        return []
    title = f"Tables ({len(tables):,})"
    return [
        Table(title=title, columns=("table", "rows", "size", "changes"), rows=rows[:MAX_ROWS], footnote=more_rows(rows))
    ]


_WAITS: Final = {
    "ACCESS EXCLUSIVE": "readers and writers wait",
    "SHARE ROW EXCLUSIVE": "writers wait, readers do not",
    "SHARE UPDATE EXCLUSIVE": "no reader or writer waits",
    "ROW EXCLUSIVE": "a writer waits for a row of its batch at most",
    "none": "no reader or writer waits",
}
"""Who waits for a lock, the strongest one first (PostgreSQL's documentation, section 13.3.1)."""


def _waiting(group: Sequence[Mapping[str, Any]], sizes: Mapping[str, Mapping[str, Any]]) -> str:
    """The locks of a transaction, for whom they are in the way, and for how long."""
    by_lock: dict[str, list[str]] = {}
    strongest = {
        table: min((s["lock"] for s in group if s["table"] == table), key=list(_WAITS).index)
        for table in dict.fromkeys(step["table"] for step in group)
    }
    for table, lock in strongest.items():
        by_lock.setdefault(lock, []).append(table)
    parts = []
    for lock in sorted(by_lock, key=list(_WAITS).index):
        tables = by_lock[lock]
        named = ", ".join(tables[:_NAMED]) + (f" and {len(tables) - _NAMED} more" if len(tables) > _NAMED else "")
        parts.append(f"{'no lock' if lock == 'none' else lock} on {named}: {_WAITS[lock]}")
    return f"{'; '.join(parts)}{_how_long(group, sizes)}"


def _how_long(group: Sequence[Mapping[str, Any]], sizes: Mapping[str, Mapping[str, Any]]) -> str:
    table = sizes.get(group[0]["table"], {})
    large = size(table["bytes"]) if table.get("bytes") else "the table"
    work = next((words for hazard, words in _WORK.items() if hazard in group[0]["hazards"]), "")
    return f", as long as {large} {work}" if work else ", briefly" if group[0]["mode"] == "transaction" else ""


_NAMED: Final = 4
"""Tables that a heading names."""

_WORK: Final = {
    "REWRITES_TABLE": "is written anew",
    "LONG_LOCK": "is read",
    "INDEX_BUILD": "is read twice for an index",
}


def _step(number: int, step: Mapping[str, Any]) -> str:
    """A statement, and below it its reason and its hazards: those to allow, then those that are only said."""
    about = [step["reason"]]
    about += ["outside of a transaction"] if step["mode"] == "alone" else []
    about += ["in small batches"] if step["mode"] == "batches" else []
    about += [] if step["has_rows"] else ["no rows"]
    lines = [f"{number:>3}. {' '.join(step['sql'].split())}", f"     {'; '.join(about)}"]
    said = [hazard for hazard in step["hazards"] if hazard not in step["must_allow"]]
    archive = f" (archived in {step['keeps']})" if step["keeps"] else ""
    if step["must_allow"]:
        lines.append(f"     to allow: {', '.join(step['must_allow'])}{archive}")
    if said:
        lines.append(f"     said only: {', '.join(said)}{'' if step['must_allow'] else archive}")
    return "\n".join(lines)


def _remarks(result: Mapping[str, Any]) -> list[Block]:
    return [
        *_listed("In the way", result.get("blockers", ())),
        *_listed("Not undone", result["cannot"]),
        *drift_blocks(result["drift"]),
        *_listed("Questions", result["questions"]),
        *_listed("Notes", result["notes"]),
    ]


def _listed(title: str, lines: Iterable[str]) -> list[Block]:
    rows = [(line,) for line in lines]
    if not rows:
        return []
    return [
        Table(title=f"{title} ({len(rows):,})", columns=("detail",), rows=rows[:MAX_ROWS], footnote=more_rows(rows))
    ]


def _statements(count: int) -> str:
    return "1 statement" if count == 1 else f"{count:,} statements"
