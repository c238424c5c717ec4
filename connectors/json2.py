"""JSON-2 transport: Odoo 19 and later, with an API key.

`POST /json/2/<model>/<method>` takes arguments by name and returns the bare result with HTTP status codes
(`odoo/addons/rpc/controllers/json2.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import orjson

from fbs_worker.connectors.base import Limiter, ServerInfo
from fbs_worker.connectors.http import Answer, OdooHTTP
from fbs_worker.connectors.odoo_errors import (
    CallContext,
    access_denied,
    database_missing,
    groups_of,
    login_refused,
    model_missing,
    odoo_error,
)
from fbs_worker.connectors.server_transport import ServerTransport
from fbs_worker.core.errors import FBSError, OdooBadAnswer, SettingsError

SINCE: Final = (19, 0)
"""The first series with JSON-2."""

_DATABASE: Final = "X-Odoo-Database"
_NO_DATABASE: Final = b"No database is selected"
_HOSTED: Final = (".odoo.com", ".odoo.sh")


class JSON2Transport(ServerTransport):
    """JSON-2: no login, each call sends the key.

    Args:
        http: connection to the server; closed with the transport.
        server: the connected server.
        login: server and secrets, as errors name or redact them.
        limiter: admits the calls; closed with the transport.
        api_key: the API key.

    Raises:
        SettingsError: the key or the database's name cannot be sent in an HTTP header.
    """

    def __init__(
        self, http: OdooHTTP, server: ServerInfo, login: CallContext, limiter: Limiter, *, api_key: str
    ) -> None:
        # the error of http.client for a bad header would repeat the secret value
        if not (api_key.isascii() and api_key.isprintable()):
            raise SettingsError(
                "The Odoo API key has characters other than printable ASCII.",
                hint="Set ODOO_API_KEY to a key copied from Odoo.",
            )
        if not (server.database.isascii() and server.database.isprintable()):
            raise SettingsError("JSON-2 supports only ASCII names of databases.", hint="Set ODOO_PROTOCOL=odoorpc.")
        super().__init__(http, server, replace(login, user=""), limiter)  # the key decides who the user is
        self._headers = {
            "Authorization": f"bearer {api_key}",
            _DATABASE: server.database,
            "Content-Type": "application/json; charset=utf-8",
        }

    def _call(self, model: str, method: str, ids: list[int] | None, arguments: dict[str, Any]) -> Any:
        body = arguments if ids is None else {"ids": ids, **arguments}
        path = f"/json/2/{quote(model, safe='')}/{quote(method, safe='')}"
        answer = self._post(path, orjson.dumps(body))
        if answer.status == 200:
            return answer.json()
        raise _error(answer, self._context(model, method))

    def _post(self, path: str, body: bytes) -> Answer:
        answer = self._http.request("POST", path, body=body, headers=self._headers)
        if _DATABASE in self._headers and self._may_refuse_header(answer):
            without = {name: value for name, value in self._headers.items() if name != _DATABASE}
            other = self._http.request("POST", path, body=body, headers=without)
            if other.status == 200 or other.is_json:
                self._headers = without
                return other
        return answer

    def _may_refuse_header(self, answer: Answer) -> bool:
        """Whether the header with the database may be what is refused, as hosted servers with one database do.

        Odoo's own page says that the database is missing: without the header such a server would use another one.
        """
        if answer.status not in (400, 403, 404) or answer.is_json:
            return False
        return _NO_DATABASE not in answer.body or self._http.address.host.endswith(_HOSTED)


def _error(answer: Answer, context: CallContext) -> FBSError:
    if answer.status == 404 and not answer.is_json:
        # without such a database Odoo does not have this route and returns its HTML page
        if _NO_DATABASE in answer.body:
            return database_missing(context)
        return OdooBadAnswer(
            f"{context.url} has no JSON-2 for database {context.database} (status 404).",
            hint="Check ODOO_DB. If a proxy blocks /json/2, set ODOO_PROTOCOL to odoorpc, and ODOO_USER.",
            status=404,
        )
    reported = answer.json()
    name = reported.get("name") if isinstance(reported, dict) else None
    if not name:
        return answer.foreign()
    text = str(reported.get("message", ""))
    if answer.status == 401:
        return login_refused(context, text)
    if answer.status == 403:
        return access_denied(groups_of(text), context)
    if answer.status == 404:
        return model_missing(context)
    return odoo_error(str(name), text, context)
