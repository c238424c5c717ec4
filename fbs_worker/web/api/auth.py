"""Who may: every request passes here before anything else looks at it.

Everything asks for a token, `/api/v1/openapi.json`, health and figures too; a page sends who has none to `/login`. What
is open is what one needs to log in: `OPEN`. Routes then say what they need by `require_read` or `require_write`, and
find who asks in `caller_of`.

A session (a cookie that the pages give for a token) opens the pages, and the events of a job to their live parts; it
never opens another path of the API. The pages say whose a cookie is (`app.state.session_caller`), and how a person is
told of a refusal (`app.state.error_page`).

Where no token is set, whoever is on this machine is the caller `local` and may do everything.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection, Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fbs_worker.core.errors import FBSError
from fbs_worker.core.settings import Settings
from fbs_worker.web.api.csrf import SAFE_METHODS, check_local, check_site
from fbs_worker.web.api.errors import MediaTypeWrong, NotAuthenticated, ScopeMissing, TooManyRequests
from fbs_worker.web.api.problems import problem_response, unexpected
from fbs_worker.web.api.rate_limit import WRONG_TOKENS_PER_MINUTE, Limiter, announced_length, counted, too_large
from fbs_worker.web.api.tokens import LOCAL, READ, WRITE, Caller, Tokens

__all__ = ["SESSION_COOKIE", "Caller", "Guard", "caller_of", "check_token", "require_read", "require_write"]

SESSION_COOKIE: Final = "fbs_session"

API: Final = "/api/"
METRICS: Final = ("/metrics", "/metrics/")
LOGIN: Final = "/login"
OPEN: Final = ("/login", "/login/", "/static/")
"""Paths that need no token; the last one with all that lies under it."""

SessionCaller = Callable[[str], Caller | None]
"""Whose session a cookie's value stands for; None when it is none, or none any more."""

ErrorPage = Callable[[Request, FBSError], Response]
"""An error as a page."""

_EVENTS: Final = re.compile(r"/api/v1/jobs/[^/]+/events/?")
_JSON: Final = re.compile(rb"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_HOW: Final = "Send a token: Authorization: Bearer fbs_…; `fbs new-token` makes one."
_NO_TOKEN: Final = "This needs a token."  # noqa: S105 -- words
_DEFAULT_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""What each answer says where it does not say it otherwise."""

_log = logging.getLogger(__name__)
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    bearerFormat="fbs_…",
    description="A token of FBS_API_TOKENS; `fbs new-token` makes one. Its scope is `read`, or `write` (reads, too).",
)


def caller_of(connection: HTTPConnection) -> Caller:
    """Who sends this request.

    Raises:
        NotAuthenticated: nobody who is known: it is on an open path.
    """
    caller: Caller | None = connection.scope["state"].get("caller")
    if caller is None:
        raise NotAuthenticated(_NO_TOKEN, hint=_HOW)
    return caller


def check_token(connection: HTTPConnection, token: str) -> Caller:
    """Who holds a token that somebody gave in another way than by the header: the log-in of the pages.

    Args:
        connection: the request.
        token: what was given.

    Raises:
        NotAuthenticated: nobody holds it.
        TooManyRequests: nobody does, and this address has tried too many.
    """
    state = connection.app.state
    return _holder(state.tokens, state.wrong_tokens, token, connection.client.host if connection.client else None)


async def require_read(request: Request, _: Annotated[Any, Security(_bearer, scopes=[READ])]) -> Caller:
    """A route's dependency: whoever asks may read."""
    return _with_scope(request, READ)


async def require_write(request: Request, _: Annotated[Any, Security(_bearer, scopes=[WRITE])]) -> Caller:
    """A route's dependency: whoever asks may write."""
    return _with_scope(request, WRITE)


class Guard:
    """The first of the application's middlewares: who asks, how often, with how much, and what every answer says.

    Args:
        app: what lies behind.
        settings: the limits.
        tokens: who may.
        wrong_tokens: counts wrong tokens per address.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, tokens: Tokens, wrong_tokens: Limiter) -> None:
        self._app = app
        self._tokens = tokens
        self._wrong_tokens = wrong_tokens
        self._requests = Limiter(settings.fbs_api_rate)
        self._most = settings.fbs_api_max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        answer = _Answer(send)
        caller: Caller | None = None
        try:
            headers = dict(scope["headers"])
            caller = self._caller(scope, headers)
            scope.setdefault("state", {})["caller"] = caller
            if caller is None and not _is_open(scope["path"]):
                await _to_login(scope, headers)(scope, receive, answer.send)
                return
            if caller is not None:
                self._requests.take(caller.name)
            self._check_body(scope, headers)
            await self._app(scope, counted(receive, self._most), answer.send)
        except FBSError as exc:
            await _refusal(scope, exc)(scope, receive, answer.send)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if answer.status:  # half of it is sent: the server closes the connection, so that nobody takes it for whole
                raise
            await _refusal(scope, unexpected())(scope, receive, answer.send)
        finally:
            if caller is not None and scope["method"] not in SAFE_METHODS:
                spent = (time.monotonic() - began) * 1000
                words = "%s: %s %s %d, %.0f ms"
                _log.info(words, caller.name, scope["method"], quote(scope["path"]), answer.status, spent)

    def _caller(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller | None:
        """Who asks; None for nobody who is known, where that may be answered by a page."""
        path, method = scope["path"], scope["method"]
        page = not _is_api(path)
        client = scope["client"][0] if scope.get("client") else None
        if not self._tokens:
            check_local(headers, client)
            check_site(headers, method, page=page)
            return LOCAL
        given = headers.get(b"authorization")
        if given is not None:
            kind, _, token = given.decode("latin-1").partition(" ")
            if kind.lower() != "bearer":
                raise NotAuthenticated("Only bearer tokens are known.", hint=_HOW)
            return _holder(self._tokens, self._wrong_tokens, token.strip(), client)
        if page or (method == "GET" and _EVENTS.fullmatch(path)):
            check_site(headers, method, page=page)
            found = _session(scope, headers)
            if found is not None or page:
                return found
        raise NotAuthenticated(_NO_TOKEN, hint=_HOW)

    def _check_body(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        length = announced_length(headers)
        if length > self._most:
            raise too_large(self._most)
        if not (length or b"transfer-encoding" in headers) or not scope["path"].startswith(API):
            return
        if not _JSON.fullmatch(headers.get(b"content-type", b"").strip()):
            raise MediaTypeWrong("The body is not said to be JSON.", hint="Send Content-Type: application/json.")


class _Answer:
    """An answer on its way: gets the headers that every answer has, and is asked for its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            message = {**message, "headers": headers + [item for item in _DEFAULT_HEADERS if item[0] not in there]}
        await self._send(message)


def _is_api(path: str) -> bool:
    return path.startswith(API) or path in METRICS


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN[-1])


def _with_scope(request: Request, scope: str) -> Caller:
    caller = caller_of(request)
    if scope not in caller.scopes:
        raise ScopeMissing(
            f"This needs a token with the scope {scope}; {caller.name} has only: {', '.join(sorted(caller.scopes))}.",
            hint=f"Use another token; `fbs new-token --scope {scope}` makes one.",
            scope=scope,
        )
    return caller


def _holder(tokens: Tokens, wrong: Limiter, token: str, client: str | None) -> Caller:
    caller = tokens.caller(token)
    if caller is not None:
        return caller
    try:
        wrong.take(client or "")
    except TooManyRequests as exc:
        raise TooManyRequests(
            f"More than {WRONG_TOKENS_PER_MINUTE} wrong tokens within a minute.", hint=_HOW, **exc.context
        ) from None
    _log.warning("refused %s: the token is not known", client)
    raise NotAuthenticated("This token is not known.", hint=_HOW, given=True)


def _session(scope: Scope, headers: dict[bytes, bytes]) -> Caller | None:
    whose: SessionCaller | None = getattr(scope["app"].state, "session_caller", None)
    cookie = cookie_parser(headers.get(b"cookie", b"").decode("latin-1")).get(SESSION_COOKIE)
    return whose(cookie) if whose is not None and cookie else None


def _refusal(scope: Scope, error: FBSError) -> Response:
    """A refusal in the words of whoever is refused: a page for a person, a problem for a program."""
    show: ErrorPage | None = getattr(scope["app"].state, "error_page", None)
    request = Request(scope)
    wants_page = not _is_api(scope["path"]) and "text/html" in request.headers.get("accept", "")
    if show is None or not wants_page or isinstance(error, NotAuthenticated):
        return problem_response(error, instance=scope["path"])
    return show(request, error)


def _to_login(scope: Scope, headers: dict[bytes, bytes]) -> Response:
    """Sends a person to the log-in, and from there back to the page that was asked for."""
    target = LOGIN
    if scope["method"] in SAFE_METHODS:
        query = scope.get("query_string", b"").decode("latin-1")
        target += "?next=" + quote(scope["path"] + (f"?{query}" if query else ""), safe="")
    if b"hx-request" in headers:  # htmx follows a redirect unseen, and would put the log-in into a part of the page
        return Response(status_code=401, headers={"HX-Redirect": LOGIN, "WWW-Authenticate": "Bearer"})
    return Response(status_code=303, headers={"Location": target})
