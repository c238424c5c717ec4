"""Log in with a token, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from fbs_worker.core.errors import FBSError
from fbs_worker.web.api.auth import LOGIN, PUBLIC_PATHS, check_token
from fbs_worker.web.api.errors import NotAuthenticated, TooManyRequests
from fbs_worker.web.api.problems import status_of
from fbs_worker.web.pages.layout import HEADERS, FormToken, both, check_form_token, layout_of, page_router

router = page_router(open_to_all=True)

_LONGEST = 2_000


def ask(request: Request) -> Response:
    """The page that asks for a token."""
    return _asked(request, request.query_params.get("next", "/"))


def log_in(
    request: Request,
    token: Annotated[str, Form(max_length=_LONGEST)] = "",
    next_page: Annotated[str, Form(alias="next", max_length=_LONGEST)] = "/",
) -> Response:
    """Begin a session. The guard has seen to it that the form comes from a page of ours."""
    sessions = layout_of(request).sessions
    if not sessions.needed:
        return _to("/")
    try:
        caller = check_token(request, token.strip())
    except (NotAuthenticated, TooManyRequests) as exc:
        return _asked(request, next_page, error=exc)
    answer = _to(safe_path(next_page))
    sessions.begin(answer, caller, https=_is_https(request))
    return answer


def log_out(request: Request, form_token: FormToken = "") -> Response:
    """End the session."""
    check_form_token(request, form_token)
    answer = _to(LOGIN)
    layout_of(request).sessions.end(answer, https=_is_https(request))
    return answer


def safe_path(text: str) -> str:
    """A path of this server that somebody may be sent to; `/` for anything else.

    Args:
        text: what was given: an address of another server, perhaps.
    """
    ours = text.startswith("/") and text[1:2] != "/" and "\\" not in text and text.isprintable()
    return text if ours and text not in PUBLIC_PATHS else "/"


def _asked(request: Request, next_page: str, *, error: FBSError | None = None) -> Response:
    frame = layout_of(request)
    if not frame.sessions.needed:
        return _to("/")
    following = safe_path(next_page)
    status = status_of(error) if error is not None else 200
    return frame.page(request, "login", status=status, following=following, error=error)


def _to(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"


for _path in both("/login/"):
    router.add_api_route(_path, ask, methods=["GET"])
    router.add_api_route(_path, log_in, methods=["POST"])
for _path in both("/logout/"):
    router.add_api_route(_path, log_out, methods=["POST"])
