"""Refresh a solution: read its Odoo again and save the changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class in all but spelling

from fbs_worker.catalogue.model import ChangeReport
from fbs_worker.core.postgres import Connection
from fbs_worker.core.progress import Progress
from fbs_worker.core.settings import OdooConnection, Settings
from fbs_worker.schema.system_tables import SYSTEM_TABLES, ensure_tables
from fbs_worker.solutions.odoo_connections import find_odoo
from fbs_worker.solutions.registry import Manifest, SolutionRecord
from fbs_worker.solutions.requests import RefreshRequest
from fbs_worker.solutions.workspace import Home, find_solution, locked_connection, read_manifest, vault_of

_WRITTEN: Final = ("added", "changed", "removed")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """Result of a refresh.

    Attributes:
        solution: the solution's name.
        report: changes in the catalogue.
        workflows: numbers of changes in the workflow definitions.
        dashboards: numbers of changes in the BI dashboards.
        source: the Odoo that was read.
        calls: number of calls to Odoo.
        seconds: duration.
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
        """Whether anything was written."""
        derived = (self.workflows, self.dashboards)
        return not self.report.nothing_changed or any(counts[kind] for counts in derived for kind in _WRITTEN)

    def last_refresh_payload(self, manifest: SolutionRecord | None) -> dict[str, Any]:
        """Return `last_refresh` of the manifest, JSON-ready.

        Args:
            manifest: the manifest before; its report is kept where this refresh neither read Odoo nor wrote anything.
        """
        now = datetime.now(tz=UTC).isoformat(timespec="seconds")
        last = manifest.last_refresh if manifest else None
        kept = last if last and not (self.report.read or self.changed) else self._report(now)
        changed_at = now if self.changed else manifest and manifest.last_change
        return {**kept, "checked_at": now, "changed_at": changed_at}

    def _report(self, now: str) -> dict[str, Any]:
        report = self.report
        return {
            "at": now,
            "report": {
                "added": len(report.added),
                "removed": len(report.removed),
                "changed": len(report.changed),
                "unchanged": report.unchanged,
                "skipped": len(report.skipped),
                "counts": dict(report.counts),
                "sections": [section.to_dict() for section in report.sections],
            },
            "workflows": {kind: self.workflows[kind] for kind in _WRITTEN},
            "dashboards": {kind: self.dashboards[kind] for kind in _WRITTEN},
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the job's result, JSON-ready."""
        return {
            "solution": self.solution,
            "report": self.report.to_dict(),
            "workflows": dict(self.workflows),
            "dashboards": dict(self.dashboards),
            "source": dict(self.source),
            "calls": self.calls,
            "seconds": self.seconds,
        }


class Refresh(Protocol):
    """Reads a solution's Odoo and saves it: `fbs_worker.tasks.refreshing.refresh_solution`, which knows Odoo."""

    def __call__(
        self,
        odoo: OdooConnection,
        connection: Connection,
        record: SolutionRecord,
        /,
        *,
        full: bool,
        odoo_moved: bool,
        settings: Settings,
        progress: Progress,
        prepare: Callable[[Cursor], None],
        write: Callable[[Cursor, RefreshResult], None],
    ) -> RefreshResult: ...


def refresh(request: RefreshRequest, *, settings: Settings, progress: Progress, read: Refresh) -> dict[str, Any]:
    """Read a solution's Odoo and save the changes of discoveries, workflows and dashboards in one transaction.

    The registry says which database to write, the manifest which Odoo connection to read.

    Args:
        request: the validated parameters.
        settings: the home database, the Odoo connections and the keys.
        progress: receives the steps.
        read: reads the solution's Odoo.

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
            definition = {
                **manifest.schema_definition,
                "source": refreshed.source,
                "last_refresh": refreshed.last_refresh_payload(manifest),
            }
            Manifest.write(connection, replace(manifest, schema_definition=definition), vault)

        refreshed = read(
            find_odoo(settings, manifest.odoo),
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
