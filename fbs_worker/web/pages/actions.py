"""Form actions: enqueue a refresh, a sync, a plan or the planned migration, cancel or retry a job, set a schedule."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from fbs_worker.client.client import Client
from fbs_worker.core.errors import RefusedError, UsageError
from fbs_worker.core.fields import collected
from fbs_worker.scheduling.model import Kind
from fbs_worker.solutions.requests import MigrateRequest
from fbs_worker.web.pages.jobs import is_applicable, plan_of
from fbs_worker.web.pages.layout import FormToken, both, page_router, redirect, require_writer, segment

router = page_router()

_Text = Annotated[str, Form(max_length=200)]
_Several = Annotated[list[str], Form(max_length=500)]


def refresh(request: Request, name: str, form_token: FormToken = "") -> Response:
    """Enqueue a refresh of a solution."""
    require_writer(request, form_token)
    state = request.app.state
    state.databases.solution(name)
    return to_job(state.client.refresh(name).id)


def sync(
    request: Request,
    name: str,
    *,
    form_token: FormToken = "",
    then: _Text = "",
    model: _Several = [],  # noqa: B006 -- FastAPI copies it
    allow_delete: Annotated[int, Form()] = 0,
) -> Response:
    """Enqueue a sync of a solution's records."""
    require_writer(request, form_token)
    state = request.app.state
    state.databases.solution(name)
    fields = {"models": model, "full": then == "full", "verify": then == "verify", "allow_delete": allow_delete}
    return to_job(state.client.sync(name, **fields).id)


def plan(
    request: Request,
    name: str,
    *,
    form_token: FormToken = "",
    undo: Annotated[bool, Form()] = False,
    restore: Annotated[bool, Form()] = False,
    rename: _Several = [],  # noqa: B006 -- FastAPI copies it
    mirror: _Several = [],  # noqa: B006
    no_mirror: _Several = [],  # noqa: B006
) -> Response:
    """Enqueue the plan of a solution's migration, or of the undo of the last one."""
    require_writer(request, form_token)
    options = {"undo": undo, "restore": restore, "rename": rename, "mirror": mirror, "no_mirror": no_mirror}
    return _migrate(request, name, {**collected(MigrateRequest, options), "plan_only": True})


def schedule(
    request: Request,
    name: str,
    *,
    form_token: FormToken = "",
    then: _Text = "set",
    every: _Text = "",
    cron: _Text = "",
    timezone: _Text = "",
    only: _Text = "refresh",
) -> Response:
    """Set, pause, resume or remove the schedule of a solution's refreshes, or of its syncs."""
    require_writer(request, form_token)
    client: Client = request.app.state.client
    match then:
        case "pause" | "resume":
            client.pause_schedule(name, paused=then == "pause", only=only)
        case "remove":
            client.remove_schedule(name, only=only)
        case _ if only == Kind.SYNC:
            client.set_schedule(name, sync_every=every)
        case _:
            client.set_schedule(name, every=every or None, cron=cron or None, timezone=timezone or None)
    return redirect(f"/solutions/{segment(name)}/#schedule")


def apply(
    request: Request,
    job_id: str,
    *,
    form_token: FormToken = "",
    allow: _Several = [],  # noqa: B006
) -> Response:
    """Enqueue the migration that a job planned; the worker rejects it if the plan is stale."""
    require_writer(request, form_token)
    planned = plan_of(request.app.state.client.job(job_id).status())
    if planned is None or not is_applicable(planned):
        raise UsageError("This job has no plan that can be applied.", hint="Plan a migration on the solution's page.")
    forbidden = [hazard for hazard in planned["needs"] if hazard not in allow]
    if forbidden:
        raise RefusedError(
            f"Not allowed: {', '.join(forbidden)}. Nothing was changed.",
            hint="Go back, and tick each hazard by its name if you accept it.",
        )
    options = collected(MigrateRequest, planned.get("options", {}))
    confirmed = {"fingerprint": planned["fingerprint"], "allow": planned["needs"], "undo": bool(planned["undoes"])}
    return _migrate(request, planned["solution"], {**options, **confirmed})


def plan_again(request: Request, job_id: str, form_token: FormToken = "") -> Response:
    """Enqueue the plan of a migration that could not be applied, with the options that it had."""
    require_writer(request, form_token)
    fields = request.app.state.databases.jobs.request(job_id)
    if "plan_only" not in fields:
        raise UsageError("The arguments of this job are not kept.", hint="Plan a migration on the solution's page.")
    name = fields.pop("solution_name")
    return _migrate(request, name, {**fields, "plan_only": True, "fingerprint": None, "allow": ()})


def retry(request: Request, job_id: str, form_token: FormToken = "") -> Response:
    """Enqueue a finished job again, with the arguments it had."""
    require_writer(request, form_token)
    return to_job(request.app.state.client.retry(job_id).id)


def cancel(request: Request, job_id: str, form_token: FormToken = "") -> Response:
    """Cancel a job."""
    require_writer(request, form_token)
    request.app.state.client.job(job_id).cancel()
    return to_job(job_id)


def to_job(job_id: str) -> Response:
    """Redirect to a job's page."""
    return redirect(f"/jobs/{segment(job_id)}/")


def _migrate(request: Request, name: str, fields: dict[str, object]) -> Response:
    state = request.app.state
    state.databases.solution(name)
    job = MigrateRequest.parse(fields, settings=state.settings, solution_name=name)
    return to_job(state.client.enqueue(job).id)


for _path, _action in (
    ("/solutions/{name}/refresh/", refresh),
    ("/solutions/{name}/sync/", sync),
    ("/solutions/{name}/plan/", plan),
    ("/solutions/{name}/schedule/", schedule),
    ("/jobs/{job_id}/apply/", apply),
    ("/jobs/{job_id}/plan/", plan_again),
    ("/jobs/{job_id}/retry/", retry),
    ("/jobs/{job_id}/cancel/", cancel),
):
    for _each in both(_path):
        router.add_api_route(_each, _action, methods=["POST"])
