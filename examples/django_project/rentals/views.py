"""The project's views: each asks the service and waits for its answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fbs_worker import IntegrationService
from fbs_worker.core.errors import FBSError, SolutionNotFound, UnreachableError, UsageError

View = Callable[..., JsonResponse]

_STATUS: Final[tuple[tuple[type[FBSError], int], ...]] = (
    (SolutionNotFound, 404),
    (UsageError, 400),
    (UnreachableError, 503),
    (FBSError, 502),
)


def errors_as_json(view: View) -> View:
    """Turn the errors of a view into JSON responses: what is wrong, and what to do."""

    @wraps(view)
    def wrapped(*args: Any, **given: Any) -> JsonResponse:
        try:
            return view(*args, **given)
        except FBSError as exc:
            status = next(number for kind, number in _STATUS if isinstance(exc, kind))
            return JsonResponse({"error": exc.to_dict()}, status=status)

    return wrapped


@require_http_methods(["GET", "POST"])  # type: ignore[untyped-decorator]  # Django has no types
@errors_as_json
def solutions(request: HttpRequest) -> JsonResponse:
    """All solutions; or set one up, from its configuration as JSON."""
    service = IntegrationService()
    if request.method == "POST":
        return JsonResponse(service.setup_solution(json.loads(request.body)), status=201)
    return JsonResponse(service.list_solutions())


@require_GET  # type: ignore[untyped-decorator]  # Django has no types
@errors_as_json
def solution(_request: HttpRequest, name: str) -> JsonResponse:
    """How a solution is."""
    return JsonResponse(IntegrationService().get_solution_status(solution_name=name))


@require_POST  # type: ignore[untyped-decorator]  # Django has no types
@errors_as_json
def refresh(_request: HttpRequest, name: str) -> JsonResponse:
    """Read a solution's Odoo again."""
    with IntegrationService(timeout=60) as service:
        return JsonResponse(service.refresh_solution_discoveries(solution_name=name))
