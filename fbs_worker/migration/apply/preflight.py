"""What a plan is refused for, before anything of it runs or in its transaction; and what is said of one that failed.

Reads only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.errors import FBSError, RefusedError
from fbs_worker.migration.apply.lock_retry import existing_tables
from fbs_worker.migration.model.plan import Hazard, Plan, Step

_SHOWN: Final = 5


def check_plan(cursor: Cursor, plan: Plan, allowed: Collection[Hazard]) -> None:
    """See that a plan may be applied.

    Args:
        cursor: in a transaction that may take long: rows are counted.
        plan: the plan.
        allowed: the hazards that were allowed by name.

    Raises:
        RefusedError: a hazard was not, or rows do not fit what is to come.
        psycopg2.Error: to be translated by the caller.
    """
    _check_hazards(plan, allowed)
    _check_rows(cursor, plan)


def check_not_stale(plan: Plan, now: Plan) -> None:
    """See that a plan still fits the database.

    Args:
        plan: the one that was shown.
        now: the one that is made of the database as it is now.

    Raises:
        RefusedError: it does not.
    """
    if now.fingerprint != plan.fingerprint:
        raise RefusedError(
            f"The plan {plan.fingerprint} does not fit the database any more; nothing was changed.",
            hint=f"Look at the new plan, {now.fingerprint}, and apply that.",
            fingerprint=now.fingerprint,
        )


def check_still_empty(cursor: Cursor, table: str) -> None:
    """See that a table which was empty when the plan was made still is, once nobody can write to it any more.

    Args:
        cursor: in a transaction that has the table locked.
        table: its unquoted name; one that is not there holds nothing.

    Raises:
        RefusedError: it has got rows.
        psycopg2.Error: to be translated by the caller.
    """
    if not existing_tables(cursor, [table]):
        return
    cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table)))
    row = cursor.fetchone()
    if row and row[0]:
        raise RefusedError(
            f"{table} was empty when the plan was made, and holds rows now.",
            hint="Plan again: with rows there is another way.",
            table=table,
        )


def statement_error(exc: FBSError, step: Step, *, done: int, total: int) -> FBSError:
    """An error that says which statement failed, and how far the migration came.

    Args:
        exc: what was raised.
        step: the statement.
        done: how many statements have run.
        total: of how many.
    """
    kind, hint, sqlstate = type(exc), exc.hint, str(exc.context.get("sqlstate") or "")
    if sqlstate == "2BP01" or (sqlstate == "0A000" and step.kind == "retype_column"):  # dependent objects; a view
        kind, hint = RefusedError, "Views, foreign keys or others stand on it; drop those first, if nobody needs them."
    elif sqlstate.startswith(("22", "23")):  # data exception, integrity constraint violation
        hint = "Rows that do not fit came in meanwhile: plan again, they are counted then."
    so_far = f" {done} of {total} statements have run, and stay." if done else ""
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
    hint = "Allow it by name: " + " ".join(f"--allow {hazard}" for hazard in sorted(missing))
    if Hazard.POSSIBLE_RENAME in missing and plan.questions:
        hint = f"{'; '.join(plan.questions[:_SHOWN])}. If not: {hint[0].lower()}{hint[1:]}"
    raise RefusedError(
        f"The plan has hazards that were not allowed; nothing was changed. {'; '.join(lines[:_SHOWN])}{more}.",
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
        lines = [f"{t['table']}: {t['rows']} for {t['statement']} ({t['reason']})" for t in offending]
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise RefusedError(
            f"Rows do not fit what is to come; nothing was changed. {'; '.join(lines[:_SHOWN])}{more}.",
            hint="Correct or remove those rows, then plan again.",
            rows=offending,
        )
