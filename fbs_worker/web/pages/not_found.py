"""Catch-all route: unknown paths get an error page; those of the API keep their problem documents."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.core.errors import FBSError
from fbs_worker.web.api.auth import API, METRICS
from fbs_worker.web.pages.layout import error_page, not_found_page
from fbs_worker.web.starlette_compat import FilteredRoute


class NotFoundRoute(FilteredRoute):
    """Match every GET outside of the API; it has to be the last route."""

    def __init__(self) -> None:
        super().__init__("/{path:path}", _answer, methods=["GET"], include_in_schema=False)

    def covers(self, path: str) -> bool:
        """Whether the path is outside of the API."""
        return not path.startswith(API) and path not in METRICS


def _answer(request: Request) -> Response:
    try:
        return not_found_page(request)
    except FBSError as exc:
        return error_page(request, exc)
