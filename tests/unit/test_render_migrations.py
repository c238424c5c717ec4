"""Rendering of migrations and plans."""

from __future__ import annotations

from typing import Any

from fbs_worker.cli.output import plain_lines
from fbs_worker.cli.render.migrations import migrate_blocks, plan_blocks
from fbs_worker.cli.render.results import result_blocks
from fbs_worker.migration.model.plan import ArchiveTarget, Hazard, Lock, Mode, Plan, Step, TableSummary, apply_command

STEPS = (
    Step(
        sql='ALTER TABLE "r_lease" ADD COLUMN "note" text', kind="add_column", table="r_lease", reason="sale.order.note"
    ),
    Step(
        sql='ALTER TABLE "r_lease"\n  DROP COLUMN "old"',
        kind="drop_column",
        table="r_lease",
        reason="sale.order.old is gone",
        hazards=frozenset({Hazard.DELETES_DATA}),
        has_rows=True,
        archive=ArchiveTarget(table="r_lease", column="old", archive_table="fbs_retired_r_lease__old"),
    ),
    Step(
        sql="CREATE INDEX CONCURRENTLY i ON r_lease (note)",
        kind="add_index",
        table="r_lease",
        reason="an index",
        lock=Lock.SHARE_UPDATE_EXCLUSIVE,
        mode=Mode.ALONE,
        hazards=frozenset({Hazard.INDEX_BUILD}),
        has_rows=True,
    ),
)
APPLIED = {"run": "abc", "executed": 3, "kept": ["fbs_retired_r_lease__old"], "seconds": 1.26}


def result(*steps: Step, **more: Any) -> dict[str, Any]:
    plan = Plan(
        solution="shop",
        steps=steps,
        drift=("r_lease: by hand",),
        questions=("renamed?",),
        notes=("later",),
        blockers=more.pop("blockers", ()),
        summary=(TableSummary(table="r_lease", rows=6_000_000, bytes=432_000_000, changes=("+ note text", "- old")),),
    )
    rest = {
        "options": {},
        "changes": [],
        "enabled": True,
        "applied": None,
        "undoes": None,
        "cannot": [],
        "seconds": 0.1,
    }
    return {**plan.to_dict(), **rest, **more}


def text(*blocks: Any) -> str:
    return "\n".join(block if isinstance(block, str) else "\n".join(plain_lines(block)) for block in blocks)


def test_a_plan_shows_its_statements_and_how_to_apply_it() -> None:
    planned = result(*STEPS, options={"restore": False, "rename": ["r_lease.a=b c"], "mirror": []})
    output = text(*plan_blocks(planned))
    assert output.splitlines()[0] == f"Plan {planned['fingerprint']} for shop (3 statements in 2 transactions):"
    assert '  2. ALTER TABLE "r_lease" DROP COLUMN "old"' in output
    assert "to allow: DELETES_DATA (archived in fbs_retired_r_lease__old)" in output
    assert "said only: INDEX_BUILD" in output
    assert "r_lease  ~6,000,000  412 MB  + note text" in output
    assert "Transaction 1: ACCESS EXCLUSIVE on r_lease: readers and writers wait, briefly\n" in output
    assert (
        "Transaction 2: SHARE UPDATE EXCLUSIVE on r_lease: no reader or writer waits, as long as 412 MB is read twice"
        " for an index\n" in output
    )
    assert "an index; outside of a transaction" in output
    for words in ("Changed by hand (1)", "Questions (1)", "Notes (1)", "sale.order.old is gone"):
        assert words in output
    assert output.splitlines()[-1] == (
        f"Apply it: fbs migrate --solution-name shop --apply {planned['fingerprint']} --rename 'r_lease.a=b c'"
        " --allow DELETES_DATA"
    )


def test_a_plan_that_postgresql_would_refuse_is_not_offered() -> None:
    output = text(*plan_blocks(result(*STEPS, blockers=("r_lease.old: view mine depends on it",))))
    assert "view mine depends on it" in output
    assert output.splitlines()[-1].startswith("It cannot be applied")
    assert "--apply" not in output


def test_a_plan_without_a_statement() -> None:
    output = text(*plan_blocks(result()))
    assert output.startswith("There is nothing to change in the tables of shop.")
    assert "--apply" not in output
    output = text(*plan_blocks(result(undoes="abc", cannot=["r_lease: it stays"])))
    assert output.startswith("Nothing of migration abc can be undone.")
    assert "r_lease: it stays" in output


def test_a_plan_where_migrations_are_switched_off() -> None:
    output = text(*plan_blocks(result(*STEPS, enabled=False)))
    assert output.splitlines()[-1].startswith("Migrations are switched off")


def test_an_applied_migration() -> None:
    output = text(*result_blocks("migrate", result(*STEPS, applied=APPLIED), name="shop"))
    assert output.startswith("The tables of shop match their definition now: 3 statements in 1.3 s.")
    assert "archived in fbs_retired_r_lease__old" in output
    assert "fbs migrate --solution-name shop --undo" in output
    nothing = {**APPLIED, "executed": 0, "kept": []}
    assert text(*migrate_blocks(result(applied=nothing))).startswith("There was nothing to change")
    undone = text(*migrate_blocks(result(STEPS[0], applied={**APPLIED, "executed": 1, "kept": []}, undoes="abc")))
    assert undone.startswith("Migration abc of shop is undone: 1 statement in")
    assert "--undo" not in undone


def test_the_plan_of_an_undo() -> None:
    undo = result(STEPS[0], undoes="abc")
    assert "undoes migration abc of shop (1 statement):" in text(*plan_blocks(undo))
    assert apply_command(undo) == f"fbs migrate --solution-name shop --undo --apply {undo['fingerprint']}"
