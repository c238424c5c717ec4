"""The OpenAPI document: what FastAPI gathers from the routes, and the errors that any of them can meet."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from fbs_worker.core.errors import FBSError, InternalError, UsageError
from fbs_worker.web.api import errors as http
from fbs_worker.web.api.problems import MEDIA_TYPE, FieldProblem, Problem, problem_responses

PATH: Final = "/api/v1/openapi.json"

DESCRIPTION: Final = """\
Reads what an Odoo server can do into PostgreSQL, and sets up business tables beside it, as jobs that anyone can watch.

**Tokens.** Send `Authorization: Bearer fbs_…`. Where the server has none set, it answers the machine it runs on.

**Jobs.** Work is answered with `202` and the job; follow `links`, or wait for its end with `?wait=30` (seconds): then
`200` has the result, or the problem says what it failed with. A request that is sent again with the same
`Idempotency-Key` gives the same job.

**Errors** are problem details (RFC 9457) with a stable `code` and a `hint` what to do.

**Paths** may be written without the slash at their end.
"""

TAGS: Final = [
    {"name": "solutions", "description": "One named use of a domain in one database each."},
    {"name": "discoveries", "description": "What an Odoo server can do: modules, models, workflows, BI features."},
    {"name": "jobs", "description": "Work that was asked for: where it stands, and its events."},
    {"name": "service", "description": "Whether everything works, and figures."},
]

_EVERYWHERE: Final[tuple[type[FBSError], ...]] = (
    http.NotAuthenticated,
    http.ScopeMissing,
    http.CrossSite,
    http.NotLocal,
    http.TooManyRequests,
    InternalError,
)
_WITH_BODY: Final[tuple[type[FBSError], ...]] = (http.BodyTooLarge, http.MediaTypeWrong, UsageError)
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_OF_FASTAPI: Final = ("HTTPValidationError", "ValidationError")
_SCHEMAS: Final = "#/components/schemas/{model}"


def make_document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the application.

    Args:
        app: it has all its routes.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    for path in document.get("paths", {}).values():
        for method, operation in path.items():
            if method in _METHODS:
                _complete(operation)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _OF_FASTAPI:
        schemas.pop(name, None)
    _, definitions = models_json_schema(
        [(Problem, "serialization"), (FieldProblem, "serialization")], ref_template=_SCHEMAS
    )
    schemas.update(definitions["$defs"])
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _complete(operation: dict[str, Any]) -> None:
    """Add the errors that any operation, or any with a body or parameters, can meet."""
    responses = operation["responses"]
    kinds = _EVERYWHERE
    if "requestBody" in operation:
        kinds += _WITH_BODY
    elif operation.get("parameters"):
        kinds += (UsageError,)
    if MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        responses.pop("422", None)  # FastAPI's own shape of it
    for status, told in problem_responses(*kinds).items():
        there = responses.setdefault(str(status), told)
        there["content"][MEDIA_TYPE]["examples"] = {
            **told["content"][MEDIA_TYPE]["examples"],
            **there["content"][MEDIA_TYPE].get("examples", {}),
        }
    operation["responses"] = dict(sorted(responses.items()))
