"""Authentication and authorisation: the outermost ASGI middleware, and the scopes that routes require.

Every path needs a token, `/api/v1/openapi.json`, health and metrics included; `PUBLIC_PATHS`, which the log-in needs,
are the exception. A page without a session redirects to `/login`. Routes declare their scope by `require_read` or
`require_write` and get the authenticated `Principal` from `principal_of`.

A session cookie, which the pages issue for a token, authenticates the pages and the event streams of jobs, never
another path of the API. The pages register how to resolve a cookie (`app.state.session_principal`) and how to render an
error (`app.state.error_page`).

Without configured tokens, every request from this machine runs as the principal `local`, with all scopes.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from typing import Annotated, Any, Final
from urllib.parse import quote

from anyio import to_thread
from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fbs_worker.core.errors import FBSError, UsageError
from fbs_worker.core.redaction import cut
from fbs_worker.core.settings import Settings
from fbs_worker.web.api.csrf import SAFE_METHODS, check_local, check_origin
from fbs_worker.web.api.errors import MediaTypeWrong, NotAuthenticated, ScopeMissing, TooManyRequests
from fbs_worker.web.api.problems import problem_response, unexpected_error
from fbs_worker.web.api.rate_limit import (
    WRONG_TOKENS_PER_MINUTE,
    RateLimiter,
    body_too_large,
    content_length,
    limited_body,
)
from fbs_worker.web.api.tokens import LOCAL, READ, WRITE, Principal, Tokens
from fbs_worker.web.prefix import below, requested_path

__all__ = [
    "SESSION_COOKIE",
    "AccessMiddleware",
    "Principal",
    "check_token",
    "principal_of",
    "require_read",
    "require_scope",
    "require_write",
]

SESSION_COOKIE: Final = "fbs_session"

API: Final = "/api/"
METRICS: Final = ("/metrics", "/metrics/")
MCP: Final = ("/mcp", "/mcp/")
LOGIN: Final = "/login"
PUBLIC_PATHS: Final = ("/login", "/login/", "/static/")
"""Paths that need no token; the last one is a prefix."""

SessionPrincipal = Callable[[str], Principal | None]
"""Resolve a session cookie's value, in a thread; None if it is invalid, expired or ended."""

ErrorPage = Callable[[Request, FBSError], Response]
"""Render an error as an HTML page."""

_LOGGED_PATH: Final = 200
"""Characters of a path in a log line."""

_EVENTS: Final = re.compile(r"/api/v1/jobs/[^/]+/events/?")
_JSON: Final = re.compile(rb"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_TOKEN_HINT: Final = "Send a token: Authorization: Bearer fbs_…; `fbs new-token` makes one."  # noqa: S105 -- a hint
_NO_TOKEN: Final = "This needs a token."  # noqa: S105 -- a message
_REDIRECTS: Final = (b"location", b"hx-redirect")
_DEFAULT_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""Response headers, unless the response sets its own."""

_log = logging.getLogger(__name__)
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    bearerFormat="fbs_…",
    description="A token of FBS_API_TOKENS; `fbs new-token` makes one. Its scope is `read`, or `write` (reads, too).",
)


def principal_of(connection: HTTPConnection) -> Principal:
    """The principal that `AccessMiddleware` authenticated for this request.

    Raises:
        NotAuthenticated: the request has none, which only happens on a public path.
    """
    principal: Principal | None = connection.scope["state"].get("principal")
    if principal is None:
        raise NotAuthenticated(_NO_TOKEN, hint=_TOKEN_HINT)
    return principal


def check_token(connection: HTTPConnection, token: str) -> Principal:
    """Authenticate a token that arrived outside the Authorization header, as in the log-in form.

    Args:
        connection: the request; wrong tokens count against its address.
        token: the token as submitted.

    Raises:
        NotAuthenticated: the token is not configured.
        TooManyRequests: the token is not configured, and this address exceeded its limit of wrong tokens.
    """
    state = connection.app.state
    client = connection.client.host if connection.client else None
    return _authenticate(state.tokens, state.wrong_tokens, token, client)


async def require_read(request: Request, _: Annotated[Any, Security(_bearer, scopes=[READ])]) -> Principal:
    """FastAPI dependency: require the scope `read`.

    Raises:
        NotAuthenticated: the request has no principal.
        ScopeMissing: its token lacks the scope.
    """
    return require_scope(request, READ)


async def require_write(request: Request, _: Annotated[Any, Security(_bearer, scopes=[WRITE])]) -> Principal:
    """FastAPI dependency: require the scope `write`.

    Raises:
        NotAuthenticated: the request has no principal.
        ScopeMissing: its token lacks the scope.
    """
    return require_scope(request, WRITE)


class AccessMiddleware:
    """Outermost ASGI middleware: authentication, rate limit, body limit, security headers, audit log of writes.

    Args:
        app: the wrapped application.
        settings: FBS_API_RATE and FBS_API_MAX_BODY.
        tokens: the configured tokens.
        wrong_tokens: limits wrong tokens per client address.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, tokens: Tokens, wrong_tokens: RateLimiter) -> None:
        self._app = app
        self._tokens = tokens
        self._wrong_tokens = wrong_tokens
        self._requests = RateLimiter(settings.fbs_api_rate)
        self._max_body = settings.fbs_api_max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error or a redirect to the log-in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        sender = _HeaderSender(send, scope.get("root_path", ""))
        principal: Principal | None = None
        try:
            headers = dict(scope["headers"])
            principal = await self._principal(scope, headers)
            scope.setdefault("state", {})["principal"] = principal
            if principal is None and not _is_public(scope["path"]):
                await _login_redirect(scope, headers)(scope, receive, sender.send)
                return
            if principal is not None:
                self._requests.take(principal.name)
            self._check_body(scope, headers)
            if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
                raise UsageError("The address has a NUL character.", hint="Leave it out.")
            await self._app(scope, limited_body(receive, self._max_body), sender.send)
        except FBSError as exc:
            await _error_response(scope, exc)(scope, receive, sender.send)
        except Exception:
            _log.exception("%s %s failed", scope["method"], cut(scope["path"], _LOGGED_PATH))
            if sender.status:  # partly sent: the server has to close the connection, or it would pass for complete
                raise
            await _error_response(scope, unexpected_error())(scope, receive, sender.send)
        finally:
            if principal is not None and scope["method"] not in SAFE_METHODS:
                spent = (time.monotonic() - began) * 1000
                template = "%s: %s %s %d, %.0f ms"
                _log.info(
                    template,
                    principal.name,
                    scope["method"],
                    cut(quote(scope["path"]), _LOGGED_PATH),
                    sender.status,
                    spent,
                )

    async def _principal(self, scope: Scope, headers: dict[bytes, bytes]) -> Principal | None:
        """Authenticate a request; None if it has no session on a path that a page may answer."""
        path, method = scope["path"], scope["method"]
        page = not is_api(path)
        client = scope["client"][0] if scope.get("client") else None
        if not self._tokens:
            check_local(headers, client)
            check_origin(headers, method, page=page)
            return LOCAL
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, token = authorization.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                raise NotAuthenticated("Only bearer tokens are supported.", hint=_TOKEN_HINT)
            return _authenticate(self._tokens, self._wrong_tokens, token.strip(), client)
        if page or (method == "GET" and _EVENTS.fullmatch(path)):
            check_origin(headers, method, page=page)
            principal = await _session_principal(scope)
            if principal is not None or page:
                return principal
        raise NotAuthenticated(_NO_TOKEN, hint=_TOKEN_HINT)

    def _check_body(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        length = content_length(headers)
        if length > self._max_body:
            raise body_too_large(self._max_body)
        if not (length or b"transfer-encoding" in headers) or not is_api(scope["path"]):
            return
        if not _JSON.fullmatch(headers.get(b"content-type", b"").strip()):
            raise MediaTypeWrong("The body's media type is not JSON.", hint="Send Content-Type: application/json.")


class _HeaderSender:
    """Add the default headers to a response, put its redirects below the prefix, and record its status."""

    def __init__(self, send: Send, prefix: str) -> None:
        self._send = send
        self._prefix = prefix
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [
                (name, below(self._prefix, value.decode("latin-1")).encode("latin-1"))
                if name.lower() in _REDIRECTS
                else (name, value)
                for name, value in message.get("headers", ())
            ]
            present = {name.lower() for name, _ in headers}
            message = {**message, "headers": headers + [item for item in _DEFAULT_HEADERS if item[0] not in present]}
        await self._send(message)


def is_api(path: str) -> bool:
    """Whether a path belongs to the API, not to the pages."""
    return path.startswith(API) or path in METRICS or path in MCP


def _is_public(path: str) -> bool:
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PATHS[-1])


def require_scope(request: HTTPConnection, scope: str) -> Principal:
    """Require a scope of the authenticated principal.

    Args:
        request: the request.
        scope: `read` or `write`.

    Raises:
        NotAuthenticated: the request has no principal.
        ScopeMissing: its token lacks the scope.
    """
    principal = principal_of(request)
    if scope not in principal.scopes:
        scopes = ", ".join(sorted(principal.scopes))
        raise ScopeMissing(
            f"This needs a token with the scope {scope}; {principal.name} has only: {scopes}.",
            hint=f"Use another token; `fbs new-token --scope {scope}` makes one.",
            scope=scope,
        )
    return principal


def _authenticate(tokens: Tokens, wrong: RateLimiter, token: str, client: str | None) -> Principal:
    principal = tokens.authenticate(token)
    if principal is not None:
        return principal
    try:
        wrong.take(client or "")
    except TooManyRequests as exc:
        raise TooManyRequests(
            f"More than {WRONG_TOKENS_PER_MINUTE} wrong tokens within a minute.", hint=_TOKEN_HINT, **exc.context
        ) from None
    _log.warning("rejected a request from %s: unknown token", client)
    raise NotAuthenticated("This token is not known.", hint=_TOKEN_HINT, given=True)


async def _session_principal(scope: Scope) -> Principal | None:
    resolve: SessionPrincipal | None = getattr(scope["app"].state, "session_principal", None)
    cookie = HTTPConnection(scope).cookies.get(SESSION_COOKIE)
    if resolve is None or not cookie:
        return None
    return await to_thread.run_sync(resolve, cookie)


def _error_response(scope: Scope, error: FBSError) -> Response:
    """Answer with a page if a browser asked for one, else with a problem document."""
    error_page: ErrorPage | None = getattr(scope["app"].state, "error_page", None)
    request = Request(scope)
    accepts_page = not is_api(scope["path"]) and "text/html" in request.headers.get("accept", "")
    if error_page is None or not accepts_page or isinstance(error, NotAuthenticated):
        return problem_response(error, instance=requested_path(scope))
    return error_page(request, error)


def _login_redirect(scope: Scope, headers: dict[bytes, bytes]) -> Response:
    """Redirect to the log-in, which leads back to the requested page."""
    target = LOGIN
    if scope["method"] in SAFE_METHODS:
        query = scope.get("query_string", b"").decode("latin-1")
        target += "?next=" + quote(scope["path"] + (f"?{query}" if query else ""), safe="")
    if b"hx-request" in headers:  # htmx follows a redirect silently, and would swap the log-in into a part of the page
        return Response(status_code=401, headers={"HX-Redirect": LOGIN, "WWW-Authenticate": "Bearer"})
    return Response(status_code=303, headers={"Location": target})
