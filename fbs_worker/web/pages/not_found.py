"""Catch-all route: unknown paths get an error page; those of the API keep their problem documents."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from fbs_worker.core.errors import FBSError
from fbs_worker.web.api.auth import API, METRICS
from fbs_worker.web.pages.layout import error_page, not_found_page


class NotFoundRoute(Route):
    """Match every GET outside of the API; it has to be the last route."""

    def __init__(self) -> None:
        super().__init__("/{path:path}", _answer, methods=["GET"], include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request, as the router calls it."""
        path = scope.get("path", "")
        if path.startswith(API) or path in METRICS:
            return Match.NONE, {}
        match, child = super().matches(scope)
        return (match, child) if match is Match.FULL else (Match.NONE, {})


def _answer(request: Request) -> Response:
    try:
        return not_found_page(request)
    except FBSError as exc:
        return error_page(request, exc)
