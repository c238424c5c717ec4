"""Adapter for Starlette's routes: which of them match a request is not documented.

`UPSTREAM` declares every symbol that is relied on, and why; the contract tests resolve each in the installed version
(`tests/unit/test_upstream_contract.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.routing import Match

TRIED: Final = ("starlette>=0.40,<2",)

UPSTREAM: Final[Mapping[str, str]] = {
    "starlette.routing:BaseRoute.matches": "how far a route is for a request",
    "starlette.routing:Match": "NONE, PARTIAL (the path, with another method) and FULL",
}


def matching_methods(request: Request, methods: Iterable[str]) -> list[str]:
    """Which methods have a route for a request's path, over all routes of its application.

    Args:
        request: the request.
        methods: the methods to try.
    """
    scopes = {method: {**request.scope, "method": method} for method in methods}
    routes = request.app.routes
    return [name for name, scope in scopes.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]
