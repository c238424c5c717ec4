"""The OpenAPI document: FastAPI's own, completed with the errors that any operation can return."""

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
Discovers the modules, models, workflows and BI features of an Odoo server into PostgreSQL, and sets up business tables,
as background jobs.

**Tokens.** Send `Authorization: Bearer fbs_…`. A server without configured tokens answers only its own machine.

**Jobs.** An operation that enqueues a job returns `202` with the job; follow its `links`, or wait for it with
`?wait=30` (seconds): then `200` has the result, or a problem document the job's error. A repeated request with the same
`Idempotency-Key` returns the same job.

**Errors** are problem details (RFC 9457) with a stable `code` and a `hint`.

**Paths** work without the trailing slash, too.
"""

TAGS: Final = [
    {"name": "solutions", "description": "A solution is a named use of a domain in one database."},
    {
        "name": "discoveries",
        "description": "What was discovered in an Odoo server: modules, models, workflows, BI features.",
    },
    {"name": "records", "description": "Copies of Odoo's records, in the tables of mirrored models."},
    {"name": "odoo", "description": "Connections to Odoo: of the environment, and those kept in the home database."},
    {"name": "jobs", "description": "Background jobs: state, progress, events, cancellation."},
    {"name": "service", "description": "Health and metrics."},
]

_COMMON_ERRORS: Final[tuple[type[FBSError], ...]] = (
    http.NotAuthenticated,
    http.ScopeMissing,
    http.CrossSite,
    http.NotLocal,
    http.TooManyRequests,
    InternalError,
)
_BODY_ERRORS: Final[tuple[type[FBSError], ...]] = (http.BodyTooLarge, http.MediaTypeWrong, UsageError)
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_FASTAPI_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")
_SCHEMAS: Final = "#/components/schemas/{model}"


def build_document(app: FastAPI) -> dict[str, Any]:
    """Build the OpenAPI 3.1 document.

    Args:
        app: the application, with all its routes.
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
    for name in _FASTAPI_SCHEMAS:
        schemas.pop(name, None)
    _, definitions = models_json_schema(
        [(Problem, "serialization"), (FieldProblem, "serialization")], ref_template=_SCHEMAS
    )
    schemas.update(definitions["$defs"])
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _complete(operation: dict[str, Any]) -> None:
    """Add the errors that any operation, or any with a body or parameters, can return."""
    responses = operation["responses"]
    kinds = _COMMON_ERRORS
    if "requestBody" in operation:
        kinds += _BODY_ERRORS
    elif operation.get("parameters"):
        kinds += (UsageError,)
    if MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        responses.pop("422", None)  # FastAPI's HTTPValidationError
    for status, response in problem_responses(*kinds).items():
        content = responses.setdefault(str(status), response)["content"][MEDIA_TYPE]
        content["examples"] = {**response["content"][MEDIA_TYPE]["examples"], **content.get("examples", {})}
    operation["responses"] = dict(sorted(responses.items()))
