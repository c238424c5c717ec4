"""Log-in with a token, and log-out."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from fbs_worker.core.errors import FBSError
from fbs_worker.web.api.auth import LOGIN, PUBLIC_PATHS, check_token
from fbs_worker.web.api.errors import NotAuthenticated, TooManyRequests
from fbs_worker.web.api.problems import status_of
from fbs_worker.web.pages.layout import FormToken, both, check_form_token, layout_of, page_router, redirect

router = page_router(public=True)

_MAX_FIELD = 2_000


def login_page(request: Request) -> Response:
    """Render the log-in form."""
    return _render_form(request, request.query_params.get("next", "/"))


def log_in(
    request: Request,
    token: Annotated[str, Form(max_length=_MAX_FIELD)] = "",
    next_page: Annotated[str, Form(alias="next", max_length=_MAX_FIELD)] = "/",
) -> Response:
    """Start a session. The access middleware has checked the origin of the form."""
    sessions = layout_of(request).sessions
    if not sessions.required:
        return redirect("/")
    try:
        principal = check_token(request, token.strip())
    except (NotAuthenticated, TooManyRequests) as exc:
        return _render_form(request, next_page, error=exc)
    response = redirect(safe_path(next_page))
    sessions.begin(request, response, principal, https=_is_https(request))
    return response


def log_out(request: Request, form_token: FormToken = "") -> Response:
    """End the session."""
    check_form_token(request, form_token)
    response = redirect(LOGIN)
    layout_of(request).sessions.end(request, response, https=_is_https(request))
    return response


def safe_path(text: str) -> str:
    """Return a path of this server as redirect target; `/` for anything else, to prevent open redirects.

    Args:
        text: the requested target, possibly the URL of another server.
    """
    local = text.startswith("/") and text[1:2] != "/" and "\\" not in text and text.isprintable()
    return text if local and text not in PUBLIC_PATHS else "/"


def _render_form(request: Request, next_page: str, *, error: FBSError | None = None) -> Response:
    layout = layout_of(request)
    if not layout.sessions.required:
        return redirect("/")
    following = safe_path(next_page)
    status = status_of(error) if error is not None else 200
    return layout.render(request, "login", status=status, following=following, error=error)


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"


for _path in both("/login/"):
    router.add_api_route(_path, login_page, methods=["GET"])
    router.add_api_route(_path, log_in, methods=["POST"])
for _path in both("/logout/"):
    router.add_api_route(_path, log_out, methods=["POST"])
