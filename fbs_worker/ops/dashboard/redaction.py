"""Redact secrets in the events of workers and in their replies to inspections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fbs_worker.core.redaction import Redactor

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
        name: redact(value) if name in _FREE_TEXT and isinstance(value, str) else value
        for name, value in fields.items()
    }
    return clean | {"args": _redact_positional(fields["args"])} if "args" in fields else clean


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
            return redact(reply)
        case Mapping():
            return {key: _redact_named(key, value, redact) for key, value in reply.items()}
        case list() | tuple():
            return [redact_reply(item, redact) for item in reply]
    return reply


def _redact_named(name: str, value: Any, redact: Redactor) -> Any:
    if name == "args":
        return _redact_positional(value)
    if name == "kwargs":
        return redact(value if isinstance(value, str) else repr(value))
    sample = f"{name}='x'"
    if value and isinstance(value, str) and redact(sample) != sample:  # the name denotes a secret
        return _MASK
    return redact_reply(value, redact)


def _redact_positional(arguments: object) -> str:
    """A placeholder for positional arguments: without names, secrets among them cannot be recognised."""
    return "()" if not arguments or arguments in ("()", "[]") else "(not shown)"
