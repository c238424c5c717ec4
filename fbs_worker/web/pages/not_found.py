"""Where there is no page, a page says so. Paths of the API keep their own answer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from fbs_worker.core.errors import FBSError
from fbs_worker.web.api.auth import API, METRICS
from fbs_worker.web.pages.layout import error_page, missing_page


class MissingPage(Route):
    """Answers what a browser asks for where nothing is; it has to be the last route."""

    def __init__(self) -> None:
        super().__init__("/{path:path}", _answer, methods=["GET"], include_in_schema=False)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is for this request; the router asks."""
        path = scope.get("path", "")
        if path.startswith(API) or path in METRICS:
            return Match.NONE, {}
        match, child = super().matches(scope)
        return (match, child) if match is Match.FULL else (Match.NONE, {})


def _answer(request: Request) -> Response:
    try:
        return missing_page(request)
    except FBSError as exc:
        return error_page(request, exc)
