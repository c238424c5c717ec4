"""What stands after the `?`, read by a model: FastAPI's own way takes as long as all the rest of a request."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_origin

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

_Query = TypeVar("_Query", bound=BaseModel)


def query_of(request: Request, model: type[_Query]) -> _Query:
    """What a request asks for.

    Args:
        request: the request.
        model: what it may ask for; a field that is a list may be given more than once, of others the last counts.

    Raises:
        RequestValidationError: that is not valid.
    """
    given = request.query_params
    lists = _lists(model)
    try:
        return model.model_validate({name: given.getlist(name) if name in lists else given[name] for name in given})
    except ValidationError as exc:
        told = exc.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**error, "loc": ("query", *error["loc"])} for error in told]) from None


def query_told(model: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI document says of a model's fields, for a route's `openapi_extra`.

    Args:
        model: see `query_of`.
    """
    schema = model.model_json_schema()
    return {"parameters": [_parameter(name, told, schema) for name, told in schema["properties"].items()]}


def _parameter(name: str, told: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    what = {key: value for key, value in told.items() if key not in {"description", "title"}}
    choices = [choice for choice in what.pop("anyOf", ()) if choice != {"type": "null"}]
    if choices:
        what = {**choices[0], **{key: value for key, value in what.items() if (key, value) != ("default", None)}}
    if "$ref" in what:
        meant = schema["$defs"][what.pop("$ref").rpartition("/")[2]]
        what = {**{key: value for key, value in meant.items() if key in {"enum", "type"}}, **what}
    return {
        "name": name,
        "in": "query",
        "required": name in schema.get("required", ()),
        "description": told.get("description", ""),
        "schema": what,
    }


@cache
def _lists(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for name, field in model.model_fields.items() if get_origin(field.annotation) is list)
