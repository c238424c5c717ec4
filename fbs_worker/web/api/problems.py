"""Errors as problem details (RFC 9457): `application/problem+json`, with the project's codes and hints.

A problem never repeats a value that was sent: values may be secrets.
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
from starlette.routing import Match

from fbs_worker.core import errors as core
from fbs_worker.core.errors import FBSError, InternalError, UsageError
from fbs_worker.web.api import errors as http
from fbs_worker.web.api.rate_limit import BodyTooLong

MEDIA_TYPE: Final = "application/problem+json"
TYPE: Final = "urn:fbs-worker:error:"
"""A problem's `type` is this and its code."""

STATUS: Final[Mapping[type[FBSError], int]] = {
    FBSError: 500,
    core.UsageError: 422,
    core.SolutionNotFound: 404,
    core.UnreachableError: 503,
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
    http.HostRefused: 403,
    http.RouteNotFound: 404,
    http.MethodNotAllowed: 405,
    http.BodyTooLarge: 413,
    http.MediaTypeWrong: 415,
    http.TooManyRequests: 429,
    http.TooBusy: 503,
}
"""The status of each error; one that is not named here has its parent's."""

SCHEMA: Final = "#/components/schemas/Problem"
"""Where the OpenAPI document describes `Problem`."""

RETRY_SECONDS: Final = 5
"""What Retry-After says where the error knows no better."""

_LONGEST_NAME: Final = 100
_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_REALM: Final = 'Bearer realm="fbs-worker"'
_REPORT: Final = "Report it with what the server's log says."


class FieldProblem(BaseModel):
    """One thing in a request that is not valid."""

    model_config = ConfigDict(extra="forbid")

    place: str = Field(description="where it is: body, query, path, header or cookie", examples=["body"])
    pointer: str = Field(
        description="which value: a JSON pointer (RFC 6901) in the body, else the parameter's name",
        examples=["/database_config/port"],
    )
    detail: str = Field(description="what is wrong with it", examples=["Input should be a valid integer"])


class Problem(BaseModel):
    """Why a request was not done (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="the kind of problem, as a URI: `urn:fbs-worker:error:` and the code")
    title: str = Field(description="the kind of problem, in words")
    status: int = Field(description="the HTTP status", ge=400, le=599)
    detail: str = Field(description="what is wrong, in one line")
    hint: str = Field(default="", description="what to do about it, in one line")
    code: str = Field(description="the kind of problem, for programs")
    retryable: bool = Field(default=False, description="whether the same request can succeed later")
    instance: str = Field(description="the path that was asked for")
    errors: list[FieldProblem] | None = Field(default=None, description="each value that is not valid")
    context: dict[str, Any] | None = Field(default=None, description="facts about it")
    job: dict[str, Any] | None = Field(default=None, description="the job that failed, where one was waited for")


def status_of(error: FBSError) -> int:
    """The HTTP status of an error."""
    return _status(type(error))


def kind_of(code: str) -> type[FBSError]:
    """The class of error that has this code; InternalError where none has."""
    return next((kind for kind in _kinds(FBSError) if kind.code == code), InternalError)


def error_of(told: Mapping[str, Any]) -> FBSError:
    """The error that a job's record tells of, as an exception again.

    Args:
        told: what `FBSError.to_dict` gave.
    """
    kind = kind_of(str(told.get("code", "")))
    context = {
        name: value for name, value in dict(told.get("context") or {}).items() if name not in {"message", "hint"}
    }
    return kind(str(told.get("message", "")), hint=str(told.get("hint", "")), **context)


def problem_response(
    error: FBSError,
    *,
    instance: str,
    errors: Sequence[Mapping[str, str]] | None = None,
    job: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that tells of an error.

    Args:
        error: what went wrong.
        instance: the path that was asked for.
        errors: each value that is not valid: `place`, `pointer` and `detail`.
        job: the job's record, if the error is that of a job that was waited for.
        headers: further headers.
    """
    status = status_of(error)
    told: dict[str, Any] = {
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
    told |= {name: value for name, value in extra.items() if value}
    return Response(
        orjson.dumps(told, default=str, option=orjson.OPT_NON_STR_KEYS),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **headers_of(error, status), **(headers or {})},
    )


def title_of(kind: type[FBSError]) -> str:
    """The kind of error in words: its class's first line."""
    return (kind.__doc__ or kind.__name__).strip().partition("\n")[0].partition(";")[0].rstrip(".")


def problem_responses(*kinds: type[FBSError]) -> dict[int | str, dict[str, Any]]:
    """What an operation's `responses=` says of its errors; `openapi` adds those that every operation has.

    Args:
        *kinds: the errors that it can meet besides.
    """
    examples: dict[int, dict[str, Any]] = {}
    for kind in kinds:
        examples.setdefault(_status(kind), {})[kind.code] = _example(kind)
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": SCHEMA}, "examples": dict(sorted(told.items()))}},
        }
        for status, told in sorted(examples.items())
    }


async def on_error(request: Request, exc: Exception) -> Response:
    """Answer to an FBSError that a route raised."""
    if not isinstance(exc, FBSError):
        raise exc
    return problem_response(exc, instance=request.url.path)


async def on_invalid(request: Request, exc: Exception) -> Response:
    """Answer to a request that is not as its route wants it; no value of it is repeated."""
    if not isinstance(exc, RequestValidationError):
        raise exc
    errors = [_field(told) for told in exc.errors()]
    first = errors[0]
    place = first["pointer"].lstrip("/").replace("/", ".") or f"the {first['place']}"
    error = UsageError(f"{place} is not valid: {first['detail']}.", hint="See /api/v1/openapi.json for what is wanted.")
    return problem_response(error, instance=request.url.path, errors=errors)


async def on_http_exception(request: Request, exc: Exception) -> Response:
    """Answer to what the framework refuses by itself: an unknown path, a method that is not there, a bad body."""
    if not isinstance(exc, HTTPException):
        raise exc
    path, method = request.url.path, request.method
    error: FBSError
    if isinstance(exc, BodyTooLong):
        return problem_response(exc.error, instance=path)
    match exc.status_code:
        case 404:
            error = http.RouteNotFound("Nothing is at this path.", hint="See /api/v1/openapi.json for what there is.")
        case 405:
            allowed = ", ".join(_methods(request))
            error = http.MethodNotAllowed(f"{method} cannot be done here.", hint=f"What can: {allowed}.")
            return problem_response(error, instance=path, headers={"Allow": allowed})
        case status if status < 500:
            error = UsageError("The request cannot be read.", hint="Send JSON in UTF-8.")
        case _:
            error = InternalError("The request could not be answered.", hint=_REPORT)
    return problem_response(error, instance=path, headers=exc.headers)


def unexpected() -> InternalError:
    """What is told of an exception that nobody foresaw; the log has it whole."""
    return InternalError("This is a mistake in fbs-worker.", hint=_REPORT)


def _status(kind: type[FBSError]) -> int:
    return next(STATUS[parent] for parent in kind.__mro__ if parent in STATUS)


def _kinds(kind: type[FBSError]) -> Iterable[type[FBSError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def _methods(request: Request) -> list[str]:
    """What can be done at the request's path; the framework tells of the first route there alone."""
    routes = request.app.routes
    asked = {method: {**request.scope, "method": method} for method in _METHODS}
    return [name for name, scope in asked.items() if any(route.matches(scope)[0] is Match.FULL for route in routes)]


def headers_of(error: FBSError, status: int) -> dict[str, str]:
    """What an error's answer says in its headers: when to try again, which token is wanted.

    Args:
        error: what went wrong.
        status: the answer's.
    """
    if status in {429, 503}:
        seconds = error.context.get("retry_after", RETRY_SECONDS)
        return {"Retry-After": str(max(1, math.ceil(seconds)))}
    if isinstance(error, http.NotAuthenticated):
        return {"WWW-Authenticate": _REALM + (', error="invalid_token"' if error.context.get("given") else "")}
    if isinstance(error, http.ScopeMissing):
        return {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{error.context["scope"]}"'}
    return {}


def _field(told: Mapping[str, Any]) -> dict[str, str]:
    place, *path = (str(part)[:_LONGEST_NAME] for part in told["loc"])
    detail = str(told["msg"]).removeprefix("Value error, ").rstrip(".")
    if told["type"] == "json_invalid":
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
            "hint": "What to do about it.",
            "code": kind.code,
            "retryable": kind.retryable,
            "instance": "/api/v1/…",
        },
    }
