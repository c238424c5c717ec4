"""Errors that only the HTTP API raises; `problems.STATUS` has their HTTP statuses."""

from __future__ import annotations

from fbs_worker.core.errors import FBSError, RefusedError, UsageError


class NotAuthenticated(FBSError):
    """No token, or an unknown one."""

    code = "not_authenticated"


class ScopeMissing(FBSError):
    """The token lacks the required scope; `context["scope"]` names it."""

    code = "scope_missing"


class CrossSite(FBSError):
    """A browser asks on behalf of another site."""

    code = "cross_site"


class NotLocal(FBSError):
    """Without tokens, only this machine has access."""

    code = "not_local"


class RouteNotFound(FBSError):
    """No route has that path."""

    code = "not_found"


class MethodNotAllowed(FBSError):
    """The path does not support that method."""

    code = "method_not_allowed"


class BodyTooLarge(FBSError):
    """The body exceeds the size limit."""

    code = "body_too_large"


class MediaTypeWrong(FBSError):
    """The body's media type is not JSON."""

    code = "media_type"


class TooManyRequests(FBSError):
    """The rate limit is exceeded; `context["retry_after"]` is the delay in seconds."""

    code = "too_many_requests"
    retryable = True


class TooBusy(FBSError):
    """The server cannot wait for further jobs or stream further events."""

    code = "too_busy"
    retryable = True


class IdempotencyMismatch(UsageError):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_mismatch"


class IdempotencyInProgress(RefusedError):
    """The first request with this Idempotency-Key is still in progress."""

    code = "idempotency_in_progress"
    retryable = True
