"""Drop a solution's tables and delete its rows; other solutions are not affected."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import lock_tables, transaction, transaction_lock
from fbs_worker.core.errors import DatabaseMissing, SolutionNotFound, TablesNotEmpty
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.migration.model.archive import list_archives
from fbs_worker.schema import table_stats
from fbs_worker.schema.inspector import LOCK_TABLES, relations
from fbs_worker.schema.system_tables import system_tables
from fbs_worker.solutions.cleanup import delete_rows, others_have_rows, registry_has_others
from fbs_worker.solutions.registry import Manifest, SolutionRecord, table_name
from fbs_worker.solutions.requests import DropRequest
from fbs_worker.solutions.workspace import (
    Entry,
    Home,
    check_same_solution,
    find_solution,
    locked_connection,
    restored_on_failure,
    vault_of,
)

_FOUND: Final = ("wait", "drop")
"""The steps of an attempt that has found the solution."""


def drop(
    request: DropRequest, *, settings: Settings, progress: Progress, earlier_step: str | None = None
) -> dict[str, Any]:
    """Drop a solution's tables, and delete its rows from the system tables and its entry from the registry.

    The discoveries of its domain are kept if another solution of the same table prefix has that domain. The system
    tables are dropped with the last solution of their prefix, unless they hold other rows: discoveries of another
    domain that were saved without a solution, or registry entries.

    Args:
        request: the validated parameters.
        settings: the home database and the keys.
        progress: receives the steps.
        earlier_step: the last step of an earlier attempt of this job, which may have dropped the solution before it was
            cut off; None in the first attempt.

    Returns:
        `solution`, `dropped` and `kept` (tables), `rows` (number of rows of each business table) and `dry_run`.

    Raises:
        SolutionNotFound: the registry has no such solution.
        TablesNotEmpty: business tables hold rows and `with_data` is false.
        RefusedError: an object that FBS did not create depends on a table.
        FBSError: a connection failed, or PostgreSQL reported an error. Nothing is changed.
    """
    vault = vault_of(settings)
    name = request.solution_name
    with closing(Home(settings, vault)) as home:
        progress.step("connect")
        try:
            registered = find_solution(home, name)
        except SolutionNotFound:
            if earlier_step not in _FOUND:
                raise
            return _result(request, _Plan())
        try:
            with locked_connection(
                registered.database.resolved(vault), name, action="drop", progress=progress
            ) as connection:
                plan = _drop(connection, request, home, registered, progress)
        except DatabaseMissing:  # the tables were dropped with it
            plan = _Plan()
            if not request.dry_run:
                Entry(home, registered).remove(name)
        except SolutionNotFound:  # it was there before this attempt waited for the lock
            if earlier_step is None:
                raise
            plan = _Plan()
    return _result(request, plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Tables to drop and to keep.

    Attributes:
        business: the existing tables that the solution owns, and the archive tables of its migrations.
        system: the system tables to drop.
        kept: the system tables to keep, and, without a manifest, tables whose owner is unknown.
        rows: number of rows of each business table.
        shared: whether another solution has the same domain, so that its discoveries are kept.
    """

    business: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    shared: bool = False

    @property
    def dropped(self) -> tuple[str, ...]:
        return (*self.business, *self.system)


def _result(request: DropRequest, plan: _Plan) -> dict[str, Any]:
    return {
        "solution": request.solution_name,
        "dropped": list(plan.dropped),
        "kept": list(plan.kept),
        "rows": plan.rows,
        "dry_run": request.dry_run,
    }


def _drop(
    connection: Connection, request: DropRequest, home: Home, registered: SolutionRecord, progress: Progress
) -> _Plan:
    """Drop the tables and rows in one transaction, then delete the registry entry."""
    name, prefix = registered.solution_name, registered.table_prefix
    entry = Entry(home, find_solution(home, name))  # it may have been dropped while this job waited for the lock
    with transaction(connection) as cursor:
        manifest = Manifest.read(connection, prefix, name)
        check_same_solution(entry.before, registered, manifest=manifest)
        plan = _plan(cursor, home, registered, manifest)
    if request.dry_run:
        return plan
    _check_rows(plan, request)
    progress.step("drop", total=len(plan.dropped))
    with restored_on_failure(entry, connection, name=name, table_prefix=prefix, manifest=manifest):
        entry.mark_inactive(registered, manifest=manifest)  # outside the transaction: entry and manifest may be one row
        with transaction(connection) as cursor:
            # the lock order of a catalogue save: its advisory lock, then the discoveries
            transaction_lock(connection, f"catalogue:{prefix}:{registered.domain}")
            lock_tables(connection, [f"{prefix}discoveries", *sorted(manifest.owned if manifest else ())])
            cursor.execute(LOCK_TABLES)  # from here on no other solution of this prefix can be created
            plan = _plan(cursor, home, registered, manifest)
            _check_rows(plan, request)  # again, now that writes are locked out
            if manifest is not None:
                delete_rows(cursor, prefix, solution_name=name, domain=manifest.domain, keep_domain=plan.shared)
                Manifest.delete(connection, prefix, name)
            table_stats.drop(connection, plan.dropped)
    # the solution is dropped: only the registry is left to update, and the job can no longer be cancelled
    entry.remove(name)
    return plan


def _check_rows(plan: _Plan, request: DropRequest) -> None:
    non_empty = {table: count for table, count in plan.rows.items() if count}
    if non_empty and not request.with_data:
        listed = ", ".join(f"{table} ({count})" for table, count in non_empty.items())
        raise TablesNotEmpty(
            f"Tables of {request.solution_name!r} hold rows: {listed}. Nothing was dropped.",
            hint="Back up what you need; --with-data drops the tables with their rows.",
            rows=non_empty,
        )


def _plan(cursor: Cursor, home: Home, registered: SolutionRecord, manifest: SolutionRecord | None) -> _Plan:
    connection, prefix = cursor.connection, registered.table_prefix
    if manifest is None:
        # the set-up was interrupted, or the manifest was deleted: the tables' owner is unknown
        return _Plan(kept=tuple(sorted(relations(connection, registered.owned))))
    archives = {archive.name for archive in list_archives(cursor, prefix, solution=manifest.solution_name)}
    rows = table_stats.rows_in(connection, sorted(manifest.owned | archives))
    system = [str(table.name) for table in system_tables(prefix)]
    existing = [name for name in system if name in relations(connection, system)]
    others = Manifest.others(connection, prefix, manifest.solution_name)
    in_use = bool(others) or others_have_rows(
        cursor, prefix, solution_name=manifest.solution_name, domain=manifest.domain
    )
    holds_registry = (manifest.database.name, prefix) == (home.database.name, home.table_prefix)
    holds_registry = holds_registry or registry_has_others(cursor, prefix, solution_name=manifest.solution_name)
    kept = [name for name in existing if in_use or (holds_registry and name == table_name(prefix))]
    return _Plan(
        business=tuple(rows),
        system=tuple(name for name in existing if name not in kept),
        kept=tuple(kept),
        rows=rows,
        shared=any(record.domain == manifest.domain for record in others),
    )
