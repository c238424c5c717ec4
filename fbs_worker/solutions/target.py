"""What a solution's tables are to be by now, and the plan that leads there. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.store import has_models, model_definitions
from fbs_worker.core.errors import RefusedError, UsageError
from fbs_worker.domains import load_domain
from fbs_worker.migration.model.plan import Plan
from fbs_worker.migration.plan.planner import make_plan
from fbs_worker.schema.definition import Definition, define
from fbs_worker.solutions.records import SolutionRecord


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a solution is to have.

    Attributes:
        definition: its tables.
        mirrored: the models that are to be mirrored, each with its table; those that are gone from Odoo included: their
            tables are made anew when they come back.
        gone: those that the catalogue does not have.
    """

    definition: Definition
    mirrored: dict[str, str]
    gone: tuple[str, ...]


def wanted(
    cursor: Cursor, own: SolutionRecord, *, mirror: Collection[str] = (), unmirror: Collection[str] = ()
) -> Wanted:
    """What a solution is to have: the tables of its domain, and those of its mirrored models as Odoo has them by now.

    Args:
        cursor: in a transaction of the caller's.
        own: the solution's own row.
        mirror: further models to mirror.
        unmirror: models that are no longer to be mirrored.

    Raises:
        UsageError: a model to mirror is not in the catalogue, one that is not to be mirrored any more never was, or
            the tables cannot be as they would have to be.
        RefusedError: models are gone because the catalogue as a whole is empty.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    before = own.mirrored
    never = sorted(set(unmirror) - before.keys())
    if never:
        raise UsageError(
            f"The solution {own.solution_name!r} does not mirror {', '.join(never)}.",
            hint=f"It mirrors: {', '.join(sorted(before)) or 'nothing'}.",
        )
    wishes = (set(before) | set(mirror)) - set(unmirror)
    models = model_definitions(cursor, own.table_prefix, own.domain, wishes)
    missing = sorted(wishes - models.keys())
    if missing and not has_models(cursor, own.table_prefix, own.domain):
        raise RefusedError(
            f"The catalogue of {own.domain!r} has no models at all: nothing tells what the mirrored tables are to be.",
            hint=f"Read Odoo first: fbs refresh {own.solution_name}",
        )
    unknown = [name for name in missing if name not in before]
    if unknown:
        raise UsageError(
            f"The discoveries of the domain {own.domain!r} have no model {', '.join(unknown)}.",
            hint="Check the name, and refresh: a module of the domain that is installed must define or extend it.",
            models=unknown,
        )
    definition = define(
        load_domain(own.domain),
        table_prefix=own.table_prefix,
        business_prefix=own.business_prefix,
        mirrored=models,
    )
    kept = {model: table for model, table in before.items() if model in wishes}
    return Wanted(definition=definition, mirrored={**kept, **definition.mirrored}, gone=tuple(missing))


def plan_migration(
    cursor: Cursor, own: SolutionRecord, aim: Wanted, *, renames: Sequence[str] = (), restore: bool = False
) -> Plan:
    """What would make a solution's tables what they are to be.

    Args:
        cursor: in a transaction of the caller's.
        own: the solution's own row.
        aim: what the solution is to have.
        renames: columns that were renamed, each `table.old=new`.
        restore: what was changed by hand is to be as it was made, too.

    Raises:
        UsageError: one of the renames cannot be.
        DatabaseError, DatabaseUnreachable: as their names say.
    """
    plan = make_plan(
        cursor.connection,
        solution=own.solution_name,
        definition=aim.definition,
        last_applied=own.shape,
        owned=own.owned,
        renames=renames,
        restore=restore,
        mirrored=own.mirrored,
    )
    return replace(plan, notes=(*plan.notes, *_gone(own, aim)))


def _gone(own: SolutionRecord, aim: Wanted) -> Iterator[str]:
    for model in aim.gone:
        table = aim.mirrored[model]
        if table in own.owned:
            yield (
                f"{table}: Odoo's model {model} is not in the catalogue, so its table goes; it is made anew when the"
                f" model comes back (--no-mirror {model} ends that)"
            )
        else:
            yield f"{table}: Odoo's model {model} is not in the catalogue; its table is made when it is"
