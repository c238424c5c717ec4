"""One solution: how it is, its tables as a picture, what changed between two refreshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import Request
from markupsafe import Markup
from starlette.responses import Response

from fbs_worker.catalogue import queries
from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.jobs.model import JobRecord
from fbs_worker.migration.diagram.svg import svg
from fbs_worker.scheduling.model import Schedule
from fbs_worker.solutions.diagram import solution_picture
from fbs_worker.web.pages.changes import summarise_changes
from fbs_worker.web.pages.layout import both, layout_of, page_router

router = page_router()

_MOST_READS: Final = 50
"""Reads of Odoo that changed something, to choose two from."""

_MOST_CHANGES: Final = 300
"""Changes of a kind that are shown."""

_MOST_JOBS: Final = 5
_LOOKED_THROUGH: Final = 200


def overview(request: Request, name: str) -> Response:
    """A solution in every detail."""
    told = request.app.state.client.status(name)
    jobs, note = _jobs_of(request, name)
    schedule = told["schedule"]["schedule"]
    return layout_of(request).page(
        request,
        "solution",
        name=name,
        told=told,
        every=str(Schedule.from_dict(schedule)) if schedule else "",
        jobs=jobs,
        notes=[*told["notes"], *([note] if note and note not in told["notes"] else [])],
    )


def tables(request: Request, name: str) -> Response:
    """The tables as a picture, and as a list."""
    picture = solution_picture(request.app.state.settings, name)
    # what it shows is escaped by whoever drew it
    drawn = Markup(svg(picture))  # noqa: S704
    return layout_of(request).page(request, "tables", name=name, picture=picture, drawn=drawn)


def changes(request: Request, name: str) -> Response:
    """What changed between two reads of Odoo: the last two, if no others are named."""
    databases = request.app.state.databases
    record = databases.solution(name)
    with databases.connection(record.database) as connection:
        reads = queries.snapshots(connection, record.table_prefix, record.domain, limit=_MOST_READS)
    older, newer = _chosen(request, [read["id"] for read in reads])
    inside = [read for read in reversed(reads) if older < read["id"] <= newer]
    return layout_of(request).page(
        request,
        "changes",
        name=name,
        domain=record.domain,
        reads=reads,
        older=older,
        newer=newer,
        report=summarise_changes([read["changes"] or {} for read in inside], most=_MOST_CHANGES),
        sections=inside[-1]["sections"] if inside else [],
    )


def _chosen(request: Request, known: Sequence[int]) -> tuple[int, int]:
    """The ids of the two reads, the older first; 0 stands for before the first one.

    Args:
        request: may name them as `from` and `to`.
        known: ids of the reads, the newest first.
    """
    newer = _number(request, "to", known[0] if known else 0)
    below = [number for number in known if number < newer]
    older = _number(request, "from", below[0] if below else 0)
    return (older, newer) if older <= newer else (newer, older)


def _number(request: Request, name: str, otherwise: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise UsageError("That is not one of the reads of Odoo.", hint="Choose two of the list.")
    return int(text)


def _jobs_of(request: Request, name: str) -> tuple[list[JobRecord], str]:
    """A solution's last jobs; nothing, and why, where they are not known."""
    try:
        found: Sequence[Any] = request.app.state.client.jobs(_LOOKED_THROUGH)
    except FBSError as exc:
        return [], f"Which jobs there were is not known: {exc.message}"
    return [job for job in found if job.solution == name][:_MOST_JOBS], ""


for _path in both("/solutions/{name}/"):
    router.add_api_route(_path, overview, methods=["GET"])
for _path in both("/solutions/{name}/tables/"):
    router.add_api_route(_path, tables, methods=["GET"])
for _path in both("/solutions/{name}/changes/"):
    router.add_api_route(_path, changes, methods=["GET"])
