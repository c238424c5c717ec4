"""`fbs.refresh`: read a solution's Odoo again, and record what changed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

from celery import shared_task
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.worker.task import JobTask
from fbs_worker.schema.system_tables import SYSTEM_TABLES, ensure_tables
from fbs_worker.solutions.registry import OwnRow
from fbs_worker.solutions.requests import RefreshRequest
from fbs_worker.solutions.workspace import Home, find_solution, own_row, to_oneself, vault_of
from fbs_worker.tasks.reading import Refreshed, refresh_solution


@shared_task(name="fbs.refresh", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def refresh_task(self: JobTask, *, solution_name: str, full: bool = False, odoo_moved: bool = False) -> dict[str, Any]:
    """The job; its arguments are those of `RefreshRequest.parse`."""
    request = RefreshRequest.parse(solution_name=solution_name, full=full, odoo_moved=odoo_moved)
    return refresh(request, settings=self.settings, progress=self.progress)


def refresh(request: RefreshRequest, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Read a solution's Odoo and save what changed in its discoveries, workflows and dashboards: all of it, or nothing.

    Where the database is and which Odoo is read comes from the address book and the solution's own row.

    Args:
        request: what is asked.
        settings: the home database, the Odoo connections and the keys.
        progress: told the steps.

    Returns:
        `solution`, `report` (what changed), `workflows` and `dashboards` (what changed, counted), `source` (which
        Odoo), `calls` (how many calls it took) and `seconds`.

    Raises:
        SolutionNotFound: there is none of that name, or its set-up was never completed.
        SolutionConflict: the connection leads to another Odoo than before.
        FBSError: whatever else went wrong; nothing is saved then.
    """
    vault = vault_of(settings)
    name = request.solution_name
    progress.step("connect")
    with closing(Home(settings, vault)) as home:
        entry = find_solution(home, name)
    database = entry.database.resolved(vault)
    with to_oneself(database, name, action="refresh", progress=progress) as connection:
        own = own_row(connection, entry)

        def prepare(_cursor: Cursor) -> None:
            ensure_tables(connection, own.table_prefix, SYSTEM_TABLES)

        def write(_cursor: Cursor, refreshed: Refreshed) -> None:
            if refreshed.worth_remembering:
                told = {**own.schema_definition, "source": refreshed.source, "last_refresh": refreshed.remembered()}
                OwnRow.write(connection, replace(own, schema_definition=told), vault)

        refreshed = refresh_solution(
            settings.odoo(own.odoo),
            connection,
            own,
            full=request.full,
            odoo_moved=request.odoo_moved,
            settings=settings,
            progress=progress,
            prepare=prepare,
            write=write,
        )
    return refreshed.to_dict()
