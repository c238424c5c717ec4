"""The HTTP API, from its OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final

from docs.generators import markdown
from fbs_worker.core.settings import Settings
from fbs_worker.web.app import create_app

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_PROBLEM: Final = "application/problem+json"
_REDIS: Final = "redis://localhost:6379/0"
"""Nothing connects to it: the application is made only for its document."""


@cache
def document() -> Mapping[str, Any]:
    """The OpenAPI document."""
    return create_app(Settings(fbs_redis_url=_REDIS, fbs_api_tokens="")).openapi()  # type: ignore[arg-type]


def page() -> str:
    """Each operation below its tag, then the schemas."""
    api = document()
    parts: list[str] = []
    for tag in api["tags"]:
        parts += [f"## {tag['name'].capitalize()}\n", markdown.sentence(tag["description"]) + "\n"]
        for path, operations in api["paths"].items():
            for method in _METHODS:
                if tag["name"] in operations.get(method, {}).get("tags", ()):
                    parts += _operation(path, method, operations[method])
    parts.append("## Schemas\n")
    for name, schema in sorted(api["components"]["schemas"].items()):
        parts += _schema(name, schema)
    return "\n".join(parts)


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"(operation-{operation['operationId']})=\n### {markdown.code(f'{method.upper()} {path}')}\n"
    yield markdown.sentence(operation["summary"]) + "\n"
    if operation.get("description"):
        yield markdown.sentence(operation["description"]) + "\n"
    scopes = sorted({scope for entry in operation.get("security", ()) for scope in entry.get("bearer", ())})
    if scopes:
        yield f"Scope of the token: {', '.join(map(markdown.code, scopes))}.\n"
    if operation.get("parameters"):
        yield markdown.table(["parameter", "in", "type", "meaning"], map(_parameter, operation["parameters"]))
    for media, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"Body ({markdown.code(media)}): {_kind(body['schema'])}.\n"
        yield from _example(body)
    yield markdown.table(["status", "answer"], _responses(operation["responses"]))


def _parameter(parameter: Mapping[str, Any]) -> list[str]:
    meaning = [markdown.sentence(parameter.get("description", ""))]
    meaning += ["Required."] if parameter.get("required") and parameter["in"] != "path" else []
    meaning += _default(parameter["schema"])
    return [markdown.code(parameter["name"]), parameter["in"], _kind(parameter["schema"]), " ".join(meaning)]


def _responses(responses: Mapping[str, Any]) -> Iterator[list[str]]:
    for status, response in responses.items():
        problems = response.get("content", {}).get(_PROBLEM, {}).get("examples", {})
        phrase = "" if status == "default" else HTTPStatus(int(status)).phrase
        if problems:
            yield [f"{status} {phrase}", ", ".join(map(markdown.code, sorted(problems)))]
        else:
            kinds = [_kind(body["schema"]) for body in response.get("content", {}).values() if "schema" in body]
            about = markdown.sentence(response.get("description", ""))
            yield [f"{status} {phrase}", " ".join([about, *kinds])]


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"(schema-{name.lower()})=\n### {markdown.code(name)}\n"
    if schema.get("description"):
        yield markdown.sentence(schema["description"].split("\n\n")[0]) + "\n"
    if "enum" in schema:
        yield f"One of {', '.join(map(markdown.code, schema['enum']))}.\n"
    if schema.get("properties"):
        required = schema.get("required", ())
        yield markdown.table(
            ["field", "type", "meaning"],
            (_property(field, about, field in required) for field, about in schema["properties"].items()),
        )
    yield from _example(schema)


def _property(name: str, about: Mapping[str, Any], required: bool) -> list[str]:
    meaning = [markdown.sentence(about.get("description", "")), *(["Required."] if required else []), *_default(about)]
    return [markdown.code(name), _kind(about), " ".join(filter(None, meaning))]


def _example(body: Mapping[str, Any]) -> Iterator[str]:
    examples = body.get("examples") or ([body["example"]] if "example" in body else [])
    if isinstance(examples, Mapping):
        examples = [example["value"] for example in examples.values()]
    for example in examples[:1]:
        yield markdown.block("json", json.dumps(example, indent=2, ensure_ascii=False))


def _default(schema: Mapping[str, Any]) -> list[str]:
    value = schema.get("default")
    return [f"Default: {markdown.code(json.dumps(value))}."] if value not in (None, "", [], {}) else []


def _kind(schema: Mapping[str, Any]) -> str:
    """A type in a few words, with a link where it is one of the schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{markdown.code(name)}](#schema-{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            kinds = dict.fromkeys(_kind(one) for one in schema[several])
            return " or ".join(kind for kind in kinds if kind != "null") + (" or null" if "null" in kinds else "")
    if "const" in schema:
        return markdown.code(json.dumps(schema["const"]))
    if "enum" in schema:
        return ", ".join(markdown.code(one) for one in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {_kind(schema.get('items', {}))}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind
