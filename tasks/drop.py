"""`fbs.drop`: take a solution away, and nothing else."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from celery import shared_task
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.advisory_locks import lock_tables, transaction, transaction_lock
from fbs_worker.core.errors import DatabaseMissing, TablesNotEmpty
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.migration.model.archive import list_archives
from fbs_worker.schema import create
from fbs_worker.schema.inspector import LOCK_TABLES, relations
from fbs_worker.schema.system_tables import system_tables
from fbs_worker.solutions.cleanup import forget, is_address_book, others_have_rows
from fbs_worker.solutions.records import table_name
from fbs_worker.solutions.registry import OwnRow, SolutionRecord
from fbs_worker.solutions.requests import DropRequest
from fbs_worker.solutions.workspace import (
    Entry,
    Home,
    find_solution,
    refuse_another,
    to_oneself,
    undone_on_failure,
    vault_of,
)


@shared_task(name="fbs.drop", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def drop_task(self: JobTask, *, solution_name: str, with_data: bool = False, dry_run: bool = False) -> dict[str, Any]:
    """The job; its arguments are those of `DropRequest.parse`."""
    request = DropRequest.parse(solution_name=solution_name, with_data=with_data, dry_run=dry_run)
    return drop(request, settings=self.settings, progress=self.progress)


def drop(request: DropRequest, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Take a solution's tables away, its rows in the system tables, and its entry in the address book.

    What was discovered for its domain stays while another solution of the same table prefix has that domain. The system
    tables go with the last solution of their prefix, unless they hold rows of somebody else: discoveries of another
    domain that were made without a solution, or the address book.

    Args:
        request: what is asked.
        settings: the home database and the keys.
        progress: told the steps.

    Returns:
        `solution`, `dropped` and `kept` (tables), `rows` (how many each business table held) and `dry_run`.

    Raises:
        SolutionNotFound: there is none of that name.
        TablesNotEmpty: business tables hold rows, and `with_data` does not say that they may go.
        RefusedError: something of others stands on a table.
        FBSError: whatever else went wrong. Nothing is changed then.
    """
    vault = vault_of(settings)
    name = request.solution_name
    with closing(Home(settings, vault)) as home:
        progress.step("connect")
        known = find_solution(home, name)
        try:
            with to_oneself(known.database.resolved(vault), name, action="drop", progress=progress) as connection:
                plan = _drop_there(connection, request, home, known, progress)
        except DatabaseMissing:  # its tables went with it
            plan = _Plan()
            if not request.dry_run:
                Entry(home, known).gone(name)
    return {
        "solution": name,
        "dropped": list(plan.dropped),
        "kept": list(plan.kept),
        "rows": plan.rows,
        "dry_run": request.dry_run,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a drop takes away.

    Attributes:
        business: the solution's own tables that are there, and those that keep what migrations took away from them.
        system: the system tables that go with it.
        kept: the system tables that stay, and tables that nobody knows to be the solution's.
        rows: how many each business table holds.
        shared: another solution has the domain, its discoveries stay.
    """

    business: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    shared: bool = False

    @property
    def dropped(self) -> tuple[str, ...]:
        return (*self.business, *self.system)


def _drop_there(
    connection: Connection, request: DropRequest, home: Home, known: SolutionRecord, progress: Progress
) -> _Plan:
    """Drop what is in the solution's database, in one transaction, and the entry after it."""
    name, prefix = known.solution_name, known.table_prefix
    entry = Entry(home, find_solution(home, name))  # somebody else may have dropped it while this job waited
    with transaction(connection) as cursor:
        own = OwnRow.read(connection, prefix, name)
        refuse_another(entry.before, known, own=own)
        plan = _plan(cursor, home, known, own)
    if request.dry_run:
        return plan
    _refuse_rows(plan, request)
    progress.step("drop", total=len(plan.dropped))
    with undone_on_failure(entry, connection, name=name, table_prefix=prefix, own=own):
        entry.under_way(known, own=own)  # before the transaction: book and own row may be in one database
        with transaction(connection) as cursor:
            # in the order in which a save takes them: its own lock, then the discoveries
            transaction_lock(connection, f"catalogue:{prefix}:{known.domain}")
            lock_tables(connection, [f"{prefix}discoveries", *sorted(own.owned if own else ())])
            cursor.execute(LOCK_TABLES)  # no other solution of this prefix comes into being from here on
            plan = _plan(cursor, home, known, own)
            _refuse_rows(plan, request)  # nobody can write any now
            if own is not None:
                forget(cursor, prefix, solution_name=name, domain=own.domain, keep_domain=plan.shared)
                OwnRow.delete(connection, prefix, name)
            create.drop(connection, plan.dropped)
    # nothing may end the job from here on: the solution is gone, only the book is behind
    entry.gone(name)
    return plan


def _refuse_rows(plan: _Plan, request: DropRequest) -> None:
    full = {table: count for table, count in plan.rows.items() if count}
    if full and not request.with_data:
        told = ", ".join(f"{table} ({count})" for table, count in full.items())
        raise TablesNotEmpty(
            f"Tables of {request.solution_name!r} hold rows: {told}. Nothing was dropped.",
            hint="Save what you need; --with-data drops them with their rows.",
            rows=full,
        )


def _plan(cursor: Cursor, home: Home, known: SolutionRecord, own: SolutionRecord | None) -> _Plan:
    connection, prefix = cursor.connection, known.table_prefix
    if own is None:
        # its set-up was cut off, or its row was deleted: without it nothing says that a table of that name is FBS's
        return _Plan(kept=tuple(sorted(relations(connection, known.owned))))
    retired = {kept.name for kept in list_archives(cursor, prefix, solution=own.solution_name)}
    rows = create.rows_in(connection, sorted(own.owned | retired))
    system = [str(table.name) for table in system_tables(prefix)]
    there = [name for name in system if name in relations(connection, system)]
    others = OwnRow.others(connection, prefix, own.solution_name)
    stay = bool(others) or others_have_rows(cursor, prefix, solution_name=own.solution_name, domain=own.domain)
    book = (own.database.name, prefix) == (home.database.name, home.table_prefix)
    book = book or is_address_book(cursor, prefix, solution_name=own.solution_name)
    kept = [name for name in there if stay or (book and name == table_name(prefix))]
    return _Plan(
        business=tuple(rows),
        system=tuple(name for name in there if name not in kept),
        kept=tuple(kept),
        rows=rows,
        shared=any(record.domain == own.domain for record in others),
    )
