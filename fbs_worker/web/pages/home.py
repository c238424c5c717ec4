"""Home page: all solutions and their status."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from starlette.responses import Response

from fbs_worker.core.errors import QueueUnreachable, SettingsError
from fbs_worker.core.settings import Settings
from fbs_worker.jobs.workers import WorkerHeartbeat, WorkerRegistry
from fbs_worker.web.pages.layout import layout_of, page_router

router = page_router()


@router.get("/")
def home(request: Request) -> Response:
    """Render the home page."""
    state = request.app.state
    overview = state.databases.overview()
    workers, notes = _workers(state.settings)
    return layout_of(request).render(
        request,
        "home",
        home=overview["home"],
        solutions=overview["solutions"],
        counts=overview["counts"],
        working=sum(one["jobs"] for one in overview["solutions"]),
        workers=workers,
        notes=[*overview["notes"], *notes],
    )


def _workers(settings: Settings) -> tuple[Sequence[WorkerHeartbeat] | None, list[str]]:
    """The workers with a recent heartbeat; None and a note if Redis does not respond."""
    try:
        with WorkerRegistry(settings.fbs_redis_url) as registry:
            return [worker for worker in registry.workers() if worker.alive], []
    except (QueueUnreachable, SettingsError) as exc:
        return None, [f"The workers are unknown: {exc.message}"]
