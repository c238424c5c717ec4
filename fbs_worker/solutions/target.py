"""Desired tables of a solution and the migration plan that leads to them. Read-only."""

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
from fbs_worker.solutions.registry import SolutionRecord


@dataclass(frozen=True, kw_only=True)
class DesiredTables:
    """The tables that a solution should have.

    Attributes:
        definition: the tables.
        mirrored: the models to mirror, each with its main table. Models that Odoo no longer has are included: their
            tables are created again when the models reappear.
        missing: the models in `mirrored` that the catalogue does not have.
    """

    definition: Definition
    mirrored: dict[str, str]
    missing: tuple[str, ...]


def desired_tables(
    cursor: Cursor, manifest: SolutionRecord, *, mirror: Collection[str] = (), unmirror: Collection[str] = ()
) -> DesiredTables:
    """Return a solution's desired tables: those of its domain, and those of its mirrored models per the catalogue.

    Args:
        cursor: in the caller's transaction.
        manifest: the solution's manifest.
        mirror: Odoo models to mirror in addition.
        unmirror: Odoo models to stop mirroring.

    Raises:
        UsageError: the catalogue does not have a model of `mirror`, the solution does not mirror a model of
            `unmirror`, or a name in the definition is not valid.
        RefusedError: mirrored models are missing and the catalogue is empty.
        DatabaseError: a statement failed.
        DatabaseUnreachable: the connection was lost.
    """
    before = manifest.mirrored
    not_mirrored = sorted(set(unmirror) - before.keys())
    if not_mirrored:
        raise UsageError(
            f"The solution {manifest.solution_name!r} does not mirror {', '.join(not_mirrored)}.",
            hint=f"It mirrors: {', '.join(sorted(before)) or 'nothing'}.",
        )
    requested = (set(before) | set(mirror)) - set(unmirror)
    models = model_definitions(cursor, manifest.table_prefix, manifest.domain, requested)
    missing = sorted(requested - models.keys())
    if missing and not has_models(cursor, manifest.table_prefix, manifest.domain):
        raise RefusedError(
            f"The catalogue of {manifest.domain!r} has no models: the mirrored tables cannot be determined.",
            hint=f"Read Odoo first: fbs refresh {manifest.solution_name}",
        )
    unknown = [name for name in missing if name not in before]
    if unknown:
        raise UsageError(
            f"The discoveries of the domain {manifest.domain!r} have no model {', '.join(unknown)}.",
            hint="Check the name and run `fbs refresh`; an installed module of the domain must define or extend it.",
            models=unknown,
        )
    definition = define(
        load_domain(manifest.domain),
        table_prefix=manifest.table_prefix,
        business_prefix=manifest.business_prefix,
        mirrored=models,
    )
    retained = {model: table for model, table in before.items() if model in requested}
    return DesiredTables(definition=definition, mirrored={**retained, **definition.mirrored}, missing=tuple(missing))


def plan_migration(
    cursor: Cursor,
    manifest: SolutionRecord,
    desired: DesiredTables,
    *,
    renames: Sequence[str] = (),
    restore: bool = False,
) -> Plan:
    """Plan the migration of a solution's tables to the desired ones.

    Args:
        cursor: in the caller's transaction.
        manifest: the solution's manifest.
        desired: the result of `desired_tables`.
        renames: renamed columns, each `table.old=new`.
        restore: also revert manual changes (drift).

    Raises:
        UsageError: a rename does not match the tables.
        DatabaseError: a statement failed.
        DatabaseUnreachable: the connection was lost.
    """
    plan = make_plan(
        cursor.connection,
        solution=manifest.solution_name,
        definition=desired.definition,
        last_applied=manifest.recorded_schema,
        owned=manifest.owned,
        renames=renames,
        restore=restore,
        mirrored=manifest.mirrored,
    )
    return replace(plan, notes=(*plan.notes, *_missing_notes(manifest, desired)))


def _missing_notes(manifest: SolutionRecord, desired: DesiredTables) -> Iterator[str]:
    for model in desired.missing:
        table = desired.mirrored[model]
        if table in manifest.owned:
            yield (
                f"{table}: the Odoo model {model} is not in the catalogue, so its table is dropped; it is created again"
                f" when the model reappears (--no-mirror {model} stops mirroring it)"
            )
        else:
            yield f"{table}: the Odoo model {model} is not in the catalogue; its table is created when it appears"
