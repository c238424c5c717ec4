"""Solution pages: status, table diagram, changes between two refreshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastapi import Request
from markupsafe import Markup
from starlette.responses import Response

from fbs_worker.catalogue import queries
from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.jobs.model import JobRecord
from fbs_worker.scheduling.model import Schedule
from fbs_worker.scheduling.service import beat_notes
from fbs_worker.solutions.diagram import solution_diagram
from fbs_worker.solutions.diagram.svg import svg
from fbs_worker.web.pages.changes import summarise_changes
from fbs_worker.web.pages.layout import both, layout_of, page_router

router = page_router()

_MAX_REFRESHES: Final = 50
"""Maximum number of refreshes in the selection; those without changes are not stored."""

_MAX_CHANGES: Final = 300
"""Maximum number of listed changes per kind."""

_MAX_JOBS: Final = 5


def overview_page(request: Request, name: str) -> Response:
    """Show a solution's status."""
    details = request.app.state.databases.status(name)
    jobs, note = _jobs_of(request, name)
    schedule, settings = details["schedule"]["schedule"], request.app.state.settings
    sync = details["schedule"]["sync"]
    return layout_of(request).render(
        request,
        "solution",
        name=name,
        details=details,
        every=str(Schedule.from_dict(schedule)) if schedule else "",
        sync_every=str(Schedule.from_dict(sync["schedule"])) if sync else "",
        window=settings.fbs_sync_window,
        beat=beat_notes(settings) if details["schedule"]["next_run"] or (sync and sync["next_run"]) else [],
        jobs=jobs,
        notes=[*details["notes"], *([note] if note and note not in details["notes"] else [])],
    )


def tables_page(request: Request, name: str) -> Response:
    """Show the business tables as a diagram and as a list."""
    state = request.app.state
    diagram = solution_diagram(state.settings, name, databases=state.databases)
    # the diagram's renderer escapes all text
    rendered = Markup(svg(diagram))  # noqa: S704
    return layout_of(request).render(request, "tables", name=name, diagram=diagram, svg=rendered)


def changes_page(request: Request, name: str) -> Response:
    """Show the net changes between two refreshes; default: the last two."""
    databases = request.app.state.databases
    record = databases.solution(name)
    with databases.connection(record.database) as connection:
        refreshes = queries.snapshots(connection, record.table_prefix, record.domain, limit=_MAX_REFRESHES)
    older, newer = _selected(request, [refresh["id"] for refresh in refreshes])
    selected = [refresh for refresh in reversed(refreshes) if older < refresh["id"] <= newer]
    return layout_of(request).render(
        request,
        "changes",
        name=name,
        refreshes=refreshes,
        older=older,
        newer=newer,
        report=summarise_changes([refresh["changes"] or {} for refresh in selected], limit=_MAX_CHANGES),
    )


def _selected(request: Request, known: Sequence[int]) -> tuple[int, int]:
    """The ids of the two selected refreshes, the older first; 0 means before the first one.

    Args:
        request: may select them by `from` and `to`.
        known: ids of the refreshes, the newest first.
    """
    newer = _number(request, "to", known[0] if known else 0)
    below = [number for number in known if number < newer]
    older = _number(request, "from", below[0] if below else 0)
    return (older, newer) if older <= newer else (newer, older)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise UsageError(f"The parameter {name} is not the number of a refresh.", hint="Choose two from the list.")
    return int(text)


def _jobs_of(request: Request, name: str) -> tuple[list[JobRecord], str]:
    """A solution's last jobs; none and a note if Redis does not respond."""
    try:
        return list(request.app.state.databases.jobs.list(_MAX_JOBS, solution=name)), ""
    except FBSError as exc:
        return [], f"The jobs are unknown: {exc.message}"


for _path in both("/solutions/{name}/"):
    router.add_api_route(_path, overview_page, methods=["GET"])
for _path in both("/solutions/{name}/tables/"):
    router.add_api_route(_path, tables_page, methods=["GET"])
for _path in both("/solutions/{name}/changes/"):
    router.add_api_route(_path, changes_page, methods=["GET"])
