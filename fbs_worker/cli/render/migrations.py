"""Rendering of migrations and their plans."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render.formats import MAX_ROWS, more_rows
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


def plan_blocks(result: Mapping[str, Any], *, options: Sequence[str] = ()) -> list[Block]:
    """A plan, with the command that applies it.

    Args:
        result: the result of a job with `plan_only`.
        options: the options that the plan was made with, e.g. `--rename table.old=new`; applying it needs the same.
    """
    name, steps, undoes = result["solution"], result["steps"], result["undoes"]
    if not steps:
        nothing = f"There is nothing to change in the tables of {name}."
        return [f"Nothing of migration {undoes} can be undone." if undoes else nothing, *_remarks(result)]
    purpose = f"undoes migration {undoes} of" if undoes else "for"
    blocks: list[Block] = [f"Plan {result['fingerprint']} {purpose} {name} ({_statements(len(steps))}):"]
    blocks += [_step(number, step) for number, step in enumerate(steps, 1)]
    blocks += _remarks(result)
    if not result["enabled"]:
        return [*blocks, "Migrations are switched off where this was planned (FBS_ENABLE_MIGRATIONS)."]
    if result.get("blockers"):
        return [*blocks, "It cannot be applied: PostgreSQL would refuse it. Drop first what stands in the way."]
    if result["needs"]:
        blocks.append(f"It has hazards that must be allowed by name: {', '.join(result['needs'])}.")
    return [*blocks, f"Apply it: {apply_command(result, options=options)}"]


def drift_blocks(drift: Collection[str]) -> list[Block]:
    """Manual changes of a solution's tables."""
    return _listed("Changed by hand", drift)


def _step(number: int, step: Mapping[str, Any]) -> str:
    """A statement, and below it its reason, its lock and its hazards."""
    rows = "rows" if step["has_rows"] else "no rows"
    about = [f"{step['table']} has {rows}"]
    about += [f"locks it: {step['lock']}"] if step["lock"] != "none" else []
    about += ["outside of a transaction"] if step["mode"] == "alone" else []
    about += ["in small batches"] if step["mode"] == "batches" else []
    lines = [f"{number:>3}. {' '.join(step['sql'].split())}", f"     {step['reason']}", f"     {'; '.join(about)}"]
    if step["hazards"]:
        archive = f" (archived in {step['keeps']})" if step["keeps"] else ""
        lines.append(f"     {', '.join(step['hazards'])}{archive}")
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
