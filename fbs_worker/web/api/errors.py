"""What only HTTP can meet: who may not, what is too much, what was asked in the wrong way.

FBSError
├── NotAuthenticated           no token, or one that is not known                401
├── ScopeMissing               the token is good for less                        403
├── CrossSite                  a browser asks on behalf of another site          403
├── NotLocal                   without tokens, only this machine is answered     403
├── HostRefused                a database host that callers may not name         403
├── RouteNotFound              nothing is at that path                           404
├── MethodNotAllowed           there is something, but not for that method       405
├── BodyTooLarge                                                                 413
├── MediaTypeWrong             a body that is not JSON                           415
├── TooManyRequests            a retry can help                                  429
├── TooBusy                    this server can wait for no more jobs at once; a retry can help   503
├── UsageError
│   └── IdempotencyMismatch    the key was used for another request              422
└── RefusedError
    └── IdempotencyInProgress  the same request is being answered just now       409
"""

from __future__ import annotations

from fbs_worker.core.errors import FBSError, RefusedError, UsageError


class NotAuthenticated(FBSError):
    """No token, or one that is not known."""

    code = "not_authenticated"


class ScopeMissing(FBSError):
    """The token is known, but good for less; `context["scope"]` names what is needed."""

    code = "scope_missing"


class CrossSite(FBSError):
    """A browser asks on behalf of another site."""

    code = "cross_site"


class NotLocal(FBSError):
    """Without any token set, only this machine is answered."""

    code = "not_local"


class HostRefused(FBSError):
    """A database host that callers may not name."""

    code = "host_refused"


class RouteNotFound(FBSError):
    """Nothing is at that path."""

    code = "not_found"


class MethodNotAllowed(FBSError):
    """Something is at that path, but not for that method."""

    code = "method_not_allowed"


class BodyTooLarge(FBSError):
    """The body has more bytes than allowed."""

    code = "body_too_large"


class MediaTypeWrong(FBSError):
    """The body is not said to be JSON."""

    code = "media_type"


class TooManyRequests(FBSError):
    """More requests than one caller may send; `context["retry_after"]` tells for how many seconds to wait."""

    code = "too_many_requests"
    retryable = True


class TooBusy(FBSError):
    """This server waits for as many jobs, and tells of as many, as it can."""

    code = "too_busy"
    retryable = True


class IdempotencyMismatch(UsageError):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_mismatch"


class IdempotencyInProgress(RefusedError):
    """The first request with this Idempotency-Key has not been answered yet."""

    code = "idempotency_in_progress"
    retryable = True
