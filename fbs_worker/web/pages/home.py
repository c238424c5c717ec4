"""The first page: all solutions, and how each is."""

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
    """All solutions."""
    state = request.app.state
    told = state.client.list()
    workers, notes = _workers(state.settings)
    return layout_of(request).page(
        request,
        "home",
        home=told["home"],
        solutions=told["solutions"],
        counts=told["counts"],
        working=sum(one["jobs"] for one in told["solutions"]),
        workers=workers,
        notes=[*told["notes"], *notes],
    )


def _workers(settings: Settings) -> tuple[Sequence[WorkerHeartbeat] | None, list[str]]:
    """Those that give signs of life; None, and why, where that is not known."""
    try:
        with WorkerRegistry(settings.fbs_redis_url) as presence:
            return [sign for sign in presence.workers() if sign.alive], []
    except (QueueUnreachable, SettingsError) as exc:
        return None, [f"Which workers there are is not known: {exc.message}"]
