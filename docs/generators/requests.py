"""The requests of the jobs, from their classes: tasks, fields, options, descriptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docs.generators import markdown
from fbs_worker.core.fields import nested, option_of, parameters
from fbs_worker.jobs.config import ROUTES
from fbs_worker.solutions.odoo_requests import OdooTestRequest
from fbs_worker.solutions.requests import REQUESTS, Request


def page() -> str:
    """Each task with its queue and the table of its keyword arguments."""
    requests: tuple[type[Request], ...] = (*REQUESTS, OdooTestRequest)
    return "\n".join(part for request in requests for part in _request(request))


def _request(request: type[Request]) -> Iterator[str]:
    about = markdown.sentence((request.__doc__ or "").partition("\n")[0])
    yield f"### {markdown.code(request.task)}\n"
    yield f"{about} `{request.__name__}`, queue {markdown.code(ROUTES[request.task]['queue'])}.\n"
    shown = {each.path: each.flag for each in parameters(request) if each.name != "name"}  # an argument
    rows = []
    for name, field in request.model_fields.items():
        rows.append(_row((name,), field, shown))
        for inner, declared in (inner_model.model_fields if (inner_model := nested(field)) else {}).items():
            rows.append(_row((name, inner), declared, shown))
    yield markdown.table(["argument", "option", "meaning"], rows)


def _row(path: tuple[str, ...], field: Any, shown: dict[tuple[str, ...], str]) -> list[str]:
    meaning = [markdown.sentence(str(field.description))]
    setting = option_of(field).setting
    if field.is_required():
        meaning.append("Required.")
    elif setting:
        meaning.append(f"Default: {markdown.code(setting.upper())}.")
    return [markdown.code(".".join(path)), markdown.code(shown[path]) if path in shown else "", " ".join(meaning)]
