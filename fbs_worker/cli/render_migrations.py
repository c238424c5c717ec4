"""Migrations as sentences: pure, printed by `output`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from fbs_worker.cli.output import Block, Table
from fbs_worker.cli.render import MOST_ROWS, more
from fbs_worker.migration.model.plan import apply_command


def migrate_blocks(result: Mapping[str, Any]) -> list[Block]:
    """The result of a migration: the plan, or what became of it."""
    if result["applied"] is None:
        return plan_blocks(result)
    name, applied, undoes = result["solution"], result["applied"], result["undoes"]
    count = applied["executed"]
    if undoes:
        head = f"The migration {undoes} of {name} is undone: {_statements(count)} in {applied['seconds']:.1f} s."
    elif count:
        head = f"The tables of {name} match their definition now: {_statements(count)} in {applied['seconds']:.1f} s."
    else:
        head = f"There was nothing to change in the tables of {name}."
    blocks: list[Block] = [head]
    if applied["kept"]:
        kept = ", ".join(applied["kept"])
        blocks.append(f"What was taken away is kept in {kept}.")
    if count and not undoes:
        blocks.append(f"To take it back: fbs migrate --solution-name {name} --undo")
    return [*blocks, *_beside(result)]


def plan_blocks(result: Mapping[str, Any], *, options: Sequence[str] = ()) -> list[Block]:
    """A plan, and how to apply it.

    Args:
        result: what a job with `plan_only` yielded.
        options: those that the plan was made with, e.g. `--rename table.old=new`; the plan is applied with the same.
    """
    name, steps, undoes = result["solution"], result["steps"], result["undoes"]
    if not steps:
        nothing = f"There is nothing to change in the tables of {name}."
        return [f"Nothing of the migration {undoes} can be undone." if undoes else nothing, *_beside(result)]
    what = f"undoes the migration {undoes} of" if undoes else "for"
    blocks: list[Block] = [f"The plan {result['fingerprint']} {what} {name} has {_statements(len(steps))}:"]
    blocks += [_step(number, step) for number, step in enumerate(steps, 1)]
    blocks += _beside(result)
    if not result["enabled"]:
        return [*blocks, "Migrations are switched off where this was planned (FBS_ENABLE_MIGRATIONS)."]
    if result["needs"]:
        blocks.append(f"It is applied only where this is allowed by name: {', '.join(result['needs'])}.")
    return [*blocks, f"Apply it: {apply_command(result, options=options)}"]


def drift_blocks(drift: Collection[str]) -> list[Block]:
    """What was changed by hand."""
    return _listed("Changed by hand", drift)


def _step(number: int, step: Mapping[str, Any]) -> str:
    """A statement as it runs, and below it why, and what to mind."""
    rows = "rows" if step["has_rows"] else "no rows"
    about = [f"{step['table']} has {rows}"]
    about += [f"locks it: {step['lock']}"] if step["lock"] != "none" else []
    about += ["outside of a transaction"] if step["mode"] == "alone" else []
    about += ["in small batches"] if step["mode"] == "batches" else []
    lines = [f"{number:>3}. {' '.join(step['sql'].split())}", f"     {step['reason']}", f"     {'; '.join(about)}"]
    if step["hazards"]:
        kept = f" (kept in {step['keeps']})" if step["keeps"] else ""
        lines.append(f"     {', '.join(step['hazards'])}{kept}")
    return "\n".join(lines)


def _beside(result: Mapping[str, Any]) -> list[Block]:
    return [
        *_listed("Not undone", result["cannot"]),
        *drift_blocks(result["drift"]),
        *_listed("Questions", result["questions"]),
        *_listed("Notes", result["notes"]),
    ]


def _listed(title: str, lines: Iterable[str]) -> list[Block]:
    rows = [(line,) for line in lines]
    if not rows:
        return []
    return [Table(title=f"{title} ({len(rows):,})", columns=("what",), rows=rows[:MOST_ROWS], footnote=more(rows))]


def _statements(count: int) -> str:
    return "1 statement" if count == 1 else f"{count:,} statements"
