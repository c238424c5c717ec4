"""The API put together: routes, who may, errors, the OpenAPI document.

What its parts share lies in `app.state`:

    settings        the settings
    client          the `fbs_worker.Client` that enqueues
    places          solutions and connections to their databases
    tokens          who may
    wrong_tokens    counts wrong tokens per address
    session_caller  whose session a cookie stands for, else None; the pages set it
    error_page      tells a person of an error; the pages set it
    idempotency     gives the same job to a request that is sent again
    closing         a `threading.Event`: the server ends; what waits or streams looks at it each second and ends, too
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
from fbs_worker.core.settings import Settings
from fbs_worker.web import pages
from fbs_worker.web.api import openapi
from fbs_worker.web.api.auth import Guard
from fbs_worker.web.api.databases import Places
from fbs_worker.web.api.host_allowlist import Hosts
from fbs_worker.web.api.idempotency import Idempotency
from fbs_worker.web.api.problems import on_error, on_http_exception, on_invalid
from fbs_worker.web.api.rate_limit import WRONG_TOKENS_PER_MINUTE, Limiter
from fbs_worker.web.api.routes import discoveries, jobs, service, solutions
from fbs_worker.web.api.tokens import Tokens


def create_app(settings: Settings) -> FastAPI:
    """The API as an ASGI application; `fbs_worker.web.server` serves it.

    Args:
        settings: what it works with. Without FBS_API_TOKENS whoever is on this machine may do everything.

    Raises:
        SettingsError: FBS_API_TOKENS, FBS_ALLOWED_HOSTS or another setting is missing or not valid.
    """
    queue.check_url(settings.fbs_redis_url)
    Hosts.of(settings)
    tokens, wrong_tokens = Tokens.parse(settings.fbs_api_tokens.get_secret_value()), Limiter(WRONG_TOKENS_PER_MINUTE)
    app = _API(
        title="fbs-worker",
        version=__version__,
        summary="Odoo discovery and business tables, as jobs",
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        openapi_url=openapi.PATH,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,  # a redirect loses the body of a POST
        lifespan=_lifespan,
        exception_handlers={
            FBSError: on_error,
            RequestValidationError: on_invalid,
            HTTPException: on_http_exception,
        },
    )
    app.state.settings = settings
    app.state.client = Client(settings=settings)
    app.state.places = Places(settings)
    app.state.idempotency = Idempotency(settings)
    app.state.tokens = tokens
    app.state.wrong_tokens = wrong_tokens
    app.state.session_caller = app.state.error_page = None
    app.state.closing = threading.Event()
    service.prepare(app)
    for part in (solutions, discoveries, jobs, service):
        app.include_router(part.router)
    pages.attach(app)
    app.add_middleware(
        Guard, settings=settings, tokens=tokens, wrong_tokens=wrong_tokens
    )  # the last added is outermost
    return app


class _API(FastAPI):
    """FastAPI with the project's own OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.make_document(self)
        return self.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        app.state.closing.set()
        for part in (app.state.client, app.state.places, app.state.idempotency):
            await to_thread.run_sync(part.close)
