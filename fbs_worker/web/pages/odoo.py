"""Pages and forms of the connections to Odoo. A form never shows a secret."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from fastapi import Request
from starlette.responses import Response

from fbs_worker.core.errors import FBSError
from fbs_worker.core.fields import Parameter, parameters
from fbs_worker.core.settings import Protocol
from fbs_worker.solutions.odoo_connections import (
    ENVIRONMENT,
    add_odoo,
    edit_odoo,
    list_odoo,
    remove_odoo,
    show_odoo,
)
from fbs_worker.solutions.odoo_requests import OdooAddRequest, OdooEditRequest, OdooTestRequest
from fbs_worker.web.api.problems import status_of
from fbs_worker.web.pages.actions import to_job
from fbs_worker.web.pages.layout import (
    FormToken,
    Posted,
    both,
    layout_of,
    page_router,
    redirect,
    require_writer,
    segment,
)

router = page_router()

_LABELS: Final = {"db": "Database", "url": "URL", "api_key": "API key", "lang": "Language", "timeout": "Time-out"}
_TYPES: Final = {"password": "password", "api_key": "password", "timeout": "number"}
_PROTOCOLS: Final = get_args(get_args(Protocol)[0])
_SHOWN: Final = ("name", "url", "db", "user", "protocol", "lang", "timeout")
"""Fields whose values a form shows."""


def odoo_page(request: Request) -> Response:
    """List the connections, with a form to add one."""
    return _list_page(request)


def connection_page(request: Request, name: str) -> Response:
    """Show a connection, with forms to edit, test and remove it."""
    return _connection_page(request, name)


def add(request: Request, values: Posted) -> Response:
    """Add a connection."""
    require_writer(request, values.get("form_token", ""))

    def work() -> str:
        made = add_odoo(request.app.state.settings, OdooAddRequest(**_given(values)), by_caller=True)
        return str(made["name"])

    return _done(request, values, work, lambda error: _list_page(request, error, values))


def edit(request: Request, name: str, values: Posted) -> Response:
    """Change a connection: what the form shows, and secrets that are given."""
    require_writer(request, values.get("form_token", ""))

    def work() -> str:
        given = {key: value for key, value in _given(values).items() if key != "name"}
        if values.get("no_headers") and not given.get("headers"):
            given["headers"] = ""
        made = edit_odoo(request.app.state.settings, OdooEditRequest(name=name, **given), by_caller=True)
        return str(made["name"])

    return _done(request, values, work, lambda error: _connection_page(request, name, error, values))


def check(request: Request, name: str, form_token: FormToken = "") -> Response:
    """Enqueue a test of a connection."""
    require_writer(request, form_token)
    return _to_test(request, name)


def remove(request: Request, name: str, form_token: FormToken = "") -> Response:
    """Remove a connection."""
    require_writer(request, form_token)
    remove_odoo(request.app.state.settings, name)
    return redirect("/odoo/")


def _list_page(request: Request, error: FBSError | None = None, values: Mapping[str, str] | None = None) -> Response:
    databases = request.app.state.databases
    return layout_of(request).render(
        request,
        "odoo",
        status=status_of(error) if error else 200,
        **list_odoo(databases.settings, databases=databases),
        **_form(error, values or {}),
        fields=_fields(),
    )


def _connection_page(
    request: Request, name: str, error: FBSError | None = None, values: Mapping[str, str] | None = None
) -> Response:
    databases = request.app.state.databases
    one = show_odoo(databases.settings, name, databases=databases)
    return layout_of(request).render(
        request,
        "odoo_connection",
        status=status_of(error) if error else 200,
        one=one,
        variable=databases.settings.odoo_names()[one["name"]] if one["origin"] == ENVIRONMENT else "",
        **_form(error, {**one, **(values or {})}),
        fields=[field for field in _fields() if field["name"] != "name"],
    )


def _form(error: FBSError | None, values: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in values.items() if name in _SHOWN or isinstance(value, bool)}
    return {"error": error, "wrong": error.context.get("field", "") if error else "", "values": shown}


def _fields() -> list[dict[str, Any]]:
    return [_field(each) for each in parameters(OdooAddRequest)]


def _field(each: Parameter) -> dict[str, Any]:
    about = str(each.field.description).replace("`", "")
    return {
        "name": each.name,
        "label": _LABELS.get(each.name, each.name.capitalize()),
        "about": f"{about[:1].upper()}{about[1:]}.",
        "type": _TYPES.get(each.name, "text"),
        "default": each.default if each.name in _SHOWN and each.default is not None else "",
        "limit": each.option.limit,
        "choices": _PROTOCOLS,
    }


def _given(values: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a request; an empty secret is not given."""
    given = {name: values[name].replace("\r\n", "\n") for name in OdooAddRequest.model_fields if name in values}
    return {name: value for name, value in given.items() if value or name in _SHOWN}


def _done(
    request: Request, values: Mapping[str, str], work: Callable[[], str], again: Callable[[FBSError], Response]
) -> Response:
    """Do what a form asks for; show it again if that fails."""
    try:
        name = work()
    except FBSError as exc:
        return again(exc)
    return _to_test(request, name) if values.get("then") == "test" else redirect(f"/odoo/{segment(name)}/")


def _to_test(request: Request, name: str) -> Response:
    return to_job(request.app.state.client.enqueue(OdooTestRequest(name=name)).id)


for _path in both("/odoo/"):
    router.add_api_route(_path, odoo_page, methods=["GET"])
    router.add_api_route(_path, add, methods=["POST"])
for _path in both("/odoo/{name}/"):
    router.add_api_route(_path, connection_page, methods=["GET"])
    router.add_api_route(_path, edit, methods=["POST"])
for _path in both("/odoo/{name}/test/"):
    router.add_api_route(_path, check, methods=["POST"])
for _path in both("/odoo/{name}/remove/"):
    router.add_api_route(_path, remove, methods=["POST"])
