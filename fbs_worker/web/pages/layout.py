"""Layout of the pages: templates, security headers, the session's principal, and errors rendered as pages.

Templates escape all values. Pages load nothing from other servers, and no inline scripts or styles: the content
security policy forbids them, and htmx is configured accordingly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, cast
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fbs_worker.core.characters import visible
from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.web.api import problems
from fbs_worker.web.api.auth import LOGIN, is_api, principal_of
from fbs_worker.web.api.errors import CrossSite, NotAuthenticated, RouteNotFound, ScopeMissing
from fbs_worker.web.api.problems import headers_of, status_of, unexpected_error
from fbs_worker.web.api.tokens import WRITE, Principal
from fbs_worker.web.pages import formatting
from fbs_worker.web.pages.assets import ASSETS
from fbs_worker.web.pages.session import Sessions
from fbs_worker.web.prefix import links_below

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # with `no-referrer`, browsers send `Origin: null` with forms, which the access middleware rejects
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

FormToken = Annotated[str, Form(max_length=200)]

_TEMPLATES: Final = Path(__file__).with_name("templates")
_MAX_FIELDS: Final = 50
_RELOAD_HINT: Final = "Go back, reload the page, and press the button again."

_log = logging.getLogger(__name__)


class _Environment(Environment):
    """Optional keys of JSON are empty, but an attribute that an object lacks is an error, not an empty page."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        value = super().getattr(obj, attribute)
        if isinstance(value, Undefined) and not isinstance(obj, Mapping | Undefined):
            return StrictUndefined(obj=obj, name=attribute)
        return value


class Layout:
    """Render templates.

    Args:
        sessions: the sessions of the pages.
        filters: further filters of the templates, by their names.
    """

    def __init__(self, sessions: Sessions, *filters: Callable[..., Any]) -> None:
        self.sessions = sessions
        self._environment = _Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: visible(value) if isinstance(value, str) else value,
        )
        for name in ("exact", "duration", "size", "number", "amount", "of_type", "kind", "listed"):
            self._environment.filters[name] = getattr(formatting, name)
        for function in (segment, *filters):
            self._environment.filters[function.__name__] = function
        self._environment.globals["asset"] = ASSETS.url

    def render(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        **values: Any,
    ) -> HTMLResponse:
        """Render a template.

        Args:
            request: the request.
            template: the template's name, without `.html`.
            status: the HTTP status.
            **values: the template's variables.
        """
        now = datetime.now(tz=UTC)
        principal: Principal | None = request.scope.get("state", {}).get("principal")
        content = self._environment.get_template(f"{template}.html").render(
            principal=principal,
            can_write=principal is not None and WRITE in principal.scopes,
            can_log_out=principal is not None and self.sessions.required,
            form_token=self.sessions.form_token(request),
            path=quote(request.url.path),
            flower_url=request.app.state.settings.fbs_flower_url,
            now=now,
            ago=lambda value, both=False: formatting.time_tag(value, now=now, both=both),
            **values,
        )
        content = links_below(request.scope.get("root_path", ""), content)
        return HTMLResponse(content, status_code=status, headers=HEADERS)


class PageRoute(APIRoute):
    """A route that renders errors as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler of the route."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except FBSError as exc:
                return error_page(request, exc)
            except RequestValidationError:
                return error_page(request, UsageError("The address or the form is not valid.", hint=_RELOAD_HINT))
            except Exception:  # noqa: BLE001 -- a browser gets a page for any error
                _log.exception("the page %s failed", request.url.path)
                return error_page(request, unexpected_error())

        return answer


def page_router(*, public: bool = False) -> APIRouter:
    """Create a router of pages, which the OpenAPI document omits.

    Args:
        public: serve the pages without a session, too.
    """
    dependencies = [] if public else [Depends(principal_of)]
    return APIRouter(include_in_schema=False, route_class=PageRoute, dependencies=dependencies)


def both(path: str) -> tuple[str, str]:
    """Return a path with and without its trailing slash."""
    return path, path.rstrip("/")


def layout_of(request: Request) -> Layout:
    """The application's layout."""
    return cast("Layout", request.app.state.pages)


async def posted(request: Request) -> dict[str, str]:
    """FastAPI dependency: the values of a form, each once.

    Raises:
        UsageError: it is not a form, or has too many fields.
    """
    try:
        form = await request.form(max_files=0, max_fields=_MAX_FIELDS)
    except HTTPException:
        raise UsageError("The form is not valid.", hint=_RELOAD_HINT) from None
    return {name: value for name, value in form.items() if isinstance(value, str)}


Posted = Annotated[dict[str, str], Depends(posted)]


def require_writer(request: Request, form_token: str | None = None) -> Principal:
    """Check a form's token, and that its sender has the scope `write`.

    Args:
        request: the submitted form, or the request for its page.
        form_token: the form's CSRF token; None for its page.

    Raises:
        NotAuthenticated: the request has no session.
        ScopeMissing: the session's token only has the scope `read`.
        CrossSite: the form was not rendered for this session.
    """
    principal = principal_of(request)
    if form_token is not None:
        check_form_token(request, form_token)
    if WRITE not in principal.scopes:
        raise ScopeMissing(
            f"{principal.name} has read access only.",
            hint="Log in with a token with the scope write; `fbs new-token --scope write` makes one.",
            scope=WRITE,
        )
    return principal


def check_form_token(request: Request, form_token: str) -> None:
    """Check a form's CSRF token.

    Args:
        request: the submitted form.
        form_token: the form's CSRF token.

    Raises:
        CrossSite: the form was not rendered for this session.
    """
    if not layout_of(request).sessions.is_form_token(request, form_token):
        raise CrossSite("This form does not belong to your session.", hint=_RELOAD_HINT)


def error_page(request: Request, error: FBSError, *, status: int | None = None) -> Response:
    """Render an error as a page; NotAuthenticated redirects to the log-in.

    Args:
        request: the request.
        error: the error.
        status: the HTTP status; default: the error's.
    """
    if isinstance(error, NotAuthenticated):
        return to_login(request)
    status = status or status_of(error)
    answer = layout_of(request).render(request, "error", status=status, error=error)
    answer.headers.update(headers_of(error, status))
    return answer


async def handle_http_exception(request: Request, exc: Exception) -> Response:
    """Exception handler: render an error page for an unknown path outside of the API, else a problem document."""
    unknown = isinstance(exc, HTTPException) and exc.status_code in {404, 405} and request.method in {"GET", "HEAD"}
    if not unknown or is_api(request.url.path):
        return await problems.handle_http_exception(request, exc)
    return error_page(
        request, RouteNotFound("This page does not exist.", hint="Go to the solutions or the jobs above.")
    )


def to_login(request: Request) -> Response:
    """Redirect to the log-in, which leads back to the page."""
    following = request.url.path if request.method == "GET" else "/"
    return redirect(f"{LOGIN}?next={quote(following, safe='')}")


def redirect(path: str) -> Response:
    """Redirect a form to a page."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def segment(text: str) -> str:
    """Quote a name as a path segment."""
    return quote(text, safe="")
