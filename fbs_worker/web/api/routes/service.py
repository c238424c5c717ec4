"""Routes of the API: health and figures."""

from __future__ import annotations

from typing import Any, Final

from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from fbs_worker.core.errors import QueueUnreachable
from fbs_worker.core.settings import Settings
from fbs_worker.ops import metrics
from fbs_worker.ops.health import Health, HealthReport, Unhealthy, check_health
from fbs_worker.web.api.auth import require_read
from fbs_worker.web.api.cache import Shared
from fbs_worker.web.api.problems import problem_responses

router = APIRouter(tags=["service"], dependencies=[Depends(require_read)])

_PROBE_SECONDS: Final = 5.0


class CheckAnswer(BaseModel):
    """One thing that was looked at, with the figures behind it."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="what: `redis`, `home database`, or a queue's name", examples=["fbs.discovery"])
    health: Health = Field(description="how it is")
    detail: str = Field(description="one line for a person", examples=["worker@host answers within 12 ms"])
    hint: str = Field(default="", description="what to do if it has failed")


class WorkerAnswer(BaseModel):
    """A worker's last sign of life."""

    name: str = Field(description="the worker's name", examples=["worker@host"])
    queues: list[str] = Field(description="the queues that it takes jobs from", examples=[["fbs.discovery"]])
    slots: int = Field(description="how many jobs it can run at a time", examples=[2])
    running: int = Field(description="how many it runs", examples=[1])
    taken: int = Field(description="how many it has begun since it started", examples=[40])
    age: float = Field(description="seconds since the sign was given", examples=[1.5])


class HealthAnswer(BaseModel):
    """How everything that jobs need is."""

    health: Health = Field(description="that of the whole: the worst of the parts")
    checks: list[CheckAnswer] = Field(description="each thing that was looked at")
    workers: list[WorkerAnswer] = Field(description="workers that give signs of life, or did within the last minute")


def prepare(app: FastAPI) -> None:
    """Put into the application's state what these routes ask: one look at a time, for everybody who comes meanwhile."""
    settings: Settings = app.state.settings
    app.state.health = Shared(lambda: to_thread.run_sync(_look, settings))
    app.state.metrics = Shared(lambda: to_thread.run_sync(metrics.metrics_text, settings))


@router.get(
    "/api/v1/health/",
    summary="Whether everything that jobs need works",
    response_model=HealthAnswer,
    responses=problem_responses(Unhealthy),
)
@router.get("/api/v1/health", include_in_schema=False)
async def read_health(request: Request) -> Any:
    """Looks at Redis and the home database, and sends a probe through each queue as a job would go.

    Busy workers are well, too. What has failed is answered with `503`, and `context` has the whole report.
    """
    report: HealthReport = await request.app.state.health.get()
    told = {name: value for name, value in report.to_dict().items() if name != "error"}
    if report.error is not None:
        raise Unhealthy(report.error.message, hint=report.error.hint, **told)
    return told


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus's text format",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": "fbs_workers 2.0\n"}},
        },
        **problem_responses(QueueUnreachable),
    },
)
@router.get("/metrics/", include_in_schema=False)
async def read_metrics(request: Request) -> Response:
    """Jobs, durations, waits, calls to Odoo and rows, of all workers of the same Redis."""
    return Response(await request.app.state.metrics.get(), media_type=metrics.CONTENT_TYPE)


def _look(settings: Settings) -> HealthReport:
    return check_health(settings, seconds=_PROBE_SECONDS)
