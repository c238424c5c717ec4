"""Errors as problem details (RFC 9457): `application/problem+json`, with the project's codes and hints.

A problem never repeats a submitted value: it may be a secret.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fbs_worker.core import errors as core
from fbs_worker.core.errors import FBSError, InternalError, UsageError
from fbs_worker.web.api import errors as http
from fbs_worker.web.api.rate_limit import BodyTooLong
from fbs_worker.web.prefix import requested_path
from fbs_worker.web.starlette_compat import matching_methods

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:fbs-worker:error:"
"""Prefix of a problem's `type`; the code follows."""

STATUS: Final[Mapping[type[FBSError], int]] = {
    FBSError: 500,
    core.UsageError: 422,
    core.SolutionNotFound: 404,
    core.TableNotFound: 404,
    core.OdooConnectionNotFound: 404,
    core.UnreachableError: 503,
    core.SyncPaused: 503,
    core.OdooError: 502,
    core.RecordingError: 502,
    core.DatabaseError: 502,
    core.DatabaseBusy: 503,
    core.DatabaseLoginRefused: 409,
    core.DatabaseMissing: 409,
    core.DatabaseRightsMissing: 409,
    core.RefusedError: 409,
    core.JobNotFound: 404,
    core.JobCancelled: 409,
    http.NotAuthenticated: 401,
    http.ScopeMissing: 403,
    http.CrossSite: 403,
    http.NotLocal: 403,
    core.HostRefused: 403,
    http.RouteNotFound: 404,
    http.MethodNotAllowed: 405,
    http.BodyTooLarge: 413,
    http.MediaTypeWrong: 415,
    http.TooManyRequests: 429,
    http.TooBusy: 503,
}
"""HTTP status per error class; a class that is not listed has its parent's."""

SCHEMA: Final = "#/components/schemas/Problem"
"""Reference to `Problem` in the OpenAPI document."""

RETRY_SECONDS: Final = 5
"""Value of Retry-After for an error without `retry_after` in its context."""

_MAX_NAME: Final = 100
_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_REALM: Final = 'Bearer realm="fbs-worker"'
_REPORT: Final = "Report it, with the traceback from the server's log."


class FieldProblem(BaseModel):
    """An invalid value in a request."""

    model_config = ConfigDict(extra="forbid")

    place: str = Field(description="location: body, query, path, header or cookie", examples=["body"])
    pointer: str = Field(
        description="JSON pointer (RFC 6901) into the body, else the parameter's name",
        examples=["/database_config/port"],
    )
    detail: str = Field(description="why the value is not valid", examples=["Input should be a valid integer"])


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="the problem type as a URI: `urn:fbs-worker:error:` and the code")
    title: str = Field(description="the problem type as text")
    status: int = Field(description="the HTTP status", ge=400, le=599)
    detail: str = Field(description="the error message")
    hint: str = Field(default="", description="how to fix it")
    code: str = Field(description="the error code")
    retryable: bool = Field(default=False, description="whether a retry can succeed")
    instance: str = Field(description="the request's path")
    errors: list[FieldProblem] | None = Field(default=None, description="the invalid values")
    context: dict[str, Any] | None = Field(default=None, description="details of the error")
    job: dict[str, Any] | None = Field(default=None, description="the failed job, if the request waited for one")


def status_of(error: FBSError) -> int:
    """Return the HTTP status of an error."""
    return _status(type(error))


def error_class(code: str) -> type[FBSError]:
    """Return the error class with this code; InternalError if the code is unknown."""
    return next((kind for kind in _kinds(FBSError) if kind.code == code), InternalError)


def error_from_dict(data: Mapping[str, Any]) -> FBSError:
    """Reconstruct an error from a job's record.

    Args:
        data: the result of `FBSError.to_dict`.
    """
    kind = error_class(str(data.get("code", "")))
    context = {
        name: value for name, value in dict(data.get("context") or {}).items() if name not in {"message", "hint"}
    }
    return kind(str(data.get("message", "")), hint=str(data.get("hint", "")), **context)


def problem_response(
    error: FBSError,
    *,
    instance: str,
    errors: Sequence[Mapping[str, str]] | None = None,
    job: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Render an error as a problem document.

    Args:
        error: the error.
        instance: the request's path, as the client sees it.
        errors: the invalid values: `place`, `pointer` and `detail` of each.
        job: the failed job's record, if the request waited for one.
        headers: further headers.
    """
    status = status_of(error)
    problem: dict[str, Any] = {
        "type": TYPE + error.code,
        "title": title_of(type(error)),
        "status": status,
        "detail": error.message,
        "hint": error.hint,
        "code": error.code,
        "retryable": error.retryable,
        "instance": quote(instance, safe="/:@!$&'()*+,;=~-._"),
    }
    extra = {"errors": errors, "context": error.context, "job": job}
    problem |= {name: value for name, value in extra.items() if value}
    return Response(
        orjson.dumps(problem, default=str, option=orjson.OPT_NON_STR_KEYS),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **headers_of(error, status), **(headers or {})},
    )


def title_of(kind: type[FBSError]) -> str:
    """Return an error class's title: the first clause of its docstring."""
    return (kind.__doc__ or kind.__name__).strip().partition("\n")[0].partition(";")[0].rstrip(".")


def problem_responses(*kinds: type[FBSError]) -> dict[int | str, dict[str, Any]]:
    """Describe an operation's errors for its `responses=`; `openapi` adds those that every operation can return.

    Args:
        *kinds: the error classes.
    """
    examples: dict[int, dict[str, Any]] = {}
    for kind in kinds:
        examples.setdefault(_status(kind), {})[kind.code] = _example(kind)
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": SCHEMA}, "examples": dict(sorted(by_code.items()))}},
        }
        for status, by_code in sorted(examples.items())
    }


async def handle_error(request: Request, exc: Exception) -> Response:
    """Exception handler: render an FBSError of a route."""
    if not isinstance(exc, FBSError):
        raise exc
    return problem_response(exc, instance=requested_path(request.scope))


async def handle_validation_error(request: Request, exc: Exception) -> Response:
    """Exception handler: render a validation error, without the submitted values."""
    if not isinstance(exc, RequestValidationError):
        raise exc
    errors = [_field_problem(error) for error in exc.errors()]
    first = errors[0]
    location = first["pointer"].lstrip("/").replace("/", ".") or f"the {first['place']}"
    error = UsageError(f"{location} is not valid: {first['detail']}.", hint="See /api/v1/openapi.json for its schema.")
    return problem_response(error, instance=requested_path(request.scope), errors=errors)


async def handle_http_exception(request: Request, exc: Exception) -> Response:
    """Exception handler: render an HTTPException of the framework: unknown path, wrong method, unreadable body."""
    if not isinstance(exc, HTTPException):
        raise exc
    path, method = requested_path(request.scope), request.method
    error: FBSError
    if isinstance(exc, BodyTooLong):
        return problem_response(exc.error, instance=path)
    match exc.status_code:
        case 404:
            error = http.RouteNotFound("No route has this path.", hint="See /api/v1/openapi.json for all paths.")
        case 405:
            allowed = ", ".join(_methods(request))
            error = http.MethodNotAllowed(f"This path does not support {method}.", hint=f"Supported: {allowed}.")
            return problem_response(error, instance=path, headers={"Allow": allowed})
        case status if status < 500:
            error = UsageError("The request cannot be parsed.", hint="Send JSON in UTF-8.")
        case _:
            error = InternalError("The request failed.", hint=_REPORT)
    return problem_response(error, instance=path, headers=exc.headers)


def unexpected_error() -> InternalError:
    """The error that is reported for an unexpected exception; its traceback goes to the log."""
    return InternalError("An internal error occurred: this is a bug in fbs-worker.", hint=_REPORT)


def _status(kind: type[FBSError]) -> int:
    return next(STATUS[parent] for parent in kind.__mro__ if parent in STATUS)


def _kinds(kind: type[FBSError]) -> Iterable[type[FBSError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def _methods(request: Request) -> list[str]:
    """The methods of all routes with the request's path; Starlette's `Allow` names those of the first route only."""
    return matching_methods(request, _METHODS)


def headers_of(error: FBSError, status: int) -> dict[str, str]:
    """Return an error's headers: Retry-After or WWW-Authenticate.

    Args:
        error: the error.
        status: the response's status.
    """
    if status in {429, 503}:
        seconds = error.context.get("retry_after", RETRY_SECONDS)
        return {"Retry-After": str(max(1, math.ceil(seconds)))}
    if isinstance(error, http.NotAuthenticated):
        return {"WWW-Authenticate": _REALM + (', error="invalid_token"' if error.context.get("given") else "")}
    if isinstance(error, http.ScopeMissing):
        return {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{error.context["scope"]}"'}
    return {}


def _field_problem(error: Mapping[str, Any]) -> dict[str, str]:
    place, *path = (str(part)[:_MAX_NAME] for part in error["loc"])
    detail = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    if error["type"] == "json_invalid":
        return {"place": "body", "pointer": "", "detail": "it is not JSON"}
    if place != "body":
        return {"place": place, "pointer": path[0] if path else "", "detail": detail}
    pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)
    return {"place": "body", "pointer": pointer, "detail": detail}


def _example(kind: type[FBSError]) -> dict[str, Any]:
    status = _status(kind)
    return {
        "summary": title_of(kind),
        "value": {
            "type": TYPE + kind.code,
            "title": title_of(kind),
            "status": status,
            "detail": f"{title_of(kind)}.",
            "hint": "How to fix it.",
            "code": kind.code,
            "retryable": kind.retryable,
            "instance": "/api/v1/…",
        },
    }
