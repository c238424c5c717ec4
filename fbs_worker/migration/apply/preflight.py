"""Preflight checks: reject a plan before it runs, or in its transaction; errors of failed statements. Read-only."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.errors import FBSError, RefusedError
from fbs_worker.migration.model.plan import Hazard, Plan, Step
from fbs_worker.schema.inspector import existing_tables, populated_tables

_SHOWN: Final = 5


def check_plan(cursor: Cursor, plan: Plan, allowed: Collection[Hazard]) -> None:
    """Check what PostgreSQL refuses, hazards and existing rows.

    Args:
        cursor: cursor of a transaction with a long statement timeout: rows are counted.
        plan: the plan.
        allowed: hazards allowed by name.

    Raises:
        RefusedError: PostgreSQL would refuse a step, a hazard is not allowed, or existing rows conflict with a step.
        psycopg2.Error: a statement failed; the caller translates it.
    """
    if plan.blockers:
        more = f"; and {len(plan.blockers) - _SHOWN} more" if len(plan.blockers) > _SHOWN else ""
        raise RefusedError(
            f"PostgreSQL would refuse this plan; nothing was changed. {'; '.join(plan.blockers[:_SHOWN])}{more}.",
            hint="Drop or change what stands in the way, apply the plan, and create it again where it is needed.",
            blockers=list(plan.blockers),
        )
    _check_hazards(plan, allowed)
    _check_rows(cursor, plan)


def check_not_stale(plan: Plan, now: Plan) -> None:
    """Check that a plan is not stale.

    Args:
        plan: the reviewed plan.
        now: the plan for the current database.

    Raises:
        RefusedError: the fingerprints differ.
    """
    if now.fingerprint != plan.fingerprint:
        raise RefusedError(
            f"Plan {plan.fingerprint} is stale: the database changed after it was made. Nothing was applied.",
            hint=f"Review and apply the new plan {now.fingerprint}.",
            fingerprint=now.fingerprint,
        )


def check_still_empty(cursor: Cursor, table: str) -> None:
    """Check that a table that the plan assumes empty has no rows.

    Args:
        cursor: cursor of a transaction that has locked the table.
        table: unquoted name; a missing table counts as empty.

    Raises:
        RefusedError: the table contains rows.
        psycopg2.Error: a statement failed; the caller translates it.
    """
    if populated_tables(cursor.connection, existing_tables(cursor.connection, [table])):
        raise RefusedError(
            f"{table} was empty when the plan was made and contains rows now.",
            hint="Plan again: a table with rows needs other steps.",
            table=table,
        )


def statement_error(exc: FBSError, step: Step, *, done: int, total: int) -> FBSError:
    """Return an error of the same class that names the failed statement and the progress of the migration.

    Args:
        exc: the original error.
        step: the failed step.
        done: number of applied statements.
        total: number of statements of the plan.
    """
    kind, hint, sqlstate = type(exc), exc.hint, str(exc.context.get("sqlstate") or "")
    if sqlstate == "2BP01" or (sqlstate == "0A000" and step.kind == "retype_column"):  # dependent objects; a view
        kind, hint = RefusedError, "Dependent objects exist (views, foreign keys, …): drop them first."
    elif sqlstate.startswith(("22", "23")):  # data exception, integrity constraint violation
        hint = "Conflicting rows were written meanwhile: plan again, the preflight check counts them."
    so_far = f" {done} of {total} statements were applied and stay." if done else ""
    return kind(
        f"{step.table}: {step.kind.replace('_', ' ')} failed: {exc.message}{so_far}",
        hint=hint,
        **{**exc.context, "statement": step.sql, "table": step.table, "executed": done, "total": total},
    )


def _check_hazards(plan: Plan, allowed: Collection[Hazard]) -> None:
    missing = plan.unallowed_hazards(allowed)
    if not missing:
        return
    steps = [step for step in plan.steps if step.hazards & missing]
    lines = [f"{', '.join(sorted(step.hazards & missing))}: {step.sql} ({step.reason})" for step in steps]
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    hint = "Allow by name: " + " ".join(f"--allow {hazard}" for hazard in sorted(missing))
    if Hazard.POSSIBLE_RENAME in missing and plan.questions:
        hint = f"{'; '.join(plan.questions[:_SHOWN])}. Otherwise {hint[0].lower()}{hint[1:]}"
    raise RefusedError(
        f"The plan has hazards that are not allowed; nothing was changed. {'; '.join(lines[:_SHOWN])}{more}.",
        hint=hint,
        hazards=sorted(map(str, missing)),
        steps=[step.to_dict() for step in steps],
    )


def _check_rows(cursor: Cursor, plan: Plan) -> None:
    offending: list[dict[str, object]] = []
    for step in plan.steps:
        if step.check is None:
            continue
        cursor.execute(step.check)
        row = cursor.fetchone()
        if row and row[0]:
            offending.append({"table": step.table, "rows": int(row[0]), "statement": step.sql, "reason": step.reason})
    if offending:
        lines = [f"{t['table']}: {t['rows']} rows: {t['statement']} ({t['reason']})" for t in offending]
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise RefusedError(
            f"Existing rows conflict with the plan; nothing was changed. {'; '.join(lines[:_SHOWN])}{more}.",
            hint="Correct or remove those rows, then plan again.",
            rows=offending,
        )
