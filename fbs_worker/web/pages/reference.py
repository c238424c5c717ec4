"""The reference of the HTTP API, rendered from its OpenAPI document: no script, nothing from other servers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

import orjson
from fastapi import Request
from markupsafe import Markup
from starlette.responses import Response

from fbs_worker.web.api.openapi import PATH
from fbs_worker.web.pages.layout import both, layout_of, page_router

router = page_router()

_MAX_DEPTH: Final = 3
_MARKS: Final = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
)

Schema = Mapping[str, Any]


def reference_page(request: Request) -> Response:
    """Show all operations, by their tags."""
    document = request.app.openapi()
    base = str(request.base_url).rstrip("/")
    operations = [
        _operation(document, path, method, operation, base)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    groups = [(tag, [each for each in operations if each["tag"] == tag["name"]]) for tag in document["tags"]]
    return layout_of(request).render(request, "reference", info=document["info"], groups=groups, document=PATH)


def prose(text: str) -> Markup:
    """Render the paragraphs, code and emphasis of a description as HTML; everything else is escaped."""
    paragraphs = []
    for paragraph in text.strip().split("\n\n"):
        rendered = escape(paragraph)
        for pattern, replacement in _MARKS:
            rendered = pattern.sub(replacement, rendered)
        paragraphs.append(f"<p>{rendered}</p>")
    return Markup("".join(paragraphs))  # noqa: S704 -- escaped above


def _operation(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any], base: str
) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    body = (operation.get("requestBody") or {}).get("content", {}).get("application/json", {}).get("schema", {})
    scopes = [scope for each in operation.get("security", ()) for names in each.values() for scope in names]
    return {
        "id": operation["operationId"],
        "tag": operation["tags"][0],
        "method": method.upper(),
        "path": path,
        "summary": operation.get("summary", ""),
        "description": operation.get("description", ""),
        "scopes": scopes,
        "parameters": [
            {**_field(schemas, each["name"], each["schema"], is_required=each.get("required", False)), "in": each["in"]}
            for each in operation.get("parameters", ())
        ],
        "body": list(_fields(schemas, body)),
        "responses": [_response(schemas, status, each) for status, each in operation["responses"].items()],
        "example": _example(schemas, operation, body, method=method, url=f"{base}{path}"),
    }


def _response(schemas: Mapping[str, Schema], status: str, response: Mapping[str, Any]) -> dict[str, Any]:
    contents = response.get("content", {})
    content: Mapping[str, Any] = next(iter(contents.values()), {})
    is_problem = "application/problem+json" in contents
    problems = content.get("examples", {}) if is_problem else {}
    return {
        "status": status,
        "description": response.get("description", ""),
        "problems": {code: each.get("summary", "") for code, each in problems.items()},
        "fields": [] if is_problem else list(_fields(schemas, content.get("schema", {}))),
    }


def _fields(
    schemas: Mapping[str, Schema], schema: Schema, within: str = "", depth: int = 0
) -> Iterator[dict[str, Any]]:
    """The fields of an object, and of the objects and lists of objects in it."""
    found = _resolved(schemas, schema)
    if depth == _MAX_DEPTH:
        return
    for name, field in found.get("properties", {}).items():
        yield _field(schemas, f"{within}{name}", field, is_required=name in found.get("required", ()))
        for inner, mark in ((field, "."), (_resolved(schemas, field).get("items", {}), "[].")):
            yield from _fields(schemas, inner, f"{within}{name}{mark}", depth + 1)


def _field(schemas: Mapping[str, Schema], name: str, schema: Schema, *, is_required: bool) -> dict[str, Any]:
    return {
        "name": name,
        "type": _type(schemas, schema),
        "required": is_required,
        "description": schema.get("description", ""),
        "default": orjson.dumps(schema["default"]).decode() if schema.get("default") not in (None, "", []) else "",
    }


def _type(schemas: Mapping[str, Schema], schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(
            dict.fromkeys(_type(schemas, each) for each in schema["anyOf"] if each.get("type") != "null")
        )
    found = _resolved(schemas, schema)
    if "enum" in found or "const" in found:
        return " | ".join(map(str, found.get("enum") or [found["const"]]))
    if found.get("type") == "array":
        return f"list of {_type(schemas, found.get('items', {}))}"
    return str(found.get("format") or found.get("type") or "any")


def _resolved(schemas: Mapping[str, Schema], schema: Schema) -> Schema:
    """Follow references; of alternatives take the one that is an object."""
    for each in schema.get("anyOf", ()):
        if "$ref" in each:
            return _resolved(schemas, each)
    name = schema.get("$ref", "").rpartition("/")[2]
    return _resolved(schemas, schemas[name]) if name else schema


def _example(
    schemas: Mapping[str, Schema], operation: Mapping[str, Any], body: Schema, *, method: str, url: str
) -> str:
    """A command line that sends the request."""
    for each in operation.get("parameters", ()):
        examples = (
            each["schema"].get("examples") or each.get("examples") or _resolved(schemas, each["schema"]).get("enum")
        )
        if each["in"] == "path" and isinstance(examples, list):
            url = url.replace(f"{{{each['name']}}}", str(examples[0]))
    words = ["curl", *(["-X", method.upper()] if method != "get" else []), url]
    line = f'{shlex.join(words)} -H "Authorization: Bearer $TOKEN"'
    example = _resolved(schemas, body).get("examples", [{}])[0] if body else None
    if example is None:
        return line
    return f"{line} -H 'Content-Type: application/json' \\\n  -d {shlex.quote(orjson.dumps(example).decode())}"


for _path in both("/docs/"):
    router.add_api_route(_path, reference_page, methods=["GET"])
