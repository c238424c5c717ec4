"""Application factory: routes, access middleware, exception handlers, OpenAPI document.

`app.state` holds what the parts share:

    settings           the settings
    client             the `fbs_worker.Client` that enqueues jobs
    databases          the `DatabaseResolver`: solutions, and connections to their databases
    tokens             the configured tokens
    wrong_tokens       the limit of wrong tokens per address
    session_principal  resolves a session cookie; set by the pages
    error_page         renders an error as a page; set by the pages
    idempotency        maps idempotency keys to jobs
    mcp                answers MCP clients
    sessions           the sessions of the pages; set by the pages
    closing            a `threading.Event`, set on shutdown; long polls and event streams check it each second
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from fbs_worker._version import __version__
from fbs_worker.client.client import Client
from fbs_worker.core import redis as queue
from fbs_worker.core.errors import FBSError
from fbs_worker.core.host_allowlist import HostAllowlist
from fbs_worker.core.settings import Settings
from fbs_worker.web import pages
from fbs_worker.web.api import openapi
from fbs_worker.web.api.auth import MCP, AccessMiddleware
from fbs_worker.web.api.databases import DatabaseResolver
from fbs_worker.web.api.idempotency import Idempotency
from fbs_worker.web.api.mcp import MCPEndpoint
from fbs_worker.web.api.problems import handle_error, handle_http_exception, handle_validation_error
from fbs_worker.web.api.rate_limit import WRONG_TOKENS_PER_MINUTE, RateLimiter
from fbs_worker.web.api.routes import discoveries, jobs, odoo, records, service, solutions
from fbs_worker.web.api.tokens import Tokens


def create_app(settings: Settings) -> FastAPI:
    """Create the API and the pages as an ASGI application; `fbs_worker.web.server` serves it.

    Args:
        settings: the settings. Without FBS_API_TOKENS, requests from this machine have all scopes.

    Raises:
        SettingsError: FBS_API_TOKENS, FBS_ALLOWED_HOSTS or another setting is missing or not valid.
    """
    queue.check_url(settings.fbs_redis_url)
    HostAllowlist.of(settings)
    tokens, wrong_tokens = (
        Tokens.parse(settings.fbs_api_tokens.get_secret_value()),
        RateLimiter(WRONG_TOKENS_PER_MINUTE),
    )
    app = _API(
        title="fbs-worker",
        version=__version__,
        summary="Odoo discovery and business tables, as background jobs",
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        openapi_url=openapi.PATH,
        docs_url=None,  # its page loads scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # a redirect loses the body of a POST
        lifespan=_lifespan,
        exception_handlers={
            FBSError: handle_error,
            RequestValidationError: handle_validation_error,
            HTTPException: handle_http_exception,
        },
    )
    app.state.settings = settings
    app.state.client = Client(settings=settings)
    app.state.databases = DatabaseResolver(settings)
    app.state.idempotency = Idempotency(settings)
    app.state.tokens = tokens
    app.state.wrong_tokens = wrong_tokens
    app.state.session_principal = app.state.error_page = None
    app.state.closing = threading.Event()
    for part in (solutions, discoveries, records, odoo, jobs, service):
        app.router.routes.extend(part.router.routes)  # `include_router` builds them anew at the first request
    app.state.mcp = MCPEndpoint(app.state.databases)
    for path in MCP:
        app.add_route(path, app.state.mcp, methods=["POST"])
    pages.attach(app)
    # the middleware that is added last is the outermost
    app.add_middleware(AccessMiddleware, settings=settings, tokens=tokens, wrong_tokens=wrong_tokens)
    return app


class _API(FastAPI):
    """FastAPI with the project's own OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, built once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.build_document(self)
        return self.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        async with app.state.mcp.running():
            yield
    finally:
        app.state.closing.set()
        for part in (app.state.client, app.state.databases, app.state.idempotency, app.state.sessions):
            await to_thread.run_sync(part.close)
