"""What routes share on the way in: registration, the parts of the application, solutions and databases by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Path
from starlette.requests import Request

from fbs_worker.client.client import Client
from fbs_worker.core.identifiers import SolutionName
from fbs_worker.core.settings import Settings
from fbs_worker.solutions.config import SOLUTION
from fbs_worker.web.api.auth import require_read, require_write
from fbs_worker.web.api.databases import DatabaseResolver

SolutionPath = Annotated[SolutionName, Path(description=SOLUTION)]

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


class _EndpointDecorator(Protocol):
    """A decorator that returns the endpoint unchanged."""

    def __call__(self, endpoint: _Endpoint, /) -> _Endpoint: ...


def route(
    register: Callable[..., Callable[[Any], Any]], path: str, *, write: bool = False, **options: Any
) -> _EndpointDecorator:
    """Register an endpoint with and without a trailing slash: a redirect would lose a POST's body.

    Args:
        register: the router's method, e.g. `router.get`.
        path: the path with a trailing slash, as the OpenAPI document lists it.
        write: require a token with the scope `write` instead of `read`.
        **options: further options for `register`.
    """
    scope = [Depends(require_write if write else require_read)]

    def decorate(endpoint: _Endpoint) -> _Endpoint:
        register(path, dependencies=scope, operation_id=endpoint.__name__, **options)(endpoint)
        register(path.rstrip("/"), dependencies=scope, include_in_schema=False, response_model=None)(endpoint)
        return endpoint

    return decorate


def databases_of(request: Request) -> DatabaseResolver:
    """The application's solutions and connections."""
    databases: DatabaseResolver = request.app.state.databases
    return databases


def client_of(request: Request) -> Client:
    """The application's client, which enqueues jobs."""
    client: Client = request.app.state.client
    return client


def settings_of(request: Request) -> Settings:
    """The application's settings."""
    settings: Settings = request.app.state.settings
    return settings
