"""Parse the query string by a pydantic model: FastAPI's own parsing takes as long as the rest of a request."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_origin

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

_Query = TypeVar("_Query", bound=BaseModel)


def parse_query(request: Request, model: type[_Query]) -> _Query:
    """Parse a request's query string.

    Args:
        request: the request.
        model: the parameters; one of a list type may be repeated, of any other the last value counts.

    Raises:
        RequestValidationError: a parameter is unknown, missing or not valid.
    """
    params = request.query_params
    lists = _list_fields(model)
    try:
        return model.model_validate({name: params.getlist(name) if name in lists else params[name] for name in params})
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**error, "loc": ("query", *error["loc"])} for error in errors]) from None


def query_parameters(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a model's fields as OpenAPI parameters, for a route's `openapi_extra`.

    Args:
        model: the parameters; see `parse_query`.
    """
    schema = model.model_json_schema()
    return {"parameters": [_parameter(name, field, schema) for name, field in schema["properties"].items()]}


def _parameter(name: str, field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    inlined = {key: value for key, value in field.items() if key not in {"description", "title"}}
    choices = [choice for choice in inlined.pop("anyOf", ()) if choice != {"type": "null"}]
    if choices:
        inlined = {**choices[0], **{key: value for key, value in inlined.items() if (key, value) != ("default", None)}}
    if "$ref" in inlined:
        definition = schema["$defs"][inlined.pop("$ref").rpartition("/")[2]]
        inlined = {**{key: value for key, value in definition.items() if key in {"enum", "type"}}, **inlined}
    return {
        "name": name,
        "in": "query",
        "required": name in schema.get("required", ()),
        "description": field.get("description", ""),
        "schema": inlined,
    }


@cache
def _list_fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in model.model_fields.items() if get_origin(field.annotation) is list)
