"""Read a solution's Odoo; save catalogue, workflows and dashboards in one transaction. Shared by set-up and refresh."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.model import ChangeReport
from fbs_worker.catalogue.projections import fill_dashboards, fill_workflows
from fbs_worker.connectors.connect import limiter_for, open_transport
from fbs_worker.connectors.odoo import OdooConnector
from fbs_worker.core.advisory_locks import transaction
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.domains import load_domain
from fbs_worker.solutions.refresh import RefreshResult
from fbs_worker.solutions.registry import SolutionRecord
from fbs_worker.tasks.discover import read_and_save


def refresh_solution(
    odoo: OdooConnection,
    connection: Connection,
    record: SolutionRecord,
    *,
    full: bool,
    odoo_moved: bool,
    settings: Settings,
    progress: Progress,
    prepare: Callable[[Cursor], None],
    write: Callable[[Cursor, RefreshResult], None],
) -> RefreshResult:
    """Read a solution's Odoo; save catalogue, workflows, dashboards and the callbacks' writes in one transaction.

    Args:
        odoo: the Odoo connection.
        connection: to the solution's database, outside of a transaction.
        record: the solution: its name, domain and table prefix.
        full: read everything, even if the fingerprint says that nothing changed.
        odoo_moved: the saved discoveries were read from this same Odoo under another address.
        settings: page size, and how long an equal fingerprint may replace a read.
        progress: receives the steps.
        prepare: called in the transaction after the discoveries are written; creates the missing system tables.
        write: called in the transaction after everything else is written.

    Returns:
        The changes.

    Raises:
        FBSError: Odoo or PostgreSQL reported an error; nothing is saved.
    """
    began = time.monotonic()
    domain = load_domain(record.domain).selecting(**record.module_patterns)
    results: list[RefreshResult] = []
    limiter = limiter_for(odoo, settings=settings, progress=progress)
    transport = open_transport(odoo, limiter=limiter, max_answer=settings.fbs_odoo_max_answer, progress=progress)
    with closing(transport):
        connector = OdooConnector(transport, page_size=settings.fbs_page_size, lang=odoo.lang)

        def within(cursor: Cursor, report: ChangeReport) -> None:
            prepare(cursor)
            progress.step("derive")
            refreshed = RefreshResult(
                solution=record.solution_name,
                report=report,
                workflows=fill_workflows(cursor, record.table_prefix, record.domain),
                dashboards=fill_dashboards(cursor, record.table_prefix, record.domain),
                source=connector.source,
            )
            write(cursor, refreshed)
            results.append(refreshed)

        report = read_and_save(
            connector,
            connection,
            domain=domain,
            table_prefix=record.table_prefix,
            full=full,
            odoo_moved=odoo_moved,
            full_after=settings.fbs_full_after,
            progress=progress,
            mirror=record.mirrored,
            within=within,
        )
        if not results:  # nothing was read, but workflows and dashboards may be older than the catalogue
            with transaction(connection) as cursor:
                within(cursor, report)
        return replace(results[0], calls=transport.calls, seconds=round(time.monotonic() - began, 3))
