"""What every page has: its frame, its headers, whoever looks at it, and errors told as a page.

Templates escape everything that is put into them. Nothing is loaded from elsewhere, and nothing in a page may run or
style but the files of `/static/`: the content security policy says so, and htmx is told to keep to it.
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
from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.web.api.auth import LOGIN, principal_of
from fbs_worker.web.api.errors import CrossSite, NotAuthenticated, RouteNotFound, ScopeMissing
from fbs_worker.web.api.problems import headers_of, status_of, unexpected_error
from fbs_worker.web.api.tokens import WRITE, Principal
from fbs_worker.web.pages import formatting
from fbs_worker.web.pages.assets import ASSETS
from fbs_worker.web.pages.session import Sessions

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # with `no-referrer`, browsers name no origin when a form is sent, and the guard wants to see that it is ours
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

FormToken = Annotated[str, Form(max_length=200)]

_TEMPLATES: Final = Path(__file__).with_name("templates")
_START_AGAIN: Final = "Go back, load the page again, and press the button once more."

_log = logging.getLogger(__name__)


class Layout:
    """Makes pages of templates.

    Args:
        sessions: who is logged in.
    """

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for name in ("exact", "duration", "size", "number", "amount", "of_type", "kind", "listed"):
            self._environment.filters[name] = getattr(formatting, name)
        self._environment.filters["segment"] = segment
        self._environment.globals["asset"] = ASSETS.url

    def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        **values: Any,
    ) -> HTMLResponse:
        """A page.

        Args:
            request: what it answers.
            template: the template's name, without `.html`.
            status: the HTTP status.
            **values: what the template shows.
        """
        now = datetime.now(tz=UTC)
        caller: Principal | None = request.scope.get("state", {}).get("principal")
        shown = self._environment.get_template(f"{template}.html").render(
            visitor=caller,
            can_write=caller is not None and WRITE in caller.scopes,
            can_leave=caller is not None and self.sessions.needed,
            form_token=self.sessions.form_token(request),
            path=quote(request.url.path),
            now=now,
            ago=lambda told, both=False: formatting.time_tag(told, now=now, both=both),
            **values,
        )
        return HTMLResponse(shown, status_code=status, headers=HEADERS)


class PageRoute(APIRoute):
    """A route that answers errors with a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler; FastAPI asks."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except FBSError as exc:
                return error_page(request, exc)
            except RequestValidationError:
                return error_page(request, UsageError("The address or the form is not valid.", hint=_START_AGAIN))
            except Exception:  # noqa: BLE001 -- whatever it is, a person sees a page
                _log.exception("the page %s failed", request.url.path)
                return error_page(request, unexpected_error())

        return answer


def page_router(*, open_to_all: bool = False) -> APIRouter:
    """A router of pages; they are no part of the API's document.

    Args:
        open_to_all: who is not logged in may see them, too.
    """
    needed = [] if open_to_all else [Depends(principal_of)]
    return APIRouter(include_in_schema=False, route_class=PageRoute, dependencies=needed)


def both(path: str) -> tuple[str, str]:
    """A path that ends with a slash, and the same without it."""
    return path, path.rstrip("/")


def layout_of(request: Request) -> Layout:
    """The frame of this application's pages."""
    return cast("Layout", request.app.state.pages)


def require_writer(request: Request, form_token: str) -> Principal:
    """See that whoever presses a button may, and pressed it on a page of ours.

    Args:
        request: what the button sent.
        form_token: what the form carries.

    Raises:
        NotAuthenticated: nobody who is known.
        ScopeMissing: the token may only read.
        CrossSite: the form is none that this session was given.
    """
    caller = principal_of(request)
    check_form_token(request, form_token)
    if WRITE not in caller.scopes:
        raise ScopeMissing(
            f"{caller.name} may look, but not change anything.",
            hint="Log in with a token of the scope write; `fbs new-token --scope write` makes one.",
            scope=WRITE,
        )
    return caller


def check_form_token(request: Request, form_token: str) -> None:
    """See that a form is one that this session was given.

    Raises:
        CrossSite: it is not.
    """
    if not layout_of(request).sessions.is_form_token(request, form_token):
        raise CrossSite("This form is not one that your session was given.", hint=_START_AGAIN)


def error_page(request: Request, error: FBSError, *, status: int | None = None) -> Response:
    """An error as a page; whoever is not logged in is sent to do so.

    Args:
        request: what it answers.
        error: what went wrong.
        status: the HTTP status; the error's own if None.
    """
    if isinstance(error, NotAuthenticated):
        return to_login(request)
    status = status or status_of(error)
    answer = layout_of(request).page(request, "error", status=status, error=error)
    answer.headers.update(headers_of(error, status))
    return answer


def missing_page(request: Request) -> Response:
    """What is told of a path where nothing is."""
    principal_of(request)
    return error_page(request, RouteNotFound("There is no such page.", hint="The solutions and the jobs are above."))


def to_login(request: Request) -> Response:
    """Send somebody to log in, and back afterwards."""
    following = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"{LOGIN}?next={quote(following, safe='')}", status_code=303, headers=HEADERS)


def segment(text: str) -> str:
    """A name as one segment of a path."""
    return quote(text, safe="")
