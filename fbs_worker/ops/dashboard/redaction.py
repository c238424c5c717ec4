"""Redact secrets in the events of workers and in their replies to inspections."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from fbs_worker.core.characters import visible
from fbs_worker.core.redaction import Redactor, names_a_secret, redacted_arguments

_MASK: Final = "***"
_FREE_TEXT: Final = frozenset({"exception", "kwargs", "message", "result", "step", "traceback"})
"""Fields of an event that may contain a secret."""


def redact_event(fields: Mapping[str, Any], redact: Redactor) -> dict[str, Any]:
    """Mask the secrets in the fields of an event of a task.

    Args:
        fields: the fields.
        redact: removes secrets from text.

    Returns:
        A copy of the fields without secrets.
    """
    clean = {
        name: visible(redact(value) if name in _FREE_TEXT else value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    for name in ("args", "kwargs"):
        if name in fields:
            clean[name] = _redact_named(name, fields[name], redact)
    return clean


def redact_reply(reply: Any, redact: Redactor) -> Any:
    """Mask the secrets in a worker's reply to an inspection: it reports the real arguments of its tasks.

    Args:
        reply: the reply, JSON-ready.
        redact: removes secrets from text.

    Returns:
        A copy of the reply without secrets.
    """
    match reply:
        case str():
            return visible(redact(reply))
        case Mapping():
            return {key: _redact_named(key, value, redact) for key, value in reply.items()}
        case list() | tuple():
            return [redact_reply(item, redact) for item in reply]
    return reply


def _redact_named(name: str, value: Any, redact: Redactor) -> Any:
    if name == "args":
        return _redact_positional(value)
    if name == "kwargs":
        arguments = value
        if isinstance(value, str):
            with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # cut, or no dictionary
                arguments = ast.literal_eval(value)
        shown = repr(redacted_arguments(arguments)) if isinstance(arguments, Mapping) else str(value)
        return visible(redact(shown))
    if value and names_a_secret(name):
        return _MASK
    return redact_reply(value, redact)


def _redact_positional(arguments: object) -> str:
    """A placeholder for positional arguments: without names, secrets among them cannot be recognised."""
    return "()" if not arguments or arguments in ("()", "[]") else "(not shown)"
