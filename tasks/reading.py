"""Read a solution's Odoo, and save everything that follows from it in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

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
from fbs_worker.solutions.registry import SolutionRecord
from fbs_worker.tasks.discover import read_and_save

_WRITTEN: Final = ("added", "changed", "removed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What a read of a solution's Odoo came to.

    Attributes:
        solution: the solution's name.
        report: what changed in the catalogue.
        workflows: what changed in the workflow definitions, counted.
        dashboards: what changed in the BI dashboards, counted.
        source: the Odoo.
        calls: how many calls it took.
        seconds: how long it took.
    """

    solution: str
    report: ChangeReport
    workflows: Mapping[str, Any]
    dashboards: Mapping[str, Any]
    source: Mapping[str, str]
    calls: int = 0
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Something was written."""
        derived = (self.workflows, self.dashboards)
        return not self.report.nothing_changed or any(told[what] for told in derived for what in _WRITTEN)

    @property
    def worth_remembering(self) -> bool:
        """Odoo was read, or something was written."""
        return self.report.read or self.changed

    def remembered(self) -> dict[str, Any]:
        """What a solution's own row keeps of it, JSON-ready."""
        report = self.report
        return {
            "at": datetime.now(tz=UTC).isoformat(timespec="seconds"),
            "report": {
                "added": len(report.added),
                "removed": len(report.removed),
                "changed": len(report.changed),
                "unchanged": report.unchanged,
                "skipped": len(report.skipped),
                "counts": dict(report.counts),
                "sections": [section.to_dict() for section in report.sections],
            },
            "workflows": {what: self.workflows[what] for what in _WRITTEN},
            "dashboards": {what: self.dashboards[what] for what in _WRITTEN},
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "solution": self.solution,
            "report": self.report.to_dict(),
            "workflows": dict(self.workflows),
            "dashboards": dict(self.dashboards),
            "source": dict(self.source),
            "calls": self.calls,
            "seconds": self.seconds,
        }


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
    write: Callable[[Cursor, Refreshed], None],
) -> Refreshed:
    """Read a solution's Odoo; catalogue, workflows, dashboards and what goes with them are saved in one transaction.

    Args:
        odoo: the Odoo.
        connection: to the solution's database, outside of a transaction.
        record: the solution: its name, domain and table prefix.
        full: read everything even though nothing seems changed.
        odoo_moved: what is kept was read from this same Odoo, under another address.
        settings: page size, and how long a fingerprint may stand for a read.
        progress: told the steps.
        prepare: called in the transaction once the discoveries are written; the system tables are there after it.
        write: called in the transaction once all else is written.

    Raises:
        FBSError: whatever went wrong; nothing is saved then.
    """
    began = time.monotonic()
    domain = load_domain(record.domain)
    outcome: list[Refreshed] = []
    limiter = limiter_for(odoo, settings=settings, progress=progress)
    with closing(open_transport(odoo, limiter=limiter)) as transport:
        connector = OdooConnector(transport, page_size=settings.fbs_page_size, lang=odoo.lang)

        def within(cursor: Cursor, report: ChangeReport) -> None:
            prepare(cursor)
            progress.step("derive")
            refreshed = Refreshed(
                solution=record.solution_name,
                report=report,
                workflows=fill_workflows(cursor, record.table_prefix, record.domain),
                dashboards=fill_dashboards(cursor, record.table_prefix, record.domain),
                source=connector.source,
            )
            write(cursor, refreshed)
            outcome.append(refreshed)

        report = read_and_save(
            connector,
            connection,
            domain=domain,
            table_prefix=record.table_prefix,
            full=full,
            odoo_moved=odoo_moved,
            full_after=settings.fbs_full_after,
            progress=progress,
            within=within,
        )
        if not outcome:  # nothing was read: what is derived may still be older than what was last read
            with transaction(connection) as cursor:
                within(cursor, report)
        return replace(outcome[0], calls=transport.calls, seconds=round(time.monotonic() - began, 3))
