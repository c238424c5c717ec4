"""How the small Odoo of `odoo_server` answers a request, properly or not."""

from __future__ import annotations

import json
import secrets
import socketserver
import time
from collections.abc import Mapping
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fbs_worker.connectors.recording.transport import METHODS_SINCE
from fbs_worker.core.errors import FBSError, OdooAccessDenied, OdooModelMissing, RecordingError
from tests.support.odoo_faults import (
    GATEWAY_PAGE,
    LOGIN_PAGE,
    NOT_FOUND_PAGE,
    Misbehaviour,
    access_error_text,
    error_data,
)
from tests.support.odoo_versions import as_called, denied_column

if TYPE_CHECKING:
    from tests.support.odoo_server import OdooServer, OdooUser


class _Reported(Exception):
    """An error as Odoo reports it."""

    def __init__(self, name: str, text: str, *, status: int = 500, code: int | None = None) -> None:
        super().__init__(text)
        self.name = name
        self.text = text
        self.status = status
        self.code = code


_COMODELS = {"category_id": "ir.module.category", "dependencies_id": "ir.module.module.dependency"}


class HandlerServer(socketserver.BaseServer):
    """The server that a handler belongs to, as far as the handler knows it."""

    odoo: OdooServer


class Handler(BaseHTTPRequestHandler):
    """Serves one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HandlerServer

    @property
    def odoo(self) -> OdooServer:
        return self.server.odoo

    def log_message(self, *_: Any) -> None:
        """Tests want no log."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.odoo.working():
            how = self.odoo.next_misbehaviour()
            if self.odoo.latency:
                time.sleep(self.odoo.latency)
            if how is Misbehaviour.FORGET_SESSIONS:
                self.odoo.sessions.clear()
            proper = how is None or how in (Misbehaviour.FORGET_SESSIONS, Misbehaviour.CLOSE_AFTER)
            answer = self._answer() if proper else None
        if answer is not None:
            self._send(*answer)
            self.close_connection = self.close_connection or how is Misbehaviour.CLOSE_AFTER
        elif how is not None:
            self._misbehave(how)

    # -- what a real Odoo answers

    def _answer(self) -> tuple[int, str, bytes, Mapping[str, str]]:
        path = urlsplit(self.path).path  # a client of a proxy sends a whole URL
        if self.odoo.gate is not None and (refusal := self.odoo.gate(path, self.headers)) is not None:
            status, headers = refusal
            return status, "text/html; charset=utf-8", b"<html><h1>nginx</h1></html>", headers
        if path == "/web/version" and self.odoo.major >= (19, 0):
            return self._json(200, {"version_info": self._version_info(), "version": self.odoo.series})
        if path.startswith("/json/2/") and self.odoo.major >= (19, 0):
            return self._json2(*path.removeprefix("/json/2/").split("/"))
        services = {
            "/web/webclient/version_info": self._version,
            "/web/session/authenticate": self._authenticate,
            "/web/dataset/call_kw": self._call_kw,
            "/jsonrpc": self._jsonrpc,
            "/web/database/list": lambda: [self.odoo.database],
        }
        if self.odoo.version_info_gone:
            del services["/web/webclient/version_info"]
        if path in services and self.command == "POST":
            return self._envelope(services[path])
        return 404, "text/html; charset=utf-8", NOT_FOUND_PAGE, {}

    def _version_info(self) -> list[Any]:
        return [*self.odoo.major, 0, "final", 0, ""]

    def _envelope(self, service: Any) -> tuple[int, str, bytes, Mapping[str, str]]:
        request = json.loads(self.body)
        payload: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
        self.cookie: dict[str, str] = {}
        try:
            result = service(**request.get("params", {}))
            if result is not None or self.odoo.major >= (15, 0):  # Odoo 14 leaves a null result out
                payload["result"] = result
        except _Reported as exc:
            general = {100: "Odoo Session Expired", 404: "404: Not Found"}
            code = exc.code if exc.code is not None else (0 if self.odoo.major >= (19, 0) else 200)
            data = error_data(exc.name, exc.text, trace=self.body.decode())
            payload["error"] = {"code": code, "message": general.get(code, "Odoo Server Error"), "data": data}
        return self._json(200, payload, self.cookie)

    def _version(self) -> dict[str, Any]:
        series = self.odoo.series
        info = self._version_info()
        return {"server_version": series, "server_version_info": info, "server_serie": series, "protocol_version": 1}

    def _authenticate(self, db: str, login: str, password: str) -> dict[str, Any]:
        self._check_database(db)
        uid = self._uid_of(login, lambda user: password == user.password)
        if uid is None:
            raise _Reported("odoo.exceptions.AccessDenied", "Access Denied")
        if self.odoo.users[uid].second_factor:
            return {"uid": None}
        session = secrets.token_urlsafe(32)
        self.odoo.sessions[session] = uid
        self.cookie = {"Set-Cookie": f"session_id={session}; Max-Age=604800; HttpOnly; Path=/"}
        return {"uid": uid + 1, "db": db, "username": login, "server_version": self.odoo.series}

    def _call_kw(self, model: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("session_id")
        uid = self.odoo.sessions.get(cookie.value) if cookie else None
        if uid is None:
            raise _Reported("odoo.http.SessionExpiredException", "Session expired", code=100)
        return self._call(uid, model, method, args[0] if args else None, kwargs, way="web")

    def _jsonrpc(self, service: str, method: str, args: list[Any]) -> Any:
        if service == "common" and method == "version":
            return self._version()
        if service == "common" and method == "authenticate":
            database, login, secret, _ = args
            self._check_database(database)
            found = self._uid_of(login, lambda user: self._opens_rpc(user, secret))
            return found + 1 if found is not None else False
        database, number, secret, model, name, positional, named = args
        self._check_database(database)
        uid = number - 1
        if not 0 <= uid < len(self.odoo.users) or not self._opens_rpc(self.odoo.users[uid], secret):
            raise _Reported("odoo.exceptions.AccessDenied", "Access Denied")
        return self._call(uid, model, name, positional[0] if positional else None, named, way="rpc")

    def _json2(self, model: str, method: str) -> tuple[int, str, bytes, Mapping[str, str]]:
        if self.headers.get("X-Odoo-Database", self.odoo.database) != self.odoo.database:
            return 404, "text/html; charset=utf-8", NOT_FOUND_PAGE, {}
        try:
            scheme, _, key = self.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                text = "User not authenticated, use an API Key with a Bearer Authorization header."
                raise _Reported("werkzeug.exceptions.Unauthorized", text, status=401)
            uid = self._uid_of(None, lambda user: key in user.api_keys)
            if uid is None:
                raise _Reported("werkzeug.exceptions.Unauthorized", "Invalid apikey", status=401)
            named = json.loads(self.body)
            return self._json(200, self._call(uid, model, method, named.pop("ids", None), named, way="json2"))
        except _Reported as exc:
            return self._json(exc.status, error_data(exc.name, exc.text, trace=f"{self.headers}"))

    def _opens_rpc(self, user: OdooUser, secret: str) -> bool:
        return secret in user.api_keys or (secret == user.password and not user.second_factor)

    def _uid_of(self, login: str | None, opens: Any) -> int | None:
        for number, user in enumerate(self.odoo.users):
            if login in (None, user.login) and opens(user):
                return number
        return None

    def _check_database(self, name: str) -> None:
        if name != self.odoo.database:
            where = '"/var/run/postgresql/.s.PGSQL.5432"'
            text = f'connection to server on socket {where} failed: FATAL:  database "{name}" does not exist\n'
            raise _Reported("psycopg2.OperationalError", text)

    def _call(
        self, uid: int, model: str, method: str, ids: list[int] | None, named: dict[str, Any], *, way: str
    ) -> Any:
        odoo = self.odoo
        missing = {
            "json2": ("werkzeug.exceptions.NotFound", f"the model {model!r} does not exist"),
            "rpc": ("odoo.exceptions.UserError", f"Object {model} doesn't exist"),
            "web": ("werkzeug.exceptions.NotFound", "404 Not Found: The requested URL was not found on the server."),
        }
        if odoo.major < (19, 0):
            missing["web"] = ("builtins.KeyError", f"'{model}'")
        denied = odoo.users[uid].denied
        table = denied_column(denied, model, named.get("fields", ())) or model
        if method.startswith("_"):
            text = f"Private methods (such as '{model}.{method}') cannot be called remotely."
            raise _Reported("odoo.exceptions.AccessError", text, status=403)
        for name in (table, *(_COMODELS[column] for column in named.get("specification", {}) if column in _COMODELS)):
            if name in denied and method not in ("fields_get", "get_available_models"):
                raise _Reported("odoo.exceptions.AccessError", access_error_text(name, [*denied[name]]), status=403)
        if METHODS_SINCE.get(method, (0, 0)) > odoo.major:
            raise self._no_method(model, method, way)
        try:
            named = as_called(method, named, odoo.major)
            with odoo.lock:
                odoo.calls.append((model, method))
                return odoo.backend.call(model, method, ids=ids, **named)
        except (TypeError, ValueError) as exc:
            raise _Reported(f"builtins.{type(exc).__name__}", str(exc), status=422) from exc
        except OdooModelMissing as exc:
            if exc.context.get("method"):
                raise self._no_method(model, method, way) from exc
            name, text = missing[way]
            raise _Reported(name, text, status=404, code=404 if name.endswith("NotFound") else None) from exc
        except OdooAccessDenied as exc:
            text = access_error_text(model, exc.context.get("groups", []))
            raise _Reported("odoo.exceptions.AccessError", text, status=403) from exc
        except RecordingError as exc:
            if exc.context.get("method"):
                raise self._no_method(model, method, way) from exc
            raise _Reported("builtins.ValueError", exc.message) from exc
        except FBSError as exc:
            raise _Reported("builtins.ValueError", exc.message) from exc

    def _no_method(self, model: str, method: str, way: str) -> _Reported:
        text = f"The method '{model}.{method}' does not exist"
        if self.odoo.major < (19, 0):
            text = f"type object '{model}' has no attribute '{method}'"
        name = "werkzeug.exceptions.NotFound" if way == "json2" else "builtins.AttributeError"
        return _Reported(name, text, status=404)

    @staticmethod
    def _json(
        status: int, value: Any, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str, bytes, Mapping[str, str]]:
        return status, "application/json; charset=utf-8", json.dumps(value).encode(), headers or {}

    # -- what it sends

    def _send(self, status: int, kind: str, content: bytes, extra: Mapping[str, str] | None = None) -> None:
        self.wfile.write(self._head(status, kind, len(content), extra) + content)

    def _head(self, status: int, kind: str, length: int | None, extra: Mapping[str, str] | None = None) -> bytes:
        headers = {"Content-Type": kind, **({} if length is None else {"Content-Length": str(length)}), **(extra or {})}
        if self.odoo.backend.clock:
            headers["Date"] = self.date_time_string()
        lines = [f"HTTP/1.1 {status} {self.responses[status][0]}", *(f"{name}: {headers[name]}" for name in headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _misbehave(self, how: Misbehaviour) -> None:
        html = "text/html; charset=utf-8"
        gateway = {
            Misbehaviour.BAD_GATEWAY: 502,
            Misbehaviour.GATEWAY_TIMEOUT: 504,
            Misbehaviour.TOO_MANY_REQUESTS: 429,
            Misbehaviour.PROXY_LOGIN: 401,
        }
        if how in gateway:
            status = gateway[how]
            self._send(status, html, GATEWAY_PAGE % (status, self.responses[status][0].encode()))
        elif how is Misbehaviour.FOREIGN_JSON:
            self._send(500, "application/json", b'{"error": "upstream"}')
        elif how is Misbehaviour.LOGIN_PAGE:
            self._send(200, html, LOGIN_PAGE)
        elif how is Misbehaviour.REDIRECT:
            self._send(302, html, b"", {"Location": "https://sso.example.com/login?token=abc"})
        elif how is Misbehaviour.INVALID_JSON:
            self._send(200, "application/json", b'{"jsonrpc": "2.0", "result": [1, 2,, 3]}')
        elif how is Misbehaviour.NOT_HTTP:
            self.wfile.write(b"-ERR unknown command 'POST'\r\n")
            self.close_connection = True
        elif how is Misbehaviour.HANG:
            self.odoo.stopping.wait()
        elif how is Misbehaviour.CLOSE_WITHOUT_ANSWER:
            self.close_connection = True
        elif how in (Misbehaviour.POSTGRES_DOWN, Misbehaviour.ECHO_SECRETS):
            self._report_trouble(how)
        else:
            self._send_in_part(how)

    def _report_trouble(self, how: Misbehaviour) -> None:
        if how is Misbehaviour.POSTGRES_DOWN:
            text = 'connection to server at "/run/postgresql/.s.PGSQL.5432" failed: Connection refused'
            reported = error_data("psycopg2.OperationalError", text, trace="")
        else:
            text = f"cannot handle {self.body.decode()} {self.headers} in /opt/odoo/addons/web/x.py"
            reported = error_data("builtins.ValueError", text, trace="")
        if self.path.startswith("/json/2"):
            self._send(*self._json(500, reported))
        else:
            error = {"code": 0, "message": "Odoo Server Error", "data": reported}
            self._send(*self._json(200, {"jsonrpc": "2.0", "id": None, "error": error}))

    def _send_in_part(self, how: Misbehaviour) -> None:
        status, kind, content, extra = self._answer()
        self.close_connection = True
        length = None if how is Misbehaviour.CUT_SHORT_UNSAID else len(content)
        head = self._head(status, kind, length, extra)
        if how is Misbehaviour.DRIP_HEADERS:
            self._drip(head + content)
            return
        self.wfile.write(head)
        if how is Misbehaviour.DRIP:
            self._drip(content)
            return
        self.wfile.write(content[: len(content) // 2])
        if how is Misbehaviour.HANG_HALFWAY:
            self.odoo.stopping.wait()

    def _drip(self, content: bytes) -> None:
        """One byte every tenth of a second, until the client has enough."""
        for place in range(len(content)):
            if self.odoo.stopping.wait(0.1):
                return
            self.wfile.write(content[place : place + 1])
