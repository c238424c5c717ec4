"""`fbs.refresh`: read a solution's Odoo again and save the changes."""

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
from fbs_worker.solutions.registry import Manifest
from fbs_worker.solutions.requests import RefreshRequest
from fbs_worker.solutions.workspace import Home, find_solution, locked_connection, read_manifest, vault_of
from fbs_worker.tasks.refreshing import RefreshResult, refresh_solution


@shared_task(name="fbs.refresh", bind=True, base=JobTask)  # type: ignore[untyped-decorator]  # Celery has no types
def refresh_task(self: JobTask, *, solution_name: str, full: bool = False, odoo_moved: bool = False) -> dict[str, Any]:
    """Run `refresh`; arguments as for `RefreshRequest.parse`."""
    request = RefreshRequest.parse(solution_name=solution_name, full=full, odoo_moved=odoo_moved)
    return refresh(request, settings=self.settings, progress=self.progress)


def refresh(request: RefreshRequest, *, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Read a solution's Odoo and save the changes of discoveries, workflows and dashboards in one transaction.

    The registry says which database to write, the manifest which Odoo connection to read.

    Args:
        request: the validated parameters.
        settings: the home database, the Odoo connections and the keys.
        progress: receives the steps.

    Returns:
        `solution`, `report` (the changes), `workflows` and `dashboards` (numbers of changes), `source` (the Odoo),
        `calls` (number of calls to Odoo) and `seconds`.

    Raises:
        SolutionNotFound: the registry has no such solution, or its set-up was never completed.
        SolutionConflict: the connection leads to another Odoo than at the last refresh.
        FBSError: Odoo or PostgreSQL reported an error; nothing is saved.
    """
    vault = vault_of(settings)
    name = request.solution_name
    progress.step("connect")
    with closing(Home(settings, vault)) as home:
        entry = find_solution(home, name)
    database = entry.database.resolved(vault)
    with locked_connection(database, name, action="refresh", progress=progress) as connection:
        manifest = read_manifest(connection, entry)

        def prepare(_cursor: Cursor) -> None:
            ensure_tables(connection, manifest.table_prefix, SYSTEM_TABLES)

        def write(_cursor: Cursor, refreshed: RefreshResult) -> None:
            if refreshed.should_record:
                definition = {
                    **manifest.schema_definition,
                    "source": refreshed.source,
                    "last_refresh": refreshed.last_refresh_payload(),
                }
                Manifest.write(connection, replace(manifest, schema_definition=definition), vault)

        refreshed = refresh_solution(
            settings.odoo(manifest.odoo),
            connection,
            manifest,
            full=request.full,
            odoo_moved=request.odoo_moved,
            settings=settings,
            progress=progress,
            prepare=prepare,
            write=write,
        )
    return refreshed.to_dict()
