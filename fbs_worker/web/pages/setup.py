"""The form that sets a solution up, with checks while it is filled in. A password never comes back in a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, Final, Literal, get_args

from fastapi import Request
from starlette.responses import Response

from fbs_worker.core.database_config import DatabaseConfig
from fbs_worker.core.errors import FBSError, SecretError, UsageError
from fbs_worker.core.fanout import bounded_connection
from fbs_worker.core.fields import Parameter, collected, parameters
from fbs_worker.core.settings import DEFAULT_CONNECTION, Settings
from fbs_worker.core.vault import Vault
from fbs_worker.domains import domain_names, load_domain
from fbs_worker.ops.databases import examine
from fbs_worker.schema.definition import define
from fbs_worker.schema.inspector import existing_tables
from fbs_worker.solutions.databases import CONNECT_SECONDS, Databases
from fbs_worker.solutions.odoo_connections import list_odoo
from fbs_worker.solutions.requests import SetupRequest
from fbs_worker.web.api.problems import status_of
from fbs_worker.web.pages.actions import to_job
from fbs_worker.web.pages.layout import Posted, both, layout_of, page_router, require_writer

router = page_router()

_MAIN: Final = (
    *("solution_name", "domain", "odoo", "database_name", "database_user", "database_password"),
    *("database_host", "database_port", "business_prefix"),
)
"""The fields that are always shown, in their order."""

_LABELS: Final = {
    "solution_name": "Name",
    "odoo": "Odoo connection",
    "refresh_discoveries": "Read Odoo as well",
    "sync": "Copy records as well",
    "odoo_moved": "The same Odoo at another address",
    "mirror": "Models to mirror",
    "include_module": "Further modules",
    "exclude_module": "Modules to leave out",
}
_EXAMPLES: Final = {"solution_name": "shop", "database_name": "shop_db", "mirror": "sale.order res.partner"}
_STAND_INS: Final = {"solution_name": "x", "domain": "generic", "database_name": "x"}
"""What has to be filled in; with these values the rest is checked before it is."""

_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of the form.

    Attributes:
        status: what it found; `open` while something is missing, or only a worker can find out.
        subject: what was checked.
        text: the finding, one line.
        hint: what to do.
    """

    status: Literal["good", "warn", "bad", "open"]
    subject: str
    text: str
    hint: str = ""


def setup_page(request: Request) -> Response:
    """Show the form."""
    require_writer(request)
    return _form_page(request, {each.name: "true" for each in parameters(SetupRequest) if each.default is True})


def set_up(request: Request, values: Posted) -> Response:
    """Enqueue the set-up, or check the form without doing anything."""
    require_writer(request, values.get("form_token", ""))
    if values.get("then") == "check":
        return _form_page(request, values, checks=list(_checks(request, values)))
    state = request.app.state
    try:
        job = _parsed(values, state.settings).checked(state.settings)
        return to_job(state.client.enqueue(job).id)
    except FBSError as exc:
        return _form_page(request, values, error=exc)


def _form_page(
    request: Request, values: Mapping[str, str], *, checks: list[Check] | None = None, error: FBSError | None = None
) -> Response:
    connections = _connections(request)
    fields = {each.name: _field(each, connections) for each in parameters(SetupRequest)}
    shown = {name: value for name, value in values.items() if name in fields and fields[name]["type"] != "password"}
    return layout_of(request).render(
        request,
        "setup",
        status=status_of(error) if error else 200,
        main=[fields.pop(name) for name in _MAIN],
        more=list(fields.values()),
        is_open=any(shown.get(each["name"]) for each in fields.values() if each["type"] != "checkbox"),
        values=shown,
        checks=checks or [],
        error=error,
        wrong=_wrong(error),
    )


def _field(each: Parameter, connections: list[str]) -> dict[str, Any]:
    """A field as the form shows it; its defaults that are settings are not shown."""
    choices = [str(one) for kind in get_args(each.field.annotation) if kind is not NoneType for one in get_args(kind)]
    if each.name == "domain":
        choices = domain_names()
    elif each.name == "odoo":
        choices = connections
    about = str(each.field.description).partition(";")[0].replace("`", "")
    return {
        "name": each.name,
        "label": _label(each.name),
        "about": f"{about[:1].upper()}{about[1:]}{'; several with spaces' if each.is_list else ''}.",
        "type": "checkbox" if each.kind is bool else "password" if each.name.endswith("password") else "text",
        "choices": choices,
        "required": each.field.is_required(),
        "example": _EXAMPLES.get(each.name, "default of the server" if each.option.setting else ""),
    }


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " ").capitalize()) or "Form"


def _connections(request: Request) -> list[str]:
    """The names of the connections to Odoo; only those of the environment while the home database is away."""
    databases = request.app.state.databases
    try:
        names = [each["name"] for each in list_odoo(databases.settings, databases=databases)["connections"]]
    except FBSError:
        names = list(databases.settings.odoo_names())
    return list(dict.fromkeys(names))


def _parsed(values: Mapping[str, str], settings: Settings) -> SetupRequest:
    given: dict[str, Any] = {}
    for each in parameters(SetupRequest):
        text = values.get(each.name, "").strip() if each.name != "database_password" else values.get(each.name, "")
        if each.kind is bool:
            given[each.name] = bool(text)
        elif text:
            given[each.name] = text.replace(",", " ").split() if each.is_list else text
    return SetupRequest.parse(collected(SetupRequest, given), settings=settings)


def _checks(request: Request, values: Mapping[str, str]) -> Iterator[Check]:
    """Check what the form says so far, without changing anything."""
    settings, databases = request.app.state.settings, request.app.state.databases
    missing = [name for name in _STAND_INS if not values.get(name, "").strip()]
    for name in missing:
        yield Check(status="open", subject=_label(name), text="Still missing.")
    try:
        setup = _parsed({**values, **{name: _STAND_INS[name] for name in missing}}, settings)
    except FBSError as exc:
        hint = exc.hint.partition(" (on the command line")[0]
        yield Check(status="bad", subject=_label(_wrong(exc)), text=exc.message, hint=hint)
        return
    if "solution_name" in missing:
        return
    known: list[str] = []
    try:
        with databases.registry(seconds=_SECONDS) as registry:
            known = [entry.solution_name for entry in registry.entries()]
    except FBSError as exc:
        yield Check(status="bad", subject="Name", text=exc.message, hint=exc.hint)
    is_known = setup.solution_name in known
    if is_known:
        text = f"{setup.solution_name} exists: it is set up again, and keeps its tables and rows."
        yield Check(status="warn", subject="Name", text=text)
    else:
        yield Check(status="good", subject="Name", text=f"{setup.solution_name} is free.")
    if missing:
        return
    yield from _check_database(
        setup, settings, databases, is_known=is_known, is_given=bool(values.get("database_password"))
    )
    if setup.refresh_discoveries:
        name, connections = (setup.odoo or DEFAULT_CONNECTION).lower(), _connections(request)
        if name in connections:
            yield Check(status="good", subject="Odoo", text=f"The connection {name} is known.")
        else:
            text = f"This server has no connection {name}; the worker needs one."
            yield Check(status="warn", subject="Odoo", text=text)


def _check_database(
    setup: SetupRequest, settings: Settings, databases: Databases, *, is_known: bool, is_given: bool
) -> Iterator[Check]:
    """Connect to the database, as far as callers may name it, and look for tables in the way."""
    check = partial(Check, subject="Database")
    try:
        database = setup.checked(settings).database_config
        if is_given and Vault.is_reference(database.password.get_secret_value()):
            yield check(status="open", text="The password is a reference, which the worker resolves.")
            return
        database = database.resolved(databases.vault, allow_plain=True)
        facts = examine(database, seconds=_SECONDS)
        taken = [] if is_known else _taken(setup, database)
    except (SecretError, FBSError) as exc:
        yield check(status="bad", text=exc.message, hint=exc.hint)
        return
    if facts.is_standby:
        yield check(status="bad", text="It is a standby, which accepts no changes.")
    elif facts.grants:
        yield check(status="bad", text="The role lacks rights there.", hint=" ".join(facts.grants))
    else:
        yield check(status="good", text=f"PostgreSQL {facts.version} answers, and the role may create tables.")
    if taken:
        text = f"Tables of these names exist: {', '.join(taken[:5])}{'…' if len(taken) > 5 else ''}."
        yield Check(status="bad", subject="Prefix", text=text, hint="Choose another prefix.")
    elif not is_known:
        yield Check(status="good", subject="Prefix", text="No table is in the way.")


def _taken(setup: SetupRequest, database: DatabaseConfig) -> list[str]:
    """The names of the business tables that exist already."""
    definition = define(
        load_domain(setup.domain), table_prefix=setup.table_prefix, business_prefix=setup.business_prefix
    )
    with bounded_connection(database, connect_seconds=CONNECT_SECONDS, seconds=_SECONDS) as connection:
        return existing_tables(connection, [table.name for table in definition.business.sorted_tables])


def _wrong(error: FBSError | None) -> str:
    """The form's field that an error names."""
    field = str(error.context.get("field", "")) if isinstance(error, UsageError) else ""
    return field.replace("database_config.", "database_")


for _path in both("/setup/"):
    router.add_api_route(_path, setup_page, methods=["GET"])
    router.add_api_route(_path, set_up, methods=["POST"])
